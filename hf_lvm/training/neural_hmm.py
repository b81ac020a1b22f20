"""Train a neural hidden Markov model and report on it: likelihood, tags, the words of each state."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from hf_lvm.analysis.tagging_report import TaggingReport, report_tagging
from hf_lvm.data import LatentTextProcessor, encode_dataset
from hf_lvm.models.neural_hmm import NeuralHMMConfig, NeuralHMMModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_processor, load_run_texts
from hf_lvm.training.config_file import parse
from hf_lvm.training.results import changed_settings, describe_corpus, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import begin_run, build_trainer, finish_run, refuse_keys, train_and_save

logger = logging.getLogger(__name__)

ENCODER_KEYS = ("autoencoder_warmup_steps", "aggressive", "word_dropout")
KL_KEYS = ("free_bits", "kl_target", "collapse_guard")

DESCRIPTION = """Train a hidden Markov model of sentences whose transitions and emissions come from embeddings.

The likelihood is exact, and so is its gradient; states are found without labels. With `tag_column` the states are compared
with gold tags. Afterwards the output folder holds the model (AutoModel.from_pretrained loads it after `import hf_lvm`), its
tokenizer, results.json, states.txt and figures/."""


@dataclass
class NeuralHMMArguments:
    """The model, and what it is compared with."""

    _argument_group_name = "The model"

    model_type: str = field(default="hf_lvm_neural_hmm", metadata={"help": "Which kind of model."})
    num_states: int = field(default=45, metadata={"help": "States a word can have."})
    hidden_size: int = field(default=128, metadata={"help": "Size of the embeddings of states and words."})
    dropout: float = field(default=0.0, metadata={"help": "Share of the state embeddings set to zero in training."})
    tag_column: str | None = field(
        default=None,
        metadata={"help": "Column with gold tags, a list or separated by blanks, one a token; for the report only."},
    )
    decoding: str = field(
        default="viterbi", metadata={"help": "Tags of the report: viterbi, or posterior (the best state of each word)."}
    )

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_neural_hmm":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_neural_hmm")
        if self.decoding not in ("viterbi", "posterior"):
            raise ValueError(f"decoding is {self.decoding!r}: choose 'viterbi' or 'posterior'")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    model_arguments, data, args = parse((NeuralHMMArguments, DataArguments, LatentTrainingArguments), argv, DESCRIPTION, prog)
    refuse_keys(args, ENCODER_KEYS, "A hidden Markov model has neither an encoder nor a decoder that reads words")
    refuse_keys(args, KL_KEYS, "A hidden Markov model is trained by its likelihood, which has no KL term to hold up")
    begin_run(args)
    texts = load_run_texts(data)
    tag_column = model_arguments.tag_column
    if tag_column is not None and tag_column not in texts["test"].column_names:
        raise ValueError(f"There is no column {tag_column!r}; the columns are {', '.join(texts['test'].column_names)}.")
    if data.tokenizer is None:
        data.tokenizer = "words"
    processor = build_processor(data, "lstm", "lstm", texts)
    model = build_neural_hmm(model_arguments, processor)
    columns = ("text",) if tag_column is None else ("text", tag_column)
    encoded = encode_dataset(texts, processor, max_length=data.max_length, keep_columns=columns)
    trainer = build_trainer(model, args, encoded, processor)
    seconds = train_and_save(trainer)
    if not trainer.is_world_process_zero():
        return {}
    model = trainer.accelerator.unwrap_model(trainer.model)
    reports = {
        split: report_tagging(
            model,
            encoded[split],
            processor,
            None if tag_column is None else gold_tags(encoded[split], tag_column),
            decoding=model_arguments.decoding,
        )
        for split in ("train", "test")
    }
    settings = asdict(model_arguments) | asdict(data) | changed_settings(args)
    results = {
        **results_of_run(trainer, [prog or sys.argv[0], *argv], settings, seconds, describe_corpus(data, texts)),
        **{split: report.metrics for split, report in reports.items()},
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "states.txt").write_text(describe_states(reports["train"], model, processor), encoding="utf-8")
    finish_run(trainer, summary(reports["test"].metrics))
    return results


def build_neural_hmm(arguments: NeuralHMMArguments, processor: LatentTextProcessor) -> NeuralHMMModel:
    """A new model over the words of a tokenizer."""
    return NeuralHMMModel(
        NeuralHMMConfig(
            vocab_size=len(processor.decoder_tokenizer),
            num_states=arguments.num_states,
            hidden_size=arguments.hidden_size,
            dropout=arguments.dropout,
            pad_token_id=processor.decoder_tokenizer.pad_token_id,
            bos_token_id=processor.start_token_id,
            eos_token_id=processor.end_token_id,
        )
    )


def gold_tags(dataset: Dataset, column: str) -> list[list[str]]:
    """The tags of each sentence."""
    return [tags.split() if isinstance(tags, str) else list(tags) for tags in dataset[column]]


def describe_states(report: TaggingReport, model: NeuralHMMModel, processor: LatentTextProcessor) -> str:
    """The states with their share and their words, and a few sentences that the model writes."""
    lines = ["State, share of the words of the training texts, its most frequent words", ""]
    lines += [f"{state:4}  {share:6.1%}  {' '.join(words)}" for state, share, words in report.top_words]
    lines += ["", "Sentences drawn from the model", "", *(f"  {text}" for text in model.sample(8, processor=processor))]
    return "\n".join(lines) + "\n"


def summary(metrics: dict[str, Any]) -> str:
    """The results on the test split in a few lines."""
    likelihood, states = metrics["likelihood"], metrics["states"]
    lines = [
        f"On the test split, {likelihood['sentences']:,} sentences, end of sentence counted as a word and a token:",
        f"  -log p(x), exact: {likelihood['nats_per_sentence']:.2f} nats/sentence, perplexity "
        f"{likelihood['word_perplexity']:.2f} per word and {likelihood['token_perplexity']:.2f} per token",
        f"  {states['used']} states used, perplexity {states['perplexity']:.1f}",
    ]
    if "tags" in metrics:
        tags = metrics["tags"]
        lines.append(
            f"  against gold tags: V-measure {tags['v_measure']:.3f}, many-to-one {tags['many_to_one']:.3f}, one-to-one "
            f"{tags['one_to_one']:.3f}; the most frequent tag alone has {tags['majority_share']:.3f}"
        )
    return "\n".join(lines)
