"""Pictures of a learned language: what its positions and symbols say, how long its messages are, two lexicons together.

Every function takes arrays, writes one PNG and returns its path.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from hf_lvm.analysis.figure_style import GREY, GRID, INK, PALETTE, new_figure, save_figure, style_axes
from hf_lvm.metrics.language_structure.lexicon import Cooccurrence, Names

COLOURS = "Blues"
# More cells than these are too small for a number, more rows or columns too small for a name.
_NUMBERED, _MAX_FORMS, _MAX_VALUES = 144, 40, 48
_NAME_LENGTH = 18


def draw_position_information(shares: ArrayLike, path: str | Path, names: Names | None = None) -> Path:
    """Draw a heat map of how much each position of the messages says of each attribute.

    Args:
        shares: (T, A) I(symbol at the position; attribute) / H(attribute), 0-1: `position_information_share` of
            `compute_language_structure`.
        path: PNG to write; folders are made as needed.
        names: of the attributes.

    Raises:
        ValueError: another shape, numbers outside 0-1, or a path that is no PNG.
    """
    values = np.asarray(shares, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"shares has shape {values.shape}; numbers in 0-1 of shape (positions, attributes) are needed, such as "
            "position_information_share"
        )
    names = names or Names()
    labels = [names.attribute(number) for number in range(values.shape[1])]
    figure = new_figure(2.8 + 0.75 * values.shape[1], 1.6 + 0.36 * len(values))
    axes = figure.add_subplot()
    _heat_map(axes, values, [str(position) for position in range(len(values))], labels)
    axes.set_ylabel("position in the message")
    _title(axes, "What each position tells, I / H(attribute)")
    _colour_bar(figure, axes, "share of H(attribute)")
    return save_figure(figure, path)


def draw_message_lengths(lengths: ArrayLike, path: str | Path) -> Path:
    """Draw how many messages have each length.

    Args:
        lengths: (N,) symbols of each message, 0 for an empty one.
        path: PNG to write; folders are made as needed.

    Raises:
        ValueError: another shape, or a path that is no PNG.
    """
    counted = np.asarray(lengths)
    if counted.ndim != 1 or counted.size == 0 or counted.dtype.kind not in "iu" or counted.min() < 0:
        raise ValueError(f"lengths has shape {counted.shape} and holds {counted.dtype}; (messages,) whole numbers are needed")
    heights = np.bincount(counted)
    figure = new_figure(6.0, 3.4)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.grid(False, axis="x")
    axes.bar(np.arange(len(heights)), heights, width=0.8, color=PALETTE[0], zorder=2)
    axes.axvline(counted.mean(), color=PALETTE[1], linewidth=1.2, linestyle=(0, (4, 3)), zorder=3, label="mean")
    axes.legend(loc="best", edgecolor="none", framealpha=1, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlim(-0.7 if counted.min() == 0 else counted.min() - 0.7, len(heights) - 0.3)
    axes.set_xlabel("symbols in the message")
    axes.set_ylabel("messages")
    _title(axes, f"{len(counted):,} messages of {counted.mean():.2f} ± {counted.std():.2f} symbols")
    return save_figure(figure, path)


def draw_length_accuracy(rows: Sequence[Mapping[str, Any]], path: str | Path, chance: float | None = None) -> Path:
    """Draw how often messages of each length are understood, the area of a dot for how many there are.

    Args:
        rows: of [`hf_lvm.metrics.language_structure.communication.accuracy_by_length`].
        path: PNG to write; folders are made as needed.
        chance: accuracy of a guess, drawn as a line.

    Raises:
        ValueError: no row, or a path that is no PNG.
    """
    if not rows:
        raise ValueError("there is no row; accuracy_by_length makes one for each length")
    lengths, accuracies, counts = (np.array([row[key] for row in rows]) for key in ("length", "accuracy", "messages"))
    errors = np.array([row["standard_error"] or 0.0 for row in rows])
    figure = new_figure(6.0, 3.4)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.plot(lengths, accuracies, color=GREY, linewidth=1, zorder=2)
    axes.errorbar(lengths, accuracies, yerr=2 * errors, fmt="none", ecolor=PALETTE[0], elinewidth=1.2, zorder=3)
    axes.scatter(lengths, accuracies, s=15 + 185 * counts / counts.max(), color=PALETTE[0], linewidths=0, zorder=4)
    if chance is not None:
        axes.axhline(chance, color=PALETTE[1], linewidth=1.2, linestyle=(0, (4, 3)), zorder=1, label=f"chance {chance:.1%}")
        axes.legend(loc="best", edgecolor="none", framealpha=1, fontsize=9)
    axes.set_xlim(lengths.min() - 0.7, lengths.max() + 0.7)
    axes.set_ylim(-0.03, 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("symbols in the message")
    axes.set_ylabel("accuracy")
    _title(axes, "Messages understood, by their length (± 2 standard errors)")
    return save_figure(figure, path)


def draw_lexicon(counted: Cooccurrence, path: str | Path, names: Names | None = None, title: str = "Lexicon") -> Path:
    """Draw the matrix of symbols and values: P(value | form), a row a form.

    Forms stand by position and then by what they say most of, so that a code with a symbol for each value is a diagonal. Of
    more than 40 forms the most frequent ones are drawn, of more than 48 values those that some form says most of.

    Args:
        counted: of [`hf_lvm.metrics.language_structure.lexicon.cooccurrence`].
        path: PNG to write; folders are made as needed.
        names: of symbols, attributes and values.
        title: over the figure.

    Raises:
        ValueError: no form, a name that is missing, or a path that is no PNG.
    """
    matrix, forms, values, borders, note = _lexicon_matrix(counted, names or Names())
    figure = new_figure(2.6 + 0.3 * max(len(values), 8), 2.0 + 0.21 * max(len(forms), 6))
    axes = figure.add_subplot()
    _heat_map(axes, matrix, forms, values, borders)
    _title(axes, title + note)
    _colour_bar(figure, axes, "P(value | form)")
    return save_figure(figure, path)


def draw_two_lexicons(lexicons: Mapping[str, Cooccurrence], path: str | Path, names: Names | None = None) -> Path:
    """Draw two lexicons side by side, such as that of a compositional language and of one that is not.

    Args:
        lexicons: title -> counted forms, two of them, each drawn as in [`draw_lexicon`].
        path: PNG to write; folders are made as needed.
        names: of symbols, attributes and values, the same of both.

    Raises:
        ValueError: another number of lexicons, no form, a name that is missing, or a path that is no PNG.
    """
    if len(lexicons) != 2:
        raise ValueError(f"there are {len(lexicons)} lexicons; give two, as in {{'compositional': ..., 'not': ...}}")
    drawn = {title: _lexicon_matrix(counted, names or Names()) for title, counted in lexicons.items()}
    widest, longest = (max(len(parts[place]) for parts in drawn.values()) for place in (2, 1))
    figure = new_figure(3.4 + 0.56 * max(widest, 8), 2.0 + 0.21 * max(longest, 6))
    both = figure.subplots(1, 2)
    for axes, (title, (matrix, forms, values, borders, note)) in zip(both, drawn.items(), strict=True):
        _heat_map(axes, matrix, forms, values, borders)
        _title(axes, title + note)
    _colour_bar(figure, both, "P(value | form)")
    return save_figure(figure, path)


def _lexicon_matrix(counted: Cooccurrence, names: Names) -> tuple[np.ndarray, list[str], list[str], list[float], str]:
    """P(value | form) as it is drawn, names of its rows and columns, borders between attributes, what was left out."""
    if not counted.forms:
        raise ValueError("there is no form: all messages are empty, and nothing can be drawn of what they say")
    kept = counted.most_frequent(_MAX_FORMS)
    probabilities, differences = kept.probabilities(), kept.differences()
    columns = np.arange(len(kept.values))
    if len(columns) > _MAX_VALUES:
        columns = np.sort(np.argsort(-differences.max(0), kind="stable")[:_MAX_VALUES])
    best = differences[:, columns].argmax(1)
    positions = [form[0] if kept.unit == "position" else 0 for form in kept.forms]
    order = np.lexsort((best, positions))
    attributes = [kept.values[column][0] for column in columns]
    borders = [place - 0.5 for place in range(1, len(columns)) if attributes[place] != attributes[place - 1]]
    forms = [_shorten(names.form(kept.unit, kept.forms[row])) for row in order]
    values = [_shorten(_value_name(kept.values[column], names)) for column in columns]
    left_out = [
        f"{len(drawn)} of {len(there):,} {what}"
        for what, drawn, there in (("forms", forms, counted.forms), ("values", values, counted.values))
        if len(drawn) < len(there)
    ]
    note = f" ({', '.join(left_out)})" if left_out else ""
    return probabilities[np.ix_(order, columns)], forms, values, borders, note


def _value_name(value: tuple[int | None, Any], names: Names) -> str:
    attribute, number = value
    if attribute is None:
        return str(number)
    # A name says which attribute it belongs to, digits do not.
    return names.value(attribute, number) if names.values is not None else f"{names.attribute(attribute)}={number}"


def _heat_map(
    axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], borders: Sequence[float] = ()
) -> None:
    axes.imshow(values, cmap=COLOURS, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    axes.set_yticks(np.arange(len(rows)), rows)
    axes.set_xticks(np.arange(len(columns)), columns, rotation=90 if max(map(len, columns)) > 4 else 0)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color=GRID, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    for border in borders:
        axes.axvline(border, color=INK, linewidth=0.9)
    if values.size <= _NUMBERED:
        for (row, column), value in np.ndenumerate(values):
            if value >= 0.005:
                colour = "white" if value > 0.6 else INK
                number = axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
                number.set_in_layout(False)  # it lies within its cell, and the layout is found sooner


def _colour_bar(figure: Figure, axes: Axes | np.ndarray, label: str) -> None:
    bar = figure.colorbar(ScalarMappable(Normalize(0.0, 1.0), COLOURS), ax=axes, fraction=0.045, pad=0.02)
    bar.set_label(label, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, length=0, colors=INK)
    bar.outline.set_visible(False)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, color=INK, pad=8, parse_math=False)


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
