"""The rows of recipes/neural_hmm/README.md."""

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "neural_hmm" / "results"

# recipe, what it is
ROWS = (
    ("documentation", "the documentation of Python, no gold tags"),
    ("wsj_words", "Wall Street Journal words, 3,396 sentences, 45 gold tags"),
)
COLUMNS = (
    "recipe", "what", "split", "-log p(x), nats", "perplexity per word", "states used", "V-measure", "many-to-one",
    "one-to-one", "most frequent tag alone", "seeds",
)  # fmt: skip


def neural_hmm_table() -> str:
    """Two lines a recipe, one for each split; a dash where nothing was measured."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    notes = []
    for name, what in ROWS:
        files = sorted(file for file in RESULTS.glob(f"{name}*.json"))
        runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        if not runs:
            lines.append("| " + " | ".join([f"`{name}.yaml`", what, *["-"] * (len(COLUMNS) - 2)]) + " |")
        for split in ("test", "train") if runs else ():
            seeds = ", ".join(str(run["settings"]["seed"]) for run in runs)
            cells = _cells([run[split] for run in runs])
            lines.append("| " + " | ".join([f"`{name}.yaml`", what, split, *cells, seeds]) + " |")
        notes += [
            f"`{name}`, seed {run['settings']['seed']}: {run['corpus']}; {run['epochs']:.0f} epochs, "
            f"{run['training_seconds'] / 60:.0f} min on {run['hardware']}; torch {run['versions']['torch']}, transformers "
            f"{run['versions']['transformers']}.{' ' + run['remark'] if 'remark' in run else ''}"
            for run in runs
        ]
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else "")


def _cells(splits: list[dict[str, Any]]) -> list[str]:
    likelihoods = [split["likelihood"] for split in splits]
    cells = [
        _several(likelihoods, "nats_per_sentence", 2),
        _several(likelihoods, "word_perplexity", 1),
        _several([split["states"] for split in splits], "used", 0),
    ]
    if "tags" not in splits[0]:
        return [*cells, "-", "-", "-", "-"]
    tags = [split["tags"] for split in splits]
    scores = [_several(tags, key, 3) for key in ("v_measure", "many_to_one", "one_to_one")]
    return [*cells, *scores, f"{tags[0]['majority_share']:.3f}"]


def _several(records: list[dict[str, Any]], key: str, digits: int) -> str:
    """The value, or mean and each seed's value."""
    values = [record[key] for record in records]
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return each if len(values) == 1 else f"{statistics.mean(values):.{digits}f} ({each})"
