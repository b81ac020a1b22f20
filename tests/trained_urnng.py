"""One URNNG trained by its recipe on a few sentences of the synthetic grammar, for all tests that need a finished run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hf_lvm.data import synthetic_grammar
from hf_lvm.training.urnng import main

SIZES = [
    "--encoder_hidden_size", "16", "--encoder_embedding_size", "16", "--decoder_hidden_size", "16", "--num_samples", "4",
    "--per_device_train_batch_size", "16", "--use_cpu", "true", "--disable_tqdm", "true", "--report_to", "none",
    "--learning_rate", "3e-2", "--logging_steps", "4", "--num_importance_samples", "5", "--epoch_samples", "2",
]  # fmt: skip


@dataclass(frozen=True)
class TrainedURNNG:
    """A finished run.

    Attributes:
        folder: its `output_dir`.
        data: the folder of its sentences.
        results: what `main` returned.
    """

    folder: Path
    data: Path
    results: dict[str, Any]


def write_sentences(folder: Path, count: int = 120) -> Path:
    """Sentences with gold trees: train, validation and test."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = synthetic_grammar.load("mixed", count)
    for split, rows in splits.items():
        lines = [json.dumps({"text": row["text"], "tree": row["tree"]}) for row in rows.select(range(min(64, len(rows))))]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def arguments(data: Path, folder: Path, *more: str) -> list[str]:
    """The command line of a run of seconds; what stands behind overrides."""
    return ["--data_dir", str(data), "--tree_column", "tree", "--output_dir", str(folder), *SIZES, *more]


@pytest.fixture(scope="session")
def trained_urnng(tmp_path_factory) -> TrainedURNNG:
    """An unsupervised run of four epochs, made once in a session. Nobody may write into its folder."""
    place = tmp_path_factory.mktemp("trained_urnng")
    data, folder = write_sentences(place / "data"), place / "run"
    return TrainedURNNG(folder, data, main(arguments(data, folder, "--num_train_epochs", "4"), "train_urnng.py"))
