"""Figures: the right numbers on them, nothing overlapping, and no trouble with what real runs hand over."""

import itertools
import math
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from hf_lvm.analysis.figures import (
    annotate_points,
    collect_curves,
    draw_kl_per_dimension,
    draw_latent_map,
    draw_training_curves,
)
from hf_lvm.analysis.latent_map import _neighbours, _spread_rows

SENTENCES = [f"sentence number {k} costs $5 and {'many ' * (k % 7)}words, with $ and _under_scores_" for k in range(60)]
pytestmark = pytest.mark.filterwarnings("error")


def cloud(size: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, size))


def colours(path) -> set[tuple[int, int, int]]:
    """Colours that cover at least 40 pixels, as 0-255."""
    red, green, blue = np.moveaxis((imread(path)[..., :3] * 255).round().astype(int), -1, 0)
    values, counts = np.unique(red << 16 | green << 8 | blue, return_counts=True)
    return {(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in values[counts >= 40]}


BLUE, VERMILION, GREY = (0, 114, 178), (213, 94, 0), (154, 160, 166)


@pytest.mark.parametrize("size", [1, 2, 16])
def test_latent_maps_of_any_size_are_drawn(size, tmp_path):
    path = draw_latent_map(cloud(size), tmp_path / "new" / "map.png", texts=SENTENCES)
    assert path == tmp_path / "new" / "map.png"
    height, width = imread(path).shape[:2]
    assert (width, height) == (1120, 800)
    assert len(colours(path)) > 20  # the colour scale of sentence lengths


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_a_collapsed_posterior_can_be_looked_at(projection, tmp_path):
    assert draw_latent_map(np.zeros((60, 8)), tmp_path / "map.png", texts=SENTENCES, projection=projection).exists()


def test_tsne_keeps_neighbours_and_its_seed_decides(tmp_path):
    groups = np.repeat(np.arange(3), 12)
    means = 20 * np.eye(3)[groups] + 0.1 * cloud(3, 36)
    points, (name, _) = _neighbours(means, seed=1)
    distance = np.linalg.norm(points[:, None] - points, axis=-1) + 1e9 * np.eye(36)
    assert (groups[distance.argmin(1)] == groups).all() and "perplexity 11.7" in name
    assert np.array_equal(points, _neighbours(means, seed=1)[0])
    line, _ = _neighbours(means[:, :1], seed=1)
    assert not np.array_equal(line, _neighbours(means[:, :1], seed=2)[0])
    paths = [draw_latent_map(means, tmp_path / f"{k}.png", labels=groups, projection="tsne", seed=1) for k in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_tsne_draws_no_more_points_than_can_be_seen():
    assert _spread_rows(60, 2000).tolist() == list(range(60)) and _spread_rows(1, 9).tolist() == [0]
    rows = _spread_rows(5000, 2000)
    assert len(set(rows)) == 2000 and rows[0] == 0 and rows[-1] == 4999 and set(np.diff(rows)) == {2, 3}


def test_maps_that_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match="at least 4 sentences, and there are 3.*pca"):
        draw_latent_map(cloud(3, 3), tmp_path / "map.png", projection="tsne")
    with pytest.raises(ValueError, match="no projection 'umap'.*pca, tsne"):
        draw_latent_map(cloud(3), tmp_path / "map.png", projection="umap")


def test_labels_choose_the_colours(tmp_path):
    path = draw_latent_map(cloud(2, 600), tmp_path / "map.png", labels=["$yes_", "no"] * 300)
    inked = {colour for colour in colours(path) if max(colour) - min(colour) > 60}
    # Dots are translucent over white, so the palette is compared by hue.
    assert any(red < green < blue for red, green, blue in inked)
    assert any(red > green > blue for red, green, blue in inked)


def test_more_classes_than_colours_share_one_grey(tmp_path):
    labels = [f"class {k % 30}" for k in range(60)]
    assert draw_latent_map(cloud(3), tmp_path / "map.png", labels=labels, texts=SENTENCES).exists()


def test_annotations_overlap_neither_each_other_nor_the_frame():
    figure = Figure(figsize=(7, 5), dpi=160)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = cloud(2, 200)
    axes.scatter(*points.T)
    annotations = annotate_points(axes, points, SENTENCES * 4, count=12)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [annotation.get_bbox_patch().get_window_extent(renderer) for annotation in annotations]
    frame = axes.get_window_extent(renderer)
    assert len(boxes) >= 6
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 <= box.y1 <= frame.y1 for box in boxes)
    assert all(len(annotation.get_text()) <= 34 for annotation in annotations)
    where = {tuple(point): text for point, text in zip(points, SENTENCES * 4, strict=False)}
    for annotation in annotations:
        assert where[tuple(annotation.xy)].startswith(annotation.get_text().rstrip("…"))
    marks = axes.transData.transform([annotation.xy for annotation in annotations])
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    assert isinstance(annotations[0], Text)


def test_a_long_word_is_cut_and_an_empty_sentence_is_left_out():
    figure = Figure(figsize=(7, 5), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    axes.scatter(*points.T)
    (annotation,) = annotate_points(axes, points, ["w" * 90, " "], count=5, width=20)
    assert annotation.get_text() == "w" * 19 + "…"


def log_of_a_run() -> list[dict]:
    log = [
        {"step": step, "loss": 9.0, "bound": -90.0 + step, "kl": step / 10, "kl_weight": 1.0, "learning_rate": 1e-3}
        for step in range(10, 60, 10)
    ]
    log.insert(3, {"step": 30, "eval_bound": -55.0, "eval_kl": 2.5, "eval_runtime": 1.0})
    return [*log, {"step": 50, "train_runtime": 3.0}]


def test_curves_are_collected_by_quantity_and_split():
    curves = collect_curves(log_of_a_run())
    assert list(curves) == ["bound", "kl", "kl_weight", "learning_rate"]
    assert curves["bound"] == {
        "training": ([10, 20, 30, 40, 50], [-80, -70, -60, -50, -40]),
        "evaluation": ([30], [-55]),
    }
    assert list(curves["kl_weight"]) == ["training"]


def test_curves_leave_out_nan_and_keep_the_entry_after_a_resume():
    log = [{"step": 1, "kl": 1.0}, {"step": 2, "kl": math.nan}, {"step": 3, "kl": 5.0}, {"step": 3, "kl": 4.0}]
    assert collect_curves([*log, {"step": 4, "kl": None}])["kl"]["training"] == ([1, 3], [1.0, 4.0])
    assert list(collect_curves([{"step": 1, "loss": 2.0}])) == ["loss"]


def test_training_curves_draw_training_and_evaluation(tmp_path):
    path = draw_training_curves(log_of_a_run(), tmp_path / "curves.png")
    assert {BLUE, VERMILION} <= colours(path)
    only_training = [entry for entry in log_of_a_run() if "eval_bound" not in entry]
    assert VERMILION not in colours(draw_training_curves(only_training, tmp_path / "training.png"))


@pytest.mark.parametrize(
    "log",
    [
        [{"step": 1, "loss": 3.0}],
        [{"step": 5, "eval_kl": 0.0}],
        [{"step": k, "active_units": 0, "learning_rate": 0.0, "kl_weight": 0} for k in range(3)],
    ],
)
def test_short_and_flat_logs_are_drawn(log, tmp_path):
    assert draw_training_curves(log, tmp_path / "curves.png").exists()


def test_a_log_without_curves_says_so(tmp_path):
    with pytest.raises(ValueError, match="none of the 1 log entries has a step and one of bound"):
        draw_training_curves([{"step": 3, "train_runtime": 1.0}], tmp_path / "curves.png")


def test_bars_are_grey_below_the_threshold(tmp_path):
    assert GREY in colours(draw_kl_per_dimension([1.0, 0.5, 0.3, 0.2], tmp_path / "some.png", threshold=0.4))
    assert GREY not in colours(draw_kl_per_dimension([1.0, 0.5, 0.3, 0.2], tmp_path / "all.png"))
    assert BLUE not in colours(draw_kl_per_dimension([0.1, 0.1], tmp_path / "none.png", threshold=0.2))


def test_bars_of_rows_are_bars_of_their_mean(tmp_path):
    rows = np.abs(cloud(50, 20))
    of_rows = draw_kl_per_dimension(rows, tmp_path / "rows.png")
    of_mean = draw_kl_per_dimension(rows.mean(0), tmp_path / "mean.png")
    assert of_rows.read_bytes() == of_mean.read_bytes()


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"means must be finite numbers .* \(60,\)"):
        draw_latent_map(np.zeros(60), tmp_path / "map.png")
    with pytest.raises(ValueError, match="labels has 2 entries for 60 rows"):
        draw_latent_map(cloud(2), tmp_path / "map.png", labels=["a", "b"])
    with pytest.raises(ValueError, match="at least two sentences"):
        draw_latent_map(cloud(3, 1), tmp_path / "map.png")
    with pytest.raises(ValueError, match="kl_per_dimension has shape"):
        draw_kl_per_dimension([math.nan], tmp_path / "kl.png")
    with pytest.raises(ValueError, match=r"ends in .png instead of '.*kl.pdf'"):
        draw_kl_per_dimension([1.0], tmp_path / "kl.pdf")
    assert not list(tmp_path.iterdir())


def test_figures_are_drawn_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would raise
    assert draw_kl_per_dimension([1.0], tmp_path / "kl.png").exists()
    assert draw_training_curves(log_of_a_run(), tmp_path / "curves.png").exists()
    assert draw_latent_map(cloud(3), tmp_path / "map.png", texts=SENTENCES).exists()
