"""A trained summarizer on test sets of other domains than it was trained on, all of them into one file.

    python recipes/latent_summarizer/out_of_domain.py --model runs/google --data_dir data/google/others --output others.json

The folder has a file a set, JSON lines with `text` and `summaries` (a list). Words are separated by blanks; of DUC-2004, which
is not, punctuation marks are split off as in the Penn Treebank. A model that was trained on lower-case texts needs a tokenizer
with `lowercase`, or files of lower-case texts. Each set is scored as it usually is:

| file | texts | score |
|---|---|---|
| broadcast.jsonl | 1,370 of broadcast news, 3 compressions each | mean over the compressions |
| bnc.jsonl | 1,629 of the British National Corpus, 1 each | |
| duc2004.jsonl | 500 first sentences of news, 4 headlines each | mean over the headlines; recall of 75 bytes beside F1 |
| gigaword.jsonl | 1,951 first sentences of news, 1 headline each | |

Whoever says what a score is worth looks at `controls` beside it: as many first words, random words, the whole text. On
Broadcast and BNC the whole text has a token F1 of .85 and .83.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from nltk.tokenize import TreebankWordTokenizer

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.evaluate_summaries import add_summary_options, check_summary_options, evaluate_summaries
from hf_lvm.cli.main import exit_status
from hf_lvm.cli.options import add_model_options
from hf_lvm.data.text_files import read_file
from hf_lvm.training.memory import keep_freed_memory
from hf_lvm.training.results import run_description, write_results

SETS = {
    "broadcast": {"multiple_references": "mean"},
    "bnc": {},
    "duc2004": {"multiple_references": "mean", "limit_bytes": 75},
    "gigaword": {},
}
NOT_TOKENIZED = {"duc2004"}


def texts_of(name: str, file: Path) -> Dataset:
    """The rows of a set, their words separated by blanks."""
    rows = read_file(file)
    if name not in NOT_TOKENIZED:
        return rows
    tokenize = TreebankWordTokenizer().tokenize

    def tokenized(row: dict) -> dict:
        return {
            "text": " ".join(tokenize(row["text"])),
            "summaries": [" ".join(tokenize(each)) for each in row["summaries"]],
        }

    return Dataset.from_list([row | tokenized(row) for row in rows])


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder with a .jsonl file for each set")
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=list(SETS), help="which (default: all)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for all numbers")
    parser.add_argument("--max_samples", type=int, help="only the first so many texts of each, for a quick look")
    parser.add_argument("--max_length", type=int, help="leave out texts with more tokens")
    parser.add_argument("--num_importance_samples", type=int, default=0, help="of log p(x) (default: 0, left out)")
    parser.add_argument("--device", help="where to compute (default: a GPU where there is one)")
    add_summary_options(parser)
    parser.set_defaults(summary_column="summaries")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Evaluate the sets one after the other and write them into one file."""
    options = parse_arguments(argv)
    check_summary_options(options, has_summaries=True)
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(options.output.parent)!r} to write {options.output.name} into")
    files = {name: options.data_dir / f"{name}.jsonl" for name in options.sets}
    missing = [str(file) for file in files.values() if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"there is no file {', '.join(missing)}; choose others by --sets, or write them first")
    keep_freed_memory()
    model, processor = load_trained(options.model, "summarize")
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    begin, measured = time.perf_counter(), {}
    for name, file in files.items():
        texts = texts_of(name, file)
        if options.max_samples is not None:
            texts = texts.select(range(min(options.max_samples, len(texts))))
        own = argparse.Namespace(**vars(options) | SETS[name])
        measured[name], rows = evaluate_summaries(model, processor, texts, own)
        print(f"\n{name}, {len(texts):,} texts")
        print("\n".join("  ".join(row) for row in rows))
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    description = run_description(["out_of_domain.py", *argv], settings, time.perf_counter() - begin)
    description["evaluation_seconds"] = description.pop("training_seconds")
    write_results(options.output, {**description, "sets": measured})
    print(f"\nAll numbers are in {options.output}.")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:]), prog="out_of_domain.py"))
