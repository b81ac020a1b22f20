"""Sums over all binary trees of a sentence: the inside pass, the outside pass, and the entropy of the splits.

The inside pass (Baker 1979; the sum that CKY takes over the trees of every span, here without labels, as in the span parsers
of Stern et al. 2017) gives each span the log of the summed weight of its trees. All spans of a width are one step: n - 1 steps
with a sum over splits each. Width-1 spans are in every tree, so their scores are left out of the chart and added to log Z:
what is in a chart is the smaller for it, and float32 the more exact.

The outside pass goes from wide to narrow. p(split | span) is the weight of a split over that of the span; a span passes its
probability on to the parts that its splits make. So marginals need no gradient through the chart: the split weights of one
width are computed a second time from it, used and dropped. Nothing of size n^3 is kept: O(B n^2) memory, O(B n^3) time.

-inf forbids a span. Weights of 0 stay exact: no weight is divided by, and no two logarithms of zero are subtracted.

Shapes as in `hf_lvm.distributions.binary_tree.layout`: packed (P, B), charts (n, n + 1, B). `lengths` is (B,), None where all
are n. What ends past the length of a row has score 0 and no effect.
"""

from typing import NamedTuple

import torch

from hf_lvm.distributions.binary_tree.layout import (
    as_left,
    as_right,
    left_parts,
    new_chart,
    of_width,
    pack,
    right_parts,
)


class InsidePass(NamedTuple):
    """Of B rows; none of it carries a gradient.

    Attributes:
        chart: (n, n + 1, B), log of the summed weight of all trees of a span, less the scores of its width-1 spans.
        log_splits: (P, B), the same before the score of the span itself; 0 for width-1 spans.
        log_partition: (B,), log Z, nats; -inf for a row without any possible tree.
    """

    chart: torch.Tensor
    log_splits: torch.Tensor
    log_partition: torch.Tensor


def finite(logarithm: torch.Tensor) -> torch.Tensor:
    """With 0 in place of -inf: as a subtrahend beside nothing but -inf, it leaves -inf where -inf would leave nan."""
    return logarithm.masked_fill(logarithm == -torch.inf, 0.0)


@torch.no_grad()
def inside_pass(scores: torch.Tensor, lengths: torch.Tensor | None) -> InsidePass:
    """See `InsidePass`; `scores` is (B, n, n)."""
    batch, length, _ = scores.shape
    packed = pack(scores, lengths)
    chart, log_splits = new_chart(packed, length), torch.zeros_like(packed)
    for width in range(1, length):
        splits = left_parts(chart, width) + right_parts(chart, width)
        highest = finite(splits.amax(0))
        # In place, as the time goes into moving these through memory.
        total = splits.sub_(highest).exp_().sum(0).log_().add_(highest)
        of_width(log_splits, length, width).copy_(total)
        total.add_(of_width(packed, length, width))
        as_left(chart, width).copy_(total)
        as_right(chart, width).copy_(total)
    return InsidePass(chart, log_splits, of_whole(chart, lengths) + of_width(packed, length, 0).sum(0))


def of_whole(chart: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """What a chart holds for the span of the whole sentence: (B,)."""
    from_start = chart[:, 0]
    return from_start[-1] if lengths is None else from_start.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)


def split_probabilities(inside: InsidePass, width: int) -> torch.Tensor:
    """p(split | span) for all spans of a width: (width, n - width, B); all 0 where a span has no possible tree below it."""
    chart, log_splits = inside.chart, inside.log_splits
    splits = left_parts(chart, width) + right_parts(chart, width)
    return splits.sub_(finite(of_width(log_splits, chart.shape[0], width))).exp_()


@torch.no_grad()
def outside_pass(inside: InsidePass, lengths: torch.Tensor | None) -> torch.Tensor:
    """The marginals, packed (P, B); 0 past the length and for a row without a tree."""
    chart = inside.chart
    length = chart.shape[0]
    passed_on, marginals = torch.zeros_like(chart), torch.empty_like(inside.log_splits)
    add_to_whole(passed_on, (inside.log_partition > -torch.inf).to(chart.dtype), lengths)
    for width in range(length - 1, 0, -1):
        marginal = of_width(marginals, length, width)
        torch.add(as_left(passed_on, width), as_right(passed_on, width), out=marginal)
        splits = split_probabilities(inside, width).mul_(marginal)
        left_parts(passed_on, width).add_(splits)
        right_parts(passed_on, width).add_(splits)
    torch.add(as_left(passed_on, 0), as_right(passed_on, 0), out=of_width(marginals, length, 0))
    return marginals


def add_to_whole(chart: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor | None) -> None:
    """Adds values (B,) to the spans of the whole sentences, as left parts."""
    if lengths is None:
        chart[-1, 0].add_(values)
        return
    widths = torch.arange(chart.shape[0], device=chart.device).unsqueeze(1)
    chart[:, 0].add_(values * (widths == lengths - 1))


@torch.no_grad()
def entropy_of_splits(inside: InsidePass, marginals: torch.Tensor) -> torch.Tensor:
    """The entropy (B,), nats: the mean over trees of the entropy of the split at each of their spans.

    It adds up what is not negative. log Z less the mean score is the same number, but there large scores cancel.

    Args:
        marginals: packed (P, B).
    """
    length = inside.chart.shape[0]
    total = torch.zeros_like(inside.log_partition)
    for width in range(1, length):
        of_spans = torch.special.entr(split_probabilities(inside, width)).sum(0)
        total += of_spans.mul_(of_width(marginals, length, width)).sum(0)
    return total


@torch.no_grad()
def covariance(inside: InsidePass, marginals: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Covariance of V(tree), the sum of a direction over its spans, with the indicator of each span: packed (P, B).

    It is p(span) (E[V | span] - E[V]). E[V | span] has one part from below, which the first loop finds from narrow to wide,
    and one from above, which the second passes down together with the probability (the expectation semiring of Li and Eisner
    2009, run from both ends).

    Args:
        marginals, direction: packed (P, B).
    """
    length = inside.chart.shape[0]
    below, above, result = torch.zeros_like(inside.chart), torch.zeros_like(inside.chart), torch.empty_like(direction)
    for width in range(length):
        expected = of_width(direction, length, width)
        if width > 0:
            parts = left_parts(below, width) + right_parts(below, width)
            expected = expected + parts.mul_(split_probabilities(inside, width)).sum(0)
        as_left(below, width).copy_(expected)
        as_right(below, width).copy_(expected)
    # The whole sentence is in every tree, so what is expected below it is the mean. Found as a sum over all spans of the row,
    # since its place differs by row.
    mean = (direction * marginals).sum(0)
    for width in range(length - 1, -1, -1):
        probability = of_width(marginals, length, width)
        # p(span) E[what is above | span]
        from_above = as_left(above, width) + as_right(above, width)
        torch.addcmul(from_above, probability, as_left(below, width) - mean, out=of_width(result, length, width))
        if width == 0:
            break
        from_above.addcmul_(probability, of_width(direction, length, width))
        splits = split_probabilities(inside, width)
        for grows, sibling in ((left_parts, right_parts), (right_parts, left_parts)):
            grows(above, width).addcmul_(splits, torch.addcmul(from_above, probability, sibling(below, width)))
    return result
