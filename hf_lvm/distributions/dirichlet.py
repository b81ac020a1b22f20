"""The Dirichlet distribution, with noise that can be drawn row by row and a pathwise gradient."""

from collections.abc import Sequence

import torch

from hf_lvm.distributions.noise import Generators, generators_of_rows, normal_noise, uniform_noise

# Proposals drawn at once. At worst 5 in 100 are rejected, so that six elements in a million need a second round.
PROPOSALS = 4


class Dirichlet(torch.distributions.Dirichlet):
    """Vectors of D shares that sum to 1: batch (B,), event (D,). Its KL to another Dirichlet is torch's closed form.

    Gamma variables are drawn by the rejection sampler of Marsaglia and Tsang (2000) and normalised, in float64 and in
    logarithms: small concentrations give shares that are far below what float32 can hold. Which proposal is accepted
    depends on the concentrations, so a sample cannot be differentiated as it was drawn; its gradient is that of the
    implicit reparameterization (Figurnov et al. 2018), by the approximation that `torch.distributions.Dirichlet` uses too.
    It is exact to about one part in a thousand.

    A share is at least the smallest number of the dtype. In float32 a concentration below 0.1 meets that now and then, which
    the mean of a bounded function does not feel, but `log_prob` of a sample does: weigh samples in float64.

    Args:
        concentration: (B, D), positive, D >= 2.

    Raises:
        ValueError: D < 2.
    """

    def __init__(self, concentration: torch.Tensor, validate_args: bool | None = False):
        if concentration.dim() < 1 or concentration.shape[-1] < 2:
            raise ValueError(
                f"concentration has shape {tuple(concentration.shape)}: a Dirichlet distribution shares out among 2 or more, "
                "(B, D)."
            )
        super().__init__(concentration, validate_args=validate_args)

    def rsample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Shares (*sample_shape, B, D), differentiable in the concentrations once; a second derivative raises an error.

        Args:
            generator: None, one generator, or a list of B generators (see `hf_lvm.distributions.noise`).

        Raises:
            ValueError: a batch shape other than (B,).
        """
        concentration, sample_shape = self.concentration, torch.Size(sample_shape)
        if len(self.batch_shape) != 1:
            raise ValueError(f"Only a batch of shape (B,) can be sampled; this one has {tuple(self.batch_shape)}.")
        with torch.no_grad():
            shares = sample_log_gamma(concentration, sample_shape.numel(), generator).log_softmax(-1).exp()
            shares = shares.to(concentration.dtype).clamp(min=torch.finfo(concentration.dtype).tiny)
        if concentration.requires_grad and torch.is_grad_enabled():
            shares = _SharesOfConcentration.apply(concentration, shares)
        return shares.view(*sample_shape, *concentration.shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Like `rsample`, without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def detached(self) -> "Dirichlet":
        """The same distribution, with no gradient to its parameters."""
        return Dirichlet(self.concentration.detach())

    def expand(self, batch_shape: Sequence[int], _instance=None) -> "Dirichlet":
        return Dirichlet(self.concentration.expand(torch.Size(batch_shape) + self.event_shape))


def sample_log_gamma(concentration: torch.Tensor, count: int, generator: Generators = None) -> torch.Tensor:
    """Logarithms of Gamma variables of rate 1, (count, B, D) in float64, for concentrations (B, D); without a gradient.

    A variable of concentration a is one of a + 1 times U^(1/a), U uniform. Exact: rows with an element whose proposals are all
    rejected draw again. A row of a list of generators draws only for itself, so neither its variables nor the state it leaves
    its generator in depends on the other rows.
    """
    concentration = concentration.detach().double()
    batch, size = concentration.shape
    options = {"device": concentration.device, "dtype": torch.float64}
    uniform = uniform_noise((count,), batch, (size,), generator=generator, **options)
    # 1 - u, so that no logarithm of 0 is taken.
    boost = torch.log1p(-uniform) / concentration
    shifted = concentration + 1 - 1 / 3
    result = torch.empty_like(boost)
    missing = torch.ones_like(boost, dtype=torch.bool)
    pending = torch.arange(batch, device=concentration.device)
    while len(pending) > 0:
        sources = generators_of_rows(generator, pending, batch)
        shape = (count, PROPOSALS), len(pending), (size,)
        normal = normal_noise(*shape, generator=sources, **options).movedim(1, -1)
        threshold = uniform_noise(*shape, generator=sources, **options).movedim(1, -1)
        center = shifted[pending].unsqueeze(-1)
        root = 1 + normal / torch.sqrt(9 * center)
        log_cube = 3 * root.clamp(min=1e-300).log()
        log_accept = normal.square() / 2 + center - center * root**3 + center * log_cube
        accepted = (root > 0) & (torch.log1p(-threshold) < log_accept)
        first = accepted.to(torch.uint8).argmax(-1, keepdim=True)
        drawn = shifted[pending].log() + log_cube.gather(-1, first).squeeze(-1)
        wanted = missing[:, pending]
        result[:, pending] = torch.where(wanted, drawn, result[:, pending])
        missing[:, pending] = wanted & ~accepted.any(-1)
        pending = missing.any(-1).any(0).nonzero().squeeze(-1)
    return result + boost


class _SharesOfConcentration(torch.autograd.Function):
    """Gives sampled shares (count, B, D) their gradient in the concentrations (B, D)."""

    @staticmethod
    def forward(ctx, concentration: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(concentration, shares)
        return shares.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        concentration, shares = ctx.saved_tensors
        concentration = concentration.expand_as(shares).contiguous()
        total = concentration.sum(-1, keepdim=True).expand_as(shares).contiguous()
        # Of each share alone, a Beta variable, in its own concentration; the others give way in proportion.
        own = torch._dirichlet_grad(shares, concentration, total)
        return (own * (gradient - (shares * gradient).sum(-1, keepdim=True))).sum(0), None
