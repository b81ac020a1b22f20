"""Train a language model: the decoder of a text VAE without its latent, by the same steps and measured by the same units.

It is the line that every bound is read against: a text VAE that is no better has learned nothing from its latent.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from hf_lvm.analysis.corpus import batches
from hf_lvm.backbones.decoders import decoder_positions
from hf_lvm.data import LatentTextProcessor, encode_dataset
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.objectives.likelihood import sentence_nll, shift_right
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.building import build_processor, decoder_of_run, load_run_texts
from hf_lvm.training.config_file import parse
from hf_lvm.training.results import changed_settings, describe_corpus, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import begin_run, build_trainer, finish_run, refuse_keys, train_and_save
from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)

LATENT_KEYS = (
    "kl_schedule",
    "kl_target",
    "free_bits",
    "autoencoder_warmup_steps",
    "aggressive",
    "collapse_guard",
    "word_dropout",
)

DESCRIPTION = """Train a language model to compare text VAEs with: any decoder, no latent variable.

Losses are in nats per sentence, as everywhere in this package. Afterwards the output folder holds the model
(AutoModelForCausalLM.from_pretrained loads it after `import hf_lvm`), its tokenizers and results.json."""


@dataclass
class LanguageModelArguments:
    """The model: a decoder alone."""

    _argument_group_name = "The model"

    model_type: str = field(default="language_model", metadata={"help": "Which kind of model."})
    decoder: str = field(
        default="gpt2",
        metadata={"help": "The decoder: a folder, a hub id, or a family to build from scratch (lstm, gpt2, llama, ...)."},
    )
    part_options: dict = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.model_type != "language_model":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains a language_model")


class LanguageModelTrainer(LatentTrainer):
    """The steps of `LatentTrainer` for a decoder alone: the loss is -log p(x), nats per sentence."""

    card_model_type = "language_model"

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The mean of -log p(x) over a micro-batch, scaled to its share of the optimizer step in training."""
        nll, logits = negative_log_likelihood(model, inputs["labels"], self._start_token_id, self._filler_id)
        loss = nll.mean()
        if model.training:
            self._micro_losses.append(loss.detach())
            loss = loss * len(nll) / (self._step_sentences or len(nll)) * self._step_batches
        return (loss, CausalLMOutput(loss=loss, logits=logits)) if return_outputs else loss

    @property
    def _start_token_id(self) -> int:
        return self.processing_class.start_token_id

    @property
    def _filler_id(self) -> int | None:
        return self.processing_class.decoder_tokenizer.pad_token_id


def negative_log_likelihood(
    model: PreTrainedModel, labels: torch.Tensor, start_token_id: int, filler_id: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """-log p(x) of labels (B, T) in nats per sentence, (B,), and the logits (B, T, V)."""
    logits = model(input_ids=shift_right(labels, start_token_id, filler_id), use_cache=False).logits
    return sentence_nll(logits, labels), logits


def score_texts(
    model: PreTrainedModel, dataset: Dataset, processor: LatentTextProcessor, batch_size: int = 64
) -> torch.Tensor:
    """-log p(x) of every encoded text, without dropout, in nats per sentence: (N,) on the CPU."""
    scores = torch.zeros(len(dataset), dtype=torch.float64)
    filler_id = processor.decoder_tokenizer.pad_token_id
    with in_evaluation_mode(model):
        for rows, inputs in batches(dataset, processor, batch_size, model.device, "Scoring"):
            nll, _ = negative_log_likelihood(model, inputs["labels"], processor.start_token_id, filler_id)
            scores[rows] = nll.double().cpu()
    return scores


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    kinds = (LanguageModelArguments, DataArguments, LatentTrainingArguments)
    model_arguments, data, args = parse(kinds, argv, DESCRIPTION, prog)
    refuse_keys(args, LATENT_KEYS, "A language model has no latent variable")
    begin_run(args)
    texts = load_run_texts(data)
    processor = build_processor(data, model_arguments.decoder, model_arguments.decoder, texts)
    if model_arguments.part_options.get("encoder"):
        raise ValueError(f"A language model has no encoder, but got {', '.join(model_arguments.part_options['encoder'])}.")
    model = decoder_of_run(model_arguments.decoder, processor, **model_arguments.part_options.get("decoder", {}))
    encoded = encode_dataset(
        texts, processor, max_length=data.max_length, max_positions=(None, decoder_positions(model)), keep_columns=("text",)
    )
    trainer = build_trainer(model, args, encoded, processor, LanguageModelTrainer)
    seconds = train_and_save(trainer)
    if not trainer.is_world_process_zero():
        return {}
    test = encoded["test"]
    scores = score_texts(trainer.accelerator.unwrap_model(trainer.model), test, processor)
    likelihood = compute_text_likelihood(
        scores.tolist(),
        num_tokens=[len(row) for row in test["labels"]],
        num_words=test["num_words"][:],
        num_bytes=test["num_bytes"][:],
    )
    settings = asdict(model_arguments) | asdict(data) | changed_settings(args)
    results = {
        **results_of_run(trainer, [prog or sys.argv[0], *argv], settings, seconds, describe_corpus(data, texts)),
        "test": {"likelihood": likelihood},
    }
    write_results(Path(args.output_dir) / "results.json", results)
    perplexity, nats = likelihood["word_perplexity"], likelihood["nats_per_sentence"]
    finish_run(trainer, f"On the test split: {nats:.2f} nats/sentence, perplexity {perplexity:.2f} per word.")
    return results
