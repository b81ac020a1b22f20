"""What a trained sender and receiver do on games they have not seen: are they right, what is said, what does it cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm

from hf_lvm.analysis.corpus import row_generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode

Collator = Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class PlayedGames:
    """N games that were played through.

    Attributes:
        messages: N lists of symbols, without the end.
        is_right: (N,) bool, whether the receiver scored the target above all others.
        log_probs: (N, C) or N rows of several sizes, of the candidates.
        labels: (N,), which candidate was the target.
    """

    messages: list[list[int]]
    is_right: np.ndarray
    log_probs: list[np.ndarray]
    labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(N,) symbols of each message."""
        return np.array([len(message) for message in self.messages])

    @property
    def accuracy(self) -> float:
        """The share of games in which the receiver is right, 0 to 1."""
        return float(self.is_right.mean())


def play_games(
    model,
    games: Dataset,
    collate: Collator,
    batch_size: int = 128,
    *,
    num_beams: int = 1,
    do_sample: bool = False,
    seed: int = 0,
    show_progress: bool = True,
) -> PlayedGames:
    """Play the games of a data set, by the greedily best messages.

    Args:
        model: a `ReferentialGameModel`.
        games: rows of `hf_lvm.data.draw_games`.
        num_beams: of a search for the best message; 1 for the greedy one.
        do_sample: draw one instead; a game's draw does not depend on the batch size.
        seed: of the draw.
        show_progress: show a progress bar where there are several batches.
    """
    messages, right, log_probs, labels = [], [], [], []
    for rows, batch in game_batches(games, collate, batch_size, model.device, "Playing" if show_progress else None):
        generator = row_generators(rows, seed) if do_sample else None
        played = model.play(**batch, num_beams=num_beams, do_sample=do_sample, generator=generator)
        messages += model.symbols_of(played.messages)
        right.append(played.is_right.cpu().numpy())
        log_probs += list(played.log_probs.float().cpu().numpy())
        labels.append(played.labels.cpu().numpy())
    return PlayedGames(messages, np.concatenate(right), log_probs, np.concatenate(labels))


def game_batches(
    games: Dataset, collate: Collator, batch_size: int, device: torch.device, description: str | None
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Row numbers and tensors of batches of games, in order, with a bar where it has a description."""
    hidden = description is None or len(games) <= batch_size
    for begin in tqdm(range(0, len(games), batch_size), desc=description, leave=False, disable=hidden):
        rows = list(range(begin, min(begin + batch_size, len(games))))
        batch = collate([games[row] for row in rows])
        yield rows, {name: tensor.to(device) for name, tensor in batch.items()}


@torch.no_grad()
def report_games(
    model,
    games: Dataset,
    collate: Collator,
    *,
    batch_size: int = 128,
    num_beams: int = 1,
    num_importance_samples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy and bound on games.

    Args:
        num_importance_samples: of log p(x|candidates) where there are too many messages to sum over; 0 leaves it out.

    Returns:
        `games`, `candidates` (the mean number), `chance`; `accuracy` of the greedily best messages (of a search with beams),
        `sampled_accuracy` of one draw of each; `mean_length`, `length_standard_deviation`, `distinct_messages`. Of the
        game_loss `likelihood` also `bound` (`nats_per_game`, `reconstruction`, `kl`) and `likelihood` (`nats_per_game`,
        `exact`, `num_samples`); of `hinge` `game_loss` and `kl_nats_per_game`.
    """
    played = play_games(model, games, collate, batch_size, num_beams=num_beams)
    sampled = play_games(model, games, collate, batch_size, do_sample=True, seed=seed)
    counts = np.array([np.isfinite(row).sum() for row in played.log_probs])
    lengths = played.lengths
    metrics: dict[str, Any] = {
        "games": len(games),
        "candidates": float(counts.mean()),
        "chance": float((1 / counts).mean()),
        "accuracy": played.accuracy,
        "sampled_accuracy": sampled.accuracy,
        "mean_length": float(lengths.mean()),
        "length_standard_deviation": float(lengths.std(ddof=1)) if len(lengths) > 1 else 0.0,
        "distinct_messages": len(set(map(tuple, played.messages))),
    }
    config = model.config
    is_likelihood = config.game_loss == "likelihood"
    few = config.number_of_messages <= config.enumeration_budget
    totals, likelihood = np.zeros(2), 0.0
    wants_likelihood = is_likelihood and (few or num_importance_samples)
    with in_evaluation_mode(model):
        for rows, batch in game_batches(games, collate, batch_size, model.device, "Scoring"):
            output = model(**batch, generator=row_generators(rows, seed))
            totals += [output.reconstruction.double().sum().item(), output.kl.double().sum().item()]
            if wants_likelihood:
                estimate = model.estimate_log_likelihood(
                    **batch, num_samples=max(num_importance_samples, 1), generator=row_generators(rows, seed + 1)
                )
                likelihood -= estimate.log_likelihood.sum().item()
    reconstruction, kl = (totals / len(games)).tolist()
    if not is_likelihood:
        return metrics | {"game_loss": reconstruction, "kl_nats_per_game": kl}
    metrics["bound"] = {"nats_per_game": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
    if wants_likelihood:
        samples = {} if few else {"num_samples": num_importance_samples}
        metrics["likelihood"] = {"nats_per_game": likelihood / len(games), "exact": few, **samples}
    return metrics
