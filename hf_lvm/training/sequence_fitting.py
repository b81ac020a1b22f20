"""A part of a model that is trained by itself on sequences of ids before all else: a prior, or a language model."""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from hf_lvm.data.processor import IGNORED_LABEL, pad_rows

logger = logging.getLogger(__name__)


def fit_sequences(
    part: nn.Module,
    nll: Callable[[torch.Tensor], torch.Tensor],
    rows: Sequence[list[int]],
    held_out: Sequence[list[int]],
    epochs: int,
    name: str,
    device: torch.device,
    batch_size: int = 32,
    rate: float = 1e-3,
) -> float | None:
    """Train a part by Adam on sequences of ids, and keep the epoch that is best on held-out ones; the log says what it knows.

    Args:
        nll: -log p of sequences (N, L), -100 behind their end: (N,), nats.
        rows, held_out: sequences with their end.
        name: of the part, for the log.

    Returns:
        The mean of the held-out ones; None without any, of which the last epoch is kept.
    """
    part.requires_grad_(True)
    optimizer = torch.optim.Adam(part.parameters(), lr=rate)
    best, weights = None, None
    for epoch in range(epochs):
        part.train()
        generator, total = torch.Generator().manual_seed(epoch), 0.0
        for some in _batches(rows, batch_size, torch.randperm(len(rows), generator=generator).tolist()):
            with torch.enable_grad():
                losses = nll(some.to(device))
                losses.mean().backward()
            nn.utils.clip_grad_norm_(part.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
            total += losses.sum().item()
        part.eval()
        line = f"{name}, epoch {epoch + 1}: {total / len(rows):.2f} nats"
        if held_out:
            with torch.no_grad():
                order = list(range(len(held_out)))
                found = sum(nll(some.to(device)).sum().item() for some in _batches(held_out, 4 * batch_size, order))
            found /= len(held_out)
            line += f", held out {found:.2f}"
            if best is None or found < best:
                best, weights = found, copy.deepcopy(part.state_dict())
        logger.info("%s.", line)
    if weights is not None:
        part.load_state_dict(weights)
    return best


def _batches(rows: Sequence[list[int]], batch_size: int, order: Sequence[int]) -> Iterator[torch.Tensor]:
    # Those of like length together, within stretches of many batches.
    stretch = 20 * batch_size
    for begin in range(0, len(order), stretch):
        near = sorted(order[begin : begin + stretch], key=lambda row: len(rows[row]))
        for first in range(0, len(near), batch_size):
            yield torch.tensor(pad_rows([rows[row] for row in near[first : first + batch_size]], IGNORED_LABEL))
