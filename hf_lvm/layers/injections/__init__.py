"""Injections: how z enters the decoder. One idea a file; several can be combined.

| name | z becomes | seen by |
|---|---|---|
| `prefix` | soft tokens before the sentence | attention |
| `embedding` | a vector added to every token embedding | every step |
| `memory` | keys and values in every layer | attention |
| `cross_attention` | states to attend to, as an encoder's | cross-attention, also that of LSTM decoders |
| `logits` | a bias over the vocabulary | the output |
| `concatenation` | a part of every embedding, of LSTM and dilated CNN decoders | every step |
| `initial_state` | the state before the first token, of LSTM decoders | the first step |
"""

from collections.abc import Sequence

from torch import nn

from hf_lvm.layers.decoder_interface import DecoderInterface
from hf_lvm.layers.injections.base import Injection
from hf_lvm.layers.injections.concatenation import ConcatenationInjection
from hf_lvm.layers.injections.cross_attention import CrossAttentionInjection
from hf_lvm.layers.injections.embedding import EmbeddingInjection
from hf_lvm.layers.injections.initial_state import InitialStateInjection
from hf_lvm.layers.injections.logits import LogitsInjection
from hf_lvm.layers.injections.memory import MemoryInjection
from hf_lvm.layers.injections.prefix import PrefixInjection

INJECTIONS: dict[str, type[Injection]] = {
    injection.name: injection
    for injection in (
        PrefixInjection,
        EmbeddingInjection,
        MemoryInjection,
        CrossAttentionInjection,
        LogitsInjection,
        ConcatenationInjection,
        InitialStateInjection,
    )
}


def injection_names(injection: str | Sequence[str]) -> list[str]:
    """The names in an `injection` setting, one or several.

    Raises:
        ValueError: none, one that does not exist, or one named twice.
    """
    names = [injection] if isinstance(injection, str) else list(injection)
    unknown = [name for name in names if name not in INJECTIONS]
    if unknown or not names:
        got = ", ".join(map(repr, unknown)) if unknown else "an empty list"
        raise ValueError(f"Unknown injection {got}: choose one or several of {', '.join(map(repr, INJECTIONS))}.")
    if len(set(names)) < len(names):
        raise ValueError(f"An injection is named twice in {names}: name each once.")
    return names


def build_injections(
    injection: str | Sequence[str],
    latent_size: int,
    length: int,
    interface: DecoderInterface,
    memory_shape: Sequence[Sequence[int]] | None = None,
) -> nn.ModuleDict:
    """The named injections, each by its name.

    Args:
        length: positions that `prefix`, `memory` and `cross_attention` fill.
        memory_shape: (key/value heads, head size) of each layer, needed by `memory`.
    """
    return nn.ModuleDict(
        {
            name: INJECTIONS[name](latent_size, length, interface, memory_shape=memory_shape)
            for name in injection_names(injection)
        }
    )


__all__ = ["INJECTIONS", "InitialStateInjection", "Injection", "build_injections", "injection_names"]
