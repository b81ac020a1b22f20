"""What comes before the main training of a StructVAE: its prior, the language model of its baseline, guessed meanings."""

import logging
from collections.abc import Sequence

import torch
from datasets import Dataset

from hf_lvm.analysis.meaning_parsing import parse_rows
from hf_lvm.backbones.reconstructors import continuation_log_prob
from hf_lvm.data import LatentTextProcessor
from hf_lvm.models.struct_vae import StructVAEModel
from hf_lvm.training.sequence_fitting import fit_sequences

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


def guess_meanings(model: StructVAEModel, rows: Dataset, processor: LatentTextProcessor, num_beams: int) -> Dataset:
    """The best tree of each row without a known meaning as the column `guessed_ids`: actions with END, empty in the others."""
    unknown = [row for row, ids in enumerate(rows["meaning_ids"][:]) if not ids]
    found = parse_rows(model, rows, processor, num_beams, rows=unknown, description="Guessing")
    guessed = [found[row][0].actions if found.get(row) else [] for row in range(len(rows))]
    logger.info("Self-training: %s meanings are guessed.", f"{sum(map(bool, guessed)):,}")
    return rows.add_column("guessed_ids", guessed, feature=rows.features["meaning_ids"])
