"""Train a text VAE and report on it: the `main` behind `hf-lvm train` and `recipes/train_text_vae.py`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_lvm.analysis.figures import draw_kl_per_dimension
from hf_lvm.analysis.latent_map import draw_latent_map
from hf_lvm.analysis.text_vae_report import TextVAEReport, report_on
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.sources import is_from_scratch
from hf_lvm.models.text_vae import TextVAEModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_composed, build_processor, encode_texts, load_run_texts
from hf_lvm.training.config_file import parse_over_defaults
from hf_lvm.training.mains import flag_value
from hf_lvm.training.results import changed_settings, describe_corpus, model_settings, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments, ReportArguments, TextVAEArguments
from hf_lvm.training.run_parts import (
    begin_run,
    build_trainer,
    check_decoder_is_new,
    finish_run,
    log_model_size,
    train_and_save,
)
from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)

ARGUMENTS = (TextVAEArguments, DataArguments, ReportArguments, LatentTrainingArguments)

# Fewer texts have no neighbourhoods to show.
MIN_TSNE_TEXTS = 10

DESCRIPTION = """Train a variational autoencoder of text: any encoder, any decoder, a latent vector between them.

Without a config it trains on the documentation that comes with Python, by settings that keep the latent in use (one set for
parts built from scratch, one for pretrained parts). Afterwards the output folder holds the model (AutoModel.from_pretrained
loads it after `import hf_lvm`), its processor, results.json, examples.txt, figures/ and report.html."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_over_defaults(ARGUMENTS, argv, _defaults(argv), DESCRIPTION, prog)
    trainer, texts = prepare(*arguments)
    return train_and_report(trainer, texts, *arguments, command=[prog or sys.argv[0], *argv])


def _defaults(argv: Sequence[str]) -> str:
    """Which settings a run without a file of its own begins with."""
    parts = [flag_value(argv, flag) for flag in ("--model", "--encoder", "--decoder")]
    from_scratch = all(part is None or is_from_scratch(part) for part in parts)
    return "text_vae_from_scratch" if from_scratch else "text_vae_pretrained"


def prepare(
    model_arguments: TextVAEArguments,
    data: DataArguments,
    report: ReportArguments,
    args: LatentTrainingArguments,
) -> tuple[LatentTrainer, dict[str, Any]]:
    """A trainer with its model, processor and data, ready to train."""
    begin_run(args)
    check_decoder_is_new(model_arguments, args)
    column = model_arguments.condition_column
    texts = load_run_texts(data, column)
    logger.info("Texts: %s.", ", ".join(f"{len(rows):,} {split}" for split, rows in texts.items()))
    if model_arguments.model is not None:
        model, processor = load_trained(model_arguments.model, "encode_texts")
        model_arguments.check_conditions(model.config.prior_type)
        if model_arguments.reset_decoder:
            model.reset_decoder(args.seed)
    else:
        columns = ("text",) if column is None else ("text", "condition")
        processor = build_processor(data, model_arguments.encoder_source, model_arguments.decoder, texts, columns)
        model = build_composed(TextVAEModel, model_arguments, processor)
    keep, tokenized = (("text",), None) if column is None else (("text", "condition"), "condition")
    encoded = encode_texts(texts, processor, model, data, keep, tokenized)
    if len(encoded["test"]) < 2:
        raise ValueError("The report needs at least 2 texts in the test split, and this one has 1: give more texts.")
    trainer = build_trainer(model, args, encoded, processor)
    log_model_size(model)
    return trainer, {"encoded": encoded, "corpus": describe_corpus(data, texts)}


def train_and_report(
    trainer: LatentTrainer,
    texts: dict[str, Any],
    model_arguments: TextVAEArguments,
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
    measured = report_on(
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
    (output / "examples.txt").write_text(examples(measured), encoding="utf-8")
    draw_figures(measured, output / "figures")
    finish_run(trainer, summary(measured.metrics))
    return results


def draw_figures(measured: TextVAEReport, folder: Path) -> None:
    """Two latent maps and the KL of each dimension, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_latent_map(measured.corpus.means, folder / "latent_map.png", texts=measured.texts)
    if len(measured.texts) >= MIN_TSNE_TEXTS:
        draw_latent_map(measured.corpus.means, folder / "latent_map_tsne.png", texts=measured.texts, projection="tsne")
    if measured.corpus.kl_per_dimension is not None:
        draw_kl_per_dimension(measured.corpus.kl_per_dimension, folder / "kl_per_dimension.png")


def examples(measured: TextVAEReport) -> str:
    """Reconstructions, samples, of a conditional model texts of conditions, and interpolations as text."""
    lines = ["Reconstructions (text, then its greedy reconstruction)", ""]
    for text, reconstruction in measured.reconstructions[:20]:
        lines += [f"  {text}", f"  -> {reconstruction}", ""]
    lines += ["Samples from the prior", "", *(f"  {sample}" for sample in measured.samples), ""]
    if measured.conditions:
        lines += ["Conditions (condition, = its text, ~ texts written from the condition alone)", ""]
    for example in measured.conditions:
        lines += [f"  {_in_a_line(example.condition)}", f"  = {_in_a_line(example.text)}"]
        lines += [*(f"  ~ {_in_a_line(sample)}" for sample in example.samples), ""]
    for path in measured.interpolations:
        lines += ["Interpolation", "", *(f"  {step}" for step in path), ""]
    return "\n".join(lines)


def _in_a_line(text: str) -> str:
    return " ".join(text.split())


def summary(metrics: dict[str, Any], split: str = "test") -> str:
    """The results on a split in a few lines, each unit named."""
    bound, latent = metrics["bound"], metrics["latent"]
    lines = [
        f"On the {split} split, {bound['sentences']:,} sentences, end of sentence counted as a word and a token:",
        _likelihood_line("-ELBO", bound),
    ]
    if "importance_weighted" in metrics:
        weighted = metrics["importance_weighted"]
        lines.append(_likelihood_line(f"-log p(x), {weighted['num_samples']} importance samples", weighted))
    cost = metrics["permuted_latents_cost_nats_per_sentence"]
    lines.append(
        f"  KL {metrics['kl_nats_per_sentence']:.2f} nats/sentence, {latent['active_units']} of "
        f"{latent['latent_size']} dimensions active, mutual information {latent['mutual_information']:.2f} nats "
        f"(ceiling {latent['mutual_information_ceiling']:.2f}), permuted latents cost {cost:.1f} nats/sentence"
    )
    if "permuted_conditions" in metrics:
        permuted = metrics["permuted_conditions"]
        lines.append(
            f"  conditions of other texts cost {permuted['cost_nats_per_sentence']:.2f} nats/sentence of the bound (standard "
            f"error {permuted['cost_standard_error']:.2f})"
        )
    return "\n".join(lines)


def _likelihood_line(name: str, likelihood: dict[str, Any]) -> str:
    return (
        f"  {name}: {likelihood['nats_per_sentence']:.2f} nats/sentence, "
        f"perplexity {likelihood['word_perplexity']:.2f} per word and {likelihood['token_perplexity']:.2f} per token, "
        f"{likelihood['bits_per_byte']:.3f} bits/byte"
    )
