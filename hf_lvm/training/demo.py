"""The demos: each model's embedded default, trained offline from random weights in under three minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback

from hf_lvm.analysis.corpus import batches
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.training.building import build_composed
from hf_lvm.training.config_file import parse
from hf_lvm.training.progress import LatentProgressCallback
from hf_lvm.training.results import write_results
from hf_lvm.training.text_vae import ARGUMENTS, prepare, train_and_report
from hf_lvm.training.trainer import LatentTrainer

DEMOS = {"text-vae": "text_vae.yaml"}


@dataclass(frozen=True)
class Demo:
    """A trained demo.

    Attributes:
        trainer: with its model and processor.
        results: what `results.json` holds.
        test: the encoded test split.
        arguments: what it was run with.
    """

    trainer: LatentTrainer
    results: dict[str, Any]
    test: Any
    arguments: tuple


def run_text_vae_demo(output_dir: Path, flags: Sequence[str] = (), on_prepared=None) -> Demo:
    """Train the demo model and report on it.

    Args:
        flags: options that override those of the embedded YAML file.
        on_prepared: called with the trainer and the corpus line before training begins.
    """
    with as_file(files("hf_lvm.training") / "demos" / DEMOS["text-vae"]) as path:
        argv = ["--config", str(path), "--output_dir", str(output_dir), *flags]
        arguments = parse(ARGUMENTS, argv, "", "hf-lvm demo")
    trainer, texts = prepare(*arguments)
    if on_prepared is not None:
        on_prepared(trainer, texts["corpus"])
    results = train_and_report(trainer, texts, *arguments, command=["hf-lvm", "demo", "text-vae", *flags])
    return Demo(trainer, results, texts["encoded"]["test"], arguments)


def compare_with_language_model(demo: Demo) -> dict[str, float]:
    """Train the demo's decoder as a language model for as many updates on the same batches, and compare likelihoods.

    The language model is the same model with a latent that is always 0, trained by its own likelihood.

    Returns:
        `language_model_nats_per_sentence`, `importance_weighted_nats_per_sentence` of the VAE, and their `ratio`.
    """
    model_arguments, _, _, args = demo.arguments
    processor = demo.trainer.processing_class
    trainer = _LanguageModelTrainer(
        model=build_composed(type(demo.trainer.model), model_arguments, processor),
        args=args,
        train_dataset=demo.trainer.train_dataset,
        data_collator=demo.trainer.data_collator,
        processing_class=processor,
    )
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(LatentProgressCallback)
    trainer.train()
    model, total = trainer.model, 0.0
    with in_evaluation_mode(model):
        for _, inputs in batches(demo.test, processor, 64, model.device, "Language model"):
            total += model(labels=inputs["labels"], latents=_no_latents(model, inputs)).reconstruction.sum().item()
    language_model = total / len(demo.test)
    weighted = demo.results["test"]["importance_weighted"]["nats_per_sentence"]
    comparison = {
        "language_model_nats_per_sentence": language_model,
        "importance_weighted_nats_per_sentence": weighted,
        "ratio": weighted / language_model,
    }
    command = f"{demo.results['command']} --compare"
    write_results(Path(args.output_dir) / "results.json", demo.results | {"command": command, "comparison": comparison})
    return comparison


class _LanguageModelTrainer(LatentTrainer):
    """The same steps without a latent variable."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        output = model(labels=inputs["labels"], latents=_no_latents(self.model, inputs))
        self._micro_losses.append(output.loss.detach())
        return (output.loss, output) if return_outputs else output.loss


def _no_latents(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.zeros(len(inputs["labels"]), model.config.latent_size, device=inputs["labels"].device)
