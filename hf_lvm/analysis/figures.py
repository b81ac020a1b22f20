"""Pictures of a trained latent variable model: its latent map, its training curves, the KL of its dimensions.

Every function takes arrays or log entries, writes one PNG and returns its path. Figures are drawn without pyplot, so
no backend, window or global state is touched and they can be drawn from any thread.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA

# The colour-blind safe palette of Okabe and Ito, in the order in which neighbours differ most.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B")
INK, GREY, GRID = "#222222", "#9AA0A6", "#E6E8EB"
DOTS_PER_INCH = 160

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


def draw_latent_map(
    means: ArrayLike,
    path: str | Path,
    labels: Sequence | None = None,
    texts: Sequence[str] | None = None,
    num_annotations: int = 8,
) -> Path:
    """Draw the posterior means of a corpus in the plane, with a few of its sentences written beside their points.

    More than two dimensions are projected on their first two principal components.

    Args:
        means: (N, D) posterior means.
        path: PNG to write; folders are made as needed.
        labels: N classes, which choose the colours. Without them the colour is the number of words of `texts`.
        texts: N sentences; as many as fit of `num_annotations`, spread over the map, are written on it.
        num_annotations: at most so many sentences.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a path that is no PNG.
    """
    means = np.asarray(means, dtype=np.float64)
    if means.ndim != 2 or 0 in means.shape or not np.isfinite(means).all():
        raise ValueError(f"means must be finite numbers of shape (sentences, dimensions); they have {means.shape}")
    for name, column in (("labels", labels), ("texts", texts)):
        if column is not None and len(column) != len(means):
            raise ValueError(f"{name} has {len(column)} entries for {len(means)} rows of means; give one per row")
    points, axis_names = _project(means)
    figure = _figure(7.0, 5.0)
    axes = figure.add_subplot()
    _style(axes)
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    if means.shape[1] == 1:
        axes.set_yticks([])
    axes.margins(0.08)
    dots = {"s": float(np.clip(9000 / len(points), 7, 40)), "linewidths": 0, "alpha": 0.75, "zorder": 2}
    if labels is not None:
        for name, colour, chosen in _classes(labels):
            axes.scatter(*points[chosen].T, color=colour, label=name, **dots)
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, handletextpad=0.2, markerscale=1.5
        )
        for entry in legend.get_texts():
            entry.set_parse_math(False)
    elif texts is not None:
        lengths = np.array([len(text.split()) for text in texts])
        # One very long sentence must not spend the whole colour scale.
        top = max(float(np.percentile(lengths, 98)), float(lengths.min()) + 1)
        scale = ScalarMappable(Normalize(lengths.min(), top), "viridis_r")
        axes.scatter(*points.T, color=scale.to_rgba(lengths), **dots)
        extend = "max" if lengths.max() > top else "neither"
        bar = figure.colorbar(scale, ax=axes, fraction=0.045, pad=0.02, extend=extend)
        bar.set_label("words in the sentence", fontsize=9.5, color=INK)
        bar.ax.tick_params(labelsize=8.5, length=0, colors=INK)
        bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        bar.outline.set_visible(False)
    else:
        axes.scatter(*points.T, color=PALETTE[0], **dots)
    axes.set_title(f"Posterior means of {len(points):,} sentences", loc="left", fontsize=11.5, color=INK, pad=8)
    if texts is not None:
        annotate_points(axes, points, texts, num_annotations)
    return _save(figure, path)


def annotate_points(axes: Axes, points: np.ndarray, texts: Sequence[str], count: int, width: int = 34) -> list[Annotation]:
    """Write up to `count` texts beside their points so that no two overlap and none leaves the axes.

    The points are chosen far from one another, beginning in the middle.

    Args:
        axes: with its data drawn; its limits are frozen.
        points: (N, 2) in data coordinates.
        texts: N texts, cut at a word boundary after `width` characters.
        count: at most so many.

    Returns:
        What was drawn, possibly fewer than `count`.
    """
    figure = axes.figure
    figure.canvas.draw()  # the layout moves the axes, and overlap is a question of pixels
    axes.set_autoscale_on(False)
    renderer = figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    pixel = figure.dpi / 72  # per point of 1/72 inch
    pixels = axes.transData.transform(points)
    font = {"fontsize": 8.5, "parse_math": False}  # a sentence may hold dollar signs
    drawn, taken = [], []
    for index in _spread(pixels, 4 * count):
        mark = Bbox.from_bounds(*(pixels[index] - 5 * pixel), 10 * pixel, 10 * pixel)
        if len(drawn) == count or any(mark.overlaps(box) for box in taken):
            continue
        text = _shorten(texts[index], width)
        if not text:
            continue
        probe = figure.text(0, 0, text, **font)
        size = np.array(probe.get_window_extent(renderer).size)
        probe.remove()
        for anchor, offset in _places_around():
            corner = pixels[index] + pixel * np.array(offset) - anchor * size
            box = Bbox.from_bounds(*corner, *size).padded(3.5 * pixel)
            inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        else:
            continue
        taken += [mark, box]  # the next texts must leave the point visible too
        annotation = axes.annotate(
            text,
            xy=points[index],
            xytext=offset,
            textcoords="offset points",
            ha=("left", "center", "right")[round(2 * anchor[0])],
            va=("bottom", "center", "top")[round(2 * anchor[1])],
            color=INK,
            zorder=4,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#C9CDD2", "alpha": 0.93},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkB": 3, "relpos": tuple(anchor)},
            **font,
        )
        annotation.set_in_layout(False)
        axes.scatter(*points[index], s=34, facecolor="none", edgecolor=INK, linewidth=1.1, zorder=5)
        drawn.append(annotation)
    return drawn


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
    figure = _figure(3.4 * max(columns, 1.5), 2.55 * rows + 0.35)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    looks = {
        "training": {"color": PALETTE[0], "linewidth": 1.5, "markersize": 4},
        "evaluation": {"color": PALETTE[1], "linewidth": 1.5, "markersize": 4, "marker": "o"},
    }
    handles = {}
    for axes, (key, lines) in zip(grid.flat, curves.items(), strict=False):
        _style(axes)
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
    return _save(figure, path)


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
    figure = _figure(7.0, 3.6)
    axes = figure.add_subplot()
    _style(axes)
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
    return _save(figure, path)


def _project(means: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """(N, D) -> (N, 2) and what the two axes are."""
    count, size = means.shape
    if size == 1:
        # A latent on a line is spread evenly over the height, by the golden ratio, so that its density can be seen.
        height = (np.arange(count) * (math.sqrt(5) - 1) / 2) % 1
        return np.column_stack([means[:, 0], height]), ("latent", "")
    if size == 2:
        return means, ("latent dimension 0", "latent dimension 1")
    if count < 2:
        raise ValueError(f"a map of {size} dimensions needs at least two sentences; there is {count}")
    variance = means.var(axis=0, ddof=1).sum()
    with np.errstate(invalid="ignore"):  # a collapsed posterior has no variance to divide by, and a map all the same
        projection = PCA(n_components=2, svd_solver="full").fit(means)
    shares = projection.explained_variance_ / variance if variance > 0 else np.zeros(2)
    first, second = (f"principal component {k + 1} ({share:.0%} of the variance)" for k, share in enumerate(shares))
    return projection.transform(means), (first, second)


def _classes(labels: Sequence) -> list[tuple[str, str, np.ndarray]]:
    """Name, colour and mask of each class, the most frequent first; past the palette the rest are one grey class."""
    labels = np.asarray([str(label) for label in labels])
    names, counts = np.unique(labels, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")]
    own = names if len(names) <= len(PALETTE) else names[: len(PALETTE) - 1]
    classes = [(str(name), colour, labels == name) for name, colour in zip(own, PALETTE, strict=False)]
    if len(own) < len(names):
        classes.append((f"{len(names) - len(own)} others", GREY, ~np.isin(labels, own)))
    return classes


def _spread(points: np.ndarray, count: int) -> list[int]:
    """Indices of up to `count` distinct points, each as far as can be from those before it."""
    distance = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    chosen = [int(distance.argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)) and distance.max() > 0:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


def _places_around() -> list[tuple[np.ndarray, tuple[float, float]]]:
    """Where a text may stand beside its point, best first.

    Each is the corner of the text that is tied to the point, as shares of its width and height, and how far from the
    point that corner is, in points of 1/72 inch.
    """
    places = []
    for distance in (10, 20, 34, 52, 75):
        slant = 0.7 * distance
        places += [
            (np.array([0.0, 0.0]), (slant, slant)),
            (np.array([1.0, 0.0]), (-slant, slant)),
            (np.array([0.0, 1.0]), (slant, -slant)),
            (np.array([1.0, 1.0]), (-slant, -slant)),
            (np.array([0.5, 0.0]), (0, distance)),
            (np.array([0.5, 1.0]), (0, -distance)),
        ]
    return places


def _shorten(text: str, width: int) -> str:
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    cut = text[:width].rsplit(" ", 1)[0][: width - 1]
    return cut.rstrip(" ,;:.") + "…"


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _style(axes: Axes) -> None:
    axes.set_facecolor("white")
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#B0B5BB")
    axes.tick_params(length=0, labelsize=8.5, colors=INK)
    axes.xaxis.label.set(fontsize=9.5, color=INK)
    axes.yaxis.label.set(fontsize=9.5, color=INK)


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"figures are written as PNG; give a path that ends in .png instead of {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path
