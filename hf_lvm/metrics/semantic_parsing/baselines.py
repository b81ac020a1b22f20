"""Meanings that need no parser, to print beside those of one: of the nearest training utterance, and of the usual shape."""

from collections import Counter
from collections.abc import Iterator, Sequence

from sklearn.feature_extraction.text import TfidfVectorizer

from hf_lvm.grammars.abstract_syntax import Node, Value
from hf_lvm.grammars.languages import Language

# Cosines that differ by less are alike: the order of a sum makes such differences.
_DECIMALS = 10
_BATCH = 512


def nearest_neighbour(train_texts: Sequence[str], train_meanings: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The meaning of the training utterance that is most like each text, by the cosine of tf-idf vectors of words.

    Words are runs of letters, digits and underscores, whatever their case. tf-idf is that of scikit-learn with its defaults
    (smoothed idf, fitted on the training utterances); of several that are alike the first counts, which is the first of all
    where no word is known.

    Args:
        train_texts, train_meanings: N labelled utterances.
        texts: M utterances.

    Returns:
        M meanings.

    Raises:
        ValueError: no training utterance, another number of meanings, or training utterances without a word.
    """
    if len(train_texts) != len(train_meanings) or not train_texts:
        raise ValueError(
            f"there are {len(train_texts)} training utterances and {len(train_meanings)} meanings; one meaning for each, "
            "and at least one pair, is needed"
        )
    vectorizer = TfidfVectorizer(token_pattern=r"\w+")
    try:
        known = vectorizer.fit_transform(train_texts)
    except ValueError as error:
        raise ValueError(f"the {len(train_texts)} training utterances hold no word; there is nothing to be like") from error
    found: list[str] = []
    for start in range(0, len(texts), _BATCH):
        alike = (vectorizer.transform(texts[start : start + _BATCH]) @ known.T).toarray().round(_DECIMALS)
        found += [train_meanings[row] for row in alike.argmax(1)]
    return found


def majority_template(language: Language, train_meanings: Sequence[str]) -> str:
    """The meaning of the most frequent shape, with the most frequent value in each of its places.

    The shape of a meaning is its tree without the values of the types that may be copied from a sentence (`language.copied`):
    entities of lambda calculus; names, whole numbers and strings of Python, so that `def f(x): pass` and `def g(y): pass` have
    one shape. Where the values together make no text of the language, the most frequent meaning of that shape is taken. Of
    equally frequent ones the first counts. It is one meaning, to be predicted for every sentence.

    Args:
        language: of the meanings.
        train_meanings: at least one.

    Raises:
        ValueError: no meaning, or one that the language does not derive, with its row.
    """
    if not train_meanings:
        raise ValueError("there is no training meaning; at least one is needed")
    trees = [language.parse(text, f"train_meanings[{row}]") for row, text in enumerate(train_meanings)]
    taken: list[tuple[Node, tuple[str, ...]]] = []
    for tree in trees:
        values: list[str] = []
        taken.append((_replaced(language, tree, values), tuple(values)))
    shape = Counter(each for each, _ in taken).most_common(1)[0][0]
    rows = [row for row, (each, _) in enumerate(taken) if each == shape]
    usual = [Counter(column).most_common(1)[0][0] for column in zip(*(taken[row][1] for row in rows), strict=True)]
    tree = _replaced(language, trees[rows[0]], [], iter(usual))
    try:
        return language.write(tree)
    except ValueError:
        return language.write(Counter(trees[row] for row in rows).most_common(1)[0][0])


def _replaced(language: Language, tree: Node, values: list[str], others: Iterator[str] | None = None) -> Node:
    """A tree with other values, or empty ones, where they may be copied; what was there goes to `values`."""
    children: list[Value] = []
    for field, child in zip(language.grammar.constructors[tree.constructor].fields, tree.children, strict=True):
        parts = []
        for part in child if isinstance(child, tuple) else (child,):
            if isinstance(part, Node):
                part = _replaced(language, part, values, others)
            elif part is not None and field.type in language.copied:
                values.append(part)
                part = "" if others is None else next(others)
            parts.append(part)
        children.append(tuple(parts) if isinstance(child, tuple) else parts[0])
    return Node(tree.constructor, tuple(children))
