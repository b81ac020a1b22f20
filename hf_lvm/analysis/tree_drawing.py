"""Trees of sentences as pictures: in characters for a terminal or a log, and as an SVG file.

Both stand on the words, which are all on one line, and have a bar over the parts of every constituent. Bars never cross,
however deep a tree is. Trees come in any form that `hf_lvm.data.read_tree` reads.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from hf_lvm.analysis.figure_style import GREY, INK
from hf_lvm.grammars.brackets import AnyTree, read_tree

# Characters of a bar: its line, its left and right end, over a part in between, under its own stem, the last two at once.
_LINES = {True: "─┌┐┬┴┼│", False: "-+++++|"}
_FONT_SIZE, _SMALL_FONT_SIZE, _LEVEL, _GAP, _MARGIN = 15, 11, 26, 14, 16
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

    Labels stand in the bars, where there are any but `X`, and tags over the words.

    Args:
        tree: see [`hf_lvm.data.read_tree`]. Spans of one word and all but one of a unary chain are not drawn.
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
    words, tags, nodes = _layout(tree)
    places: list[float] = []
    ends = float(_MARGIN)
    gap = max([_GAP, *(_width(node.label, _SMALL_FONT_SIZE) - 10 for node in nodes if node.label)])
    for word, tag in zip(words, tags, strict=True):
        width = max(_width(word, _FONT_SIZE), _width(tag or "", _SMALL_FONT_SIZE))
        places.append(ends + width / 2)
        ends += width + gap
    width = ends - gap + _MARGIN
    top = _MARGIN + _LEVEL * max([0, *(node.height for node in nodes)])
    base = top + (_SMALL_FONT_SIZE + 4 if any(tags) else 0) + _FONT_SIZE
    lines: list[str] = []
    texts: list[str] = []
    levels = [float(top)] * len(words)
    for node in nodes:
        level = top - _LEVEL * node.height + _LEVEL / 2
        stems = [places[part] for part in node.parts]
        lines.append(f"M{stems[0]:.1f} {levels[node.parts[0]]:.1f}V{level:.1f}H{stems[-1]:.1f}V{levels[node.parts[-1]]:.1f}")
        lines += [f"M{places[part]:.1f} {level:.1f}V{levels[part]:.1f}" for part in node.parts[1:-1]]
        place = (stems[0] + stems[-1]) / 2
        if node.label:
            half = _width(node.label, _SMALL_FONT_SIZE) / 2 + 3
            texts.append(
                f'<rect x="{place - half:.1f}" y="{level - 8:.1f}" width="{2 * half:.1f}" height="16" fill="white"/>'
                + _text(place, level + 4, node.label, _SMALL_FONT_SIZE, INK)
            )
        places.append(place)
        levels.append(level)
    for place, word, tag in zip(places, words, tags, strict=False):
        if tag:
            texts.append(_text(place, top + _SMALL_FONT_SIZE + 2, tag, _SMALL_FONT_SIZE, GREY))
        texts.append(_text(place, base, word, _FONT_SIZE, INK))
    height = base + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}">\n'
        f"<title>{_escaped(' '.join(words))}</title>\n"
        '<rect width="100%" height="100%" fill="white"/>\n'
        f'<path d="{"".join(lines)}" fill="none" stroke="{INK}" stroke-width="1.3" stroke-linejoin="round"/>\n'
        + "".join(f"{text}\n" for text in texts)
        + "</svg>\n"
    )


def _layout(tree: AnyTree) -> tuple[Sequence[str], Sequence[str | None], list[_Node]]:
    """Words, tags, and the constituents, parts before wholes and the sentence last."""
    read = read_tree(tree)
    spans = dict(zip(read.spans, read.labels, strict=True))
    if len(read.words) > 1:
        spans.setdefault((0, len(read.words) - 1), None)
    labelled = any(label not in (None, "X") for label in spans.values())
    nodes: list[_Node] = []
    heights = [0] * len(read.words)
    open_parts: list[tuple[int, int]] = []  # first word and number of what has no bar over it yet
    place = 0
    for (first, last), label in spans.items():
        while place <= last:
            open_parts.append((place, place))
            place += 1
        count = next(count for count in range(1, len(open_parts) + 1) if open_parts[-count][0] == first)
        parts = [number for _, number in open_parts[-count:]]
        nodes.append(_Node(parts, label if labelled else None, 1 + max(heights[part] for part in parts)))
        open_parts[-count:] = [(first, len(heights))]
        heights.append(nodes[-1].height)
    return read.words, read.tags, nodes


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


def _width(text: str, size: float) -> float:
    """About how wide a text is in a font without serifs: a little more than it is in most."""
    return size * sum(
        0.0 if unicodedata.combining(sign) else 1.05 if unicodedata.east_asian_width(sign) in "WF"
        else 0.33 if sign in "ijl.,;:'|!()[]`tfI" else 0.75 if sign.isupper() or sign in "mwMW@%&" else 0.57
        for sign in text
    )  # fmt: skip


def _text(place: float, base: float, text: str, size: float, color: str) -> str:
    # Simple programs do not let texts inherit what is said of the whole picture.
    looks = f'font-family="Helvetica, Arial, sans-serif" font-size="{size}" fill="{color}" text-anchor="middle"'
    return f'<text x="{place:.1f}" y="{base:.1f}" {looks}>{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
