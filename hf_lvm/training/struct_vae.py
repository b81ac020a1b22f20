"""Train a StructVAE and report on it: the `main` behind `recipes/train_struct_vae.py`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from hf_lvm.analysis.meaning_report import MeaningReport, report_meanings
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.backbones.sources import full_name
from hf_lvm.data import (
    LatentTextProcessor,
    MeaningCollator,
    PriorMeanings,
    canonical_meaning,
    choose_labelled,
    encode_meanings,
    load_meanings,
    meaning_actions,
    prior_meanings,
    rows_with_meanings,
)
from hf_lvm.grammars.languages import Language, build_language, language_from_dict
from hf_lvm.models.struct_vae import StructVAEModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_processor, limit_rows, take_objective
from hf_lvm.training.config_file import parse_over_defaults
from hf_lvm.training.mains import flag_value
from hf_lvm.training.neighbour_embeddings import begin_with_neighbours
from hf_lvm.training.results import changed_settings, describe_corpus, evaluations_of, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import (
    begin_run,
    build_trainer,
    finish_run,
    log_model_size,
    refuse_keys,
    resumes,
    train_and_save,
)
from hf_lvm.training.struct_vae_arguments import MeaningDataArguments, MeaningReportArguments, StructVAEArguments
from hf_lvm.training.struct_vae_building import add_language_model, build_struct_vae
from hf_lvm.training.struct_vae_phases import fit_language_model, fit_prior, guess_meanings
from hf_lvm.training.struct_vae_trainer import MeaningTrainer

logger = logging.getLogger(__name__)

ARGUMENTS = (StructVAEArguments, DataArguments, MeaningDataArguments, MeaningReportArguments, LatentTrainingArguments)
# Keys of a model that a run which goes on from it may set anew: how it is trained, not what it is.
OBJECTIVE_KEYS = (
    "objective", "estimator", "num_samples", "unlabelled_candidates", "signal_clip", "baseline_slope", "baseline_intercept",
    "baseline_decay", "prior_weight", "train_prior", "classification_weight", "joint_weight", "unlabelled_weight",
)  # fmt: skip
SHOWN_PARSES = 30

DESCRIPTION = """Train a semantic parser whose meanings are latent (Yin et al. 2018): an encoder and a parser write the meaning
of an utterance as a tree of a grammar, a decoder has to tell the utterance from it, and a language model of trees judges it.

With num_labelled so many training rows show their meaning; unlabelled_weight 0 trains on these alone, self_training on what a
trained parser guesses of the others. Without a config it trains on one-line descriptions of Python functions and their
signatures. Afterwards the output folder holds the model (AutoModel.from_pretrained loads it after `import hf_lvm`), its
processor, results.json, parses.txt and figures/."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_over_defaults(ARGUMENTS, argv, "struct_vae", DESCRIPTION, prog)
    if flag_value(argv, "--config") is None:
        _forget_default_texts(argv, arguments)
    trainer, told = prepare(*arguments)
    return train_and_report(trainer, told, *arguments, command=[prog or sys.argv[0], *argv])


def _forget_default_texts(argv: Sequence[str], arguments: tuple) -> None:
    """Where flags name other texts than the packaged settings do, these say nothing of them, nor how many are labelled."""
    given = {
        key: flag_value(argv, f"--{key}") is not None for key in ("dataset", "data_dir", "num_labelled", "labelled_share")
    }
    if given["data_dir"] and not given["dataset"]:
        arguments[1].dataset = None
    if (given["data_dir"] or given["dataset"]) and not given["num_labelled"]:
        arguments[0].num_labelled = -1
        if not given["labelled_share"]:
            arguments[-1].labelled_share = 0.0


def prepare(
    model_arguments: StructVAEArguments,
    data: DataArguments,
    meanings: MeaningDataArguments,
    report: MeaningReportArguments,
    args: LatentTrainingArguments,
) -> tuple[MeaningTrainer, dict[str, Any]]:
    """A trainer with its model, processor and data, ready to train."""
    refuse_keys(args, ("aggressive", "free_bits"), "A meaning is no latent vector")
    if model_arguments.self_training and model_arguments.model is None:
        raise ValueError("self_training begins with a parser: name a trained model by `model`")
    if args.metric_for_best_model in ("exact_match", "eval_exact_match") and not report.validation_beams:
        raise ValueError("metric_for_best_model is exact_match, and validation_beams 0 parses nothing: set it to 1 or more")
    begin_run(args)
    model, processor = None, None
    if model_arguments.model is not None:
        model, processor = load_trained(model_arguments.model, "meaning_prior")
    language = language_of_run(data, meanings, model)
    splits, skipped = load_splits(data, meanings, language)
    known = rows_with_meanings(splits["train"])
    labelled = choose_labelled(known, model_arguments.num_labelled, model_arguments.label_seed)
    prior = prior_meanings(splits, labelled, model_arguments.prior_meanings, canonical_meaning(language, "published"))
    logger.info("%s of %s training rows show their meaning.", f"{len(labelled):,}", f"{len(splits['train']):,}")
    logger.info("The prior may read %s.", prior.describe())
    corpus = describe_corpus(data, splits, "signatures")
    texts = hide_meanings(splits, labelled)
    if model is None:
        processor = build_processor(data, model_arguments.encoder, full_name("decoder", model_arguments.decoder), texts)
        model = build_struct_vae(model_arguments, processor, language, prior.texts, splits["train"].select(labelled))
        begin_with_word_vectors(model, model_arguments.word_vectors, processor, texts["train"])
    else:
        take_language_model(model, model_arguments, processor)
        take_objective(model, model_arguments, OBJECTIVE_KEYS)
    utterances = texts["train"]
    if model.config.unlabelled_weight == 0:
        texts["train"] = texts["train"].select(labelled)
    encoded = encode_meanings(
        texts, processor, language, model.grammar, data.max_length, (encoder_positions(model.encoder), None)
    )
    if not any(encoded["train"]["meaning_ids"][:]):
        raise ValueError(
            f"None of the {len(labelled):,} meanings to train on can be written by the model; the log says why of the first: "
            "raise max_actions, or choose rows with values that its lexicons have"
        )
    # What was fitted before a checkpoint is in it.
    if not resumes(args):
        fit_parts(model, model_arguments, prior, encoded, utterances, processor)
    if model_arguments.self_training:
        encoded["train"] = guess_meanings(model, encoded["train"], processor, model_arguments.self_training_beams)

    def trainer_class(**options) -> MeaningTrainer:
        return MeaningTrainer(language=language, num_beams=report.validation_beams, **options)

    trainer = build_trainer(model, args, encoded, processor, trainer_class, MeaningCollator(processor))
    log_model_size(model, f"{model.grammar.size} actions, trees of up to {model.grammar.max_actions} steps")
    pairs = zip(utterances["text"][:], utterances["meaning"][:], strict=True)
    return trainer, {
        "encoded": encoded,
        "corpus": corpus,
        "language": language,
        "known": [(text, meaning) for text, meaning in pairs if meaning],
        "prior": prior.counts,
        "skipped": skipped,
    }


def language_of_run(data: DataArguments, meanings: MeaningDataArguments, model: StructVAEModel | None) -> Language:
    """What meanings are written in: that of a trained model, as it is named, or as the corpus has them.

    Raises:
        ValueError: another language than that of the trained model, or a trained model without one.
    """
    named = meanings.language or ("python" if data.data_dir is None and data.dataset in (None, "documentation") else None)
    if model is None:
        return build_language(named or "lambda_calculus", **(meanings.language_options or {}))
    if model.config.language is None:
        raise ValueError("The trained model says no language, so its meanings cannot be read: train one by this recipe.")
    language = language_from_dict(model.config.language)
    if meanings.language is not None:
        given = build_language(meanings.language, **(meanings.language_options or {}))
        if given != language:
            raise ValueError(
                f"The trained model is of {language.to_dict()}, and not of {given.to_dict()}: leave language out."
            )
    return language


def load_splits(data: DataArguments, meanings: MeaningDataArguments, language: Language) -> tuple[DatasetDict, dict[str, int]]:
    """The rows of a run, and for each split how many were left out because of their meaning."""
    extra = meanings.extra
    if extra is not None and data.data_dir is not None and not Path(extra).expanduser().exists():
        extra = Path(data.data_dir) / extra
    splits, found = load_meanings(
        data.dataset,
        data_dir=data.data_dir,
        language=language,
        text_column=data.text_column,
        meaning_column=meanings.meaning_column,
        extra=extra,
        skip_invalid=meanings.skip_invalid,
        min_words=data.min_words,
        max_words=data.max_words,
        config_name=data.dataset_config,
    )
    splits = limit_rows(splits, data)
    skipped = {split: sum(each.split == split for each in found.skipped) for split in splits}
    return splits, {split: count for split, count in skipped.items() if count}


def hide_meanings(splits: DatasetDict, labelled: Sequence[int]) -> DatasetDict:
    """The splits that a model sees, where training rows that are not labelled have no meaning."""
    train, chosen = splits["train"], set(labelled)
    values = [meaning if row in chosen else None for row, meaning in enumerate(train["meaning"][:])]
    shown = train.remove_columns("meaning").add_column("meaning", values, feature=train.features["meaning"])
    return DatasetDict({"train": shown, "validation": splits["validation"], "test": splits["test"]})


def take_language_model(model: StructVAEModel, arguments: StructVAEArguments, processor: LatentTextProcessor) -> None:
    """Give a model that is there the language model that the baseline of this run needs, and none where it needs none."""
    if arguments.estimator != "reinforce_learned" and arguments.language_model is None:
        model.language_model = model.config.language_model = None
    if model.language_model is None and arguments.language_model is not None:
        add_language_model(model, arguments, processor)


def begin_with_word_vectors(
    model: StructVAEModel, parts: Sequence[str], processor: LatentTextProcessor, utterances: Dataset
) -> None:
    """Let the embeddings of these parts begin as the neighbours say that tokens have in all utterances."""
    if not parts:
        return
    columns = processor.tokenize_words([text.split() for text in utterances["text"][:]])
    for part in parts:
        ids = columns["input_ids" if part == "encoder" else "labels"]
        begin_with_neighbours(getattr(model, part), ids, part)


def fit_parts(
    model: StructVAEModel,
    arguments: StructVAEArguments,
    prior: PriorMeanings,
    encoded: DatasetDict,
    utterances: Dataset,
    processor: LatentTextProcessor,
) -> None:
    """Train what is trained before all else."""
    if arguments.prior_epochs:
        ids = known_actions(model, prior.texts)
        held_out = [own for own in encoded["validation"]["meaning_ids"][:] if own]
        fit_prior(model, ids, held_out, arguments.prior_epochs)
    if arguments.language_model_epochs:
        sentences = [text.split() for text in utterances["text"][:]]
        labels = processor.tokenize_words(sentences)["labels"]
        fit_language_model(model, labels, encoded["validation"]["labels"][:], arguments.language_model_epochs)


def known_actions(model: StructVAEModel, meanings: Sequence[str]) -> list[list[int]]:
    """Actions of the meanings that the model can write; the log says how many it cannot."""
    language, found = language_from_dict(model.config.language), []
    written: dict[str, list[int] | None] = {}
    for meaning in meanings:
        if meaning not in written:
            try:
                written[meaning] = meaning_actions(language, model.grammar, meaning, None)
            except ValueError:
                written[meaning] = None
        if written[meaning] is not None:
            found.append(written[meaning])
    if len(found) < len(meanings):
        logger.info("%s meanings for the prior cannot be written by the model.", f"{len(meanings) - len(found):,}")
    return found


def train_and_report(
    trainer: MeaningTrainer,
    told: dict[str, Any],
    model_arguments: StructVAEArguments,
    data: DataArguments,
    meanings: MeaningDataArguments,
    report: MeaningReportArguments,
    args: LatentTrainingArguments,
    *,
    command: list[str],
) -> dict[str, Any]:
    """Train, save, measure on the test split, and write everything into the output folder."""
    seconds = train_and_save(trainer)
    if not trainer.is_world_process_zero():
        return {}
    model = trainer.accelerator.unwrap_model(trainer.model)
    rows = told["encoded"][report.report_split]
    measured = report_meanings(
        model,
        rows,
        trainer.processing_class,
        told["language"],
        told["known"],
        num_beams=report.report_beams,
        num_importance_samples=report.num_importance_samples,
        seed=args.seed,
    )
    settings = {
        **asdict(model_arguments), **asdict(data), **asdict(meanings), **asdict(report), **changed_settings(args),
    }  # fmt: skip
    if model_arguments.model is not None:
        settings |= {"encoder": model.config.encoder.model_type, "decoder": model.config.decoder.model_type}
    results = {
        **results_of_run(
            trainer, command, settings, seconds, told["corpus"], left_out=told["skipped"], prior_meanings=told["prior"]
        ),
        "evaluations": evaluations_of(trainer.state.log_history, ("bound", "kl", "exact_match")),
        report.report_split: measured.metrics,
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "parses.txt").write_text(describe_parses(measured, rows), encoding="utf-8")
    finish_run(trainer, summary(measured.metrics, report.report_split))
    return results


def describe_parses(measured: MeaningReport, rows: Dataset) -> str:
    """A few utterances with their meanings and the best parse; those that are wrong are marked."""
    lines = []
    for row in range(min(SHOWN_PARSES, len(rows))):
        best = measured.parses[row][:1]
        lines += [
            f"utterance   {rows[row]['text']}",
            f"meaning     {rows[row]['meaning']}",
            f"{'parse      ' if measured.is_right[row] else 'wrong parse'} {best[0] if best else '(none)'}",
            "",
        ]
    return "\n".join(lines)


def summary(metrics: dict[str, Any], split: str) -> str:
    """The results in a few lines, each unit named; parses always with their controls."""
    parsing = metrics["parsing"]
    lines = [
        f"On the {split} split, {parsing['sentences']:,} utterances:",
        f"  exact match {parsing['exact_match_published']:.1f} (published rule), {parsing['exact_match_canonical']:.1f} (any "
        "order, any names of variables)",
        f"  among the best {parsing['num_beams']}: {parsing['oracle_at_k']['published'][-1]:.1f}; well-formed "
        f"{parsing['well_formed']:.1%}; token F1 {parsing['token_f1']:.3f}",
        f"  meanings that the model cannot write: {parsing['underivable']:,}",
    ]
    for name, scores in metrics["controls"].items():
        lines.append(
            f"  {name.replace('_', ' ')}: exact match {scores['exact_match_published']:.1f}, token F1 {scores['token_f1']:.3f}"
        )
    if "bound" in metrics:
        lines.append(f"  -ELBO {metrics['bound']['nats_per_sentence']:.2f} nats/sentence")
    if "likelihood" in metrics:
        likelihood = metrics["likelihood"]
        lines.append(f"  -log p(x), {likelihood['num_samples']} samples: {likelihood['nats_per_sentence']:.2f} nats/sentence")
    return "\n".join(lines)
