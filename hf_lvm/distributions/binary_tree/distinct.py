"""Distinct trees: samples without replacement, drawn together.

Stochastic beam search (Kool et al. 2019, algorithm 1): a beam holds the K best beginnings of trees by the maximum that the
perturbed log probabilities of their completions will have. That of all trees together is Gumbel; given a beginning's maximum,
those of its continuations are Gumbel with the largest of them set to it. As every split is drawn from the exact p(split |
span), and every label from p(label | span), the K trees are an exact sample without replacement.
"""

from typing import NamedTuple

import torch

from hf_lvm.distributions.binary_tree.descent import ends_of, parts_of, spans_of
from hf_lvm.distributions.binary_tree.labels import label_log_probs, with_labels
from hf_lvm.distributions.binary_tree.sampling import SplitWeights


class DistinctTrees(NamedTuple):
    """K different trees of B rows, as drawn one after the other, each from what the ones before have left.

    Attributes:
        spans: (K, B, n, n), or (K, B, n, n, L) for labelled spans, bool. All False where a row has fewer than K possible
            trees.
        log_probs: (K, B), nats, without a gradient; -inf where there is no tree.
        perturbed: (K, B), the log probabilities plus the independent Gumbel noise of each tree, in descending order; -inf
            where there is no tree. The last is the threshold of the importance weights of Kool et al. 2019, equation 9.
    """

    spans: torch.Tensor
    log_probs: torch.Tensor
    perturbed: torch.Tensor


class _Beam(NamedTuple):
    """Beginnings of trees, those of the highest maximum first: their log probabilities and these maxima, (B, K) each."""

    log_probs: torch.Tensor
    perturbed: torch.Tensor

    def grown(self, options: torch.Tensor, noise: torch.Tensor) -> tuple["_Beam", torch.Tensor, torch.Tensor]:
        """The K best continuations, which beginning each goes on with, and which option it takes: (B, K) both.

        Args:
            options: (B, K, M), the log probability of each option given the beginning.
            noise: (B, K, M), standard Gumbel.
        """
        count, num_options = options.shape[1:]
        log_probs = self.log_probs.unsqueeze(-1) + options
        maxima = _with_maximum(log_probs, noise, self.perturbed.unsqueeze(-1))
        perturbed, chosen = maxima.flatten(1).topk(count)
        parent = chosen // num_options
        return _Beam(log_probs.flatten(1).gather(1, chosen), perturbed), parent, chosen - parent * num_options


@torch.no_grad()
def sample_distinct_trees(
    weights: SplitWeights,
    scores: torch.Tensor,
    lengths: torch.Tensor | None,
    possible: torch.Tensor,
    noise: torch.Tensor,
    label_noise: torch.Tensor | None = None,
) -> DistinctTrees:
    """The K trees of the highest perturbed log probability, found without looking at the others.

    Args:
        weights: the log weights of all splits.
        scores: (B, n, n), or (B, n, n, L) for labelled spans.
        lengths: (B,), None where all are n.
        possible: (B,), whether a row has a tree.
        noise: (K, B, n, n), standard Gumbel: [0, :, 0, 0] for the maximum over all trees, [k, :, t, s] for the continuation
            of the k-th beginning by a split after position s at step t from 1.
        label_noise: (K, B, 2 n, L), standard Gumbel, for labelled spans: [k, :, 2 i] for the labels of word i, and [k, :, 2 t
            + 1] for those of the t-th wider span in the order in which spans are split.
    """
    count, batch, length, _ = noise.shape
    device = noise.device
    first_row = (torch.arange(batch, device=device) * length).unsqueeze(1)
    last = torch.full_like(first_row, length - 1) if lengths is None else lengths.unsqueeze(1) - 1
    positions = torch.arange(length, device=device)
    queue = torch.zeros(batch, count, length, dtype=torch.long, device=device)
    queue[..., 0] = last
    tail = torch.ones(batch, count, dtype=torch.long, device=device)
    # At first a single beginning: nothing.
    nothing = torch.zeros(batch, count, dtype=noise.dtype, device=device)
    alone = possible.unsqueeze(1) & (torch.arange(count, device=device) == 0)
    beam = _Beam(nothing.masked_fill(~alone, -torch.inf), noise[0, :, :1, 0].expand(-1, count).masked_fill(~alone, -torch.inf))
    for step in range(length - 1):
        start, end = ends_of(queue[..., step], length)
        left = weights.left.index_select(0, (first_row + start).flatten())
        right = weights.right.index_select(0, (first_row + end).flatten())
        splits = _log_normalized((left + right).double()).view(batch, count, length)
        # A span of width 1 has no split: its beginning goes on as it is.
        as_it_is = torch.where(positions == start.unsqueeze(-1), 0.0, -torch.inf)
        splits = torch.where((start < end).unsqueeze(-1), splits, as_it_is)
        beam, parent, split = beam.grown(splits, noise[:, :, step + 1].transpose(0, 1))
        queue = queue.gather(1, parent.unsqueeze(-1).expand_as(queue))
        start, end, tail = (each.gather(1, parent) for each in (start, end, tail))
        for part_start, part_end in parts_of(start, end, split):
            queue.scatter_(2, tail.unsqueeze(-1), (part_start * length + part_end).unsqueeze(-1))
            tail = tail + (part_start < part_end)

    labels = None
    if label_noise is not None:
        beam, queue, labels = _label(beam, queue, scores, last, label_noise.transpose(0, 1))
    of_trees = None if lengths is None else lengths.repeat_interleave(count)
    spans = spans_of(queue.flatten(0, 1).t(), of_trees).view(batch, count, length, length)
    spans = spans & (beam.perturbed > -torch.inf)[..., None, None]
    if labels is not None:
        spans = with_labels(spans, labels.view_as(spans), scores.shape[-1])
    return DistinctTrees(spans.transpose(0, 1), beam.log_probs.t(), beam.perturbed.t())


def _label(
    beam: _Beam, queue: torch.Tensor, scores: torch.Tensor, last: torch.Tensor, noise: torch.Tensor
) -> tuple[_Beam, torch.Tensor, torch.Tensor]:
    """Goes on from trees to labelled trees: the beam, the queue, and the label of each cell (B, K, n * n).

    Args:
        queue: (B, K, n), the spans of width 2 and more.
        last: (B, 1), the last position of each row.
        noise: (B, K, 2 n, L), as `label_noise` of `sample_distinct_trees`.
    """
    batch, length, _, num_labels = scores.shape
    log_probs = label_log_probs(scores).double().flatten(1, 2)
    labels = queue.new_zeros(batch, queue.shape[1], length * length)
    no_choice = torch.where(torch.arange(num_labels, device=queue.device) == 0, 0.0, -torch.inf).double()
    for decision in range(2 * length - 1):
        place, is_wide = divmod(decision, 2)
        cell = queue[..., place] if is_wide else torch.full_like(queue[..., 0], place * (length + 1))
        start, end = ends_of(cell, length)
        needed = start < end if is_wide else end <= last
        options = log_probs.gather(1, cell.unsqueeze(-1).expand(-1, -1, num_labels))
        beam, parent, label = beam.grown(torch.where(needed.unsqueeze(-1), options, no_choice), noise[:, :, decision])
        queue, labels = (each.gather(1, parent.unsqueeze(-1).expand_as(each)) for each in (queue, labels))
        cell, needed = cell.gather(1, parent).unsqueeze(-1), needed.expand_as(parent).gather(1, parent).unsqueeze(-1)
        labels.scatter_(2, cell, torch.where(needed, label.unsqueeze(-1), labels.gather(2, cell)))
    return beam, queue, labels


def _log_normalized(log_weights: torch.Tensor) -> torch.Tensor:
    """log_softmax over the last dimension; -inf, not nan, where all weights are 0."""
    return log_weights.log_softmax(-1).masked_fill(log_weights == -torch.inf, -torch.inf)


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
