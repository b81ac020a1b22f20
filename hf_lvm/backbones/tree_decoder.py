"""What every generative decoder of sentences with binary trees offers, whatever it is made of.

Two ways to the same probabilities. Known trees are scored at once, in `forward`. Unknown ones are written step by step:

```python
state = decoder.begin(batch)
while ...:
    step = decoder.next_step(state)                    # log p of everything that may come next
    state = decoder.advance(state, actions, pieces)    # one choice a row
```

`state.select(rows)` keeps, repeats or reorders rows, `state.join(other)` puts those of another state behind them, and
`state.size` (B,) says how many constituents each stack holds.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from transformers.utils import ModelOutput

from hf_lvm.grammars.shift_reduce import DerivationState, StepwiseGrammar

__all__ = ["DerivationState", "TreeDecoder", "TreeDecoderOutput", "check_spans"]


@dataclass
class TreeDecoderOutput(ModelOutput):
    """log p of K trees for each of B sentences, nats.

    Attributes:
        log_prob: (K, B), log p(sentence, tree).
        word_log_prob: (K, B), of its words and the end of the sentence, each given the stack before it; in a model of
            sub-words also of how many pieces each word has.
        action_log_prob: (K, B), of SHIFT or REDUCE wherever there is a choice.
        published_log_prob: (K, B), the number that the code of Kim et al. (2019) evaluates: the end of the sentence does not
            count, and the probability that it has everywhere goes to waste. Not normalised over sentences.
    """

    log_prob: torch.Tensor | None = None
    word_log_prob: torch.Tensor | None = None
    action_log_prob: torch.Tensor | None = None
    published_log_prob: torch.Tensor | None = None


class TreeDecoder(StepwiseGrammar, Protocol):
    """p(sentence, tree), whose probabilities over all sentences with all trees sum to 1."""

    def __call__(
        self, input_ids: torch.LongTensor, spans: torch.Tensor, word_ids: torch.LongTensor | None = None
    ) -> TreeDecoderOutput:
        """Score trees spans (K, B, n, n) over n words, of pieces input_ids (B, S); word_ids (B, S) says to which word each
        piece belongs, -1 past the end, and is None where every word is one piece."""


def check_spans(input_ids: torch.Tensor, spans: torch.Tensor, word_ids: torch.Tensor | None) -> None:
    """Raise a `ValueError` unless spans are masks of trees for each sentence, over as many words as there can be."""
    words = input_ids.shape[1] if word_ids is None else spans.shape[-1]
    if spans.dim() != 4 or spans.shape[1:] != (len(input_ids), words, words) or spans.dtype != torch.bool:
        raise ValueError(
            f"spans must be a mask (K, {len(input_ids)}, {words}, {words}) of K trees for each sentence, but are "
            f"{tuple(spans.shape)} of {spans.dtype}."
        )
