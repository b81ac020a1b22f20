"""Reports and figures of languages whose structure is known."""

import itertools
import json
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from hf_lvm.analysis.language_report import (
    language_report_rows,
    language_text,
    report_language,
    side_by_side,
    write_language_report,
)
from hf_lvm.analysis.lexicon_drawing import (
    draw_length_accuracy,
    draw_lexicon,
    draw_message_lengths,
    draw_position_information,
    draw_two_lexicons,
)
from hf_lvm.metrics.language_structure.language_structure import compute_language_structure
from hf_lvm.metrics.language_structure.lexicon import Names, cooccurrence, lexicon_rows, lexicon_table

pytestmark = pytest.mark.filterwarnings("error")
MEANINGS = np.array(list(itertools.product(range(4), repeat=3)))
MESSAGES = [[a, 4 + b, 8 + c][: 3 if c else 2] for a, b, c in MEANINGS]
NAMES = Names(
    ["colour", "shape", "$style_"],
    [
        ["red", "green", "blue", "purple"],
        ["square", "triangle", "circle", "star"],
        ["dotted", "solid", "filled", "$5 dashed_"],
    ],
    "abcdefghijkl",
)
DARK, LIGHT = (8, 48, 107), (247, 251, 255)  # the ends of the colour scale


def rows_of(report) -> dict[str, tuple[str, str]]:
    return {name.strip(): (value, remark) for name, value, remark in language_report_rows(report.metrics, report.names)}


def cells(path) -> tuple[int, int]:
    """Pixels of a heat map that are certain, and those that are impossible."""
    image = (imread(path)[..., :3] * 255).round().astype(int)
    return tuple(int((image == np.array(colour)).all(-1).sum()) for colour in (DARK, LIGHT))


def test_the_report_of_a_compositional_language():
    report = report_language(MESSAGES, MEANINGS, correct=np.arange(64) < 48, names=NAMES)
    assert report.metrics == compute_language_structure(MESSAGES, MEANINGS, correct=np.arange(64) < 48)
    assert report.lengths.tolist() == [len(message) for message in MESSAGES]
    assert set(report.lexicons) == set(report.counted) == {"position", "symbol", "message"}
    assert [row["value"] for row in report.lexicons["position"] if row["pmi"] > 0] == list(itertools.chain(*NAMES.values))
    assert len(json.loads(json.dumps(report.lexicons))["message"]) == 64 * 3
    rows = rows_of(report)
    assert rows["accuracy"] == ("75.0%", "of 64 messages")
    for name in ("topographic similarity", "positional disentanglement", "bag-of-symbols disentanglement"):
        assert rows[name][0] == "1.000" and "with messages permuted 0.0" in rows[name][1]
    assert rows["I(message; shape)"] == ("1.39 nats", "of H = 1.39, 100.0%; position 1 alone 1.39")
    assert rows["length of messages"] == ("2.75", "± 0.43 over messages, 2 to 3")
    text = language_text(report)
    assert "(ended)@2     16  $style_=dotted 1.00" in text and "Whole messages" in text


def test_numbers_of_lengths_and_candidates():
    meanings = [[0, 0], [0, 1], [1, 0], [1, 1]]
    rows = rows_of(report_language([[], [1], [2], [2]], meanings, np.eye(4), np.arange(4)))
    assert rows["accuracy"] == ("100.0%", "of 4 messages; chance 25.0%")
    assert rows["length of messages"][1] == "± 0.43 over messages, 0 to 1; 1 empty"
    assert rows["I(message; meaning)"][1] == "of H = 1.39; 50.0% of 4 meanings have messages of their own"
    without = rows_of(report_language([[], [1], [2], [2]], meanings, num_permutations=0))
    assert "accuracy" not in without and "permuted" not in str(without)


def test_a_language_that_says_nothing_is_reported_and_drawn(tmp_path):
    for messages, figures in (([[]] * 4, 1), ([[7]] * 4, 4)):
        report = report_language(messages, [[0, 0], [0, 1], [1, 0], [1, 1]])
        assert rows_of(report)["topographic similarity"] == ("-", "all messages are the same")
        assert rows_of(report)["I(message; attribute 0)"] == ("0.00 nats", "of H = 0.69, 0.0%")
        assert sum(path.suffix == ".png" for path in write_language_report(report, tmp_path)) == figures


def test_vectors_take_their_lexicon_from_words(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(64, 5))
    report = report_language(MESSAGES, vectors)
    assert report.lexicons == {} and rows_of(report)["positional disentanglement"][0] == "-"
    assert [path.name for path in write_language_report(report, tmp_path)] == ["lexicon.txt", "message_lengths.png"]
    words = [["the", NAMES.values[0][a], NAMES.values[1][b]] for a, b, _ in MEANINGS]
    report = report_language(MESSAGES, vectors, lexicon_meanings=words, names=NAMES, min_count=2)
    assert "a@0           16  red 1.00" in language_text(report)
    assert set(report.counted) == {"position", "symbol", "message"}


def test_contexts_split_the_lexicon():
    report = report_language(MESSAGES, MEANINGS, contexts=["first", "second"] * 32, names=NAMES)
    assert {row["context"] for row in report.lexicons["symbol"]} == {"first", "second"}


def test_long_lexicons_are_cut():
    generator = np.random.default_rng(0)
    messages = generator.integers(0, 50, (300, 4))
    report = report_language(messages, generator.integers(0, 9, (300, 2)), num_permutations=0)
    assert "message" not in report.lexicons  # nearly 300 different ones
    assert len({row["form"] for row in report.lexicons["position"]}) > 150
    assert max(sum(1 for _ in own) for _, own in itertools.groupby(report.lexicons["position"], lambda row: row["form"])) == 5
    assert "less frequent forms" in language_text(report)


def test_everything_is_written_and_drawn_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would raise
    report = report_language(MESSAGES, MEANINGS, correct=np.arange(64) % 2, names=NAMES)
    paths = write_language_report(report, tmp_path / "new")
    assert [path.relative_to(tmp_path / "new").as_posix() for path in paths] == [
        "lexicon.txt",
        "figures/message_lengths.png",
        "figures/length_accuracy.png",
        "figures/position_information.png",
        "figures/lexicon_position.png",
        "figures/lexicon_symbol.png",
    ]
    assert paths[0].read_text(encoding="utf-8") == language_text(report) + "\n"
    assert all(imread(path).shape[1] > 400 for path in paths[1:])


def test_heat_maps_show_what_is_certain(tmp_path):
    shares = compute_language_structure(MESSAGES, MEANINGS)["position_information_share"]
    certain, nothing = cells(draw_position_information(shares, tmp_path / "position.png", NAMES))
    # Three cells of nine are certain. The colour bar has a little of either colour.
    assert 0.35 < certain / nothing < 0.65
    none = draw_position_information(np.zeros((3, 3)), tmp_path / "none.png")
    assert cells(none)[0] < certain / 10


def test_two_lexicons_side_by_side(tmp_path):
    permuted = [MESSAGES[row] for row in np.random.default_rng(0).permutation(64)]
    both = {"compositional": cooccurrence(MESSAGES, MEANINGS), "not": cooccurrence(permuted, MEANINGS)}
    path = draw_two_lexicons(both, tmp_path / "both.png", NAMES)
    image = (imread(path)[..., :3] * 255).round().astype(int)
    dark = (image == np.array(DARK)).all(-1)
    half = image.shape[1] // 2
    assert dark[:, :half].sum() > 20 * dark[:, half : int(1.5 * half)].sum()
    text = side_by_side(
        {name: lexicon_table(lexicon_rows(m, MEANINGS), 1) for name, m in (("own", MESSAGES), ("x", permuted))}
    )
    lines = text.splitlines()
    assert lines[0].split() == ["own", "x"] and len(lines) == 15
    assert lines[3].count("1.00") == 1 and lines[3].count("@0") == 2
    assert side_by_side({"a": "one\ntwo", "b": "three"}).splitlines() == ["a      b", "-      -", "one    three", "two"]


def test_large_lexicons_are_drawn_in_part(tmp_path):
    generator = np.random.default_rng(0)
    words = [[f"word{number}" for number in generator.integers(0, 200, 6)] for _ in range(300)]
    counted = cooccurrence(generator.integers(0, 500, (300, 5)), words, "symbol")
    height, width = imread(draw_lexicon(counted, tmp_path / "words.png")).shape[:2]
    assert width < 3000 and height < 1800


def test_lengths_and_their_accuracy(tmp_path):
    rows = [{"length": 3, "messages": 1, "accuracy": 1.0, "standard_error": None}]
    assert draw_length_accuracy(rows, tmp_path / "one.png").exists()
    rows += [{"length": 5, "messages": 9, "accuracy": 0.5, "standard_error": 0.1}]
    without = draw_length_accuracy(rows, tmp_path / "two.png").read_bytes()
    assert without != draw_length_accuracy(rows, tmp_path / "chance.png", chance=0.25).read_bytes()
    assert draw_message_lengths([0, 0, 0], tmp_path / "empty.png").exists()
    assert draw_message_lengths([200] + [3] * 30, tmp_path / "long.png").exists()


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"shares has shape \(3,\)"):
        draw_position_information([0, 1, 0], tmp_path / "x.png")
    with pytest.raises(ValueError, match="numbers in 0-1"):
        draw_position_information([[1.4]], tmp_path / "x.png")
    with pytest.raises(ValueError, match="float64"):
        draw_message_lengths([0.5], tmp_path / "x.png")
    with pytest.raises(ValueError, match="there is no row"):
        draw_length_accuracy([], tmp_path / "x.png")
    with pytest.raises(ValueError, match="there is no form"):
        draw_lexicon(cooccurrence([[], []], [[0], [1]]), tmp_path / "x.png")
    with pytest.raises(ValueError, match="there are 1 lexicons; give two"):
        draw_two_lexicons({"one": cooccurrence(MESSAGES, MEANINGS)}, tmp_path / "x.png")
    with pytest.raises(ValueError, match="ends in .png"):
        draw_message_lengths([1, 2], tmp_path / "x.pdf")
    assert not list(tmp_path.iterdir())
