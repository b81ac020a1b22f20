"""Sums over all canonical masks: the backward pass, the probability of each next word, and how often a node is visited.

From the end to the begin, the backward pass finds the log of the summed weight of all ways to go on from a node,

    b_i = logsumexp_j (w_ij + a_j),    a_j = b_j+1 at word j, 0 at the end,

and so the probability p(j | i) = exp(w_ij + a_j - b_i) of the next kept word, whatever was kept before. All else follows from
these without a second recursion over scores: the probability that a node is visited solves m = start + m Q, where Q holds
p(j | i), a unit triangular system of sums of positive numbers. The gradient of b_i is such a system in turn, started at i. It
is written in differentiable operations, and so has derivatives of every order.

If K words must be kept, a layer for each number r of words still to keep stands in place of one: b_r,i, where a word leads to
the layer below and the end can only be reached from layer 0.

All is in float64, as the scores of a long sentence add up to large numbers of which a log probability is the small rest.

Shapes: B rows, S + 1 nodes and as many columns to go to (see `hf_lvm.distributions.deletion.canonical`), R layers: 1, or K + 1
where `counted`. `weights` (B, S+1, S+1) are scores, with -inf for all that is not allowed and so below the diagonal.
"""

import torch

from hf_lvm.distributions.logarithms import finite


@torch.no_grad()
def backward_pass(weights: torch.Tensor, layers: int | None = None) -> torch.Tensor:
    """b: (B, 1, S+1), or (B, R, S+1) with R `layers`; -inf where no way leads to the end."""
    batch, nodes, _ = weights.shape
    completions = weights.new_empty(batch, layers or 1, nodes)
    arrived = weights.new_full((batch, layers or 1, nodes), -torch.inf)
    arrived[:, 0, -1] = 0.0
    for i in range(nodes - 1, -1, -1):
        completions[..., i] = torch.logsumexp(weights[:, None, i, i:] + arrived[..., i:], dim=-1)
        if i > 0 and layers is None:
            arrived[..., i - 1] = completions[..., i]
        elif i > 0:
            arrived[:, 1:, i - 1] = completions[:, :-1, i]
    return completions


def step_log_probs(weights: torch.Tensor, completions: torch.Tensor, counted: bool) -> list[torch.Tensor]:
    """log p(j | i), differentiable in both: (B, S+1, S+1) for each layer. All -inf from a node that leads nowhere.

    The layers are apart because together, as one block of memory, they would not stay in the cache of a processor.
    """
    pad, to_words, leaving = torch.nn.functional.pad, completions[..., 1:].unbind(1), finite(completions).unbind(1)
    if counted:
        arrived = [pad(torch.full_like(to_words[0], -torch.inf), (0, 1))]
        arrived += [pad(to_word, (0, 1), value=-torch.inf) for to_word in to_words[:-1]]
    else:
        arrived = [pad(to_words[0], (0, 1))]
    return [(weights + to.unsqueeze(-2)).sub_(at.unsqueeze(-1)) for to, at in zip(arrived, leaving, strict=True)]


def visits(steps: list[torch.Tensor], start: torch.Tensor, counted: bool) -> list[torch.Tensor]:
    """How often each node is visited, by those that come from an earlier one and those that `start` there: (B, S+1) each.

    Args:
        steps: p(j | i), or any other numbers, (B, S+1, S+1) for each layer.
        start: (B, R, S+1).
    """
    pad = torch.nn.functional.pad
    if not counted:
        to_nodes = pad(steps[0][..., :-1], (1, 0))
        return [torch.linalg.solve_triangular(-to_nodes, start, upper=True, left=False, unitriangular=True).squeeze(1)]
    start = start.unbind(1)
    visited = [start[-1]]
    for r in range(len(start) - 1, 0, -1):
        arrived = (visited[-1].unsqueeze(-2) @ steps[r][..., :-1]).squeeze(-2)
        visited.append(start[r - 1] + pad(arrived, (1, 0)))
    return visited[::-1]


def summed_over_layers(steps: list[torch.Tensor], visited: list[torch.Tensor]) -> torch.Tensor:
    """How often each pair occurs, in any layer: (B, S+1, S+1)."""
    return sum(step * at.unsqueeze(-1) for step, at in zip(steps, visited, strict=True))


class Completions(torch.autograd.Function):
    """Gives what the backward pass has found its gradient in the weights."""

    @staticmethod
    def forward(ctx, weights: torch.Tensor, completions: torch.Tensor, counted: bool) -> torch.Tensor:
        completions = completions.detach()
        ctx.counted = counted
        ctx.save_for_backward(weights, completions)
        return completions

    @staticmethod
    def backward(ctx, gradient):
        weights, completions = ctx.saved_tensors
        steps = [each.exp() for each in step_log_probs(weights, completions, ctx.counted)]
        return summed_over_layers(steps, visits(steps, gradient, ctx.counted)), None, None
