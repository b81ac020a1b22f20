"""A Gaussian posterior improved sentence by sentence, by gradient steps on its own mean and log variance.

An encoder gives every sentence its q(z|x) in one pass, and so not the best one. `refine_gaussian` takes a few steps of
stochastic variational inference from there: as a part of the model, through which the encoder is trained (Kim et al. 2018,
"Semi-amortized variational autoencoders"), or as a better q at evaluation. (How much is left to gain is measured in
`hf_lvm.analysis.inference_gap`.)

It takes `negative_bound(mean, log_variance) -> (B,)`, nats per sentence, and relies on each entry depending on its own row
only: no row influences another one's steps. It draws its own noise, so the caller decides whether it is fresh each time.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

NegativeBound = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Parameters = tuple[torch.Tensor, ...]


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
            parameters, gradients = _with_gradients(negative_bound, parameters, create_graph=differentiable)
            if max_grad_norm > 0.0:
                gradients = tuple(_clipped_by_row(gradient, max_grad_norm) for gradient in gradients)
            velocities = tuple(momentum * past + gradient for past, gradient in zip(velocities, gradients, strict=True))
            parameters = tuple(part - learning_rate * step for part, step in zip(parameters, velocities, strict=True))
            if not differentiable:
                parameters = tuple(part.detach() for part in parameters)
    return parameters


def _with_gradients(
    negative_bound: NegativeBound, parameters: Parameters, create_graph: bool
) -> tuple[Parameters, Parameters]:
    """The parameters, now with `requires_grad`, and the gradients of the bound at them, each (B, D)."""
    parameters = tuple(part if part.requires_grad else part.detach().requires_grad_() for part in parameters)
    value = negative_bound(*parameters)
    if value.shape != parameters[0].shape[:1]:
        raise ValueError(
            f"negative_bound returned shape {tuple(value.shape)} for {parameters[0].shape[0]} sentences: give the bound of "
            "each, neither summed nor averaged."
        )
    # Each entry depends on its own row, so the gradient of the sum is that of every sentence by itself.
    return parameters, torch.autograd.grad(value.sum(), parameters, create_graph=create_graph)


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
