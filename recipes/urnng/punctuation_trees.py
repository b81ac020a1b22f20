"""Trees that know nothing but punctuation, to begin q(z|x) with: a parser for texts that nobody has parsed.

    python recipes/urnng/punctuation_trees.py data/wsj25/train.jsonl data/wsj25_punctuation.jsonl

The marks that end a sentence are attached to all before them, the rest is cut behind commas, colons, semicolons and dashes,
and the pieces, and the words inside a piece, branch to the right. The input is any file that `hf_lvm.data.load_texts` reads,
words separated by blanks; the output has `text` and `tree`, a bracketed string without labels, as the key `bracketings` takes
it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from hf_lvm.data import Bracketing
from hf_lvm.data.text_files import read_file

FINAL = frozenset({".", "?", "!", "''", '"'})
CUTS = frozenset({",", ";", ":", "--"})


def punctuation_tree(words: Sequence[str]) -> Bracketing:
    """The binary tree of a sentence of one word or more."""
    end = len(words)
    while end > 1 and words[end - 1] in FINAL:
        end -= 1
    pieces, begin = [], 0
    for place in range(end):
        if words[place] in CUTS or place == end - 1:
            pieces.append((begin, place))
            begin = place + 1
    spans = {(0, last) for last in range(end - 1, len(words))}
    for first, last in pieces:
        # The mark stands beside all of its piece.
        inner = last - 1 if words[last] in CUTS and last > first else last
        spans |= {(first, last), (first, end - 1)} | {(word, inner) for word in range(first, inner)}
    wide = sorted((span for span in spans if span[0] < span[1]), key=lambda span: (span[1] - span[0], span))
    return Bracketing(tuple(words), tuple(wide), (None,) * len(wide), (None,) * len(words))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="a file of sentences, words separated by blanks")
    parser.add_argument("output", type=Path, help="JSON lines with `text` and `tree`")
    arguments = parser.parse_args()
    rows = []
    for text in read_file(arguments.texts, "text")["text"]:
        if text and text.split():
            rows.append(json.dumps({"text": text, "tree": punctuation_tree(text.split()).write()}))
    arguments.output.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{len(rows):,} trees")


if __name__ == "__main__":
    main()
