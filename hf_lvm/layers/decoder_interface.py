"""What a decoder lets a latent variable join, read off the decoder itself.

No list of families: the sizes, the inputs a decoder takes and the shape of its key/value cache are found by looking at its
signature and by running it once on a few tokens, so a decoder that transformers gains tomorrow works today.
"""

import inspect
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel

from hf_lvm.generation.cached_decoder import attends

PROBE_LENGTH = 8


@dataclass(frozen=True)
class DecoderInterface:
    """The facts about a decoder that injections are built from.

    Attributes:
        family: its `model_type`, for error messages.
        embedding_dim: size of a token embedding (not always the hidden size: OPT projects).
        hidden_size: size of its states.
        attended_size: size of the states that its cross-attention reads.
        vocab_size: number of logits.
        arguments: names its `forward` takes.
        has_cross_attention: whether it was built with layers that attend to `encoder_hidden_states`.
        num_layers: its layers.
        condition_size: size of what it concatenates to every embedding; None for a decoder that cannot.
        receptive_field: tokens that a logit of a convolution depends on; None for decoders that remember all.
        first_position: where RoBERTa and its kin begin to count positions, the place behind that of padding; None for
            decoders that count by themselves.
    """

    family: str
    embedding_dim: int
    hidden_size: int
    attended_size: int
    vocab_size: int
    arguments: frozenset[str]
    has_cross_attention: bool
    num_layers: int
    condition_size: int | None
    receptive_field: int | None
    first_position: int | None

    @classmethod
    def of(cls, decoder: PreTrainedModel) -> "DecoderInterface":
        """Read the interface off a decoder.

        Raises:
            ValueError: the decoder cannot be conditioned on anything (it takes no embeddings or keeps no attention cache).
        """
        arguments = frozenset(inspect.signature(decoder.forward).parameters)
        config = decoder.config.get_text_config(decoder=True)
        missing = {"input_ids", "inputs_embeds", "past_key_values"} - arguments
        if missing:
            raise ValueError(
                f"A {config.model_type!r} decoder cannot carry a latent variable: its forward does not take "
                f"{', '.join(sorted(missing))}. Choose an attention decoder such as 'gpt2', 'llama' or 'bart'."
            )
        positions = getattr(config, "max_position_embeddings", None)
        if positions and positions < PROBE_LENGTH:
            raise ValueError(
                f"The {config.model_type!r} decoder has only {positions} positions: build it with at least {PROBE_LENGTH}."
            )
        return cls(
            family=config.model_type,
            embedding_dim=decoder.get_input_embeddings().embedding_dim,
            hidden_size=config.hidden_size,
            attended_size=attended_size(config),
            vocab_size=config.vocab_size,
            arguments=arguments,
            has_cross_attention=attends(decoder),
            num_layers=config.num_hidden_layers,
            condition_size=config.condition_size if "input_condition" in arguments else None,
            receptive_field=getattr(config, "receptive_field", None),
            first_position=first_position(decoder) if "position_ids" in arguments else None,
        )


def attended_size(config: PreTrainedConfig) -> int:
    """Size of the states that a decoder with this config attends to: its own, unless a key of transformers says another."""
    config = config.get_text_config(decoder=True)
    return getattr(config, "cross_attention_hidden_size", None) or config.hidden_size


def first_position(model: PreTrainedModel) -> int | None:
    """The number of the first position where a family counts from behind that of padding, else None.

    Given embeddings in the place of tokens, such a family does not know how many tokens its cache holds already: it has to be
    told the positions.
    """
    offsets = [
        module.padding_idx + 1
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return max(offsets, default=None)


def num_positions(model: PreTrainedModel, config: PreTrainedConfig) -> int | None:
    """How many tokens a model has positions for by its config, or None where there is no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa and its kin count positions from the one after the padding token's, and so hold that many fewer.
        positions -= first_position(model) or 0
    return positions if positions and positions > 0 else None


def is_on_meta(model: PreTrainedModel) -> bool:
    """Whether the weights are still to be loaded (`from_pretrained` builds a model before it reads them)."""
    return model.get_input_embeddings().weight.is_meta


def probe_tokens(decoder: PreTrainedModel, vocab_size: int) -> torch.Tensor:
    """A few token ids, spread over the vocabulary: (2, PROBE_LENGTH). The same at every call."""
    ids = torch.linspace(0, vocab_size - 1, 2 * PROBE_LENGTH).long()
    return ids.view(PROBE_LENGTH, 2).T.contiguous().to(decoder.get_input_embeddings().weight.device)


def probe_inputs(decoder: PreTrainedModel, vocab_size: int) -> torch.Tensor:
    """The embeddings of `probe_tokens`: (2, PROBE_LENGTH, embedding size)."""
    return decoder.get_input_embeddings()(probe_tokens(decoder, vocab_size))


class in_evaluation_mode:
    """Evaluation mode and no gradients inside a `with`; the modules' own modes again after it."""

    def __init__(self, model: torch.nn.Module):
        self.modules = [module for module in model.modules() if module.training]
        self.no_grad = torch.no_grad()

    def __enter__(self) -> None:
        self.no_grad.__enter__()
        for module in self.modules:
            module.training = False

    def __exit__(self, *exception) -> None:
        for module in self.modules:
            module.training = True
        self.no_grad.__exit__(*exception)


def own_memory(decoder: PreTrainedModel, interface: DecoderInterface) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values each layer writes for a few tokens: [(keys, values)], each (2, heads, PROBE_LENGTH, head size).

    Raises:
        ValueError: the decoder has layers without keys and values of their own.
    """
    cache = DynamicCache(config=decoder.config)
    with in_evaluation_mode(decoder):
        decoder(inputs_embeds=probe_inputs(decoder, interface.vocab_size), past_key_values=cache, use_cache=True)
    memory = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    if not memory or any(keys is None or values is None or keys.dim() != 4 for keys, values in memory):
        raise ValueError(
            f"injection 'memory' writes keys and values into every layer, and a {interface.family!r} decoder has layers "
            "without them: choose 'prefix', 'embedding' or 'logits'."
        )
    return memory


def check_causal(decoder: PreTrainedModel, interface: DecoderInterface) -> None:
    """Raise a `ValueError` when a logit sees later tokens: -log p(x|z) would then not be a likelihood."""
    ids = probe_tokens(decoder, interface.vocab_size)
    changed = ids.clone()
    changed[:, -1] = (changed[:, -1] + 1) % interface.vocab_size
    embed = decoder.get_input_embeddings()
    with in_evaluation_mode(decoder):
        before, after = (
            decoder(inputs_embeds=embed(tokens), use_cache=False).logits[:, :-1].float() for tokens in (ids, changed)
        )
    # A new model leaks little, because its attention is weak; a causal one leaks nothing but rounding.
    tolerance = 1e-5 if embed.weight.dtype in (torch.float32, torch.float64) else 1e-3
    if (before - after).abs().max() > tolerance * before.abs().max():
        raise ValueError(
            f"The {interface.family!r} decoder looks at later tokens, so it is no p(x|z). Build it as a causal model "
            "(for BERT-like families: config.is_decoder=True)."
        )
