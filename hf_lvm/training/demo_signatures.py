"""What the demo of StructVAE is trained on: the first line of a docstring, and the signature of the function it is of.

The words of an utterance are small letters and signs, so that a name which the line says in capitals, or at the end of a
sentence, is a word that can be copied into the signature.
"""

import json
import re
from pathlib import Path

from hf_lvm.data import documentation, documentation_meanings
from hf_lvm.grammars.languages import build_language

# Longer lines are rare and cost as much as several; so do longer signatures, which no line describes. They are left out of
# training alone: held-out rows are all there.
MOST_WORDS = 20
MOST_TOKENS = 25
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Words and punctuation marks, in small letters."""
    return _WORD.findall(text.lower())


def write_signatures(folder: Path) -> str:
    """Write train.jsonl, validation.jsonl and test.jsonl with `text` and `meaning`, and say what the corpus is.

    Training rows have `MOST_WORDS` words and `MOST_TOKENS` tokens of Python at most.
    """
    language = build_language("python")
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for split, rows in documentation_meanings().items():
        pairs = [(words_of(row["text"]), row["meaning"]) for row in rows]
        if split == "train":
            pairs = [
                (words, meaning)
                for words, meaning in pairs
                if len(words) <= MOST_WORDS and len(language.tokens(meaning)) <= MOST_TOKENS
            ]
        lines = [
            json.dumps({"text": " ".join(words), "meaning": meaning}, ensure_ascii=False) + "\n" for words, meaning in pairs
        ]
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        sizes.append(f"{len(lines):,} {split}")
    return (
        f"{documentation.describe(documentation.load('signatures'))}; to train on those of at most {MOST_WORDS} words and "
        f"{MOST_TOKENS} tokens of Python: {', '.join(sizes)}"
    )
