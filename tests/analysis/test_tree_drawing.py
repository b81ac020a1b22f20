import doctest
from xml.etree import ElementTree

import pytest

from hf_lvm.analysis import tree_drawing
from hf_lvm.analysis.tree_drawing import draw_tree, tree_svg, tree_text
from hf_lvm.data import mask_to_tree, read_tree, spans_to_mask

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


def shown(svg: str) -> tuple[list[str], int]:
    """Texts of a picture from left to right, and how many lines slant: those to parts, some of which then go straight down."""
    root = ElementTree.fromstring(svg)
    lines = [line for line in root.iter(f"{SVG}line") if line.get("x1") != line.get("x2")]
    return [text.text for text in root.iter(f"{SVG}text")], len(lines)


def test_pictures_hold_labels_and_tagged_words_in_order(tmp_path):
    path = draw_tree("(TOP (S (NP (DT the) dog) (VP (VP (VBZ barks)))))", tmp_path / "trees" / "one.svg")
    texts, _ = shown(path.read_text(encoding="utf-8"))
    assert [text for text in texts if text.strip()] == ["S", "NP", "DT", "the", "dog", "VP", "VP", "VBZ", "barks"]
    assert ElementTree.parse(path).getroot().find(f"{SVG}title").text == "the dog barks"


@pytest.mark.parametrize("tree", ["((((the girl) 's) dog) ((saw (a (very old) horse)) .))", "(X the (X girl saw) Anna)"])
def test_pictures_without_labels_have_a_line_to_every_part(tree):
    texts, lines = shown(tree_svg(tree))
    read = read_tree(tree)
    assert [text for text in texts if text] == list(read.words)
    assert lines == sum(map(len, read.parts))


@pytest.mark.parametrize(("tree", "texts"), [("(hello)", ["hello"]), ("(UH hello)", ["UH", "hello"])])
def test_a_picture_of_one_word(tree, texts):
    assert shown(tree_svg(tree)) == (texts, 0)


def test_wide_letters_have_room():
    narrow, wide = (
        float(ElementTree.fromstring(tree_svg(f"(({word} {word}) a)")).get("width")[:-2]) for word in ("abcd", "你好世界")
    )
    assert wide > 1.5 * narrow


def test_words_are_escaped():
    texts, _ = shown(tree_svg({"words": ["<b>", "&amp;", '"\x01', "]]>"], "spans": [(0, 1)]}))
    assert [text for text in texts if text] == ["<b>", "&amp;", '"\ufffd', "]]>"]


def test_deep_trees():
    words = [f"w{place}" for place in range(1200)]
    tree = mask_to_tree(spans_to_mask([(0, last) for last in range(1, 1200)], 1200), words)
    assert len(tree_text(tree).splitlines()) == 1200
    # Of the picture 100 levels, the lowest of which are words.
    texts, lines = shown(tree_svg(tree))
    assert [text for text in texts if text] == words
    assert lines == 1200 + 98


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"ends in .svg instead of .*tree.png"):
        draw_tree(GOLD, tmp_path / "tree.png")
    with pytest.raises(ValueError, match="tree is empty"):
        draw_tree("", tmp_path / "tree.svg")
    assert not list(tmp_path.iterdir())
