"""Bracketed sentences in and out: strings and trees to words and spans, n-ary constituents to binary ones, back to strings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index

from nltk import Tree

Span = tuple[int, int]
# Trees come as bracketed strings, as nltk trees, or as words and spans.
AnyTree = str | Tree | Mapping
# Labels of an outermost bracket that only wraps the tree and is no constituent; the empty one is that of the Penn Treebank.
WRAPPERS = frozenset({"", "ROOT", "S1", "TOP"})

_NO_BRACKETS = "a bracket among the words as -LRB-"
_WITH_LABELS = f"write a label right after each opening bracket, as in (X (X the dog) barks), and {_NO_BRACKETS}"
_EITHER_WAY = f"write (S (NP the dog) barks), or ((the dog) barks) without labels, and {_NO_BRACKETS}"


@dataclass(frozen=True)
class Bracketing:
    """The words of a sentence and constituents of it: those of a whole tree, or some only.

    Attributes:
        words: n words, at least one.
        spans: (first word, last word) of each constituent, counted from 0 and both inclusive. They nest, and children stand
            before parents. [`read_tree`] leaves out those of one word and keeps one of a unary chain, unless it is asked for
            all of them.
        labels: a label for each span, None where there is none. None given: none known.
        tags: a tag for each word, None where there is none. None given: none known.
    """

    words: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    labels: tuple[str | None, ...] = ()
    tags: tuple[str | None, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "labels", self.labels or (None,) * len(self.spans))
        object.__setattr__(self, "tags", self.tags or (None,) * len(self.words))

    @property
    def is_binary_tree(self) -> bool:
        """Whether nothing is left open: n words have n - 1 different spans of two words or more, as many as nest."""
        return len({span for span in self.spans if span[0] < span[1]}) == len(self.words) - 1

    @property
    def parts(self) -> list[list[int]]:
        """What each span is made of, in numbers: the words are 0 to n - 1, and span i is n + i."""
        parts: list[list[int]] = []
        # First word and number of what is part of nothing yet; the last ones are the parts of what comes next.
        unattached: list[tuple[int, int]] = []
        place = 0
        for number, (first, last) in enumerate(self.spans, start=len(self.words)):
            while place <= last:
                unattached.append((place, place))
                place += 1
            count = next(count for count in range(1, len(unattached) + 1) if unattached[-count][0] == first)
            parts.append([part for _, part in unattached[-count:]])
            unattached[-count:] = [(first, number)]
        return parts

    def with_sentence(self) -> "Bracketing":
        """The same with the whole sentence as a constituent, if it has two words or more."""
        whole = (0, len(self.words) - 1)
        if len(self.words) == 1 or whole in self.spans:
            return self
        return replace(self, spans=(*self.spans, whole), labels=(*self.labels, None))

    def write(self, label: str = "X", name: str = "tree") -> str:
        """One bracketed string such as `(S (NP (DT the) (NN dog)) (VBZ barks))`, from which [`read_tree`] makes the same.

        Args:
            label: of spans without a label, and of the bracket around the whole sentence, which is always written. It becomes
                the tag of a sentence of one word without a tag.
            name: what to call the tree in an error.

        Raises:
            ValueError: a word, label or tag that is empty or holds a blank or a bracket.
        """
        tree = self.with_sentence()
        for token in (*tree.words, *tree.labels, *tree.tags, label):
            if token is not None and not re.fullmatch(r"[^\s()]+", token):
                raise ValueError(
                    f"{name} holds {token!r}, which cannot stand in a bracketed string: write brackets as -LRB- and "
                    "-RRB-, and no blanks."
                )
        pieces = [word if tag is None else f"({tag} {word})" for word, tag in zip(tree.words, tree.tags, strict=True)]
        for (first, last), own in zip(tree.spans, tree.labels, strict=True):
            pieces[first] = f"({own or label} {pieces[first]}"
            pieces[last] += ")"
        if not tree.spans and tree.tags == (None,):
            pieces = [f"({label} {pieces[0]})"]
        return " ".join(pieces)


def read_tree(
    tree: AnyTree,
    words: Sequence[str] | None = None,
    labelled: bool | None = None,
    name: str = "tree",
    unary_chains: bool = False,
) -> Bracketing:
    """Read one tree.

    An outermost bracket that is labelled TOP, ROOT, S1 or not at all, and holds one bracket only, is left away.

    Args:
        tree: in one of three forms:

            - a bracketed string, `"(S (NP (DT the) (NN dog)) (VBZ barks))"`, `"(S (NP the dog) barks)"` or, without labels,
              `"((the dog) barks)"`. A bracket around a single word is its tag. nltk reads up to 500 brackets in one another;
            - an `nltk.Tree` of the same form, as deep as it may be;
            - a mapping `{"words": ["the", "dog", "barks"], "spans": [(0, 1)]}`, with `labels` and `tags` if there are any: any
              spans that nest, in any order; nothing but these is taken for a constituent. Those of one word and repeated ones
              tell nothing: they are left out.
        words: the words of the sentence, where they are known; the tree must have the same, whatever their case.
        labelled: whether each bracket of a string has a label, right after it. By default the words of the sentence decide;
            where they are not given, a string has no labels if one of its brackets begins with another one, besides an
            outermost one that holds nothing else. So `"(the (dog barks))"` needs either `words` or `labelled=False`.
        name: what to call the tree in an error.
        unary_chains: whether every bracket of a string or an `nltk.Tree` that is no tag has a span of its own, those of one
            word and all of a unary chain, too. Otherwise a unary chain is one span with the outermost label.

    Raises:
        ValueError: no word, a bracket without a word or, in a string with labels, without a label, brackets that are not
            balanced, spans that cross or do not fit the words, other words than those of the sentence.
    """
    if isinstance(tree, Mapping):
        found = _from_mapping(tree, name)
    elif isinstance(tree, Tree):
        found = _from_nltk(tree, unary_chains, name)
    elif isinstance(tree, str):
        found = _from_string(tree, words, labelled, unary_chains, name)
    else:
        raise ValueError(
            f"{name} is {type(tree).__name__}: a bracketed string, an nltk.Tree or a mapping with words and spans is needed."
        )
    if words is None:
        return found
    if casefolded(found.words) != casefolded(words):
        raise ValueError(_other_words(found.words, words, name))
    # The sentence is right about capitals.
    return replace(found, words=tuple(words))


def read_trees(
    trees: Iterable[AnyTree | None],
    sentences: Sequence[Sequence[str]] | None = None,
    labelled: bool | None = None,
    name: str = "tree",
) -> list[Bracketing | None]:
    """Read N trees; an error names the row.

    Args:
        trees: N trees, see [`read_tree`], or None, which stays None.
        sentences: the words of each, where they are known.
        labelled: see [`read_tree`]. By default, and without sentences, all strings are read as one kind: without labels if one
            of them is clearly so.
        name: what a row is called.

    Raises:
        ValueError: as `read_tree`, and another number of sentences than of trees.
    """
    trees = list(trees)
    if sentences is not None and len(sentences) != len(trees):
        raise ValueError(f"There are {len(trees)} trees and {len(sentences)} sentences; one tree a sentence is needed.")
    if labelled is None and sentences is None and any(_lacks_labels(tree) for tree in trees if isinstance(tree, str)):
        labelled = False
    known = [None] * len(trees) if sentences is None else sentences
    return [
        None if tree is None else read_tree(tree, words, labelled, f"{name} {row}")
        for row, (tree, words) in enumerate(zip(trees, known, strict=True))
    ]


def binarized(tree: Bracketing) -> Bracketing:
    """The tree with every constituent of more than two parts made right-branching: (a b c) becomes (a (b c)).

    So does the code of Kim et al. (2019) with gold trees. The whole sentence is a constituent, given or not; new constituents
    have no label, and neither unary chains nor constituents of one word are left.
    """
    tree = tree.with_sentence()
    begins = [*range(len(tree.words)), *(first for first, _ in tree.spans)]
    made: dict[Span, str | None] = {}
    for parts, (first, last), label in zip(tree.parts, tree.spans, tree.labels, strict=True):
        if len(parts) > 1:
            made |= {(begins[part], last): None for part in reversed(parts[:-1])}
            made[first, last] = label
        elif first < last:
            # A unary chain: its outermost label counts.
            made[first, last] = label or made[first, last]
    return replace(tree, spans=tuple(made), labels=tuple(made.values()))


def children_first(span: Span) -> tuple[int, int]:
    """A key to sort spans by, so that the parts of a constituent stand before it."""
    return span[1], -span[0]


def casefolded(words: Iterable[str]) -> tuple[str, ...]:
    """By what two sentences are the same: their words, whatever their case."""
    return tuple(word.casefold() for word in words)


def _from_string(text: str, words: Sequence[str] | None, labelled: bool | None, unary_chains: bool, name: str) -> Bracketing:
    how = _WITH_LABELS if labelled else _EITHER_WAY
    if not text.strip():
        raise ValueError(f"{name} is empty: a tree has at least one word.")
    if labelled is None:
        # Without labels nothing but words stands in a string.
        only_words = words is not None and casefolded(re.findall(r"[^\s()]+", text)) == casefolded(words)
        labelled = not only_words and not _lacks_labels(text)
    if labelled and (spaced := re.search(r"\(\s+[^\s()]+", text)):
        raise ValueError(f"{name} has {spaced.group()!r}, where a blank stands in place of a label: {how}.")
    try:
        # nltk takes the first word in a bracket for its label, past a blank too: where there is none, what cannot be a word.
        tree = Tree.fromstring(text if labelled else text.replace("(", "(\0 "))
    except ValueError as error:
        reason = " ".join(str(error).replace("\0", "").split())
        raise ValueError(f"{name} is not one bracketed sentence ({reason}): {how}.") from error
    return _from_nltk(tree, unary_chains, name, how if labelled else None)


def _lacks_labels(text: str) -> bool:
    """Whether a bracket begins with another one, besides an outermost one that only wraps the tree; or it is one word."""
    inner = text.strip()
    depth = 0
    if begins := re.match(r"\(\s*(?=\()", inner):
        for place in re.finditer(r"[()]", inner):
            depth += 1 if place.group() == "(" else -1
            if depth == 1 and place.group() == ")":
                # The first part is closed: whether it is the only one.
                if inner[place.end() :].strip() == ")":
                    inner = inner[begins.end() : place.end()]
                break
    return re.search(r"\(\s*\(|^\(\s*[^\s()]+\s*\)$", inner) is not None


def _from_nltk(tree: Tree, unary_chains: bool, name: str, how_to_label: str | None = None) -> Bracketing:
    """Read a tree; with `how_to_label` every bracket inside must have a label, and that says how."""
    while _label(tree) in WRAPPERS and len(tree) == 1 and isinstance(tree[0], Tree):
        tree = tree[0]
    words: list[str] = []
    tags: list[str | None] = []
    brackets: list[tuple[Span, str | None]] = []
    # Without recursion, which a deep tree would exhaust: a bracket comes up a second time when it closes.
    agenda: list[tuple[Tree | str, int | None]] = [(tree, None)]
    while agenda:
        node, first = agenda.pop()
        if not isinstance(node, Tree):
            if not isinstance(node, str) or not node.strip():
                raise ValueError(f"{name} has the leaf {node!r}, which is no word.")
            words.append(node)
            tags.append(None)
            continue
        label = _label(node)
        children = list(node)
        if first is not None:
            brackets.append(((first, len(words) - 1), label or None))
        elif not children:
            raise ValueError(f"{name} has a bracket {label!r} without a word: remove empty constituents first.")
        elif how_to_label and not label:
            raise ValueError(f"{name} has a bracket without a label: {how_to_label}.")
        elif len(children) == 1 and isinstance(children[0], str) and children[0].strip():
            words.append(children[0])
            tags.append(label or None)
        else:
            agenda.append((node, len(words)))
            agenda.extend((child, None) for child in reversed(children))
    if not unary_chains:
        outermost: dict[Span, str | None] = {}
        for span, label in brackets:  # the outermost of a unary chain comes last
            if span[0] < span[1]:
                outermost[span] = label or outermost.get(span)
        brackets = list(outermost.items())
    return Bracketing(tuple(words), tuple(span for span, _ in brackets), tuple(label for _, label in brackets), tuple(tags))


def _label(node: Tree) -> str:
    return str(node.label() or "").strip("\0")


def _from_mapping(tree: Mapping, name: str) -> Bracketing:
    given = {key: value for key, value in tree.items() if value is not None}
    if not {"words", "spans"} <= given.keys() <= {"words", "spans", "labels", "tags"}:
        raise ValueError(
            f"{name} is a mapping with {', '.join(map(str, given))}: it needs words and spans, and labels and tags may stand "
            "beside them."
        )
    words, spans = given["words"], given["spans"]
    if isinstance(words, str) or len(words) == 0 or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"{name} has {words!r} for words: a list of at least one word is needed.")
    for key, each, what in (("labels", spans, "spans"), ("tags", words, "words")):
        if isinstance(given.setdefault(key, [None] * len(each)), str) or len(given[key]) != len(each):
            raise ValueError(f"{name} has {len(each)} {what} and {len(given[key])} {key}: a list with one for each is needed.")
    labels: dict[Span, str | None] = {}
    for span, label in zip(spans, given["labels"], strict=True):
        try:
            first, last = map(index, span)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} has the span {span!r}: first and last word are needed, two whole numbers.") from error
        if not 0 <= first <= last < len(words):
            raise ValueError(
                f"{name} has the span ({first}, {last}), which does not fit its {len(words)} words: first and last word are "
                "counted from 0, both inclusive."
            )
        if first < last:
            labels[first, last] = label
    _check_nested(labels, name)
    ordered = tuple(sorted(labels, key=children_first))
    return Bracketing(tuple(words), ordered, tuple(labels[span] for span in ordered), tuple(given["tags"]))


def _check_nested(spans: Iterable[Span], name: str) -> None:
    around: list[Span] = []
    for first, last in sorted(spans, key=lambda span: (span[0], -span[1])):  # parents before children
        while around and around[-1][1] < first:
            around.pop()
        if around and around[-1][1] < last:
            raise ValueError(
                f"{name} has the spans {around[-1]} and {(first, last)}, which cross: one lies inside or beside the other."
            )
        around.append((first, last))


def _other_words(found: Sequence[str], words: Sequence[str], name: str) -> str:
    if len(found) != len(words):
        what = f"{len(found)} words, and the sentence has {len(words)}"
    else:
        place = next(place for place, (a, b) in enumerate(zip(casefolded(found), casefolded(words), strict=True)) if a != b)
        what = f"{found[place]!r} where the sentence has {words[place]!r}"
    return (
        f"{name} does not fit its sentence: it has {what}. The sentence begins {' '.join(words[:6])!r}, the tree "
        f"{' '.join(found[:6])!r}."
    )
