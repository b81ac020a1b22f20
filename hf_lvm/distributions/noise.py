"""Random numbers that belong to rows, not to batches.

A list of B generators, one a row, makes the noise of a row independent of who else is in the batch: the same row gets the
same noise alone, in a batch of eight, or in the second of two processes.
"""

from collections.abc import Callable, Sequence

import torch

Generators = torch.Generator | Sequence[torch.Generator] | None

# Of SplitMix64 (Steele, Lea and Flood 2014): the step of its counter and the two factors of its mixing function, as signed
# 64-bit integers.
GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
MIXING = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
LAST_SHIFT = 31


def normal_noise(
    sample_shape: Sequence[int],
    batch_size: int,
    event_shape: Sequence[int],
    *,
    generator: Generators = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Standard normal noise of shape (*sample_shape, batch_size, *event_shape).

    Args:
        generator: None (the global generator of the device), one generator for all, or a list of `batch_size`
            generators, one a row. Noise is drawn on the generator's own device and then moved.

    Raises:
        ValueError: a list of generators whose length is not `batch_size`.
    """
    return _draw(torch.randn, sample_shape, batch_size, event_shape, generator, device, dtype)


def uniform_noise(
    sample_shape: Sequence[int],
    batch_size: int,
    event_shape: Sequence[int],
    *,
    generator: Generators = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Noise uniform on [0, 1) of shape (*sample_shape, batch_size, *event_shape); arguments as in `normal_noise`."""
    return _draw(torch.rand, sample_shape, batch_size, event_shape, generator, device, dtype)


def noise_of_positions(
    sample_shape: Sequence[int],
    batch_size: int,
    length: int,
    generator: Generators = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Noise uniform on [0, 1), float64: (*sample_shape, batch_size, length). A longer length only appends to it.

    A generator asked for n numbers a row would give a row other numbers, and the next draw too, when a longer sentence pads
    the batch. So it is asked for one number a row and sample, from which SplitMix64 makes that of each position.

    Args:
        generator: None, one generator, or a list of `batch_size` generators (see `hf_lvm.distributions.noise`).
    """
    seed = uniform_noise(sample_shape, batch_size, (), generator=generator, device=device, dtype=torch.float64)
    start = _mixed((seed * 2**53).long()).unsqueeze(-1)
    return _counted_from(start, length)


def noise_of_runs(
    seeds: Sequence[int],
    batch_size: int,
    length: int,
    generator: Generators = None,
    device: torch.device | str = "cpu",
    sample_shape: Sequence[int] = torch.Size(),
) -> torch.Tensor:
    """Noise uniform on [0, 1), float64: (R, *sample_shape, batch_size, length), of R runs that train side by side.

    The generators are asked for one number a row and sample, as for `noise_of_positions`, from which the seed of a run makes
    its own. So a run has the noise that it would have alone, and runs of different seeds have noise that is independent.

    Args:
        seeds: R numbers.
        generator: None, one generator, or a list of `batch_size` generators.
    """
    drawn = uniform_noise(sample_shape, batch_size, (), generator=generator, device=device, dtype=torch.float64)
    of_runs = _mixed(torch.tensor([seed + 1 for seed in seeds], device=drawn.device) * GOLDEN_GAMMA)
    of_runs = of_runs.view(-1, *[1] * drawn.dim())
    start = _mixed((drawn * 2**53).long() ^ of_runs).unsqueeze(-1)
    return _counted_from(start, length)


def noise_of_cells(
    sample_shape: Sequence[int],
    batch_size: int,
    length: int,
    generator: Generators = None,
    device: torch.device | str = "cpu",
    *,
    depth: int | None = None,
) -> torch.Tensor:
    """Noise uniform on [0, 1), float64: (*sample_shape, batch_size, length, length), or (..., length, length, depth).

    Like that of positions, a cell's noise does not change when the square around it grows: cells are numbered in shells, all
    cells up to k before any with a k + 1 (the pairing function of Szudzik 2006).

    Args:
        generator: None, one generator, or a list of `batch_size` generators.
    """
    noise = noise_of_positions(sample_shape, batch_size, length * length * (depth or 1), generator, device)
    position = torch.arange(length, device=noise.device)
    row, column = position.unsqueeze(1), position
    number = torch.where(row >= column, row * row + row + column, column * column + row)
    return noise[..., number] if depth is None else noise.unflatten(-1, (-1, depth))[..., number, :]


def as_gumbel(noise: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise from noise of positions or cells, uniform on [0, 1), float64."""
    # A uniform number of 0 would be noise of -inf: half the smallest other one stands for it.
    return -(-noise.clamp(min=2.0**-54).log()).log()


def gumbel_of_uniform(noise: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise from `uniform_noise` of any floating-point type; finite even for numbers of 0 and 1."""
    tiny = torch.finfo(noise.dtype).tiny
    return -(-noise.clamp(min=tiny).log()).clamp(min=tiny).log()


def _draw(
    draw: Callable[..., torch.Tensor],
    sample_shape: Sequence[int],
    batch_size: int,
    event_shape: Sequence[int],
    generator: Generators,
    device: torch.device | str,
    dtype: torch.dtype,
) -> torch.Tensor:
    if generator is None or isinstance(generator, torch.Generator):
        source = device if generator is None else generator.device
        shape = (*sample_shape, batch_size, *event_shape)
        return draw(shape, generator=generator, device=source, dtype=dtype).to(device)
    check_row_generators(generator, batch_size)
    rows = [draw((*sample_shape, *event_shape), generator=row, device=row.device, dtype=dtype) for row in generator]
    return torch.stack(rows, dim=len(sample_shape)).to(device)


def check_row_generators(generators: Sequence[torch.Generator], batch_size: int) -> None:
    """Raise a `ValueError` unless there is one generator a row."""
    if len(generators) != batch_size:
        raise ValueError(
            f"Got {len(generators)} generators for a batch of {batch_size} rows: pass one generator a row, "
            "a single torch.Generator for the whole batch, or None."
        )


def generators_of_rows(generator: Generators, rows: torch.Tensor, batch_size: int) -> Generators:
    """The generators of some rows (R,) of a batch: theirs out of a list, or the one that all rows share.

    Raises:
        ValueError: a list of generators whose length is not `batch_size`.
    """
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    check_row_generators(generator, batch_size)
    return [generator[row] for row in rows.tolist()]


def _counted_from(start: torch.Tensor, length: int) -> torch.Tensor:
    """SplitMix64's next `length` numbers after counters (..., 1), uniform on [0, 1), float64: (..., length)."""
    bits = _mixed(start + GOLDEN_GAMMA * torch.arange(1, length + 1, device=start.device))
    return _shifted(bits, 11).double() * 2.0**-53


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    """SplitMix64's mixing function: 64-bit integers that look independent of each other."""
    for shift, factor in MIXING:
        bits = (bits ^ _shifted(bits, shift)) * factor
    return bits ^ _shifted(bits, LAST_SHIFT)


def _shifted(bits: torch.Tensor, places: int) -> torch.Tensor:
    """To the right, with zeros coming in from the left as in an unsigned integer."""
    return (bits >> places) & (2 ** (64 - places) - 1)
