"""The rows of recipes/latent_class/README.md: runs of recipes, and the estimators side by side."""

from pathlib import Path
from typing import Any

from table_rows import machine, read, several, table_head, table_row

RESULTS = Path(__file__).parent / "latent_class" / "results"
COLUMNS = (
    "run", "-log p(x), nats", "with one class", "perplexity per word", "KL", "I(x; z), nats", "classes used",
    "class perplexity", "seed",
)  # fmt: skip
ESTIMATOR_COLUMNS = (
    "row", "`objective`", "`estimator`", "values of z", "-log p(x), nats", "perplexity per word", "-ELBO of q, nats", "KL",
    "I(x; z) by q", "I(x; z) by Bayes", "seconds", "ms an update",
)  # fmt: skip
WRITER_COLUMNS = (
    "labels", "seed", "temperature", "as asked", "negative, positive", "judge right on real text", "distinct-2, real",
    "self-BLEU, real",
)  # fmt: skip
# Points of a curve that are printed.
QUARTERS = 4


def latent_class_table(folder: Path = RESULTS) -> str:
    """A line for each file of results, on the test split, and what it was run on; then each comparison of several rows."""
    results = {file: read(file) for file in sorted(folder.glob("*.json"))}
    lines = table_head(COLUMNS)
    notes, comparisons = [], []
    for file, run in results.items():
        if "trials" in run:
            comparisons.append(_few_labels(file, run))
            continue
        if "rows" in run:
            comparisons.append(_comparison(file, run))
            continue
        lines.append(table_row([f"`{run['command']}`", *_cells(run), str(run["settings"]["seed"])]))
        notes.append(
            f"- `{file.stem}`: {run['corpus']}; {run['steps']:,} steps in {run['training_seconds']:.0f} s on {machine(run)}."
        )
    return "\n".join([*lines, "", *notes, "", *"\n".join(comparisons).splitlines()]).rstrip() + "\n"


def _cells(run: dict[str, Any]) -> list[str]:
    test, comparison = run["test"], run.get("comparison")
    likelihood, usage = test["likelihood"], test["usage"]
    # A number where all variables have as many.
    classes = usage["classes"] if isinstance(usage["classes"], list) else [usage["classes"]] * len(usage["used_classes"])
    return [
        f"{likelihood['nats_per_sentence']:.2f}{'' if likelihood['exact'] else ' (importance-weighted)'}",
        f"{comparison['language_model_nats_per_sentence']:.2f}" if comparison else "-",
        f"{likelihood['word_perplexity']:.1f}",
        f"{test['kl_nats_per_sentence']:.2f}",
        ", ".join(f"{value:.2f}" for value in usage["mutual_information"]),
        ", ".join(f"{value} of {count}" for value, count in zip(usage["used_classes"], classes, strict=True)),
        ", ".join(f"{value:.1f}" for value in usage["aggregate_perplexity"]),
    ]


def _comparison(file: Path, run: dict[str, Any]) -> str:
    """What every estimator came to on the test split, then how its likelihood went on the validation split."""
    settings, rows = run["settings"], run["rows"]
    of_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        of_name.setdefault(row["name"], []).append(row)
    curve = rows[0]["curve"]
    shown = [round(quarter * (len(curve) - 1) / QUARTERS) for quarter in range(1, QUARTERS + 1)]
    points = ["row", *(f"after {curve[place]['step']:,}" for place in shown)]
    lines = [
        f"`{file.stem}`: the estimators side by side, on the test split.",
        "",
        *table_head(ESTIMATOR_COLUMNS),
        *(table_row(_estimator_cells(name, own)) for name, own in of_name.items()),
        "",
        f"-log p(x) in nats of {settings['validation_sentences']} validation sentences after so many updates:",
        "",
        *table_head(points),
    ]
    for name, own in of_name.items():
        cells = [several([row["curve"][place]["nats_per_sentence"] for row in own], 2) for place in shown]
        lines.append(table_row([f"`{name}`", *cells]))
    lines.append("")
    picture = file.with_suffix(".png")
    if picture.exists():
        lines += [f"![The same against updates and against seconds](results/{picture.name})", ""]
    numbers = sorted({row["seed"] for row in rows})
    seeds = f"seeds {', '.join(map(str, numbers))}, the mean and each" if len(numbers) > 1 else f"seed {numbers[0]}"
    lines.append(
        f"`{run['command']}`; {run['corpus']}; {rows[0]['steps']:,} updates of {settings['per_device_train_batch_size']} "
        f"sentences, {settings['num_samples']} values of z where they are sampled, {run['training_seconds'] / 60:.0f} min of "
        f"training in all on {machine(run)}; {seeds}."
    )
    return "\n".join(lines) + "\n"


def _few_labels(file: Path, run: dict[str, Any]) -> str:
    """Accuracy of every row on the test split by the number of labels, and what the decoders write."""
    rows, writers, trials = run["rows"], run["writers"], run["trials"]
    numbers = sorted({row["labels"] for row in rows})
    names = list(dict.fromkeys(row["row"] for row in rows))
    lines = [
        f"`{file.stem}`: accuracy on the test split, the mean over seeds and each; and how many trainings on the validation "
        "split the settings were chosen by.",
        "",
        table_row(["row", *(f"{number:,} labels" for number in numbers), "trainings"]),
        "|" + "---|" * (len(numbers) + 2),
    ]
    for name in names:
        for key, by in (("accuracy", ""), ("accuracy_by_bayes", ", by Bayes' rule")):
            cells = []
            for number in numbers:
                own = [row for row in rows if row["row"] == name and row["labels"] == number and key in row]
                cells.append(several([row[key] for row in own], 4) if own else "-")
            if any(cell != "-" for cell in cells):
                counts = [sum(one["row"] == name and one["labels"] == number for one in trials) for number in numbers]
                lines.append(table_row([f"`{name}`{by}", *cells, ", ".join(map(str, counts))]))
    chosen = {(row["row"], row["labels"]): row["settings"] for row in rows}
    told = "; ".join(f"`{name}` {number:,}: {_shown(settings)}" for (name, number), settings in chosen.items())
    lines += ["", f"Settings that were chosen: {told}."]
    if writers:
        lines += ["", "What decoders write when asked for a sentiment, as a judge has it that was trained on all labels:", ""]
        lines += table_head(WRITER_COLUMNS)
        lines += [table_row(_writer_cells(writer)) for writer in writers]
    minutes = f"{run['training_seconds'] / 60:.0f} min of training in all"
    lines += ["", f"`{run['command']}`; {run['corpus']}; {minutes} on {machine(run)}."]
    return "\n".join(lines) + "\n"


def _shown(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _writer_cells(writer: dict[str, Any]) -> list[str]:
    written, real = writer["written"], writer["real"]
    return [
        f"{writer['labels']:,}",
        str(writer["seed"]),
        f"{writer['temperature']:g}",
        f"{writer['as_asked']:.3f}",
        ", ".join(f"{share:.3f}" for share in writer["as_asked_of_class"]),
        f"{writer['judge_on_test']:.4f}",
        f"{written['distinct_2']:.3f}, {real['distinct_2']:.3f}",
        f"{written['self_bleu']:.1f}, {real['self_bleu']:.1f}",
    ]


def _estimator_cells(name: str, rows: list[dict[str, Any]]) -> list[str]:
    def bound(row: dict[str, Any]) -> float:
        return row["test"]["likelihood"]["nats_per_sentence"] + row["test"]["inference_gap"]

    test = rows[0]["test"]
    has_encoder, has_classes = "by_encoder" in test, "by_bayes" in test
    by = "by_encoder" if has_encoder else "by_bayes"
    return [
        f"`{name}`",
        rows[0]["objective"] if has_classes else "-",
        (rows[0]["estimator"] or "-") if has_classes else "-",
        str(rows[0]["scored_latents"]),
        several([row["test"]["likelihood"]["nats_per_sentence"] for row in rows], 2),
        several([row["test"]["likelihood"]["word_perplexity"] for row in rows], 1),
        several([bound(row) for row in rows], 2) if has_encoder else "-",
        several([row["test"][by]["kl_nats_per_sentence"] for row in rows], 2) if has_classes else "-",
        several([row["test"]["by_encoder"]["mutual_information"] for row in rows], 2) if has_encoder else "-",
        several([row["test"]["by_bayes"]["mutual_information"] for row in rows], 2) if has_classes else "-",
        several([row["seconds"] for row in rows], 0),
        several([1000 * row["median_seconds_per_step"] for row in rows], 0),
    ]
