"""A decoder that also copies the words of a source: symbols behind its own vocabulary, one for each word.

The logits of copying are scores of what the output layer reads against a key for each word, and all symbols share one
soft-max (a pointer network beside a vocabulary, as in Yin and Neubig 2017, section 4.2.2, where the two are mixed by a gate of
their own). What is read after a copy is a vector of that word. No family of decoders is treated apart: it is given embeddings
and asked for its last hidden states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.generation.cached_decoder import CachedDecoder, DecodingState


@dataclass(frozen=True)
class CopiedWords:
    """What a decoder may copy of B sources of n words at most.

    Attributes:
        slots: how many symbols copy; those past n are never possible.
        query: from what the output layer reads (N, L, H) to vectors (N, L, D).
        keys: (B, n, D), which these are multiplied with.
        embeddings: (B, n, E), what is read after copying each word.
        mask: (B, n), nonzero at words.
    """

    slots: int
    query: Callable[[torch.Tensor], torch.Tensor]
    keys: torch.Tensor
    embeddings: torch.Tensor
    mask: torch.Tensor


class CopyingDecoder(CachedDecoder):
    """A decoder of symbols of which some copy, and which may be told what place the next one fills: a `SymbolDecoder`.

    Args:
        decoder: as of `CachedDecoder`; its embeddings and its logits are of the V symbols that do not copy.
        prompt: (B, P) symbols that do not copy.
        copied: what can be copied, as the symbols V to V + slots - 1; None for nothing.
        field_embeddings: from numbers of places (N, L) to vectors (N, L, E), added to what is read; None where places are not
            read. `hf_lvm.generation.grammar_decoder.GrammarDecoder` tells them.
        encoder_hidden_states, encoder_attention_mask, conditions, first_position: as of `CachedDecoder`.
    """

    own_conditions: ClassVar[frozenset[str]] = frozenset({"copy_keys", "copy_embeddings", "copy_mask"})

    def __init__(
        self,
        decoder: PreTrainedModel,
        prompt: torch.LongTensor,
        copied: CopiedWords | None = None,
        field_embeddings: Callable[[torch.Tensor], torch.Tensor] | None = None,
        *,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        conditions: Mapping[str, torch.Tensor] | None = None,
        first_position: int | None = None,
    ):
        self.copied, self.field_embeddings = copied, field_embeddings
        self.reads_states = copied is not None
        self._embed = (decoder.get_decoder() if decoder.config.is_encoder_decoder else decoder).get_input_embeddings()
        embeds = self._embed(prompt)
        if field_embeddings is not None:
            # The place that the first symbol fills is the root, number 0.
            embeds = torch.cat([embeds[:, :-1], embeds[:, -1:] + field_embeddings(torch.zeros_like(prompt[:, -1:]))], dim=1)
        conditions = dict(conditions or {})
        if copied is not None:
            conditions |= {"copy_keys": copied.keys, "copy_embeddings": copied.embeddings, "copy_mask": copied.mask}
        super().__init__(
            decoder,
            prompt_embeds=embeds,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            conditions=conditions,
            first_position=first_position,
        )

    @property
    def reads_fields(self) -> bool:
        """Whether `advance` is to be told the places that the symbols after those it reads will fill."""
        return self.field_embeddings is not None

    def advance(
        self, state: DecodingState, symbols: torch.LongTensor, fields: torch.LongTensor | None = None
    ) -> tuple[torch.Tensor, DecodingState]:
        """L more symbols (N, L) of each row: the logits after each of them (N, L, V + slots), and the state after all.

        Args:
            fields: (N, L), the number of the place that comes next after each symbol, where places are read.
        """
        embeds = self._embeddings(state, symbols)
        if self.field_embeddings is not None:
            embeds = embeds + self.field_embeddings(fields)
        return self._read(state, embeds=embeds)

    def advance_points(self, state: DecodingState, points: torch.Tensor) -> tuple[torch.Tensor, DecodingState]:
        """Refused: a copied word is no row of a table of embeddings.

        Raises:
            ValueError: always.
        """
        raise ValueError("A decoder that copies reads symbols, and no points between them: use a score function.")

    def _embeddings(self, state: DecodingState, symbols: torch.LongTensor) -> torch.Tensor:
        if self.copied is None:
            return self._embed(symbols)
        words = state.conditions["copy_embeddings"]
        own = self._embed.weight.shape[0]
        size = min(own, self.decoder.config.get_text_config(decoder=True).vocab_size)
        slots = (symbols - size).clamp(min=0, max=words.shape[1] - 1)
        copies = words.gather(1, slots.unsqueeze(-1).expand(-1, -1, words.shape[-1]))
        return torch.where((symbols < size).unsqueeze(-1), self._embed(symbols.clamp(max=size - 1)), copies)

    def _logits(self, output: ModelOutput, conditions: dict[str, torch.Tensor], keep: int) -> torch.Tensor:
        own = super()._logits(output, conditions, keep)
        if self.copied is None:
            return own
        queries = self.copied.query(self.states_of(output, keep))
        scores = queries @ conditions["copy_keys"].mT * queries.shape[-1] ** -0.5
        scores = scores.masked_fill((conditions["copy_mask"] == 0).unsqueeze(1), -torch.inf)[..., : self.copied.slots]
        missing = self.copied.slots - scores.shape[-1]
        return torch.cat([own, functional.pad(scores, (0, missing), value=-torch.inf).to(own.dtype)], dim=-1)
