"""Mean and scatter of gradients around the exact one, without keeping the gradients."""

import torch
from scipy.special import chdtrc

# Of so many draws at a time all pairs are compared.
GROUP = 64


class GradientMoments:
    """Running moments of independent estimates (P,) of an exact gradient.

    Whether their mean is off is judged in all P directions at once, also where there are more of these than draws. Without a
    bias, n |mean - exact|^2 is a sum of chi-squared variables weighted by the eigenvalues of the covariance S; it is about
    tr(S^2) / tr(S) times a chi-squared variable of tr(S)^2 / tr(S^2) degrees of freedom (Satterthwaite 1946; Box 1954). Both
    traces are estimated, without bias, from differences of two draws each: such differences have no mean, whatever the bias;
    the inner product of one with itself has the expectation 2 tr(S), and the square of that of two the expectation 4 tr(S^2).

    Args:
        exact: (P,), not zero.
    """

    def __init__(self, exact: torch.Tensor):
        self.exact = exact.double()
        self.norm = self.exact.norm().item()
        self.count = 0
        self.cosines = 0.0
        self.total = torch.zeros_like(self.exact)
        self.traces = self.squared_traces = 0.0
        self.differences = self.pairs = 0
        self.waiting: list[torch.Tensor] = []

    def add(self, gradients: torch.Tensor) -> None:
        """Take estimates (N, P) in."""
        gradients = gradients.double()
        self.cosines += torch.nn.functional.cosine_similarity(gradients, self.exact.unsqueeze(0)).sum().item()
        deviations = gradients - self.exact
        self.total += deviations.sum(0)
        self.count += len(deviations)
        self.waiting += deviations
        while len(self.waiting) >= GROUP:
            self._compare(self.waiting[:GROUP])
            del self.waiting[:GROUP]

    def _compare(self, deviations: list[torch.Tensor]) -> None:
        even = torch.stack(deviations[: len(deviations) // 2 * 2])
        differences = even[::2] - even[1::2]
        products = differences @ differences.T
        self.traces += products.diagonal().sum().item() / 2
        self.differences += len(differences)
        self.squared_traces += (products.square().sum() - products.diagonal().square().sum()).item() / 4
        self.pairs += len(differences) * (len(differences) - 1)

    def summary(self) -> dict[str, float]:
        """The measured attributes of an `EstimatorRow`, by their names there.

        Raises:
            ValueError: fewer than 4 estimates, of which there is no scatter to tell.
        """
        if len(self.waiting) > 1:
            self._compare(self.waiting)
            self.waiting = []
        if self.pairs == 0:
            raise ValueError(f"The scatter of estimates is told from 4 or more, and there are {self.count}.")
        mean = self.total / self.count
        trace = self.traces / self.differences
        # Between what it is if all directions scatter alike and if one alone does; of few draws it may come out elsewhere.
        squared_trace = min(max(self.squared_traces / self.pairs, trace**2 / len(self.exact)), trace**2)
        statistic, degrees, p_value = 0.0, 0.0, 1.0
        # As far as rounding goes, nothing is off.
        if trace > 1e-12 * self.norm**2:
            degrees = trace**2 / squared_trace
            statistic = (self.count * mean.square().sum()).item() * trace / squared_trace
            p_value = float(chdtrc(degrees, statistic))
        elif mean.norm().item() > 1e-3 * self.norm:
            p_value = 0.0
        return {
            "draws": self.count,
            "relative_bias": mean.norm().item() / self.norm,
            "standard_error": (trace / self.count) ** 0.5 / self.norm,
            "cosine": torch.nn.functional.cosine_similarity(mean + self.exact, self.exact, dim=0).item(),
            "cosine_of_one": self.cosines / self.count,
            "variance": trace / self.norm**2,
            "statistic": statistic,
            "degrees_of_freedom": degrees,
            "p_value": p_value,
        }
