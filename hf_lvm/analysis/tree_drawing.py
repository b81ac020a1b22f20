"""Trees of sentences as pictures: in characters for a terminal or a log, and as an SVG file.

Words are all on one line in both. Trees come in any form that `hf_lvm.data.read_tree` reads. `svgling` draws SVG; characters
are set here: `pretty_print` of nltk takes twice the lines, shows every label, and counts wide characters as narrow ones.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import svgling
from svgling.core import SANS

from hf_lvm.grammars.brackets import AnyTree, Bracketing, read_tree

# Characters of a bar: its line, its left and right end, over a part in between, under its own stem, the last two at once.
_LINES = {True: "─┌┐┬┴┼│", False: "-+++++|"}
# Levels of an SVG tree. svgling nests an SVG element for each, and programs that show them stop at some hundreds.
_MAX_LEVELS = 100
# So many letters fit into the size of the font, with room to spare: wider ones would be cut off.
_LETTERS = 1.6
# What no XML file may hold, whatever is done to it.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class _Node:
    """A constituent of two words or more, with the numbers of its parts: words come first, then constituents."""

    parts: list[int]
    label: str | None
    height: int


def tree_text(tree: AnyTree, unicode: bool = True) -> str:
    """Draw a tree in characters, without a line break at the end.

    Labels stand in the bars, where there are any but `X`, and tags over the words.

    Example:
        >>> print(tree_text("((the dog) barks)"))
           ┌────────┐
         ┌─┴──┐     │
        the  dog  barks

    Args:
        tree: see [`hf_lvm.data.read_tree`]. Spans of one word and all but one of a unary chain are not drawn.
        unicode: whether lines are drawn with box characters; else with `-`, `+` and `|`.

    Raises:
        ValueError: what is no tree.
    """
    words, tags, nodes = _layout(tree)
    # Between two stems there is always room for the longest label.
    gap = max([2, *(_cells(node.label) for node in nodes if node.label)])
    line, left_end, right_end, over, under, both, stem = _LINES[unicode]
    places: list[int] = []  # of words, then of constituents: the column of the stem
    ends = 0
    for word, tag in zip(words, tags, strict=True):
        width = max(_cells(word), _cells(tag or ""))
        places.append(ends + (width - 1) // 2)
        ends += width + gap
    rows = max([0, *(node.height for node in nodes)])
    grid = [[" "] * ends for _ in range(rows)]  # from the words upwards
    heights = [0] * len(words)
    for node in nodes:
        stems = [places[part] for part in node.parts]
        first, last = stems[0], stems[-1]
        place = (first + last) // 2
        bar = grid[node.height - 1]
        bar[first : last + 1] = [left_end, *line * (last - first - 1), right_end]
        for column in stems[1:-1]:
            bar[column] = over
        if node is not nodes[-1]:
            bar[place] = both if bar[place] == over else under
        for column, part in zip(stems, node.parts, strict=True):
            for row in range(heights[part], node.height - 1):
                grid[row][column] = stem
        if node.label:
            begin = min(max(place - (_cells(node.label) - 1) // 2, first + 1), last - _cells(node.label))
            # A wide character takes the place of two.
            bar[begin : begin + _cells(node.label)] = [node.label, *[""] * (_cells(node.label) - 1)]
        places.append(place)
        heights.append(node.height)
    lines = ["".join(row) for row in reversed(grid)]
    lines += [_centred(each, places) for each in ([tag or "" for tag in tags], words) if any(each)]
    return "\n".join(each.rstrip() for each in lines)


def draw_tree(tree: AnyTree, path: str | Path) -> Path:
    """Draw a tree as an SVG file and return its path; folders are made as needed.

    Labels stand at the nodes, where there are any but `X`, and tags over the words. In a tree of more than 100 levels, what is
    below is drawn flat.

    Args:
        tree: see [`hf_lvm.data.read_tree`].
        path: SVG to write.

    Raises:
        ValueError: what is no tree, or a path that does not end in .svg.
    """
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise ValueError(f"trees are drawn as SVG; give a path that ends in .svg instead of {str(path)!r}")
    content = tree_svg(tree)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def tree_svg(tree: AnyTree) -> str:
    """The content of the file that [`draw_tree`] writes, to be shown in a notebook or put in a page."""
    read = read_tree(tree, unary_chains=True).with_sentence()
    # Letters of Chinese, say, take twice the room.
    letters = _LETTERS * min(len(word) / max(len(word), _cells(word)) for word in read.words)
    options = {"leaf_nodes_align": True, "descend_direct": False, "font_style": SANS, "average_glyph_width": letters}
    drawing = svgling.draw_tree(_nested(read), **options).get_svg()
    drawing.elements.insert(0, drawing.rect(size=("100%", "100%"), fill="white"))
    drawing.set_desc(title=_xml(" ".join(read.words)))
    return drawing.tostring()


def _nested(read: Bracketing) -> tuple | str:
    """A tree as svgling takes it: (label, part, part, ...), and strings for words."""
    labelled = _is_labelled(read)
    tags = [f"{tag or ' '}\n" if any(read.tags) else "" for tag in read.tags]
    nodes: list[list] = [[_xml(tag + word)] for tag, word in zip(tags, read.words, strict=True)]
    depths = [1] * (len(nodes) + len(read.spans))
    for number, parts in reversed(list(enumerate(read.parts, start=len(nodes)))):
        for part in parts:
            depths[part] = depths[number] + 1
    for parts, label in zip(read.parts, read.labels, strict=True):
        children = [child for part in parts for child in nodes[part]]
        nodes.append([(_xml(label or "") if labelled else "", *children)] if depths[len(nodes)] < _MAX_LEVELS else children)
    return nodes[-1][0]


def _layout(tree: AnyTree) -> tuple[Sequence[str], Sequence[str | None], list[_Node]]:
    """Words, tags, and the constituents, parts before wholes and the sentence last."""
    read = read_tree(tree).with_sentence()
    labelled = _is_labelled(read)
    heights = [0] * len(read.words)
    nodes: list[_Node] = []
    for parts, label in zip(read.parts, read.labels, strict=True):
        heights.append(1 + max(heights[part] for part in parts))
        nodes.append(_Node(parts, label if labelled else None, heights[-1]))
    tagged = any(tag not in (None, "X") for tag in read.tags)
    return read.words, read.tags if tagged else (None,) * len(read.words), nodes


def _is_labelled(read: Bracketing) -> bool:
    return any(label not in (None, "X") for label in read.labels)


def _centred(texts: Sequence[str], places: Sequence[int]) -> str:
    line, used = [], 0
    for text, place in zip(texts, places, strict=False):
        begin = place - (_cells(text) - 1) // 2 if text else used
        line += [" " * (begin - used), text]
        used = begin + _cells(text)
    return "".join(line)


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
