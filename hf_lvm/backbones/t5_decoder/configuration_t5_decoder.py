"""Configuration of the T5 decoder as a causal language model."""

from transformers import T5Config


class T5DecoderConfig(T5Config):
    """A `T5Config` whose layers are those of the decoder.

    transformers has no causal language model class for T5; every key is that of `T5Config`, and `num_layers` is the number of
    decoder layers.
    """

    model_type = "hf_lvm_t5_decoder"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.is_decoder = True
        self.is_encoder_decoder = False
        # One kind of layer is left, so one count: caches and masks are made from `num_layers`.
        self.num_decoder_layers = self.num_layers

    @classmethod
    def from_t5(cls, config: T5Config) -> "T5DecoderConfig":
        """The decoder half of an encoder-decoder T5 configuration."""
        values = config.to_dict()
        values["num_layers"] = config.num_decoder_layers
        for key in ("model_type", "architectures", "is_decoder", "is_encoder_decoder", "transformers_version"):
            values.pop(key, None)
        return cls(**values)
