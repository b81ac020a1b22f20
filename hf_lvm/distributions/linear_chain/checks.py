"""What the scores and lengths of a chain must be, said clearly where they are not."""

import torch

from hf_lvm.distributions.lengths import rows_of
from hf_lvm.distributions.linear_chain.marginals import for_every_edge


def checked_shape(transitions: torch.Tensor, unary: torch.Tensor | None) -> tuple[int, int, int]:
    """B, n and C."""
    given = f"transitions {tuple(transitions.shape)}" + (", no unary" if unary is None else f", unary {tuple(unary.shape)}")
    if unary is None and transitions.dim() == 4 and transitions.shape[1] == 0:
        raise ValueError(f"Got {given}: sequences of length 1 have no transitions, only unary scores (B, 1, C). Pass those.")
    if unary is None and transitions.dim() == 2:
        raise ValueError(
            f"Got {given}: these do not tell B and n. Pass unary scores (B, n, C) too, or transitions (B, n-1, C, C)."
        )
    if unary is not None and unary.dim() == 3:
        shape = tuple(unary.shape)
    elif unary is None and transitions.dim() == 4:
        shape = (transitions.shape[0], transitions.shape[1] + 1, transitions.shape[2])
    else:
        raise ValueError(f"Got {given}: transitions (B, n-1, C, C) or (C, C) and unary scores (B, n, C) are needed.")
    batch, length, states = shape
    if 0 in shape or transitions.shape not in ((states, states), (batch, length - 1, states, states)):
        raise ValueError(
            f"Got {given}: for (B, n, C) = {shape}, none of which may be 0, transitions must be (B, n-1, C, C) = "
            f"{(batch, length - 1, states, states)}, or {(states, states)} for all rows and positions."
        )
    return shape


def check_scores(transitions: torch.Tensor, unary: torch.Tensor, inside: torch.Tensor | None, remainder: torch.Tensor) -> None:
    """Raise a `ValueError` unless scores within the lengths are numbers or -inf, and every row has a possible sequence.

    Args:
        transitions, unary, inside: as in `hf_lvm.distributions.linear_chain.marginals`.
        remainder: (B,), of their forward pass.
    """
    edges = for_every_edge(transitions, unary)
    if inside is not None:
        edges = edges.masked_fill(~inside[:, 1:, None, None], 0.0)
        unary = unary.masked_fill(~inside.unsqueeze(-1), 0.0)
    for name, scores in (("transitions", edges), ("unary", unary)):
        if (scores.isnan() | (scores == torch.inf)).any():
            raise ValueError(f"{name} holds nan or +inf: a score is a number, or -inf for what is forbidden.")
    impossible = remainder == -torch.inf
    if impossible.any():
        raise ValueError(
            f"No sequence is possible in row(s) {rows_of(impossible)}: every one meets a score of -inf. Forbid fewer "
            "transitions or states."
        )


def check_value(value: torch.Tensor, batch: int, length: int) -> None:
    """Raise a `ValueError` unless `value` is integers of a shape that goes with (..., B, n)."""
    rows_fit = value.dim() < 2 or batch == 1 or value.shape[-2] in (1, batch)
    if value.shape[-1:] != (length,) or not rows_fit or value.is_floating_point():
        raise ValueError(
            f"A value of shape {tuple(value.shape)} and type {value.dtype} is no batch of sequences: integers of shape "
            f"(..., {batch}, {length}) are needed, one state a position, padding included."
        )


def check_states(value: torch.Tensor, states: int) -> None:
    """Raise a `ValueError` unless `value` holds states only."""
    if ((value < 0) | (value >= states)).any():
        raise ValueError(
            f"A value holds numbers from {value.min().item()} to {value.max().item()} within its length: states are 0 to "
            f"{states - 1}."
        )
