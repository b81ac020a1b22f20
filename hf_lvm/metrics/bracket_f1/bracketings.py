"""Bracketed trees in and out: from strings or nltk trees to words, tags and spans, and from spans back to a string.

A tree is written as in the Penn Treebank, `(S (NP (DT the) (NN dog)) (VP (VBZ barks)))`: a label right after each opening
bracket. A bracket around one single word is the tag of that word. Words may stand without a tag, `(S (NP the dog) barks)`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def read_bracketing(tree: str | Tree, name: str = "tree") -> Bracketing:
    """Read a bracketed string or an `nltk.Tree`.

    An outermost bracket that is labelled TOP, ROOT, S1 or not at all, and holds one bracket only, is left away.

    Args:
        tree: the tree. Inside a string only the outermost bracket may lack its label.
        name: what to call it in an error.

    Raises:
        ValueError: unbalanced brackets, more or less than one tree, a bracket without words or without a label, or a leaf
            that is no string.
    """
    if isinstance(tree, str):
        written, tree = True, _parse(tree, name)
    elif isinstance(tree, Tree):
        written = False
    else:
        raise ValueError(f"{name} is of type {type(tree).__name__}; a bracketed string or an nltk.Tree is needed")
    while tree.label() in WRAPPERS and len(tree) == 1 and isinstance(tree[0], Tree):
        tree = tree[0]
    words: list[str] = []
    tags: list[str | None] = []
    spans: list[tuple[int, int]] = []
    # Without recursion, which a chain of 1,000 brackets would exhaust: a bracket comes up a second time when it closes.
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
        elif len(node) == 0:
            raise ValueError(f"{name} has a bracket {node.label()!r} without a word; remove empty constituents first")
        elif written and not node.label():
            raise ValueError(f"{name} has a bracket without a label; {_HOW_TO_WRITE}")
        elif len(node) == 1 and isinstance(node[0], str):
            words.append(node[0])
            tags.append(node.label() or None)
        else:
            agenda.append((node, len(words)))
            agenda.extend((child, None) for child in reversed(node))
    return Bracketing(tuple(words), tuple(tags), tuple(spans))


def _parse(text: str, name: str) -> Tree:
    # nltk would take the first word for the label.
    if spaced := re.search(r"\(\s+[^\s()]+", text):
        raise ValueError(f"{name} has {spaced.group()!r}, where a space stands in place of a label; {_HOW_TO_WRITE}")
    try:
        return Tree.fromstring(text)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name} is not one bracketed tree ({reason}); {_HOW_TO_WRITE}") from error


def write_bracketing(
    words: Sequence[str], spans: Iterable[tuple[int, int]], tags: Sequence[str] | None = None, label: str = "X"
) -> str:
    """Write words and spans as one bracketed string, which [`read_bracketing`] reads.

    Args:
        words: n words, at least one.
        spans: (first word, last word), counted from 0 and both inclusive, in any order; where a tree over the words has
            such a bracket. Those of one word and of the whole sentence may be left out or given; a repeated one is written
            once.
        tags: n tags, or None to write the words without.
        label: of every bracket.

    Raises:
        ValueError: no word, a word or tag that holds a space or a bracket, another number of tags, spans that do not fit
            the words, or that cross and so make no tree.
    """
    if len(words) == 0:
        raise ValueError("there is no word; a tree needs at least one")
    if tags is not None and len(tags) != len(words):
        raise ValueError(f"there are {len(words)} words and {len(tags)} tags; one tag a word is needed")
    for token in [*words, *(tags or ())]:
        if not token or re.search(r"[\s()]", token):
            raise ValueError(f"{token!r} cannot stand in a bracketed string: write brackets as -LRB- and -RRB-, and no spaces")
    whole = (0, len(words) - 1)
    wanted = {whole}
    for first, last in spans:
        if not 0 <= first <= last < len(words):
            raise ValueError(f"span ({first}, {last}) does not fit the {len(words)} words, counted from 0")
        if first < last:
            wanted.add((int(first), int(last)))
    pieces = list(words) if tags is None else [f"({tag} {word})" for tag, word in zip(tags, words, strict=True)]
    if len(words) == 1:
        return pieces[0] if tags is not None else f"({label} {pieces[0]})"
    open_spans: list[tuple[int, int]] = []
    # Outer brackets first, so that an outer one opens left of an inner one and closes right of it.
    for first, last in sorted(wanted, key=lambda span: (span[0], -span[1])):
        while open_spans and open_spans[-1][1] < first:
            open_spans.pop()
        if open_spans and open_spans[-1][1] < last:
            raise ValueError(
                f"spans {open_spans[-1]} and {(first, last)} cross; the brackets of a tree lie inside one another"
            )
        open_spans.append((first, last))
    for first, last in sorted(wanted, key=lambda span: span[1] - span[0]):
        pieces[first] = f"({label} {pieces[first]}"
        pieces[last] = f"{pieces[last]})"
    return " ".join(pieces)
