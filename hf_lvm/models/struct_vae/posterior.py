"""q(z|x): an encoder reads the sentence, a parser writes the tree, action by action, as far as the grammar lets it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from hf_lvm.backbones.decoders import decoder_positions
from hf_lvm.backbones.word_encoding import WordInputs, encode_words, word_inputs
from hf_lvm.distributions import Generators
from hf_lvm.distributions.lengths import rows_of
from hf_lvm.generation.cached_decoder import CachedDecoder, SymbolDecoder, check_attends
from hf_lvm.generation.copying_decoder import CopyingDecoder
from hf_lvm.generation.grammar_decoder import GrammarDecoder
from hf_lvm.generation.symbol_sequences import ScoredSequences, SymbolSequences
from hf_lvm.grammars.transition_system import END, PAD, START, Source
from hf_lvm.layers.copying import FieldEmbeddings, WordCopies
from hf_lvm.layers.decoder_interface import DecoderInterface, attended_size, first_position, in_evaluation_mode
from hf_lvm.layers.injections import InitialStateInjection
from hf_lvm.models.struct_vae.configuration_struct_vae import StructVAEConfig
from hf_lvm.models.struct_vae.meaning_grammar import MeaningGrammar

Result = TypeVar("Result")


@dataclass(frozen=True)
class EncodedSentences:
    """What the encoder has read of B sentences of n words at most.

    Attributes:
        inputs: what it has read, so that it can be read again without dropout.
        sources: B, what may be copied; None where nothing is.
        states: (B, n, H), of the words; 0 past the length.
        features: (B, H), their mean.
    """

    inputs: WordInputs
    sources: tuple[Source, ...] | None
    states: torch.Tensor
    features: torch.Tensor

    def select(self, rows: torch.Tensor) -> "EncodedSentences":
        """Some of the rows (R,)."""
        sources = None if self.sources is None else tuple(self.sources[row] for row in rows.tolist())
        inputs = WordInputs(*(each[rows] for each in self.inputs))
        return EncodedSentences(inputs, sources, self.states[rows], self.features[rows])


class MeaningPosterior(SymbolSequences):
    """q(z|x) over trees, as sequences of actions: `SymbolSequences` that draw without dropout.

    In training mode a tree is drawn, or found by a beam, from q with its dropout off, and scored (`log_prob`) under one
    dropout mask: the score-function gradient is slightly biased, as it is with two masks. In evaluation mode the two are the
    same q.

    Args:
        decoder: a `GrammarDecoder`.
        limit: that of its grammar.
        without_dropout: does something with the same q, its dropout off; None where it is off already.
    """

    def __init__(
        self,
        decoder: SymbolDecoder,
        limit: int,
        without_dropout: Callable[[Callable[[SymbolSequences], Result]], Result] | None = None,
    ):
        self._without_dropout = without_dropout
        super().__init__(decoder, END, limit, pad_token_id=PAD)

    @torch.no_grad()
    def draw(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> ScoredSequences:
        if self._without_dropout is None:
            return super().draw(sample_shape, generator)
        return self._without_dropout(lambda q: q.draw(sample_shape, generator))

    @property
    @torch.no_grad()
    def mode(self) -> torch.Tensor:
        """The most probable action of each step, (B, T): greedy search."""
        return super().mode if self._without_dropout is None else self._without_dropout(lambda q: q.mode)

    @torch.no_grad()
    def beam(self, num_sequences: int, num_beams: int | None = None) -> ScoredSequences:
        if self._without_dropout is None:
            return super().beam(num_sequences, num_beams)
        return self._without_dropout(lambda q: q.beam(num_sequences, num_beams))


class ParsingPart:
    """Methods of a StructVAE about q(z|x)."""

    def build_parsing(self, config: StructVAEConfig, grammar: MeaningGrammar) -> None:
        """What stands between the encoder and the parser: a layer between their sizes, copying, embeddings of fields, and
        the state that the parser begins with.

        Raises:
            ValueError: a parser that does not attend, or that has another number of actions or too few positions, or none
                whose state is given where `parser_initial_state` asks for one.
        """
        check_attends(self.parser)
        room = decoder_positions(self.parser)
        if room is not None and room < config.max_actions:
            raise ValueError(
                f"max_actions is {config.max_actions}, and the parser, a {config.parser.model_type!r} model, has room for "
                f"{room} steps: lower it, or choose a parser with more positions."
            )
        size, wanted = config.encoder.hidden_size, attended_size(self.parser.config)
        self.bridge = None if size == wanted else nn.Linear(size, wanted)
        self.copying = self.fields = self.opening = None
        if config.parser_initial_state:
            self.opening = InitialStateInjection(size, 0, DecoderInterface.of(self.parser))
        read = self.parser.get_input_embeddings().embedding_dim
        if grammar.copies:
            self.copying = WordCopies(config.parser.get_text_config(decoder=True).hidden_size, size, read)
        if config.frontier_embedding:
            self.fields = FieldEmbeddings(grammar.automaton.num_fields, read)

    def encode(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
        words: Sequence[Sequence[str]] | None = None,
    ) -> MeaningPosterior:
        """q(z|x) of sentences (B, S), padded on either side; arguments as of `forward`.

        Raises:
            ValueError: see `encoded`.
        """
        return self.posterior_of(self.encoded(input_ids, attention_mask, word_ids, words))

    def encoded(
        self,
        input_ids: torch.LongTensor | None,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
        words: Sequence[Sequence[str]] | None = None,
    ) -> EncodedSentences:
        """What the encoder reads of sentences; see `forward`.

        Raises:
            ValueError: no sentences, sentences without a word or beyond the encoder's positions, or words that are not theirs.
        """
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels with.")
        inputs = word_inputs(self.encoder, input_ids, attention_mask, word_ids)
        lengths = inputs.lengths
        if (empty := lengths < 1).any():
            raise ValueError(f"Row(s) {rows_of(empty)} have no word: leave empty sentences out.")
        return self._encoded(inputs, self.sources_of(words, lengths.tolist()))

    def _encoded(self, inputs: WordInputs, sources: tuple[Source, ...] | None) -> EncodedSentences:
        lengths = inputs.lengths
        states = encode_words(self.encoder, inputs, int(lengths.max()))
        return EncodedSentences(inputs, sources, states, states.sum(1) / lengths.unsqueeze(1))

    def sources_of(
        self, words: Sequence[Sequence[str]] | None, lengths: Sequence[int] | None = None
    ) -> tuple[Source, ...] | None:
        """What may be copied of B sentences; None where nothing is.

        Args:
            words: B lists of words.
            lengths: B, how many words the encoder has read of each.

        Raises:
            ValueError: no words where some are copied, or other numbers of words than the encoder has.
        """
        if not self.grammar.copies:
            return None
        if words is None:
            raise ValueError("q(z|x) copies words (copy_slots of the actions): pass words, one list of strings for each row.")
        if lengths is not None and [len(own) for own in words] != list(lengths):
            raise ValueError(
                f"The rows have {[len(own) for own in words]} words, and for the encoder {list(lengths)}: pass words as its "
                "tokenizer cut them, with word_ids that say which word each piece belongs to."
            )
        return tuple(self.grammar.source(own) for own in words)

    def posterior_of(self, encoded: EncodedSentences) -> MeaningPosterior:
        """q(z|x) of sentences that have been read."""
        without_dropout = None
        if self.training:

            def without_dropout(use: Callable[[SymbolSequences], Result]) -> Result:
                with in_evaluation_mode(self):
                    return use(self.posterior_of(self._encoded(encoded.inputs, encoded.sources)))

        states = encoded.states if self.bridge is None else self.bridge(encoded.states)
        lengths = encoded.inputs.lengths.unsqueeze(1)
        mask = (torch.arange(states.shape[1], device=states.device) < lengths).long()
        start = torch.full_like(mask[:, :1], START)
        attended = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
        conditions = {} if self.opening is None else {"initial_cell": self.opening(encoded.features)}
        if self.copying is None and self.fields is None:
            decoder = CachedDecoder(self.parser, start, conditions=conditions, **attended)
        else:
            copied = None
            if self.copying is not None:
                copied = self.copying(encoded.states, mask, self.grammar.vocabulary.copy_slots)
            decoder = CopyingDecoder(
                self.parser,
                start,
                copied,
                self.fields,
                conditions=conditions,
                first_position=first_position(self.parser),
                **attended,
            )
        grammar = self.grammar
        decoder = GrammarDecoder(decoder, grammar.automaton, grammar.max_actions, encoded.sources)
        return MeaningPosterior(decoder, grammar.max_actions, without_dropout)
