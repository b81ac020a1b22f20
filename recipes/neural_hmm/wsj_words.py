"""Words and part-of-speech tags from a file of trees, with the splits that the numbers of this package are measured on.

    python recipes/neural_hmm/wsj_words.py path/to/trees.jsonl data/wsj_words

A line of the input is a JSON object with `tree`, a bracketed string, and `file`, such as "wsj_0001". Files up to wsj_0159 are
for training, up to wsj_0179 for validation, the rest is the test set. Words are in lower case and digits are 0, as is usual
for part-of-speech induction. The output has `text` and `tags`, both separated by blanks.
"""

import argparse
import json
import re
from pathlib import Path

from nltk import Tree

LAST_FILE = {"train": 159, "validation": 179}


def split_of(file: str) -> str:
    number = int(file.removeprefix("wsj_"))
    return next((split for split, last in LAST_FILE.items() if number <= last), "test")


def tagged_words(tree: str) -> tuple[str, str]:
    """Text and tags of a bracketed tree."""
    pairs = Tree.fromstring(tree).pos()
    words = [re.sub(r"\d", "0", word.lower()) for word, _ in pairs]
    return " ".join(words), " ".join(tag for _, tag in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, help="JSON lines with `tree` and `file`")
    parser.add_argument("output_dir", type=Path, help="folder for train.jsonl, validation.jsonl and test.jsonl")
    arguments = parser.parse_args()
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    with arguments.trees.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            text, tags = tagged_words(row["tree"])
            splits[split_of(row["file"])].append(json.dumps({"text": text, "tags": tags}))
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (arguments.output_dir / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        print(f"{split}: {len(rows):,} sentences")


if __name__ == "__main__":
    main()
