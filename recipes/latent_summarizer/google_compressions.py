"""The Google sentence-compression corpus, split as it is usually reported.

    python recipes/latent_summarizer/google_compressions.py data/google_compression data/google

The input folder has train.jsonl and valid.jsonl with `tokens` and `keep` (lower-case, `##` for words with a digit, sorted by
length) and eval.jsonl with `tokens`, `keep` and `compression` as they were written. The output has the columns `text`, `keep`
and `summary`:

- train.jsonl: all training texts of at most `--max_words` words, shuffled, so that the first n are n drawn ones;
- valid.jsonl: `--num_validation` of those of valid.jsonl, likewise;
- test.jsonl: the first 1,000 of eval.jsonl, whatever their length, as they were written, with `compression` as the summary;
- exact/train.jsonl, valid.jsonl, test.jsonl: the same, with the last 8,000 of eval.jsonl to train on and the second 1,000 to
  select on. Their masks are exact, where a fifth of the others miss words.

A tokenizer with `lowercase` and `fold_numbers` reads both forms alike.
"""

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path

NUM_TEST = 1000


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows):,} texts")


def of_row(row: dict, written: bool = False) -> dict:
    """Text, mask and compression of a row of the corpus: the one that was written, or the kept words."""
    words = row["tokens"].split()
    if written or row["keep"] is None:
        return {"text": row["tokens"], "keep": row["keep"], "summary": row["compression"]}
    kept = [word for word, sign in zip(words, row["keep"], strict=True) if sign == "1"]
    return {"text": row["tokens"], "keep": row["keep"], "summary": " ".join(kept)}


def short(rows: Iterable[dict], max_words: int) -> list[dict]:
    """Rows that may be trained on, shuffled."""
    rows = [of_row(row) for row in rows if len(row["tokens"].split()) <= max_words and row["keep"]]
    random.Random(0).shuffle(rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="the folder with train.jsonl, valid.jsonl and eval.jsonl")
    parser.add_argument("output", type=Path, help="a folder to write into")
    parser.add_argument("--max_words", type=int, default=40, help="of texts to train and select on (default: 40)")
    parser.add_argument("--num_validation", type=int, default=2000, help="texts to select on (default: 2000)")
    arguments = parser.parse_args()
    evaluated = read(arguments.corpus / "eval.jsonl")
    test = [of_row(row, written=True) for row in evaluated[:NUM_TEST]]
    write(arguments.output / "train.jsonl", short(read(arguments.corpus / "train.jsonl"), arguments.max_words))
    valid = short(read(arguments.corpus / "valid.jsonl"), arguments.max_words)
    write(arguments.output / "valid.jsonl", valid[: arguments.num_validation])
    write(arguments.output / "exact" / "train.jsonl", short(evaluated[2 * NUM_TEST :], arguments.max_words))
    write(arguments.output / "exact" / "valid.jsonl", short(evaluated[NUM_TEST : 2 * NUM_TEST], arguments.max_words))
    for folder in (arguments.output, arguments.output / "exact"):
        write(folder / "test.jsonl", test)


if __name__ == "__main__":
    main()
