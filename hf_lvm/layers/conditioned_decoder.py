"""A decoder under a latent as something that goes on symbol by symbol: what `SymbolSequences` is made of.

All injections of `LatentConditioning`, with the cache, for symbols and for points of simplices alike.
"""

import torch
from transformers import PreTrainedModel

from hf_lvm.generation.cached_decoder import CachedDecoder, DecodingState
from hf_lvm.layers.conditioning import LatentConditioning


class ConditionedDecoder(CachedDecoder):
    """`CachedDecoder` of a decoder that is told a vector by the injections of a model.

    Args:
        decoder: the decoder. It is used in the mode it is in.
        conditioning: of the same decoder, without a context window.
        latents: (B, D), the vector of each row.
        start_token_id: what every sequence begins behind.

    Raises:
        ValueError: a context window.
    """

    own_conditions = frozenset({"embedding", "logits"})

    def __init__(self, decoder: PreTrainedModel, conditioning: LatentConditioning, latents: torch.Tensor, start_token_id: int):
        if conditioning.window is not None:
            raise ValueError("A decoder with a context window does not go on symbol by symbol here: leave context_window out.")
        conditions = conditioning.condition(latents)
        start = torch.full((len(latents), 1), start_token_id, device=latents.device)
        prompt = decoder.get_input_embeddings()(start)
        if "embedding" in conditions:
            prompt = prompt + conditions["embedding"].to(prompt.dtype)
        if "prefix" in conditions:
            prompt = torch.cat([conditions["prefix"].to(prompt.dtype), prompt], dim=1)
        given = {
            name: conditions[own]
            for name, own in (("input_condition", "concatenation"), ("initial_cell", "initial_state"))
            if own in conditions
        }
        given |= {name: conditions[name] for name in self.own_conditions if name in conditions}
        super().__init__(
            decoder,
            prompt_embeds=prompt,
            encoder_hidden_states=conditions.get("cross_attention"),
            conditions=given,
            first_position=conditioning.interface.first_position,
        )
        self._conditioning, self._memory = conditioning, conditions.get("memory")

    def begin(self) -> DecodingState:
        """The state after the start token, of B rows; with gradients to all that it was made of."""
        if self._memory is None:
            return super().begin()
        rows = self.batch_size
        cache = self._conditioning.cache_with_memory(
            self.decoder, self._memory, attends="encoder_hidden_states" in self.conditions
        )
        positions = torch.full((rows,), self._conditioning.memory_length, device=self.device)
        sources = torch.arange(rows, device=self.device)
        state = DecodingState(torch.empty(rows, 0, device=self.device), cache, positions, None, self.conditions, sources)
        return self._read(state, embeds=self._prompt, logits_to_keep=1)[1]

    def advance(self, state: DecodingState, symbols: torch.LongTensor) -> tuple[torch.Tensor, DecodingState]:
        """L more symbols (N, L) of each row; see `CachedDecoder.advance`."""
        if "embedding" not in state.conditions:
            return super().advance(state, symbols)
        return self._read(state, embeds=self._told(state, self.decoder.get_input_embeddings()(symbols)))

    def advance_points(self, state: DecodingState, points: torch.Tensor) -> tuple[torch.Tensor, DecodingState]:
        """The same for points of simplices (N, L, V) in the place of symbols."""
        return self._read(state, embeds=self._told(state, self.embeddings_of(points)))

    def _told(self, state: DecodingState, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, L, E) with what is added to each."""
        if "embedding" not in state.conditions:
            return embeddings
        return embeddings + state.conditions["embedding"].to(embeddings.dtype)

    def _logits(self, output, conditions: dict[str, torch.Tensor], keep: int) -> torch.Tensor:
        logits = super()._logits(output, conditions, keep)
        return logits + conditions["logits"].to(logits.dtype) if "logits" in conditions else logits
