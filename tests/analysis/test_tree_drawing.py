import doctest
from xml.etree import ElementTree

import pytest

from hf_lvm.analysis import tree_drawing
from hf_lvm.analysis.tree_drawing import draw_tree, tree_svg, tree_text
from hf_lvm.data import mask_to_tree, spans_to_mask

SVG = "{http://www.w3.org/2000/svg}"
GOLD = "(S (NP (NP (NP (DT the) (NN girl)) (POS 's)) (NN dog)) (VP (VP (VBD saw) (NNP Anna)) (RB yesterday)))"


def test_the_example_prints_what_it_says():
    assert doctest.testmod(tree_drawing).failed == 0


def test_labels_and_tags_in_characters():
    assert tree_text(GOLD) == (
        "            ┌────────S────────┐\n"
        "       ┌────NP───┐            │\n"
        "   ┌───NP───┐    │      ┌─────VP────┐\n"
        " ┌─NP─┐     │    │    ┌─VP─┐        │\n"
        " DT   NN   POS   NN  VBD  NNP       RB\n"
        "the  girl   's  dog  saw  Anna  yesterday"
    )


def test_more_than_two_parts_with_plain_characters():
    assert tree_text("(X (X the big old) dog (X a b) .)", unicode=False) == (
        "      +---------+----+----+\n"
        " +----+----+    |   ++-+  |\n"
        "the  big  old  dog  a  b  ."
    )  # fmt: skip
    assert "┼" in tree_text("((a b c) d)")


@pytest.mark.parametrize(
    ("tree", "drawn"),
    [
        ("(hello)", "hello"),
        ("(UH hello)", "  UH\nhello"),
        ("((你好 世界) cafe\u0301)", "    ┌────────┐\n ┌──┴──┐     │\n你好  世界  cafe\u0301"),
        ({"words": ["a", "b", "c"], "spans": [(1, 2)]}, "┌───┐\n│  ┌┴─┐\na  b  c"),
    ],
)
def test_short_wide_and_partial(tree, drawn):
    assert tree_text(tree) == drawn


@pytest.mark.parametrize(("tree", "bars"), [(GOLD, 6), ("((((the girl) 's) dog) ((saw (a (very old) horse)) .))", 8)])
def test_pictures_hold_every_word_in_order_and_nothing_overlaps(tmp_path, tree, bars):
    root = ElementTree.parse(draw_tree(tree, tmp_path / "trees" / "one.svg")).getroot()
    words = [text for text in root.iter(f"{SVG}text") if text.get("font-size") == "15"]
    assert " ".join(text.text for text in words) == root.find(f"{SVG}title").text
    places = [float(text.get("x")) for text in words]
    assert all(right - left > 10 for left, right in zip(places[:-1], places[1:], strict=True))
    assert places[0] > 0 and places[-1] < float(root.get("width"))
    assert root.find(f"{SVG}path").get("d").count("H") == bars


def test_words_are_escaped():
    root = ElementTree.fromstring(tree_svg({"words": ["<b>", "&amp;", '"\x01', "]]>"], "spans": [(0, 1)]}))
    assert [text.text for text in root.iter(f"{SVG}text")] == ["<b>", "&amp;", '"\ufffd', "]]>"]


def test_deep_trees():
    words = [f"w{place}" for place in range(300)]
    tree = mask_to_tree(spans_to_mask([(0, last) for last in range(1, 300)], 300), words)
    assert len(tree_text(tree).splitlines()) == 300
    assert ElementTree.fromstring(tree_svg(tree)).find(f"{SVG}path").get("d").count("H") == 299


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"ends in .svg instead of .*tree.png"):
        draw_tree(GOLD, tmp_path / "tree.png")
    with pytest.raises(ValueError, match="tree is empty"):
        draw_tree("", tmp_path / "tree.svg")
    assert not list(tmp_path.iterdir())
