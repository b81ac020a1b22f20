"""Bracketed sentences in and out: strings and trees to words and spans, n-ary constituents to binary ones, back to strings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index

from nltk import Tree

Span = tuple[int, int]
# Trees come as bracketed strings, as nltk trees, or as words and spans.
AnyTree = str | Tree | Mapping

_HOW_TO_WRITE = "write (S (NP the dog) barks), or ((the dog) barks) without labels, and a bracket among the words as -LRB-"


@dataclass(frozen=True)
class Bracketing:
    """The words of a sentence and constituents of it: those of a whole tree, or some only.

    Attributes:
        words: n words, at least one.
        spans: (first word, last word) of each constituent of two words or more, counted from 0 and both inclusive. They nest,
            children stand before parents, and none stands twice: of a unary chain one is left.
        labels: a label for each span, None where there is none; of a unary chain the outermost.
        tags: a tag for each word, None where there is none.
    """

    words: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    labels: tuple[str | None, ...] = ()
    tags: tuple[str | None, ...] = ()

    @property
    def is_binary_tree(self) -> bool:
        """Whether nothing is left open: n words have n - 1 spans, as many as nest."""
        return len(self.spans) == len(self.words) - 1

    def write(self, label: str = "X", name: str = "tree") -> str:
        """One bracketed string such as `(S (NP (DT the) (NN dog)) (VBZ barks))`, from which [`read_tree`] makes the same.

        Args:
            label: of spans without a label, and of the bracket around the whole sentence, which is always written.
            name: what to call the tree in an error.

        Raises:
            ValueError: a word, label or tag that is empty or holds a blank or a bracket.
        """
        for token in (*self.words, *self.labels, *self.tags, label):
            if token is not None and not re.fullmatch(r"[^\s()]+", token):
                raise ValueError(f"{name} holds {token!r}, which cannot stand in a bracketed string: {_HOW_TO_WRITE}.")
        tags = self.tags or (None,) * len(self.words)
        pieces = [word if tag is None else f"({tag} {word})" for word, tag in zip(self.words, tags, strict=True)]
        labels = dict(zip(self.spans, self.labels, strict=True))
        whole = (0, len(self.words) - 1)
        for first, last in self.spans if whole in labels else (*self.spans, whole):
            pieces[first] = f"({labels.get((first, last)) or label} {pieces[first]}"
            pieces[last] += ")"
        return " ".join(pieces)


def read_tree(
    tree: AnyTree, words: Sequence[str] | None = None, labelled: bool | None = None, name: str = "tree"
) -> Bracketing:
    """Read one tree.

    Args:
        tree: in one of three forms:

            - a bracketed string, `"(S (NP (DT the) (NN dog)) (VBZ barks))"`, `"(S (NP the dog) barks)"` or, without labels,
              `"((the dog) barks)"`. A bracket around a single word is its tag. nltk reads up to 500 brackets in one another;
            - an `nltk.Tree` of the same form, as deep as it may be;
            - a mapping `{"words": ["the", "dog", "barks"], "spans": [(0, 1)]}`, with `labels` and `tags` if there are any: any
              spans that nest, in any order; nothing but these is taken for a constituent.
        words: the words of the sentence, where they are known; the tree must have the same, whatever their case.
        labelled: whether the first word in each bracket of a string is its label. By default the words of the sentence
            decide; where they are not given, a string has no labels if one of its brackets begins with another one, besides an
            outermost one that holds nothing else. So `"(the (dog barks))"` needs either `words` or `labelled=False`.
        name: what to call the tree in an error.

    Raises:
        ValueError: no word, a bracket without a word, brackets that are not balanced, spans that cross or do not fit the
            words, other words than those of the sentence.
    """
    if isinstance(tree, Mapping):
        found = _from_mapping(tree, name)
    elif isinstance(tree, Tree):
        found = _from_nltk(tree, name)
    elif isinstance(tree, str):
        found = _from_string(tree, words, labelled, name)
    else:
        raise ValueError(
            f"{name} is {type(tree).__name__}: a bracketed string, an nltk.Tree or a mapping with words and spans is needed."
        )
    if words is None:
        return found
    if not _same_words(found.words, words):
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
    have no label.
    """
    whole = (0, len(tree.words) - 1)
    labels = dict(zip(tree.spans, tree.labels, strict=True))
    # Constituents that have no parent yet; the last ones are the parts of what comes next.
    parts: list[Span] = []
    made: list[Span] = []
    place = 0
    for first, last in (*tree.spans, whole) if whole not in labels and len(tree.words) > 1 else tree.spans:
        while place <= last:
            parts.append((place, place))
            place += 1
        count = next(count for count in range(1, len(parts) + 1) if parts[-count][0] == first)
        made += [(begin, last) for begin, _ in reversed(parts[-count:-1])]
        parts[-count:] = [(first, last)]
    return replace(tree, spans=tuple(made), labels=tuple(labels.get(span) for span in made))


def children_first(span: Span) -> tuple[int, int]:
    """A key to sort spans by, so that the parts of a constituent stand before it."""
    return span[1], -span[0]


def _from_string(text: str, words: Sequence[str] | None, labelled: bool | None, name: str) -> Bracketing:
    if not text.strip():
        raise ValueError(f"{name} is empty: a tree has at least one word.")
    if labelled is None and words is not None:
        # Without labels nothing but words stands in a string.
        labelled = not _same_words(re.findall(r"[^\s()]+", text), words)
    elif labelled is None:
        labelled = not _lacks_labels(text)
    return _from_nltk(_parse(text, labelled, name), name)


def _parse(text: str, labelled: bool, name: str) -> Tree:
    # nltk takes the first word in a bracket for its label, past a blank too: without labels, and where one is missing, it gets
    # an empty one from what cannot be a word.
    marked = re.sub(r"\((?=\s)" if labelled else r"\(", "(\0 ", text)
    try:
        tree = Tree.fromstring(marked)
    except ValueError as error:
        reason = " ".join(str(error).replace("\0", "").split())
        raise ValueError(f"{name} is not one bracketed sentence ({reason}): {_HOW_TO_WRITE}.") from error
    return tree


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


def _from_nltk(tree: Tree, name: str) -> Bracketing:
    words: list[str] = []
    tags: list[str | None] = []
    labels: dict[Span, str | None] = {}
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
        label = str(node.label() or "").strip("\0") or None
        children = list(node)
        if first is not None:
            if first < len(words) - 1:
                # The outermost of a unary chain closes last.
                span = (first, len(words) - 1)
                labels[span] = label or labels.get(span)
        elif not children:
            raise ValueError(f"{name} has a bracket {label or ''!r} without a word: remove empty constituents first.")
        else:
            only = children[0] if len(children) == 1 else None
            if isinstance(only, str) and only.strip():
                words.append(only)
                tags.append(label)
            else:
                agenda.append((node, len(words)))
                agenda.extend((child, None) for child in reversed(children))
    return _bracketing(words, labels, tags)


def _from_mapping(tree: Mapping, name: str) -> Bracketing:
    if not {"words", "spans"} <= tree.keys():
        raise ValueError(f"{name} is a mapping with {', '.join(map(str, tree))}: it needs words and spans.")
    words, spans = tree["words"], tree["spans"]
    if isinstance(words, str) or len(words) == 0 or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"{name} has {words!r} for words: a list of at least one word is needed.")
    given = {key: tree.get(key) or [None] * len(each) for key, each in (("labels", spans), ("tags", words))}
    for key, each in (("labels", spans), ("tags", words)):
        if len(given[key]) != len(each):
            raise ValueError(f"{name} has {len(each)} {'spans' if key == 'labels' else 'words'} and {len(given[key])} {key}.")
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
    return _bracketing(words, labels, given["tags"])


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


def _bracketing(words: Sequence[str], labels: Mapping[Span, str | None], tags: Sequence[str | None]) -> Bracketing:
    spans = tuple(sorted(labels, key=children_first))
    return Bracketing(tuple(words), spans, tuple(labels[span] for span in spans), tuple(tags))


def _same_words(found: Sequence[str], words: Sequence[str]) -> bool:
    return len(found) == len(words) and all(a == b or a.casefold() == b.casefold() for a, b in zip(found, words, strict=True))


def _other_words(found: Sequence[str], words: Sequence[str], name: str) -> str:
    if len(found) != len(words):
        what = f"{len(found)} words, and the sentence has {len(words)}"
    else:
        place = next(place for place, pair in enumerate(zip(found, words, strict=True)) if not _same_words(*zip(pair)))
        what = f"{found[place]!r} where the sentence has {words[place]!r}"
    return (
        f"{name} does not fit its sentence: it has {what}. The sentence begins {' '.join(words[:6])!r}, the tree "
        f"{' '.join(found[:6])!r}."
    )
