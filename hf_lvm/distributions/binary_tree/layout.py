"""How the spans of a batch lie in memory, so that every step of a chart algorithm runs over contiguous slices.

A span is i..j inclusive of n positions, its width is w = j - i, from 0. Users see spans as (B, n, n), as [i, j]. In here they
lie in two ways, the batch always last:

packed: (P, B) with P = n (n + 1) / 2: all spans of width 0 from left to right, then those of width 1, and so on.

chart: (n, n + 1, B): every span twice. Among all spans of a width w at once, the left parts that end at the split u, widths
u = 0..w-1 at starts 0..n-w-1, are a rectangle of a chart that is stored as [width, start]; the right parts, with widths w-1-u,
are one of a chart that is stored as [n-1-width, end] (as in the fast parsers: a chart aligned to the left and one aligned to
the right). Each of the two fills one triangle, so one array holds both, the second a column further to the right.
"""

import torch


def widths_of(packed: torch.Tensor, length: int) -> tuple[torch.Tensor, ...]:
    """For each width from 0, its spans from left to right, a view: (n - width, ...) of (P, ...)."""
    return packed.split(list(range(length, 0, -1)))


def packed_spans(length: int, device: torch.device | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and end of every span in packed order: (P,) each."""
    # Pairs (r, c) with r <= c, row by row: read as (width, end).
    width, end = torch.triu_indices(length, length, device=device)
    return end - width, end


def packed_index(length: int, device: torch.device | None = None) -> torch.Tensor:
    """The place of each span i..j in packed order: (n, n); 0 where j < i."""
    positions = torch.arange(length, device=device)
    start, width = positions.unsqueeze(1), positions - positions.unsqueeze(1)
    return (width * length - width * (width - 1) // 2 + start).masked_fill(width < 0, 0)


def pack(values: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """(P, B) of values (B, n, n), with 0 for spans that end past the length of their row."""
    batch, length, _ = values.shape
    start, end = packed_spans(length, values.device)
    packed = values.reshape(batch, length * length).t().contiguous().index_select(0, start * length + end)
    return packed if lengths is None else packed.masked_fill(end.unsqueeze(1) >= lengths, 0)


def unpack(packed: torch.Tensor, length: int) -> torch.Tensor:
    """(B, n, n) of packed values (P, B), with 0 below the diagonal."""
    start, end = packed_spans(length, packed.device)
    square = packed.new_zeros(length * length, packed.shape[-1]).index_copy_(0, start * length + end, packed)
    return square.t().contiguous().view(-1, length, length)


# The four below are views. They are made by strides, since slicing in two dimensions takes twice the time and each width needs
# several. Compiled graphs use slices: inductor (torch 2.13) gave wrong gradients for larger graphs that write through strides.


def as_left(chart: torch.Tensor, width: int) -> torch.Tensor:
    """The spans of a width where a chart holds them as left parts, chart[width, :n - width]: (n - width, B)."""
    length, _, batch = chart.shape
    if torch.compiler.is_compiling():
        return chart[width, : length - width]
    return chart.as_strided((length - width, batch), (batch, 1), width * (length + 1) * batch)


def as_right(chart: torch.Tensor, width: int) -> torch.Tensor:
    """The spans of a width where a chart holds them as right parts, chart[n - 1 - width, width + 1:]: (n - width, B)."""
    length, _, batch = chart.shape
    if torch.compiler.is_compiling():
        return chart[length - 1 - width, width + 1 :]
    first = (length - 1 - width) * (length + 1) + width + 1
    return chart.as_strided((length - width, batch), (batch, 1), first * batch)


def left_parts(chart: torch.Tensor, width: int) -> torch.Tensor:
    """Of every span of a width and every split, its left part, chart[:width, :n - width]: (width, n - width, B)."""
    length, _, batch = chart.shape
    if torch.compiler.is_compiling():
        return chart[:width, : length - width]
    return chart.as_strided((width, length - width, batch), chart.stride())


def right_parts(chart: torch.Tensor, width: int) -> torch.Tensor:
    """Of every span of a width and every split, its right part, chart[n - width:, width + 1:]: (width, n - width, B)."""
    length, _, batch = chart.shape
    if torch.compiler.is_compiling():
        return chart[length - width :, width + 1 :]
    first = (length - width) * (length + 1) + width + 1
    return chart.as_strided((width, length - width, batch), chart.stride(), first * batch)


def by_start_and_end(chart: torch.Tensor) -> torch.Tensor:
    """(B, n, n) as [start, end], with -inf below the diagonal."""
    length = chart.shape[0]
    positions = torch.arange(length, device=chart.device)
    width = positions - positions.unsqueeze(1)
    place = (width * (length + 1) + positions.unsqueeze(1)).masked_fill(width < 0, 0)
    square = chart.flatten(0, 1).index_select(0, place.flatten()).masked_fill((width < 0).view(-1, 1), -torch.inf)
    return square.t().contiguous().view(-1, length, length)
