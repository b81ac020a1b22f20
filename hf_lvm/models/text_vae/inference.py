"""q(z|x) of a text VAE: what the encoder says, and what a few gradient steps per sentence make of it."""

import torch
from torch.distributions import Distribution

from hf_lvm.backbones.encoders import encode_tokens
from hf_lvm.distributions import DiagonalGaussian, Generators
from hf_lvm.objectives import kl_terms, refine_gaussian


class Inference:
    """Methods of a text VAE that infer its latent."""

    def infer(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor,
        decoder_input_ids: torch.Tensor | None = None,
        generator: Generators = None,
        kl_weight: float = 1.0,
        condition_input_ids: torch.Tensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> Distribution:
        """q(z|x) as the bound takes it: the encoder's, refined by `semi_amortized_steps` gradient steps where there are any.

        The steps go up the bound of each sentence on its own, starting from what the encoder says (Kim et al. 2018). In
        training they are differentiated through, so that encoder and decoder learn to be refined.

        Args:
            generator: noise of the steps; a list of one a row goes on to serve the samples that follow.
            condition_input_ids, condition_attention_mask: (B, C), the texts that a `conditional_gaussian` prior reads.
        """
        conditions = (condition_input_ids, condition_attention_mask)
        posterior = self.encode(input_ids, attention_mask, *conditions)
        if not self.config.semi_amortized_steps:
            return posterior
        decoder_input_ids = self.shift_right(labels) if decoder_input_ids is None else decoder_input_ids
        prior = self.prior_of(labels.shape[0], *conditions)

        def negative_bound(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
            candidate = DiagonalGaussian(mean, torch.exp(0.5 * log_variance))
            samples = candidate.rsample((self.config.num_samples,), generator)
            nll, _ = self.score(samples, decoder_input_ids, labels)
            return nll.mean(0) + kl_weight * kl_terms(candidate, prior, samples).kl

        mean, log_variance = refine_gaussian(
            posterior.mean,
            2 * posterior.stddev.log(),
            negative_bound,
            steps=self.config.semi_amortized_steps,
            learning_rate=self.config.semi_amortized_learning_rate,
            momentum=self.config.semi_amortized_momentum,
            max_grad_norm=self.config.semi_amortized_max_grad_norm,
            differentiable=self.training,
        )
        return DiagonalGaussian(mean, torch.exp(0.5 * log_variance))

    def encode(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        condition_input_ids: torch.Tensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> Distribution:
        """q(z|x) of sentences (B, S), padded on either side, by the encoder alone: a distribution over (B, D).

        Args:
            condition_input_ids, condition_attention_mask: (B, C), the texts c of q(z|x, c) with a `conditional_gaussian`
                prior.

        Raises:
            ValueError: sentences longer than the encoder's positions; texts for a prior that reads none, or none for one that
                does, or another number of them.
        """
        pooled = self.pooled(input_ids, attention_mask)
        # `len` would fix the size of the batch in a program of torch.export.
        condition = self.pooled_condition(input_ids.shape[0], condition_input_ids, condition_attention_mask)
        return self.posterior_head(pooled if condition is None else torch.cat([pooled, condition], dim=-1))

    def pooled_condition(
        self, batch_size: int, input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The encoder's vectors (B, H) of the texts that the prior reads; None where it reads none."""
        if not self.prior.needs_condition:
            if input_ids is not None:
                raise ValueError(
                    "condition_input_ids go with prior_type 'conditional_gaussian', and this model's is "
                    f"{self.config.prior_type!r}: leave them out, or build it with that one."
                )
            return None
        if input_ids is None:
            raise ValueError(
                "prior_type 'conditional_gaussian' is p(z | a text): pass condition_input_ids (and condition_attention_mask), "
                "or conditions=... where texts are passed as strings."
            )
        if input_ids.shape[0] != batch_size:
            raise ValueError(f"Got {input_ids.shape[0]} conditions for {batch_size} sentences: give one a sentence.")
        return self.pooled(input_ids, attention_mask)

    def prior_of(
        self,
        batch_size: int,
        condition_input_ids: torch.Tensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> Distribution:
        """p(z) for each of `batch_size` sentences, on the model's device: a distribution over (B, D).

        Args:
            condition_input_ids, condition_attention_mask: (B, C), the texts c of p(z|c) under a `conditional_gaussian` prior.

        Raises:
            ValueError: texts for a prior that reads none, or none for one that does, or another number of them.
        """
        options = {"posterior": self._pseudo_posterior()} if self.prior.needs_encoder else {}
        condition = self.pooled_condition(batch_size, condition_input_ids, condition_attention_mask)
        if condition is not None:
            options["condition"] = condition
        return self.prior(batch_size, device=self.device, dtype=self.latent_dtype, **options)

    def _pseudo_posterior(self) -> Distribution:
        """q(z|u) of the pseudo-inputs u that a VampPrior has learned: a distribution over (K, D)."""
        inputs = self.prior.encoder_inputs()
        hidden = encode_tokens(self.encoder, None, **inputs)
        return self.posterior_head(self.pooling(hidden, inputs["attention_mask"]))
