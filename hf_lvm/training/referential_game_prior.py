"""A model of messages, trained by itself before the agents meet: the indirect supervision of Havrylov and Titov (2017)."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from hf_lvm.data import SymbolMessages, symbol_messages
from hf_lvm.data.processor import IGNORED_LABEL
from hf_lvm.models.referential_game import ReferentialGameModel
from hf_lvm.training.sequence_fitting import fit_sequences

logger = logging.getLogger(__name__)

# Every tenth message is held out.
HELD_OUT = 10


def messages_of_run(source: str, texts: Sequence[str] | None, config) -> SymbolMessages:
    """What p(m) reads: the lines of a file, or texts.

    Args:
        source: a path, or `texts`.
        texts: the training texts of the run; None where objects are none.
        config: of the game.

    Raises:
        FileNotFoundError: no such file.
        ValueError: `texts` where there are none, or texts that make no messages.
    """
    if source == "texts":
        if texts is None:
            raise ValueError("prior_messages is texts, and the objects of this run are none: name a file of messages")
        lines = texts
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"prior_messages: there is no file {source!r}")
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    found = symbol_messages(lines, config.num_symbols, config.max_length, config.min_length)
    logger.info(
        "The prior reads %s messages; %.1f%% of the words of their texts are symbols.",
        f"{len(found.rows):,}",
        100 * found.covered,
    )
    return found


def fit_message_prior(model: ReferentialGameModel, messages: Sequence[Sequence[int]], epochs: int) -> float | None:
    """Train p(m) by itself, and keep the epoch that is best on every tenth message, which is held out.

    Returns:
        -log p(m) of the held-out messages, nats per message; None where there are fewer than ten.
    """
    config = model.config
    rows = [[*message, config.eos_token_id] for message in messages]
    held_out = rows[HELD_OUT - 1 :: HELD_OUT]
    train = [row for place, row in enumerate(rows) if place % HELD_OUT != HELD_OUT - 1]

    def nll(ids: torch.Tensor) -> torch.Tensor:
        ids = ids.masked_fill(ids == IGNORED_LABEL, config.pad_token_id)
        return -model.message_prior(learns=True).log_prob(ids.unsqueeze(1)).squeeze(1)

    found = fit_sequences(model.prior, nll, train, held_out, epochs, "Prior", model.device)
    model.freeze_parts()
    return found
