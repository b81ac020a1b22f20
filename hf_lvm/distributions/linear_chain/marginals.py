"""Sums over all state sequences of a chain: the forward pass, log Z, the marginals, and their derivatives of every order.

The forward pass (Rabiner 1989, equation 20, in logarithms) leaves at each position the weight of all beginnings that end in
a state. It is kept less its maximum there, so that a float32 loses as little at position 500 as at position 5. What follows
needs no second recursion over scores: by Bayes' rule the forward pass gives p(z_t | z_t+1), and the marginals are products of
these from the end to the start. Nothing is ever multiplied that could underflow to a wrong zero: all sums are taken in
logarithms, and a forbidden transition (-inf) is an exact 0.

Derivatives are explicit. The gradient of log Z is the marginals; that of the marginals, contracted with a direction V, is the
covariance of V(z) with each indicator (Li and Eisner 2009 compute it by a semiring), which the marginals alone determine. So
it is written in differentiable operations on them, and has derivatives in turn.

Shapes: B rows, n positions, C states. `transitions` is (B, n-1, C, C), or (C, C) for all rows and positions; `inside` (B, n)
tells which positions lie within the length of a row, and is None where all do. What stands at other positions is never used.
"""

from typing import NamedTuple

import torch

from hf_lvm.distributions.logarithms import finite


class ForwardPass(NamedTuple):
    """Of B rows; none of it carries a gradient.

    Attributes:
        filtered: (B, n, C), log of the summed weight of all beginnings z_1..z_t with z_t = c, less its maximum over c. Past
            the length of a row its last value is repeated.
        predicted: (B, n-1, C), the same for z_t+1 = c before the unary score of t+1, less the maximum at t. Past the length of
            a row it means nothing.
        offsets: (B, n), the maxima that were subtracted; 0 past the length.
        remainder: (B,), log Z less the sum of the offsets; -inf for a row without any possible sequence.
    """

    filtered: torch.Tensor
    predicted: torch.Tensor
    offsets: torch.Tensor
    remainder: torch.Tensor


def transitions_into(transitions: torch.Tensor, position: int) -> torch.Tensor:
    """The scores between `position` - 1 and `position`: (B, C, C) or (C, C), as [from, to]."""
    return transitions if transitions.dim() == 2 else transitions[:, position - 1]


@torch.no_grad()
def forward_pass(transitions: torch.Tensor, unary: torch.Tensor, inside: torch.Tensor | None) -> ForwardPass:
    """See `ForwardPass`; `unary` is (B, n, C)."""
    offset = finite(unary[:, 0].amax(-1))
    filtered, predicted, offsets = [unary[:, 0] - offset.unsqueeze(-1)], [], [offset]
    for t in range(1, unary.shape[1]):
        predicted.append(torch.logsumexp(filtered[-1].unsqueeze(-1) + transitions_into(transitions, t), dim=-2))
        arrived = predicted[-1] + unary[:, t]
        offset = finite(arrived.amax(-1))
        arrived = arrived - offset.unsqueeze(-1)
        if inside is not None:
            arrived = torch.where(inside[:, t, None], arrived, filtered[-1])
            offset = offset.masked_fill(~inside[:, t], 0.0)
        filtered.append(arrived)
        offsets.append(offset)
    none = unary.new_empty(unary.shape[0], 0, unary.shape[2])
    return ForwardPass(
        torch.stack(filtered, dim=1),
        torch.stack(predicted, dim=1) if predicted else none,
        torch.stack(offsets, dim=1),
        torch.logsumexp(filtered[-1], dim=-1),
    )


@torch.no_grad()
def weighted_marginals(
    transitions: torch.Tensor,
    forward: ForwardPass,
    inside: torch.Tensor | None,
    weights: torch.Tensor | None = None,
    summed: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Edge marginals (B, n-1, C, C) and unary marginals (B, n, C); 0 past the length and for a row without a sequence.

    Args:
        weights: (B,), factors of the rows; None for 1.
        summed: whether to return the edge marginals summed over rows and positions, (C, C), without holding all of them.
    """
    filtered, predicted = forward.filtered, finite(forward.predicted)
    batch, length, states = filtered.shape
    at_end = (filtered[:, -1] - finite(forward.remainder).unsqueeze(-1)).exp()
    if weights is not None:
        at_end = at_end * weights.unsqueeze(-1)
    ends = None if inside is None else at_end.unsqueeze(1) * _is_last(inside).unsqueeze(-1)
    node = at_end if ends is None else ends[:, -1]
    nodes, total = [node], filtered.new_zeros(states, states)
    edges = total if summed else filtered.new_empty(batch, length - 1, states, states)
    one_step = filtered.new_empty(batch, states, states) if summed else None
    for t in range(length - 1, 0, -1):
        edge = one_step if summed else edges[:, t - 1]
        # p(z_t-1 | z_t), then times p(z_t). In place, as the time goes into moving these through memory.
        torch.add(filtered[:, t - 1].unsqueeze(-1), transitions_into(transitions, t), out=edge)
        edge.sub_(predicted[:, t - 1].unsqueeze(-2)).exp_()
        if inside is not None:
            edge.masked_fill_(~inside[:, t, None, None], 0.0)
        edge.mul_(node.unsqueeze(-2))
        node = edge.sum(-1) if ends is None else edge.sum(-1) + ends[:, t - 1]
        nodes.append(node)
        if summed:
            total += edge.sum(0)
    return edges, torch.stack(nodes[::-1], dim=1)


def _is_last(inside: torch.Tensor) -> torch.Tensor:
    """Whether a position is the last of its row: (B, n)."""
    following = torch.nn.functional.pad(inside[:, 1:], (0, 1), value=False)
    return inside & ~following


class LogPartition(torch.autograd.Function):
    """The remainder of a forward pass, (B,), with the whole gradient of log Z in transitions and unary.

    So whoever adds the offsets to it must add them as constants.
    """

    @staticmethod
    def forward(ctx, transitions, unary, inside, *forward: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(transitions, unary, inside, *forward)
        return ForwardPass(*forward).remainder.clone()

    @staticmethod
    def backward(ctx, gradient):
        transitions, unary, inside, *saved = ctx.saved_tensors
        forward, shared = ForwardPass(*saved), transitions.dim() == 2
        if not torch.is_grad_enabled():
            edges, nodes = weighted_marginals(transitions, forward, inside, gradient, summed=shared)
            return edges, nodes, None, *[None] * len(saved)
        transitions = for_every_edge(transitions, unary)
        edges, nodes = Marginals.apply(transitions, unary, *weighted_marginals(transitions, forward, inside))
        edges, nodes = edges * gradient[:, None, None, None], nodes * gradient[:, None, None]
        return edges.sum((0, 1)) if shared else edges, nodes, None, *[None] * len(saved)


def for_every_edge(transitions: torch.Tensor, unary: torch.Tensor) -> torch.Tensor:
    """`transitions` as (B, n-1, C, C), a view."""
    if transitions.dim() == 4:
        return transitions
    batch, length, states = unary.shape
    return transitions.expand(batch, length - 1, states, states)


class Marginals(torch.autograd.Function):
    """Gives edge and unary marginals their gradient in transitions (B, n-1, C, C) and unary (B, n, C)."""

    @staticmethod
    def forward(ctx, transitions, unary, edges, nodes) -> tuple[torch.Tensor, torch.Tensor]:
        edges, nodes = edges.detach(), nodes.detach()
        ctx.save_for_backward(edges, nodes)
        return edges, nodes

    @staticmethod
    def backward(ctx, edge_direction, node_direction):
        edges, nodes = ctx.saved_tensors
        return *_covariance(edges, nodes, edge_direction, node_direction), None, None


def _covariance(
    edges: torch.Tensor, nodes: torch.Tensor, edge_direction: torch.Tensor, node_direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Covariance of V(z), the sum of both directions over the sequence z, with the indicator of each edge and each state.

    It is p(indicator) * (E[V | indicator] - E[V]), and E[V | z_t] is a sum over the past and one over the future.
    """
    divisor = nodes.masked_fill(nodes == 0, 1.0)
    given_next = edges / divisor[:, 1:].unsqueeze(-2)
    given_previous = edges / divisor[:, :-1].unsqueeze(-1)
    length = nodes.shape[1]
    past, future = [node_direction[:, 0]], [node_direction[:, -1]]
    for t in range(1, length):
        step = past[-1].unsqueeze(-1) + edge_direction[:, t - 1]
        past.append(node_direction[:, t] + (given_next[:, t - 1] * step).sum(-2))
    for t in range(length - 2, -1, -1):
        step = edge_direction[:, t] + future[-1].unsqueeze(-2)
        future.append(node_direction[:, t] + (given_previous[:, t] * step).sum(-1))
    # Both hold the direction at their own position.
    past, future = torch.stack(past, dim=1), torch.stack(future[::-1], dim=1)
    mean = (edges * edge_direction).sum((1, 2, 3)) + (nodes * node_direction).sum((1, 2))
    mean = mean[:, None, None]
    given_edge = past[:, :-1].unsqueeze(-1) + edge_direction + (future[:, 1:] - mean).unsqueeze(-2)
    return edges * given_edge, nodes * (past + future - node_direction - mean)
