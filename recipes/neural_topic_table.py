"""The rows of recipes/neural_topic/README.md."""

from pathlib import Path
from typing import Any

from table_rows import machine, read, several, table_head, table_row

RESULTS = Path(__file__).parent / "neural_topic" / "results"

NAMES = {"neural": "`NeuralTopicModel`", "lda": "scikit-learn LDA"}
PARTS = (
    ("documentation", "as it stands"),
    ("documentation_without_start", "without `start_from_documents`"),
    ("documentation_start_alone", "the start alone, no training"),
)
PARTS_TITLE = "What the start is worth, on the test documents; perplexity by importance weighting with 100 samples:"
COLUMNS = ("topics", "model", "chosen settings", "searched", "NPMI", "diversity", "completion perplexity", "seeds")


def neural_topic_table() -> str:
    """A line a model and number of topics: mean and each seed on the test documents; then the search."""
    lines = table_head(COLUMNS)
    searches, notes = [], []
    for file in sorted(RESULTS.glob("comparison*.json")):
        run = read(file)
        topics = run["settings"]["num_topics"]
        for model in ("neural", "lda"):
            rows = run["test"][model]
            cells = [
                str(topics), NAMES[model], _settings(run["chosen"][model]), str(len(run["search"][model])),
                several([row["npmi"] for row in rows], 3), several([row["diversity"] for row in rows], 3),
                several([row["completion_perplexity"] for row in rows], 0),
                ", ".join(str(row["seed"]) for row in rows),
            ]  # fmt: skip
            lines.append(table_row(cells))
            searches += [
                f"| {topics} | {NAMES[model]} | {_settings(row['settings'])} | {row['npmi']:.3f} | {row['diversity']:.3f} | "
                f"{row['completion_perplexity']:.0f} | {row['seconds']:.0f} |"
                for row in run["search"][model]
            ]
        notes.append(
            f"- {topics} topics: {run['corpus']}; {run['vocabulary']:,} words; {run['training_seconds'] / 60:.0f} min in all "
            f"on {machine(run)}, scikit-learn {run['versions']['scikit-learn']}."
        )
    parts = [
        "| `documentation.yaml` | NPMI | diversity | -ELBO, nats | perplexity per word | seed |",
        "|---|---|---|---|---|---|",
    ]
    for name, what in PARTS:
        run = read(RESULTS / f"{name}.json")
        coherence, bound, likelihood = (run["test"][key] for key in ("topics", "bound", "log_likelihood"))
        parts.append(
            f"| {what} | {coherence['npmi']:.3f} | {coherence['diversity']:.3f} | {bound['nats_per_document']:.2f} | "
            f"{likelihood['word_perplexity']:,.0f} | {run['settings']['seed']} |"
        )
    head = [
        "| topics | model | settings | NPMI | diversity | completion perplexity | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    return (
        "\n".join(
            [
                *lines,
                "",
                *notes,
                "",
                PARTS_TITLE,
                "",
                *parts,
                "",
                "The search, on the validation documents:",
                "",
                *head,
                *searches,
            ]
        )
        + "\n"
    )


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
