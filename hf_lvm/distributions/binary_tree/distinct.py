"""Distinct trees: samples without replacement, drawn together."""

from typing import NamedTuple

import torch

from hf_lvm.distributions.binary_tree.descent import spans_of
from hf_lvm.distributions.binary_tree.sampling import SplitWeights


class DistinctTrees(NamedTuple):
    """K different trees of B rows, as drawn one after the other, each from what the ones before have left.

    Attributes:
        spans: (K, B, n, n), bool. All False where a row has fewer than K possible trees.
        log_probs: (K, B), nats, without a gradient; -inf where there is no tree.
        perturbed: (K, B), the log probabilities plus the independent Gumbel noise of each tree, in descending order; -inf
            where there is no tree. The last is the threshold of the importance weights of Kool et al. 2019, equation 9.
    """

    spans: torch.Tensor
    log_probs: torch.Tensor
    perturbed: torch.Tensor


@torch.no_grad()
def sample_distinct_trees(
    weights: SplitWeights, lengths: torch.Tensor | None, possible: torch.Tensor, noise: torch.Tensor
) -> DistinctTrees:
    """The K trees of the highest perturbed log probability, found without looking at the others.

    Stochastic beam search (Kool et al. 2019, algorithm 1): a beam holds the K best beginnings of trees by the maximum that
    the perturbed log probabilities of their completions will have. That of the whole beam is Gumbel; given a beginning's
    maximum, those of its continuations are Gumbel with the largest of them set to it. As splits are drawn from the exact
    p(split | span), the K trees are an exact sample without replacement.

    Args:
        weights: the log weights of all splits.
        lengths: (B,), None where all are n.
        possible: (B,), whether a row has a tree.
        noise: (K, B, n, n), standard Gumbel: [0, :, 0, 0] for the maximum over all trees, [k, :, t, s] for the continuation
            of the k-th beginning by a split after position s at step t from 1.
    """
    count, batch, length, _ = noise.shape
    device = noise.device
    first_row = (torch.arange(batch, device=device) * length).unsqueeze(1)
    last = torch.full_like(first_row, length - 1) if lengths is None else lengths.unsqueeze(1) - 1
    # Of each row and beginning, the best first: its spans that wait for a split, how many, log p, the maximum it will have.
    queue = torch.zeros(batch, count, length, dtype=torch.long, device=device)
    queue[..., 0] = last
    tail = torch.ones(batch, count, dtype=torch.long, device=device)
    none = torch.full((batch, count), -torch.inf, dtype=noise.dtype, device=device)
    log_prob, perturbed = none.clone(), none
    log_prob[:, 0] = torch.where(possible, 0.0, -torch.inf)
    perturbed[:, 0] = torch.where(possible, noise[0, :, 0, 0], -torch.inf)
    for step in range(length - 1):
        start = queue[..., step] // length
        end = queue[..., step] - start * length
        left = weights.left.index_select(0, (first_row + start).flatten())
        right = weights.right.index_select(0, (first_row + end).flatten())
        of_splits = _log_normalized((left + right).double()).view(batch, count, length)
        # A width-1 span has no split: its beginning goes on as it is.
        as_it_is = torch.where(torch.arange(length, device=device) == start.unsqueeze(-1), 0.0, -torch.inf)
        of_splits = torch.where((start < end).unsqueeze(-1), of_splits, as_it_is)
        grown = log_prob.unsqueeze(-1) + of_splits
        maxima = _with_maximum(grown, noise[:, :, step + 1].transpose(0, 1), perturbed.unsqueeze(-1))
        perturbed, chosen = maxima.flatten(1).topk(count)
        log_prob = grown.flatten(1).gather(1, chosen)
        parent, split = chosen // length, chosen % length
        queue = queue.gather(1, parent.unsqueeze(-1).expand_as(queue))
        start, end, tail = (each.gather(1, parent) for each in (start, end, tail))
        split = torch.maximum(torch.minimum(split, end - 1), start)
        for part_start, part_end in ((start, split), (torch.minimum(split + 1, end), end)):
            queue.scatter_(2, tail.unsqueeze(-1), (part_start * length + part_end).unsqueeze(-1))
            tail = tail + (part_start < part_end)
    of_trees = None if lengths is None else lengths.repeat_interleave(count)
    spans = spans_of(queue.flatten(0, 1).t(), of_trees).view(batch, count, length, length)
    spans = spans & (perturbed > -torch.inf)[..., None, None]
    return DistinctTrees(spans.transpose(0, 1), log_prob.t(), perturbed.t())


def _log_normalized(log_weights: torch.Tensor) -> torch.Tensor:
    """log_softmax over the last dimension; -inf, not nan, where all weights are 0."""
    normalized = log_weights.log_softmax(-1)
    return normalized.masked_fill(log_weights == -torch.inf, -torch.inf)


def _with_maximum(locations: torch.Tensor, noise: torch.Tensor, maximum: torch.Tensor) -> torch.Tensor:
    """Gumbel variables of given locations (..., n), on the condition that the largest over the last dimension is `maximum`.

    Free ones are moved so that the largest falls on `maximum`, the others as Kool et al. 2019, appendix B.3, to lose nothing
    in rounding.
    """
    free = locations + noise
    largest = free.amax(-1, keepdim=True)
    gap = maximum - free + torch.log1p(-(free - largest).exp())
    moved = maximum - gap.clamp(min=0) - torch.log1p((-gap.abs()).exp())
    return moved.masked_fill(locations == -torch.inf, -torch.inf)
