"""log Z, marginals and entropy of trees as functions that can be differentiated as often as wished.

The gradient of log Z is the marginals, that of the marginals along a direction V is the covariance of V(tree) with each span,
and that of the entropy is the covariance with the score itself, negated. These are explicit passes that keep O(B n^2). Only
for what comes after them, derivatives of third and higher order, a chart is built that autograd records, in O(B n^3) memory.

All take scores (B, n, n), lengths (B,) or None, the three tensors of an `InsidePass`, and marginals as packed values (P, B).
"""

import torch

from hf_lvm.distributions.binary_tree.inside_outside import InsidePass, covariance, entropy_of_splits, outside_pass
from hf_lvm.distributions.binary_tree.labels import log_sum
from hf_lvm.distributions.binary_tree.layout import pack, unpack, widths_of


class LogPartition(torch.autograd.Function):
    """log Z of an inside pass, (B,), with its gradient."""

    @staticmethod
    def forward(ctx, scores, lengths, *inside: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scores, lengths, *inside)
        return InsidePass(*inside).log_partition.clone()

    @staticmethod
    def backward(ctx, gradient):
        scores, lengths, *inside = ctx.saved_tensors
        marginals = Marginals.apply(scores, lengths, outside_pass(InsidePass(*inside), lengths), *inside)
        return marginals * gradient[:, None, None], None, *[None] * len(inside)


class Marginals(torch.autograd.Function):
    """Packed marginals as (B, n, n), with their gradient in the scores."""

    @staticmethod
    def forward(ctx, scores, lengths, marginals, *inside: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scores, lengths, marginals, *inside)
        return unpack(marginals, scores.shape[-1])

    @staticmethod
    def backward(ctx, direction):
        scores, lengths, marginals, *inside = ctx.saved_tensors
        return Covariance.apply(scores, direction, lengths, marginals, *inside), None, None, *[None] * len(inside)


class Entropy(torch.autograd.Function):
    """The entropy, (B,), with its gradient: log Z - E[score] has that of E[score] at fixed scores, negated."""

    @staticmethod
    def forward(ctx, scores, lengths, marginals, *inside: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scores, lengths, marginals, *inside)
        return entropy_of_splits(InsidePass(*inside), marginals)

    @staticmethod
    def backward(ctx, gradient):
        scores, lengths, marginals, *inside = ctx.saved_tensors
        # What is impossible stays so when a score moves: 0 * -inf is 0 here.
        possible = scores.masked_fill(unpack(marginals, scores.shape[-1]) == 0, 0.0)
        direction = -possible * gradient[:, None, None]
        return Covariance.apply(scores, direction, lengths, marginals, *inside), None, None, *[None] * len(inside)


class Covariance(torch.autograd.Function):
    """Covariance of the sum of a direction (B, n, n) over the spans of a tree with the indicator of each span: (B, n, n)."""

    @staticmethod
    def forward(ctx, scores, direction, lengths, marginals, *inside: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(scores, direction, lengths)
        ctx.unused = len(inside) + 1
        return unpack(covariance(InsidePass(*inside), marginals, pack(direction, lengths)), scores.shape[-1])

    @staticmethod
    def backward(ctx, gradient):
        scores, direction, lengths = ctx.saved_tensors
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            # As tensors of their own: where the direction was computed from the scores, that path is not to be counted here.
            scores, direction = (
                each.view_as(each) if each.requires_grad else each.detach().requires_grad_() for each in (scores, direction)
            )
            (marginals,) = torch.autograd.grad(recorded_log_partition(scores, lengths).sum(), scores, create_graph=True)
            (value,) = torch.autograd.grad(marginals, scores, direction, create_graph=True)
        found = torch.autograd.grad(
            value, (scores, direction), gradient, create_graph=again, allow_unused=True, materialize_grads=True
        )
        return *found, None, *[None] * ctx.unused


def recorded_log_partition(scores: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """log Z by a chart that autograd can walk back through: (B,); 0 for a row without a tree, which has no gradient."""
    length = scores.shape[-1]
    chart = []
    for width, own in enumerate(widths_of(pack(scores, lengths), length)):
        parts = [chart[u][: length - width] + chart[width - 1 - u][u + 1 :] for u in range(width)]
        chart.append(log_sum(torch.stack(parts), 0) + own if parts else own)
    whole = torch.stack([spans[0] for spans in chart])
    whole = whole[-1] if lengths is None else whole.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)
    return whole.masked_fill(whole == -torch.inf, 0.0)
