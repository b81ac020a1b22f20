"""Limited context: a decoder that sees only its last k tokens has to ask z for the rest.

Weak decoders are the oldest cure of posterior collapse (Bowman et al. 2015; Yang et al. 2017, whose convolutions see only so
far). Here any attention decoder is made one. In a layer whose queries see the last w positions information travels w - 1
positions, and layers add up, so windows w_1..w_L with 1 + sum(w_l - 1) = k let a logit depend on k tokens, the one just read
among them. The slots that the latent fills (prefix, memory) hold nothing of the sentence and stay visible to every query.

The windows are put into the attention mask that each layer receives, by hooks that live as long as one call of the decoder:
no attention code is touched, and the decoder called directly is itself again. A decoder with sliding windows of its own
keeps them.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from hf_lvm.layers.decoder_interface import in_evaluation_mode, is_on_meta, probe_tokens

# Attention whose mask is a tensor of queries by keys, which is what a window is written in.
MASKED_ATTENTION = ("eager", "sdpa")


def window_sizes(context_window: int, num_layers: int) -> list[int]:
    """Windows w_l >= 1 of the layers, as even as possible, with 1 + sum(w_l - 1) = context_window.

    What does not divide evenly goes to the first layers. A layer left with a window of 1 attends to its own token and to the
    latent.

    Raises:
        ValueError: fewer than one token.
    """
    if context_window < 1:
        raise ValueError(
            f"context_window must be at least 1, the token just read, but is {context_window}: leave it unset (None) for a "
            "decoder that sees everything."
        )
    share, rest = divmod(context_window - 1, num_layers)
    return [1 + share + (layer < rest) for layer in range(num_layers)]


@dataclass(frozen=True)
class ContextWindow:
    """The windows of one decoder's layers.

    Attributes:
        sizes: the window of each layer, in positions.
        latent_slots: how many positions before the first token belong to the latent and stay visible.
        layers: where the layers are in the decoder, as a module path.
        arguments: the names of what a layer's `forward` takes, in order.
    """

    sizes: tuple[int, ...]
    latent_slots: int
    layers: str
    arguments: tuple[str, ...]

    @classmethod
    def of(cls, decoder: PreTrainedModel, context_window: int, latent_slots: int = 0) -> "ContextWindow":
        """Windows over the layers of a decoder, so that its logits depend on at most `context_window` tokens.

        Raises:
            ValueError: a window below 1, or a decoder without attention layers or with attention that takes no such mask.
        """
        path, layers = _attention_layers(decoder)
        _check_attention(decoder)
        return cls(
            sizes=tuple(window_sizes(context_window, len(layers))),
            latent_slots=latent_slots,
            layers=path,
            arguments=tuple(inspect.signature(layers[0].forward).parameters),
        )

    @property
    def reach(self) -> int:
        """The number of tokens a logit depends on, through all layers."""
        return 1 + sum(size - 1 for size in self.sizes)

    @contextmanager
    def over(self, decoder: PreTrainedModel) -> Iterator[None]:
        """Hold the windows over one call of the decoder inside a `with`; it may go on from a cache.

        Raises:
            ValueError: the decoder was switched to attention without such masks, or to gradient checkpointing that would
                recompute the layers without them.
        """
        _check_attention(decoder)
        masks: dict[tuple, torch.Tensor] = {}
        handles = []
        try:
            for index, layer in enumerate(decoder.get_submodule(self.layers)):
                _check_checkpointing(layer)
                narrow = partial(self._narrow, index, decoder.config._attn_implementation, masks)
                handles.append(layer.register_forward_pre_hook(narrow, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _narrow(
        self, index: int, implementation: str, masks: dict, layer: nn.Module, args: tuple, kwargs: dict[str, Any]
    ) -> tuple[tuple, dict[str, Any]]:
        """The arguments of a layer, with its window in the attention mask."""
        given = {**dict(zip(self.arguments, args, strict=False)), **kwargs}
        hidden = given[self.arguments[0]]
        cache: Cache | None = given.get("past_key_values", given.get("layer_past"))
        queries = hidden.shape[1]
        # Asked of the layer's own slots, because the layers before it have already written the tokens of this call.
        start = 0 if cache is None else int(cache.get_seq_length(index))
        keys, first_key = (queries, 0) if cache is None else cache.get_mask_sizes(queries, index)
        size = self.sizes[index]
        if first_key + keys - self.latent_slots <= size:
            return args, kwargs
        key = (size, start, queries, first_key, keys, hidden.device)
        if key not in masks:
            masks[key] = self._visible(*key)
        mask = _both(given.get("attention_mask"), masks[key], hidden.dtype, implementation)
        place = self.arguments.index("attention_mask")
        if place < len(args):
            return (*args[:place], mask, *args[place + 1 :]), kwargs
        return args, {**kwargs, "attention_mask": mask}

    def _visible(self, size: int, start: int, queries: int, first_key: int, keys: int, device: torch.device) -> torch.Tensor:
        """Which keys each query sees: bool (1, 1, queries, keys). Positions count from the first slot of the cache."""
        key = torch.arange(first_key, first_key + keys, device=device)
        distance = torch.arange(start, start + queries, device=device)[:, None] - key
        visible = (distance >= 0) & ((distance < size) | (key < self.latent_slots))
        return visible[None, None]

    def check(self, decoder: PreTrainedModel, vocab_size: int) -> None:
        """Run the decoder on a few tokens and look whether the windows hold.

        Call it once, on a decoder whose weights are there; it does nothing while they are still to be loaded.

        Raises:
            ValueError: a token outside the windows changes a logit, because some layer remembers by other means than
                attention, runs more than once, or reads its mask in another way.
        """
        if is_on_meta(decoder):
            return
        ids = probe_tokens(decoder, vocab_size)
        # At most as many tokens as one less than there are, so that one of them is out of sight.
        reach = min(self.reach, ids.shape[1] - 1)
        window = replace(self, sizes=tuple(window_sizes(reach, len(self.sizes))), latent_slots=0)
        changed = ids.clone()
        changed[:, 0] = (changed[:, 0] + 1) % vocab_size
        embed = decoder.get_input_embeddings()
        with in_evaluation_mode(decoder), window.over(decoder):
            before, after = (
                decoder(inputs_embeds=embed(tokens), use_cache=False).logits[:, reach:].float() for tokens in (ids, changed)
            )
        tolerance = 1e-5 if embed.weight.dtype in (torch.float32, torch.float64) else 1e-3
        if (before - after).abs().max() > tolerance * before.abs().max():
            raise ValueError(
                f"context_window cannot limit a {decoder.config.model_type!r} decoder, because its layers see more than the "
                "attention mask shows them: leave it unset, or choose a decoder such as 'gpt2', 'llama' or 'bart'."
            )


def _attention_layers(decoder: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The list of layers that attend to earlier tokens, and its path: those that take a mask and the keys of a cache."""
    found: dict[str, nn.ModuleList] = {}
    for path, modules in decoder.named_modules():
        # A layer may itself hold a list of parts, of which each attends.
        is_inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(modules, nn.ModuleList) and len(modules) and all(map(_attends, modules)) and not is_inside:
            found[path] = modules
    got = None
    if len(found) != 1:
        got = "none" if not found else f"several ({', '.join(found)})"
    elif not all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=decoder.config).layers):
        got = "layers that remember by other means than attention"
    if got:
        raise ValueError(
            f"context_window limits what a stack of attention layers sees, and a {decoder.config.model_type!r} decoder has "
            f"{got}: leave it unset, or choose a decoder such as 'gpt2', 'llama' or 'bart'."
        )
    return next(iter(found.items()))


def _attends(layer: nn.Module) -> bool:
    arguments = inspect.signature(layer.forward).parameters
    return "attention_mask" in arguments and ("past_key_values" in arguments or "layer_past" in arguments)


def _check_attention(decoder: PreTrainedModel) -> None:
    implementation = decoder.config._attn_implementation
    if implementation not in MASKED_ATTENTION:
        raise ValueError(
            f"context_window needs a mask of queries by keys, which {implementation!r} attention does not take: load the "
            f"decoder with attn_implementation {' or '.join(map(repr, MASKED_ATTENTION))}."
        )


def _check_checkpointing(layer: nn.Module) -> None:
    """Refuse gradient checkpointing around a layer's hooks: it would recompute the layer after they have gone."""
    if not (layer.training and getattr(layer, "gradient_checkpointing", False)):
        return
    hooks_stay_outside = isinstance(layer, GradientCheckpointingLayer) and type(layer).__call__ is nn.Module.__call__
    if not hooks_stay_outside:
        raise ValueError(
            "context_window and gradient checkpointing do not go together for this decoder and version of transformers: "
            "switch gradient checkpointing off, or install the newest transformers."
        )


def _both(given: torch.Tensor | None, visible: torch.Tensor, dtype: torch.dtype, implementation: str) -> torch.Tensor:
    """The mask a layer was given, with everything outside its window hidden too, in the form its attention takes."""
    if given is None:
        if implementation == "sdpa":
            return visible
        given = torch.zeros((), dtype=dtype, device=visible.device)
    if given.dtype == torch.bool:
        return given & visible
    return given.masked_fill(~visible, torch.finfo(given.dtype).min)
