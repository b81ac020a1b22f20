"""The latent map: the posterior means of a corpus in the plane, with some of its sentences beside their points."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from hf_lvm.analysis.figure_style import GREY, INK, PALETTE, new_figure, save_figure, style_axes

PROJECTIONS = ("pca", "tsne")
# With more points t-SNE takes minutes, and they hide one another.
MAX_TSNE_POINTS = 2000


def draw_latent_map(
    means: ArrayLike,
    path: str | Path,
    labels: Sequence | None = None,
    texts: Sequence[str] | None = None,
    num_annotations: int = 8,
    projection: str = "pca",
    seed: int = 0,
) -> Path:
    """Draw the posterior means of a corpus in the plane, with a few of its sentences written beside their points.

    Args:
        means: (N, D) posterior means.
        path: PNG to write; folders are made as needed.
        labels: N classes, which choose the colours. Without them the colour is the number of words of `texts`.
        texts: N sentences; as many as fit of `num_annotations`, spread over the map, are written on it.
        num_annotations: at most so many sentences.
        projection: how more than two dimensions come into the plane. "pca": the first two principal components, a linear map
            on which directions and distances mean something. "tsne": t-SNE (van der Maaten and Hinton 2008) of any number of
            dimensions, which shows who is beside whom and nothing else: sizes of groups and distances between them mean
            nothing. Its perplexity is 30, or (N - 1) / 3 where that is less; of more than 2,000 rows as many are drawn, spread
            evenly over the corpus.
        seed: of t-SNE.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a path that is no PNG, an unknown projection, or fewer
            than 4 rows for t-SNE.
    """
    means = np.asarray(means, dtype=np.float64)
    if means.ndim != 2 or 0 in means.shape or not np.isfinite(means).all():
        raise ValueError(f"means must be finite numbers of shape (sentences, dimensions); they have {means.shape}")
    for name, column in (("labels", labels), ("texts", texts)):
        if column is not None and len(column) != len(means):
            raise ValueError(f"{name} has {len(column)} entries for {len(means)} rows of means; give one per row")
    if projection not in PROJECTIONS:
        raise ValueError(f"there is no projection {projection!r}: choose one of {', '.join(PROJECTIONS)}")
    rows = _spread_rows(len(means), MAX_TSNE_POINTS if projection == "tsne" else len(means))
    labels, texts = ([column[row] for row in rows] if column is not None else None for column in (labels, texts))
    points, axis_names = _neighbours(means[rows], seed) if projection == "tsne" else _project(means)
    figure = new_figure(7.0, 5.0)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    if projection == "tsne":
        axes.set_xticks([])
    if projection == "tsne" or means.shape[1] == 1:
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
    drawn = f"{len(points):,}" if len(points) == len(means) else f"{len(points):,} of {len(means):,}"
    axes.set_title(f"Posterior means of {drawn} sentences", loc="left", fontsize=11.5, color=INK, pad=8)
    if texts is not None:
        annotate_points(axes, points, texts, num_annotations)
    return save_figure(figure, path)


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


def _spread_rows(count: int, most: int) -> np.ndarray:
    """At most so many of the numbers 0 to count - 1, evenly spread, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _neighbours(means: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, str]]:
    """(N, D) -> (N, 2) by t-SNE, and what the two axes are."""
    count = len(means)
    if count < 4:
        raise ValueError(f"t-SNE needs at least 4 sentences, and there are {count}: take projection='pca'")
    perplexity = min(30.0, (count - 1) / 3)
    names = (f"t-SNE, perplexity {perplexity:.3g}: only who is beside whom means something", "")
    spread = means.std(axis=0)
    if not spread.any():
        # A collapsed posterior: all are one point, which principal components cannot begin with.
        return np.zeros((count, 2)), names
    found = TSNE(perplexity=perplexity, init="pca" if means.shape[1] > 1 else "random", random_state=seed)
    # In units in which the largest spread is 1.
    return found.fit_transform(means / spread.max()).astype(np.float64), names


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
