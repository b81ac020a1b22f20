"""What the demo of the latent summarizer is trained on: docstrings, of which the summary line says what matters.

A summary line is written anew, and is no part of the body below it: one in a hundred stands there word for word. What a
deletion can be told is which words of the body the summary line has, too, by their stems and as often as there.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datasets import DatasetDict
from nltk.stem.porter import PorterStemmer

from hf_lvm.data import documentation

# Longer bodies cost the cube of their words; three quarters of all are shorter.
MOST_WORDS = 60
SENTENCES = 1500
FEWEST_WORDS = 12
_TOKEN = re.compile(r"\w+(?:[-'./]\w+)*(?:\(\))?|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Words and punctuation marks; a capital at the beginning of a word of small letters is none."""
    return [word.lower() if word[1:].islower() or len(word) == 1 else word for word in _TOKEN.findall(text)]


def shared_words(text: Sequence[str], summary: Sequence[str]) -> list[bool]:
    """Which words of a text its summary has, too: by stems, the first ones, and each as often as the summary has it."""
    left = Counter(_stem(word) for word in summary if _is_word(word))
    shared = []
    for word in text:
        stem = _stem(word)
        shared.append(left[stem] > 0)
        left[stem] -= shared[-1]
    return shared


def write_summaries(folder: Path) -> str:
    """Write train.jsonl, validation.jsonl and test.jsonl with `text`, `summary` and `keep`, and say what the corpus is.

    Bodies have `MOST_WORDS` at most. Training has `SENTENCES` sentences more, about which nothing is known; none is of a body
    or a summary line that is held out.
    """
    pairs = documentation.load("summaries")
    splits = {split: [row for row in map(_pair, rows) if row is not None] for split, rows in pairs.items()}
    told = len(splits["train"])
    splits["train"] += _sentences(pairs)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    sizes = ", ".join(f"{len(rows):,} {split}" for split, rows in splits.items())
    more = len(splits["train"]) - told
    return (
        f"{documentation.describe(pairs)}; bodies of at most {MOST_WORDS} words, and {more:,} sentences to train on without a "
        f"summary: {sizes}"
    )


def _pair(row: dict[str, str]) -> dict[str, str] | None:
    text, summary = words_of(row["text"]), words_of(row["summary"])
    # Each summary ends with a full stop, which says nothing.
    while summary and not _is_word(summary[-1]):
        summary.pop()
    if not summary or len(text) > MOST_WORDS:
        return None
    keep = "".join("01"[kept] for kept in shared_words(text, summary))
    return {"text": " ".join(text), "summary": " ".join(summary), "keep": keep}


def _sentences(pairs: DatasetDict) -> list[dict[str, str | None]]:
    held_out = " ".join(
        " ".join(words_of(row[column])) for split in ("validation", "test") for row in pairs[split] for column in row
    )
    rows: list[dict[str, str | None]] = []
    for sentence in documentation.load("sentences", min_words=FEWEST_WORDS)["train"]["text"]:
        text = words_of(sentence)
        if len(text) <= MOST_WORDS and " ".join(text).rstrip(" .:") not in held_out:
            rows.append({"text": " ".join(text), "summary": None, "keep": None})
    step = max(len(rows) // SENTENCES, 1)
    return rows[::step][:SENTENCES]


def _is_word(word: str) -> bool:
    return any(map(str.isalnum, word))


@functools.cache
def _stem(word: str) -> str:
    return PorterStemmer().stem(word)
