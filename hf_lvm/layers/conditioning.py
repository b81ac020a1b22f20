"""A decoder conditioned on a latent: the one path that training, scoring and generation share.

`condition` turns z into what each injection gives the decoder, once; `decode` runs the decoder on tokens under these
conditions, with or without a cache. A cached step and a full pass compute the same thing because they are the same code.
"""

import contextlib
from collections.abc import Mapping

import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_lvm.layers.context_window import ContextWindow
from hf_lvm.layers.decoder_interface import DecoderInterface, check_causal, is_on_meta, own_memory
from hf_lvm.layers.injections import build_injections, injection_names

Conditions = Mapping[str, torch.Tensor]


class LatentConditioning(nn.Module):
    """All injections of a model between its latent and its decoder.

    Args:
        decoder: the decoder; it is looked at here and handed over again at each call, and stays the model's own.
        injection: a name, or several.
        latent_size: D.
        length: positions that `prefix`, `memory` and `cross_attention` fill.
        memory_shape: (key/value heads, head size) of each layer; found by running the decoder when it is None.
        context_window: tokens that a logit depends on; None for all before it.

    Raises:
        ValueError: an unknown injection, or one that this decoder cannot take.
    """

    def __init__(
        self,
        decoder: PreTrainedModel,
        injection: str | list[str],
        latent_size: int,
        length: int,
        memory_shape: list[list[int]] | None = None,
        context_window: int | None = None,
    ):
        super().__init__()
        self.interface = DecoderInterface.of(decoder)
        if "memory" in injection_names(injection) and memory_shape is None:
            memory_shape = [[keys.shape[1], keys.shape[3]] for keys, _ in own_memory(decoder, self.interface)]
        self.memory_shape = memory_shape
        self.injections = build_injections(injection, latent_size, length, self.interface, memory_shape)
        self.prefix_length = length if "prefix" in self.injections else 0
        self.memory_length = length if "memory" in self.injections else 0
        self.window = None
        if context_window is not None:
            self.window = ContextWindow.of(decoder, context_window, self.positions_used)

    @property
    def positions_used(self) -> int:
        """Positions of the decoder that the latent takes before the first token."""
        return self.prefix_length + self.memory_length

    @property
    def joins_only_logits(self) -> bool:
        """Whether the decoder computes the same whatever z is, and z is a bias on what comes out."""
        return list(self.injections) == ["logits"]

    def condition(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each injection gives the decoder for latents (B, D)."""
        return {name: injection(latents) for name, injection in self.injections.items()}

    def decode(
        self,
        decoder: PreTrainedModel,
        input_ids: torch.Tensor,
        conditions: Conditions,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> CausalLMOutputWithPast:
        """Run the decoder on tokens (B, T) without padding before them: logits (B, T, V), or the last `logits_to_keep`.

        With an empty cache, or none, the latent is put before the tokens; with a filled one the tokens go on from there.
        """
        is_start = past_key_values is None or past_key_values.get_seq_length() == 0
        inputs = {"inputs_embeds": self._embeddings(decoder, input_ids, conditions, is_start)}
        past_key_values = self._cache(decoder, conditions, past_key_values, use_cache, is_start)
        if self.interface.first_position is not None:
            first = self.interface.first_position + (0 if past_key_values is None else past_key_values.get_seq_length())
            length = inputs["inputs_embeds"].shape[1]
            inputs["position_ids"] = torch.arange(first, first + length, device=input_ids.device).unsqueeze(0)
        if "cross_attention" in conditions:
            inputs["encoder_hidden_states"] = conditions["cross_attention"]
        if "concatenation" in conditions:
            inputs["input_condition"] = conditions["concatenation"]
        if is_start and "initial_state" in conditions:
            inputs["initial_cell"] = conditions["initial_state"]
        kept = logits_to_keep or input_ids.shape[1]
        if "logits_to_keep" in self.interface.arguments:
            inputs["logits_to_keep"] = kept
        with contextlib.nullcontext() if self.window is None else self.window.over(decoder):
            outputs = decoder(**inputs, past_key_values=past_key_values, use_cache=use_cache, return_dict=True)
        logits = outputs.logits
        if logits.shape[1] > kept:
            # Only then: the gradient of a slice is one more copy of all logits, however much of them is kept.
            logits = logits[:, -kept:]
        if "logits" in conditions:
            logits = logits + conditions["logits"].to(logits.dtype)
        return CausalLMOutputWithPast(logits=logits, past_key_values=outputs.past_key_values if use_cache else None)

    def _embeddings(
        self, decoder: PreTrainedModel, input_ids: torch.Tensor, conditions: Conditions, is_start: bool
    ) -> torch.Tensor:
        """What the decoder reads: the tokens' embeddings, joined by those of the latent."""
        embeddings = decoder.get_input_embeddings()(input_ids)
        if "embedding" in conditions:
            embeddings = embeddings + conditions["embedding"].to(embeddings.dtype)
        if is_start and "prefix" in conditions:
            embeddings = torch.cat([conditions["prefix"].to(embeddings.dtype), embeddings], dim=1)
        return embeddings

    def _cache(
        self,
        decoder: PreTrainedModel,
        conditions: Conditions,
        cache: Cache | None,
        use_cache: bool,
        is_start: bool,
    ) -> Cache | None:
        """The cache to run with: in the place the decoder expects, and holding the memory if z is to be remembered."""
        writes_memory = is_start and "memory" in conditions
        if cache is None and (use_cache or writes_memory):
            cache = DynamicCache(config=decoder.config)
        if cache is not None and "cross_attention" in conditions and not isinstance(cache, EncoderDecoderCache):
            # BART and T5 would write the keys of the states they attend to into the slots of the tokens.
            cache = EncoderDecoderCache(cache, DynamicCache(config=decoder.config))
        if writes_memory:
            self._write_memory(decoder, conditions["memory"], cache)
        return cache

    def cache_with_memory(self, decoder: PreTrainedModel, memory: torch.Tensor, attends: bool = False) -> Cache:
        """A new cache that holds what `condition` made for the injection `memory`, as if the decoder had read it.

        Args:
            attends: whether the decoder is also given states to attend to.

        Raises:
            ValueError: gradient checkpointing, which runs without a cache.
        """
        cache: Cache = DynamicCache(config=decoder.config)
        if attends:
            cache = EncoderDecoderCache(cache, DynamicCache(config=decoder.config))
        self._write_memory(decoder, memory, cache)
        return cache

    def _write_memory(self, decoder: PreTrainedModel, memory: torch.Tensor, cache: Cache) -> None:
        if decoder.training and any(getattr(module, "gradient_checkpointing", False) for module in decoder.modules()):
            raise ValueError(
                "injection 'memory' lives in the decoder's cache, and gradient checkpointing runs without one: "
                "switch gradient checkpointing off, or choose the injection 'prefix'."
            )
        own_cache = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
        self.injections["memory"].write(memory, own_cache)

    @torch.no_grad()
    def calibrate(self, decoder: PreTrainedModel, latents: torch.Tensor) -> None:
        """Check that the decoder is causal and bring every injection to the scale of what it joins.

        Call it once, on a new model whose weights are there; it does nothing while they are still to be loaded.

        Args:
            latents: (N, D), typical latents, such as draws from the prior.
        """
        if is_on_meta(decoder):
            return
        check_causal(decoder, self.interface)
        if self.window is not None:
            self.window.check(decoder, self.interface.vocab_size)
        latents = latents.to(decoder.device)
        for injection in self.injections.values():
            injection.calibrate(latents, decoder, self.interface)
