"""What a learned language is like: its structure beside chance, its lexicon, its figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hf_lvm.analysis.lexicon_drawing import (
    draw_length_accuracy,
    draw_lexicon,
    draw_message_lengths,
    draw_position_information,
)
from hf_lvm.analysis.report_table import Row
from hf_lvm.metrics.language_structure.language_structure import SCORES, compute_language_structure
from hf_lvm.metrics.language_structure.lexicon import Cooccurrence, Names, cooccurrence, lexicon_rows, lexicon_table
from hf_lvm.metrics.language_structure.messages import Messages, meaning_table, message_table

# Values that a lexicon keeps of each form; lines of a lexicon in a text.
BEST_VALUES, MAX_FORMS = 5, 100
# So many different messages can still be read one by one.
_FEW_MESSAGES = 100


@dataclass(frozen=True)
class LanguageReport:
    """A language measured on N messages.

    Attributes:
        metrics: of `compute_language_structure`, for `results.json`.
        lexicons: `position`, `symbol`, and `message` where there are at most 100 different ones: the rows of `lexicon_rows`,
            with the best values of each form, for JSON. Empty where meanings are vectors and no `lexicon_meanings` were given.
        counted: the same units, forms and values counted, for figures.
        lengths: (N,) symbols of each message.
        names: of symbols, attributes and values.
    """

    metrics: dict[str, Any]
    lexicons: dict[str, list[dict[str, Any]]]
    counted: dict[str, Cooccurrence]
    lengths: np.ndarray
    names: Names


def report_language(
    messages: Messages,
    meanings: Sequence | ArrayLike,
    logits: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    correct: ArrayLike | None = None,
    *,
    lexicon_meanings: Sequence | ArrayLike | None = None,
    contexts: Sequence | ArrayLike | None = None,
    names: Names | None = None,
    min_count: int = 1,
    **options,
) -> LanguageReport:
    """Measure a language and make its lexicon.

    Args:
        messages, meanings, logits, targets, correct: see
            [`hf_lvm.metrics.language_structure.language_structure.compute_language_structure`].
        lexicon_meanings: what the lexicon says symbols mean, where it is not `meanings`: (N, A) attributes, such as clusters
            of vectors, or N lists of words.
        contexts: N, see [`hf_lvm.metrics.language_structure.lexicon.lexicon_rows`].
        names: of symbols, attributes and values.
        min_count: pairs of a form and a value that fewer messages have are left out of the lexicon.
        options: further ones of `compute_language_structure`: distances, `max_pairs`, `num_permutations`, `seed`.

    Raises:
        ValueError: see `compute_language_structure` and `lexicon_rows`.
    """
    table, names = message_table(messages), names or Names()
    metrics = compute_language_structure(table, meanings, logits, targets, correct, **options)
    lexicons: dict[str, list[dict[str, Any]]] = {}
    counted: dict[str, Cooccurrence] = {}
    if lexicon_meanings is None and metrics["meaning_type"] == "attributes":
        lexicon_meanings = meaning_table(meanings, len(table), "attributes")[0]
    if lexicon_meanings is not None:
        units = ["position", "symbol"] + (["message"] if metrics["distinct_messages"] <= _FEW_MESSAGES else [])
        counted = {unit: cooccurrence(table, lexicon_meanings, unit) for unit in units}
        lexicons = {
            unit: lexicon_rows(
                table, lexicon_meanings, unit, contexts=contexts, names=names, min_count=min_count, most=BEST_VALUES
            )
            for unit in units
        }
    return LanguageReport(metrics, lexicons, counted, table.lengths, names)


def language_report_rows(metrics: dict[str, Any], names: Names | None = None) -> list[Row]:
    """One row an instrument, in the order accuracy, structure, information, lengths.

    Args:
        metrics: of `compute_language_structure`.
        names: of the attributes.
    """
    names = names or Names()
    return [*_accuracy(metrics), *_structure(metrics), *_information(metrics, names), *_lengths(metrics)]


def language_text(report: LanguageReport) -> str:
    """The report for people: its rows, and below them its lexicons."""
    rows = language_report_rows(report.metrics, report.names)
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name.ljust(widths[0])}  {value.rjust(widths[1])}  {remark}".rstrip() for name, value, remark in rows]
    titles = {"position": "Symbols at positions", "symbol": "Symbols anywhere", "message": "Whole messages"}
    for unit, own in report.lexicons.items():
        if own:
            lines += ["", f"{titles[unit]}, what they go with at least 1.3 times as often as all messages do, best first", ""]
            lines.append(lexicon_table(own, max_forms=MAX_FORMS))
    return "\n".join(lines)


def write_language_report(report: LanguageReport, folder: str | Path) -> list[Path]:
    """Write `lexicon.txt` and `figures/*.png` into a folder: whatever the report has something to show of.

    Returns:
        Paths of what was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lexicon.txt").write_text(language_text(report) + "\n", encoding="utf-8")
    metrics, figures = report.metrics, folder / "figures"
    paths = [folder / "lexicon.txt", draw_message_lengths(report.lengths, figures / "message_lengths.png")]
    if metrics["accuracy_by_length"]:
        path = figures / "length_accuracy.png"
        paths.append(draw_length_accuracy(metrics["accuracy_by_length"], path, metrics["chance"]))
    if metrics["position_information_share"]:
        path = figures / "position_information.png"
        paths.append(draw_position_information(metrics["position_information_share"], path, report.names))
    for unit, title in (("position", "Symbols at positions"), ("symbol", "Symbols anywhere in a message")):
        if unit in report.counted and report.counted[unit].forms:
            paths.append(draw_lexicon(report.counted[unit], figures / f"lexicon_{unit}.png", report.names, title))
    return paths


def side_by_side(texts: dict[str, str], gap: int = 4) -> str:
    """Texts of several lines in columns, each under its title, such as the lexicons of two runs."""
    blocks = [[title, "-" * len(title), *text.splitlines()] for title, text in texts.items()]
    widths = [max(map(len, block)) for block in blocks]
    height = max(map(len, blocks))
    padded = [
        [line.ljust(width) for line in block + [""] * (height - len(block))]
        for block, width in zip(blocks, widths, strict=True)
    ]
    return "\n".join((" " * gap).join(lines).rstrip() for lines in zip(*padded, strict=True))


def _accuracy(metrics: dict[str, Any]) -> Iterator[Row]:
    if metrics["accuracy"] is None:
        return
    chance = "" if metrics["chance"] is None else f"; chance {metrics['chance']:.1%}"
    yield "accuracy", f"{metrics['accuracy']:.1%}", f"of {metrics['messages']:,} messages{chance}"


def _structure(metrics: dict[str, Any]) -> Iterator[Row]:
    pairs = f"{metrics['message_distance']} of messages against {metrics['meaning_distance']} of meanings"
    remarks = (
        f"rank correlation over {metrics['pairs']:,} pairs, {pairs}",
        "does each position tell one attribute",
        "does each symbol tell one attribute, wherever it stands",
    )
    for name, remark in zip(SCORES, remarks, strict=True):
        title = name.replace("_", " ").replace("bag of symbols", "bag-of-symbols")
        if metrics[name] is None:
            yield title, "-", metrics["undefined"][name]
            continue
        chance = (metrics["permuted"] or {}).get(name)
        if chance is not None:
            spread = "" if chance["standard_deviation"] is None else f" ± {chance['standard_deviation']:.3f}"
            remark += f"; with messages permuted {chance['mean']:.3f}{spread}"
        yield title, f"{metrics[name]:.3f}", remark


def _information(metrics: dict[str, Any], names: Names) -> Iterator[Row]:
    yield (
        "entropy of messages",
        f"{metrics['message_entropy']:.2f} nats",
        f"at most log N = {metrics['message_entropy_ceiling']:.2f}; by Miller and Madow "
        f"{metrics['message_entropy_miller_madow']:.2f}; {metrics['distinct_messages']:,} different ones of "
        f"{metrics['distinct_symbols']:,} symbols",
    )
    yield (
        "  I(message; meaning)",
        f"{metrics['meaning_information']:.2f} nats",
        f"of H = {metrics['meaning_entropy']:.2f}; {metrics['unique_message_share']:.1%} of "
        f"{metrics['distinct_meanings']:,} meanings have messages of their own",
    )
    if metrics["attribute_entropy"] is None:
        return
    positions = np.asarray(metrics["position_information"]).reshape(-1, len(metrics["attribute_entropy"]))
    for number, (information, entropy) in enumerate(
        zip(metrics["attribute_information"], metrics["attribute_entropy"], strict=True)
    ):
        share = metrics["attribute_information_share"][number]
        most = ""
        if positions[:, number].max(initial=0.0) > 0:
            best = int(positions[:, number].argmax())
            most = f"; position {best} alone {positions[best, number]:.2f}"
        yield f"  I(message; {names.attribute(number)})", f"{information:.2f} nats", f"of H = {entropy:.2f}, {share:.1%}{most}"


def _lengths(metrics: dict[str, Any]) -> Iterator[Row]:
    empty = f"; {metrics['empty_messages']:,} empty" if metrics["empty_messages"] else ""
    yield (
        "length of messages",
        f"{metrics['mean_length']:.2f}",
        f"± {metrics['length_standard_deviation']:.2f} over messages, {metrics['shortest']} to {metrics['longest']}{empty}",
    )
