"""Batches in which some latents are known, or none is drawn: what models with different losses for different rows share."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.distributions import Distribution

from hf_lvm.estimators import Draws
from hf_lvm.objectives.discrete_bound import BoundTerms
from hf_lvm.objectives.minimum_risk import Candidates

TermsOfRows = Callable[[torch.Tensor], BoundTerms]


def sit_out(estimator: nn.Module | None) -> None:
    """Tell an estimator that a training step draws nothing.

    Baselines that average over processes take part in every step: if one process draws and another one neither draws nor
    sits out, the first waits for ever. Outside of training, and without an estimator, nothing is done.
    """
    if estimator is not None and estimator.training and torch.is_grad_enabled():
        estimator.sit_out()


def draw_mode(objective: str, estimator: nn.Module | None, posterior: Distribution) -> Draws:
    """The most probable value of q as the one draw, (1, B, ...), in place of samples; the estimator sits out."""
    sit_out(estimator)
    kind = Candidates if objective == "minimum_risk" else Draws
    return kind(posterior.mode.unsqueeze(0), posterior)


def terms_by_group(
    groups: Sequence[tuple[torch.Tensor, TermsOfRows | None]], features: torch.Tensor
) -> tuple[list[BoundTerms], torch.Tensor]:
    """The terms of a batch whose rows are of several kinds, each kind computed by itself.

    Args:
        groups: for each kind a mask of its rows, (B,) bool, and a function from their numbers (R,) to their terms; None in
            place of the function where the kind has no weight. Every row is of one kind.
        features: (B, H), which the loss of rows without weight depends on: a batch of nothing else still has a gradient, of 0.

    Returns:
        The terms of the kinds that have rows, and (B,), where each row of the batch stands in them one behind the other, as
        `joined_terms` takes both.
    """
    rows = [mask.nonzero().squeeze(1) for mask, _ in groups]
    parts: list[BoundTerms] = []
    for chosen, (_, terms_of) in zip(rows, groups, strict=True):
        if not len(chosen):
            continue
        if terms_of is None:
            zero = features[chosen].sum(-1) * 0.0
            parts.append(BoundTerms(zero, zero.detach(), zero.detach()))
        else:
            parts.append(terms_of(chosen))
    return parts, torch.cat(rows).argsort()
