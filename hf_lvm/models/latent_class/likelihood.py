"""p(x) of sentences under a latent class model: summed over all values of z, or importance-weighted where they are many."""

import torch

from hf_lvm.distributions import CategoricalVector, Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import LikelihoodEstimate, estimate_from_log_weights

METHODS = ("auto", "exact", "importance")


class ClassLikelihood:
    """Methods of a latent class model that compute or estimate the likelihood of sentences."""

    def estimate_log_likelihood(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        num_samples: int = 500,
        chunk_size: int | None = None,
        generator: Generators = None,
        keep_log_weights: bool = False,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
        method: str = "auto",
    ) -> LikelihoodEstimate:
        """log p(x) in nats, without dropout.

        Args:
            input_ids, attention_mask: (B, S), read by q(z|x) as the proposal; not used by `exact`.
            num_samples: of `importance`: K. The bound rises with K towards log p(x) (Burda et al. 2016).
            chunk_size: values of z decoded at once; by default as many as keep the logits small.
            keep_log_weights: return the log weights (K, B) of `importance` beside the estimate.
            condition_input_ids, condition_attention_mask: of a `conditional` prior, for log p(x | condition).
            method: `exact`, `importance`, or `auto`: exact where all values of z are within `config.enumeration_budget`.

        Raises:
            ValueError: no labels, another method, or `exact` beyond the budget.
        """
        if labels is None:
            raise ValueError("Pass labels: the sentences, each with its end, -100 where padded.")
        if method not in METHODS:
            raise ValueError(f"Unknown method {method!r}: choose one of {', '.join(map(repr, METHODS))}.")
        if method == "auto":
            method = "exact" if self.config.support_size <= self.config.enumeration_budget else "importance"
        with in_evaluation_mode(self):
            prior = self.prior_of(labels.shape[0], condition_input_ids, condition_attention_mask)
            if method == "exact":
                log_likelihood = self._log_joint(labels, prior, chunk_size).double().logsumexp(0)
                return LikelihoodEstimate.exactly(log_likelihood)
            posterior = self.encode(input_ids, attention_mask)
            samples = posterior.sample((num_samples,), generator)
            log_weights = self._log_joint_of(samples, labels, prior, chunk_size) - posterior.log_prob(samples)
        return estimate_from_log_weights(log_weights, keep_log_weights)

    def true_posterior(
        self,
        labels: torch.LongTensor,
        condition_input_ids: torch.LongTensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
        chunk_size: int | None = None,
    ) -> torch.Tensor:
        """p(z_m | x) of each variable by Bayes' rule, summed over all values of z, without dropout: (B, M, C).

        Raises:
            ValueError: more values of z than `config.enumeration_budget`.
        """
        with in_evaluation_mode(self):
            prior = self.prior_of(labels.shape[0], condition_input_ids, condition_attention_mask)
            weights = self._log_joint(labels, prior, chunk_size).softmax(0)  # (S, B)
            corners = prior.one_hot(prior.enumerate_support())  # (S, B, M, C)
            return torch.einsum("sb,sbmc->bmc", weights.to(corners.dtype), corners)

    def _log_joint(self, labels: torch.Tensor, prior: CategoricalVector, chunk_size: int | None) -> torch.Tensor:
        """log p(x, z) of all values of z: (S, B)."""
        if prior.support_size > self.config.enumeration_budget:
            raise ValueError(
                f"z has {prior.support_size:,} values and enumeration_budget is {self.config.enumeration_budget:,}: raise "
                "it in the model's config, or estimate by importance weighting."
            )
        decoder_input_ids = self.shift_right(labels)
        scores = []
        for some in prior.enumerate_support().split(chunk_size or self.samples_at_once(labels, are_shared=True)):
            nll, _ = self.score(some, decoder_input_ids, labels)
            scores.append(prior.log_prob(some) - nll)
        return torch.cat(scores)

    def _log_joint_of(
        self, samples: torch.Tensor, labels: torch.Tensor, prior: CategoricalVector, chunk_size: int | None
    ) -> torch.Tensor:
        """log p(x, z) of samples (K, B, M') of the inferred variables, the others summed over: (K, B)."""
        inferred = prior.marginal(0, self.config.num_inferred)
        summed = prior.support_size // inferred.support_size
        decoder_input_ids = self.shift_right(labels)
        scores = []
        for some in samples.split(chunk_size or max(1, self.samples_at_once(labels) // summed)):
            log_likelihood, _, _ = self.log_likelihood_of(some, prior, decoder_input_ids, labels)
            scores.append(inferred.log_prob(some) + log_likelihood)
        return torch.cat(scores)
