"""A Gaussian posterior whose means are batch-normalised, so that their spread cannot vanish."""

from typing import ClassVar

import torch
import torch.distributed
from torch import nn
from transformers import initialization as init

from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.layers.posteriors.gaussian import GaussianPosterior

EPSILON = 1e-5
MOMENTUM = 0.1


class BatchNormPosterior(GaussianPosterior):
    """q(z|x) = N(scale * normalised mean(x) + shift, diag(stddev(x)^2)) (Zhu et al. 2020, BN-VAE).

    The mean of each dimension is normalised over the batch; the scale is fixed, the shift learned. Over a batch the means then
    have variance scale^2 in every dimension, and against the prior N(0, I) the average KL is at least D * scale^2 / 2 nats
    (5.76 for D = 32 and 0.6): half the second moment of the means. It holds for all weights at which the raw means vary by
    more than 0.003, the root of the number that keeps the normalisation finite where they do not.

    In training the statistics are those of the batch: of all processes together where torch.distributed runs, however many
    sentences each holds, with the gradient through them. At evaluation they are running averages, so a sentence has the same
    posterior in any batch, and the floor holds as well as these averages describe the data. A training batch of a single
    sentence, which has no spread, is normalised by the running averages too and leaves them as they are.

    Args:
        hidden_size: size of the pooled encoding.
        latent_size: D.
        initial_stddev, largest_stddev: of q at initialisation, and what bounds it, as for `GaussianPosterior`.
        scale: the fixed standard deviation of the means over a batch, positive.

    Raises:
        ValueError: a scale that is not positive.
    """

    config_options: ClassVar[dict[str, str]] = {"batch_norm_scale": "scale"}

    def __init__(
        self,
        hidden_size: int,
        latent_size: int,
        *,
        initial_stddev: float = 1.0,
        largest_stddev: float | None = None,
        scale: float = 0.6,
    ):
        if not scale > 0:
            raise ValueError(f"batch_norm_scale must be positive, but is {scale}.")
        super().__init__(hidden_size, latent_size, initial_stddev=initial_stddev, largest_stddev=largest_stddev)
        # Normalisation would take a bias away again.
        self.mean = nn.Linear(hidden_size, latent_size, bias=False)
        self.scale = scale
        self.shift = nn.Parameter(torch.zeros(latent_size))
        self.register_buffer("running_mean", torch.zeros(latent_size))
        self.register_buffer("running_variance", torch.ones(latent_size))
        self.register_buffer("batches_seen", torch.zeros((), dtype=torch.long))

    def forward(self, pooled: torch.Tensor) -> DiagonalGaussian:
        """pooled (B, H) -> a distribution over (B, D)."""
        posterior = super().forward(pooled)
        return DiagonalGaussian(self._normalise(posterior.mean), posterior.stddev)

    def _normalise(self, mean: torch.Tensor) -> torch.Tensor:
        center, variance = self.running_mean.to(mean.dtype), self.running_variance.to(mean.dtype)
        if self.training:
            total = _sum_over_processes(torch.cat([mean.sum(0), mean.new_full((1,), mean.shape[0])]))
            count = total[-1].detach()
            batch_center = total[:-1] / count
            batch_variance = _sum_over_processes((mean - batch_center).square().sum(0)) / count
            self._remember(batch_center.detach(), batch_variance.detach(), count)
            # Tensors throughout, so that an accelerator need not wait to be asked how many there are.
            center = torch.where(count > 1, batch_center, center)
            variance = torch.where(count > 1, batch_variance, variance)
        return self.scale * (mean - center) * torch.rsqrt(variance + EPSILON) + self.shift.to(mean.dtype)

    @torch.no_grad()
    def _remember(self, center: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        enough = count > 1
        self.batches_seen += enough
        # A plain average of the first batches, so that the initial values leave no trace.
        weight = enough * (1 / self.batches_seen.clamp(min=1)).clamp(min=MOMENTUM)
        unbiased = variance * count / (count - 1).clamp(min=1)
        for average, value in ((self.running_mean, center), (self.running_variance, unbiased)):
            average.lerp_(value.to(average.dtype), weight.to(average.dtype))

    def init_weights(self) -> None:
        """As the Gaussian head; no shift, and no batch seen."""
        super().init_weights()
        for zero in (self.shift, self.running_mean, self.batches_seen):
            init.zeros_(zero)
        init.ones_(self.running_variance)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over processes, whose gradient is the sum over processes of the gradients."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _SumOverProcesses.apply(gradient)


def _sum_over_processes(value: torch.Tensor) -> torch.Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    return _SumOverProcesses.apply(value)
