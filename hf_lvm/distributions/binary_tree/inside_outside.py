"""Sums over all binary trees of a sentence: the inside pass, the outside pass, and the entropy of the splits.

The inside pass (Baker 1979; the sum that CKY takes over the trees of every span, here without labels, as in the span parsers
of Stern et al. 2017) gives each span the log of the summed weight of its trees. All spans of a width are one step: n - 1 steps
with a sum over splits each. Width-1 spans are in every tree, so their scores are left out of the chart and added to log Z:
what is in a chart is the smaller for it, and float32 the more exact.

The outside pass goes from wide to narrow. p(split | span) is the weight of a split over that of the span; a span passes its
probability on to the parts that its splits make. So marginals need no gradient through the chart: the split weights of one
width are computed a second time from it, used and dropped. Nothing of size n^3 is kept: O(B n^2) memory, O(B n^3) time.

-inf forbids a span. The passes replace it by a number so low that 2 to its power is 0 beside any score. Unlike -inf it can be
subtracted from itself, so weights of 0 stay exact and no step has to guard against nan.

In the passes logarithms are to base 2, only because torch computes 2^x in a third of the time of e^x on a CPU.

Shapes as in `hf_lvm.distributions.binary_tree.layout`: packed (P, B), charts (n, n + 1, B). `lengths` is (B,), None where all
are n. What ends past the length of a row has score 0 and no effect.
"""

import math
from typing import NamedTuple

import torch

from hf_lvm.distributions.binary_tree.layout import (
    as_left,
    as_right,
    left_parts,
    pack,
    right_parts,
    widths_of,
)

LOG2_E = math.log2(math.e)
# Low enough to be below any sum of scores; high enough that a sum over all spans of a tree stays finite in float32.
FORBIDDEN = -1e30


class InsidePass(NamedTuple):
    """Of B rows; none of it carries a gradient.

    Attributes:
        chart: (n, n + 1, B), log2 of the summed weight of all trees of a span, less the scores of its width-1 spans.
            `FORBIDDEN` or less where the span has no tree.
        log_splits: (P, B), the same before the score of the span itself. 0 for width-1 spans and for those without a tree,
            so that what is forbidden stays far below it and p(split | span) is 0.
        log_partition: (B,), log Z, nats; -inf for a row without any possible tree.
    """

    chart: torch.Tensor
    log_splits: torch.Tensor
    log_partition: torch.Tensor


@torch.no_grad()
def inside_pass(scores: torch.Tensor, lengths: torch.Tensor | None) -> InsidePass:
    """See `InsidePass`; `scores` is (B, n, n)."""
    length = scores.shape[-1]
    packed = pack(scores, lengths)
    leaves, packed = packed[:length].sum(0), (packed * LOG2_E).clamp_(min=FORBIDDEN)
    chart, log_splits = packed.new_empty(length, length + 1, packed.shape[-1]), torch.empty_like(packed)
    by_width = zip(widths_of(packed, length), widths_of(log_splits, length), strict=True)
    for width, (own, before) in enumerate(by_width):
        left = as_left(chart, width)
        if width == 0:
            before.zero_()
            left.zero_()
        else:
            splits = left_parts(chart, width) + right_parts(chart, width)
            highest = splits.amax(0)
            # In place, as the time goes into moving these through memory, and into the number of calls.
            torch.add(splits.sub_(highest).exp2_().sum(0).log2_(), highest, out=before)
            torch.add(before, own, out=left)
        as_right(chart, width).copy_(left)
    log_splits.masked_fill_(log_splits <= FORBIDDEN, 0.0)
    whole = of_whole(chart, lengths)
    whole = whole.masked_fill(whole <= FORBIDDEN, -torch.inf)
    return InsidePass(chart, log_splits, whole / LOG2_E + leaves)


def of_whole(chart: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """What a chart holds for the span of the whole sentence: (B,)."""
    from_start = chart[:, 0]
    return from_start[-1] if lengths is None else from_start.gather(0, (lengths - 1).unsqueeze(0)).squeeze(0)


def split_probabilities(chart: torch.Tensor, log_splits: torch.Tensor, width: int) -> torch.Tensor:
    """p(split | span) for all spans of a width: (width, n - width, B); all 0 where a span has no possible tree below it.

    `log_splits` is that of an inside pass for this width: (n - width, B).
    """
    return (left_parts(chart, width) + right_parts(chart, width)).sub_(log_splits).exp2_()


@torch.no_grad()
def outside_pass(inside: InsidePass, lengths: torch.Tensor | None) -> torch.Tensor:
    """The marginals, packed (P, B); 0 past the length and for a row without a tree."""
    chart, length = inside.chart, inside.chart.shape[0]
    passed_on, marginals = torch.zeros_like(chart), torch.empty_like(inside.log_splits)
    add_to_whole(passed_on, (inside.log_partition > -torch.inf).to(chart.dtype), lengths)
    log_splits, by_width = widths_of(inside.log_splits, length), widths_of(marginals, length)
    for width in range(length - 1, -1, -1):
        torch.add(as_left(passed_on, width), as_right(passed_on, width), out=by_width[width])
        if width > 0:
            # The probability of the span goes into the exponent: a product there is one with every split.
            splits = split_probabilities(chart, log_splits[width] - by_width[width].log2(), width)
            left_parts(passed_on, width).add_(splits)
            right_parts(passed_on, width).add_(splits)
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
    chart, length = inside.chart, inside.chart.shape[0]
    total = torch.zeros_like(inside.log_partition)
    by_width = zip(widths_of(inside.log_splits, length), widths_of(marginals, length), strict=True)
    for width, (log_splits, probability) in enumerate(by_width):
        if width > 0:
            of_spans = torch.special.entr(split_probabilities(chart, log_splits, width)).sum(0)
            total += of_spans.mul_(probability).sum(0)
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
    chart, length = inside.chart, inside.chart.shape[0]
    below, above, result = torch.zeros_like(chart), torch.zeros_like(chart), torch.empty_like(direction)
    log_splits, probabilities, directions, results = (
        widths_of(packed, length) for packed in (inside.log_splits, marginals, direction, result)
    )
    for width, expected in enumerate(directions):
        if width > 0:
            parts = left_parts(below, width) + right_parts(below, width)
            expected = expected + parts.mul_(split_probabilities(chart, log_splits[width], width)).sum(0)
        as_left(below, width).copy_(expected)
        as_right(below, width).copy_(expected)
    mean = (direction * marginals).sum(0)
    for width in range(length - 1, -1, -1):
        probability = probabilities[width]
        # p(span) E[what is above the span | span]
        from_above = as_left(above, width) + as_right(above, width)
        torch.addcmul(from_above, probability, as_left(below, width) - mean, out=results[width])
        if width == 0:
            break
        from_above.addcmul_(probability, directions[width])
        splits = split_probabilities(chart, log_splits[width], width)
        for grows, sibling in ((left_parts, right_parts), (right_parts, left_parts)):
            grows(above, width).addcmul_(splits, torch.addcmul(from_above, probability, sibling(below, width)))
    return result
