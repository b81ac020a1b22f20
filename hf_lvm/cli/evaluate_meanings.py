"""What `hf-lvm evaluate` measures of a model that finds meanings."""

import argparse
from collections.abc import Iterator
from typing import Any

from datasets import Dataset, DatasetDict

from hf_lvm.analysis.meaning_report import report_meanings
from hf_lvm.analysis.report_table import Row
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.data import encode_meanings, load_meanings

DEFAULTS = {"meaning_column": "meaning", "skip_invalid": False, "report_beams": 5}


def add_meaning_options(parser: argparse.ArgumentParser) -> None:
    """What only a StructVAE takes."""
    group = parser.add_argument_group("of a StructVAE")
    group.add_argument("--meaning_column", default="meaning", help="column with the meaning of each text (default: meaning)")
    group.add_argument("--skip_invalid", action="store_true", help="leave out rows whose meaning the language does not derive")
    group.add_argument("--report_beams", type=int, default=5, help="beams of the parse, and k of the oracle (default: 5)")


def check_meaning_options(options: argparse.Namespace, has_meanings: bool) -> None:
    """Refuse these options for other models, and numbers that are none.

    Raises:
        ValueError: with the option named.
    """
    if not has_meanings:
        given = [key for key, value in DEFAULTS.items() if getattr(options, key) != value]
        if given:
            raise ValueError(f"--{given[0]} is for a StructVAE, and {options.model} is none: leave it out")
    if options.report_beams < 1:
        raise ValueError(f"--report_beams {options.report_beams}: give 1 or more")


def load_meanings_for(model, options: argparse.Namespace) -> DatasetDict:
    """The utterances and meanings that were asked for, in the language of the model.

    Raises:
        ValueError: a model without a language, or what `load_meanings` refuses.
    """
    if model.language is None:
        raise ValueError(f"{options.model} says no language, so known meanings cannot be read: train one by its recipe")
    splits, _ = load_meanings(
        options.dataset,
        data_dir=options.data_dir,
        language=model.language,
        text_column=options.text_column,
        meaning_column=options.meaning_column,
        skip_invalid=options.skip_invalid,
        min_words=options.min_words,
        max_words=options.max_words,
    )
    return DatasetDict({split: rows for split, rows in splits.items() if split != "extra"})


def evaluate_meanings(
    model, processor, texts: Dataset, train: Dataset, options: argparse.Namespace
) -> tuple[dict[str, Any], list[Row]]:
    """The report on utterances with a meaning, and its rows. Controls know all training rows of the data set."""
    texts = texts.filter(lambda row: row["meaning"] is not None)
    encoded = encode_meanings(
        texts, processor, model.language, model.grammar, options.max_length, (encoder_positions(model.encoder), None)
    )
    pairs = zip(train["text"][:], train["meaning"][:], strict=True)
    metrics = report_meanings(
        model,
        encoded,
        processor,
        model.language,
        [(text, meaning) for text, meaning in pairs if meaning],
        num_beams=options.report_beams,
        num_importance_samples=options.num_importance_samples,
        seed=options.seed,
    ).metrics
    return metrics, list(meaning_report_rows(metrics))


def meaning_report_rows(metrics: dict[str, Any]) -> Iterator[Row]:
    """One row a number: parses beside their controls, then the likelihood.

    Args:
        metrics: those of a `MeaningReport`; what was left out has no row.
    """
    parsing, controls = metrics["parsing"], metrics["controls"]

    def beside(key: str, digits: int) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {scores[key]:.{digits}f}" for name, scores in controls.items())

    yield "exact match, published rule", f"{parsing['exact_match_published']:.1f}", beside("exact_match_published", 1)
    yield "exact match, any order and names", f"{parsing['exact_match_canonical']:.1f}", beside("exact_match_canonical", 1)
    oracle = parsing["oracle_at_k"]["published"]
    yield f"  among the best {len(oracle)}", f"{oracle[-1]:.1f}", "published rule"
    yield "token F1", f"{parsing['token_f1']:.3f}", beside("token_f1", 3)
    yield "well-formed", f"{parsing['well_formed']:.1%}", "of the best parses"
    yield "meanings that cannot be written", f"{parsing['underivable']:,}", "they have values that no training meaning has"
    if "bound" in metrics:
        bound = metrics["bound"]
        yield "-ELBO", _nats(bound["nats_per_sentence"]), f"perplexity {bound['word_perplexity']:.2f} per word"
        yield "  reconstruction", _nats(metrics["reconstruction_nats_per_sentence"]), "of it, the text given its meaning"
        yield "  meaning", _nats(metrics["kl_nats_per_sentence"]), "of it, log q(z|x) - log p(z)"
    if "likelihood" in metrics:
        likelihood = metrics["likelihood"]
        yield (
            f"-log p(x), {likelihood['num_samples']:,} samples",
            _nats(likelihood["nats_per_sentence"]),
            f"perplexity {likelihood['word_perplexity']:.2f} per word",
        )


def _nats(value: float) -> str:
    return f"{value:.2f} nats/sentence"
