"""The angle between a von Mises-Fisher sample and its mean direction: exact rejection sampling and a pathwise gradient.

On the unit sphere of R^d the angle t has density proportional to exp(k cos t) sin(t)^(d-2) on [0, pi], k the concentration.
It is drawn by the rejection sampler of Wood (1994, algorithm VM*), which accepts at least 65 proposals in 100 whatever d
and k. A rejection sampler cannot be differentiated as it stands: which proposal is accepted depends on k too. The gradient
here is that of the implicit reparameterization (Figurnov et al. 2018), dt/dk = -(dF/dk) / (dF/dt) with F the
distribution function, and dF/dk by Gauss-Legendre quadrature.
"""

import functools
import math

import torch

from hf_lvm.distributions.bessel import bessel_ratio
from hf_lvm.distributions.noise import Generators, generators_of_rows, uniform_noise

# Proposals drawn at once. At worst 34 in 100 are rejected, so that one sample in 5,000 needs a second round.
PROPOSALS = 8
QUADRATURE_NODES = 48
# The density past this many nats below its value at the sample is beyond the last bit of the integral.
NEGLIGIBLE = 40.0


def sample_angle(concentration: torch.Tensor, dimension: int, count: int, generator: Generators = None) -> torch.Tensor:
    """Angles (count, B) in [0, pi], float64, for concentrations (B,); without a gradient.

    Exact: rows without an accepted proposal draw again until they have one. A row of a list of generators draws only for
    itself, so neither its angle nor the state it leaves its generator in depends on the other rows.
    """
    concentration = concentration.detach().double()
    angle = concentration.new_empty(count, concentration.shape[0])
    pending = torch.arange(concentration.shape[0], device=concentration.device)
    missing = torch.ones_like(angle, dtype=torch.bool)
    while len(pending) > 0:
        sources = generators_of_rows(generator, pending, angle.shape[1])
        noise = uniform_noise(
            (count, PROPOSALS), len(pending), (3,), generator=sources, device=angle.device, dtype=torch.float64
        )
        proposed, accepted = _propose(noise.movedim(2, 1), concentration[pending].unsqueeze(-1), dimension)
        first = accepted.to(torch.uint8).argmax(-1, keepdim=True)
        wanted = missing[:, pending]
        angle[:, pending] = torch.where(wanted, proposed.gather(-1, first).squeeze(-1), angle[:, pending])
        missing[:, pending] = wanted & ~accepted.any(-1)
        pending = missing.any(0).nonzero().squeeze(-1)
    return angle


def _propose(noise: torch.Tensor, concentration: torch.Tensor, dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Wood's proposals and whether each is accepted, from uniform noise (..., 3).

    With b = (1 - x0) / (1 + x0), the cosine is w = (1 - (1+b) e) / (1 - (1-b) e) for a symmetric Beta variable e. Everything
    is written in b and e, so that no digit is lost where w is close to 1.
    """
    size = dimension - 1
    b = size / (2 * concentration + torch.hypot(2 * concentration, torch.full_like(concentration, size)))
    # A coordinate of a uniform point of the sphere of R^d, by the radius and angle of two of them, is 2e - 1 (Ulrich 1984).
    radius, turn, threshold = noise.unbind(-1)
    squared = 1 - radius ** (2 / (dimension - 2)) if dimension > 2 else torch.ones_like(radius)
    e = (1 + squared.sqrt() * torch.cos(2 * math.pi * turn)) / 2
    denominator = 1 - (1 - b) * e
    # w - x0 and log((1 - x0 w) / (1 - x0^2)).
    above_mode = 2 * b * (1 - 2 * e) / ((1 + b) * denominator)
    log_accept = concentration * above_mode + size * torch.log((1 + b) / (2 * denominator))
    return 2 * torch.atan2((b * e).sqrt(), (1 - e).sqrt()), log_accept >= threshold.log()


class AngleOfConcentration(torch.autograd.Function):
    """Gives sampled angles (count, B), float64, their gradient in the concentrations (B,).

    The gradient is itself not differentiable, and says so when a second derivative is asked for.
    """

    @staticmethod
    def forward(ctx, concentration: torch.Tensor, angle: torch.Tensor, dimension: int) -> torch.Tensor:
        ctx.save_for_backward(concentration, angle)
        ctx.dimension = dimension
        return angle.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        concentration, angle = ctx.saved_tensors
        derivative = angle_derivative(angle, concentration.double(), ctx.dimension)
        return (gradient * derivative).sum(0).to(concentration.dtype), None, None


def angle_derivative(angle: torch.Tensor, concentration: torch.Tensor, dimension: int) -> torch.Tensor:
    """d angle / d concentration at a fixed value of the distribution function: (count, B), float64, never positive.

    -dF/dk over the density p at the angle t is the integral of (A - cos s) p(s) / p(t) over s from 0 to t, with A the mean
    cosine; as the integral over all angles vanishes, that from t to pi serves as well. The side without the bulk of the
    density is taken, where p(s) / p(t) falls from 1.
    """
    mean = bessel_ratio(dimension / 2 - 1, concentration)
    cosine, sine = angle.cos(), angle.sin().clamp(min=1e-300)
    outward = cosine <= mean
    slope = concentration * sine - (dimension - 2) * cosine / sine
    slope = torch.where(outward, slope, -slope).clamp(min=0)
    # Below any curvature of -log p between here and where p is negligible, so that the range is not cut short.
    curvature = concentration * cosine.clamp(min=0) / 2 + (dimension - 2)
    reach = 2 * NEGLIGIBLE / (slope + torch.sqrt(slope.square() + 2 * NEGLIGIBLE * curvature)).clamp(min=1e-300)
    reach = torch.minimum(reach, torch.where(outward, math.pi - angle, angle))
    nodes, weights = (part.to(angle.device) for part in _gauss_legendre(QUADRATURE_NODES))
    step = reach.unsqueeze(-1) * nodes
    place = angle.unsqueeze(-1) + torch.where(outward, 1.0, -1.0).unsqueeze(-1) * step
    # cos s - cos t without cancellation.
    rise = -2 * torch.sin((place + angle.unsqueeze(-1)) / 2) * torch.sin((place - angle.unsqueeze(-1)) / 2)
    ratio = torch.exp(concentration.unsqueeze(-1) * rise) * (place.sin() / sine.unsqueeze(-1)) ** (dimension - 2)
    integral = (weights * (mean.unsqueeze(-1) - place.cos()) * ratio).sum(-1) * reach
    return torch.where(outward, -integral, integral)


@functools.lru_cache(maxsize=4)
def _gauss_legendre(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights on [0, 1], by the eigenvalues of the Jacobi matrix (Golub and Welsch 1969)."""
    index = torch.arange(1, count, dtype=torch.float64)
    off_diagonal = index / torch.sqrt(4 * index.square() - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return (nodes + 1) / 2, vectors[0].square()
