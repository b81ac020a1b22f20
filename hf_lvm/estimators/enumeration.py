"""Summing over the values of z: all of them, or the most probable ones beside samples of the rest."""

from typing import ClassVar

import torch

from hf_lvm.estimators.base import Estimator
from hf_lvm.estimators.draws import Draws, value_and_gradient

DEFAULT_BUDGET = 1024


class Exact(Estimator):
    """The estimator `exact`: E_q[f(z)] = sum over z of q(z) f(z), whose gradient is the exact one.

    Args:
        budget: values of z that may be scored for a row. Each is a pass of the decoder.
    """

    name = "exact"
    needs = ("enumerate_support", "support_size")
    config_options: ClassVar[dict[str, str]] = {"enumeration_budget": "budget"}

    def __init__(self, budget: int = DEFAULT_BUDGET):
        super().__init__()
        if budget < 1:
            raise ValueError(f"enumeration_budget must be at least 1, but is {budget}.")
        self.budget = budget

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """All values of z: (S, B, *event shape).

        Raises:
            ValueError: there are more of them than the budget.
        """
        if posterior.support_size > self.budget:
            raise ValueError(
                f"The estimator 'exact' would score all {posterior.support_size:,} values of z for every sentence, and "
                f"enumeration_budget is {self.budget:,}: raise it, take fewer variables or classes, or choose an estimator "
                "that samples, such as 'rloo'."
            )
        return ExactDraws(posterior.enumerate_support(), posterior)


class ExactDraws(Draws):
    """All values of z, each counted by its probability."""

    @property
    def log_posterior(self) -> torch.Tensor:
        return _finite(self.log_prob.detach())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        return (self.log_prob.detach().exp() * values).sum(0)

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        return (self.log_prob.exp() * scores).sum(0)


class ExactTopK(Estimator):
    """The estimator `exact_topk`: the most probable values are summed, the rest is sampled (Liu et al. 2019, equation 9).

        E_q[f(z)] = sum over the k best of q(z) f(z)  +  (1 - their mass) E[f(z) | z none of them]

    The mass is differentiated as it stands, the expectation over the rest by the score function, whose baseline is what all
    other latents say about E_q[f]. Unbiased, and the better the more certain q is. Of K latents, `sampled` are drawn and the
    others are the most probable values; where K is no less than the number of all values, it is `exact`.

    Args:
        sampled: latents drawn from the rest; half of the K where it is None.
    """

    name = "exact_topk"
    needs = ("top_k", "sample_excluding", "support_size")
    config_options: ClassVar[dict[str, str]] = {"sampled_of_the_rest": "sampled"}
    min_samples = 2

    def __init__(self, sampled: int | None = None):
        super().__init__()
        if sampled is not None and sampled < 1:
            raise ValueError(f"sampled_of_the_rest must be at least 1, but is {sampled}.")
        self.sampled = sampled

    def _draw(self, posterior, num_samples, generator, features, temperature) -> Draws:
        """The most probable values and samples of the others, `num_samples` together.

        Raises:
            ValueError: none is left for the most probable values.
        """
        if num_samples >= posterior.support_size:
            return ExactDraws(posterior.enumerate_support(), posterior)
        sampled = num_samples // 2 if self.sampled is None else self.sampled
        if sampled >= num_samples:
            raise ValueError(
                f"exact_topk draws {sampled} of the rest and has {num_samples} latents in all, which leaves none to sum: "
                "raise num_samples, or lower sampled_of_the_rest."
            )
        best = posterior.top_k(num_samples - sampled)
        rest = posterior.sample_excluding(best, (sampled,), generator)
        return ExactTopKDraws(torch.cat([best, rest]), posterior, sampled)


class ExactTopKDraws(Draws):
    """The k best values counted by their probability, samples of the others sharing what is left."""

    def __init__(self, latents, posterior, sampled: int):
        super().__init__(latents, posterior)
        self.sampled = sampled

    @property
    def log_posterior(self) -> torch.Tensor:
        return _finite(self.log_prob.detach())

    def _masses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """q(z) of the k best (k, B), and the mass of all others (B,)."""
        best = self.log_prob[: -self.sampled].exp()
        # Where rounding leaves nothing, a mass below rounding keeps its logarithm finite.
        return best, (1.0 - best.sum(0)).clamp(min=torch.finfo(best.dtype).eps ** 2)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        best, others = self._masses()
        return ((best * values[: -self.sampled]).sum(0) + others * values[-self.sampled :].mean(0)).detach()

    def expectation(self, scores: torch.Tensor) -> torch.Tensor:
        best, others = self._masses()
        rest = scores[-self.sampled :]
        summed = (best * scores[: -self.sampled]).sum(0)
        signal = rest.detach()
        if self.sampled > 1:
            others_mean = (signal.sum(0) - signal) / (self.sampled - 1)
            baseline = summed.detach() + others.detach() * others_mean
        else:
            baseline = summed.detach() / best.detach().sum(0)
        # Where only impossible values are left to draw, their share is 0, and so is their gradient.
        log_conditional = _finite(self.log_prob[-self.sampled :]) - others.log()
        score_function = others.detach() * ((signal - baseline) * log_conditional).mean(0)
        return value_and_gradient(summed + others * rest.mean(0), score_function)


def _finite(log_prob: torch.Tensor) -> torch.Tensor:
    """With a very low number in place of -inf, so that a probability of 0 times it is 0 and not nan."""
    return log_prob.clamp(min=torch.finfo(log_prob.dtype).min / 4)
