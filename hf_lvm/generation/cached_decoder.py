"""Any decoder of transformers, or of this package, as something that goes on from where it stands: step by step or at once.

A state is never changed, only followed by others. So one reading of the prompt and of the source serves all samples of a
sentence, and both the pass that samples and the one that scores; a graph of gradients may run through it.
"""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from hf_lvm.distributions.lengths import may_look, rows_of
from hf_lvm.generation.activation_checkpointing import keeping_activations, recomputing_modules


class SymbolState(Protocol):
    """N sequences on their way.

    Attributes:
        logits: (N, V), of the next symbol.
    """

    logits: torch.Tensor

    def select(self, rows: torch.Tensor) -> "SymbolState":
        """These rows (R,), in this order; a row may come several times."""

    def repeat(self, times: int) -> "SymbolState":
        """Each row `times` times, one beside the other: (N * times)."""


class SymbolDecoder(Protocol):
    """What a distribution over sequences asks of the decoder that it is made of, for the B rows of a batch.

    Attributes:
        batch_size: B.
        device: where its numbers are.
    """

    batch_size: int
    device: torch.device

    def begin(self) -> SymbolState:
        """The state before the first symbol, of B rows."""

    def advance(self, state: SymbolState, symbols: torch.LongTensor) -> tuple[torch.Tensor, SymbolState]:
        """L more symbols (N, L) of each row: the logits after each of them (N, L, V), and the state after all of them."""

    def advance_points(self, state: SymbolState, points: torch.Tensor) -> tuple[torch.Tensor, SymbolState]:
        """The same for points of simplices (N, L, V) in the place of symbols: each is read as a mean of embeddings."""


@dataclass(frozen=True)
class DecodingState:
    """N sequences on their way through a decoder with a cache.

    Attributes:
        logits: (N, V), of the next symbol.
        cache: of all that has been read; not to be written to.
        positions: (N,), the number of the next position.
        mask: (N, what has been read), nonzero at tokens; None where no prompt is padded.
        conditions: tensors with the N rows first, given to the decoder in every call.
        sources: (N,), the row of the batch that each sequence belongs to, and so do its conditions.
    """

    logits: torch.Tensor
    cache: Cache
    positions: torch.Tensor
    mask: torch.Tensor | None
    conditions: dict[str, torch.Tensor]
    sources: torch.Tensor

    def select(self, rows: torch.Tensor) -> "DecodingState":
        """These rows (R,), in this order; a row may come several times."""
        cache = copy_of(self.cache)
        cache.batch_select_indices(rows)
        selected = self._with(cache, lambda tensor: tensor.index_select(0, rows))
        # Reordered beams of a sentence still attend to the same states, which are large, so these need no copy. To see which
        # rows were selected is free on a CPU only.
        if rows.device.type == "cpu" and torch.equal(selected.sources, self.sources):
            return replace(selected, conditions=self.conditions)
        conditions = {name: tensor.index_select(0, rows) for name, tensor in self.conditions.items()}
        return replace(selected, conditions=conditions)

    def repeat(self, times: int) -> "DecodingState":
        """Each row `times` times, one beside the other: (N * times)."""
        if times == 1:
            return self
        cache = copy_of(self.cache)
        cache.batch_repeat_interleave(times)
        repeated = self._with(cache, lambda tensor: tensor.repeat_interleave(times, dim=0))
        conditions = {name: tensor.repeat_interleave(times, dim=0) for name, tensor in self.conditions.items()}
        return replace(repeated, conditions=conditions)

    def _with(self, cache: Cache, change) -> "DecodingState":
        """The state with all but its conditions changed."""
        mask = None if self.mask is None else change(self.mask)
        return DecodingState(change(self.logits), cache, change(self.positions), mask, self.conditions, change(self.sources))


class CachedDecoder:
    """A decoder with what it is to go on from: a `SymbolDecoder`.

    A subclass may make other logits out of what the decoder's output layer reads, by `_logits`, from `conditions` of its own.

    Args:
        decoder: a causal language model (GPT-2, Llama, the decoder of a BART or T5, this package's LSTM), or an
            encoder-decoder model, whose encoder is not run. It is used in the mode it is in, but without activation
            checkpointing.
        prompt: (B, P) token ids to go on from, at least the start token: padded on either side.
        prompt_mask: (B, P), nonzero at tokens; None where there is no padding.
        prompt_embeds: (B, P, E), in the place of `prompt`, such as a prefix from a latent with the start token's embedding.
        encoder_hidden_states: (B, S, H), that it attends to.
        encoder_attention_mask: (B, S), nonzero at states that count.
        conditions: other tensors with the batch first that its `forward` takes, such as `input_condition`.
        first_position: the number of the first position, for RoBERTa and its kin, which begin behind the padding token's
            (`hf_lvm.layers.decoder_interface.first_position`). Others count from 0, by themselves if nothing is padded.

    Raises:
        ValueError: no prompt or two, shapes that do not go together, a row without a token, prompts of several lengths for a
            decoder that cannot be told positions, or states for one that does not attend.
    """

    # Conditions that are a subclass's, and not the decoder's; whether it asks for the states behind the logits.
    own_conditions: ClassVar[frozenset[str]] = frozenset()
    reads_states: ClassVar[bool] = False

    def __init__(
        self,
        decoder: PreTrainedModel,
        prompt: torch.LongTensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        *,
        prompt_embeds: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        conditions: Mapping[str, torch.Tensor] | None = None,
        first_position: int | None = None,
    ):
        if (prompt is None) == (prompt_embeds is None):
            raise ValueError("A decoder goes on from something: pass either prompt (B, P) or prompt_embeds (B, P, E).")
        given = prompt if prompt_embeds is None else prompt_embeds
        if given.dim() != (2 if prompt_embeds is None else 3) or given.shape[1] == 0:
            raise ValueError(
                f"The prompt has shape {tuple(given.shape)}: prompt is (B, P), prompt_embeds (B, P, E), with at least the "
                "start token."
            )
        self.decoder, self.batch_size, self.device = decoder, given.shape[0], given.device
        self.first_position = first_position
        # A recomputed layer writes no cache. The activations that are kept instead are small: steps are short.
        self._recomputing = recomputing_modules(decoder)
        self.arguments = frozenset(inspect.signature(decoder.forward).parameters)
        self.conditions = dict(conditions or {})
        for name, tensor in (
            ("encoder_hidden_states", encoder_hidden_states),
            ("encoder_attention_mask", encoder_attention_mask),
        ):
            if tensor is not None:
                self.conditions[name] = tensor
        for name, tensor in self.conditions.items():
            if tensor.shape[0] != self.batch_size:
                raise ValueError(f"{name} has {tensor.shape[0]} rows and the prompt {self.batch_size}: give one a row.")
        if encoder_hidden_states is not None:
            check_attends(decoder)
        if decoder.config.is_encoder_decoder and encoder_hidden_states is None:
            raise ValueError(
                f"{type(decoder).__name__} attends to an encoder's states: run its encoder once and pass them as "
                "encoder_hidden_states."
            )
        self._prompt, self._mask = given, self._checked_mask(given, prompt_mask)
        if self._mask is not None:
            # With the padding on the left, what comes next stands beside the last token.
            order = (self._mask != 0).to(torch.int8).argsort(dim=1, stable=True)
            self._mask = self._mask.gather(1, order)
            self._prompt = given.gather(1, order) if given.dim() == 2 else given.gather(1, order[..., None].expand_as(given))

    def begin(self) -> DecodingState:
        """The state after the prompt, of B rows; with gradients to all that it was made of."""
        rows = self._prompt.shape[0]
        start = torch.zeros(rows, dtype=torch.long, device=self.device)
        # There are no logits before the prompt.
        sources = torch.arange(rows, device=self.device)
        state = DecodingState(torch.empty(rows, 0, device=self.device), None, start, None, self.conditions, sources)
        tokens = {"ids" if self._prompt.dim() == 2 else "embeds": self._prompt}
        return self._read(state, **tokens, mask=self._mask, logits_to_keep=1)[1]

    def advance(self, state: DecodingState, symbols: torch.LongTensor) -> tuple[torch.Tensor, DecodingState]:
        """L more symbols (N, L) of each row: the logits after each of them (N, L, V), and the state after all of them."""
        return self._read(state, ids=symbols)

    def advance_points(self, state: DecodingState, points: torch.Tensor) -> tuple[torch.Tensor, DecodingState]:
        """The same for points of simplices (N, L, V) in the place of symbols: each is read as a mean of embeddings."""
        return self._read(state, embeds=self.embeddings_of(points))

    def embeddings_of(self, points: torch.Tensor) -> torch.Tensor:
        """The means of the symbols' embeddings at points (..., V): (..., E)."""
        table = self.embedding_table()
        return points.to(table.dtype) @ table[: points.shape[-1]]

    def embedding_table(self) -> torch.Tensor:
        """What the decoder reads in the place of each symbol, with the scale that BART and its kin multiply by: (V, E)."""
        return embedding_table(self.decoder.get_decoder() if self.decoder.config.is_encoder_decoder else self.decoder)

    def _read(
        self,
        state: DecodingState,
        ids: torch.LongTensor | None = None,
        embeds: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> tuple[torch.Tensor, DecodingState]:
        """Logits (N, L, V), of the last `logits_to_keep` places where it is not 0, and the state after what was read."""
        tokens = ids if embeds is None else embeds
        rows, length = tokens.shape[:2]
        if state.mask is not None:
            mask = torch.cat([state.mask, state.mask.new_ones(rows, length)], dim=1)
        if mask is None:
            positions = state.positions.unsqueeze(1) + torch.arange(length, device=self.device)
        else:
            # A padded place is read by nobody, so that any position does for it.
            positions = ((mask != 0).cumsum(1) - 1).clamp(min=0)[:, -length:]
        prefix = "decoder_" if self.decoder.config.is_encoder_decoder else ""
        inputs: dict[str, Any] = {prefix + ("input_ids" if embeds is None else "inputs_embeds"): tokens}
        if mask is not None:
            inputs[prefix + "attention_mask"] = mask
        if self._takes_positions and (mask is not None or self.first_position is not None):
            inputs[prefix + "position_ids"] = positions + (self.first_position or 0)
        if logits_to_keep and "logits_to_keep" in self.arguments:
            inputs["logits_to_keep"] = logits_to_keep
        if self.reads_states:
            inputs["output_hidden_states"] = True
        with keeping_activations(self._recomputing):
            output = self.decoder(
                **inputs,
                **self._sources(state.conditions),
                past_key_values=None if state.cache is None else copy_of(state.cache),
                use_cache=True,
                return_dict=True,
            )
        cache = output.past_key_values
        read = length if state.cache is None else state.cache.get_seq_length() + length
        if cache is None or cache.get_seq_length() != read:
            raise ValueError(
                f"{type(self.decoder).__name__} kept no cache to go on from: choose a decoder that returns past_key_values "
                "when it is called with use_cache=True."
            )
        logits = self._logits(output, state.conditions, logits_to_keep)
        return logits, replace(state, logits=logits[:, -1], cache=cache, positions=positions[:, -1] + 1, mask=mask)

    def _logits(self, output: ModelOutput, conditions: dict[str, torch.Tensor], keep: int) -> torch.Tensor:
        """The logits of symbols, (N, L, V) of the last `keep` places where it is not 0, from what the decoder returned."""
        return output.logits[:, -keep:]

    def states_of(self, output: ModelOutput, keep: int = 0) -> torch.Tensor:
        """What the output layer of the decoder has read: (N, L, H), of the last `keep` places where it is not 0.

        Raises:
            ValueError: a decoder that does not return its states.
        """
        states = output.get("hidden_states") or output.get("decoder_hidden_states")
        if not states:
            raise ValueError(
                f"{type(self.decoder).__name__} does not return its states (output_hidden_states), which a pointer reads: "
                "choose another decoder, or switch copying off."
            )
        return states[-1][:, -keep:]

    @property
    def _takes_positions(self) -> bool:
        prefix = "decoder_" if self.decoder.config.is_encoder_decoder else ""
        return f"{prefix}position_ids" in self.arguments

    def _sources(self, conditions: dict[str, torch.Tensor]) -> dict[str, Any]:
        """What the decoder is conditioned on, by the names it has in its `forward`."""
        conditions = {name: tensor for name, tensor in conditions.items() if name not in self.own_conditions}
        if not self.decoder.config.is_encoder_decoder:
            return conditions
        names = ("encoder_hidden_states", "encoder_attention_mask")
        others = {name: tensor for name, tensor in conditions.items() if name not in names}
        states = BaseModelOutput(last_hidden_state=conditions["encoder_hidden_states"])
        return {"encoder_outputs": states, "attention_mask": conditions.get("encoder_attention_mask"), **others}

    def _checked_mask(self, prompt: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The mask, or None where nothing is padded."""
        if mask is None:
            return None
        if mask.shape != prompt.shape[:2]:
            raise ValueError(f"prompt_mask {tuple(mask.shape)} and prompt {tuple(prompt.shape[:2])} differ in shape.")
        refuses_padding = not self._takes_positions and _counts_positions(self.decoder)
        # Elsewhere than on a CPU a look waits for the device, so there is one only where the answer decides about an error.
        if may_look(mask, refuses_padding):
            if (mask != 0).all():
                return None
            if (empty := (mask == 0).all(1)).any():
                raise ValueError(f"Row(s) {rows_of(empty)} of prompt_mask have no token: a prompt has at least a start token.")
        if refuses_padding:
            raise ValueError(
                f"{type(self.decoder).__name__} counts positions by itself and would count padding along: pass prompts of one "
                "length, each length as a batch of its own."
            )
        return mask


def attends(decoder: PreTrainedModel) -> bool:
    """Whether a decoder was built with layers that attend to `encoder_hidden_states`.

    Families that make these layers optional say so by `add_cross_attention` in their config. Many of the others accept states
    as one more keyword, and ignore them.
    """
    if decoder.config.is_encoder_decoder:
        return True
    named = "encoder_hidden_states" in inspect.signature(decoder.forward).parameters
    return named and bool(getattr(decoder.config.get_text_config(decoder=True), "add_cross_attention", True))


def check_attends(decoder: PreTrainedModel) -> None:
    """Raise a `ValueError` where a decoder would not see the states that it is given."""
    if not attends(decoder):
        raise ValueError(
            f"A {decoder.config.model_type!r} decoder without layers that attend to states would ignore them: load it with "
            "add_cross_attention=True if its family has such layers ('gpt2', 'bert', 'bart', 't5', ...), or show it what it "
            "is to read as a prompt."
        )


def embedding_table(part: PreTrainedModel) -> torch.Tensor:
    """What an encoder or a decoder reads in the place of each symbol, with its scale where it has one: (V, E)."""
    layer = part.get_input_embeddings()
    if type(layer) is nn.Embedding:
        return layer.weight
    return layer(torch.arange(layer.weight.shape[0], device=layer.weight.device))


def copy_of(cache: Cache) -> Cache:
    """The same tensors in another cache, which can grow without the first: its layers put new tensors in the place of old."""
    copied = copy.copy(cache)
    if isinstance(cache, EncoderDecoderCache):
        copied.self_attention_cache = copy_of(cache.self_attention_cache)
        copied.cross_attention_cache = copy_of(cache.cross_attention_cache)
        copied.is_updated = dict(cache.is_updated)
    else:
        copied.layers = [copy.copy(layer) for layer in cache.layers]
    return copied


def _counts_positions(decoder: PreTrainedModel) -> bool:
    """Whether a decoder has a vector for each position; states and relative positions need none."""
    return any(isinstance(module, nn.Embedding) and "position" in name for name, module in decoder.named_modules())
