"""A Gaussian posterior that cannot collapse: its KL divergence from N(0, I) has a floor."""

import math
from typing import ClassVar

from hf_lvm.layers.posteriors.gaussian import GaussianPosterior


class DeltaPosterior(GaussianPosterior):
    """q(z|x) = N(mean(x), diag(stddev(x)^2)) with KL(q || N(0, I)) >= `committed_rate` nats for every sentence.

    The committed rate of Razavi et al. (2019, section 2), for one latent vector and the prior N(0, I): each dimension's
    standard deviation stays below the s < 1 at which (s^2 - log s^2 - 1) / 2 = committed_rate / D, the KL of that dimension
    where its mean is 0. The floor is met where all means are 0 and the standard deviations reach s, which they approach as
    the head's output rises; the gradient to it vanishes nowhere.

    Args:
        hidden_size: size of the pooled encoding.
        latent_size: D.
        initial_stddev: standard deviation of q at initialisation, at most 0.9 s: a larger one is taken down to that.
        committed_rate: nats in total, positive.

    Raises:
        ValueError: a committed rate that is not positive.
    """

    config_options: ClassVar[dict[str, str]] = {"committed_rate": "committed_rate"}

    def __init__(self, hidden_size: int, latent_size: int, *, initial_stddev: float = 1.0, committed_rate: float = 5.0):
        if not 0 < committed_rate < math.inf:
            raise ValueError(
                f"committed_rate must be a positive number of nats, but is {committed_rate}: for a posterior without a floor "
                "choose posterior_type 'gaussian'."
            )
        largest = largest_stddev(committed_rate / latent_size)
        initial_stddev = min(initial_stddev, 0.9 * largest)
        super().__init__(hidden_size, latent_size, initial_stddev=initial_stddev, largest_stddev=largest)
        self.committed_rate = committed_rate


def largest_stddev(rate: float) -> float:
    """The s < 1 at which KL(N(0, s^2) || N(0, 1)) = `rate` nats."""
    # With y = -log s^2 > 0 the equation is y + exp(-y) - 1 = 2 rate: increasing and convex in y, so that Newton's method
    # comes down to the root from any start above it, and rounding errors end its descent.
    y, step = 2 * rate + 1, math.inf
    while step > 0:
        nearer = y - (y + math.expm1(-y) - 2 * rate) / -math.expm1(-y)
        y, step = nearer, y - nearer
    return math.exp(-0.5 * y)
