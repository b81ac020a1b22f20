"""The tables of recipes/struct_vae/README.md."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from table_rows import machine, read, several_or_one, table_head, table_row

RESULTS = Path(__file__).parent / "struct_vae" / "results"

# corpus -> its title and its rows: results, what it is, exact match as published (Yin et al. 2018; Yin and Neubig 2018)
CORPORA = {
    "atis": (
        "ATIS, anonymised lambda calculus",
        (
            ("atis_500_labels", "500 labels and nothing else", "63.2"),
            ("atis_500", "500 labels, word vectors of all utterances", ""),
            ("atis_500_self_training", "the same, then self-training", "65.3"),
            ("atis_500_struct_vae", "the same, then StructVAE", "66.0"),
            ("atis_500_struct_vae_extra", "500 labels, StructVAE, p(z) with extra meanings", ""),
            ("atis_1000", "1,000 labels", "74.6"),
            ("atis_1000_self_training", "1,000 labels, self-training", "74.2"),
            ("atis_1000_struct_vae", "1,000 labels, StructVAE", "75.7"),
            ("atis_all", "all labels", "85.3"),
        ),
    ),
    "geo": ("GeoQuery, anonymised lambda calculus", (("geo_all", "all labels", "88.6"),)),
    "django": (
        "Django",
        (
            ("django_1000", "1,000 labels", "49.9"),
            ("django_1000_struct_vae", "1,000 labels, StructVAE", "52.0"),
        ),
    ),
}
COLUMNS = (
    "row", "what", "exact match", "published", "any order and names", "among the best k", "token F1", "well-formed",
    "-log p(x), nats", "label seeds",
)  # fmt: skip
CONTROLS = {"nearest_neighbour": "nearest labelled utterance", "majority_template": "the usual meaning"}


def struct_vae_table(folder: Path = RESULTS) -> str:
    """For each corpus its rows with the controls of each below it; the demo; then what each was run on."""
    text, notes = "", []
    for title, rows in CORPORA.values():
        lines = table_head(COLUMNS)
        for name, what, published in rows:
            runs = _runs(folder, name)
            lines += _block(f"`{name}`", what, published, runs)
            notes += [_note(name, run) for run in runs]
        text += f"{title}, on the test split, each row with what needs no parser below it:\n\n" + "\n".join(lines) + "\n\n"
    text += _demo_table(folder)
    return text + "".join(f"- {note}\n" for note in notes)


def _runs(folder: Path, name: str) -> list[dict[str, Any]]:
    """Of `NAME.json` and `NAME_seed7.json`, by the seeds of their labels."""
    files = [*folder.glob(f"{name}.json"), *folder.glob(f"{name}_seed*.json")]
    runs = [read(file) for file in files]
    return sorted(runs, key=lambda run: (run["settings"]["label_seed"], run["settings"]["seed"]))


def _block(row: str, what: str, published: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    """A row, the mean over several seeds with each, and below it those of each control."""
    if not runs:
        return [table_row([row, what, "-", published, *["-"] * (len(COLUMNS) - 4)])]
    tests = [run["test"] for run in runs]
    nats = [test["likelihood"]["nats_per_sentence"] for test in tests if "likelihood" in test]
    has_decoder = all(run["settings"]["joint_weight"] or run["settings"]["unlabelled_weight"] for run in runs)
    seeds = ", ".join(str(run["settings"]["label_seed"]) for run in runs)
    likelihood = several_or_one(nats, 2) if nats and has_decoder else "-"
    lines = [table_row([row, what, *_cells([test["parsing"] for test in tests], published), likelihood, seeds])]
    for control, title in CONTROLS.items():
        lines.append(table_row(["", title, *_cells([test["controls"][control] for test in tests], ""), "", ""]))
    return lines


def _cells(scores: Sequence[dict[str, Any]], published: str) -> list[str]:
    """Exact match, as published, by the full rule, the oracle, token F1, well-formed."""
    depth = {len(each["oracle_at_k"]["published"]) for each in scores}
    oracle = several_or_one([each["oracle_at_k"]["published"][-1] for each in scores], 1) if depth != {1} else ""
    return [
        several_or_one([each["exact_match_published"] for each in scores], 1),
        published,
        several_or_one([each["exact_match_canonical"] for each in scores], 1),
        f"{oracle} (k = {max(depth)})" if oracle else "",
        several_or_one([each["token_f1"] for each in scores], 3),
        several_or_one([100 * each["well_formed"] for each in scores], 1) + "%",
    ]


def _demo_table(folder: Path) -> str:
    """The demo, each seed beside its controls: labels alone, and all lines."""
    runs = _runs(folder, "demo")
    if not runs:
        return ""
    head = (
        "seed", "token F1, labels alone", "all lines", *CONTROLS.values(), "exact match, labels alone", "all lines",
        "well-formed", "-ELBO, nats, labels alone", "all lines", "training, s",
    )  # fmt: skip
    lines = table_head(head)
    for run in runs:
        first, test = run["first_run"]["test"], run["test"]
        both = first["parsing"], test["parsing"]
        cells = [f"{each['token_f1']:.3f}" for each in (*both, *(test["controls"][name] for name in CONTROLS))]
        cells += [f"{each['exact_match_published']:.1f}" for each in both]
        cells.append(f"{min(each['well_formed'] for each in both):.1%}")
        cells += [f"{each['bound']['nats_per_sentence']:.2f}" for each in (first, test)]
        seconds = run["first_run"]["training_seconds"] + run["training_seconds"]
        lines.append(table_row([str(run["settings"]["seed"]), *cells, f"{seconds:.0f}"]))
    means = [statistics.mean(run["test"]["parsing"]["token_f1"] for run in runs)]
    means += [statistics.mean(run["first_run"]["test"]["parsing"]["token_f1"] for run in runs)]
    remark = f" {runs[0]['remark']}" if "remark" in runs[0] else ""
    return (
        f"`hf-lvm demo struct-vae`: {runs[0]['corpus']}; {runs[0]['settings']['num_labelled']:,} labels. On the test split:"
        "\n\n"
        + "\n".join(lines)
        + f"\n\nMean token F1 of {len(runs)} seeds: all lines {means[0]:.3f}, labels alone {means[1]:.3f}. "
        f"{runs[0]['hardware']}.{remark}\n\n"
    )


def _note(name: str, run: dict[str, Any]) -> str:
    parsing, counts = run["test"]["parsing"], run["prior_meanings"]
    note = (
        f"`{name}`, label_seed {run['settings']['label_seed']}, seed {run['settings']['seed']}: {run['corpus']}; "
        f"{run['steps']:,} steps, {run['training_seconds'] / 60:.0f} min on {machine(run)}; of {parsing['sentences']:,} "
        f"meanings {parsing['underivable']:,} cannot be written and count as wrong; p(z) may read {counts['labelled']:,} "
        f"labelled meanings, {counts['train']:,} other ones of train and {counts['extra']:,} extra ones, without "
        f"{counts['extra_held_out']:,} of held-out rows; {counts['test']:,} test rows have one of these"
    )
    left_out = sum(run["left_out"].values())
    note += f"; {left_out:,} rows left out whose meaning the language does not derive." if left_out else "."
    return f"{note} {run['remark']}" if "remark" in run else note
