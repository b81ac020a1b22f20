"""Bracketed trees in and out: from strings, nltk trees or spans to words, tags and brackets, and back to a string.

A tree of n words is given in one of three forms:

- a string as in the Penn Treebank, `"(S (NP (DT the) (NN dog)) (VP (VBZ barks)))"`: a label right after each opening
  bracket. A bracket around one single word is the tag of that word. Words may stand without one: `"(S (NP the dog) barks)"`.
  nltk reads strings up to 500 brackets deep; the other forms have no limit;
- an `nltk.Tree` of the same form, `Tree("S", [Tree("NP", ["the", "dog"]), "barks"])`;
- a mapping `{"words": ["the", "dog", "barks"], "spans": [(0, 1)], "tags": ["DT", "NN", "VBZ"]}`: n words, (first, last) word
  of each bracket, counted from 0 and both inclusive, in any order, and n tags or none at all. The whole sentence is always a
  bracket, given or not. Spans tell neither unary chains nor brackets of one word: a span given twice counts once, and one
  word counts for itself, as in the masks of a chart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index

from nltk import Tree

# Labels of an outermost bracket that only wraps the tree and is no constituent; the empty one is that of the Penn Treebank.
WRAPPERS = frozenset({"", "ROOT", "S1", "TOP"})

_HOW_TO_WRITE = "write a label right after each opening bracket, as in (X (X the dog) barks)"


@dataclass(frozen=True)
class Bracketing:
    """A tree as its words and brackets.

    Attributes:
        words: n words.
        tags: n tags, None for a word without one.
        spans: (first word, last word) of each bracket that is no tag, counted from 0 and both inclusive. Children stand
            before parents, so the bracket of the whole sentence comes last. A unary chain repeats its span, once for each
            bracket.
    """

    words: tuple[str, ...]
    tags: tuple[str | None, ...]
    spans: tuple[tuple[int, int], ...]

    def write(self, label: str = "X", name: str = "tree") -> str:
        """The tree as one string, from which [`read_bracketing`] makes the same words, tags and spans.

        Args:
            label: of every bracket. It becomes the tag of a sentence of one word without a tag.
            name: what to call the tree in an error.

        Raises:
            ValueError: a word or a tag that is empty or holds a space or a bracket.
        """
        for token in [*self.words, *self.tags]:
            if token is not None and not re.fullmatch(r"[^\s()]+", token):
                raise ValueError(
                    f"{name} holds {token!r}, which cannot stand in a bracketed string: "
                    "write brackets as -LRB- and -RRB-, and no spaces"
                )
        pieces = [word if tag is None else f"({tag} {word})" for word, tag in zip(self.words, self.tags, strict=True)]
        for first, last in self.spans or ((0, 0),) * (self.tags == (None,)):
            pieces[first] = f"({label} {pieces[first]}"
            pieces[last] += ")"
        return " ".join(pieces)


def read_bracketing(tree: str | Tree | Mapping, name: str = "tree") -> Bracketing:
    """Read a tree in any of the forms of this module.

    An outermost bracket that is labelled TOP, ROOT, S1 or not at all, and holds one bracket only, is left away.

    Args:
        tree: the tree. Inside a string only the outermost bracket may lack its label.
        name: what to call it in an error.

    Raises:
        ValueError: no word, unbalanced brackets, more or less than one tree, a bracket without words or without a label, a
            leaf that is no string, spans that do not fit the words or that cross, or another number of tags than of words.
    """
    if isinstance(tree, Mapping):
        return _from_mapping(tree, name)
    if not isinstance(tree, str | Tree):
        raise ValueError(
            f"{name} is of type {type(tree).__name__}; a bracketed string, an nltk.Tree or a mapping "
            'with "words" and "spans" is needed'
        )
    written = isinstance(tree, str)
    if written:
        tree = _parse(tree, name)
    while tree.label() in WRAPPERS and len(tree) == 1 and isinstance(tree[0], Tree):
        tree = tree[0]
    words: list[str] = []
    tags: list[str | None] = []
    spans: list[tuple[int, int]] = []
    # Without recursion, which an nltk.Tree 1,000 brackets deep would exhaust: a bracket comes up a second time when it closes.
    agenda: list[tuple[Tree | str, int | None]] = [(tree, None)]
    while agenda:
        node, first = agenda.pop()
        if first is not None:
            spans.append((first, len(words) - 1))
        elif isinstance(node, str):
            words.append(node)
            tags.append(None)
        elif not isinstance(node, Tree):
            raise ValueError(f"{name} has a leaf of type {type(node).__name__}; leaves are words, strings")
        elif not (children := list(node)):
            raise ValueError(f"{name} has a bracket {node.label()!r} without a word; remove empty constituents first")
        elif written and not node.label():
            raise ValueError(f"{name} has a bracket without a label; {_HOW_TO_WRITE}")
        elif len(children) == 1 and isinstance(children[0], str):
            words.append(children[0])
            tags.append(node.label() or None)
        else:
            agenda.append((node, len(words)))
            agenda.extend((child, None) for child in reversed(children))
    return Bracketing(tuple(words), tuple(tags), tuple(spans))


def _parse(text: str, name: str) -> Tree:
    if not text.strip():
        raise ValueError(f"{name} is an empty string; a tree needs at least one word")
    # nltk would take the first word for the label.
    if spaced := re.search(r"\(\s+[^\s()]+", text):
        raise ValueError(f"{name} has {spaced.group()!r}, where a space stands in place of a label; {_HOW_TO_WRITE}")
    try:
        return Tree.fromstring(text)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name} is not one bracketed tree ({reason}); {_HOW_TO_WRITE}") from error


def _from_mapping(tree: Mapping, name: str) -> Bracketing:
    keys = {key for key, value in tree.items() if value is not None}
    if not {"words", "spans"} <= keys <= {"words", "spans", "tags"}:
        raise ValueError(
            f'{name} is a mapping with {sorted(map(str, keys))}; "words" and "spans" are needed, "tags" may stand beside'
        )
    words = tree["words"]
    if isinstance(words, str) or len(words) == 0 or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{name} has {words!r} for words; a list of strings, at least one, is needed")
    tags = tree["tags"] if "tags" in keys else [None] * len(words)
    if isinstance(tags, str) or len(tags) != len(words):
        raise ValueError(f"{name} has {len(words)} words and {len(tags)} tags; a list of one tag a word is needed")
    return Bracketing(tuple(words), tuple(tags), _nested(tree["spans"], len(words), name))


def _nested(spans: Iterable[Sequence[int]], count: int, name: str) -> tuple[tuple[int, int], ...]:
    """The different spans of 2 words or more and that of the whole sentence, children first, after checking that they nest."""
    wide = {(0, count - 1)} if count > 1 else set()
    for span in spans:
        try:
            first, last = map(index, span)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} has the span {span!r}; two whole numbers, (first word, last word), are needed"
            ) from error
        if not 0 <= first <= last < count:
            raise ValueError(
                f"{name} has the span ({first}, {last}), which does not fit its {count} words; "
                "give first and last word, counted from 0 and both inclusive"
            )
        if first < last:
            wide.add((first, last))
    open_spans: list[tuple[int, int]] = []
    for first, last in sorted(wide, key=lambda span: (span[0], -span[1])):  # parents before children
        while open_spans and open_spans[-1][1] < first:
            open_spans.pop()
        if open_spans and open_spans[-1][1] < last:
            raise ValueError(
                f"{name} has the spans {open_spans[-1]} and {(first, last)}, which cross; "
                "the brackets of a tree lie inside or beside one another"
            )
        open_spans.append((first, last))
    return tuple(sorted(wide, key=lambda span: (span[1], -span[0])))


def write_bracketing(
    words: Sequence[str], spans: Iterable[tuple[int, int]], tags: Sequence[str] | None = None, label: str = "X"
) -> str:
    """Write words and spans as one bracketed string, such as `(X (X the dog) barks)`, which [`read_bracketing`] reads.

    Args:
        words: n words, at least one.
        spans: (first word, last word) of the brackets, counted from 0 and both inclusive, in any order. Those of one word
            are left out, that of the whole sentence is always written, and a repeated one is written once.
        tags: n tags, or None to write the words without.
        label: of every bracket.

    Raises:
        ValueError: no word, a word or tag that is empty or holds a space or a bracket, another number of tags, spans that do
            not fit the words, or that cross and so make no tree.
    """
    return _from_mapping({"words": words, "spans": spans, "tags": tags}, "tree").write(label)
