"""The tables of recipes/task_and_talk/README.md."""

from pathlib import Path
from typing import Any

from table_rows import read, table_head, table_row, versions

from hf_lvm.training.task_and_talk_trainer import NEXT_SEED

RESULTS = Path(__file__).parent / "task_and_talk" / "results"

# results (NAME.json), what it is, published accuracy on unseen objects: both values, at least one
SETTINGS = (
    ("minimal", "3 questions, 4 answers, no memory", "74.4", "94.9"),
    ("attribute_value", "3 questions, 12 answers", "38.5", "88.4"),
    ("overcomplete", "64 questions, 64 answers", "25.6", "79.5"),
)
# results, what is different from minimal.yaml
CHOICES = (
    ("minimal", "`minimal.yaml` as it is"),
    ("minimal_restart", "what has not solved the training objects begins anew, five times at most"),
    ("minimal_one_cycle", "one cycle of the entropies instead of three"),
    ("minimal_no_entropy", "no entropy of what is said"),
    ("minimal_published_scale", "first weights as published"),
    ("minimal_plain", "neither: plain exact-gradient ascent"),
    ("minimal_marginal_plain", "neither, `objective: marginal`"),
    ("minimal_marginal", "`objective: marginal`"),
    ("minimal_hard", "neither, 80% of the loss from objects not yet understood"),
    ("minimal_rloo", "score function: `rloo`, 4 dialogs"),
    ("minimal_straight_through", "`straight_through`"),
    ("minimal_published", "as published: sampled dialogs and guesses, reward 1 or -10, no baseline, 80% from hard objects"),
)
COLUMNS = (
    "row", "what", "runs", "at 99% of training", "training, %", "unseen, both values, of those at 99%, %",
    "of all runs, %", "at least one, all runs, %", "-log p(x), unseen, nats", "purity",
)  # fmt: skip


def task_and_talk_table(folder: Path = RESULTS) -> str:
    """The three published settings beside the published numbers, the choices of training, and what each row was made by."""
    lines = table_head([*COLUMNS[:2], "published both, %", "at least one, %", *COLUMNS[2:]])
    for name, what, both, some in SETTINGS:
        lines.append(table_row([f"`{name}.yaml`", what, both, some, *_cells(_read(folder, name))]))
    choices = [(name, what, run) for name, what in CHOICES if (run := _read(folder, name)) is not None]
    if choices:
        lines += ["", *table_head(COLUMNS)]
        lines += [table_row([f"`{name}`", what, *_cells(run)]) for name, what, run in choices]
    run = _read(folder, "minimal")
    if run is not None:
        lines += [
            "",
            "What answers mean behind each question in two runs of `minimal.yaml`, the one that is best on unseen objects and "
            "the worst: how many objects each answer is given about, and P(value \\| question, answer).",
            "",
            "```",
            *run["lexicon"],
            "```",
        ]
    names = dict.fromkeys(name for name, *_ in (*SETTINGS, *CHOICES))
    notes = [f"- {_note(name, run)}\n" for name in names if (run := _read(folder, name)) is not None]
    return "\n".join(lines) + "\n" + ("\n" + "".join(notes) if notes else "")


def _cells(run: dict[str, Any] | None) -> list[str]:
    if run is None:
        return ["-"] * (len(COLUMNS) - 2)
    solved = run["of_solved_runs"]
    return [
        str(run["num_runs"]),
        f"{run['solved_runs']} ({run['solved_runs'] / run['num_runs']:.0%})",
        _spread(run["all_runs"]["train_both"], 100, 1),
        _spread(solved["test_both"], 100, 1) if solved else "-",
        _spread(run["all_runs"]["test_both"], 100, 1),
        _spread(run["all_runs"]["test_any"], 100, 1),
        _spread(run["all_runs"]["test_nats"], 1, 2),
        _spread(run["all_runs"]["purity"], 1, 2),
    ]


def _spread(values: dict[str, float], times: float, digits: int) -> str:
    """Mean, standard deviation, and the range."""
    mean, deviation, smallest, largest = (
        f"{times * values[key]:.{digits}f}" for key in ("mean", "standard_deviation", "smallest", "largest")
    )
    return f"{mean} (SD {deviation}, {smallest} to {largest})"


def _note(name: str, run: dict[str, Any]) -> str:
    attempts = [each.get("attempts", 1) for each in run["runs"]]
    seeds = [each["seed"] - (times - 1) * NEXT_SEED for each, times in zip(run["runs"], attempts, strict=True)]
    anew = f" ({sum(attempts)} attempts, {max(attempts)} of a run at most)" if max(attempts) > 1 else ""
    text = (
        f"`{name}`: `{run['command']}`; {run['steps']} steps, {run['training_seconds'] / 60:.1f} min for {run['num_runs']} "
        f"runs of the seeds {seeds[0]} to {seeds[-1]}{anew} on {run['hardware']}; {run['corpus']}; {versions(run)}."
    )
    return text + (f" {run['remark']}" if "remark" in run else "")


def _read(folder: Path, name: str) -> dict[str, Any] | None:
    file = folder / f"{name}.json"
    return read(file) if file.exists() else None
