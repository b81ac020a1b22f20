"""Pictures of a trained latent variable model: its latent map, its training curves, the KL of its dimensions.

Every function takes arrays or log entries, writes one PNG and returns its path. Figures are drawn without pyplot, so
no backend, window or global state is touched and they can be drawn from any thread.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from hf_lvm.analysis.figure_style import GREY, INK, PALETTE, new_figure, save_figure, style_axes
from hf_lvm.analysis.latent_map import annotate_points, draw_latent_map

__all__ = ["annotate_points", "collect_curves", "draw_kl_per_dimension", "draw_latent_map", "draw_training_curves"]

# Log key -> (title of its panel, unit on its axis; none where it has no dimension), in the order of the panels.
CURVES = {
    "bound": ("Bound", "nats per sentence"),
    "loss": ("Loss", "nats per sentence"),
    "reconstruction": ("Reconstruction, −log p(x|z)", "nats per sentence"),
    "kl": ("KL(q(z|x) ‖ p(z))", "nats per sentence"),
    "kl_weight": ("KL weight", ""),
    "active_units": ("Active units", "dimensions"),
    "learning_rate": ("Learning rate", ""),
}


def draw_training_curves(log_history: Sequence[Mapping], path: str | Path) -> Path:
    """Draw what a run logged against its steps, one small panel per quantity, with evaluation beside training.

    Args:
        log_history: entries of `trainer.state.log_history` or of `trainer_state.json`. The keys of `CURVES` and the
            same with `eval_` in front are drawn, those that are missing are left out; `loss` is drawn only where no
            `bound` was logged.
        path: PNG to write; folders are made as needed.

    Raises:
        ValueError: nothing to draw, or a path that is no PNG.
    """
    curves = collect_curves(log_history)
    if not curves:
        raise ValueError(f"none of the {len(log_history)} log entries has a step and one of {', '.join(CURVES)}")
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = new_figure(3.4 * max(columns, 1.5), 2.55 * rows + 0.35)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    looks = {
        "training": {"color": PALETTE[0], "linewidth": 1.5, "markersize": 4},
        "evaluation": {"color": PALETTE[1], "linewidth": 1.5, "markersize": 4, "marker": "o"},
    }
    handles = {}
    for axes, (key, lines) in zip(grid.flat, curves.items(), strict=False):
        style_axes(axes)
        for name, (steps, values) in lines.items():
            look = {"marker": "o", **looks[name]} if len(steps) == 1 else looks[name]
            (handles[name],) = axes.plot(steps, values, **look)
        title, unit = CURVES[key]
        axes.set_title(title, loc="left", fontsize=10.5, color=INK)
        axes.set_ylabel(unit, fontsize=9)
        axes.set_xlabel("step", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=key == "active_units"))
        if key == "learning_rate":
            # matplotlib's own power of ten stands where the title is.
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e−"))
        if key in ("kl", "kl_weight", "active_units", "learning_rate") and axes.get_ylim()[1] > 0:
            axes.set_ylim(bottom=min(0.0, axes.dataLim.y0), top=1.08 * axes.dataLim.y1 or None)
    ordered = [name for name in looks if name in handles]
    if len(ordered) > 1:
        figure.legend(
            [handles[name] for name in ordered],
            ordered,
            loc="outside upper right",
            ncols=2,
            frameon=False,
            fontsize=9.5,
        )
    return save_figure(figure, path)


def collect_curves(log_history: Sequence[Mapping]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Sort log entries into lines: key of `CURVES` -> "training" or "evaluation" -> (steps, values).

    Values that are not finite are left out, and so is an earlier entry of a step that was logged again after a resume.
    """
    curves = {}
    for key in CURVES:
        lines = {}
        for name, logged in (("training", key), ("evaluation", f"eval_{key}")):
            values = {
                entry["step"]: float(entry[logged])
                for entry in log_history
                if "step" in entry and entry.get(logged) is not None and math.isfinite(float(entry[logged]))
            }
            if values:
                steps = sorted(values)
                lines[name] = (steps, [values[step] for step in steps])
        if lines:
            curves[key] = lines
    if "bound" in curves:
        curves.pop("loss", None)
    return curves


def draw_kl_per_dimension(kl_per_dimension: ArrayLike, path: str | Path, threshold: float = 0.01) -> Path:
    """Draw the KL of every latent dimension as bars, the largest first, and which of them carry information.

    The threshold is one on the KL; "active units" elsewhere are counted by the variance of the posterior mean, so the
    two numbers may differ.

    Args:
        kl_per_dimension: (D,) nats, or (N, D) to be averaged over N sentences.
        path: PNG to write; folders are made as needed.
        threshold: nats from which a dimension is drawn in colour.

    Raises:
        ValueError: another shape, values that are not finite, or a path that is no PNG.
    """
    kl = np.asarray(kl_per_dimension, dtype=np.float64)
    if kl.ndim not in (1, 2) or 0 in kl.shape or not np.isfinite(kl).all():
        raise ValueError(
            f"kl_per_dimension has shape {kl.shape}; finite numbers of shape (dimensions,) or "
            "(sentences, dimensions) are needed"
        )
    kl = kl.mean(axis=0) if kl.ndim == 2 else kl
    order = np.argsort(-kl, kind="stable")
    active = kl[order] >= threshold
    figure = new_figure(7.0, 3.6)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.grid(False, axis="x")
    ranks = np.arange(len(kl))
    axes.bar(ranks, kl[order], width=0.78, color=[PALETTE[0] if on else GREY for on in active], zorder=2)
    axes.axhline(
        threshold,
        color=PALETTE[1],
        linewidth=1.2,
        linestyle=(0, (4, 3)),
        zorder=3,
        label=f"{threshold:g} nats",
    )
    axes.legend(loc="upper right", edgecolor="none", framealpha=1, fontsize=9.5)  # sorted bars leave this corner free
    axes.set_xlim(-0.7, len(kl) - 0.3)
    axes.set_ylabel("KL, nats per sentence")
    if len(kl) <= 40:
        axes.set_xticks(ranks, [str(dimension) for dimension in order], fontsize=7.5)
        axes.set_xlabel("latent dimension, sorted")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("latent dimensions, sorted (rank)")
    axes.set_title(
        f"{int(active.sum())} of {len(kl)} dimensions carry at least {threshold:g} nats; {kl.sum():.1f} nats in all",
        loc="left",
        fontsize=11.5,
        color=INK,
        pad=8,
    )
    return save_figure(figure, path)
