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
    ) -> Distribution:
        """q(z|x) as the bound takes it: the encoder's, refined by `semi_amortized_steps` gradient steps where there are any.

        The steps go up the bound of each sentence on its own, starting from what the encoder says (Kim et al. 2018). In
        training they are differentiated through, so that encoder and decoder learn to be refined.

        Args:
            generator: noise of the steps; a list of one a row goes on to serve the samples that follow.
        """
        posterior = self.encode(input_ids, attention_mask)
        if not self.config.semi_amortized_steps:
            return posterior
        decoder_input_ids = self.shift_right(labels) if decoder_input_ids is None else decoder_input_ids
        prior = self.prior_of(labels.shape[0])

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

    def prior_of(self, batch_size: int) -> Distribution:
        """p(z) for each of `batch_size` sentences, on the model's device: a distribution over (B, D)."""
        options = {"posterior": self._pseudo_posterior()} if self.prior.needs_encoder else {}
        return self.prior(batch_size, device=self.device, dtype=self.latent_dtype, **options)

    def _pseudo_posterior(self) -> Distribution:
        """q(z|u) of the pseudo-inputs u that a VampPrior has learned: a distribution over (K, D)."""
        inputs = self.prior.encoder_inputs()
        hidden = encode_tokens(self.encoder, None, **inputs)
        return self.posterior_head(self.pooling(hidden, inputs["attention_mask"]))
