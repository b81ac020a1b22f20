"""Configuration of the unsupervised recurrent neural network grammar."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.composition.configuration import AdaptedConfig, own_config, own_keys
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.backbones.transformer_grammar_decoder import TransformerGrammarDecoderConfig
from hf_lvm.backbones.tree_decoders import as_tree_decoder_config
from hf_lvm.layers.span_scores import SPAN_SCORERS
from hf_lvm.objectives import check_combination


@strict
class URNNGConfig(AdaptedConfig):
    """What a `URNNGModel` is made of. The defaults are those of Kim et al. (2019), but for the sizes of the parts.

    Args:
        encoder: config of the encoder of q(z|x), or a dict with its `model_type`.
        decoder: config of p(x, z), or a dict with its `model_type`: `hf_lvm_rnng_decoder`, or a causal language model, which
            then writes trees by composition masks (`hf_lvm_transformer_grammar_decoder`).
        span_scorer: how spans are scored by the states of the words at their ends: `fencepost` or `biaffine`.
        span_hidden_size: units of the scorer; by default as many as a state has.
        posterior_dropout: on these units.
        tie_encoder_decoder_embeddings: one table of token embeddings for both parts. It counts as the decoder's.
        objective: `elbo`, `iwae` or `minimum_risk`.
        estimator: of its gradient; for `elbo` `rloo` or another score function, for `iwae` `vimco`, for `minimum_risk` None.
        num_samples: K, trees of each sentence.
        baseline_decay: of baselines that average over batches.
        risk_sharpness: of `minimum_risk`.
        classification_weight: weight of -log q(brackets|x), which sentences with brackets add to their bound.
        unlabelled_weight: of sentences without brackets, where others have some.
        encoder_adapter: configuration of a `peft` LoRA adapter inside the encoder, whose own weights are then frozen.
        decoder_adapter: the same inside a causal language model that writes the trees.
        adapters_only, adapter_bases: see `AdaptedConfig`.
        pad_token_id, bos_token_id, eos_token_id: of the decoder's tokenizer; taken from the decoder's config where not given.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    model_type = "hf_lvm_urnng"
    sub_configs = {"encoder": AutoConfig, "decoder": AutoConfig}
    keys_to_ignore_at_inference = ["log_joint", "latents", "posterior"]

    encoder: PreTrainedConfig | dict | None = None
    decoder: PreTrainedConfig | dict | None = None
    span_scorer: str = "fencepost"
    span_hidden_size: int | None = None
    posterior_dropout: float | int = 0.0
    tie_encoder_decoder_embeddings: bool = False
    objective: str = "elbo"
    estimator: str | None = "rloo"
    num_samples: int = 8
    baseline_decay: float | int = 0.9
    risk_sharpness: float | int = 1.0
    classification_weight: float | int = 1.0
    unlabelled_weight: float | int = 1.0
    encoder_adapter: dict[str, Any] | None = None
    decoder_adapter: dict[str, Any] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    def __post_init__(self, **kwargs):
        self.encoder = own_config(self.encoder, default="hf_lvm_lstm_encoder")
        self.decoder = as_tree_decoder_config(own_config(self.decoder, default="hf_lvm_rnng_decoder"))
        super().__post_init__(**kwargs)
        self.encoder = as_encoder_config(self.encoder)
        for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
            if getattr(self, key) is None:
                setattr(self, key, getattr(self.decoder, key, None))
        if self.span_scorer not in SPAN_SCORERS:
            raise ValueError(f"Unknown span_scorer {self.span_scorer!r}: choose one of {', '.join(map(repr, SPAN_SCORERS))}.")
        check_combination(self.objective, self.estimator, self.num_samples, latents="structured")
        if self.decoder_adapter is not None and not isinstance(self.decoder, TransformerGrammarDecoderConfig):
            raise ValueError(
                f"A {self.decoder.model_type!r} decoder has no pretrained part that an adapter could be bound to: leave "
                "decoder_adapter out, or choose a causal language model as the decoder."
            )
        if self.tie_encoder_decoder_embeddings and self.encoder.vocab_size != self.decoder.vocab_size:
            raise ValueError(
                "tie_encoder_decoder_embeddings needs one vocabulary, but the encoder has "
                f"{self.encoder.vocab_size} tokens and the decoder {self.decoder.vocab_size}."
            )
        for key in ("classification_weight", "unlabelled_weight"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, but is {getattr(self, key)}.")
        if not 0 <= self.posterior_dropout < 1:
            raise ValueError(f"posterior_dropout must be in [0, 1), but is {self.posterior_dropout}.")

    @classmethod
    def own_keys(cls) -> set[str]:
        """The keys beside the two parts, without those that every config of transformers has."""
        return own_keys(cls)
