"""The keys that every model of an encoder, a decoder and a latent between them has."""

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.decoders import as_decoder_config, start_token
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.layers.context_window import window_sizes
from hf_lvm.layers.injections import injection_names
from hf_lvm.layers.pooling import check_pooling


@strict
class AdaptedConfig(PreTrainedConfig):
    """The keys of every model that may have LoRA adapters in its parts; see `AdapterCheckpoints`.

    Args:
        adapters_only: save adapters and all that is new beside them only, and load the rest of an adapted part from where it
            came from.
        adapter_bases: where that is, with a hash of its weights; filled in when the model is saved.
    """

    adapters_only: bool = False
    adapter_bases: dict[str, Any] | None = None


@strict
class ComposedConfig(AdaptedConfig):
    """What a `ComposedModel` is made of, its latent left open.

    Args:
        encoder: config of the encoder, or a dict with its `model_type`.
        decoder: config of the decoder, or a dict with its `model_type`.
        injection: how z enters the decoder: `prefix`, `embedding`, `memory`, `cross_attention`, `logits`, or a list of them;
            for an LSTM or dilated CNN decoder also `concatenation`, for an LSTM also `initial_state`.
        injection_length: positions that `prefix`, `memory` and `cross_attention` fill.
        memory_shape: (key/value heads, head size) of each decoder layer; found when a model with `memory` is first built.
        pooling: from the encoder's states to one vector: `first`, `mean`, `max`, `last`, `attention`.
        context_window: a logit depends on at most so many tokens, for attention decoders; None for no limit.
        token_embedding_stddev: standard deviation of the token embeddings of a decoder built from scratch; None for that of
            its family.
        tie_encoder_decoder_embeddings: one table of token embeddings for both parts, which then share a tokenizer.
        encoder_adapter: configuration of a `peft` LoRA adapter inside the encoder, whose own weights are then frozen.
        decoder_adapter: the same inside the decoder.
        adapters_only, adapter_bases: see `AdaptedConfig`.
        pad_token_id, bos_token_id, eos_token_id, decoder_start_token_id: of the decoder's tokenizer; taken from the
            decoder's config where they are not given.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    sub_configs = {"encoder": AutoConfig, "decoder": AutoConfig}
    # What Trainer must not gather over an evaluation: one entry a token, or no tensor at all.
    keys_to_ignore_at_inference = ["logits", "latents", "posterior", "past_key_values", "conditions"]

    encoder: PreTrainedConfig | dict | None = None
    decoder: PreTrainedConfig | dict | None = None
    injection: str | list[str] = "prefix"
    injection_length: int = 4
    memory_shape: list[list[int]] | None = None
    pooling: str = "mean"
    context_window: int | None = None
    token_embedding_stddev: float | int | None = None
    tie_encoder_decoder_embeddings: bool = False
    encoder_adapter: dict[str, Any] | None = None
    decoder_adapter: dict[str, Any] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None

    @property
    def vector_size(self) -> int:
        """Size of the vector that the decoder is conditioned on."""
        raise NotImplementedError

    def __post_init__(self, **kwargs):
        self.encoder = own_config(self.encoder, default="bert")
        self.decoder = own_config(self.decoder, default="gpt2")
        super().__post_init__(**kwargs)
        self.encoder = as_encoder_config(self.encoder)
        names = injection_names(self.injection)
        self.decoder = as_decoder_config(
            self.decoder,
            cross_attention="cross_attention" in names,
            condition_size=self.vector_size if "concatenation" in names else 0,
        )
        decoder = self.decoder.get_text_config(decoder=True)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if getattr(self, key) is None:
                setattr(self, key, getattr(decoder, key, None))
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = start_token(decoder)
        # Here besides in the validation of transformers, which would wrap the message in an error of its own class.
        self.validate_parts()

    def validate_parts(self):
        """The parts exist and go together."""
        injection_names(self.injection)
        check_pooling(self.pooling)
        if self.context_window is not None:
            window_sizes(self.context_window, num_layers=1)
        self.check_at_least_one("injection_length")
        if self.token_embedding_stddev is not None and self.token_embedding_stddev <= 0:
            raise ValueError(f"token_embedding_stddev must be positive, but is {self.token_embedding_stddev}.")
        if self.tie_encoder_decoder_embeddings and self.encoder.vocab_size != self.decoder.vocab_size:
            raise ValueError(
                "tie_encoder_decoder_embeddings needs one vocabulary, but the encoder has "
                f"{self.encoder.vocab_size} tokens and the decoder {self.decoder.vocab_size}."
            )

    def check_at_least_one(self, *keys: str) -> None:
        """Raise a `ValueError` for a key whose value is below 1."""
        for key in keys:
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")

    @classmethod
    def own_keys(cls) -> set[str]:
        """The keys beside the two parts, without those that every config of transformers has."""
        return own_keys(cls)

    def options_of(self, family: type) -> dict[str, Any]:
        """The arguments that a posterior, prior or estimator class takes from this config, by their names there."""
        return {argument: getattr(self, key) for key, argument in family.config_options.items()}


def own_keys(config_class: type[PreTrainedConfig]) -> set[str]:
    """The keys of a config of two parts beside these parts, without those that every config of transformers has."""
    classes = config_class.__mro__[: config_class.__mro__.index(PreTrainedConfig)]
    return {key for each in classes for key in each.__annotations__} - {"encoder", "decoder"}


def own_config(config: PreTrainedConfig | dict | None, default: str) -> PreTrainedConfig:
    """The config of a part: from its dict, or a copy of the one given.

    A copy, because transformers resets the attention implementation of a config that becomes part of another, and a model that
    already uses it would then attend without its mask.

    Raises:
        ValueError: a dict without a `model_type`.
    """
    if isinstance(config, PreTrainedConfig):
        return copy.deepcopy(config)
    values = {"model_type": default} if config is None else dict(config)
    if "model_type" not in values:
        raise ValueError(f"The config of a part needs a 'model_type', such as {default!r}; got {sorted(values)}.")
    return AutoConfig.for_model(values.pop("model_type"), **values)
