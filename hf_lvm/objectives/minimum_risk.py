"""Minimum risk: the expected cost under q, renormalised over a few candidates (Shen et al. 2016, equations 6 to 8).

The candidates of a row are samples of q(z|x), each counted once, and a reference where there is one. With sharpness alpha
their weights are q(z)^alpha over its sum, and the risk is the mean cost under these weights, differentiated as it stands. Over
all values of z and at alpha = 1 it is E_q[cost] itself. Over a few it is biased: towards candidates that are better than the
other candidates, rather than better than all values.
"""

import torch
from torch.distributions import Distribution

from hf_lvm.distributions.noise import Generators
from hf_lvm.estimators.draws import Draws


def draw_candidates(
    posterior: Distribution,
    num_samples: int,
    generator: Generators = None,
    reference: torch.Tensor | None = None,
) -> "Candidates":
    """Samples of q(z|x), and the reference in front of them.

    Args:
        num_samples: K, samples of each row; some may be equal.
        reference: (B, *event shape), a value that is always among the candidates.

    Raises:
        ValueError: no candidate at all, or a single one, whose weight is 1 whatever q is.
    """
    if num_samples < 1 or num_samples + (reference is not None) < 2:
        raise ValueError(
            f"Minimum risk compares candidates, and num_samples {num_samples} gives one: set num_samples to 2 or more (a "
            "hundred in the paper), or pass a reference."
        )
    latents = posterior.sample((num_samples,), generator)
    if reference is not None:
        latents = torch.cat([reference.to(latents.dtype).unsqueeze(0), latents])
    return Candidates(latents, posterior, has_reference=reference is not None)


class Candidates(Draws):
    """Values of z of each row, equal ones counted once in the risk.

    Args:
        has_reference: the first one was given, and not drawn.
    """

    def __init__(self, latents: torch.Tensor, posterior: Distribution, *, has_reference: bool = False):
        super().__init__(latents, posterior)
        self.has_reference = has_reference

    @property
    def log_posterior(self) -> torch.Tensor:
        return self.log_prob.detach()

    def is_repeated(self) -> torch.Tensor:
        """(R, B), whether a candidate of the same row before it has the same value."""
        values = self.latents.flatten(2)
        equal = (values.unsqueeze(0) == values.unsqueeze(1)).all(-1)  # (R, R, B)
        return (equal & torch.ones_like(equal[..., 0]).tril(-1).unsqueeze(-1)).any(1)

    def weights(self, sharpness: float = 1.0) -> torch.Tensor:
        """q(z)^sharpness over its sum, 0 for what is repeated: (R, B)."""
        return (sharpness * self.log_prob).masked_fill(self.is_repeated(), -torch.inf).softmax(0)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        # What is reported is a bound, in the mean over draws: by what was drawn, as often as it was.
        return values[int(self.has_reference) :].mean(0)


def risk(candidates: Candidates, costs: torch.Tensor, *, sharpness: float = 1.0) -> torch.Tensor:
    """The expected cost of each row: (B,), nats where the costs are.

    Args:
        candidates: of `draw_candidates`.
        costs: (R, B). Their own gradient is weighed by the same weights.
        sharpness: alpha, positive. The paper uses .005: the weights are nearly uniform, and the gradient small.

    Raises:
        ValueError: a sharpness that is not positive.
    """
    if sharpness <= 0:
        raise ValueError(f"risk_sharpness must be positive, but is {sharpness}: 1 weighs candidates by q itself.")
    return (candidates.weights(sharpness) * costs).sum(0)
