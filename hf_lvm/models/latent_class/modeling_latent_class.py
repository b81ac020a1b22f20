"""The latent class model: z a vector of M categorical variables, x ~ p(x|z) from a causal decoder, and an encoder for q(z|x).

With one variable it is a mixture of language models that share their weights. Where the classes of some sentences are known it
is the semi-supervised model M2 of Kingma et al. (2014), with text for images and nothing else in z.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.cache_utils import Cache

from hf_lvm.backbones.composition import ComposedModel, ComposedOutput, TextOperations
from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import CategoricalVector, Generators
from hf_lvm.estimators import Draws, build_estimator, check_temperature
from hf_lvm.estimators.gumbel_softmax import GumbelSoftmax
from hf_lvm.layers.posteriors import CATEGORY_POSTERIORS
from hf_lvm.layers.priors import CATEGORY_PRIORS
from hf_lvm.models.latent_class.classes_and_texts import ClassesAndTexts
from hf_lvm.models.latent_class.configuration_latent_class import LatentClassConfig
from hf_lvm.models.latent_class.likelihood import ClassLikelihood
from hf_lvm.models.latent_class.summed_variables import SummedVariables, marginals
from hf_lvm.objectives import (
    RowCounts,
    check_classes,
    check_combination,
    discrete_bound,
    draw_for,
    semi_supervised_mean,
)
from hf_lvm.objectives.known_latents import draw_mode
from hf_lvm.objectives.likelihood import sentence_nll


@dataclass
class LatentClassOutput(ComposedOutput):
    """What a forward pass of a latent class model returns. B sentences, T decoder tokens, M variables of C classes, V words.

    Of the M variables the first M' are inferred, and the others, if there are any, summed over.

    Attributes:
        loss: scalar, in nats per sentence. Without `classes` the mean of `row_loss`, which at `kl_weight=1` is the negative
            bound; with them J of `hf_lvm.objectives.semi_supervision`.
        row_loss: (B,), the (weighted) negative bound of each sentence; of log p(x, y) where y is known, with
            -alpha log q(y|x) added.
        reconstruction: (B,), -log p(x|z) in nats per sentence, the mean over samples of z.
        kl: (B,), KL(q(z|x) || p(z)), never weighted; a known variable has the one value, and costs -log p(y).
        kl_per_dimension: (B, M'), its parts; None under `marginal`.
        class_logits: (B, M, C), log q(z_m|x) by the encoder alone, whatever is known; of summed variables, and under
            `marginal`, which trains no encoder, log p(z_m|x) by Bayes' rule.
        logits: (B, T, V), lined up with the labels; of the first value of z that was scored.
        latents: (B, M'), this value; (B, M', C') where it is relaxed.
        posterior: the distribution over (B, M') with these logits.
    """

    row_loss: torch.Tensor | None = None
    class_logits: torch.Tensor | None = None


class LatentClassModel(ClassesAndTexts, SummedVariables, ClassLikelihood, TextOperations, ComposedModel):
    """A mixture of sentences: a vector of categories between an encoder and a decoder.

    Example:

    ```python
    >>> from transformers import BertConfig, GPT2Config
    >>> from hf_lvm import LatentClassConfig, LatentClassModel

    >>> encoder = BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    >>> decoder = GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    >>> model = LatentClassModel(LatentClassConfig(encoder=encoder, decoder=decoder, num_classes=5, injection="embedding"))
    >>> tokens = torch.tensor([[5, 6, 7, 2]])
    >>> output = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens)
    >>> output.class_logits.shape, output.latents.shape
    (torch.Size([1, 1, 5]), torch.Size([1, 1]))

    ```

    Args:
        config: what it is made of.
        encoder: a model to use as the encoder, instead of a new one from `config.encoder`.
        decoder: a model to use as the decoder, instead of a new one from `config.decoder`.
    """

    config: LatentClassConfig
    output_class = LatentClassOutput
    base_model_prefix = "latent_class"

    # ---- its latent --------------------------------------------------------------------------------------------------

    def build_latent(self, config: LatentClassConfig) -> tuple[nn.Module, nn.Module]:
        """The head of q(z|x) and the prior p(z) that the config names."""
        head, prior = CATEGORY_POSTERIORS[config.posterior_type], CATEGORY_PRIORS[config.prior_type]
        size = config.encoder.hidden_size
        inferred = (config.num_inferred, config.inferred_counts)
        return head(size, *inferred, **config.options_of(head)), prior(config.num_variables, config.num_classes, size)

    def build_estimator(self, config: LatentClassConfig) -> nn.Module | None:
        """The gradient estimator that the config names; None for `minimum_risk`."""
        if config.estimator is None:
            return None
        return build_estimator(
            config.estimator,
            feature_size=config.encoder.hidden_size,
            num_variables=config.num_inferred,
            num_classes=max(config.inferred_counts),
            **{
                key: getattr(config, key)
                for key in (
                    "enumeration_budget",
                    "sampled_of_the_rest",
                    "baseline_decay",
                    "temperature",
                    "learned_temperature",
                )
            },
        )

    @property
    def has_kl_per_dimension(self) -> bool:
        """Whether the objective has a KL that is a sum over variables: all but `marginal`, which has none."""
        return self.config.objective != "marginal"

    def typical_vectors(self) -> torch.Tensor:
        """Random values of z, as the decoder is told them."""
        counts = self.config.class_counts
        return self._vectors(torch.stack([torch.randint(count, (256,), device=self.device) for count in counts], dim=1))

    def condition(self, latents: torch.Tensor) -> dict[str, torch.Tensor]:
        """What each injection gives the decoder for values of z (B, M), or points of its simplices (B, M, C)."""
        return self.conditioning.condition(self._vectors(latents))

    def _vectors(self, latents: torch.Tensor) -> torch.Tensor:
        counts, classes = self.config.class_counts, max(self.config.class_counts)
        if latents.is_floating_point():
            if latents.shape[1:] != (len(counts), classes):
                raise ValueError(
                    f"Relaxed latents of shape {tuple(latents.shape)} do not fit: this model takes (batch, {len(counts)}, "
                    f"{classes})."
                )
            return self.posterior_head.vectors(latents)
        values = check_classes(latents, counts, latents.shape[0])
        if values.numel() and int(values.min()) < 0:
            raise ValueError("A latent with a class of -1 is not complete: give a class to every variable.")
        return self.posterior_head.vectors(functional.one_hot(values, classes).to(self.latent_dtype))

    def prior_of(
        self,
        batch_size: int,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> CategoricalVector:
        """p(z) for each of `batch_size` sentences, on the model's device: a distribution over (B, M).

        Args:
            condition_input_ids, condition_attention_mask: (B, S), the texts that a `conditional` prior reads.

        Raises:
            ValueError: texts for a prior that reads none, or none for one that does.
        """
        condition = None
        if self.prior.needs_condition:
            if condition_input_ids is None:
                raise ValueError(
                    "prior_type 'conditional' is p(z | a text): pass condition_input_ids (and condition_attention_mask)."
                )
            condition = self.pooled(condition_input_ids, condition_attention_mask)
        elif condition_input_ids is not None:
            raise ValueError(
                f"condition_input_ids go with prior_type 'conditional', and this model's is {self.config.prior_type!r}: leave "
                "them out, or build it with another prior_type."
            )
        return self.prior(batch_size, device=self.device, dtype=self.latent_dtype, condition=condition)

    # ---- the model ---------------------------------------------------------------------------------------------------

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        classes: torch.LongTensor | None = None,
        latents: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
        sample_posterior: bool = True,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        temperature: float | None = None,
        reference: torch.LongTensor | None = None,
        row_counts: RowCounts | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
        conditions: dict[str, torch.Tensor] | None = None,
        return_dict: bool | None = None,
    ) -> LatentClassOutput:
        """The bound of sentences, the score of labels under given latents, or one decoding step.

        Args:
            input_ids: (B, S), the sentences for the encoder, padded on either side.
            attention_mask: (B, S), nonzero at tokens.
            labels: (B, T), the sentences for the decoder: tokens and EOS, no BOS, -100 where padded (on the right).
            classes: (B, M), what is known of z, -1 where it is not; (B,) where M is 1. A sentence of which something is
                known is a labelled one.
            latents: (B, M) values or (B, M, C) points of the simplices; scores the labels under these instead of encoding:
                `kl` is None, `loss` the mean reconstruction. Of a model with summed variables also values of the others alone.
            decoder_input_ids: (B, T), read instead of the shifted labels (with some words dropped, say).
            condition_input_ids, condition_attention_mask: (B, S), the texts that a `conditional` prior reads.
            sample_posterior: z from q(z|x) as the estimator draws it; the mode of q otherwise, which is not the bound.
            generator: None, one generator, or one for each row.
            kl_weight: weight of the KL term in `loss`, and of -log p(y). What is summed over is in p(x|z), and not weighted.
            free_bits, free_bits_mode: nats that cost nothing in `loss`, see `hf_lvm.objectives.free_bits`.
            temperature: of relaxed samples, instead of the config's.
            reference: (B, M'), under `minimum_risk` a value of the inferred variables that is always among the candidates.
            row_counts: labelled and unlabelled rows of the batch that this one is a part of.
            past_key_values, use_cache, logits_to_keep, conditions: for generation.

        In evaluation mode relaxed samples are none: the bound is that of the discrete model, whatever trained it.

        Raises:
            ValueError: sentences longer than the positions of a part, classes that do not exist, unknown modes.
        """
        if labels is None:
            return self.step(decoder_input_ids, latents, conditions, past_key_values, use_cache, logits_to_keep)
        if decoder_input_ids is None:
            decoder_input_ids = self.shift_right(labels)
        prior_inputs = (labels.shape[0], condition_input_ids, condition_attention_mask)
        if latents is not None:
            reconstruction, logits = self._score_given(latents, prior_inputs, decoder_input_ids, labels)
            return LatentClassOutput(loss=reconstruction.mean(), reconstruction=reconstruction, logits=logits, latents=latents)
        if input_ids is None:
            raise ValueError("Pass input_ids for the encoder, or latents to score the labels under.")

        config = self.config
        check_combination(
            config.objective, config.estimator, config.num_samples, latents="discrete", free_bits_mode=free_bits_mode
        )
        if temperature is not None:
            check_temperature(temperature)
        if reference is not None:
            if config.objective != "minimum_risk":
                raise ValueError(f"A reference is a candidate of 'minimum_risk', and the objective is {config.objective!r}.")
            reference = check_classes(reference, config.inferred_counts, labels.shape[0])
            if int(reference.min()) < 0:
                raise ValueError("A reference with a class of -1 is no value of z: give a class to every inferred variable.")
        pooled = self.pooled(input_ids, attention_mask)
        posterior = self.posterior_head(pooled)
        prior = self.prior_of(*prior_inputs)
        inferred, expected = posterior, prior
        if classes is not None:
            classes = check_classes(classes, config.class_counts, labels.shape[0])
            known = classes[:, : config.num_inferred]
            inferred, expected = posterior.given(known), prior.given(classes)
        is_certain = not sample_posterior or (classes is not None and bool((known >= 0).all()))
        draws = self._draw(inferred, is_certain, pooled, generator, temperature, reference)
        log_likelihood, joint, logits = self.log_likelihood_of(draws.latents, expected, decoder_input_ids, labels)
        expected_inferred = expected.marginal(0, config.num_inferred)
        terms = discrete_bound(
            config.objective,
            draws,
            log_likelihood,
            expected_inferred,
            kl_weight=kl_weight,
            free_bits=free_bits,
            free_bits_mode=free_bits_mode,
            risk_sharpness=config.risk_sharpness,
        )
        row_loss, kl, per_dimension = terms.loss, terms.kl, terms.kl_per_dimension
        if classes is None:
            loss = row_loss.mean()
        else:
            cost = -prior.observed_log_prob(classes)
            row_loss = row_loss + kl_weight * cost - config.classification_weight * posterior.observed_log_prob(known)
            kl = kl + cost
            if per_dimension is not None:
                per_dimension = inferred.kl_per_dimension(prior.marginal(0, config.num_inferred))
            loss = semi_supervised_mean(
                row_loss, (classes >= 0).any(1), unlabelled_weight=config.unlabelled_weight, counts=row_counts
            )
        average = draws.mean
        if config.objective == "marginal":
            weights = (expected_inferred.log_prob(draws.latents) + log_likelihood).detach().softmax(0)
            posterior = marginals(inferred, draws.latents, weights)
            average = partial(_weighted_sum, weights)
        return LatentClassOutput(
            loss=loss,
            row_loss=row_loss,
            reconstruction=terms.reconstruction,
            kl=kl,
            kl_per_dimension=per_dimension,
            class_logits=self.class_logits_of(posterior, expected, joint, average),
            logits=logits,
            latents=draws.latents[0],
            posterior=posterior,
        )

    def _score_given(
        self, latents: torch.Tensor, prior_inputs: tuple, decoder_input_ids: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """-log p(x|z) of one value for each sentence, (B,), and the logits; summed over what the value does not say."""
        if not self.lacks_variables(latents):
            logits = self.decode(latents, decoder_input_ids)
            return sentence_nll(logits, labels), logits
        prior = self.prior_of(*prior_inputs)
        log_likelihood, _, logits = self.log_likelihood_of(latents.unsqueeze(0), prior, decoder_input_ids, labels)
        return -log_likelihood[0], logits

    def _draw(
        self,
        posterior: CategoricalVector,
        is_certain: bool,
        features: torch.Tensor,
        generator: Generators,
        temperature: float | None,
        reference: torch.Tensor | None,
    ) -> Draws:
        """The values of z that the objective is computed from."""
        config = self.config
        if is_certain:
            return draw_mode(config.objective, self.estimator, posterior)
        if not self.training and isinstance(self.estimator, GumbelSoftmax):
            return Draws(posterior.sample((config.num_samples,), generator), posterior)
        return draw_for(
            config.objective,
            self.estimator,
            posterior,
            config.num_samples,
            generator,
            features=features,
            temperature=temperature,
            reference=reference,
        )


def _weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return (weights * values).sum(0)


AutoConfig.register(LatentClassConfig.model_type, LatentClassConfig)
AutoModel.register(LatentClassConfig, LatentClassModel)
AutoProcessor.register(LatentClassConfig, LatentTextProcessor)
