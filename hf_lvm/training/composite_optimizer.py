"""Several optimizers as one: SGD for the words, Adam for what is inferred, each over its own parameters."""

import copy
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from hf_lvm.training.phases.learning_rate import forget_optimizer_state, give_own_rate

# They take a whole model, or some of its layers by name, and no list of parameters.
_OF_WHOLE_MODELS = ("galore", "apollo", "lomo", "adalomo")


class CompositeOptimizer(Optimizer):
    """Optimizers over parameters of their own that schedulers, accelerate and checkpoints meet as a single one.

    `param_groups` are those of the parts, one part after the other, and the same dictionaries: setting `group["lr"]` here
    sets it in the part. `state` is a view of theirs. `state_dict` has the form of any optimizer's, parameters numbered
    through all groups, so that nothing that reads a checkpoint has to know of parts.

    Args:
        parts: the optimizers. What a trainer logs as its learning rate is that of the first group of the first one.

    Raises:
        ValueError: two of them share a parameter.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = tuple(parts)
        self._join()

    def _join(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self.state = _States(self.parts)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "parts": self.parts}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the first of the parts."""
        if "parts" not in self.__dict__:  # torch's constructor checks the groups with it
            return super().add_param_group(param_group)
        self.parts[0].add_param_group(param_group)
        self._join()

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One step of each part; the closure is evaluated once, before them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parts."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def train(self) -> None:
        """Tell the parts that training goes on; those without a schedule move their weights then."""
        self._tell("train")

    def eval(self) -> None:
        """Tell the parts that an evaluation begins."""
        self._tell("eval")

    def _tell(self, name: str) -> None:
        for part in self.parts:
            if hasattr(part, name):
                getattr(part, name)()

    def state_dict(self) -> dict[str, Any]:
        """See `torch.optim.Optimizer.state_dict`."""
        state, groups, first = {}, [], 0
        for part in self.parts:
            saved = part.state_dict()
            state |= {first + number: values for number, values in saved["state"].items()}
            groups += [{**group, "params": [first + number for number in group["params"]]} for group in saved["param_groups"]]
            first += _count(saved["param_groups"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `torch.optim.Optimizer.load_state_dict`."""
        groups, state = list(state_dict["param_groups"]), state_dict["state"]
        if len(groups) != len(self.param_groups):
            raise ValueError(
                f"The saved optimizer has {len(groups)} groups of parameters and this one {len(self.param_groups)}: a run is "
                "resumed with the optimizers and the rates of its own that it began with"
            )
        first = 0
        for part in self.parts:
            own = [groups.pop(0) for _ in part.param_groups]
            numbers = range(first, first + _count(own))
            part.load_state_dict(
                {
                    "state": {number - first: state[number] for number in numbers if number in state},
                    "param_groups": [{**group, "params": [number - first for number in group["params"]]} for group in own],
                }
            )
            first = numbers.stop
        self._join()


class _States(MutableMapping):
    """What the parts remember of each parameter, as one mapping from parameters to their states."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self._parts = parts

    def __getitem__(self, parameter: torch.Tensor) -> dict[str, Any]:
        for part in self._parts:
            if parameter in part.state:
                return part.state[parameter]
        raise KeyError(parameter)

    def __setitem__(self, parameter: torch.Tensor, state: dict[str, Any]) -> None:
        for part in self._parts:
            if any(parameter is own for group in part.param_groups for own in group["params"]):
                part.state[parameter] = state
                return
        raise KeyError(parameter)

    def __delitem__(self, parameter: torch.Tensor) -> None:
        for part in self._parts:
            if parameter in part.state:
                del part.state[parameter]
                return
        raise KeyError(parameter)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return chain.from_iterable(part.state for part in self._parts)

    def __len__(self) -> int:
        return sum(len(part.state) for part in self._parts)


def _count(groups: Iterable[dict[str, Any]]) -> int:
    return sum(len(group["params"]) for group in groups)


def check_optimizer_takes_parts(key: str, optim: str) -> None:
    """Raise a `ValueError` for the name of an optimizer that is none, or that cannot be one of several."""
    names = [item.value for item in OptimizerNames if not item.value.startswith(_OF_WHOLE_MODELS)]
    if getattr(optim, "value", optim) not in names:
        raise ValueError(
            f"{key} is {getattr(optim, 'value', optim)!r}; an optimizer of some of the parameters is one of {', '.join(names)}"
        )


def with_own_optimizer(
    optimizer: Optimizer, parameters: Iterable[nn.Parameter], optim: str, rate: float, args: TrainingArguments
) -> CompositeOptimizer:
    """Take some parameters out of a new optimizer and give them one of their own.

    Args:
        optimizer: over all parameters; its groups tell which ones decay.
        parameters: those to take out.
        optim: name of their optimizer, as `args.optim`.
        rate: their learning rate.
        args: of the run. `optim_args` are those of `args.optim` and do not reach the other optimizer.

    Returns:
        The two optimizers as one, the rest of the parameters first.
    """
    parameters = list(parameters)
    give_own_rate(optimizer, parameters, rate)
    taken = {id(parameter) for parameter in parameters}
    own = [group for group in optimizer.param_groups if any(id(parameter) in taken for parameter in group["params"])]
    optimizer.param_groups = [group for group in optimizer.param_groups if not any(group is other for other in own)]
    forget_optimizer_state(optimizer, parameters)  # Adagrad has one from the beginning
    args = copy.copy(args)
    args.optim, args.learning_rate, args.optim_args = OptimizerNames(optim), rate, None
    optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(args)
    groups = [{key: group[key] for key in ("params", "lr", "weight_decay") if key in group} for group in own]
    return CompositeOptimizer([optimizer, optimizer_class(groups, **options)])
