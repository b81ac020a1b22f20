"""The segment decoder: p(x | c) as a product over consecutive kept words of p(the words between | the pair).

A gap is written word by word, and before each word it is decided whether the gap ends here. With l the kept word before the
gap, r the one behind it, v the word just before (l itself at first) and w the next one,

    p(w | l, v, r) = sum over m of g_m p_m(w) / (1 - sum over m of g_m p_m(r))    for w != r,   0 for w = r,

a mixture of three softmaxes that see v, l and r, one each, with gates g that see all three. So a gap never holds the word that
follows it: in each pair (x, c) it is clear which words of x are those of c, and p(x | c) sums to 1 over all x. Because a
component sees one word only, a sentence of n words takes n + 1 sums over the vocabulary for each, not n^2.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_lvm.backbones.dropout import Dropout
from hf_lvm.backbones.safe_loading import SafeLoading
from hf_lvm.backbones.segment_decoder.configuration_segment_decoder import SegmentDecoderConfig
from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.layers.word_softmax import WordSoftmax, log_not

SIDES = ("left", "previous", "right")


@dataclass
class SegmentDecoderOutput(ModelOutput):
    """What a segment decoder says of B sentences of n words at most.

    Attributes:
        pair_log_probs: (B, n + 1, n + 1), nats: log p(the words between | pair) at [row, from, to], as
            `hf_lvm.distributions.CanonicalDeletion` has pairs; -inf where a word between is the one that follows.
    """

    pair_log_probs: torch.Tensor


class SegmentDecoderModel(SafeLoading, PreTrainedModel):
    """All gaps of a sentence at once, in O(n^3) small numbers and O(n) sums over the vocabulary."""

    config: SegmentDecoderConfig
    base_model_prefix = "segment_decoder"
    main_input_name = "words"
    _input_embed_layer = "embeddings"

    def __init__(self, config: SegmentDecoderConfig):
        super().__init__(config)
        size, count = config.hidden_size, len(SIDES)
        self.embeddings = nn.Embedding(config.vocab_size, size)
        self.contexts = nn.ModuleDict({side: nn.Linear(size, size) for side in SIDES})
        self.dropout = Dropout(config.dropout)
        self.words = WordSoftmax(size, config.vocab_size, config.excluded_ids)
        # From each word: a part of the gates and of the decision to stop, and units of which pairs are made.
        self.gates = nn.ModuleDict({side: nn.Linear(size, count) for side in SIDES})
        self.stops = nn.ModuleDict({side: nn.Linear(size, 1 + (1 + (side == "right")) * size) for side in SIDES})
        self.stop_at = nn.Parameter(torch.zeros(config.gap_places))
        self.post_init()

    def forward(self, words: torch.LongTensor, lengths: torch.Tensor | None = None) -> SegmentDecoderOutput:
        """Log-probabilities of all gaps of sentences.

        Args:
            words: (B, n) ids, padded on the right with any id.
            lengths: (B,), words of each; None where all have n.

        Raises:
            ValueError: padding, the start token or the end among the words; no such tokens in the config.
        """
        begin, end = self._marks()
        if lengths is None:
            lengths = torch.full_like(words[:, 0], words.shape[1])
        places = torch.arange(words.shape[1] + 1, device=words.device)
        # Any word will do where there is none: nothing that it says is used.
        words = torch.where(places[:-1] < lengths.unsqueeze(1), words, words[:, :1])
        self._check(words)
        before = torch.cat([torch.full_like(words[:, :1], begin), words], dim=1)
        behind = torch.cat([words, torch.full_like(words[:, :1], end)], dim=1)
        read = {"left": before, "previous": before, "right": behind}
        embedded = {"left": self.embeddings(before), "right": self.embeddings(behind)}
        embedded["previous"] = embedded["left"]
        with torch.autocast(words.device.type, enabled=False):
            emitted = self._emitted(embedded, read, words)  # [row, left, node, right], of the word at the node
            stop = self._stops(embedded, places)  # likewise, of ending the gap in front of that word
        goes_on = functional.pad(functional.logsigmoid(-stop[:, :, :-1]) + emitted, (0, 0, 0, 1))
        # The words of a gap are those from the left node up to the right place, which is the length for the end.
        rows = len(words)
        to = torch.where(places < len(places) - 1, places, lengths.unsqueeze(1)).view(rows, 1, 1, -1)
        node, left = places.view(1, 1, -1, 1), places.view(1, -1, 1, 1)
        written = goes_on.masked_fill((node < left) | (node >= to), 0.0).sum(2)
        ends = functional.logsigmoid(stop.gather(2, to.expand(-1, len(places), -1, -1)).squeeze(2))
        return SegmentDecoderOutput((written + ends).masked_fill(_holds_next(words), -torch.inf))

    def _check(self, words: torch.Tensor) -> None:
        if may_look(words, False):
            wrong = torch.isin(words, torch.tensor(self.config.excluded_ids)).any(1)
            if wrong.any():
                raise ValueError(
                    f"Row(s) {rows_of(wrong)} hold padding, a start token or the end of a sentence among their words: these "
                    f"tokens ({', '.join(map(str, self.config.excluded_ids))}) are no words."
                )

    def _marks(self) -> tuple[int, int]:
        config = self.config
        if config.bos_token_id is None or config.eos_token_id is None:
            raise ValueError(
                "The segment decoder needs tokens for the begin and the end of a sentence: set bos_token_id and eos_token_id."
            )
        return config.bos_token_id, config.eos_token_id

    def _emitted(self, embedded: dict[str, torch.Tensor], read: dict[str, torch.Tensor], words: torch.Tensor) -> torch.Tensor:
        """log p(word at node | left, word before the node, right): (B, n + 1, n, n + 1)."""
        log_probs = {
            side: self.words(
                self.dropout(each + self.contexts[side](each).tanh()),
                words,
                read=None if self.dropout.is_active else read[side],
            )
            for side, each in embedded.items()
        }
        # The three of a gate stand first: a softmax over so few numbers in a row is slow.
        gates = self._spread(*(self.gates[side](embedded[side]).movedim(-1, 0) for side in SIDES))[:, :, :, :-1].log_softmax(0)
        of_left, of_previous, of_right = (log_probs[side] for side in SIDES)
        of_word = (
            of_left.unsqueeze(3),  # [left, node, .]
            of_previous[:, :-1].diagonal(dim1=1, dim2=2).unsqueeze(1).unsqueeze(3),  # [., node, .]
            of_right.mT.unsqueeze(1),  # [., node, right]
        )
        emitted = torch.stack([gates[m] + each for m, each in enumerate(of_word)]).logsumexp(0)
        # What the word that follows the gap would have had; the end is no word, so behind the last one nothing is excluded.
        of_next = (
            of_left.unsqueeze(2),  # [left, ., right]
            of_previous[:, :-1].unsqueeze(1),  # [., node, right]
            of_right[:, :-1].diagonal(dim1=1, dim2=2).unsqueeze(1).unsqueeze(2),  # [., ., right]
        )
        next_word = torch.stack([gates[m, ..., :-1] + each for m, each in enumerate(of_next)]).logsumexp(0)
        return emitted - functional.pad(log_not(next_word), (0, 1))

    def _stops(self, embedded: dict[str, torch.Tensor], places: torch.Tensor) -> torch.Tensor:
        """The logit of ending a gap in front of the word at a node: (B, n + 1, n + 1, n + 1)."""
        size = self.config.hidden_size
        left, previous, right = (self.stops[side](embedded[side]) for side in SIDES)
        logits = self._spread(left[..., 0], previous[..., 0], right[..., 0])
        left, previous, (right, other) = left[..., 1:], previous[..., 1:], right[..., 1:].split(size, dim=-1)
        scale = size**-0.5
        logits = logits + (left @ right.mT * scale).unsqueeze(2) + (previous @ other.mT * scale).unsqueeze(1)
        place = (places.unsqueeze(0) - places.unsqueeze(1)).clamp(0, len(self.stop_at) - 1)
        return logits + self.stop_at[place].unsqueeze(-1)

    @staticmethod
    def _spread(left: torch.Tensor, previous: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """The sum of what each of three words says, (..., n + 1) each: (..., n + 1, n + 1, n + 1)."""
        return left[..., :, None, None] + previous[..., None, :, None] + right[..., None, None, :]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Embedding, nn.Linear)):
            init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear):
                init.zeros_(module.bias)


def _holds_next(words: torch.Tensor) -> torch.Tensor:
    """Whether the word at `to` stands between `from` and `to`: (B, n + 1, n + 1)."""
    places = torch.arange(words.shape[1], device=words.device)
    equal = (words.unsqueeze(1) == words.unsqueeze(2)) & (places.unsqueeze(1) < places)  # [earlier place, to]
    # An equal word at the place of node `from` or behind it: from the last place to the first.
    held = equal.flip(1).cummax(1).values.flip(1)
    return functional.pad(held, (0, 1, 0, 1))


AutoConfig.register(SegmentDecoderConfig.model_type, SegmentDecoderConfig)
AutoModel.register(SegmentDecoderConfig, SegmentDecoderModel)
