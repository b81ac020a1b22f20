"""The transformer grammar over unlabelled binary trees: p(sentence, tree) by a causal decoder whose attention composes
(Sartran et al. 2022, here bottom-up, so that the tree needs no opening brackets)."""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache

from hf_lvm.backbones.decoders import build_decoder, decoder_part, decoder_positions
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.transformer_grammar_decoder.checks import check_trees, pieces_of_words
from hf_lvm.backbones.transformer_grammar_decoder.configuration_transformer_grammar_decoder import (
    TransformerGrammarDecoderConfig,
)
from hf_lvm.backbones.transformer_grammar_decoder.families import check_attention, check_family
from hf_lvm.backbones.transformer_grammar_decoder.sequences import COMPOSE, STACK, TreeSequences, additive
from hf_lvm.backbones.transformer_grammar_decoder.stacks import CachedStacks, NextReading, memory_of
from hf_lvm.backbones.tree_decoder import TreeDecoderOutput, check_spans
from hf_lvm.grammars.shift_reduce import NextStep, derivations_of
from hf_lvm.layers.decoder_interface import is_on_meta
from hf_lvm.layers.precision import linear_at_least_float32


class TransformerGrammarDecoderModel(SafeLoading, PreTrainedModel):
    """A generative model of sentences with binary trees, around a causal language model.

    SHIFT reads the next word, piece by piece; each piece sees the start and the stack. REDUCE reads COMPOSE, which sees the
    two topmost constituents alone and stands for them from then on, and then STACK, which sees the start and the stack, and
    which nothing sees. From a word's last piece or from STACK the next step is predicted: with fewer than two constituents
    SHIFT is certain; from two on REDUCE has the probability that the action head gives it. A SHIFT that finds a single
    constituent may draw the end of the sentence instead of a word, and no other SHIFT may. Where words have several pieces, a
    third head says before all that whether the word on top goes on. So nothing depends on how many words are left, and the
    probabilities of all sentences with all trees sum to 1.

    Known trees are one batch of sequences of 3n - 1 positions for n words of one piece, with a mask each. Unknown ones are
    written step by step, with a cache of what is on the stack.

    Args:
        config: what it is made of.
        decoder: a causal language model to use, instead of a new one from `config.decoder`.
    """

    config: TransformerGrammarDecoderConfig
    base_model_prefix = "transformer_grammar_decoder"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = {"action_head", "continue_head"}

    def __init__(self, config: TransformerGrammarDecoderConfig, decoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.decoder = build_decoder(config.decoder) if decoder is None else decoder_part(decoder)
        check_family(self.decoder.config)
        # One config object, so that a change of the one is a change of the other.
        self.config.decoder = self.decoder.config
        head, embeddings = self.decoder.get_output_embeddings(), self.get_input_embeddings()
        self.symbols = nn.Embedding(2, embeddings.embedding_dim)
        self.action_head = nn.Linear(head.in_features, 1)
        self.continue_head = nn.Linear(head.in_features, 1) if config.subwords else None
        self.post_init()
        if not is_on_meta(self.decoder):
            # As large as a word is, or a pretrained decoder would hear nothing else, or nothing of them.
            nn.init.normal_(self.symbols.weight, 0.0, float(embeddings.weight.detach().float().std()))

    def get_input_embeddings(self) -> nn.Module:
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.decoder.set_input_embeddings(value)

    # ---- known trees -------------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: torch.LongTensor,
        spans: torch.Tensor,
        word_ids: torch.LongTensor | None = None,
        return_dict: bool | None = None,
    ) -> TreeDecoderOutput:
        """Score sentences with trees. That a word goes on, or does not, counts with the words.

        Args:
            input_ids: (B, S), pieces, without start and end, padded on the right with anything.
            spans: (K, B, n, n) bool, True at the spans of K trees for each sentence, as `BinaryTreeCRF.sample` gives them.
                They say how many words a sentence has.
            word_ids: (B, S), the word that each piece belongs to, -1 past the end. Without them every piece is a word.

        Raises:
            ValueError: spans of another shape or type, or that are no trees; words that are not theirs; more positions than
                the decoder has.
        """
        check_spans(input_ids, spans, word_ids)
        num_trees, batch, num_words = spans.shape[:3]
        lengths = spans[0].diagonal(dim1=1, dim2=2).sum(1)
        steps = derivations_of(spans.flatten(0, 1))
        check_trees(spans, steps, lengths)
        words = pieces_of_words(input_ids, word_ids, lengths, num_words, self.config.subwords)
        sentence = torch.arange(batch, device=spans.device).repeat(num_trees)
        sequences = TreeSequences.of(steps, sentence, *words)
        self._check_room(self._positions(sequences), batch)
        hidden = self._states(sequences, input_ids[sentence])
        words, published = self._word_log_probs(sequences, hidden, input_ids[sentence])
        actions = self._action_log_probs(sequences, hidden)
        words, published, actions = (each.view(num_trees, batch) for each in (words, published, actions))
        return TreeDecoderOutput(words + actions, words, actions, published + actions)

    def _states(self, sequences: TreeSequences, input_ids: torch.Tensor) -> torch.Tensor:
        """The decoder's last states: (R, T, H)."""
        # Padding reads the start token, whose id is there whatever the sentences are padded with.
        ids = torch.where(sequences.piece < 0, self.config.bos_token_id, _pieces(input_ids, sequences.piece))
        inputs = self._embed(ids, sequences.symbol)
        return self._read(inputs, sequences.visible(), self._positions(sequences))

    def _positions(self, sequences: TreeSequences) -> torch.Tensor:
        return sequences.depth if self.config.positions == "depth" else sequences.order

    def _word_log_probs(
        self, sequences: TreeSequences, hidden: torch.Tensor, input_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """log p(words) of each tree, (R,), normalised as the model has it and as the published code has it."""
        next_piece, ends, eos = sequences.next_piece, sequences.ends, self.config.eos_token_id
        tree, position = ((next_piece >= 0) | ends).nonzero(as_tuple=True)
        ends, may_end = ends[tree, position], ((sequences.stack_size == 1) & ~sequences.goes_on)[tree, position]
        pieces = _pieces(input_ids, next_piece)[tree, position]
        # A sentence cannot go on after its end.
        following = torch.where(ends, eos, pieces.masked_fill(pieces == eos, -1))

        logits = self._piece_logits(hidden[tree, position])
        without_end = logits.index_fill(1, torch.tensor([eos], device=logits.device), -torch.inf).logsumexp(1)
        with_end = torch.logaddexp(without_end, logits[:, eos])
        scores = logits.gather(1, following.clamp(min=0).unsqueeze(1)).squeeze(1).masked_fill(following < 0, -torch.inf)
        continues = self._continue_log_probs(sequences, hidden)

        def of_trees(normalizers: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
            return continues.index_add(0, tree, torch.where(counts, scores - normalizers, 0.0))

        ours = of_trees(torch.where(may_end, with_end, without_end), torch.ones_like(ends))
        return ours, of_trees(with_end, ~ends)

    def _continue_log_probs(self, sequences: TreeSequences, hidden: torch.Tensor) -> torch.Tensor:
        """log p(the word goes on, or not) of each tree, over all its pieces: (R,)."""
        total = hidden.new_zeros(len(hidden), dtype=torch.promote_types(hidden.dtype, torch.float32))
        if self.continue_head is None:
            return total
        tree, position = (sequences.piece >= 0).nonzero(as_tuple=True)
        log_probs = _log_choice(self.continue_head, hidden[tree, position], sequences.goes_on[tree, position])
        return total.index_add(0, tree, log_probs)

    def _action_log_probs(self, sequences: TreeSequences, hidden: torch.Tensor) -> torch.Tensor:
        """log p(SHIFT or REDUCE) of each tree wherever there is a choice: (R,)."""
        steps = sequences.steps
        chosen = steps.stack_size > 1
        tree, position = steps.tree[chosen], sequences.last_position[chosen]
        log_probs = _log_choice(self.action_head, hidden[tree, position], steps.reduces_next[chosen])
        return log_probs.new_zeros(steps.num_trees).index_add(0, tree, log_probs)

    # ---- step by step ------------------------------------------------------------------------------------------------

    def begin(self, batch: int) -> CachedStacks:
        """What B derivations begin with: empty stacks."""
        self._check_cached()
        zeros = torch.zeros(batch, dtype=torch.long, device=self.device)
        start = zeros.unsqueeze(1)
        cache = DynamicCache(config=self.decoder.config)
        inputs = self._embed(start + self.config.bos_token_id, start - 1)
        hidden = self._read(inputs, torch.ones(batch, 1, 1, dtype=torch.bool, device=self.device), start, cache)
        return CachedStacks(memory_of(cache), start, zeros, hidden[:, -1], zeros > 0, zeros + 1)

    def next_step(self, state: CachedStacks) -> NextStep:
        """log p of everything that may come next in each row."""
        logits = self._piece_logits(state.hidden)
        is_end = torch.arange(logits.shape[1], device=logits.device) == self.config.eos_token_id
        shifts = logits.masked_fill(is_end & (state.size != 1).unsqueeze(1), -torch.inf).log_softmax(1)
        action = linear_at_least_float32(self.action_head, state.hidden).squeeze(1)
        may_reduce = state.size > 1
        reduces = functional.logsigmoid(action).masked_fill(~may_reduce, -torch.inf)
        shifts = shifts + torch.where(may_reduce, functional.logsigmoid(-action), 0.0).unsqueeze(1)
        if self.continue_head is None:
            return NextStep(reduces, shifts)
        goes_on = linear_at_least_float32(self.continue_head, state.hidden).squeeze(1)
        stops = torch.where(state.is_open, functional.logsigmoid(-goes_on), 0.0)
        goes_on = functional.logsigmoid(goes_on).masked_fill(~state.is_open, -torch.inf).unsqueeze(1)
        continues = goes_on + logits.masked_fill(is_end, -torch.inf).log_softmax(1)
        return NextStep(reduces + stops, shifts + stops.unsqueeze(1), continues)

    def advance(self, state: CachedStacks, actions: torch.LongTensor, pieces: torch.LongTensor) -> CachedStacks:
        """One step of each row: an `Action` (B,), and the piece of a SHIFT or CONTINUE (B,), elsewhere not looked at.

        Raises:
            ValueError: more positions than the decoder has.
        """
        self._check_cached()
        reading = NextReading.of(state, actions)
        reduces = reading.reduces.unsqueeze(1)
        symbols = torch.where(reduces, torch.tensor([COMPOSE, STACK], device=self.device), -1)[:, : reading.depth.shape[1]]
        ids = torch.where(symbols < 0, pieces.unsqueeze(1), self.config.bos_token_id)
        positions = reading.depth if self.config.positions == "depth" else reading.order
        cache = state.cache(self.decoder.config)
        hidden = self._read(self._embed(ids, symbols), reading.visible, positions, cache)
        return reading.stacks_after(hidden, cache)

    def _check_cached(self) -> None:
        modules = self.decoder.modules()
        if self.training and any(getattr(module, "gradient_checkpointing", False) for module in modules):
            raise ValueError(
                "Trees cannot be written step by step in training with gradient checkpointing, which keeps no cache: switch "
                "it off, or call eval()."
            )

    # ---- the decoder -------------------------------------------------------------------------------------------------

    def _embed(self, ids: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
        """What a decoder reads at each position, (B, T, E): a piece, or a symbol where there is one."""
        pieces = self.get_input_embeddings()(ids)
        # A pretrained decoder may be of fewer bits than what was put around it.
        return torch.where(symbols.unsqueeze(-1) < 0, pieces, self.symbols(symbols.clamp(min=0)).to(pieces.dtype))

    def _read(
        self, inputs: torch.Tensor, visible: torch.Tensor, positions: torch.Tensor, cache: Cache | None = None
    ) -> torch.Tensor:
        """The decoder's last states (B, Q, H) for inputs (B, Q, E) that see `visible` (B, Q, L + Q) behind a cache of L."""
        check_attention(self.decoder)
        self._check_room(positions)
        outputs = self.decoder.base_model(
            inputs_embeds=inputs,
            attention_mask=additive(visible, inputs.dtype),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return outputs.last_hidden_state

    @property
    def most_pieces(self) -> int | None:
        """Pieces of a sentence that has room whatever its tree; None where there is no limit."""
        room = decoder_positions(self.decoder)
        if room is None:
            return None
        # Before the pieces stands the start; by order each REDUCE, of which there are fewer than pieces, takes two positions.
        return room - 1 if self.config.positions == "depth" else room // 3

    def _check_room(self, positions: torch.Tensor, batch: int | None = None) -> None:
        """Raise a `ValueError` where positions (R, T) are more than there are; rows are trees of B sentences, one after
        another."""
        room = decoder_positions(self.decoder)
        if room is None or int(positions.max()) < room:
            return
        by_depth, row = self.config.positions == "depth", int(positions.amax(1).argmax()) % (batch or len(positions))
        raise ValueError(
            f"Row {row} does not fit the decoder, a {self.decoder.config.model_type!r} model with "
            f"room for {room} positions: its {'deepest stack' if by_depth else 'sentence with its tree'} takes "
            f"{int(positions.max()) + 1}, the start among them. Shorten the sentence, or choose a decoder with more positions"
            f"{'.' if by_depth else ', or set positions to depth.'}"
        )

    def _piece_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(P, V) of states (P, H), in float32 at least."""
        logits = self.decoder.get_output_embeddings()(hidden)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _pieces(input_ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """input_ids (R, S) at places (R, T); anything where there is none."""
    return input_ids.gather(1, places.clamp(min=0))


def _log_choice(head: nn.Linear, hidden: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
    """log p of what a head of two choices was asked, (N,), for states (N, H) and whether the first is taken, (N,) bool."""
    logits = linear_at_least_float32(head, hidden).squeeze(1)
    return functional.logsigmoid(torch.where(taken, logits, -logits))


AutoConfig.register(TransformerGrammarDecoderConfig.model_type, TransformerGrammarDecoderConfig)
AutoModel.register(TransformerGrammarDecoderConfig, TransformerGrammarDecoderModel)
