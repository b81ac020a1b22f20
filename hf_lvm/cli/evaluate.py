"""`hf-lvm evaluate`: a trained model measured on texts, as one table and one `results.json`."""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hf_lvm.analysis.class_report import report_classes
from hf_lvm.analysis.feature_extraction import reads_conditions
from hf_lvm.analysis.report_table import Row, class_report_rows, report_rows
from hf_lvm.analysis.reverse_perplexity import JudgeProtocol
from hf_lvm.analysis.text_vae_report import report_on
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.cli.evaluate_meanings import (
    add_meaning_options,
    check_meaning_options,
    evaluate_meanings,
    load_meanings_for,
)
from hf_lvm.cli.evaluate_summaries import add_summary_options, check_summary_options, evaluate_summaries
from hf_lvm.cli.evaluate_trees import evaluate_trees
from hf_lvm.cli.options import add_model_options
from hf_lvm.data import add_classes, class_names, encode_dataset, load_texts, load_trees
from hf_lvm.data.run_results import read_results
from hf_lvm.training.results import describe_corpus, run_description, write_results
from hf_lvm.training.run_arguments import DataArguments

# Wide enough for a row a line where nobody's terminal sets the width.
TABLE_WIDTH = 150
# Samples of z a text in the likelihood of a model whose run says no number; trees of a grammar are slow to draw.
NUM_SAMPLES, NUM_MEANING_SAMPLES = 500, 20


def main(argv: Sequence[str], prog: str) -> None:
    """Measure a trained model with every instrument that was asked for, print one table, write one JSON file."""
    options = _parser(prog).parse_args(argv)
    output = Path(options.output)
    _check_output(output)
    if options.reverse_perplexity and options.split in ("train", "all"):
        raise ValueError(
            f"--reverse_perplexity trains language models on the train split and measures on texts they have not seen, and "
            f"--split {options.split} has seen ones: choose --split test or --split validation"
        )
    if not 0 <= options.noise_robustness < 1:
        raise ValueError(
            f"--noise_robustness {options.noise_robustness}: give a share from 0 (left out) to below 1, such as 0.2"
        )
    if options.num_generated < 0 or options.num_generated == 1:
        raise ValueError(
            f"--num_generated {options.num_generated}: give 2 or more, to compare texts with others, or 0 to write none"
        )
    if options.noise_robustness and not options.num_generated:
        raise ValueError("--noise_robustness is measured on the texts to reconstruct: give --num_generated 2 or more")
    if options.judge_steps < 1:
        raise ValueError(f"--judge_steps {options.judge_steps}: an untrained language model judges nothing; give 1 or more")
    model, processor = load_trained(options.model, ("encode_texts", "surprisal", "summarize", "verbalize"), options.revision)
    has_classes, has_trees = hasattr(model, "class_probabilities"), hasattr(model, "surprisal")
    has_summaries, has_meanings = hasattr(model, "summarize"), hasattr(model, "verbalize")
    for key in ("inference_gap", "noise_robustness", "reverse_perplexity"):
        if (has_classes or has_trees or has_summaries or has_meanings) and getattr(options, key):
            latent = "a tree" if has_trees else "a summary" if has_summaries else "a vector of categories"
            latent = "a meaning" if has_meanings else latent
            raise ValueError(f"--{key} is for a text VAE, and the latent of {options.model} is {latent}: leave it out")
    check_summary_options(options, has_summaries)
    check_meaning_options(options, has_meanings)
    if options.class_column and not has_classes:
        raise ValueError(f"--class_column is for a latent class model, and {options.model} is none: leave it out")
    if options.tree_column and not has_trees:
        raise ValueError(f"--tree_column is for a model of trees, and {options.model} is none: leave it out")
    has_conditions = reads_conditions(model)
    if options.condition_column and not has_conditions:
        raise ValueError(f"--condition_column is for a conditional text VAE, and {options.model} is none: leave it out")
    if has_conditions and not options.condition_column:
        raise ValueError(
            f"{options.model} reads a condition beside each text: name its column with --condition_column, and the texts with "
            "--dataset or --data_dir"
        )
    if options.num_importance_samples is None:
        options.num_importance_samples = _samples_of_run(options.model) or (
            NUM_MEANING_SAMPLES if has_meanings else NUM_SAMPLES
        )
    model.to(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    source = {
        "data_dir": options.data_dir,
        "text_column": options.text_column,
        "min_words": options.min_words,
        "max_words": options.max_words,
    }
    if has_meanings:
        splits = load_meanings_for(model, options)
    elif options.tree_column:
        splits = load_trees(options.dataset, tree_column=options.tree_column, **source)
    else:
        splits = load_texts(options.dataset, condition_column=options.condition_column, **source)

    if options.class_column:
        names = model.config.class_names or class_names(splits["train"], options.class_column)
        splits = add_classes(splits, options.class_column, names)

    def encoded(texts: Dataset) -> Dataset:
        return encode_dataset(
            texts,
            processor,
            max_length=options.max_length,
            max_positions=(encoder_positions(model.encoder), model.positions_left),
            keep_columns=("text", *(["classes"] if options.class_column else []), *(["condition"] if has_conditions else [])),
            condition_column="condition" if has_conditions else None,
        )

    begin = time.perf_counter()
    common = {
        "num_importance_samples": options.num_importance_samples,
        "num_generated": options.num_generated,
        "seed": options.seed,
    }
    chosen = _texts_of(splits, options.split, options.max_samples)
    if has_trees:
        metrics, rows = evaluate_trees(model, processor, chosen, options)
    elif has_meanings:
        metrics, rows = evaluate_meanings(model, processor, chosen, splits["train"], options)
    elif has_summaries:
        metrics, rows = evaluate_summaries(model, processor, chosen, options, splits["validation"])
    elif has_classes:
        metrics = report_classes(model, encoded(chosen), processor, **common).metrics
        rows = class_report_rows(metrics)
    else:
        judge_texts = encoded(splits["train"]) if options.reverse_perplexity else None
        more = {
            "num_gap_sentences": options.inference_gap,
            "dropped_words": options.noise_robustness,
            "judge_texts": judge_texts,
            "judge_protocol": JudgeProtocol(steps=options.judge_steps),
        }
        metrics = report_on(model, encoded(chosen), processor, **common, **more).metrics
        rows = report_rows(metrics)
    description = run_description([*prog.split(), *argv], vars(options), time.perf_counter() - begin)
    description["evaluation_seconds"] = description.pop("training_seconds")
    data = DataArguments(dataset=options.dataset, data_dir=options.data_dir)
    corpus = describe_corpus(data, splits, "signatures" if has_meanings else None)
    write_results(output, {**description, "corpus": corpus, options.split: metrics})
    _print_table(rows, options.split, metrics["bound"]["sentences"])
    print(f"All numbers are in {output}.")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Measure a trained model: its likelihood, what its latent carries, what inference loses, what it writes.",
    )
    add_model_options(parser)
    parser.add_argument("--dataset", help="a file, a folder or a datasets id (default: the documentation of Python)")
    parser.add_argument("--data_dir", help="a folder with train, validation and test files")
    parser.add_argument("--text_column", default="text", help="column that holds the texts (default: text)")
    parser.add_argument("--condition_column", help="column with what each text is about, for a conditional text VAE")
    parser.add_argument(
        "--class_column",
        nargs="+",
        help="columns with known classes, one a variable, to hold a latent class model against",
    )
    parser.add_argument("--tree_column", help="column with bracketed strings, to hold the trees of a URNNG against")
    add_summary_options(parser)
    add_meaning_options(parser)
    parser.add_argument(
        "--proposal_temperature",
        type=float,
        default=2.0,
        help="of q(z|x) as the proposal of trees, whose likelihood is importance-weighted (default: 2)",
    )
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="which texts (default: test); all: every text, for a data set that the model was not trained on",
    )
    parser.add_argument("--min_words", type=int, help="leave out texts with fewer words")
    parser.add_argument("--max_words", type=int, help="leave out texts with more words")
    parser.add_argument("--max_length", type=int, help="leave out texts with more tokens")
    parser.add_argument("--max_samples", type=int, help="only the first so many texts, as max_test_samples of hf-lvm train")
    parser.add_argument(
        "--num_importance_samples",
        type=int,
        help="samples of z for each text in the likelihood, 0 leaves it out; with fewer, log p(x) is estimated lower in the "
        "mean (default: as many as the run itself took, by its results.json; else 500, and 20 for meanings)",
    )
    parser.add_argument(
        "--num_generated",
        type=int,
        default=100,
        help="texts to reconstruct, and texts to sample (default: 100); 0 leaves out whatever the model would write",
    )
    parser.add_argument(
        "--inference_gap",
        type=int,
        default=0,
        metavar="SENTENCES",
        help="split the gap between -ELBO and -log p(x) in approximation and amortization, on so many texts (default: 0, "
        "for it takes 200 gradient steps a text)",
    )
    parser.add_argument(
        "--noise_robustness",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="leave out this share of the words of each text that is reconstructed, such as 0.2: how far q(z|x) moves, and "
        "how many words of the whole text are recovered (default: 0, left out)",
    )
    parser.add_argument(
        "--reverse_perplexity",
        action="store_true",
        help="judge samples by language models trained on them and on the train split (takes minutes)",
    )
    parser.add_argument(
        "--judge_steps",
        type=int,
        default=JudgeProtocol.steps,
        help=f"updates of each of these language models (default: {JudgeProtocol.steps:,}); numbers of different steps cannot "
        "be compared",
    )
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:1 (default: a GPU where there is one)")
    parser.add_argument(
        "--output", default="results.json", help="JSON file for all numbers (default: results.json in this folder)"
    )
    return parser


def _samples_of_run(model: str) -> int | None:
    """How many importance samples a run took for its own results; None where it says none, or took none."""
    try:
        settings = read_results(Path(model).expanduser()).get("settings")
    except (FileNotFoundError, ValueError):  # of the hub, unfinished, or not by a run
        return None
    found = settings.get("num_importance_samples") if isinstance(settings, dict) else None
    return found if isinstance(found, int) and found > 0 else None


def _check_output(output: Path) -> None:
    """Refuse to write over anything but an earlier evaluation: results of hours of training have the same file name."""
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(output.parent)!r} to write {output.name} into")
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder; name a file in it, such as {output / 'evaluation.json'}")
    if output.exists():
        try:
            written = json.loads(output.read_text(encoding="utf-8"))
        except ValueError:
            written = None
        if not isinstance(written, dict) or "evaluation_seconds" not in written:
            raise ValueError(
                f"{output} is there already and was not written by hf-lvm evaluate: name another file with --output"
            )


def _texts_of(splits: DatasetDict, split: str, max_samples: int | None) -> Dataset:
    texts = concatenate_datasets(list(splits.values())) if split == "all" else splits[split]
    return texts if max_samples is None else texts.select(range(min(max_samples, len(texts))))


def _print_table(rows: Sequence[Row], split: str, sentences: int) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = TABLE_WIDTH
    texts = "All texts" if split == "all" else f"{split.capitalize()} split"
    title = f"{texts}, {sentences:,} sentences, end of sentence counted as a word and a token"
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
