"""A mixture of diagonal Gaussians that all rows of a batch share."""

import math
from collections.abc import Sequence

import torch
from torch.distributions import Distribution, constraints

from hf_lvm.distributions.noise import Generators, normal_noise, uniform_noise


class GaussianMixture(Distribution):
    """p(z) = sum_k weight_k N(z; mean_k, diag(stddev_k^2)), the same for every row: batch (B,), event (D,).

    The C components are held once, not B times, and `log_prob` makes no intermediate of size C * D for each latent.
    It has no reparameterized sample: which component is drawn does not move smoothly.

    Args:
        logits: (C,), log weights up to a constant.
        mean: (C, D).
        stddev: (C, D), positive.
        batch_size: B.

    Raises:
        ValueError: shapes that do not go together.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "component_mean": constraints.real,
        "component_stddev": constraints.positive,
    }
    support = constraints.real_vector
    has_rsample = False

    def __init__(
        self,
        logits: torch.Tensor,
        mean: torch.Tensor,
        stddev: torch.Tensor,
        batch_size: int,
        validate_args: bool | None = False,
    ):
        if mean.dim() != 2 or stddev.shape != mean.shape or logits.shape != mean.shape[:1]:
            raise ValueError(
                f"Got logits {tuple(logits.shape)}, mean {tuple(mean.shape)} and stddev {tuple(stddev.shape)}: a mixture of C "
                "components over D dimensions needs (C,), (C, D) and (C, D)."
            )
        self.logits = logits.log_softmax(-1)
        self.component_mean = mean
        self.component_stddev = stddev
        super().__init__(torch.Size((batch_size,)), mean.shape[1:], validate_args=validate_args)

    @property
    def mean(self) -> torch.Tensor:
        """(B, D), the weighted mean of the component means."""
        return self._average(self.component_mean).expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> torch.Tensor:
        """Of each coordinate: (B, D); that within the components and that between them."""
        between = (self.component_mean - self._average(self.component_mean)).square()
        return self._average(self.component_stddev.square() + between).expand(self.batch_shape + self.event_shape)

    def _average(self, values: torch.Tensor) -> torch.Tensor:
        return (self.logits.exp().unsqueeze(-1) * values).sum(0)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of latents (..., B, D): (..., B), nats."""
        if self._validate_args:
            self._validate_sample(value)
        mean, stddev, z = self.component_mean.double(), self.component_stddev.double(), value.double()
        precision = stddev.pow(-2)
        # The square written out, so that it is two matrix products; float64 has the digits that this cancels.
        distance = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(-1)
        log_scale = (stddev.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
        log_prob = torch.logsumexp(self.logits.double() - log_scale - 0.5 * distance, dim=-1)
        shape = torch.broadcast_shapes(log_prob.shape, self.batch_shape)
        return log_prob.to(torch.promote_types(value.dtype, self.component_mean.dtype)).expand(shape)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """(*sample_shape, B, D), without a gradient.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        (batch_size,) = self.batch_shape
        mean, stddev = self.component_mean, self.component_stddev
        place = uniform_noise(sample_shape, batch_size, (), generator=generator, device=mean.device, dtype=torch.float64)
        cumulative = self.logits.double().exp().cumsum(-1)
        # The last sum may be a rounding error below 1.
        component = torch.searchsorted(cumulative, place * cumulative[-1], right=True).clamp(max=len(mean) - 1)
        noise = normal_noise(
            sample_shape, batch_size, self.event_shape, generator=generator, device=mean.device, dtype=mean.dtype
        )
        return mean[component] + stddev[component] * noise
