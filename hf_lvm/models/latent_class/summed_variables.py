"""Variables of z that are summed over instead of inferred: p(x | the others) is then a mixture, and exact.

With z = (y, k) and k summed over, log p(x|y) = log sum over k of p(k) p(x|y, k), and an encoder is needed for q(y|x) alone.
The bound is tighter than one with a q(k|x), and k is used from the first step on, because what it is of a sentence follows
from the decoder by Bayes' rule. A topic beside a sentiment is such a k: it explains the words that a class of which few labels
are known would else come to stand for.
"""

from collections.abc import Callable

import torch

from hf_lvm.distributions import CategoricalVector


class SummedVariables:
    """Methods of a latent class model about values of the inferred variables alone, and what is summed beside them."""

    def log_likelihood_of(
        self,
        latents: torch.Tensor,
        prior: CategoricalVector,
        decoder_input_ids: torch.Tensor,
        labels: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """log p(x | the inferred variables) of R values for each sentence, in nats.

        Args:
            latents: (R, B, M'), values of the M' inferred variables, or points of their simplices (R, B, M', C').
            prior: p(z), over (B, M).
            decoder_input_ids, labels: (B, T).

        Returns:
            The log-likelihoods (R, B); of S values of the summed variables log p(x, k | the inferred ones), (R, S, B), None
            where nothing is summed; and the logits (B, T, V) under the first value.
        """
        if not self.config.summed_variables:
            nll, logits = self.score(latents, decoder_input_ids, labels)
            return -nll, None, logits
        summed = prior.marginal(self.config.num_inferred, self.config.num_variables)
        values = summed.enumerate_support()
        nll, logits = self.score(self._beside(latents, values), decoder_input_ids, labels)
        joint = summed.log_prob(values) - nll.unflatten(0, (len(latents), -1))
        return joint.logsumexp(1), joint, logits

    def _beside(self, latents: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Each of R values of the inferred variables with each of the values (S, B, M - M') of the others: (R S, B, ...)."""
        batch = latents.shape[1]
        is_relaxed = latents.is_floating_point()
        # All values of z are the same for all sentences, and stay one copy of them.
        are_shared = latents.stride(1) == 0
        if are_shared:
            latents, values = latents[:, :1], values[:, :1]
        if is_relaxed:
            classes = max(self.config.class_counts)
            values = torch.nn.functional.one_hot(values, classes).to(latents.dtype)
            latents = torch.nn.functional.pad(latents, (0, classes - latents.shape[-1]))
        count, others = len(latents), len(values)
        left = latents.unsqueeze(1).expand(-1, others, *latents.shape[1:])
        right = values.unsqueeze(0).expand(count, *values.shape)
        joined = torch.cat([left, right], dim=-2 if is_relaxed else -1).flatten(0, 1)
        return joined.expand(-1, batch, *joined.shape[2:]) if are_shared else joined

    @torch.no_grad()
    def class_logits_of(
        self,
        posterior: CategoricalVector,
        prior: CategoricalVector,
        joint: torch.Tensor | None,
        average: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Log-probabilities of the classes of all variables: (B, M, C).

        Args:
            posterior: of the inferred variables; theirs are these.
            prior, joint: of `log_likelihood_of`; by Bayes' rule they say what the summed variables are.
            average: the mean over R values of the inferred variables, (R, B) -> (B,).
        """
        if joint is None:
            return posterior.logits
        summed = prior.marginal(self.config.num_inferred, self.config.num_variables)
        shares = torch.stack([average(share) for share in joint.detach().softmax(1).unbind(1)])  # (S, B)
        by_bayes = marginals(summed, summed.enumerate_support(), shares)
        return torch.cat([self._padded(posterior), self._padded(by_bayes)], dim=1)

    def _padded(self, distribution: CategoricalVector) -> torch.Tensor:
        missing = max(self.config.class_counts) - distribution.num_classes
        return torch.nn.functional.pad(distribution.logits.detach(), (0, missing), value=-torch.inf)

    def lacks_variables(self, latents: torch.Tensor) -> bool:
        """Whether values are those of the inferred variables alone: (B, M') of a model that sums over others."""
        config = self.config
        is_short = latents.dim() == 2 and latents.shape[1] == config.num_inferred
        return bool(config.summed_variables) and is_short and not latents.is_floating_point()


@torch.no_grad()
def marginals(distribution: CategoricalVector, values: torch.Tensor, weights: torch.Tensor) -> CategoricalVector:
    """A distribution of the same kind, with the probabilities of each variable under weights (S, B) of values (S, B, M)."""
    corners = distribution.one_hot(values)
    return distribution.with_logits(torch.einsum("sb,sbmc->bmc", weights.to(corners.dtype), corners).log())
