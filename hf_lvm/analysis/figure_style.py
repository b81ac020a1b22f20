"""What all figures have in common: their colours, their axes, and how they are written."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# The colour-blind safe palette of Okabe and Ito, in the order in which neighbours differ most.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B")
INK, GREY, GRID = "#222222", "#9AA0A6", "#E6E8EB"
DOTS_PER_INCH = 160


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, drawn without pyplot."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes) -> None:
    """Give axes the looks of all figures: a light grid, no frame above and on the right."""
    axes.set_facecolor("white")
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#B0B5BB")
    axes.tick_params(length=0, labelsize=8.5, colors=INK)
    axes.xaxis.label.set(fontsize=9.5, color=INK)
    axes.yaxis.label.set(fontsize=9.5, color=INK)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG; folders are made as needed.

    Raises:
        ValueError: a path that does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"figures are written as PNG; give a path that ends in .png instead of {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path
