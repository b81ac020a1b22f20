"""The rows of recipes/latent_class/README.md."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "latent_class" / "results"
COLUMNS = (
    "run", "-log p(x), nats", "with one class", "perplexity per word", "KL", "I(x; z), nats", "classes used",
    "class perplexity", "seed",
)  # fmt: skip


def latent_class_table() -> str:
    """A line for each file of results, on the test split; what it was run on below."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    notes = []
    for file in sorted(RESULTS.glob("*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        lines.append("| " + " | ".join([f"`{run['command']}`", *_cells(run), str(run["settings"]["seed"])]) + " |")
        notes.append(
            f"- `{file.stem}`: {run['corpus']}; {run['steps']:,} steps in {run['training_seconds']:.0f} s on "
            f"{run['hardware']}; torch {run['versions']['torch']}, transformers {run['versions']['transformers']}."
        )
    return "\n".join(lines) + "\n\n" + "\n".join(notes) + "\n"


def _cells(run: dict[str, Any]) -> list[str]:
    test, comparison = run["test"], run.get("comparison")
    likelihood, usage = test["likelihood"], test["usage"]
    return [
        f"{likelihood['nats_per_sentence']:.2f}{'' if likelihood['exact'] else ' (importance-weighted)'}",
        f"{comparison['language_model_nats_per_sentence']:.2f}" if comparison else "-",
        f"{likelihood['word_perplexity']:.1f}",
        f"{test['kl_nats_per_sentence']:.2f}",
        ", ".join(f"{value:.2f}" for value in usage["mutual_information"]),
        ", ".join(f"{value} of {usage['classes']}" for value in usage["used_classes"]),
        ", ".join(f"{value:.1f}" for value in usage["aggregate_perplexity"]),
    ]
