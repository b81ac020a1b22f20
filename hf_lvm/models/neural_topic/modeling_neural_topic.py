"""The neural topic model: a document has shares of K topics, a topic is a distribution over words, and an encoder infers the
shares (Miao et al. 2016; Srivastava and Sutton 2017).

A document is a bag: log p(x|z) is the sum over its words of log p(word|z), so this is a model of p(words | their number). The
probabilities of all sequences of N words sum to 1 for every N; how long a document is, the model does not say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import Distribution
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_lvm.backbones.composition.adapter_checkpoints import AdapterCheckpoints
from hf_lvm.backbones.encoders import build_encoder, encode_tokens, encoder_positions
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import DiagonalGaussian, Dirichlet, Generators
from hf_lvm.estimators import Draws, build_estimator
from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.layers.pooling import Pooling
from hf_lvm.models.neural_topic.configuration_neural_topic import NeuralTopicConfig
from hf_lvm.models.neural_topic.shares_posterior import build_posterior, laplace_stddev
from hf_lvm.models.neural_topic.topics_and_words import TopicsAndWords
from hf_lvm.objectives import (
    LikelihoodEstimate,
    check_combination,
    estimate_from_log_weights,
    kl_terms,
    log_importance_weights,
    negative_elbo,
    negative_iwae,
)


@dataclass
class NeuralTopicOutput(ModelOutput):
    """What a forward pass of a neural topic model returns. B documents, K topics, V tokens.

    Attributes:
        loss: scalar, the (weighted) negative bound in nats per document, averaged over the batch.
        reconstruction: (B,), -log p(x|z) in nats per document, the mean over samples of z.
        kl: (B,), KL(q(z|x) || p(z)) in nats.
        kl_per_dimension: (B, K), its parts; None for Dirichlet posteriors, whose KL does not fall apart.
        logits: (B, V), log p(word|z) of the first sample, normalised, the same at every place of the document; -inf for
            tokens that are no words.
        latents: (B, K), this sample: shares that sum to 1 for `dirichlet`, a vector whose softmax they are for
            `logistic_normal`.
        posterior: q(z|x), a distribution over (B, K).
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    kl_per_dimension: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None


class NeuralTopicModel(TopicsAndWords, AdapterCheckpoints, PreTrainedModel):
    """A topic model of documents.

    Example:

    ```python
    >>> from hf_lvm import NeuralTopicConfig, NeuralTopicModel

    >>> model = NeuralTopicModel(NeuralTopicConfig(vocab_size=99, num_topics=5, ignored_token_ids=[0, 1, 2])).eval()
    >>> tokens = torch.tensor([[5, 6, 6, 2]])
    >>> output = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens)
    >>> output.logits.shape, output.latents.shape
    (torch.Size([1, 99]), torch.Size([1, 5]))

    ```

    Args:
        config: what it is made of.
        encoder: a model to use as the encoder, instead of a new one from `config.encoder`; also one that `peft` has given a
            LoRA adapter.
    """

    config: NeuralTopicConfig
    base_model_prefix = "neural_topic"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _keep_in_fp32_modules_strict = {"posterior_head"}

    def __init__(self, config: NeuralTopicConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        topics, words, size = config.num_topics, config.vocab_size, config.embedding_size
        self.encoder = build_encoder(config.encoder) if encoder is None else self.take_adapted("encoder", encoder)
        self.config.encoder = self.encoder.config
        self.build_adapters()
        hidden_size = self.encoder.config.hidden_size
        self.pooling = Pooling(config.pooling, hidden_size, getattr(self.encoder.config, "bidirectional", False))
        self.posterior_head = build_posterior(
            config.posterior_type,
            hidden_size,
            topics,
            self.prior_stddev,
            config.batch_norm_scale if config.batch_norm else None,
        )
        if size is None:
            self.topic_scores = nn.Parameter(torch.zeros(topics, words))
        else:
            self.topic_vectors = nn.Parameter(torch.zeros(topics, size))
            self.word_vectors = nn.Parameter(torch.zeros(words, size))
        if config.word_model == "product":
            self.word_bias = nn.Parameter(torch.zeros(words))
        background = torch.ones(words)
        background[config.ignored_token_ids] = 0.0
        self.register_buffer("background", background / background.sum())
        self.estimator = build_estimator(config.estimator)
        self.post_init()

    def adapter_modules(self) -> dict[str, tuple[str, ...]]:
        return {"encoder": ("encoder",)}

    def _init_weights(self, module: nn.Module) -> None:
        if module is not self:
            return
        if self.config.embedding_size is None:
            init.normal_(self.topic_scores, std=self.config.initializer_range)
        else:
            init.normal_(self.topic_vectors, std=self.config.initializer_range)
            init.normal_(self.word_vectors, std=self.config.embedding_size**-0.5)
        if self.config.word_model == "product":
            init.zeros_(self.word_bias)

    def initialize_weights(self) -> None:
        """New weights where none were loaded; the heads set those of the layers they hold."""
        super().initialize_weights()
        for module in (self.pooling, self.posterior_head):
            module.init_weights()

    # ---- the model ---------------------------------------------------------------------------------------------------

    @property
    def prior_stddev(self) -> float:
        """Standard deviation of the Gaussian prior of a `logistic_normal` posterior."""
        concentration = self.config.prior_concentration
        return 1.0 if concentration is None else laplace_stddev(concentration, self.config.num_topics)

    @property
    def has_kl_per_dimension(self) -> bool:
        """Whether KL(q(z|x) || p(z)) is a sum over topics, which free bits may count one by one."""
        return self.config.posterior_type != "dirichlet"

    def prior_of(self, batch_size: int) -> Distribution:
        """p(z) for each of `batch_size` documents: a distribution over (B, K)."""
        options = {"device": self.device, "dtype": torch.promote_types(self.dtype, torch.float32)}
        ones = torch.ones(1, **options).expand(batch_size, self.config.num_topics)
        if self.config.posterior_type == "dirichlet":
            return Dirichlet(self.config.prior_concentration * ones)
        return DiagonalGaussian(torch.zeros_like(ones), self.prior_stddev * ones)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Distribution:
        """q(z|x) of documents (B, S), padded on either side: a distribution over (B, K).

        Raises:
            ValueError: documents longer than the encoder's positions.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        positions = encoder_positions(self.encoder)
        if positions is not None and input_ids.shape[1] > positions:
            raise ValueError(
                f"A document of {input_ids.shape[1]} tokens is longer than the encoder has positions for ({positions}): "
                "shorten the documents (max_length), or choose an encoder with more positions."
            )
        input_ids, attention_mask = left_align(input_ids, attention_mask)
        return self.posterior_head(self.pooling(encode_tokens(self.encoder, input_ids, attention_mask), attention_mask))

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        latents: torch.Tensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        return_dict: bool | None = None,
    ) -> NeuralTopicOutput:
        """The bound of documents, or their score under given latents.

        Args:
            input_ids: (B, S), the documents for the encoder, padded on either side.
            attention_mask: (B, S), nonzero at tokens.
            labels: (B, T), the words of the documents in any order, -100 where padded; what is no word does not count.
            latents: (B, K); scores the labels under these instead of encoding: `kl` is None, `loss` the mean reconstruction.
            sample_posterior: take a sample of q(z|x), in evaluation too; its mean otherwise, which is not the bound.
            generator: None, one generator, or one for each row.
            kl_weight: weight of the KL term in `loss`.
            free_bits, free_bits_mode: nats that cost nothing in `loss`; see `hf_lvm.objectives.free_bits`.

        Raises:
            ValueError: nothing to score or to encode, a document without a word, latents of the wrong size, unknown modes.
        """
        if labels is None:
            raise ValueError("Pass labels: the words of the documents, -100 where padded.")
        bag = self.bag_of(labels)
        if latents is not None:
            nll, logits = self.score(latents.unsqueeze(0), bag)
            return NeuralTopicOutput(loss=nll.mean(), reconstruction=nll[0], logits=logits, latents=latents)
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels under.")
        config = self.config
        check_combination(config.objective, config.estimator, config.num_samples, free_bits_mode=free_bits_mode)
        posterior, prior = self.encode(input_ids, attention_mask), self.prior_of(len(labels))
        if sample_posterior:
            draws = self.estimator.draw(posterior, config.num_samples, generator)
        else:
            draws = Draws(posterior.mean.unsqueeze(0), posterior)
        nll, logits = self.score(draws.latents, bag)
        reconstruction, divergence = draws.mean(nll), kl_terms(posterior, prior, draws.latents)
        if config.objective == "iwae" and sample_posterior:
            log_weights = log_importance_weights(-nll, prior.log_prob(draws.latents), draws.log_posterior, kl_weight=kl_weight)
            loss = negative_iwae(draws.surrogate(log_weights, kl_weight=kl_weight))
        else:
            loss = negative_elbo(
                reconstruction,
                divergence.kl,
                divergence.per_dimension,
                kl_weight=kl_weight,
                free_bits=free_bits,
                free_bits_mode=free_bits_mode,
            )
        return NeuralTopicOutput(
            loss=loss,
            reconstruction=reconstruction,
            kl=divergence.kl,
            kl_per_dimension=divergence.per_dimension,
            logits=logits,
            latents=draws.latents[0],
            posterior=posterior,
        )

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None,
        labels: torch.LongTensor,
        num_samples: int = 100,
        chunk_size: int = 16,
        generator: Generators = None,
        keep_log_weights: bool = False,
    ) -> LikelihoodEstimate:
        """log p(words | their number) in nats, by importance weighting with q(z|x) as the proposal, without dropout.

        Samples are drawn and weighed in float64: a small share has no place in float32, and its density matters.

        Args:
            num_samples: samples for each document. The estimate rises with them towards log p(x).
            chunk_size: samples scored at once.
            keep_log_weights: return the log weights (num_samples, B) beside the estimate.
        """
        with in_evaluation_mode(self):
            bag = self.bag_of(labels)
            posterior, prior = (
                _in_float64(part) for part in (self.encode(input_ids, attention_mask), self.prior_of(len(labels)))
            )
            log_weights = []
            # Drawn at once, so that the result does not depend on the size of the chunks.
            for samples in posterior.sample((num_samples,), generator).split(chunk_size):
                log_weights.append(prior.log_prob(samples) - posterior.log_prob(samples) - self.score(samples, bag)[0])
        return estimate_from_log_weights(torch.cat(log_weights), keep_log_weights)

    # ---- topics and texts --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def topic_shares(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Shares of the topics in documents (B, S), at the mean of q(z|x) and without dropout: (B, K)."""
        with in_evaluation_mode(self):
            return self.shares(self.encode(input_ids, attention_mask).mean)

    def parse(
        self, texts: str | Sequence[str], *, processor: LatentTextProcessor, num_topics: int = 3
    ) -> list[list[tuple[int, float]]]:
        """The largest topics of each text with their shares, the largest first."""
        batch = processor([texts] if isinstance(texts, str) else list(texts), return_tensors="pt").to(self.device)
        shares = self.topic_shares(batch["input_ids"], batch["attention_mask"])
        best = shares.topk(min(num_topics, shares.shape[1]), dim=-1)
        return [list(zip(*row, strict=True)) for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)]

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's token embeddings, the ones `input_ids` look up."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, embeddings: nn.Module) -> None:
        self.encoder.set_input_embeddings(embeddings)


def _in_float64(distribution: Distribution) -> Distribution:
    if isinstance(distribution, Dirichlet):
        return Dirichlet(distribution.concentration.double())
    return DiagonalGaussian(distribution.mean.double(), distribution.stddev.double())


AutoConfig.register(NeuralTopicConfig.model_type, NeuralTopicConfig)
AutoModel.register(NeuralTopicConfig, NeuralTopicModel)
AutoProcessor.register(NeuralTopicConfig, LatentTextProcessor)
