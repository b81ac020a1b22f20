"""A decoder that copies symbols of its own vocabulary from what it attends to (See et al. 2017, equations 8 and 9).

    p(w) = g softmax(logits)_w  +  (1 - g) * sum of the attention to the places of the source that are w

g and the attention come from what the output layer of the decoder reads. Where a source has no place that is a symbol of the
vocabulary, g is 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.generation.cached_decoder import CachedDecoder


@dataclass(frozen=True)
class CopiedSymbols:
    """What may be copied of B sources of S places.

    Attributes:
        attend: from what the output layer reads (N, L, H), states (N, S, R) and a mask (N, S) of places that can be copied, to
            log attention over places (N, L, S) and the logit of g (N, L).
        symbols: (B, S), the symbol that each place is; -1 where it is none.
    """

    attend: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    symbols: torch.Tensor


class PointerGeneratorDecoder(CachedDecoder):
    """A decoder whose logits are the log-probabilities of the mixture: a `SymbolDecoder`.

    Args:
        decoder, prompt, encoder_hidden_states, encoder_attention_mask: as of `CachedDecoder`; the states are those of the
            places.
        copied: what may be copied.
    """

    own_conditions: ClassVar[frozenset[str]] = frozenset({"copy_symbols"})
    reads_states: ClassVar[bool] = True

    def __init__(
        self,
        decoder: PreTrainedModel,
        prompt: torch.LongTensor,
        copied: CopiedSymbols,
        *,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None = None,
    ):
        self.copied = copied
        super().__init__(
            decoder,
            prompt,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            conditions={"copy_symbols": copied.symbols},
        )

    def _logits(self, output: ModelOutput, conditions: dict[str, torch.Tensor], keep: int) -> torch.Tensor:
        logits = super()._logits(output, conditions, keep)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        symbols = conditions["copy_symbols"]
        can = symbols >= 0
        log_attention, gate = self.copied.attend(self.states_of(output, keep), conditions["encoder_hidden_states"], can)
        attention = log_attention.to(logits.dtype).exp().masked_fill(~can.unsqueeze(1), 0.0)
        places = symbols.clamp(min=0).unsqueeze(1).expand_as(attention)
        shares = torch.zeros_like(logits).scatter_add(-1, places, attention)
        written, gate = logits.log_softmax(-1), gate.to(logits.dtype).unsqueeze(-1)
        # A symbol that no place holds can only be generated; the logarithm of its share of 0 would have a gradient of nan.
        is_copied, tiny = shares > 0, torch.finfo(logits.dtype).tiny
        copies = functional.logsigmoid(-gate) + shares.masked_fill(~is_copied, 1.0).clamp(min=tiny).log()
        generated = functional.logsigmoid(gate) + written
        mixture = torch.where(is_copied, torch.logaddexp(generated, copies), generated)
        return torch.where(can.any(1).view(-1, 1, 1), mixture, written)
