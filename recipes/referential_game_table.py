"""The tables of recipes/referential_game/README.md."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from table_rows import machine, runs_of, table_head, table_row

RESULTS = Path(__file__).parent / "referential_game" / "results"

# objects -> title, and rows: results (NAME.json, or NAME_seed1.json and so on), what it is
GAMES = {
    "attributes": (
        "Combinations of attributes",
        (
            ("attributes_entropy", "straight-through"),
            ("attributes_rloo_entropy", "score function, four messages of each object"),
            ("attributes_straight_through", "straight-through, no worth of entropy"),
            ("attributes_gumbel_softmax", "soft Gumbel-softmax, no worth of entropy"),
            ("attributes_rloo", "score function, no worth of entropy"),
            ("attributes_fixed", "straight-through, no worth of entropy, all messages of six symbols"),
            ("attributes_fixed_4", "straight-through, all of four"),
            ("attributes_fixed_3", "straight-through, all of three"),
            ("attributes_fixed_2", "straight-through, all of two"),
        ),
    ),
    "text_latents": (
        "Sentences, as the latent of a text VAE",
        (
            ("text_latents_straight_through", "straight-through"),
            ("text_latents_state", "straight-through, the object in the first state alone"),
            ("text_latents_state_rloo", "score function, four messages of each object, likewise"),
            ("text_latents_state_long", "straight-through, likewise, twice the steps"),
            ("text_latents_state_entropy", "straight-through, likewise, a nat of entropy worth .03"),
        ),
    ),
}
COLUMNS = (
    "row", "what", "accuracy, %", "guessing, %", "symbols a message", "different messages", "-log p(x\\|m), nats",
    "KL, nats", "topographic similarity", "posdis", "bosdis", "seeds",
)  # fmt: skip
STRUCTURE = ("topographic_similarity", "positional_disentanglement", "bag_of_symbols_disentanglement")
LEXICON_LINES = 16


def referential_game_table(folder: Path = RESULTS) -> str:
    """For each kind of object its rows; accuracy by length; two lexicons side by side; what each run was on."""
    text, notes, lengths, lexicons = "", [], [], []
    for title, rows in GAMES.values():
        lines = table_head(COLUMNS)
        for name, what in rows:
            runs = runs_of(folder, name)
            lines.append(_line(name, what, runs))
            notes += [_note(name, run) for run in runs]
            lengths += [_lengths(name, runs)] if runs else []
            lexicons += [(name, run) for run in runs if "position" in run.get("lexicon", {})]
        text += f"{title}, unseen objects, among others that are unseen:\n\n" + "\n".join(lines) + "\n\n"
    if lengths:
        text += _length_table(lengths)
    text += _lexicons([(name, run) for name, run in lexicons if run["settings"]["objects"] == "attributes"])
    return text + "".join(f"- {note}\n" for note in notes)


def _line(name: str, what: str, runs: Sequence[dict[str, Any]]) -> str:
    if not runs:
        return table_row([f"`{name}`", what, *["-"] * (len(COLUMNS) - 2)])
    tests = [run["test"] for run in runs]
    bounds = [test["bound"] for test in tests if "bound" in test]
    cells = [
        _mean_and_deviation([100 * test["accuracy"] for test in tests], 1),
        f"{100 * tests[0]['chance']:.1f}",
        _mean_and_deviation([test["mean_length"] for test in tests], 2),
        _mean_and_deviation([test["distinct_messages"] for test in tests], 0),
        _mean_and_deviation([bound["reconstruction"] for bound in bounds], 2) if bounds else "-",
        _mean_and_deviation([bound["kl"] for bound in bounds], 1) if bounds else "-",
    ]
    for score in STRUCTURE:
        values = [run["language"][score] for run in runs if run["language"][score] is not None]
        cells.append(_mean_and_deviation(values, 3) if values else "-")
    return table_row([f"`{name}`", what, *cells, ", ".join(str(run["settings"]["seed"]) for run in runs)])


def _lengths(name: str, runs: Sequence[dict[str, Any]]) -> tuple[str, dict[int, tuple[int, float]]]:
    """Over all seeds, of each length the messages and their accuracy."""
    found: dict[int, tuple[int, float]] = {}
    for run in runs:
        for row in run["language"]["accuracy_by_length"] or ():
            count, right = found.get(row["length"], (0, 0.0))
            found[row["length"]] = count + row["messages"], right + row["messages"] * row["accuracy"]
    return name, {length: (count, right / count) for length, (count, right) in sorted(found.items())}


def _length_table(rows: Sequence[tuple[str, dict[int, tuple[int, float]]]]) -> str:
    lengths = sorted({length for _, own in rows for length in own})
    if not lengths:
        return ""
    head = ["symbols", *map(str, lengths)]
    lines = table_head(head)
    for name, own in rows:
        cells = [f"{100 * own[length][1]:.1f}% of {own[length][0]:,}" if length in own else "" for length in lengths]
        lines.append(table_row([f"`{name}`", *cells]))
    return (
        "Games that are won by the length of the message, seen and unseen objects, all seeds:\n\n" + "\n".join(lines) + "\n\n"
    )


def _lexicons(runs: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The most and the least compositional language of attributes, by topographic similarity, side by side."""
    from hf_lvm.analysis.language_report import side_by_side

    scored = [(run["language"][STRUCTURE[0]], name, run) for name, run in runs if run["language"][STRUCTURE[0]] is not None]
    if len(scored) < 2:
        return ""
    scored.sort(key=lambda each: each[0])
    texts = {}
    for score, name, run in (scored[-1], scored[0]):
        title = f"{name}, seed {run['settings']['seed']}: {score:.3f}, accuracy {run['test']['accuracy']:.1%}"
        texts[title] = "\n".join(run["lexicon"]["position"][: LEXICON_LINES + 1])
    return (
        "The most and the least compositional of these languages, by topographic similarity. symbol@position, in how many "
        "messages, and attribute=value with its share of them, best first:\n\n```\n" + side_by_side(texts) + "\n```\n\n"
    )


def _note(name: str, run: dict[str, Any]) -> str:
    return (
        f"`{name}`, seed {run['settings']['seed']}: {run['corpus']}; {run['steps']:,} steps, "
        f"{run['training_seconds'] / 60:.0f} min on {machine(run)}; accuracy of messages that are drawn "
        f"{run['test']['sampled_accuracy']:.1%}."
        f"{' ' + run['remark'] if 'remark' in run else ''}"
    )


def _mean_and_deviation(values: Sequence[float], digits: int) -> str:
    """The value, or mean, standard deviation, and each seed's value."""
    each = ", ".join(f"{value:,.{digits}f}" for value in values)
    if len(values) == 1:
        return each
    return f"{statistics.mean(values):,.{digits}f} ± {statistics.stdev(values):.{digits}f} ({each})"
