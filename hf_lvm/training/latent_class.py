"""Train a latent class model and report on it: the `main` behind `hf-lvm train` and `recipes/train_latent_class.py`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_lvm.analysis.class_report import ClassReport, report_classes
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.data import add_classes, class_names, hide_classes
from hf_lvm.models.latent_class import LatentClassModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_composed, build_processor, encode_texts, load_run_texts
from hf_lvm.training.config_file import parse_over_defaults
from hf_lvm.training.latent_class_arguments import LatentClassArguments
from hf_lvm.training.results import changed_settings, describe_corpus, model_settings, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments, ReportArguments
from hf_lvm.training.run_parts import (
    begin_run,
    build_trainer,
    check_decoder_is_new,
    finish_run,
    log_model_size,
    refuse_keys,
    train_and_save,
)
from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)

ARGUMENTS = (LatentClassArguments, DataArguments, ReportArguments, LatentTrainingArguments)
DEFAULT_CLASSES = 10
SHOWN_SAMPLES = 4
# A labelled text that counts as much as so many unlabelled ones is learned by heart.
LEARNED_BY_HEART = 50

DESCRIPTION = """Train a latent class model: first choose a class, then write. Any encoder, any decoder, a vector of categories
between them, and any estimator of its gradient.

Without class_column the classes are found without labels; with it some or all training texts have known classes. Without a
config it trains on the documentation that comes with Python. Afterwards the output folder holds the model
(AutoModel.from_pretrained loads it after `import hf_lvm`), its processor, results.json, classes.txt and figures/."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_over_defaults(ARGUMENTS, argv, "latent_class", DESCRIPTION, prog)
    trainer, texts = prepare(*arguments)
    return train_and_report(trainer, texts, *arguments, command=[prog or sys.argv[0], *argv])


def prepare(
    model_arguments: LatentClassArguments,
    data: DataArguments,
    report: ReportArguments,
    args: LatentTrainingArguments,
) -> tuple[LatentTrainer, dict[str, Any]]:
    """A trainer with its model, processor and data, ready to train."""
    refuse_keys(args, ("aggressive",), "Aggressive training is for a latent vector")
    begin_run(args)
    check_decoder_is_new(model_arguments, args)
    texts = load_run_texts(data)
    columns, names = model_arguments.class_column, []
    if columns:
        names = class_names(texts["train"], columns)
        texts = add_classes(texts, columns, names)
        texts["train"] = hide_classes(texts["train"], model_arguments.num_labelled, model_arguments.label_seed)
    if model_arguments.model is not None:
        model, processor = load_trained(model_arguments.model, "classify")
        if model_arguments.reset_decoder:
            model.reset_decoder(args.seed)
    else:
        if model_arguments.num_classes is None:
            unnamed = model_arguments.num_variables - len(names)
            counts = [*map(len, names), *[DEFAULT_CLASSES] * unnamed]
            model_arguments.num_classes = counts if len(set(counts)) > 1 else counts[0]
        processor = build_processor(data, model_arguments.encoder_source, model_arguments.decoder, texts)
        model = build_composed(LatentClassModel, model_arguments, processor, class_names=names or None)
    keep = ("text", "classes") if columns else ("text",)
    unnamed = model.config.num_variables - len(columns)
    if columns and unnamed > 0:
        for split in texts:
            known = [[*row, *[-1] * unnamed] for row in texts[split]["classes"]]
            texts[split] = texts[split].remove_columns("classes").add_column("classes", known)
    if columns and model.config.unlabelled_weight == 0:
        texts["train"] = labelled_alone(texts["train"])
    encoded = encode_texts(texts, processor, model, data, keep)
    if columns and args.labelled_share > 0.0:
        warn_of_heavy_labels(encoded["train"]["classes"], model.config.unlabelled_weight)
    trainer = build_trainer(model, args, encoded, processor)
    log_model_size(model)
    return trainer, {"encoded": encoded, "corpus": describe_corpus(data, texts)}


def warn_of_heavy_labels(classes: Sequence[Sequence[int]], unlabelled_weight: float) -> None:
    """Log a warning where few labelled texts weigh so much beside many unlabelled ones that the decoder learns them by heart.

    With a labelled share in each batch both kinds are averaged apart. In the objective of Kingma et al. (2014), a sum over the
    data, all texts weigh the same.

    Args:
        classes: of each text and variable, -1 where it is not known.
        unlabelled_weight: w.
    """
    labelled = sum(any(known >= 0 for known in row) for row in classes)
    unlabelled = len(classes) - labelled
    if labelled and unlabelled_weight * LEARNED_BY_HEART * labelled < unlabelled and unlabelled_weight > 0:
        times = unlabelled / labelled / unlabelled_weight
        logger.warning(
            f"Each of the {labelled:,} labelled texts counts as much as {times:,.0f} of the {unlabelled:,} unlabelled ones: "
            f"the decoder will learn them by heart, and what it says of other texts will not help to classify them. Raise "
            f"unlabelled_weight towards {unlabelled / labelled:,.0f}, and classification_weight and max_grad_norm with it"
        )


def labelled_alone(train: Dataset) -> Dataset:
    """The texts of which something is known: at an unlabelled_weight of 0 the others would cost time and count nothing."""
    labelled = [number for number, known in enumerate(train["classes"][:]) if max(known) >= 0]
    if not labelled:
        raise ValueError("unlabelled_weight is 0, which trains on labelled texts alone, and there are none")
    logger.info("Unlabelled texts count nothing: training on %s labelled ones.", f"{len(labelled):,}")
    return train.select(labelled)


def train_and_report(
    trainer: LatentTrainer,
    texts: dict[str, Any],
    model_arguments: LatentClassArguments,
    data: DataArguments,
    report: ReportArguments,
    args: LatentTrainingArguments,
    *,
    command: list[str],
) -> dict[str, Any]:
    """Train, save, measure on the test split, and write everything into the output folder."""
    seconds = train_and_save(trainer)
    if not trainer.is_world_process_zero():
        return {}
    measured = report_classes(
        trainer.accelerator.unwrap_model(trainer.model),
        texts["encoded"]["test"],
        trainer.processing_class,
        num_importance_samples=report.num_importance_samples,
        num_generated=report.num_generated,
        seed=args.seed,
    )
    built = model_settings(model_arguments, trainer.accelerator.unwrap_model(trainer.model).config)
    settings = built | asdict(data) | asdict(report) | changed_settings(args) | {"seed": args.seed}
    results = {
        **results_of_run(trainer, command, settings, seconds, texts["corpus"]),
        "test": measured.metrics,
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "classes.txt").write_text(describe_classes(measured), encoding="utf-8")
    finish_run(trainer, summary(measured.metrics))
    return results


def describe_classes(measured: ClassReport) -> str:
    """Each class with its share, the texts that are most its own, and texts it has written."""
    lines = []
    for variable, (rows, samples) in enumerate(zip(measured.typical, measured.samples, strict=True)):
        lines += [f"Variable {variable}", ""] if len(measured.typical) > 1 else []
        for (name, share, texts), written in zip(rows, samples, strict=True):
            lines += [f"Class {name}, {share:.1%} of the texts"]
            lines += [f"    {text}" for text in texts]
            lines += [f"  ~ {text}" for text in written[:SHOWN_SAMPLES]] + [""]
    return "\n".join(["Of each class the texts that are most its own, and (~) texts it has written", "", *lines])


def summary(metrics: dict[str, Any]) -> str:
    """The results on the test split in a few lines, each unit named."""
    likelihood, usage = metrics["likelihood"], metrics["usage"]
    how = "exact" if likelihood["exact"] else "importance-weighted"
    lines = [
        f"On the test split, {likelihood['sentences']:,} sentences, end of sentence counted as a word and a token:",
        f"  -log p(x), {how}: {likelihood['nats_per_sentence']:.2f} nats/sentence, perplexity "
        f"{likelihood['word_perplexity']:.2f} per word and {likelihood['token_perplexity']:.2f} per token",
        f"  -ELBO {metrics['bound']['nats_per_sentence']:.2f} nats/sentence, KL {metrics['kl_nats_per_sentence']:.2f}",
    ]
    for variable, information in enumerate(usage["mutual_information"]):
        ceiling, classes = (
            value[variable] if isinstance(value, list) else value
            for value in (usage["mutual_information_ceiling"], usage["classes"])
        )
        lines.append(
            f"  variable {variable}: I(x; z) {information:.2f} nats (ceiling {ceiling:.2f}), "
            f"{usage['used_classes'][variable]} of {classes} classes used, perplexity "
            f"{usage['aggregate_perplexity'][variable]:.1f}"
        )
    if "joint_mutual_information" in metrics:
        lines.append(f"  all variables together: I(x; z) {metrics['joint_mutual_information']:.2f} nats")
    for scores in metrics.get("classes", []):
        lines.append(
            f"  variable {scores['variable']} against known classes: accuracy {scores['accuracy']:.3f}, V-measure "
            f"{scores['v_measure']:.3f}; the most frequent class alone has {scores['majority_share']:.3f}"
        )
    return "\n".join(lines)
