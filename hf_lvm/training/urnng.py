"""Train an unsupervised recurrent neural network grammar and report on it: the `main` behind `recipes/train_urnng.py`."""

import copy
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from transformers import TrainerCallback

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.analysis.tree_drawing import draw_tree, tree_text
from hf_lvm.analysis.tree_report import TreeReport, bracket_scores, parse_dataset, published_perplexity, report_trees
from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.data import (
    LatentTextProcessor,
    TreeCollator,
    choose_labelled,
    encode_trees,
    load_bracketings,
    load_texts,
    load_trees,
)
from hf_lvm.models.urnng import URNNGModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import (
    build_processor,
    encoder_of_run,
    freeze_parts,
    limit_rows,
    take_objective,
    trained_posterior,
    tree_decoder_of_run,
)
from hf_lvm.training.config_file import parse_over_defaults
from hf_lvm.training.mains import flag_value
from hf_lvm.training.results import changed_settings, describe_corpus, evaluations_of, results_of_run, write_results
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
from hf_lvm.training.urnng_arguments import TreeDataArguments, TreeReportArguments, URNNGArguments

logger = logging.getLogger(__name__)

ARGUMENTS = (URNNGArguments, DataArguments, TreeDataArguments, TreeReportArguments, LatentTrainingArguments)
# Keys of a model that a run which goes on from it may set anew: how it is trained, not what it is.
OBJECTIVE_KEYS = (
    "objective", "estimator", "num_samples", "baseline_decay", "risk_sharpness", "classification_weight", "unlabelled_weight",
)  # fmt: skip
SHOWN_TREES = 8
# What results.json keeps of each evaluation.
WATCHED = ("bound", "kl", "published_perplexity", "corpus_f1", "sentence_f1")

DESCRIPTION = """Train a grammar that nobody has drawn trees for (Kim et al. 2019): an encoder says which binary trees a
sentence may have, and a decoder writes words and brackets, one after the other.

With num_bracketed some or all training sentences show their brackets: supervised, or semi-supervised. Without a config it
trains on sentences of a grammar with known trees, which it does not look at. Afterwards the output folder holds the model
(AutoModel.from_pretrained loads it after `import hf_lvm`), its processor, results.json, trees.txt and figures/."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_over_defaults(ARGUMENTS, argv, "urnng", DESCRIPTION, prog)
    if flag_value(argv, "--config") is None:
        _forget_default_texts(argv, *arguments[1:3])
    trainer, texts = prepare(*arguments)
    return train_and_report(trainer, texts, *arguments, command=[prog or sys.argv[0], *argv])


def _forget_default_texts(argv: Sequence[str], data: DataArguments, trees: TreeDataArguments) -> None:
    """Where flags name other texts than the packaged settings do, these say nothing of them, nor of their trees."""
    given = {key: flag_value(argv, f"--{key}") is not None for key in ("dataset", "data_dir", "tree_column")}
    if given["data_dir"] and not given["dataset"]:
        data.dataset = None
    if (given["data_dir"] or given["dataset"]) and not given["tree_column"]:
        trees.tree_column = None


def prepare(
    model_arguments: URNNGArguments,
    data: DataArguments,
    trees: TreeDataArguments,
    report: TreeReportArguments,
    args: LatentTrainingArguments,
) -> tuple[LatentTrainer, dict[str, Any]]:
    """A trainer with its model, processor and data, ready to train."""
    refuse_keys(args, ("aggressive", "word_dropout"), "A tree is no latent vector, and its decoder reads all words")
    begin_run(args)
    texts = load_sentences(data, trees)
    bracketed = choose_brackets(texts, model_arguments, trees)
    logger.info("Sentences: %s.", ", ".join(f"{len(rows):,} {split}" for split, rows in texts.items()))
    if model_arguments.model is not None:
        model, processor = load_trained(model_arguments.model, "surprisal")
        take_objective(model, model_arguments, OBJECTIVE_KEYS)
        freeze_parts(model, model_arguments.freeze)
        if model_arguments.reset_decoder:
            model.reset_decoder(args.seed)
    else:
        if model_arguments.posterior is not None:
            # It reads what its own tokenizer makes of texts, whatever else the settings name.
            data = replace(data, tokenizer=None)
        processor = build_processor(
            data,
            model_arguments.encoder if model_arguments.posterior is None else model_arguments.posterior,
            model_arguments.decoder,
            texts,
        )
        model = build_urnng(model_arguments, processor, texts)
    encoded = DatasetDict(
        {
            split: encode_trees(
                rows,
                processor,
                tree_column="brackets" if bracketed and split == "train" else None,
                binarize=trees.binarize_brackets,
                max_length=data.max_length,
                max_positions=(encoder_positions(model.encoder), None),
                keep_columns=[name for name in ("text", "tree") if name in rows.column_names],
            )
            for split, rows in texts.items()
        }
    )
    trainer = build_trainer(model, args, encoded, processor, collator=TreeCollator(processor))
    if report.epoch_samples:
        trainer.add_callback(WatchTrees(trainer, report))
    log_model_size(model)
    return trainer, {"encoded": encoded, "corpus": describe_corpus(data, texts)}


def load_sentences(data: DataArguments, trees: TreeDataArguments) -> DatasetDict:
    """The sentences of a run, with their trees where they have some."""
    source = {
        "data_dir": data.data_dir,
        "text_column": data.text_column,
        "min_words": data.min_words,
        "max_words": data.max_words,
        "config_name": data.dataset_config,
    }
    if trees.tree_column is None:
        # A column that happens to be called so is not one that was asked for.
        texts = load_texts(data.dataset, **source)
        texts = texts.remove_columns("tree") if "tree" in texts["train"].column_names else texts
    else:
        texts = load_trees(data.dataset, tree_column=trees.tree_column, **source)
    return limit_rows(texts, data)


def choose_brackets(texts: DatasetDict, arguments: URNNGArguments, trees: TreeDataArguments) -> bool:
    """Give the training sentences the column `brackets` that they are trained with; whether there are any.

    Raises:
        ValueError: brackets are asked for, and no trees are given, or fewer than are asked for; or trees of another parser are
            given, and no brackets are asked for.
    """
    count = arguments.num_bracketed
    if trees.bracketings is not None and count == 0:
        raise ValueError("bracketings gives trees to train on, and num_bracketed is 0: set it to -1 to use all of them")
    if count == 0:
        return False
    if trees.bracketings is not None:
        brackets = load_bracketings(trees.bracketings, texts["train"]["text"][:], strict=False)
    elif "tree" in texts["train"].column_names:
        brackets = texts["train"]["tree"][:]
    else:
        raise ValueError("num_bracketed asks for brackets, and there are no trees: name their column by tree_column")
    known = [row for row, tree in enumerate(brackets) if tree is not None]
    kept = set(choose_labelled(known, count, name="num_bracketed"))
    brackets = [tree if row in kept else None for row, tree in enumerate(brackets)]
    logger.info("Brackets of %s training sentences are used.", f"{len(kept):,}")
    texts["train"] = texts["train"].add_column("brackets", brackets)
    if arguments.unlabelled_weight == 0:
        texts["train"] = texts["train"].select(sorted(kept))
    return True


def build_urnng(arguments: URNNGArguments, processor: LatentTextProcessor, texts: DatasetDict) -> URNNGModel:
    """A new model: each part loaded or built from scratch."""
    options = {part: dict(arguments.part_options.get(part, {})) for part in ("encoder", "decoder")}
    trained = None if arguments.posterior is None else trained_posterior(URNNGModel, arguments.posterior)
    if trained is None:
        encoder = encoder_of_run(arguments.encoder, processor, **options["encoder"])
    else:
        # A copy, because embeddings that are shared with a new decoder begin as the decoder's, and are then taken back.
        encoder = copy.deepcopy(trained.encoder)
    pieces = processor.tokenize_words([text.split() for text in texts["train"]["text"][:1000]])["decoder_word_ids"]
    subwords = any(len(row) > max(row) + 2 for row in pieces)
    keys = URNNGModel.config_class.own_keys()
    settings = {key: value for key, value in asdict(arguments).items() if key in keys}
    if trained is not None:
        settings |= {key: getattr(trained.config, key) for key in ("span_scorer", "span_hidden_size")}
    model = URNNGModel.from_encoder_decoder_pretrained(
        encoder,
        tree_decoder_of_run(arguments.decoder, processor, subwords, **options["decoder"]),
        pad_token_id=processor.decoder_tokenizer.pad_token_id,
        bos_token_id=processor.start_token_id,
        eos_token_id=processor.end_token_id,
        **settings,
    )
    if trained is not None:
        model.take_posterior(trained)
    freeze_parts(model, arguments.freeze)
    return model


class WatchTrees(TrainerCallback):
    """After each evaluation the perplexity that the published code prints, and F1 where there are gold trees.

    Neither chooses a model: that is the bound on the validation sentences.
    """

    def __init__(self, trainer: LatentTrainer, report: TreeReportArguments):
        self._trainer, self._report = trainer, report

    def on_evaluate(self, args, state, control, **kwargs) -> None:
        trainer = self._trainer
        if not trainer.is_world_process_zero():
            return
        model, dataset = trainer.accelerator.unwrap_model(trainer.model), trainer.eval_dataset
        watched = {
            "eval_published_perplexity": published_perplexity(
                model, dataset, trainer.processing_class, num_samples=self._report.epoch_samples, seed=args.seed
            )
        }
        if "tree" in dataset.column_names:
            trees = parse_dataset(model, dataset, trainer.processing_class)
            for scores in list(bracket_scores(trees, dataset["tree"][:], self._report.protocols).values())[:1]:
                watched |= {"eval_corpus_f1": scores["corpus_f1"], "eval_sentence_f1": scores["sentence_f1"]}
        trainer.log_aside(watched)


def train_and_report(
    trainer: LatentTrainer,
    texts: dict[str, Any],
    model_arguments: URNNGArguments,
    data: DataArguments,
    trees: TreeDataArguments,
    report: TreeReportArguments,
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
    measured = report_trees(
        model,
        test,
        trainer.processing_class,
        test["tree"][:] if "tree" in test.column_names else None,
        num_importance_samples=report.num_importance_samples,
        temperature=report.proposal_temperature,
        protocols=report.protocols,
        seed=args.seed,
    )
    settings = {
        **asdict(model_arguments), **asdict(data), **asdict(trees), **asdict(report), **changed_settings(args),
    }  # fmt: skip
    if model_arguments.model is not None:
        settings |= {"encoder": model.config.encoder.model_type, "decoder": model.config.decoder.model_type}
    results = {
        **results_of_run(trainer, command, settings, seconds, texts["corpus"]),
        "evaluations": evaluations_of(trainer.state.log_history, WATCHED),
        "test": measured.metrics,
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "trees.txt").write_text(describe_trees(measured, test), encoding="utf-8")
    (output / "figures").mkdir(exist_ok=True)
    for number, tree in enumerate(measured.trees[:SHOWN_TREES]):
        draw_tree(tree, output / "figures" / f"tree_{number}.svg")
    finish_run(trainer, summary(measured.metrics))
    return results


def describe_trees(measured: TreeReport, dataset) -> str:
    """A few test sentences with their most probable trees, and the gold ones."""
    gold = dataset["tree"][:] if "tree" in dataset.column_names else [None] * len(dataset)
    lines = ["The most probable tree of each sentence under q(z|x)" + (", and the gold one" if any(gold) else ""), ""]
    for tree, known in list(zip(measured.trees, gold, strict=True))[:SHOWN_TREES]:
        lines += [tree_text(tree), ""]
        if known is not None:
            lines += [f"  gold  {known}", ""]
    return "\n".join(lines)


def summary(metrics: dict[str, Any]) -> str:
    """The results on the test split in a few lines, each unit named."""
    bound = metrics["bound"]
    lines = [
        f"On the test split, {bound['sentences']:,} sentences:",
        f"  -ELBO {bound['nats_per_sentence']:.2f} nats/sentence, perplexity {bound['word_perplexity']:.2f} per word, end of "
        "sentence counted",
    ]
    if "likelihood" in metrics:
        own, published = metrics["likelihood"]["normalized"], metrics["likelihood"]["published"]
        lines += [
            f"  -log p(x), {metrics['likelihood']['num_samples']} trees: {own['nats_per_sentence']:.2f} nats/sentence, "
            f"perplexity {own['word_perplexity']:.2f} per word, end of sentence counted; by the published convention, end of "
            f"sentence neither masked nor counted, {published['word_perplexity']:.2f}"
        ]
    for name, scores in metrics.get("brackets", {}).items():
        baselines = ", ".join(
            f"{baseline.replace('_', ' ')} {value['sentence_f1']:.1f}" for baseline, value in scores["baselines"].items()
        )
        lines.append(
            f"  {name}: corpus F1 {scores['corpus_f1']:.1f}, sentence F1 {scores['sentence_f1']:.1f} (that of {baselines})"
        )
    return "\n".join(lines)
