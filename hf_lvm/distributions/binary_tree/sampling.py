"""Exact samples of trees, independent of each other, drawn from the top down.

The inside pass gives the distribution of the split of every span, so a tree is drawn span by span (as in Johnson et al. 2007
and Kim et al. 2019), one uniform number deciding one split. All trees of a batch take a step together.
"""

from typing import NamedTuple

import torch

from hf_lvm.distributions.binary_tree.descent import descend, spans_of
from hf_lvm.distributions.binary_tree.inside_outside import FORBIDDEN, LOG2_E
from hf_lvm.distributions.binary_tree.layout import by_start_and_end

# The second largest float64 below 1: times the total of a cumulative sum, it rounds to less than that total.
BELOW_ONE = 1 - 2.0**-52


class SplitWeights(NamedTuple):
    """Log weights of the parts of spans, ready to be looked up by start or by end.

    left[b, i, k] + right[b, j, k] is the log weight of the trees of i..j that split it after position k, and -inf unless
    i <= k < j.

    Attributes:
        left, right: (B * n, n).
    """

    left: torch.Tensor
    right: torch.Tensor


@torch.no_grad()
def split_weights(chart: torch.Tensor) -> SplitWeights:
    """See `SplitWeights`; `chart` is that of an inside pass."""
    inside = by_start_and_end(chart.masked_fill(chart <= FORBIDDEN, -torch.inf)) / LOG2_E
    right = torch.nn.functional.pad(inside[:, 1:], (0, 0, 0, 1), value=-torch.inf).transpose(1, 2)
    return SplitWeights(inside.flatten(0, 1), right.reshape(-1, right.shape[-1]))


@torch.no_grad()
def sample_trees(weights: SplitWeights, lengths: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
    """Masks (K, B, n, n), from `noise` (K, B, n - 1) uniform on [0, 1); `lengths` is (B,), None where all are n."""
    count, batch, steps = noise.shape
    length = steps + 1
    rows = (torch.arange(batch, device=noise.device) * length).repeat(count)
    of_trees = None if lengths is None else lengths.repeat(count)
    whole = rows.new_full(rows.shape, length - 1) if of_trees is None else of_trees - 1
    place = noise.double().clamp(max=BELOW_ONE).view(count * batch, steps).t().contiguous()

    def draw(step: int, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
        left = weights.left.index_select(0, (rows + start).flatten())
        right = weights.right.index_select(0, (rows + end).flatten())
        cumulative = left.add_(right).softmax(-1, dtype=torch.float64).cumsum(-1)
        threshold = place[step].unsqueeze(1) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, threshold, right=True).t()

    return spans_of(descend(whole, length, draw), of_trees).view(count, batch, length, length)
