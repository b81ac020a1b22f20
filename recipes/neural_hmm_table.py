"""The rows of recipes/neural_hmm/README.md."""

from pathlib import Path
from typing import Any

from table_rows import machine, read, several, table_head, table_row

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
    lines = table_head(COLUMNS)
    notes = []
    for name, what in ROWS:
        runs = [read(file) for file in sorted(RESULTS.glob(f"{name}*.json"))]
        if not runs:
            lines.append(table_row([f"`{name}.yaml`", what, *["-"] * (len(COLUMNS) - 2)]))
        for split in ("test", "train") if runs else ():
            seeds = ", ".join(str(run["settings"]["seed"]) for run in runs)
            cells = _cells([run[split] for run in runs])
            lines.append(table_row([f"`{name}.yaml`", what, split, *cells, seeds]))
        notes += [
            f"`{name}`, seed {run['settings']['seed']}: {run['corpus']}; {run['epochs']:.0f} epochs, "
            f"{run['training_seconds'] / 60:.0f} min on {machine(run)}.{' ' + run['remark'] if 'remark' in run else ''}"
            for run in runs
        ]
    return "\n".join(lines) + "\n" + ("\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else "")


def _cells(splits: list[dict[str, Any]]) -> list[str]:
    likelihoods = [split["likelihood"] for split in splits]
    cells = [
        several([each["nats_per_sentence"] for each in likelihoods], 2),
        several([each["word_perplexity"] for each in likelihoods], 1),
        several([split["states"]["used"] for split in splits], 0),
    ]
    if "tags" not in splits[0]:
        return [*cells, "-", "-", "-", "-"]
    tags = [split["tags"] for split in splits]
    scores = [several([each[key] for each in tags], 3) for key in ("v_measure", "many_to_one", "one_to_one")]
    return [*cells, *scores, f"{tags[0]['majority_share']:.3f}"]
