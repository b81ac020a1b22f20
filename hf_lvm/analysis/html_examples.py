"""What a run has written, for people: reconstructions beside their texts, samples, paths from text to text, lexicons."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from hf_lvm.analysis.html_elements import code, element, folded, number, table, words

# Reconstructions that are shown at once.
OPEN_PAIRS = 8
# Forms of a lexicon that are shown, and of each form what it goes with.
SHOWN_FORMS, OPEN_FORMS, SHOWN_VALUES = 60, 16, 4
_SHARE_WIDTH = 5.0


@dataclass
class Examples:
    """`examples.txt` of a text VAE.

    Attributes:
        pairs: (text, its reconstruction).
        samples: texts of draws of the prior.
        paths: interpolations, a list of texts each.
        conditions: of a conditional model (condition, its text, texts written from the condition).
    """

    pairs: list[tuple[str, str]] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    paths: list[list[str]] = field(default_factory=list)
    conditions: list[tuple[str, str, list[str]]] = field(default_factory=list)


def read_examples(content: str) -> Examples | None:
    """Take apart what `hf_lvm.training.text_vae` writes; None for a file in another format."""
    read, part = Examples(), None
    for line in content.splitlines():
        if not line.strip():
            continue
        if not line.startswith("  "):
            part = line.split()[0]
            if part == "Interpolation":
                read.paths.append([])
            elif part not in ("Reconstructions", "Samples", "Conditions"):
                return None
        elif part == "Reconstructions" and line.startswith("  -> ") and read.pairs and not read.pairs[-1][1]:
            read.pairs[-1] = (read.pairs[-1][0], line[5:])
        elif part == "Reconstructions":
            read.pairs.append((line[2:], ""))
        elif part == "Samples":
            read.samples.append(line[2:])
        elif part == "Interpolation":
            read.paths[-1].append(line[2:])
        elif part == "Conditions" and line.startswith("  = ") and read.conditions and not read.conditions[-1][1]:
            read.conditions[-1] = (read.conditions[-1][0], line[4:], [])
        elif part == "Conditions" and line.startswith("  ~ ") and read.conditions:
            read.conditions[-1][2].append(line[4:])
        elif part == "Conditions":
            read.conditions.append((line[2:], "", []))
        else:
            return None
    return read


def show_examples(content: str) -> list[Element]:
    """The parts of `examples.txt`, or all of it as it stands where its format is another."""
    read = read_examples(content)
    if read is None:
        return [code(content)]
    parts = []
    if read.pairs:
        rows = [(text, _with_marks(written, text)) for text, written in read.pairs]
        parts += [
            element("h3", "Reconstructions"),
            element("p", "Words that both have are marked.", class_="note"),
            table(["text", "what is decoded from its latent"], rows, "texts", OPEN_PAIRS),
        ]
    if read.samples:
        items = (element("li", sample or "(empty)") for sample in read.samples)
        parts += [element("h3", "Samples from the prior"), element("ul", items, class_="samples")]
    if read.conditions:
        rows = [(condition, text, " / ".join(samples)) for condition, text, samples in read.conditions]
        parts += [
            element("h3", "Texts of a condition"),
            table(["condition", "its text", "texts written from the condition alone"], rows, "texts", OPEN_PAIRS),
        ]
    for place, path in enumerate(read.paths):
        steps = (
            element("li", text or "(empty)", style=f"border-color: {_between(step / max(len(path) - 1, 1))}")
            for step, text in enumerate(path)
        )
        parts += [element("h3", "Interpolations") if place == 0 else None, element("ol", steps, class_="path")]
    return [part for part in parts if part is not None]


def show_lexicon(lexicons: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Element]:
    """Tables of `lexicon.json`: forms, how often each stands, and what it goes with.

    Args:
        lexicons: unit of a form -> rows of [`hf_lvm.metrics.language_structure.lexicon.lexicon_rows`].
    """
    parts = []
    for unit, rows in lexicons.items():
        forms: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            forms.setdefault(str(row["form"]), []).append(row)
        if not forms:
            continue
        shown = []
        for form, own in list(forms.items())[:SHOWN_FORMS]:
            best = sorted(own, key=lambda row: -row["probability"])[:SHOWN_VALUES]
            shown.append((form, number(own[0]["form_count"]), *map(_value, best), *[""] * (SHOWN_VALUES - len(best))))
        left_out = f" ({SHOWN_FORMS} of {len(forms)})" if len(forms) > SHOWN_FORMS else ""
        head = ["form", "count", "goes with, and P(value | form)", *[""] * (SHOWN_VALUES - 1)]
        parts += [element("h3", f"By {words(unit)}{left_out}"), table(head, shown, open_rows=OPEN_FORMS)]
    return parts


def show_text(name: str, content: str) -> Element:
    """A text file of a run as it stands, folded where it is long."""
    lines = content.count("\n")
    shown = code(content.rstrip("\n"))
    return folded(f"{name}, {lines:,} lines", shown, open_=lines <= 120)


def _with_marks(written: str, text: str) -> list[Element | str]:
    """The words of a written text; those that the other text has too are marked, as often as it has them."""
    left = text.split()
    parts: list[Element | str] = []
    for piece in re.split(r"(\s+)", written):
        if piece in left:
            left.remove(piece)
            # Punctuation that happens to agree says nothing.
            parts.append(element("mark", piece) if any(map(str.isalnum, piece)) else piece)
        else:
            parts.append(piece)
    return parts


def _value(row: Mapping[str, Any]) -> Element:
    bar = element("span", class_="share", style=f"width: {_SHARE_WIDTH * float(row['probability']):.2f}rem")
    attribute = row.get("attribute")
    name = f"{attribute}={row['value']}" if attribute else str(row["value"])
    return element("div", bar, element("br"), f"{name} {row['probability']:.2f}")


def _between(share: float) -> str:
    """A colour on the way from blue to vermilion."""
    ends = ((0, 114, 178), (213, 94, 0))
    return "rgb({}, {}, {})".format(*(round(low + share * (high - low)) for low, high in zip(*ends, strict=True)))
