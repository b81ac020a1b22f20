"""What `hf-lvm evaluate` measures of a model that compresses."""

import argparse
from collections.abc import Iterator
from typing import Any

from datasets import Dataset

from hf_lvm.analysis.report_table import Row
from hf_lvm.analysis.summary_length import LENGTH_TEXTS
from hf_lvm.analysis.summary_report import report_summaries
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.data import encode_trees
from hf_lvm.data.compressions import kept_text, read_signs
from hf_lvm.metrics.compression.scoring import MULTIPLE_REFERENCES
from hf_lvm.metrics.compression.words import WORD_RULES

SUMMARY_COLUMN = "summary"
SCORES = {
    "rouge1": ("ROUGE-1", 2),
    "rouge2": ("ROUGE-2", 2),
    "rougeL": ("ROUGE-L", 2),
    "rouge1_recall": ("ROUGE-1 recall", 2),
    "rouge2_recall": ("ROUGE-2 recall", 2),
    "rougeL_recall": ("ROUGE-L recall", 2),
    "token_f1": ("token F1", 3),
}
DEFAULTS = {
    "summary_column": SUMMARY_COLUMN,
    "keep_column": None,
    "report_ratios": [],
    "report_corpus_ratios": [],
    "report_words": [],
    "metric_words": "whitespace",
    "multiple_references": "best",
    "limit_bytes": None,
}


def add_summary_options(parser: argparse.ArgumentParser) -> None:
    """What only a latent summarizer takes."""
    group = parser.add_argument_group("of a latent summarizer")
    group.add_argument(
        "--summary_column",
        default=SUMMARY_COLUMN,
        help="column with the compression of each text, or a list of several (default: summary, where there is one)",
    )
    group.add_argument("--keep_column", help="column with one sign a word, 1 for kept words and 0, instead of compressions")
    group.add_argument("--report_ratios", nargs="+", type=float, default=[], help="also compress to these shares of the words")
    group.add_argument(
        "--report_corpus_ratios",
        nargs="+",
        type=float,
        default=[],
        help="also compress so that all texts together keep these shares of their words, by a bonus for each word that is "
        "found on the validation split",
    )
    group.add_argument("--report_words", nargs="+", type=int, default=[], help="also compress to so many words")
    group.add_argument(
        "--metric_words", choices=tuple(WORD_RULES), default="whitespace", help="what a word is to the metric (whitespace)"
    )
    group.add_argument(
        "--multiple_references",
        choices=tuple(MULTIPLE_REFERENCES),
        default="best",
        help="of several compressions of a text the best for each score (the default), or the mean",
    )
    group.add_argument("--limit_bytes", type=int, help="also recall of ROUGE of texts cut at so many bytes (75 in DUC)")


def check_summary_options(options: argparse.Namespace, has_summaries: bool) -> None:
    """Refuse these options for other models, and lengths that are none.

    Raises:
        ValueError: with the option named.
    """
    if not has_summaries:
        given = [key for key, value in DEFAULTS.items() if getattr(options, key) != value]
        if given:
            raise ValueError(f"--{given[0]} is for a latent summarizer, and {options.model} is none: leave it out")
    for key, wrong in (
        ("report_ratios", [each for each in options.report_ratios if not 0 < each <= 1]),
        ("report_corpus_ratios", [each for each in options.report_corpus_ratios if not 0 < each <= 1]),
        ("report_words", [each for each in options.report_words if each < 1]),
    ):
        if wrong:
            raise ValueError(f"--{key} holds {wrong[0]}: a ratio is above 0 and at most 1, a number of words 1 or more")
    if options.report_corpus_ratios and options.split in ("validation", "all"):
        raise ValueError(
            f"--report_corpus_ratios finds lengths on the validation split, and --split {options.split} measures on it: "
            "choose --split test or --split train"
        )


def evaluate_summaries(
    model, processor, texts: Dataset, options: argparse.Namespace, validation: Dataset | None = None
) -> tuple[dict[str, Any], list[Row]]:
    """The report on texts, with scores of compressions where they have some, and its rows.

    Args:
        validation: texts on which lengths for report_corpus_ratios are found; needed where there are some.
    """
    references = references_of(texts, options.summary_column, options.keep_column)
    taken = {SUMMARY_COLUMN} & set(texts.column_names)
    encoded = encode_trees(
        texts.remove_columns(sorted(taken)).add_column(SUMMARY_COLUMN, references),
        processor,
        tree_column=None,
        max_length=options.max_length,
        max_positions=(encoder_positions(model.encoder), None),
        keep_columns=("text", SUMMARY_COLUMN),
    )
    metrics = report_summaries(
        model,
        encoded,
        processor,
        ratios=options.report_ratios,
        words=options.report_words,
        corpus_ratios=options.report_corpus_ratios,
        length_texts=validation["text"][:LENGTH_TEXTS] if options.report_corpus_ratios else (),
        num_importance_samples=options.num_importance_samples,
        metric_words=options.metric_words,
        multiple_references=options.multiple_references,
        limit_bytes=options.limit_bytes,
        seed=options.seed,
    ).metrics
    return metrics, list(summary_report_rows(metrics))


def references_of(texts: Dataset, summary_column: str, keep_column: str | None) -> list[list[str]]:
    """The compressions of each text, none where none is known.

    Raises:
        ValueError: a column that is not there, or, with the row named, signs that do not fit their text.
    """
    for column in (summary_column, keep_column):
        if column not in (None, SUMMARY_COLUMN, *texts.column_names):
            raise ValueError(f"there is no column {column!r}; there are {', '.join(texts.column_names)}")
    if keep_column is not None:
        words_of = [text.split() for text in texts["text"][:]]
        keeps = [
            read_signs(words, signs, f"text {row}")
            for row, (words, signs) in enumerate(zip(words_of, texts[keep_column][:], strict=True))
        ]
        return [[] if kept is None else [kept_text(words, kept)] for words, kept in zip(words_of, keeps, strict=True)]
    if summary_column not in texts.column_names:
        return [[] for _ in range(len(texts))]
    given = [[own] if isinstance(own, str) else own or [] for own in texts[summary_column][:]]
    return [[each for each in own if each and each.split()] for own in given]


def summary_report_rows(metrics: dict[str, Any]) -> Iterator[Row]:
    """One row a number, in the order likelihood, then for each way to choose lengths its scores beside the controls.

    Args:
        metrics: those of a `SummaryReport`; what was left out has no row.
    """
    bound = metrics["bound"]
    yield "-ELBO", _nats(bound["nats_per_sentence"]), f"perplexity {bound['word_perplexity']:.2f} per word"
    yield "  reconstruction", _nats(metrics["reconstruction_nats_per_sentence"]), "of it, the text given its compression"
    yield "  compression", _nats(metrics["kl_nats_per_sentence"]), "of it, what the compression costs: log q(c|x) - log p(c)"
    if "non_canonical_share" in metrics:
        how = "that are charged, as their tokens are not the usual ones of their text, which is all that the prior reads"
        yield "  compressions", f"{metrics['non_canonical_share']:.1%}", how
    if "likelihood" in metrics:
        likelihood = metrics["likelihood"]
        how = "exact" if likelihood["exact"] else f"{likelihood['num_samples']:,} samples"
        yield (
            f"-log p(x), {how}",
            _nats(likelihood["nats_per_sentence"]),
            f"perplexity {likelihood['word_perplexity']:.2f} per word",
        )
    for name, scores in metrics["compression"].items():
        yield from _scores(name, scores)


def _scores(name: str, scores: dict[str, Any]) -> Iterator[Row]:
    controls = scores["controls"]
    for key, (title, digits) in SCORES.items():
        if key not in scores:
            continue
        others = {
            "first words, as many": "first_k",
            f"first {scores['first_k_corpus_words']}": "first_k_corpus",
            "random words, as many": "random_k",
            "whole text": "keep_all",
        }
        beside = ", ".join(f"{label} {controls[control][key]:.{digits}f}" for label, control in others.items())
        gain = f"{scores['gain_over_first_k'][key]:+.{digits}f} over the first words"
        yield f"{title}, {name}", f"{scores[key]:.{digits}f}", f"{gain}; {beside}"
    copied = "-" if scores["copied_share"] is None else f"{scores['copied_share']:.1%}"
    yield (
        "  words",
        f"{scores['compression_ratio']:.3f} of the texts'",
        f"references {scores['reference_compression_ratio']:.3f}, of {scores['sentences']:,} texts; {copied} of them copied, "
        f"{scores['prefix_share']:.1%} of the compressions are its first words",
    )
    yield (
        "  explained by each of them",
        f"{scores['explained_nats_per_word']:.2f} nats",
        "log p(x|c) - log p(x | empty c) of all texts / words of their compressions",
    )


def _nats(value: float) -> str:
    return f"{value:.2f} nats/sentence"
