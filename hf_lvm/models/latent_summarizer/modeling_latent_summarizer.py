"""The latent summarizer: c is a short sentence, p(c) p(x|c) writes the long one from it, q(c|x) compresses (Miao and Blunsom
2016: auto-encoding sentence compression, and with pairs forced-attention sentence compression).

p(x|c) sees nothing of x but c. It may share the encoder of q(c|x), or the LSTM of its pointer, which then read c alone.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.distributions import Distribution
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.backbones.encoders import build_encoder
from hf_lvm.backbones.reconstructors import build_reconstructor
from hf_lvm.backbones.segment_decoder import SegmentDecoderModel
from hf_lvm.backbones.word_encoding import encode_words, word_inputs
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.estimators import Draws, build_estimator
from hf_lvm.generation.cached_decoder import check_attends
from hf_lvm.models.latent_summarizer.compressor import CompressorPart
from hf_lvm.models.latent_summarizer.configuration_latent_summarizer import RELAXED, LatentSummarizerConfig
from hf_lvm.models.latent_summarizer.likelihood import SummaryLikelihood
from hf_lvm.models.latent_summarizer.parts import SummarizerParts
from hf_lvm.models.latent_summarizer.posterior_heads import POSTERIOR_HEADS, EncodedWords, entropy_of
from hf_lvm.models.latent_summarizer.prior_scoring import PriorScoring, SummaryTerms
from hf_lvm.models.latent_summarizer.relaxed_bound import RelaxedBound
from hf_lvm.models.latent_summarizer.scoring import Scoring
from hf_lvm.models.latent_summarizer.source_words import SourceWords
from hf_lvm.models.latent_summarizer.texts_and_summaries import TextsAndSummaries
from hf_lvm.objectives import (
    BoundTerms,
    RowCounts,
    check_combination,
    deletion_bound,
    draw_for,
    joined_terms,
    select_rows,
    semi_supervised_mean,
    structured_bound,
)
from hf_lvm.objectives.known_latents import draw_mode, sit_out, terms_by_group


@dataclass
class LatentSummarizerOutput(ModelOutput):
    """What a forward pass of a latent summarizer returns. B sentences of n words at most, K compressions of each.

    Attributes:
        loss: scalar, nats per sentence: the mean of `row_loss`; where some compressions are known, J of
            `hf_lvm.objectives.semi_supervision`.
        row_loss: (B,). Of an unlabelled sentence the (weighted) negative bound on log p(x); of one with a known c
            -joint_weight log p(x, c) - classification_weight log q(c|x), the prior weighed as in the bound.
        reconstruction: (B,), nats: E_q[-log p(x|c)], exactly or over samples; of a known c -log p(x|c).
        kl: (B,), nats, never weighted: E_q[log q(c|x) - log p(c)], exactly or over samples, of which it may be negative; of a
            known c -log p(c). The two sum to the negative bound on log p(x), or log p(x, c). With a joint_weight of 0 nothing
            of p is computed for a known c: `reconstruction` is -log q(c|x) and `kl` 0.
        non_canonical: (B,), of a prior that reads texts the share of compressions that are charged, as their tokens are not
            those that the decoder's tokenizer makes of their text; 0 where none was scored.
        latents: (R, B, ...), the compressions the terms were computed from; None where they were summed over.
        posterior: q(c|x) of sentences that are all unlabelled; under `marginal` p(c|x) itself.
    """

    loss: torch.Tensor | None = None
    row_loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    non_canonical: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None


class LatentSummarizerModel(
    TextsAndSummaries,
    SummaryLikelihood,
    RelaxedBound,
    PriorScoring,
    CompressorPart,
    Scoring,
    SummarizerParts,
    PreTrainedModel,
):
    """Sentences and compressions of them: an encoder that compresses, a prior that reads the compression, a decoder that
    writes the sentence from it.

    Example:

    ```python
    >>> from hf_lvm import LatentSummarizerConfig, LatentSummarizerModel, LSTMEncoderConfig, SegmentDecoderConfig

    >>> words = {"vocab_size": 99, "hidden_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    >>> encoder, decoder = LSTMEncoderConfig(bidirectional=True, **words), SegmentDecoderConfig(**words)
    >>> model = LatentSummarizerModel(LatentSummarizerConfig(encoder=encoder, decoder=decoder))
    >>> output = model(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7, 2]]))
    >>> output.posterior.marginals.shape
    torch.Size([1, 3])

    ```

    Args:
        config: what it is made of.
        encoder, decoder, prior: models to use as parts, instead of new ones from the config.
    """

    config: LatentSummarizerConfig
    base_model_prefix = "latent_summarizer"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = {"posterior_head", "length_table"}
    posterior_parts: ClassVar[tuple[str, ...]] = ("encoder", "posterior_head")
    has_kl_per_dimension = False

    def __init__(
        self,
        config: LatentSummarizerConfig,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
        prior: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        if config.eos_token_id is None or config.bos_token_id is None:
            raise ValueError(
                "Compressions begin behind a token and end with one: set bos_token_id and eos_token_id, those of the "
                "decoder's tokenizer."
            )
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.decoder = build_reconstructor(config.decoder) if decoder is None else decoder
        if config.injection == "cross_attention" and not isinstance(self.decoder, SegmentDecoderModel):
            check_attends(self.decoder)
        # One config object a part, so that a change of the one is a change of the other.
        self.config.encoder, self.config.decoder = self.encoder.config, self.decoder.config
        self.build_prior(config, prior)
        self.reader, self.bridge = self.build_reader(config)
        self.posterior_head = POSTERIOR_HEADS[config.posterior_type](config)
        self.build_adapters()
        self.post_init()
        # Afterwards, because what an estimator learns begins where the estimator says, and not as other layers do.
        self.renew_estimator()

    def renew_estimator(self) -> None:
        """Begin with the gradient estimator that the config names; what is exact, and `minimum_risk`, have none."""
        config = self.config
        config.validate_combination()
        self.estimator = None
        if config.estimator not in (None, "exact"):
            self.estimator = build_estimator(
                config.estimator,
                feature_size=config.encoder.hidden_size,
                **{key: getattr(config, key) for key in ("baseline_decay", "temperature", "learned_temperature")},
            )
        self.freeze_prior()

    def train(self, mode: bool = True) -> "LatentSummarizerModel":
        """Training or evaluation mode; a prior that does not learn is always in the latter."""
        super().train(mode)
        if not self.config.train_prior and self.prior is not None:
            self.prior.train(False)
        return self

    # ---- q(c|x) ------------------------------------------------------------------------------------------------------

    def encode(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        decoder_word_ids: torch.LongTensor | None = None,
        counts: torch.LongTensor | None = None,
        extractive: bool | None = None,
    ) -> Distribution:
        """q(c|x) of sentences (B, S), padded on either side; arguments as of `forward`.

        Args:
            counts: (B,), given that c has so many words.
            extractive: whether `pointer_vocab` is its pointers alone; by default where the bound is, by unlabelled_posterior.

        Raises:
            ValueError: sentences longer than the encoder's positions, without a word, or that are others for the decoder.
        """
        source = self.source_of(labels, decoder_word_ids)
        encoded = self.encoded(source, input_ids, attention_mask, word_ids)
        extractive = self.config.bound_is_extractive if extractive is None else extractive
        return self.posterior_head(encoded, source, self.counts_for(source) if counts is None else counts, extractive)

    def source_of(self, labels: torch.Tensor | None, decoder_word_ids: torch.Tensor | None) -> SourceWords:
        """Labels (B, T) as words; see `forward`."""
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        return SourceWords.of_labels(labels, decoder_word_ids, self.config.eos_token_id)

    def encoded(
        self,
        source: SourceWords,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.Tensor | None = None,
    ) -> EncodedWords:
        """The states of the words of sentences; see `forward`."""
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels with.")
        inputs = word_inputs(self.encoder, input_ids, attention_mask, word_ids)
        source.check_encoder(inputs.lengths)
        words = encode_words(self.encoder, inputs, source.num_words)
        return EncodedWords(words, words.sum(1) / source.lengths.unsqueeze(1))

    # ---- the model ---------------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        word_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        decoder_word_ids: torch.LongTensor | None = None,
        kept: torch.Tensor | None = None,
        summary_ids: torch.LongTensor | None = None,
        latents: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        row_counts: RowCounts | None = None,
        temperature: float | None = None,
        return_dict: bool | None = None,
    ) -> LatentSummarizerOutput:
        """The bound of sentences, with known compressions where there are some, or the score of given compressions.

        Args:
            input_ids: (B, S), the sentences for the encoder, padded on either side.
            attention_mask: (B, S), nonzero at tokens.
            word_ids: (B, S), the word that each piece belongs to, -1 for special tokens and padding. Without them each token
                that is not special is a word.
            labels: (B, T), the sentences for the decoder: pieces and the end, -100 where padded (on the right).
            decoder_word_ids: (B, T), the word that each of these pieces belongs to, -1 at the end and behind it. Without them
                every piece is a word.
            kept: (B, n) bool, known compressions as the words they keep; all False where none is known.
            summary_ids: (B, L), known compressions as tokens of the decoder with their end, -100 behind it; all -100 where
                none is known. Of `delete` `kept` says it.
            latents: (B, ...) or (K, B, ...), compressions to score the sentences with instead of encoding them: `kl` is None,
                `loss` and `reconstruction` the mean of -log p(x|c).
            decoder_input_ids: (B, T), read by a causal decoder instead of the shifted labels (with some words dropped, say),
                and by no segment decoder.
            sample_posterior: compressions from q(c|x) as the estimator draws them; the most probable one otherwise.
            generator: None, one generator, or one for each row.
            kl_weight: weight of the KL beside the config's prior_weight, in `loss` and in the learning signal.
            free_bits, free_bits_mode: 0 and "none".
            row_counts: labelled and unlabelled rows of the batch that this one is a part of.
            temperature: of relaxed samples, instead of the config's.

        Raises:
            ValueError: sentences or compressions that do not fit the parts, or each other; free bits.
        """
        source = self.source_of(labels, decoder_word_ids)
        if decoder_input_ids is not None:
            self.check_reads_words()
        if latents is not None:
            values = latents.unsqueeze(0) if latents.dim() == 2 else latents
            reconstruction = -self.log_likelihood(source, values, decoder_input_ids).mean(0)
            return LatentSummarizerOutput(loss=reconstruction.mean(), reconstruction=reconstruction, latents=values)
        config = self.config
        check_combination(
            config.objective,
            config.estimator,
            config.num_samples,
            latents=config.kind_of_latents,
            free_bits_mode=free_bits_mode,
        )
        if free_bits_mode != "none":
            raise ValueError("The KL of compressions has no part that free bits could hold up: set free_bits to 0.")
        kl_weight = kl_weight * config.prior_weight
        encoded = self.encoded(source, input_ids, attention_mask, word_ids)
        told = self.posterior_head.told(source, kept, summary_ids)
        bound = (sample_posterior, kl_weight, temperature)
        if told is None:
            return self._output_of(*self._bound(source, encoded, decoder_input_ids, generator, *bound))
        values, known = told
        posterior = None

        def some(rows: torch.Tensor) -> tuple[SourceWords, EncodedWords, torch.Tensor | None]:
            return source.select(rows), encoded.select(rows), select_rows(decoder_input_ids, rows)

        def told_terms(rows: torch.Tensor) -> BoundTerms:
            return self._told(*some(rows), values[rows], kl_weight)

        def bound_terms(rows: torch.Tensor) -> BoundTerms:
            nonlocal posterior
            terms, _, posterior = self._bound(*some(rows), select_rows(generator, rows), *bound)
            return terms

        has_draws = config.unlabelled_weight > 0 and not bool(known.all())
        parts, place = terms_by_group([(~known, bound_terms if has_draws else None), (known, told_terms)], encoded.features)
        if not has_draws:
            sit_out(self.estimator)
        row_loss, reconstruction, kl = (joined_terms(parts, name, place) for name in ("loss", "reconstruction", "kl"))
        loss = semi_supervised_mean(row_loss, known, unlabelled_weight=config.unlabelled_weight, counts=row_counts)
        return LatentSummarizerOutput(
            loss=loss,
            row_loss=row_loss,
            reconstruction=reconstruction,
            kl=kl,
            non_canonical=joined_terms(parts, "non_canonical", place),
            posterior=posterior if not bool(known.any()) else None,
        )

    @staticmethod
    def _output_of(terms: BoundTerms, latents: torch.Tensor | None, posterior: Distribution) -> LatentSummarizerOutput:
        return LatentSummarizerOutput(
            loss=terms.loss.mean(),
            row_loss=terms.loss,
            reconstruction=terms.reconstruction,
            kl=terms.kl,
            non_canonical=getattr(terms, "non_canonical", None),
            latents=latents,
            posterior=posterior,
        )

    def _bound(
        self,
        source: SourceWords,
        encoded: EncodedWords,
        read: torch.Tensor | None,
        generator: Generators,
        sample_posterior: bool,
        kl_weight: float,
        temperature: float | None,
    ) -> tuple[BoundTerms, torch.Tensor | None, Distribution]:
        """The bound of sentences whose compressions are not known, what it was computed from, and q(c|x)."""
        config = self.config
        counts = self.counts_for(source, sampled=sample_posterior, generator=generator)
        posterior = self.posterior_head(encoded, source, counts, config.bound_is_extractive)
        pairs = self.pair_log_probs(source)
        empty = self.log_empty(source, read, pairs) if config.empty_baseline or config.empty_weight else None
        if config.estimator == "exact" and sample_posterior:
            lengths = self.log_length_factors(source.num_words)
            terms = deletion_bound(config.objective, posterior, *pairs, log_length=lengths, kl_weight=kl_weight)
            latents = None
            if config.objective == "marginal":
                posterior = self.exact_posterior(posterior, pairs)
        elif sample_posterior and (config.estimator == "straight_through" or (config.estimator in RELAXED and self.training)):
            temperature = self.estimator.temperature_of(encoded.features.detach()) if temperature is None else temperature
            terms, latents = self.relaxed_bound(source, posterior, temperature, read, generator, kl_weight=kl_weight)
        else:
            draws = self._draw(posterior, not sample_posterior, encoded.features, generator)
            latents = draws.latents
            log_likelihood = self.log_likelihood(source, latents, read, pairs)
            score = self.score_prior(source, latents, pairs)
            baseline = empty.detach() if config.empty_baseline else torch.zeros_like(log_likelihood[0])
            terms = structured_bound(
                "elbo" if config.estimator == "exact" else config.objective,
                draws,
                log_likelihood - baseline,
                score.log_prob,
                entropy_of(posterior),
                kl_weight=kl_weight,
                risk_sharpness=config.risk_sharpness,
            )
            terms = replace(terms, loss=terms.loss - baseline, reconstruction=terms.reconstruction - baseline)
            terms = SummaryTerms.of(terms, score)
        if config.empty_weight:
            terms = replace(terms, loss=terms.loss - config.empty_weight * empty)
        return terms, latents, posterior

    def _told(
        self,
        source: SourceWords,
        encoded: EncodedWords,
        read: torch.Tensor | None,
        values: torch.Tensor,
        kl_weight: float,
    ) -> BoundTerms:
        """The loss of sentences whose compressions are known."""
        config, head = self.config, self.posterior_head
        counts = None if config.target_ratio is None else head.counts_of(values, source)
        posterior = head(encoded, source, counts)
        values = head.canonical(posterior, values).unsqueeze(0)
        nll = -posterior.log_prob(values).squeeze(0)
        if config.joint_weight == 0:
            return BoundTerms(config.classification_weight * nll, nll.detach(), torch.zeros_like(nll))
        pairs = self.pair_log_probs(source)
        reconstruction = -self.log_likelihood(source, values, read, pairs).squeeze(0)
        score = self.score_prior(source, values, pairs)
        kl = -score.log_prob.squeeze(0)
        loss = config.joint_weight * (reconstruction + kl_weight * kl) + config.classification_weight * nll
        return SummaryTerms.of(BoundTerms(loss, reconstruction.detach(), kl.detach()), score)

    def _draw(self, posterior: Distribution, certain: bool, features: torch.Tensor, generator: Generators) -> Draws:
        """The compressions that the objective is computed from."""
        config = self.config
        if certain:
            return draw_mode(config.objective, self.estimator, posterior)
        if config.estimator in RELAXED:
            return Draws(posterior.sample((config.num_samples,), generator), posterior)
        return draw_for(config.objective, self.estimator, posterior, config.num_samples, generator, features=features)


AutoConfig.register(LatentSummarizerConfig.model_type, LatentSummarizerConfig)
AutoModel.register(LatentSummarizerConfig, LatentSummarizerModel)
AutoProcessor.register(LatentSummarizerConfig, LatentTextProcessor)
