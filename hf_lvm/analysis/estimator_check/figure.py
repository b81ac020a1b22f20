"""Bias and variance of estimators in one picture."""

from collections.abc import Sequence
from pathlib import Path

from hf_lvm.analysis.estimator_check.check import EstimatorRow
from hf_lvm.analysis.figure_style import GREY, INK, PALETTE, new_figure, save_figure, style_axes
from hf_lvm.estimators import ESTIMATORS


def draw_estimators(rows: Sequence[EstimatorRow], path: str | Path) -> Path:
    """One panel a problem: the variance of each estimator as a bar, the bias of the biased ones in words beside it.

    Args:
        rows: of `compare_estimators`; those without variance are left out.
        path: PNG to write; folders are made as needed.

    Raises:
        ValueError: no row with a variance, or a path that is no PNG.
    """
    rows = [row for row in rows if row.variance > 1e-12]
    if not rows:
        raise ValueError("There is no estimator with a variance to draw.")
    problems = list(dict.fromkeys(row.problem for row in rows))
    tallest = max(sum(row.problem == problem for row in rows) for problem in problems)
    figure = new_figure(4.4 * len(problems), 0.9 + 0.3 * tallest)
    for axes, problem in zip(figure.subplots(1, len(problems), squeeze=False)[0], problems, strict=True):
        style_axes(axes)
        shown = sorted((row for row in rows if row.problem == problem), key=lambda row: -row.variance)
        for place, row in enumerate(shown):
            biased = is_biased(row)
            axes.barh(place, row.variance, color=GREY if biased else PALETTE[0], height=0.65)
            remark = f" bias {row.relative_bias:.0%}" if biased else ""
            axes.text(row.variance, place, f" {row.variance:.2g}{remark}", va="center", fontsize=7.5, color=INK)
        axes.set_yticks(range(len(shown)), [label(row) for row in shown])
        axes.set_xscale("log")
        axes.set_xlim(right=axes.get_xlim()[1] * 30)
        axes.grid(False, axis="y")
        axes.set_title(problem, fontsize=10, color=INK)
        axes.set_xlabel("variance of one estimate / squared gradient norm")
    return save_figure(figure, path)


def is_biased(row: EstimatorRow) -> bool:
    """Whether an estimator is biased by its nature, whatever was measured."""
    return row.estimator is None or ESTIMATORS[row.estimator].biased


def label(row: EstimatorRow) -> str:
    """What a row is called in tables and figures."""
    return row.objective if row.estimator is None else row.estimator
