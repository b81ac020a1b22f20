"""From the root of a tree down to its leaves, for many trees at once: what sampling and searching have in common.

A tree over n positions has n - 1 spans of width 2 and more, each with one split. They wait in a queue; step t takes the span
at place t of each tree's queue and appends those of its two parts that have a split of their own. So n - 1 steps make any
tree, whatever its shape, and nothing depends on values that the host would have to wait for. A tree over fewer positions
comes to its end earlier: it then finds spans of width 1 in its queue, which are in the tree anyway and stay what they are.

A span i..j is one number, its cell i n + j. Queues are (n, R) for R trees, so that a step reads contiguous memory.
"""

from collections.abc import Callable

import torch

# (step, start (1, R), end (1, R)) -> where the spans are split, i.e. the last position of their left parts, (1, R). What it
# says of spans of width 1 is not used.
Choice = Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def descend(whole: torch.Tensor, length: int, choose: Choice) -> torch.Tensor:
    """The queues of trees, which hold all their spans of width 2 and more: (n, R); `whole` is (R,), their last positions."""
    queue = whole.new_zeros(length, len(whole))
    queue[0] = whole
    tail = torch.ones_like(whole).unsqueeze(0)
    for step in range(length - 1):
        start, end = ends_of(queue[step : step + 1], length)
        for part_start, part_end in parts_of(start, end, choose(step, start, end)):
            # A part of width 1 is written too, and then written over, or left at the end, where it does no harm.
            queue.scatter_(0, tail, part_start * length + part_end)
            tail = tail + (part_start < part_end)
    return queue


def ends_of(cell: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last position of spans that are given as cells."""
    start = cell // length
    return start, cell - start * length


def parts_of(
    start: torch.Tensor, end: torch.Tensor, split: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """First and last positions of both parts of spans; of a span of width 1 both are that span."""
    # Where a row has no tree, no split means anything: it must only stay where one can be.
    split = torch.maximum(torch.minimum(split, end - 1), start)
    return (start, split), (torch.minimum(split + 1, end), end)


def spans_of(queue: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """The trees as masks (R, n, n), width-1 spans among them, from their queues (n, R) and lengths (R,)."""
    length, trees = queue.shape
    spans = torch.zeros(trees, length * length, dtype=torch.bool, device=queue.device).scatter_(1, queue.t(), True)
    spans = spans.view(trees, length, length)
    positions = torch.arange(length, device=queue.device)
    spans[:, positions, positions] = True if lengths is None else positions < lengths.unsqueeze(1)
    return spans
