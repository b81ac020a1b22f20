"""The documentation corpus: English that every Python installation carries, ready to train on without a download.

It is read from the docstrings of the standard library and from the language reference behind `help()`. Nothing is
imported and nothing is downloaded, so a fresh machine has it in a few seconds. It depends on the version of Python
that runs: print `describe(...)` beside every number measured on it.
"""

import hashlib
import platform
import re
from collections.abc import Iterator

from datasets import Dataset, DatasetDict

from hf_lvm.data.docstrings import read_documentation
from hf_lvm.data.sentences import clean_sentences, summary_and_body
from hf_lvm.data.splits import split_dataset

KINDS = {
    "sentences": "sentences",
    "documents": "documents",
    "summaries": "(body, summary) pairs",
    "signatures": "(summary, signature) pairs",
}
# Share of the rows that becomes the validation split; the test split gets the same share. 5% by default, but the coherence of
# topics is counted in held-out documents, and in so few of them most pairs of words would never occur together.
HELD_OUT = {"documents": 0.15}
NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
# A body shorter than its summary has nothing to be summed up.
MIN_BODY_WORDS = 12


def load(
    kind: str = "sentences",
    include_site_packages: bool = False,
    min_words: int | None = None,
    max_words: int | None = None,
) -> DatasetDict:
    """Read the documentation corpus of this Python installation.

    Texts are deduplicated first (capitals and punctuation do not make a text new), then split into about 90% train, 5%
    validation and 5% test (documents: 70%, 15%, 15%) by a hash of the text: adding texts never moves the others.

    Args:
        kind (`str`, *optional*, defaults to `"sentences"`):
            `"sentences"`: column `text`, about 16,000 sentences. `"documents"`: column `text`, the clean sentences of
            a whole docstring, about 7,400. `"summaries"`: columns `text` (the body of a docstring) and `summary` (its
            first sentence), about 2,200 pairs. `"signatures"`: columns `text` (the summary of a function) and
            `signature` (its `def` line), about 5,400 pairs. Numbers are for Python 3.11.
        include_site_packages (`bool`, *optional*, defaults to `False`):
            Read the docstrings of all installed packages too: several times as much, and minutes instead of seconds.
        min_words, max_words (`int`, *optional*):
            Keep the rows whose `text` has at least / at most this many words (split at white space).

    Returns:
        `DatasetDict` with the splits `train`, `validation` and `test`, in memory.

    Raises:
        ValueError: for an unknown `kind`, or when no text is left between `min_words` and `max_words`.
        FileNotFoundError: when this installation of Python carries no source files.
    """
    if kind not in KINDS:
        raise ValueError(f"Unknown kind of documentation {kind!r}; choose one of {', '.join(map(repr, KINDS))}.")
    readers = {"sentences": _sentences, "documents": _documents, "summaries": _summaries, "signatures": _signatures}
    rows = readers[kind](include_site_packages)
    kept: dict[str, dict[str, str]] = {}
    for row in rows:
        kept.setdefault(_identity(row["text"]), row)
    kept = {
        key: row
        for key, row in kept.items()
        if (min_words or 0) <= len(row["text"].split()) and (not max_words or len(row["text"].split()) <= max_words)
    }
    if not kept:
        raise ValueError(
            f"No text of the documentation corpus has between min_words={min_words} and max_words={max_words} words."
        )
    held_out = HELD_OUT.get(kind, 0.05)
    return split_dataset(Dataset.from_list(list(kept.values())), list(kept), held_out, held_out)


def _identity(text: str) -> str:
    """What makes a text the same text: its letters and digits, in lower case."""
    return NOT_ALPHANUMERIC.sub(" ", text).strip().lower()


def _sentences(include_site_packages: bool) -> Iterator[dict[str, str]]:
    for docstring in read_documentation(include_site_packages):
        for sentence in clean_sentences(docstring.text):
            yield {"text": sentence}


def _documents(include_site_packages: bool) -> Iterator[dict[str, str]]:
    for docstring in read_documentation(include_site_packages):
        sentences = clean_sentences(docstring.text)
        if sentences:
            yield {"text": " ".join(sentences)}


def _summaries(include_site_packages: bool) -> Iterator[dict[str, str]]:
    for docstring in read_documentation(include_site_packages):
        summary, body = summary_and_body(docstring.text)
        if summary and len(body.split()) >= MIN_BODY_WORDS:
            yield {"text": body, "summary": summary}


def _signatures(include_site_packages: bool) -> Iterator[dict[str, str]]:
    for docstring in read_documentation(include_site_packages):
        if docstring.signature is not None:
            summary, _ = summary_and_body(docstring.text)
            if summary:
                yield {"text": summary, "signature": docstring.signature}


def fingerprint(dataset: DatasetDict) -> str:
    """Twelve hexadecimal digits that change with any text, its order, its split or its column."""
    digest = hashlib.sha256()
    for split, rows in dataset.items():
        for column in sorted(rows.column_names):
            for part in (split, column, *map(str, rows[column][:])):
                digest.update(len(part).to_bytes(8, "big"))
                digest.update(part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:12]


def describe(dataset: DatasetDict, kind: str | None = None) -> str:
    """One line to print beside every number measured on the corpus: Python version, sizes and corpus hash.

    Args:
        kind (`str`, *optional*):
            What `load` was asked for. By default told by the columns, which takes documents for sentences.
    """
    columns = dataset["train"].column_names
    if kind is None:
        kind = "summaries" if "summary" in columns else "signatures" if "signature" in columns else "sentences"
    sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in dataset.items())
    total = sum(len(rows) for rows in dataset.values())
    return (
        f"documentation corpus of Python {platform.python_version()}: {total:,} {KINDS[kind]} ({sizes}), "
        f"corpus hash {fingerprint(dataset)}"
    )
