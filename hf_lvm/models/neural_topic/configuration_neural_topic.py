"""Configuration of the neural topic model."""

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from hf_lvm.backbones.composition.configuration import AdaptedConfig
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.layers.pooling import check_pooling
from hf_lvm.objectives import check_combination

POSTERIOR_TYPES = ("logistic_normal", "dirichlet")
WORD_MODELS = ("mixture", "product")
BATCH_NORM_SCALES = {"logistic_normal": 0.4, "dirichlet": 2.0}


@strict
class NeuralTopicConfig(AdaptedConfig):
    """What a `NeuralTopicModel` is made of.

    Args:
        encoder: config of the encoder, or a dict with its `model_type`; by default a bag-of-words encoder.
        vocab_size: tokens that `labels` are numbered by.
        ignored_token_ids: those that are no words of a document: special tokens, the end among them, and stop words.
        num_topics: K.
        posterior_type: family of q(shares of topics | document): `logistic_normal`, the softmax of a Gaussian vector, or
            `dirichlet`.
        prior_concentration: alpha of the prior, a symmetric Dirichlet. Below 1 a document has few topics. A `logistic_normal`
            posterior has its Laplace approximation as the prior (Srivastava and Sutton 2017, equation 6), which for alpha = 1
            is nearly N(0, I); None is N(0, I) itself.
        batch_norm: normalise what the posterior's parameters are made of over the batch, so that its topics stay in use
            (Zhu et al. 2020). At evaluation running averages take the place of the batch.
        batch_norm_scale: standard deviation that it is normalised to: of the means in units of the prior's (`logistic_normal`,
            0.4 by default), or of the logits of the concentrations (`dirichlet`, 2 by default).
        word_model: `mixture`, p(word) = sum over topics of share times p(word | topic), or `product`, the softmax of the
            share-weighted sum of topic scores (Srivastava and Sutton 2017).
        embedding_size: scores of words under topics are products of embeddings of this size (Dieng et al. 2020); None gives
            every topic a score for every word.
        background_share: share of every document's words that come from one distribution for all documents, and not from its
            topics, so that topics need not repeat what stands everywhere.
        pooling: from the encoder's states to one vector: `first`, `mean`, `max`, `last`, `attention`.
        initializer_range: standard deviation of the scores of words under topics in a new model.
        objective: bound that is trained: `elbo`, or `iwae`, the bound of `num_samples` samples.
        estimator: of its gradient: `reparameterization`, or for `iwae` also `dreg`.
        num_samples: samples of the shares for each document in the bound.
        encoder_adapter: configuration of a `peft` LoRA adapter inside the encoder, whose own weights are then frozen.
        adapters_only, adapter_bases: see `AdaptedConfig`.
        pad_token_id, bos_token_id, eos_token_id: of the tokenizer.

    Raises:
        ValueError: an unknown name, a number out of its range, or a vocabulary without any word.
    """

    model_type = "hf_lvm_neural_topic"
    sub_configs = {"encoder": AutoConfig}
    keys_to_ignore_at_inference = ["logits", "latents", "posterior"]

    encoder: PreTrainedConfig | dict | None = None
    vocab_size: int = 10_000
    ignored_token_ids: list[int] | None = None
    num_topics: int = 50
    posterior_type: str = "dirichlet"
    prior_concentration: float | int | None = 0.1
    batch_norm: bool = True
    batch_norm_scale: float | int | None = None
    word_model: str = "mixture"
    embedding_size: int | None = 128
    background_share: float | int = 0.2
    pooling: str = "mean"
    initializer_range: float | int = 1.0
    objective: str = "elbo"
    estimator: str = "reparameterization"
    num_samples: int = 1
    encoder_adapter: dict[str, Any] | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        self.encoder = self._own_encoder()
        super().__post_init__(**kwargs)
        self.encoder = as_encoder_config(self.encoder)
        if self.ignored_token_ids is None:
            self.ignored_token_ids = []
        if self.batch_norm_scale is None:
            self.batch_norm_scale = BATCH_NORM_SCALES.get(self.posterior_type)
        # Here besides in the validation of transformers, which would wrap the message in an error of its own class.
        self.validate_topics()

    def validate_topics(self):
        """Names are known, and numbers in their ranges."""
        check_pooling(self.pooling)
        check_combination(self.objective, self.estimator, self.num_samples)
        for key, allowed in (("posterior_type", POSTERIOR_TYPES), ("word_model", WORD_MODELS)):
            if getattr(self, key) not in allowed:
                names = " or ".join(map(repr, allowed))
                raise ValueError(f"Unknown {key} {getattr(self, key)!r}: choose {names}.")
        if self.num_topics < 2:
            raise ValueError(f"num_topics must be at least 2, but is {self.num_topics}: one topic is no choice.")
        if self.prior_concentration is None:
            if self.posterior_type == "dirichlet":
                raise ValueError("A Dirichlet posterior needs a Dirichlet prior: set prior_concentration, such as 0.1.")
        elif self.prior_concentration <= 0:
            raise ValueError(f"prior_concentration must be positive, but is {self.prior_concentration}.")
        if self.batch_norm_scale <= 0:
            raise ValueError(f"batch_norm_scale must be positive, but is {self.batch_norm_scale}.")
        if self.embedding_size is not None and self.embedding_size < 1:
            raise ValueError(f"embedding_size must be at least 1, but is {self.embedding_size}; leave it out for none.")
        if not 0 <= self.background_share < 1:
            raise ValueError(f"background_share must be in [0, 1), but is {self.background_share}.")
        if self.word_model == "product" and self.background_share:
            raise ValueError(
                "background_share is a part of a mixture, and word_model is 'product': set background_share to 0, or "
                "word_model to 'mixture'."
            )
        outside = [token for token in self.ignored_token_ids if not 0 <= token < self.vocab_size]
        if outside:
            raise ValueError(
                f"ignored_token_ids holds {outside[0]}, which is outside the vocabulary of {self.vocab_size} tokens."
            )
        if len(set(self.ignored_token_ids)) >= self.vocab_size:
            raise ValueError(f"ignored_token_ids leaves none of the {self.vocab_size} tokens: there must be a word to count.")

    def _own_encoder(self) -> PreTrainedConfig:
        """The config of the encoder: from its dict, or a copy of the one given, which other models may use."""
        if isinstance(self.encoder, PreTrainedConfig):
            return copy.deepcopy(self.encoder)
        default = {"model_type": "hf_lvm_bag_of_words_encoder", "vocab_size": self.vocab_size}
        values = dict(default if self.encoder is None else self.encoder)
        if "model_type" not in values:
            raise ValueError(f"The config of an encoder needs a 'model_type', such as 'bert'; got {sorted(values)}.")
        return AutoConfig.for_model(values.pop("model_type"), **values)
