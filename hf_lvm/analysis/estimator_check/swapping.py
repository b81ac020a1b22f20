"""A model with another gradient estimator than its own, drawing as in training, for as long as it is looked at."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.analysis.estimator_check.exact import BUDGET
from hf_lvm.analysis.estimator_check.learning import hold
from hf_lvm.distributions import CategoricalVector
from hf_lvm.estimators import ESTIMATORS, Estimator
from hf_lvm.objectives import OBJECTIVES, check_combination

Batch = Mapping[str, torch.Tensor]
Case = tuple[PreTrainedConfig, Estimator | None]


@contextmanager
def as_in_training(model: PreTrainedModel, config: PreTrainedConfig, estimator: Estimator | None) -> Iterator[None]:
    """The model with another config and estimator, drawing as in training, and without dropout; afterwards as it was.

    What a model draws depends on its own mode and on its estimator's. Dropout of any kind, in a layer, inside attention or
    between layers, is that of modules below it, which are in evaluation mode.
    """
    kept = model.config, model.estimator
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.config, model.estimator = config, estimator
        model.eval()
        model.training = True
        if estimator is not None:
            hold(estimator)
        yield
    finally:
        model.config, model.estimator = kept
        for module, training in modes:
            module.training = training


def changed_config(config: PreTrainedConfig, changes: Mapping[str, Any]) -> PreTrainedConfig:
    """A copy of a config with other values; the parts' configs are the same objects."""
    changed = copy.copy(config)
    for key, value in changes.items():
        setattr(changed, key, value)
    return changed


def cases_of(
    model: PreTrainedModel,
    config: PreTrainedConfig,
    objective: str,
    estimators: Sequence[str | Estimator],
    num_samples: int,
    posterior: CategoricalVector,
    enumeration_budget: int,
) -> list[Case]:
    """A config and an estimator for each that is asked for, or else for all that go with objective and model.

    Args:
        config: of the model, with what is changed for all.
        enumeration_budget: values of z that `exact` may score where it is asked for by name.

    Raises:
        ValueError: an unknown name, or one that does not go with the objective.
    """
    allowed = OBJECTIVES["discrete"][objective]
    if not estimators:
        too_many = posterior.support_size > getattr(config, "enumeration_budget", BUDGET)
        left_out = {"disarm"} if posterior.num_classes != 2 else set()
        estimators = [name for name in allowed if name not in left_out | ({"exact"} if too_many else set())]
    cases = []
    for asked in estimators:
        if isinstance(asked, Estimator):
            if objective == "minimum_risk":
                raise ValueError("The objective 'minimum_risk' is its own estimator: leave estimators out.")
            # The forward of a model looks at the name in its config alone to see whether it goes with the objective.
            stand_in = next(name for name in allowed if name != "exact")
            changes = {"objective": objective, "estimator": stand_in, "num_samples": num_samples}
            cases.append((changed_config(config, changes), copy.deepcopy(asked).to(model.device)))
            continue
        if asked is not None and asked not in ESTIMATORS:
            raise ValueError(
                f"Unknown estimator {asked!r}: the objective {objective!r} takes {', '.join(map(repr, allowed))}."
            )
        changes = {"objective": objective, "estimator": asked, "num_samples": num_samples}
        if asked == "reinforce_self_critical":
            # The mode is one more value of z to score.
            changes["num_samples"] = max(1, num_samples - 1)
        elif asked == "exact":
            changes |= {"num_samples": 1, "enumeration_budget": enumeration_budget}
        check_combination(objective, asked, changes["num_samples"], latents="discrete")
        changed = changed_config(config, changes)
        estimator = model.build_estimator(changed)
        if estimator is not None:
            learned = model.estimator.state_dict() if type(estimator) is type(model.estimator) else {}
            if learned.keys() == estimator.state_dict().keys():
                estimator.load_state_dict(learned)
            estimator.to(model.device)
        cases.append((changed, estimator))
    return cases


@torch.no_grad()
def rehearse(model: PreTrainedModel, case: Case, batch: Batch, kl_weight: float, seed: int) -> None:
    """Raise a `ValueError` before hours of drawing for what would raise one after them."""
    with as_in_training(model, *case):
        losses = [
            model(**batch, generator=torch.Generator(model.device).manual_seed(seed), kl_weight=kl_weight).loss
            for _ in range(2)
        ]
    if not torch.allclose(*losses, rtol=1e-3):
        raise ValueError(
            f"Two passes with the same generator give the losses {losses[0].item():.6g} and {losses[1].item():.6g}, so there "
            "is no one gradient to compare with: let the model draw from the generator alone, and drop out by modules "
            "(torch.nn.Dropout), which are switched off here."
        )
