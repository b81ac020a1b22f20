"""From the root of a tree down to its leaves, for many trees at once: what sampling and searching have in common.

A tree over n positions has n - 1 spans of width 2 and more, each with one split. They wait in a queue; step t takes the span
at place t of each tree's queue and appends those of its two parts that have a split of their own. So n - 1 steps make any
tree, whatever its shape, and nothing depends on values that the host would have to wait for. A tree over fewer positions runs
out
earlier: it then finds spans of width 1 in its queue, which are in the tree anyway and stay what they are.

A span i..j is one number, i n + j. Queues are (n, R) for R trees, so that a step reads contiguous memory.
"""

from collections.abc import Callable

import torch

# (step, start (1, R), end (1, R), mark (1, R)) -> (split (1, R), mark of the left part, mark of the right part)
Choice = Callable[
    [int, torch.Tensor, torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
]


def descend(whole: torch.Tensor, length: int, choose: Choice, marks: torch.Tensor | None = None) -> torch.Tensor:
    """The queues of trees, which hold all their spans of width 2 and more: (n, R).

    Args:
        whole: (R,), the span of the whole sentence of each tree, which is its last position.
        choose: where the span of a step is split, i.e. the last position of its left part; of width-1 spans what it likes.
        marks: (R,), a number that goes with the whole span, such as its rank; parts get theirs from `choose`.
    """
    queue = whole.new_zeros(length, len(whole))
    queue[0] = whole
    marked = None
    if marks is not None:
        marked = torch.zeros_like(queue)
        marked[0] = marks
    tail = torch.ones_like(whole).unsqueeze(0)
    for step in range(length - 1):
        span = queue[step : step + 1]
        start = span // length
        end = span - start * length
        split, *parts_marks = choose(step, start, end, None if marked is None else marked[step : step + 1])
        # Of a row without a tree, nothing chosen means anything: it must only stay where a split can be.
        split = torch.maximum(torch.minimum(split, end - 1), start)
        # A part of width 1 is written too, and then written over, or left at the end, where it does no harm.
        for part_start, part_end, mark in (
            (start, split, parts_marks[0]),
            (torch.minimum(split + 1, end), end, parts_marks[1]),
        ):
            queue.scatter_(0, tail, part_start * length + part_end)
            if marked is not None:
                marked.scatter_(0, tail, mark)
            tail = tail + (part_start < part_end)
    return queue


def spans_of(queue: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """The trees as masks (R, n, n), width-1 spans among them, from their queues (n, R) and lengths (R,)."""
    length, trees = queue.shape
    spans = torch.zeros(trees, length * length, dtype=torch.bool, device=queue.device).scatter_(1, queue.t(), True)
    spans = spans.view(trees, length, length)
    positions = torch.arange(length, device=queue.device)
    spans[:, positions, positions] = True if lengths is None else positions < lengths.unsqueeze(1)
    return spans
