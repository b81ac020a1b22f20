"""The tables of recipes/latent_summarizer/README.md."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from table_rows import machine, read, runs_of, several_or_one, table_head, table_row

RESULTS = Path(__file__).parent / "latent_summarizer" / "results"

# results, what it is
ROWS = (
    ("google_supervised", "all labels"),
    ("google_supervised_exact", "8,000 labels with exact masks"),
    ("google_1000_alone", "1,000 labels alone"),
    ("google_1000", "1,000 labels and texts without, of weight .05"),
    ("google_1000_heavy", "1,000 labels and texts without, of weight 1"),
    ("google_10000_alone", "10,000 labels alone"),
    ("google_10000", "10,000 labels and texts without, of weight .05"),
    ("google_unsupervised", "no labels"),
)
COLUMNS = (
    "row", "what", "length", "token F1", "ROUGE-1", "ROUGE-2", "ROUGE-L", "ratio", "nats explained a word", "seeds",
)  # fmt: skip
SCORES = (("token_f1", 3), ("rouge1", 2), ("rouge2", 2), ("rougeL", 2))
# A line of controls under each row: those of the same number of words in each sentence, and those of none.
CONTROLS = {"first_k": "first words, as many", "random_k": "random words, as many", "keep_all": "the whole text"}
# Sets of other domains, with what their scores are.
OTHERS = {
    "broadcast": "Broadcast news, mean of 3 references",
    "bnc": "British National Corpus",
    "duc2004": "DUC-2004, mean of 4 references",
    "gigaword": "Gigaword",
}


def latent_summarizer_table(folder: Path = RESULTS) -> str:
    """Each row of the Google corpus with its controls below it; other domains; the demo; then what each was run on."""
    lines = table_head(COLUMNS)
    others, notes = [], []
    for name, what in _known_rows(folder):
        runs = runs_of(folder, name)
        if not runs:
            lines.append(table_row([f"`{name}`", what, *["-"] * (len(COLUMNS) - 2)]))
            continue
        seeds = ", ".join(str(run["settings"]["seed"]) for run in runs)
        for way in runs[0]["test"]["compression"]:
            scores = [run["test"]["compression"][way] for run in runs]
            lines += _block(f"`{name}`", what, way, scores, seeds, _has_decoder(runs[0]))
        notes += [_note(name, run) for run in runs]
        others += _other_domains(folder, name, what)
    text = "On the test split, each row with what costs nothing below it:\n\n" + "\n".join(lines) + "\n"
    if others:
        head = ("set", *COLUMNS)
        text += "\nOn texts of other domains, the same models:\n\n"
        text += "\n".join([*table_head(head), *others]) + "\n"
    text += _demo_table(folder)
    return text + ("\n" + "\n".join(f"- {note}" for note in notes) + "\n" if notes else "")


def _known_rows(folder: Path) -> list[tuple[str, str]]:
    """The rows above, and any other results by their names."""
    known = {name for name, _ in ROWS}
    stems = (file.stem for file in sorted(folder.glob("*.json")))
    found = dict.fromkeys(stem.partition("_seed")[0].removesuffix("_others") for stem in stems)
    return [*ROWS, *((name, "") for name in found if name not in known and name != "demo")]


def _other_domains(folder: Path, name: str, what: str) -> list[str]:
    """Of `NAME_others.json` and `NAME_seed7_others.json`, that recipes/latent_summarizer/out_of_domain.py wrote."""
    files = sorted([*folder.glob(f"{name}_others.json"), *folder.glob(f"{name}_seed*_others.json")])
    runs = [read(file) for file in files]
    # The seed of a draw in evaluation says nothing of the model: it is in the name of the file.
    seeds = ", ".join(file.stem.removesuffix("_others").partition("_seed")[2] or "-" for file in files)
    lines, has_decoder = [], all(map(_has_decoder, runs_of(folder, name)))
    for key, title in OTHERS.items():
        measured = [run["sets"][key]["compression"] for run in runs if key in run["sets"]]
        for way in measured[0] if measured else ():
            block = _block(f"`{name}`", what, way, [each[way] for each in measured], seeds, has_decoder)
            lines += [table_row([title if place == 0 else ""]) + line[1:] for place, line in enumerate(block)]
    return lines


def _has_decoder(run: dict[str, Any]) -> bool:
    """Whether anything but q(c|x) was trained: otherwise what a decoder makes of compressions says nothing."""
    return any(run["settings"].get(key, 1.0) for key in ("unlabelled_weight", "joint_weight"))


def _block(row: str, what: str, way: str, scores: Sequence[dict[str, Any]], seeds: str, has_decoder: bool) -> list[str]:
    """A row of scores of several seeds, and below it those of each control."""
    explained = [each["explained_nats_per_word"] for each in scores] if has_decoder else []
    recall = [each["rouge1_recall"] for each in scores if "rouge1_recall" in each]
    remark = f"; ROUGE-1 recall of {scores[0]['limit_bytes']} bytes {several_or_one(recall, 2)}" if recall else ""
    lines = [table_row([row, what, way + remark, *_cells(scores), several_or_one(explained, 2) if explained else "-", seeds])]
    for control, title in CONTROLS.items():
        own = [each["controls"][control] for each in scores]
        recall = [each["rouge1_recall"] for each in own if "rouge1_recall" in each]
        remark = f"; recall {several_or_one(recall, 2)}" if recall else ""
        lines.append(
            table_row(["", title, f"{way}{remark}" if control != "keep_all" else remark.lstrip("; "), *_cells(own), "", ""])
        )
    return lines


def _cells(scores: Sequence[dict[str, Any]]) -> list[str]:
    cells = [several_or_one([each[key] for each in scores], digits) for key, digits in SCORES]
    return [*cells, several_or_one([each["compression_ratio"] for each in scores], 3)]


def _demo_table(folder: Path) -> str:
    """The demo, each seed beside its controls."""
    runs = runs_of(folder, "demo")
    if not runs:
        return ""
    lines = [
        f"`hf-lvm demo latent-summarizer`: {runs[0]['corpus']}. ROUGE-1 with the summary lines of the test split:",
        "",
        "| seed | words | found | first words, as many | random words, as many | whole text | nats explained a word | "
        "-log p(x), nats | training, s |",
        "|" + "---|" * 9,
    ]
    for run in runs:
        for way, scores in run["test"]["compression"].items():
            controls = " | ".join(f"{scores['controls'][control]['rouge1']:.2f}" for control in CONTROLS)
            lines.append(
                f"| {run['settings']['seed']} | {way} | {scores['rouge1']:.2f} | {controls} | "
                f"{scores['explained_nats_per_word']:.2f} | {run['test']['likelihood']['nats_per_sentence']:.2f} | "
                f"{run['training_seconds']:.0f} |"
            )
    remark = f" {runs[0]['remark']}" if "remark" in runs[0] else ""
    ways = runs[0]["test"]["compression"]
    means = "; ".join(f"{way} {_mean_gain(runs, way):+.2f} over as many first words" for way in ways)
    return "\n" + "\n".join(lines) + f"\n\nMean of {len(runs)} seeds: {means}. {runs[0]['hardware']}.{remark}\n"


def _mean_gain(runs: Sequence[dict[str, Any]], way: str) -> float:
    return statistics.mean(run["test"]["compression"][way]["gain_over_first_k"]["rouge1"] for run in runs)


def _note(name: str, run: dict[str, Any]) -> str:
    scores = next(iter(run["test"]["compression"].values()))
    note = (
        f"`{name}`, seed {run['settings']['seed']}: {run['corpus']}; {run['epochs']:.0f} epochs, "
        f"{run['training_seconds'] / 60:.0f} min on {machine(run)}; words by {scores['words']}, references have "
        f"{scores['reference_compression_ratio']:.3f} of the words of {scores['sentences']:,} texts."
    )
    return f"{note} {run['remark']}" if "remark" in run else note
