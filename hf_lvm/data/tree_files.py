"""Read data sets of trees, and the trees of another parser for sentences that are already there."""

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from datasets import Dataset, DatasetDict

from hf_lvm.data.loading import complete_texts, name_columns, read_sources
from hf_lvm.data.splits import check_fractions
from hf_lvm.data.text_files import read_file, split_files
from hf_lvm.grammars.brackets import Bracketing, casefolded, read_trees

logger = logging.getLogger(__name__)


def load_trees(
    dataset: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    tree_column: str = "tree",
    text_column: str = "text",
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    min_words: int | None = None,
    max_words: int | None = None,
    config_name: str | None = None,
    cache_dir: str | os.PathLike | None = None,
    labelled: bool | None = None,
) -> DatasetDict:
    """Load sentences with trees, with the splits `train`, `validation` and `test`, as [`load_texts`] loads texts.

    Args:
        dataset, data_dir, validation_fraction, test_fraction, min_words, max_words, config_name, cache_dir: As of
            `load_texts`. A txt file has one bracketed string a line.
        tree_column: The column with bracketed strings; it is named `tree` in the result.
        text_column: The column with the words, separated by blanks; it is named `text` in the result. Where there is none,
            it is made from the leaves of the trees; where there is, a tree may be empty or None: not known.
        labelled: Whether the first word in each bracket is its label; see [`read_tree`]. By default told by the words, or
            by whether a bracket begins with another one.

    Returns:
        In memory, the columns `text` and `tree`, and every other column under its name.

    Raises:
        FileNotFoundError, ConnectionError: As `load_texts`.
        ValueError: As `load_texts`; and, with the row named, what is no tree or does not fit its text.
    """
    check_fractions(validation_fraction, test_fraction)
    sources, name = read_sources(dataset, data_dir, tree_column, config_name, cache_dir)
    sources = {
        split: _with_texts(rows, tree_column, text_column, labelled, f"{name} ({split})") for split, rows in sources.items()
    }
    return complete_texts(sources, validation_fraction, test_fraction, min_words, max_words, name)


def load_bracketings(
    path: str | os.PathLike,
    texts: Sequence[str],
    tree_column: str = "tree",
    strict: bool = True,
    labelled: bool | None = None,
) -> list[str | None]:
    """The trees of another parser for given sentences, found by their words, whatever their case and order.

    Example:
        >>> trees = load_bracketings("trees_of_a_pcfg.txt", texts["train"]["text"][:])
        >>> train = texts["train"].add_column("tree", trees)

    Args:
        path: A file, or a folder of files for several splits, all of which are read. A txt file has one bracketed string a
            line.
        texts: N sentences, words separated by blanks.
        tree_column: The column with bracketed strings.
        strict: Whether every sentence must have one. Otherwise a log line counts those that have none.
        labelled: As of [`load_trees`].

    Returns:
        For each sentence the tree in one form, `(X (X the dog) barks)`, or None where there is none and `strict` is off. Of
        several for the same words the first.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a missing column, what is no tree, a sentence without one.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r} with trees (looked from {Path.cwd()}).")
    sentences = [text.split() for text in texts]
    known = {casefolded(words) for words in sentences}
    found: dict[tuple[str, ...], Bracketing] = {}
    for file in split_files(path).values() if path.is_dir() else (path,):
        rows = name_columns(read_file(file, tree_column), {"tree": tree_column}, str(file))
        for tree in read_trees(known_trees(rows["tree"][:]), None, labelled, f"{file}, tree"):
            if tree is not None and (words := casefolded(tree.words)) in known:
                found.setdefault(words, tree)
    trees = [found.get(casefolded(words)) for words in sentences]
    missing = [row for row, tree in enumerate(trees) if tree is None]
    if missing and (strict or len(missing) == len(trees)):
        raise ValueError(
            f"{path} has no tree for sentence {missing[0]}, {texts[missing[0]]!r}: {len(missing)} of {len(trees)} sentences "
            "have none. Its words must be those of the sentence; strict=False takes what there is."
        )
    if missing:
        logger.info("%s: %d of %d sentences have no tree.", path, len(missing), len(trees))
    return [
        None if tree is None else Bracketing(tuple(words), tree.spans).write()
        for words, tree in zip(sentences, trees, strict=True)
    ]


def known_trees(trees: Iterable[str | None]) -> list[str | None]:
    """A column of bracketed strings with None wherever it is empty: where nothing is known of a sentence."""
    return [None if tree is None or not tree.strip() else tree for tree in trees]


def _with_texts(rows: Dataset, tree_column: str, text_column: str, labelled: bool | None, source: str) -> Dataset:
    columns, sentences = {"tree": tree_column}, None
    # Trees may stand in a column "text", and then there is none with the words.
    has_texts = text_column != "text" or ("text" in rows.column_names and tree_column != "text")
    rows = name_columns(rows, columns | {"text": text_column} if has_texts else columns, source)
    if has_texts:
        sentences = [(text or "").split() for text in rows["text"][:]]
    strings = known_trees(rows["tree"][:])
    trees = read_trees(strings, sentences, labelled, f"{source}, tree")
    if sentences is None:
        rows = rows.add_column("text", ["" if tree is None else " ".join(tree.words) for tree in trees])
    strings = [None if string is None else " ".join(string.split()) for string in strings]
    return rows.remove_columns("tree").add_column("tree", strings)
