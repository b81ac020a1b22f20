"""What an estimator has to learn before it is measured: baselines and control variates."""

from collections.abc import Callable

import torch

from hf_lvm.estimators import Estimator


def learns_baseline(estimator: Estimator) -> bool:
    """Whether an estimator keeps averages of what it has scored; the others are the same from the first draw on."""
    return any(True for _ in estimator.buffers())


def warm_up(estimator: Estimator, loss: Callable[[], torch.Tensor], steps: int, learning_rate: float) -> None:
    """Let what an estimator learns settle: buffers by being used, parameters by Adam.

    Args:
        loss: draws with the estimator and returns the loss, a scalar.
    """
    estimator.train()
    parameters = list(estimator.parameters())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate) if parameters else None
    for _ in range(steps):
        value = loss()
        if optimizer is not None:
            optimizer.zero_grad()
            value.backward(inputs=parameters)
            optimizer.step()


def hold(estimator: Estimator) -> None:
    """Draw as in training, and learn nothing more.

    Relaxed estimators draw discrete samples outside training; baselines learn inside it.
    """
    estimator.train()
    for module in estimator.modules():
        if hasattr(module, "update"):
            module.eval()
