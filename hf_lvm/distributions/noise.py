"""Random numbers that belong to rows, not to batches.

A list of B generators, one a row, makes the noise of a row independent of who else is in the batch: the same row gets the
same noise alone, in a batch of eight, or in the second of two processes.
"""

from collections.abc import Callable, Sequence

import torch

Generators = torch.Generator | Sequence[torch.Generator] | None


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
