"""Pieces of an HTML page that needs nothing but itself: elements, tables of numbers, small bars, pictures within the page.

Everything is an `xml.etree.ElementTree` element, so that what comes from data can only ever be text or the value of an
attribute, and is escaped when the page is written.
"""

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from hf_lvm.analysis.figure_style import DOTS_PER_INCH

Child = Element | str
# Rows that a table shows at once; the rest is folded.
OPEN_ROWS = 40
# A list of up to so many numbers is written out; a longer one is drawn.
_WRITTEN = 8
_PNG = b"\x89PNG\r\n\x1a\n"
_PAGE_DOTS = 104
_KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
# Terminal colours and their like: nothing an HTML file may hold.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def element(tag: str, *children: Child | Iterable[Child] | None, **attributes: Any) -> Element:
    """An element with its parts in order; `class_` and the like stand for attributes that are words of Python.

    Args:
        children: elements, texts, iterables of both; None is left out.
        attributes: those that are None are left out.
    """
    made = Element(
        tag, {name.rstrip("_").replace("_", "-"): clean(str(value)) for name, value in attributes.items() if value is not None}
    )
    for child in _flat(children):
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + clean(child)
        else:
            made.text = (made.text or "") + clean(child)
    return made


def clean(text: str) -> str:
    """A text with characters that no HTML file may hold replaced by the mark for such ones."""
    return _CONTROL.sub("\ufffd", text)


def table(
    head: Sequence[Child] | None, rows: Sequence[Sequence[Child]], class_: str | None = None, open_rows: int = OPEN_ROWS
) -> Element:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        head: names of the columns.
        rows: of cells, as many in each; the first cell of each is its name. A column of numbers stands to the right.
        open_rows: rows that are shown at once; the rest is folded.
    """
    columns = [place > 0 and all(map(_is_number, cells)) for place, cells in enumerate(zip(*rows, strict=True))]
    classes = ["number" if is_number else None for is_number in columns]
    parts = []
    if head is not None:
        cells = (element("th", name, scope="col", class_=each) for name, each in zip(head, classes, strict=True))
        parts.append(element("thead", element("tr", cells)))
    lines = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            (element("td", cell, class_=each) for cell, each in zip(row[1:], classes[1:], strict=True)),
        )
        for row in rows
    ]
    shown = element("div", element("table", *parts, element("tbody", lines[:open_rows]), class_=class_), class_="scroll")
    if len(lines) <= open_rows:
        return shown
    rest = element("div", element("table", element("tbody", lines[open_rows:]), class_=class_), class_="scroll")
    return element("div", shown, folded(f"{len(lines) - open_rows} more", rest))


def folded(summary: str, *children: Child, open_: bool = False) -> Element:
    """Parts that are shown on a click."""
    return element("details", element("summary", summary), *children, open="open" if open_ else None)


def picture(path: Path, caption: str, class_: str | None = None) -> Element:
    """A PNG or SVG file within the page. A program inside an SVG file does not run: it is shown as an image.

    Raises:
        ValueError: a file of another kind.
    """
    if path.suffix.lower() not in _KINDS:
        raise ValueError(f"{path} is no picture of a report: it shows {' and '.join(_KINDS)}")
    content = path.read_bytes()
    data = base64.b64encode(content).decode("ascii")
    source = f"data:{_KINDS[path.suffix.lower()]};base64,{data}"
    # Figures have more dots than a page, so that they are sharp where it is enlarged.
    dots = int.from_bytes(content[16:20], "big") if content[:8] == _PNG and len(content) > 20 else None
    width = None if dots is None else round(dots * _PAGE_DOTS / DOTS_PER_INCH)
    shown = element("div", element("img", src=source, alt=caption, width=width), class_="scroll")
    return element("figure", shown, element("figcaption", caption), class_=class_)


def code(text: str, class_: str | None = None) -> Element:
    """Text as it stands, in letters of one width."""
    return element("pre", element("code", text), class_=class_)


def number(value: Any) -> str:
    """A value for people: about four digits, commas between thousands, a minus sign, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value.is_integer() and 10 <= abs(value) < 1e9:
            return number(int(value))
        size = abs(value)
        shown = f"{value:.3g}" if 0 < size < 1e-3 else f"{value:,.{max(0, min(4, 4 - len(str(int(size)))))}f}"
        return shown.replace("-", "−")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def numbers(values: Mapping[str, Any], level: int = 3) -> list[Element]:
    """Nested numbers as tables: plain ones first, then a table or a part with a heading for each group.

    Args:
        values: what a JSON object holds.
        level: of the headings.
    """
    plain = {name: value for name, value in values.items() if not _is_group(value)}
    parts = [table(None, [(words(name), _cell(value)) for name, value in plain.items()], "plain")] if plain else []
    for name, value in values.items():
        if _is_group(value):
            heading = element(f"h{min(level, 6)}", words(name))
            parts.append(element("section", heading, _group(value, level), class_="group"))
    return parts


def words(key: Any) -> str:
    """The key of a number as words."""
    return str(key).replace("_", " ")


def bars(values: Sequence[float]) -> Element:
    """A small chart of bars, one for each number, from the smallest or 0 to the largest."""
    width, height = 6, 34
    low, high = min(0.0, *values), max(0.0, *values)
    scale = height / (high - low) if high > low else 0.0
    drawn = (
        element(
            "rect", x=width * place, width=width - 1.5, fill="currentColor",
            y=f"{(high - max(value, 0.0)) * scale:.2f}", height=f"{max(abs(value) * scale, 0.5):.2f}",
        )
        for place, value in enumerate(values)
    )  # fmt: skip
    size = {"width": width * len(values), "height": height + 1}
    return element("svg", drawn, viewBox=f"0 0 {size['width']} {size['height']}", role="img", class_="bars", **size)


def _flat(children: Iterable) -> Iterable[Child]:
    for child in children:
        if isinstance(child, str | Element):
            yield child
        elif child is not None:
            yield from _flat(child)


def _is_number(cell: Child) -> bool:
    """Whether a cell is a number as [`number`] writes it."""
    return isinstance(cell, str) and re.fullmatch(r"–|−?[\d,.]+(e−?\d+)?|nan|-?inf", cell) is not None


def _is_group(value: Any) -> bool:
    """Whether a value has a heading of its own."""
    if isinstance(value, dict):
        return bool(value)
    return isinstance(value, list) and any(isinstance(item, dict | list) for item in value) or _is_text_table(value)


def _is_text_table(value: Any) -> bool:
    """Lines of a table that is set in characters."""
    return isinstance(value, list) and any(isinstance(line, str) and "  " in line for line in value)


def _group(value: Any, level: int) -> list[Element]:
    if _is_text_table(value):
        return [code("\n".join(map(str, value)))]
    named = value if isinstance(value, dict) else {str(place): item for place, item in enumerate(value)}
    if all(isinstance(item, dict) for item in named.values()) and _share_keys(named.values(), isinstance(value, list)):
        columns = list(dict.fromkeys(key for item in named.values() for key in item))
        first = "" if isinstance(value, dict) else "#"
        rows = [(words(name), *(_cell(item.get(key)) for key in columns)) for name, item in named.items()]
        return [table([first, *map(words, columns)], rows)]
    if _is_matrix(named.values()):
        return [table(None, [(words(name), *map(_cell, item)) for name, item in named.items()])]
    return numbers(named, level + 1)


def _is_matrix(rows: Iterable) -> bool:
    rows = list(rows)
    if not all(isinstance(row, list) and row and all(isinstance(item, int | float) for item in row) for row in rows):
        return False
    return len({len(row) for row in rows}) == 1


def _share_keys(items: Iterable[dict], is_list: bool) -> bool:
    """Whether rows of a table can be made of objects: plain values, mostly under the same keys."""
    items = list(items)
    if any(_is_group(value) for item in items for value in item.values()):
        return False
    names = [set(item) for item in items]
    return (is_list or len(items) > 1) and 2 * len(set.intersection(*names)) >= len(set.union(*names)) > 0


def _cell(value: Any) -> Child:
    if isinstance(value, list):
        if not all(isinstance(item, int | float) for item in value):
            return ", ".join(map(number, value)) or "–"
        if len(value) > _WRITTEN and all(math.isfinite(item) for item in value):
            span = f"{number(min(value))} to {number(max(value))}, {len(value)} values"
            written = ", ".join(map(number, value))
            return element("div", bars(value), element("span", span), title=written, class_="many")
        return ", ".join(map(number, value)) or "–"
    return "–" if value == {} else number(value)
