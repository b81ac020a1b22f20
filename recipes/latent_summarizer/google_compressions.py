"""The Google sentence-compression corpus in one form, split as it is usually reported.

    python recipes/latent_summarizer/google_compressions.py data/google_compression data/google

The input folder has train.jsonl and valid.jsonl with `tokens` and `keep` (lower-case, `##` for words with a digit, sorted by
length) and eval.jsonl with `tokens`, `keep` and `compression` as they were written. The output has the columns `text`, `keep`
and `summary`, all lower-case and with `##`:

- train.jsonl: all training texts of at most `--max_words` words, shuffled, so that the first n are n drawn ones;
- valid.jsonl: `--num_validation` of those of valid.jsonl, likewise;
- test.jsonl: the first 1,000 of eval.jsonl, whatever their length, with their compressions as references;
- exact/train.jsonl, valid.jsonl, test.jsonl: the same, with the last 8,000 of eval.jsonl to train on and the second 1,000 to
  select on. Their masks are exact, where a fifth of the others miss words.

Out of domain: `--texts FILE ...` writes files with `text` and `summaries` in the same form into the folder `others`, one
reference more a column (`summaries` stays a list).
"""

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path

NUM_TEST = 1000


def one_form(text: str) -> str:
    """Lower case, and `##` for every word with a digit."""
    return " ".join("##" if any(map(str.isdigit, word)) else word for word in text.lower().split())


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path}: {len(rows):,} texts")


def of_row(row: dict) -> dict:
    """Text, mask and compression of a row of the corpus; the compression is the kept words where it is not written out."""
    text = one_form(row["tokens"])
    kept = None
    if row["keep"] is not None:
        kept = " ".join(word for word, sign in zip(text.split(), row["keep"], strict=True) if sign == "1")
    return {"text": text, "keep": row["keep"], "summary": kept or one_form(row["compression"])}


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
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="files with `text` and `summaries` to convert")
    arguments = parser.parse_args()
    evaluated = read(arguments.corpus / "eval.jsonl")
    test = [of_row(row) for row in evaluated[:NUM_TEST]]
    write(arguments.output / "train.jsonl", short(read(arguments.corpus / "train.jsonl"), arguments.max_words))
    valid = short(read(arguments.corpus / "valid.jsonl"), arguments.max_words)
    write(arguments.output / "valid.jsonl", valid[: arguments.num_validation])
    write(arguments.output / "exact" / "train.jsonl", short(evaluated[2 * NUM_TEST :], arguments.max_words))
    write(arguments.output / "exact" / "valid.jsonl", short(evaluated[NUM_TEST : 2 * NUM_TEST], arguments.max_words))
    for folder in (arguments.output, arguments.output / "exact"):
        write(folder / "test.jsonl", test)
    for path in arguments.texts:
        rows = read(path)
        own = ({"text": one_form(row["text"]), "summaries": [one_form(each) for each in row["summaries"]]} for row in rows)
        write(arguments.output / "others" / path.name, own)


if __name__ == "__main__":
    main()
