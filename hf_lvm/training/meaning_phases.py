"""What comes before the main training of a StructVAE: its prior, the language model of its baseline, guessed meanings."""

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from datasets import Dataset
from torch import nn

from hf_lvm.analysis.meaning_parsing import parse_rows
from hf_lvm.backbones.reconstructors import continuation_log_prob
from hf_lvm.data import LatentTextProcessor
from hf_lvm.data.processor import IGNORED_LABEL, pad_rows
from hf_lvm.models.struct_vae import StructVAEModel

logger = logging.getLogger(__name__)


def fit_prior(model: StructVAEModel, ids: Sequence[list[int]], held_out: Sequence[list[int]], epochs: int) -> float | None:
    """Train p(z) by itself on meanings, and keep the epoch that is best on held-out ones.

    Args:
        ids: spelled actions with END, of N meanings.
        held_out: of validation meanings; with none the last epoch is kept.

    Returns:
        -log p(z) of the held-out meanings, nats per meaning; None without any.

    Raises:
        ValueError: a model without a p(z).
    """
    if model.prior is None:
        raise ValueError("prior_epochs trains p(z), and the prior_type 'uniform' has none: set it to 0.")

    def nll(rows: torch.Tensor) -> torch.Tensor:
        return -model.meaning_prior().log_prob(rows.unsqueeze(1)).squeeze(1)

    found = fit_sequences(model.prior, nll, ids, held_out, epochs, "Prior", model.device)
    model.freeze_parts()
    return found


def fit_language_model(
    model: StructVAEModel, labels: Sequence[list[int]], held_out: Sequence[list[int]], epochs: int
) -> float:
    """Train the language model of the baseline on utterances, likewise; labels are tokens of the decoder with their end.

    Raises:
        ValueError: a model without one.
    """
    if model.language_model is None:
        raise ValueError("language_model_epochs trains a language_model, and there is none: name its family, or set it to 0.")

    def nll(rows: torch.Tensor) -> torch.Tensor:
        start = torch.full_like(rows[:, :1], model.config.bos_token_id)
        return -continuation_log_prob(model.language_model, rows, start)

    found = fit_sequences(model.language_model, nll, labels, held_out, epochs, "Language model", model.device)
    model.freeze_parts()
    return found


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


def _batches(rows: Sequence[list[int]], batch_size: int, order: Sequence[int]):
    # Those of like length together, within stretches of many batches.
    stretch = 20 * batch_size
    for begin in range(0, len(order), stretch):
        near = sorted(order[begin : begin + stretch], key=lambda row: len(rows[row]))
        for first in range(0, len(near), batch_size):
            yield torch.tensor(pad_rows([rows[row] for row in near[first : first + batch_size]], IGNORED_LABEL))


def guess_meanings(model: StructVAEModel, rows: Dataset, processor: LatentTextProcessor, num_beams: int) -> Dataset:
    """The best tree of each row without a known meaning as the column `guessed_ids`: actions with END, empty in the others."""
    unknown = [row for row, ids in enumerate(rows["meaning_ids"][:]) if not ids]
    found = parse_rows(model, rows, processor, num_beams, rows=unknown, description="Guessing")
    guessed = [found[row][0].actions if found.get(row) else [] for row in range(len(rows))]
    logger.info("Self-training: %s meanings are guessed.", f"{sum(map(bool, guessed)):,}")
    return rows.add_column("guessed_ids", guessed, feature=rows.features["meaning_ids"])
