"""What the phases of a run do to the optimizer: change its learning rate for good, make it forget."""

from collections.abc import Iterable

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def scale_learning_rate(optimizer: Optimizer, scheduler: LambdaLR, factor: float) -> None:
    """Multiply the learning rate of every group, now and in all later steps of the scheduler.

    A `LambdaLR` computes each rate anew from its base rates, so changing the optimizer alone would last for one step.
    """
    scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]
    for group in optimizer.param_groups:
        group["lr"] *= factor
        group["initial_lr"] *= factor
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what the trainer logs


def give_own_rate(optimizer: Optimizer, parameters: Iterable[Parameter], rate: float) -> None:
    """Move some parameters of a new optimizer into groups of their own, with another learning rate and all else as it was."""
    own = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        moved = [parameter for parameter in group["params"] if id(parameter) in own]
        if moved:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]
            optimizer.add_param_group({**group, "params": moved, "lr": rate})


def forget_optimizer_state(optimizer: Optimizer, parameters: Iterable[Parameter]) -> None:
    """Drop the moments of some parameters, as if the optimizer had just been made.

    The optimizers of torch fill the state of a parameter at its next step, except Adagrad, which the arguments refuse.
    """
    for parameter in parameters:
        optimizer.state.pop(parameter, None)


def check_optimizer_forgets(optim: str | None, wanted_by: str) -> None:
    """Raise a `ValueError` for an optimizer that cannot begin afresh in the middle of a run."""
    if optim == "adagrad":
        raise ValueError(
            f"optim (or encoder_optim) is 'adagrad', which fills its state only when it is made, and {wanted_by} has the "
            "optimizer begin afresh during the run: choose another optimizer, such as sgd or adamw_torch"
        )
