"""The von Mises-Fisher distribution on the unit sphere, and the uniform distribution it departs from."""

import math
from collections.abc import Sequence

import torch
from torch.distributions import Distribution, constraints, register_kl
from torch.nn import functional

from hf_lvm.distributions.bessel import bessel_ratio, log_relative_bessel
from hf_lvm.distributions.cosine_sampling import AngleOfConcentration, sample_angle
from hf_lvm.distributions.noise import Generators, normal_noise


class _UnitSphere(constraints.Constraint):
    """Vectors of length 1, up to what float32 leaves of it."""

    event_dim = 1

    def check(self, value: torch.Tensor) -> torch.Tensor:
        return (value.norm(dim=-1) - 1).abs() < 1e-4


unit_sphere = _UnitSphere()


class VonMisesFisher(Distribution):
    """Unit vectors z with density proportional to exp(concentration * mean_direction . z): batch (B,), event (D,).

    Densities are with respect to the surface of the sphere (for D = 2 the arc length). All Bessel functions, angles and
    densities are computed in float64 and returned in the dtype of the parameters.

    `rsample` draws the angle to the mean direction by Wood's (1994) rejection sampler, and the direction around it uniformly.
    Its gradient is pathwise and unbiased in both parameters: in the concentration by implicit reparameterization of the
    angle, in the mean direction by turning the sphere the shortest way. (Davidson et al. 2018 reflect a sample around a fixed
    axis; that map is singular where the mean direction meets the axis, and its gradient noise unbounded around it.)

    Args:
        mean_direction: (B, D) with D >= 2, not zero. Only its direction counts: it is scaled to length 1.
        concentration: (B,), >= 0; 0 is the uniform distribution.

    Raises:
        ValueError: D < 2, or shapes that do not go together.
    """

    arg_constraints = {"mean_direction": constraints.real_vector, "concentration": constraints.nonnegative}
    support = unit_sphere
    has_rsample = True

    def __init__(self, mean_direction: torch.Tensor, concentration: torch.Tensor, validate_args: bool | None = False):
        _check_dimension(mean_direction.shape[-1])
        if concentration.shape != mean_direction.shape[:-1]:
            raise ValueError(
                f"mean_direction has shape {tuple(mean_direction.shape)} and concentration {tuple(concentration.shape)}: one "
                "concentration for each direction is needed, (B, D) and (B,)."
            )
        self.mean_direction = functional.normalize(mean_direction, dim=-1, eps=torch.finfo(mean_direction.dtype).tiny)
        self.concentration = concentration
        super().__init__(concentration.shape, mean_direction.shape[-1:], validate_args=validate_args)

    @property
    def mode(self) -> torch.Tensor:
        """The mean direction: (B, D), on the sphere."""
        return self.mean_direction

    @property
    def mean(self) -> torch.Tensor:
        """(B, D): the mean direction times the mean cosine, a point inside the sphere."""
        return self.mean_cosine.to(self.mean_direction.dtype).unsqueeze(-1) * self.mean_direction

    @property
    def variance(self) -> torch.Tensor:
        """Of each coordinate: (B, D)."""
        k, cosine = self.concentration.double(), self.mean_cosine
        # The mean cosine over the concentration, which tends to 1 / D at 0.
        across = torch.where(k > 0, cosine / torch.where(k > 0, k, 1.0), 1 / self._dimension).unsqueeze(-1)
        along = 1 - cosine.square().unsqueeze(-1) - (self._dimension - 1) * across
        squared = self.mean_direction.double().square()
        return (across * (1 - squared) + along * squared).to(self.mean_direction.dtype)

    @property
    def mean_cosine(self) -> torch.Tensor:
        """E[mean_direction . z] = I_{D/2}(k) / I_{D/2-1}(k): (B,), float64, between 0 and 1."""
        return bessel_ratio(self._dimension / 2 - 1, self.concentration.double())

    @property
    def _log_normalizer(self) -> torch.Tensor:
        """log E[exp(k cos)] under the uniform distribution: (B,), float64, 0 for k = 0."""
        return log_relative_bessel(self._dimension / 2 - 1, self.concentration.double())

    @property
    def _dimension(self) -> int:
        return self.event_shape[0]

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of unit vectors (..., B, D): (..., B), nats. With `validate_args`, other vectors are refused."""
        if self._validate_args:
            self._validate_sample(value)
        cosine = (self.mean_direction.double() * value.double()).sum(-1)
        log_prob = self.concentration.double() * cosine - self._log_normalizer + _log_uniform_density(self._dimension)
        return log_prob.to(torch.promote_types(value.dtype, self.mean_direction.dtype))

    def entropy(self) -> torch.Tensor:
        """(B,), nats; that of the uniform distribution less the divergence from it."""
        return -_log_uniform_density(self._dimension) - self.kl_to_uniform()

    def kl_to_uniform(self) -> torch.Tensor:
        """KL(self || uniform on the sphere), (B,), nats: E[log q] less the uniform log density (Davidson et al. 2018).

        A function of the concentration alone; 0 at 0, and about k^2 / (2 D) near it.
        """
        k = self.concentration.double()
        return (k * self.mean_cosine - self._log_normalizer).to(self.concentration.dtype)

    def rsample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Unit vectors (*sample_shape, B, D), differentiable in both parameters.

        Second derivatives in the mean direction are exact; one in the concentration raises a `RuntimeError`.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        mean, sample_shape = self.mean_direction, torch.Size(sample_shape)
        if len(self.batch_shape) != 1:
            raise ValueError(f"Only a batch of shape (B,) can be sampled; this one has {tuple(self.batch_shape)}.")
        with torch.no_grad():
            angle = sample_angle(self.concentration, self._dimension, sample_shape.numel(), generator)
            noise = normal_noise(
                sample_shape, *mean.shape[:1], mean.shape[1:], generator=generator, device=mean.device, dtype=mean.dtype
            )
            around = functional.normalize(noise - (noise * mean).sum(-1, keepdim=True) * mean, dim=-1)
        if self.concentration.requires_grad and torch.is_grad_enabled():
            angle = AngleOfConcentration.apply(self.concentration, angle, self._dimension)
        angle = angle.view(*sample_shape, *self.batch_shape, 1)
        start = mean.detach()
        # The turn in the plane of `start` and `mean` that takes the one to the other. Here it moves nothing; its derivatives
        # are those of z as the mean direction moves.
        turned = around - (around * mean).sum(-1, keepdim=True) / (1 + (start * mean).sum(-1, keepdim=True)) * (start + mean)
        return angle.cos().to(mean.dtype) * mean + angle.sin().to(mean.dtype) * turned

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Like `rsample`, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def detached(self) -> "VonMisesFisher":
        """The same distribution, with no gradient to its parameters."""
        return VonMisesFisher(self.mean_direction.detach(), self.concentration.detach())

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "VonMisesFisher":
        shape = torch.Size(batch_shape)
        return VonMisesFisher(self.mean_direction.expand(shape + self.event_shape), self.concentration.expand(shape))


class HypersphericalUniform(Distribution):
    """Unit vectors, all directions alike: batch (B,), event (D,).

    Args:
        batch_size: B.
        dimension: D >= 2, of the space around the sphere.

    Raises:
        ValueError: D < 2.
    """

    arg_constraints = {}
    support = unit_sphere
    has_rsample = True

    def __init__(
        self,
        batch_size: int,
        dimension: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        _check_dimension(dimension)
        self._zero = torch.zeros((), device=device, dtype=dtype)
        super().__init__(torch.Size((batch_size,)), torch.Size((dimension,)), validate_args=False)

    @property
    def mean(self) -> torch.Tensor:
        """Zeros: (B, D)."""
        return self._zero.expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> torch.Tensor:
        """1 / D for each coordinate: (B, D)."""
        return self.mean + 1 / self.event_shape[0]

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Of unit vectors (..., B, D): (..., B), minus the log of the sphere's surface."""
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return torch.full(shape, _log_uniform_density(self.event_shape[0]), device=value.device, dtype=value.dtype)

    def entropy(self) -> torch.Tensor:
        """(B,), the log of the sphere's surface."""
        return self._zero - torch.full_like(self.mean[..., 0], _log_uniform_density(self.event_shape[0]))

    def rsample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Unit vectors (*sample_shape, B, D); there is nothing to differentiate.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).
        """
        noise = normal_noise(
            sample_shape,
            *self.batch_shape,
            self.event_shape,
            generator=generator,
            device=self._zero.device,
            dtype=self._zero.dtype,
        )
        return functional.normalize(noise, dim=-1)

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """The same as `rsample`."""
        return self.rsample(sample_shape, generator)


@register_kl(VonMisesFisher, HypersphericalUniform)
def _kl_von_mises_fisher_uniform(posterior: VonMisesFisher, prior: HypersphericalUniform) -> torch.Tensor:
    if posterior.event_shape != prior.event_shape:
        raise ValueError(
            f"The von Mises-Fisher distribution has {posterior.event_shape[0]} dimensions and the sphere "
            f"{prior.event_shape[0]}: they must be the same."
        )
    return posterior.kl_to_uniform()


def _log_uniform_density(dimension: int) -> float:
    """Minus the log surface of the unit sphere, which is 2 pi^(D/2) / Gamma(D/2)."""
    return math.lgamma(dimension / 2) - math.log(2) - dimension / 2 * math.log(math.pi)


def _check_dimension(dimension: int) -> None:
    if dimension < 2:
        raise ValueError(f"A sphere to put directions on needs at least 2 dimensions, but there is {dimension}.")
