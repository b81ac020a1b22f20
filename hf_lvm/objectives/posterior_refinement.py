"""A Gaussian posterior improved sentence by sentence, by gradient steps on its own mean and log variance.

An encoder gives every sentence its q(z|x) in one pass, and so not the best one. `refine_gaussian` takes a few steps of
stochastic variational inference from there: as a part of the model, through which the encoder is trained (Kim et al. 2018,
"Semi-amortized variational autoencoders"), or as a better q at evaluation. `fit_gaussian` goes on until nothing is gained,
which tells how much of the gap between the bound and log p(x) the encoder is to blame for (Cremer et al. 2018).

Both take `negative_bound(mean, log_variance) -> (B,)`, nats per sentence, and rely on each entry depending on its own row
only: no row influences another one's steps. It draws its own noise, so who calls decides whether it is fresh each time.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

NegativeBound = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def refine_gaussian(
    mean: torch.Tensor,
    log_variance: torch.Tensor,
    negative_bound: NegativeBound,
    *,
    steps: int,
    learning_rate: float,
    momentum: float = 0.0,
    max_grad_norm: float = 0.0,
    differentiable: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient descent with momentum on the negative bound of each sentence: v <- momentum v + g, lambda <- lambda - rate v.

    The published setting is 20 steps, rate 1, momentum .5 and norm 5 on a loss averaged over batches of 32. Here the loss is
    that of one sentence, which has 32 times the gradient: the published rate is 1 / 32 = .03 in these units, at every batch
    size. The gradients of mean and log variance are clipped each on its own, as published, but sentence by sentence; the
    published norm is that of the whole batch's averaged gradient, in these units 160 for 32 sentences together or 28 each.

    Args:
        mean: (B, D), where to begin: the encoder's.
        log_variance: (B, D), likewise.
        negative_bound: see above.
        steps: how many; 0 returns the beginning.
        learning_rate: per nat of one sentence.
        momentum: in [0, 1).
        max_grad_norm: clips the gradient of a sentence's mean, and that of its log variance, to this norm; 0 for no clipping.
        differentiable: whether the result carries gradients to the beginning and to the parameters inside `negative_bound`,
            exactly and through every step, clipping included (the published code takes finite differences). All steps are
            then kept in memory: about `steps` times the memory of one forward and backward pass of `negative_bound`.
            While it runs, attention and recurrent layers use kernels that can be differentiated twice, which are slower.
            Without gradients being recorded (`torch.no_grad`) it makes no difference.

    Returns:
        Mean and log variance, (B, D) each; detached unless `differentiable`.

    Raises:
        ValueError: a setting is not allowed, shapes differ, or `negative_bound` does not return one number a sentence.
    """
    if steps < 0 or not learning_rate > 0.0 or not 0.0 <= momentum < 1.0 or not max_grad_norm >= 0.0:
        raise ValueError(
            f"steps={steps}, learning_rate={learning_rate}, momentum={momentum}, max_grad_norm={max_grad_norm}: refinement "
            "takes steps >= 0, learning_rate > 0, 0 <= momentum < 1 and max_grad_norm >= 0 (0 for no clipping)."
        )
    _check_parameters(mean, log_variance)
    differentiable = differentiable and torch.is_grad_enabled()
    parameters = (mean, log_variance)
    if not differentiable:
        parameters = tuple(part.detach() for part in parameters)
    velocities = tuple(torch.zeros_like(part) for part in parameters)
    kernels = _twice_differentiable(mean.device) if differentiable else contextlib.nullcontext()
    with torch.enable_grad(), kernels:
        for _ in range(steps):
            _, gradients, parameters = _bound_and_gradients(negative_bound, parameters, create_graph=differentiable)
            if max_grad_norm > 0.0:
                gradients = tuple(_clipped_by_row(gradient, max_grad_norm) for gradient in gradients)
            velocities = tuple(momentum * past + gradient for past, gradient in zip(velocities, gradients, strict=True))
            parameters = tuple(part - learning_rate * step for part, step in zip(parameters, velocities, strict=True))
            if not differentiable:
                parameters = tuple(part.detach() for part in parameters)
    return parameters


@dataclass(frozen=True)
class FittedGaussian:
    """The result of `fit_gaussian` for B sentences.

    Attributes:
        mean: (B, D).
        log_variance: (B, D).
        steps: (B,), steps taken by each sentence.
        converged: (B,) bool; False where `max_steps` came first.
    """

    mean: torch.Tensor
    log_variance: torch.Tensor
    steps: torch.Tensor
    converged: torch.Tensor


def fit_gaussian(
    mean: torch.Tensor,
    log_variance: torch.Tensor,
    negative_bound: NegativeBound,
    *,
    learning_rate: float = 0.05,
    max_steps: int = 2000,
    window: int = 20,
    patience: int = 3,
    tolerance: float = 0.01,
) -> FittedGaussian:
    """The best Gaussian q of each sentence: Adam until the bound stops improving.

    The bound is averaged over windows of steps. A sentence has converged once `patience` windows in a row were not better by
    `tolerance` than its best one, and its result is the average of mean and log variance over that best window, which is
    less noisy than any single step. A sentence that has stopped stays in the batch until the last one has.

    Let `negative_bound` draw fresh noise at every call, several samples if it is noisy: with the same few samples each time,
    q is fitted to them and looks better than it is. For the same reason measure the bound of the result with new samples.

    Args:
        mean: (B, D), where to begin: the encoder's.
        log_variance: (B, D), likewise.
        negative_bound: see above.
        learning_rate: of Adam; about the largest change of a number in one step.
        max_steps: when to give up, rounded down to whole windows.
        window: steps to a window.
        patience: windows without improvement until a sentence stops.
        tolerance: nats that count as an improvement.

    Raises:
        ValueError: a setting is not allowed, shapes differ, or `negative_bound` does not return one number a sentence.
        FloatingPointError: the bound of some sentence is not finite.
    """
    if not learning_rate > 0.0 or not 1 <= window <= max_steps or patience < 1 or not tolerance >= 0.0:
        raise ValueError(
            f"learning_rate={learning_rate}, max_steps={max_steps}, window={window}, patience={patience}, "
            f"tolerance={tolerance}: fitting takes learning_rate > 0, 1 <= window <= max_steps, patience >= 1, tolerance >= 0."
        )
    _check_parameters(mean, log_variance)
    parameters = (mean.detach(), log_variance.detach())
    optimizer = _AdamByRow(parameters, learning_rate)
    batch_size = mean.shape[0]
    best = parameters
    best_value = mean.new_full((batch_size,), torch.inf)
    without_gain = torch.zeros(batch_size, dtype=torch.long, device=mean.device)
    steps = torch.zeros_like(without_gain)
    active = torch.ones(batch_size, dtype=torch.bool, device=mean.device)
    for _ in range(max_steps // window):
        value_sum = torch.zeros_like(best_value)
        parameter_sums = tuple(torch.zeros_like(part) for part in parameters)
        for _ in range(window):
            value, gradients, _ = _bound_and_gradients(negative_bound, parameters)
            value_sum = value_sum + value.detach()
            parameter_sums = tuple(total + part for total, part in zip(parameter_sums, parameters, strict=True))
            parameters = optimizer.step(parameters, gradients)
        value = value_sum / window
        if not torch.isfinite(value[active]).all():
            raise FloatingPointError(
                f"The bound is not finite for {int((~torch.isfinite(value) & active).sum())} of {batch_size} sentences while "
                f"their posteriors are fitted with learning_rate={learning_rate}: choose a smaller one."
            )
        steps += window * active
        improved = active & (value < best_value - tolerance)
        best_value = torch.where(improved, value, best_value)
        best = tuple(
            torch.where(improved[:, None], total / window, part) for total, part in zip(parameter_sums, best, strict=True)
        )
        without_gain = torch.where(improved, 0, without_gain + 1)
        active = active & (without_gain < patience)
        if not active.any():
            break
    return FittedGaussian(*best, steps=steps, converged=~active)


class _AdamByRow:
    """Adam (Kingma and Ba 2015), which works number by number, so that a row does not depend on who else is in the batch."""

    def __init__(self, parameters: tuple[torch.Tensor, ...], learning_rate: float):
        self.learning_rate = learning_rate
        self.count = 0
        self.first = tuple(torch.zeros_like(part) for part in parameters)
        self.second = tuple(torch.zeros_like(part) for part in parameters)

    def step(self, parameters: tuple[torch.Tensor, ...], gradients: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        self.count += 1
        self.first = tuple(0.9 * past + 0.1 * new for past, new in zip(self.first, gradients, strict=True))
        self.second = tuple(0.999 * past + 0.001 * new**2 for past, new in zip(self.second, gradients, strict=True))
        moments = zip(parameters, self.first, self.second, strict=True)
        scales = 1 - 0.9**self.count, 1 - 0.999**self.count
        return tuple(
            part - self.learning_rate * (first / scales[0]) / ((second / scales[1]).sqrt() + 1e-8)
            for part, first, second in moments
        )


def _bound_and_gradients(negative_bound, parameters, create_graph: bool = False):
    """The bound (B,), its gradients, and the parameters it was taken at, of which gradients can be asked."""
    parameters = tuple(part if part.requires_grad else part.detach().requires_grad_() for part in parameters)
    with torch.enable_grad():
        value = negative_bound(*parameters)
        if value.shape != parameters[0].shape[:1]:
            raise ValueError(
                f"negative_bound returned shape {tuple(value.shape)} for {parameters[0].shape[0]} sentences: give the bound "
                "of each, neither summed nor averaged."
            )
        # Each entry depends on its own row, so the gradient of the sum is that of every sentence by itself.
        gradients = torch.autograd.grad(value.sum(), parameters, create_graph=create_graph)
    return value, gradients, parameters


def _clipped_by_row(gradient: torch.Tensor, max_norm: float) -> torch.Tensor:
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    return gradient * (max_norm / norm.clamp(min=max_norm))


@contextlib.contextmanager
def _twice_differentiable(device: torch.device) -> Iterator[None]:
    """Fused attention and cuDNN's recurrent layers have a first derivative only; the plain ones have every derivative."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if device.type == "cuda":
            cudnn = torch.backends.cudnn
            stack.enter_context(
                cudnn.flags(
                    enabled=False,
                    benchmark=cudnn.benchmark,
                    deterministic=cudnn.deterministic,
                    allow_tf32=cudnn.allow_tf32,
                )
            )
        yield


def _check_parameters(mean: torch.Tensor, log_variance: torch.Tensor) -> None:
    if mean.dim() != 2 or mean.shape != log_variance.shape:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)} and log_variance {tuple(log_variance.shape)}: both are (B, D), one row a "
            "sentence."
        )
