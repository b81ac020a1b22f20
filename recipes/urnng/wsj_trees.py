"""Sentences with gold trees from a file of trees, with the splits that the numbers of this package are measured on.

    python recipes/urnng/wsj_trees.py path/to/trees.jsonl data/wsj_trees --min_words 2 --max_words 25

A line of the input is a JSON object with `tree`, a bracketed string without traces, and `file`, such as "wsj_0001". Files up
to wsj_0159 are for training, up to wsj_0179 for validation, the rest is the test set. Words keep their capitals and digits,
and punctuation stays. The output has `text` and `tags`, both separated by blanks, and `tree`, the gold tree with its labels
and tags, as `bracket_f1` takes it for a reference: protocols that remove punctuation go by the tags in it.

Of the 3,914 trees of the sample that comes with nltk, 2 to 25 words leave 2,012, 172 and 138 sentences, and 2,819 different
words that stand in training more than once: 2,823 with the four special tokens of the code of Kim et al. (2019).
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from nltk import Tree

LAST_FILE = {"train": 159, "validation": 179}


def split_of(file: str) -> str:
    number = int(file.removeprefix("wsj_"))
    return next((split for split, last in LAST_FILE.items() if number <= last), "test")


def sentence_of(tree: str) -> dict[str, str]:
    """Text, tags and tree of a bracketed tree."""
    pairs = Tree.fromstring(tree).pos()
    return {
        "text": " ".join(word for word, _ in pairs),
        "tags": " ".join(tag for _, tag in pairs),
        "tree": " ".join(tree.split()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, help="JSON lines with `tree` and `file`")
    parser.add_argument("output_dir", type=Path, help="folder for train.jsonl, validation.jsonl and test.jsonl")
    parser.add_argument("--min_words", type=int, default=1, help="leave out shorter sentences, punctuation counted")
    parser.add_argument("--max_words", type=int, help="leave out longer sentences")
    arguments = parser.parse_args()
    splits: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}
    longest = arguments.max_words or float("inf")
    with arguments.trees.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            sentence = sentence_of(row["tree"])
            if arguments.min_words <= len(sentence["tags"].split()) <= longest:
                splits[split_of(row["file"])].append(sentence)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (arguments.output_dir / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        print(f"{split}: {len(rows):,} sentences")
    counts = Counter(word for row in splits["train"] for word in row["text"].split())
    print(f"{sum(count > 1 for count in counts.values()):,} words stand in training more than once")


if __name__ == "__main__":
    main()
