"""Train a latent summarizer and report on it: the `main` behind `recipes/train_latent_summarizer.py`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict

from hf_lvm.analysis.summary_length import LENGTH_TEXTS
from hf_lvm.analysis.summary_report import SummaryReport, report_summaries
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.bigram_decoder import BigramDecoderConfig, BigramDecoderModel
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.backbones.reconstructors import build_reconstructor
from hf_lvm.backbones.segment_decoder import SegmentDecoderConfig, SegmentDecoderModel
from hf_lvm.backbones.sources import check_exists, config_from_scratch, full_name, is_from_scratch
from hf_lvm.data import (
    CompressionCollator,
    LatentTextProcessor,
    choose_labelled,
    cut_alike,
    encode_compressions,
    load_compressions,
    load_tokenizer,
)
from hf_lvm.metrics.compression.table import compression_table
from hf_lvm.models.latent_summarizer import LatentSummarizerModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_processor, decoder_of_run, encoder_of_run, limit_rows, take_objective
from hf_lvm.training.config_file import parse_over_defaults
from hf_lvm.training.latent_summarizer_arguments import SummarizerArguments, SummaryDataArguments, SummaryReportArguments
from hf_lvm.training.mains import flag_value
from hf_lvm.training.results import changed_settings, describe_corpus, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import (
    begin_run,
    build_trainer,
    finish_run,
    log_model_size,
    refuse_keys,
    train_and_save,
)
from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)

ARGUMENTS = (SummarizerArguments, DataArguments, SummaryDataArguments, SummaryReportArguments, LatentTrainingArguments)
# Keys of a model that a run which goes on from it may set anew: how it is trained, not what it is.
OBJECTIVE_KEYS = (
    "objective", "estimator", "num_samples", "baseline_decay", "risk_sharpness", "classification_weight", "joint_weight",
    "unlabelled_weight", "prior_weight", "train_prior", "empty_baseline", "empty_weight", "target_ratio",
    "target_ratio_spread", "temperature", "learned_temperature", "unlabelled_posterior",
)  # fmt: skip
SHOWN_SUMMARIES = 20

DESCRIPTION = """Train a summarizer whose summaries are latent (Miao and Blunsom 2016): an encoder compresses a text, and a
decoder has to write the text from the compression, which a language model of compressions judges.

With num_labelled some or all training texts show their compressions: supervised, or semi-supervised. Without a config it
trains on sentences of the documentation that comes with Python, without labels. Afterwards the output folder holds the model
(AutoModel.from_pretrained loads it after `import hf_lvm`), its processor, results.json, summaries.txt and figures/."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_over_defaults(ARGUMENTS, argv, "latent_summarizer", DESCRIPTION, prog)
    if flag_value(argv, "--config") is None:
        leave_defaults(argv, *arguments[:2])
    trainer, texts = prepare(*arguments)
    return train_and_report(trainer, texts, *arguments, command=[prog or sys.argv[0], *argv])


def leave_defaults(argv: Sequence[str], model_arguments: SummarizerArguments, data: DataArguments) -> None:
    """Take back what the packaged config says of its own corpus and posterior, where the command line has others."""
    if flag_value(argv, "--data_dir") is not None and flag_value(argv, "--dataset") is None:
        data.dataset = None
    if (data.dataset, data.data_dir) != ("documentation", None):
        for key in ("min_words", "max_words"):
            if flag_value(argv, f"--{key}") is None:
                setattr(data, key, None)
    if model_arguments.posterior_type == "vocab" and flag_value(argv, "--target_ratio") is None:
        model_arguments.target_ratio = None


def prepare(
    model_arguments: SummarizerArguments,
    data: DataArguments,
    summaries: SummaryDataArguments,
    report: SummaryReportArguments,
    args: LatentTrainingArguments,
) -> tuple[LatentTrainer, dict[str, Any]]:
    """A trainer with its model, processor and data, ready to train."""
    refuse_keys(args, ("aggressive",), "A compression is no latent vector")
    begin_run(args)
    texts = load_pairs(data, summaries)
    logger.info("Texts: %s.", ", ".join(f"{len(rows):,} {split}" for split, rows in texts.items()))
    if model_arguments.model is not None:
        model, processor = load_trained(model_arguments.model, "summarize")
        take_objective(model, model_arguments, OBJECTIVE_KEYS)
    else:
        processor = build_processor(data, model_arguments.encoder, full_name("decoder", model_arguments.decoder), texts)
        processor = with_prior_tokenizer(processor, model_arguments)
        model = build_summarizer(model_arguments, processor)
    encoded = encode_compressions(
        texts, processor, max_length=data.max_length, max_positions=(encoder_positions(model.encoder), None)
    )
    encoded["train"] = hide_compressions(encoded["train"], model, model_arguments)
    for split in ("validation", "test"):
        encoded[split] = hide_unusable(encoded[split], model)
    if model_arguments.prior_epochs:
        fit_prior(model, encoded["train"], model_arguments.prior_epochs, model_arguments.prior_max_words)
    if isinstance(model.decoder, SegmentDecoderModel):
        refuse_keys(args, ("word_dropout",), "A segment decoder fills gaps and reads no words of its own")
    if model.length_table is not None and model_arguments.model is None:
        fit_lengths(model, encoded["train"])
    collator = CompressionCollator(processor, "kept" if model.config.posterior_type == "delete" else "summary_ids")
    trainer = build_trainer(model, args, encoded, processor, collator=collator)
    log_model_size(model)
    return trainer, {"encoded": encoded, "corpus": describe_corpus(data, as_they_came(texts))}


def load_pairs(data: DataArguments, summaries: SummaryDataArguments) -> DatasetDict:
    """The texts of a run, with their compressions where they have some."""
    texts = load_compressions(
        data.dataset,
        data_dir=data.data_dir,
        text_column=data.text_column,
        summary_column=summaries.summary_column,
        keep_column=summaries.keep_column,
        min_words=data.min_words,
        max_words=data.max_words,
        config_name=data.dataset_config,
    )
    return limit_rows(texts, data)


def as_they_came(texts: DatasetDict) -> DatasetDict:
    """The texts without the columns that were made of others, so that a built-in corpus has its usual hash."""
    columns = ["keep"] if any(any(rows["summary"][:]) for rows in texts.values()) else ["keep", "summary"]
    return texts.remove_columns(columns)


def hide_unusable(rows: Dataset, model: LatentSummarizerModel) -> Dataset:
    """The data set, nothing known of compressions that q(c|x) cannot write; the log says how many."""
    config = model.config
    column = "kept" if config.posterior_type == "delete" else "summary_ids"
    known = [index for index, value in enumerate(rows[column][:]) if value]
    usable = set(known)
    if column == "summary_ids":
        most = config.max_summary_words or sys.maxsize
        for index in known:
            row = rows[index]
            length, room = len(row["summary_ids"]) - 1, min(row["num_words"], most)
            outside = config.posterior_type == "pointer" and not set(row["summary_ids"]) <= set(row["labels"])
            if outside or not config.min_summary_words <= length <= room:
                usable.discard(index)
    lost = sum(map(bool, rows["summary"][:])) - len(usable)
    if lost:
        logger.info("%s compressions cannot be written by %r, and are not trained on.", f"{lost:,}", config.posterior_type)
    values = [value if index in usable else [] for index, value in enumerate(rows[column][:])]
    return rows.remove_columns(column).add_column(column, values, feature=rows.features[column])


def hide_compressions(rows: Dataset, model: LatentSummarizerModel, arguments: SummarizerArguments) -> Dataset:
    """The training texts, with as many known compressions as are asked for.

    Raises:
        ValueError: compressions are asked for, and there are none that can be used, or fewer than are asked for.
    """
    column, other = ("kept", "summary_ids") if model.config.posterior_type == "delete" else ("summary_ids", "kept")
    if arguments.num_labelled == 0:
        return rows.remove_columns(["kept", "summary_ids"])
    # What q does not learn from would still say what is not asked for.
    rows = hide_unusable(rows.remove_columns(other), model)
    known = [index for index, value in enumerate(rows[column][:]) if value]
    if not known:
        raise ValueError(
            "num_labelled asks for compressions, and there are none that can be used: name their column by summary_column or "
            "keep_column, or choose a posterior_type that can write them"
        )
    chosen = set(choose_labelled(known, arguments.num_labelled))
    logger.info("Compressions of %s training texts are used.", f"{len(chosen):,}")
    if arguments.unlabelled_weight == 0:
        return rows.select(sorted(chosen))
    values = [value if index in chosen else [] for index, value in enumerate(rows[column][:])]
    return rows.remove_columns(column).add_column(column, values, feature=rows.features[column])


def with_prior_tokenizer(processor: LatentTextProcessor, arguments: SummarizerArguments) -> LatentTextProcessor:
    """The processor with the tokenizer of a pretrained prior, where this is another than the decoder's.

    Raises:
        ValueError: a tokenizer for a prior that is built from scratch, over the decoder's tokens.
        FileNotFoundError: no tokenizer where one is named, or beside the prior.
    """
    prior = full_name("decoder", arguments.prior)
    if is_from_scratch(prior):
        if arguments.prior_tokenizer is not None:
            raise ValueError(f"prior_tokenizer is for a pretrained prior, and {arguments.prior!r} is built from scratch")
        return processor
    check_exists(prior)
    source = arguments.prior_tokenizer or prior
    # A run of this package has the tokenizer of what it writes in a folder of its own.
    own = Path(source).expanduser() / "decoder_tokenizer"
    try:
        tokenizer = load_tokenizer(own if own.is_dir() else source)
    except FileNotFoundError as error:
        if arguments.prior_tokenizer is not None:
            raise
        raise FileNotFoundError(f"no tokenizer is saved with the prior ({error}): name it by prior_tokenizer") from error
    if cut_alike(tokenizer, processor.decoder_tokenizer):
        return processor
    return LatentTextProcessor(processor.tokenizer, processor.decoder_tokenizer, tokenizer)


def build_summarizer(arguments: SummarizerArguments, processor: LatentTextProcessor) -> LatentSummarizerModel:
    """A new model: each part loaded or built from scratch."""
    options = {part: dict(arguments.part_options.get(part, {})) for part in ("encoder", "decoder")}
    tokenizer = processor.decoder_tokenizer
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": processor.start_token_id,
        "eos_token_id": processor.end_token_id,
    }
    source = full_name("decoder", arguments.decoder)
    if source == SegmentDecoderConfig.model_type:
        config = config_from_scratch(source, {"vocab_size": len(tokenizer), **ids}, **options["decoder"])
        decoder = build_reconstructor(config)
    else:
        attends = arguments.injection == "cross_attention"
        decoder = decoder_of_run(arguments.decoder, processor, cross_attention=attends, **options["decoder"])
    # A pretrained prior has its size.
    sized = arguments.prior_hidden_size is not None and is_from_scratch(full_name("decoder", arguments.prior))
    sizes = {"hidden_size": arguments.prior_hidden_size} if sized else {}
    if full_name("decoder", arguments.prior) == BigramDecoderConfig.model_type:
        prior = BigramDecoderModel(BigramDecoderConfig(vocab_size=decoder.config.vocab_size, **ids, **sizes))
    else:
        prior = decoder_of_run(arguments.prior, processor, **sizes)
    compressor = None
    if arguments.compressor is not None:
        sized = arguments.compressor_hidden_size is not None and is_from_scratch(full_name("decoder", arguments.compressor))
        sizes = {"hidden_size": arguments.compressor_hidden_size} if sized else {}
        attends = arguments.compressor_injection == "cross_attention"
        compressor = decoder_of_run(arguments.compressor, processor, cross_attention=attends, **sizes)
    keys = LatentSummarizerModel.config_class.own_keys() - {"prior", "compressor"}
    settings = {key: value for key, value in asdict(arguments).items() if key in keys}
    return LatentSummarizerModel.from_encoder_decoder_pretrained(
        encoder_of_run(arguments.encoder, processor, **options["encoder"]),
        decoder,
        prior,
        compressor=compressor,
        processor=processor,
        **settings,
        **ids,
    )


def fit_prior(
    model: LatentSummarizerModel,
    rows: Dataset,
    epochs: int,
    max_words: int | None = None,
    batch_size: int = 64,
    rate: float = 3e-3,
) -> None:
    """Train a bigram prior by itself, on known compressions, or on the texts where none are known.

    Args:
        max_words: of these texts only those of so many words: short sentences are more like compressions than long ones.

    Raises:
        ValueError: another prior, or no text that is short enough.
    """
    if not isinstance(model.prior, BigramDecoderModel) or model.config.prior_bridge is not None:
        raise ValueError(
            "prior_epochs trains a bigram prior over the decoder's tokens, and this model has another one: leave it out."
        )
    sequences = rows["labels"][:]
    if "kept" in rows.column_names and any(rows["kept"][:]):
        sequences = [
            [*(token for token, kept in zip(labels, own, strict=False) if kept), labels[-1]]
            for labels, own in zip(sequences, rows["kept"][:], strict=True)
            if own
        ]
    elif "summary_ids" in rows.column_names and any(rows["summary_ids"][:]):
        sequences = [own for own in rows["summary_ids"][:] if own]
    elif max_words is not None:
        sequences = [own for own, words in zip(sequences, rows["decoder_word_ids"][:], strict=True) if max(words) < max_words]
        if not sequences:
            raise ValueError(f"No training text has prior_max_words = {max_words} words or fewer: the prior needs some.")
        logger.info("The prior reads %s texts of at most %d words.", f"{len(sequences):,}", max_words)
    start = model.config.bos_token_id
    pairs = torch.tensor([pair for own in sequences for pair in zip([start, *own], own, strict=False)])
    model.prior.requires_grad_(True)
    optimizer = torch.optim.Adam(model.prior.parameters(), lr=rate)
    device = model.device
    with torch.enable_grad():
        for epoch in range(epochs):
            order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(epoch))
            total = 0.0
            for some in order.split(batch_size * 16):
                before, word = pairs[some].to(device).unbind(1)
                logits = model.prior(before.unsqueeze(1), use_cache=False).logits.squeeze(1)
                loss = torch.nn.functional.cross_entropy(logits, word)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(some)
            logger.info("Prior, epoch %d: %.3f nats a word.", epoch + 1, total / len(pairs))
    model.prior.zero_grad()
    model.prior.requires_grad_(model.config.train_prior)


def fit_lengths(model: LatentSummarizerModel, rows: Dataset) -> None:
    """Take p(|c|) from the known compressions, or by the target_ratio from the texts where none are known.

    Raises:
        ValueError: neither are there.
    """
    lengths = [sum(own) for own in rows["kept"][:] if own] if "kept" in rows.column_names else []
    if not lengths and "summary_ids" in rows.column_names:
        lengths = [len(own) - 1 for own in rows["summary_ids"][:] if own]
    ratio = model.config.target_ratio
    if not lengths and ratio is not None:
        lengths = [max(round(count * ratio), 1) for count in rows["num_words"][:]]
    if not lengths:
        raise ValueError(
            "length_model is a table of how long compressions are, and nothing says it: set num_labelled where compressions "
            "are known, or a target_ratio"
        )
    model.length_table.fit(torch.tensor(lengths))
    logger.info("Lengths of compressions: from %s, %.1f words in the mean.", f"{len(lengths):,}", sum(lengths) / len(lengths))


def train_and_report(
    trainer: LatentTrainer,
    texts: dict[str, Any],
    model_arguments: SummarizerArguments,
    data: DataArguments,
    summaries: SummaryDataArguments,
    report: SummaryReportArguments,
    args: LatentTrainingArguments,
    *,
    command: list[str],
) -> dict[str, Any]:
    """Train, save, measure on the test split, and write everything into the output folder."""
    seconds = train_and_save(trainer)
    if not trainer.is_world_process_zero():
        return {}
    model = trainer.accelerator.unwrap_model(trainer.model)
    test = texts["encoded"]["test"]
    measured = report_summaries(
        model,
        test,
        trainer.processing_class,
        ratios=report.report_ratios,
        words=report.report_words,
        corpus_ratios=report.report_corpus_ratios,
        length_texts=texts["encoded"]["validation"]["text"][:LENGTH_TEXTS] if report.report_corpus_ratios else (),
        num_importance_samples=report.num_importance_samples,
        metric_words=report.metric_words,
        seed=args.seed,
    )
    settings = {
        **asdict(model_arguments), **asdict(data), **asdict(summaries), **asdict(report), **changed_settings(args),
    }  # fmt: skip
    if model_arguments.model is not None:
        settings |= {"encoder": model.config.encoder.model_type, "decoder": model.config.decoder.model_type}
    results = {
        **results_of_run(trainer, command, settings, seconds, texts["corpus"]),
        "test": measured.metrics,
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "summaries.txt").write_text(describe_summaries(measured, test), encoding="utf-8")
    finish_run(trainer, summary(measured.metrics))
    return results


def describe_summaries(measured: SummaryReport, dataset: Dataset) -> str:
    """A few test texts with their compressions."""
    lines = []
    for row in range(min(SHOWN_SUMMARIES, len(dataset))):
        lines.append(f"text         {dataset[row]['text']}")
        if dataset[row]["summary"]:
            lines.append(f"known        {dataset[row]['summary']}")
        lines += [f"{name:<12} {found[row]}" for name, found in measured.summaries.items()]
        lines.append("")
    return "\n".join(lines)


def summary(metrics: dict[str, Any]) -> str:
    """The results on the test split in a few lines, each unit named; compressions always with their controls."""
    bound = metrics["bound"]
    lines = [f"On the test split, {bound['sentences']:,} texts:", f"  -ELBO {bound['nats_per_sentence']:.2f} nats/sentence"]
    if "non_canonical_share" in metrics:
        share = metrics["non_canonical_share"]
        lines.append(f"  {share:.1%} of compressions are charged for tokens that are not the usual ones of their text")
    if "likelihood" in metrics:
        how = "exact" if metrics["likelihood"]["exact"] else f"{metrics['likelihood']['num_samples']} samples"
        lines.append(f"  -log p(x), {how}: {metrics['likelihood']['nats_per_sentence']:.2f} nats/sentence")
    for name, scores in metrics["compression"].items():
        lines.append(f"  {name}: a word of the compression explains {scores['explained_nats_per_word']:.2f} nats")
    if metrics["compression"]:
        lines += ["", compression_table(metrics["compression"])]
    return "\n".join(lines)
