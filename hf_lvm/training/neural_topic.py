"""Train a neural topic model and report on it: coherence and diversity of the topics, likelihood of documents."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datasets import DatasetDict
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from hf_lvm.analysis.topic_report import TopicReport, report_topics
from hf_lvm.data import LatentTextProcessor, encode_dataset, train_topic_tokenizer
from hf_lvm.layers.pooling import POOLINGS
from hf_lvm.models.neural_topic import NeuralTopicConfig, NeuralTopicModel
from hf_lvm.models.neural_topic.configuration_neural_topic import POSTERIOR_TYPES, WORD_MODELS
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_processor, encoder_of_run, load_run_texts
from hf_lvm.training.config_file import parse
from hf_lvm.training.results import changed_settings, describe_corpus, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import begin_run, build_trainer, finish_run, refuse_keys, train_and_save
from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)

STOP_WORDS = {"english": ENGLISH_STOP_WORDS, "none": frozenset()}
DECODER_KEYS = ("autoencoder_warmup_steps", "aggressive", "word_dropout")

DESCRIPTION = """Train a topic model: every document has shares of some topics, and a topic is a distribution over words.

A document is one text, and of its words only how often they stand there counts. Afterwards the output folder holds the model
(AutoModel.from_pretrained loads it after `import hf_lvm`), its tokenizers, results.json, topics.txt and figures/."""


@dataclass
class NeuralTopicArguments:
    """The model, its vocabulary, and what is reported."""

    _argument_group_name = "The model"

    model_type: str = field(default="hf_lvm_neural_topic", metadata={"help": "Which kind of model."})
    encoder: str = field(
        default="bag_of_words",
        metadata={
            "help": "The encoder: bag_of_words, a model type of transformers or lstm to build from scratch, or a folder or "
            "hub id (owner/name) of a pretrained one."
        },
    )
    num_topics: int = field(default=50, metadata={"help": "Topics."})
    posterior_type: str = field(
        default="dirichlet", metadata={"help": f"Family of q(shares | document): {', '.join(POSTERIOR_TYPES)}."}
    )
    prior_concentration: float | None = field(
        default=0.1, metadata={"help": "Concentration of the Dirichlet prior; below 1 a document has few topics."}
    )
    batch_norm: bool = field(
        default=True, metadata={"help": "Normalise the posterior over the batch, so that its topics stay in use."}
    )
    batch_norm_scale: float | None = field(
        default=None, metadata={"help": "Spread it is normalised to; by default 2 for dirichlet and 0.4 for logistic_normal."}
    )
    word_model: str = field(
        default="mixture",
        metadata={"help": f"How topics become words: {', '.join(WORD_MODELS)} (Srivastava and Sutton 2017)."},
    )
    embedding_size: int = field(
        default=128,
        metadata={"help": "Size of the vectors of words and topics; 0 gives every topic free scores of all words."},
    )
    background_share: float = field(
        default=0.2, metadata={"help": "Share of the words of every document that comes from no topic (mixture only)."}
    )
    pooling: str = field(default="mean", metadata={"help": f"From the encoder's states to one vector: {', '.join(POOLINGS)}."})
    start_from_documents: bool = field(
        default=True, metadata={"help": "Begin with word frequencies, and topics that are clusters of word vectors."}
    )
    min_documents: int = field(default=5, metadata={"help": "Training documents that must hold a word of the vocabulary."})
    stop_words: str = field(default="english", metadata={"help": f"Words left out: {', '.join(STOP_WORDS)}."})
    top_words: int = field(default=10, metadata={"help": "Words of each topic in the report."})
    num_importance_samples: int = field(
        default=100, metadata={"help": "Samples for each test document in the likelihood; 0 leaves it out."}
    )
    part_options: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_neural_topic":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_neural_topic")
        if self.stop_words not in STOP_WORDS:
            raise ValueError(f"stop_words is {self.stop_words!r}: choose {' or '.join(map(repr, STOP_WORDS))}")
        if self.top_words < 2:
            raise ValueError(f"top_words is {self.top_words}; coherence compares pairs of words and needs at least 2")
        if self.num_importance_samples < 0:
            raise ValueError(f"num_importance_samples is {self.num_importance_samples}; it is 0 (left out) or more")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    model_arguments, data, args = parse(
        (NeuralTopicArguments, DataArguments, LatentTrainingArguments), argv, DESCRIPTION, prog
    )
    refuse_keys(args, DECODER_KEYS, "A topic model has no decoder that reads words")
    if model_arguments.part_options.get("decoder"):
        raise ValueError("A topic model has no decoder, and so no decoder_ keys: leave them out.")
    begin_run(args)
    texts, processor, encoded = prepare(model_arguments, data)
    trainer, seconds = train(model_arguments, args, processor, encoded)
    if not trainer.is_world_process_zero():
        return {}
    model = trainer.accelerator.unwrap_model(trainer.model)
    options = {
        "top_words": model_arguments.top_words,
        "num_importance_samples": model_arguments.num_importance_samples,
        "seed": args.seed,
    }
    reports = {split: report_topics(model, encoded[split], processor, **options) for split in ("validation", "test")}
    settings = asdict(model_arguments) | asdict(data) | changed_settings(args)
    results = {
        **results_of_run(
            trainer,
            [prog or sys.argv[0], *argv],
            settings,
            seconds,
            describe_corpus(data, texts),
            vocabulary=int(model.is_word.sum()),
        ),
        **{split: report.metrics for split, report in reports.items()},
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "topics.txt").write_text(describe_topics(reports["test"]), encoding="utf-8")
    finish_run(trainer, summary(reports["test"].metrics))
    return results


def prepare(arguments: NeuralTopicArguments, data: DataArguments) -> tuple[DatasetDict, LatentTextProcessor, DatasetDict]:
    """The documents of a run, its tokenizers, and the documents as tokens.

    Documents without a word of the vocabulary are left out and counted in a log line.

    Raises:
        ValueError: a split in which no document has a word, or a tokenizer in the place of the vocabulary.
    """
    if data.dataset is None and data.data_dir is None:
        data.dataset = "documentation_documents"
    if data.decoder_tokenizer is not None:
        raise ValueError("The vocabulary of a topic model is made from the documents: leave out decoder_tokenizer.")
    texts = load_run_texts(data)
    words = train_topic_tokenizer(
        texts["train"]["text"][:], data.vocab_size, arguments.min_documents, STOP_WORDS[arguments.stop_words]
    )
    tokenizer = words
    if arguments.encoder != "bag_of_words" or data.tokenizer is not None:
        tokenizer = build_processor(data, arguments.encoder, arguments.encoder, texts).tokenizer
    processor = LatentTextProcessor(tokenizer, words)
    encoded = encode_dataset(texts, processor, max_length=data.max_length, keep_columns=("text",))
    special = set(words.all_special_ids)
    for split, rows in encoded.items():
        kept = [row for row, labels in enumerate(rows["labels"]) if not special.issuperset(labels)]
        if not kept:
            raise ValueError(f"{split}: no document has a word of the vocabulary. Lower min_documents, or give longer texts.")
        if len(kept) < len(rows):
            logger.info("%s: %d of %d documents have no word of the vocabulary and are left out.",
                        split, len(rows) - len(kept), len(rows))  # fmt: skip
            encoded[split] = rows.select(kept)
    return texts, processor, encoded


def train(
    arguments: NeuralTopicArguments, args: LatentTrainingArguments, processor: LatentTextProcessor, encoded: DatasetDict
) -> tuple[LatentTrainer, float]:
    """A trained and saved model inside its trainer, and the seconds of training."""
    model = build_neural_topic(arguments, processor)
    if arguments.start_from_documents:
        model.start_from_documents(encoded["train"]["labels"][:], seed=args.seed)
    trainer = build_trainer(model, args, encoded, processor)
    return trainer, train_and_save(trainer)


def build_neural_topic(arguments: NeuralTopicArguments, processor: LatentTextProcessor) -> NeuralTopicModel:
    """A new model over the words of a tokenizer, with an encoder that is loaded or built from scratch."""
    words = processor.decoder_tokenizer
    encoder = encoder_of_run(arguments.encoder, processor, **arguments.part_options.get("encoder", {}))
    keys = ("num_topics", "posterior_type", "prior_concentration", "batch_norm", "batch_norm_scale", "word_model", "pooling")
    config = NeuralTopicConfig(
        encoder=encoder.config,
        vocab_size=len(words),
        ignored_token_ids=sorted(words.all_special_ids),
        embedding_size=arguments.embedding_size or None,
        background_share=0.0 if arguments.word_model == "product" else arguments.background_share,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        **{key: getattr(arguments, key) for key in keys},
    )
    return NeuralTopicModel(config, encoder=encoder)


def describe_topics(report: TopicReport) -> str:
    """The topics with their mean share and their words, the largest first."""
    coherence = report.metrics["topics"]["npmi_per_topic"]
    lines = ["Topic, mean share of a document, NPMI on held-out documents, its most probable words", ""]
    order = sorted(range(len(report.topics)), key=lambda topic: -report.shares[topic])
    lines += [
        f"{topic:4}  {report.shares[topic]:6.1%}  {coherence[topic]:6.3f}  {' '.join(report.topics[topic])}" for topic in order
    ]
    return "\n".join(lines) + "\n"


def summary(metrics: dict[str, Any]) -> str:
    """The results on the test split in a few lines."""
    topics, bound = metrics["topics"], metrics["bound"]
    lines = [
        f"On the test split, {bound['documents']:,} documents:",
        f"  NPMI of the {topics['top_words']} top words of {topics['topics']} topics {topics['npmi']:.3f}, diversity "
        f"{topics['diversity']:.3f}",
        f"  -ELBO {bound['nats_per_document']:.2f} nats/document, perplexity {bound['word_perplexity']:.1f} per word",
        f"  {metrics['shares']['used']} topics are the largest one of some document",
    ]
    if "log_likelihood" in metrics:
        weighted = metrics["log_likelihood"]
        lines.append(
            f"  -log p(x), {weighted['num_samples']} samples: {weighted['nats_per_document']:.2f} nats/document, perplexity "
            f"{weighted['word_perplexity']:.1f} per word"
        )
    return "\n".join(lines)
