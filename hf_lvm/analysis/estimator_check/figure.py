"""Variance, bias, direction and time of estimators in one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from hf_lvm.analysis.estimator_check.row import EstimatorRow
from hf_lvm.analysis.figure_style import GREY, INK, PALETTE, new_figure, save_figure, style_axes

WIDTH, HEIGHT_OF_A_ROW, HEIGHT_OF_THE_REST = 3.2, 0.28, 1.1


def draw_estimators(rows: Sequence[EstimatorRow], path: str | Path) -> Path:
    """A line of four panels for each problem: variance, bias with its standard error, cosine of one estimate, time.

    Estimators that are biased by nature are grey; others that are off by more than chance orange.

    Args:
        rows: of `compare_estimators` or `check_model`; those without variance are left out.
        path: PNG to write; folders are made as needed.

    Raises:
        ValueError: no row with a variance, or a path that is no PNG.
    """
    rows = [row for row in rows if row.has_variance]
    if not rows:
        raise ValueError("There is no estimator with a variance to draw.")
    problems = list(dict.fromkeys(row.problem for row in rows))
    tallest = max(sum(row.problem == problem for row in rows) for problem in problems)
    figure = new_figure(1.4 + 4 * WIDTH, len(problems) * (HEIGHT_OF_THE_REST + HEIGHT_OF_A_ROW * tallest))
    panels: list[tuple[str, Callable[[Axes, Sequence[EstimatorRow]], None]]] = [
        ("variance of a draw / squared norm", _draw_variance),
        ("bias / norm (bar: by chance)", _draw_bias),
        ("cosine of a draw to the exact gradient", _draw_cosine),
        ("ms of a draw, forward and backward", _draw_time),
    ]
    grid = figure.subplots(len(problems), len(panels), squeeze=False)
    for line, problem in zip(grid, problems, strict=True):
        shown = sorted((row for row in rows if row.problem == problem), key=lambda row: -row.variance)
        for place, (axes, (label, draw)) in enumerate(zip(line, panels, strict=True)):
            style_axes(axes)
            draw(axes, shown)
            axes.set_yticks(range(len(shown)), [_name(row) for row in shown] if place == 0 else [""] * len(shown))
            axes.set_ylim(-0.6, len(shown) - 0.4)
            axes.grid(False, axis="y")
            axes.set_xlabel(label)
        line[0].set_title(problem, fontsize=10, color=INK, loc="left")
    return save_figure(figure, path)


def _name(row: EstimatorRow) -> str:
    if row.is_biased:
        return f"{row.label} (biased)"
    return f"{row.label} (off)" if row.is_off else row.label


def _colour(row: EstimatorRow) -> str:
    if row.is_biased:
        return GREY
    return PALETTE[1] if row.is_off else PALETTE[0]


def _bars(axes: Axes, rows: Sequence[EstimatorRow], values: Sequence[float], texts: Sequence[str]) -> None:
    for place, (row, value, text) in enumerate(zip(rows, values, texts, strict=True)):
        axes.barh(place, value, color=_colour(row), height=0.65)
        axes.text(max(value, 0.0), place, f" {text}", va="center", fontsize=7.5, color=INK)


def _draw_variance(axes: Axes, rows: Sequence[EstimatorRow]) -> None:
    values = [row.variance for row in rows]
    axes.set_xscale("log")
    _bars(axes, rows, values, [f"{value:.2g}" for value in values])
    axes.set_xlim(0.3 * min(values), 12 * max(values))


def _draw_bias(axes: Axes, rows: Sequence[EstimatorRow]) -> None:
    for place, row in enumerate(rows):
        axes.barh(place, row.standard_error, color="#E6E8EB", height=0.65)
        axes.plot(row.relative_bias, place, "o", color=_colour(row), markersize=4)
    axes.set_xlim(left=0)


def _draw_cosine(axes: Axes, rows: Sequence[EstimatorRow]) -> None:
    values = [row.cosine_of_one for row in rows]
    _bars(axes, rows, values, [f"{value:.2f}" for value in values])
    axes.set_xlim(min(0.0, *values), 1.2)


def _draw_time(axes: Axes, rows: Sequence[EstimatorRow]) -> None:
    values = [row.milliseconds for row in rows]
    _bars(axes, rows, values, [f"{value:.3g}" for value in values])
    axes.set_xlim(0, 1.25 * max(values))
