"""The demos: each model's embedded default, trained offline from random weights in under three minutes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback

from hf_lvm.analysis.corpus import batches
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.training import latent_class, latent_summarizer, referential_game, struct_vae, text_vae, urnng
from hf_lvm.training.building import build_composed
from hf_lvm.training.config_file import parse
from hf_lvm.training.demo_signatures import write_signatures
from hf_lvm.training.demo_summaries import write_summaries
from hf_lvm.training.mains import flag_value
from hf_lvm.training.progress import LatentProgressCallback
from hf_lvm.training.results import write_results
from hf_lvm.training.run_parts import show_and_share
from hf_lvm.training.trainer import LatentTrainer

# Name of a demo -> the recipe it runs; its embedded YAML file has the name of the recipe.
DEMOS = {
    "text-vae": text_vae,
    "latent-class": latent_class,
    "urnng": urnng,
    "latent-summarizer": latent_summarizer,
    "struct-vae": struct_vae,
    "referential-game": referential_game,
}
# What writes the texts of a demo that has other ones than a recipe can load, and says what they are.
TEXTS = {"latent-summarizer": write_summaries, "struct-vae": write_signatures}
# The embedded file of a run that comes before: the demo goes on from the model that it leaves.
FIRST_RUNS = {"struct-vae": "struct_vae_labels"}


@dataclass(frozen=True)
class Demo:
    """A trained demo.

    Attributes:
        trainer: with its model and processor.
        results: what `results.json` holds.
        test: the encoded test split.
        arguments: what it was run with.
        first: what the `results.json` of a run that came before holds; empty without one.
    """

    trainer: LatentTrainer
    results: dict[str, Any]
    test: Any
    arguments: tuple
    first: dict[str, Any] = field(default_factory=dict)


def run_demo(name: str, output_dir: Path, flags: Sequence[str] = (), on_prepared=None) -> Demo:
    """Train a demo model and report on it.

    Args:
        name: a name in `DEMOS`.
        flags: options that override those of the embedded YAML files.
        on_prepared: called with the trainer and the corpus line before training begins; of two runs before the first.
    """
    recipe, corpus, flags, own = DEMOS[name], None, list(flags), []
    if name in TEXTS and not any(flag_value(flags, key) for key in ("--dataset", "--data_dir")):
        corpus, own = TEXTS[name](output_dir / "texts"), ["--data_dir", str(output_dir / "texts")]
    first: dict[str, Any] = {}
    command = ["hf-lvm", "demo", name, *flags]

    def run(settings: str, folder: Path, options: Sequence[str], introduce: Callable | None, **more: Any) -> Demo:
        with as_file(files("hf_lvm.training") / "demos" / f"{settings}.yaml") as path:
            argv = ["--config", str(path), "--output_dir", str(folder), *options, *flags]
            arguments = parse(recipe.ARGUMENTS, argv, "", "hf-lvm demo")
        trainer, texts = recipe.prepare(*arguments)
        if corpus is not None:
            texts["corpus"] = corpus
        if introduce is not None:
            introduce(trainer, texts["corpus"])
        results = recipe.train_and_report(trainer, texts, *arguments, command=command)
        return Demo(trainer, results, texts["encoded"]["test"], arguments, **more)

    if name in FIRST_RUNS and flag_value(flags, "--model") is None:
        first = run(FIRST_RUNS[name], output_dir / "first", own, on_prepared).results
        own, on_prepared = [*own, "--model", str(output_dir / "first")], None
    demo = run(name.replace("-", "_"), output_dir, own, on_prepared, first=first)
    if first:
        demo.results["first_run"] = {key: first[key] for key in ("settings", "training_seconds", "steps", "epochs", "test")}
        write_results(output_dir / "results.json", demo.results)
        show_and_share(demo.trainer)
    return demo


def compare_with_language_model(demo: Demo) -> dict[str, float]:
    """Train the demo's decoder as a language model for as many updates on the same batches, and compare likelihoods.

    The language model is the same model with a latent that is always 0, of one class, trained by its own likelihood.

    Returns:
        `language_model_nats_per_sentence`; that of the demo's model, `importance_weighted_nats_per_sentence`, or
        `exact_nats_per_sentence` where it was summed; and their `ratio`.
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
    test = demo.results["test"]
    how = "importance_weighted" if "importance_weighted" in test else "exact"
    own = test["importance_weighted" if how == "importance_weighted" else "likelihood"]["nats_per_sentence"]
    comparison = {
        "language_model_nats_per_sentence": language_model,
        f"{how}_nats_per_sentence": own,
        "ratio": own / language_model,
    }
    command = demo.results["command"] + (" --compare" if how == "importance_weighted" else "")
    write_results(Path(args.output_dir) / "results.json", demo.results | {"command": command, "comparison": comparison})
    show_and_share(demo.trainer)
    return comparison


class _LanguageModelTrainer(LatentTrainer):
    """The same steps without a latent variable."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        output = model(labels=inputs["labels"], latents=_no_latents(self.model, inputs))
        self._micro_losses.append(output.loss.detach())
        return (output.loss, output) if return_outputs else output.loss


def _no_latents(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    labels, config = inputs["labels"], model.config
    if hasattr(config, "num_variables"):
        return torch.zeros(len(labels), config.num_variables, dtype=torch.long, device=labels.device)
    return torch.zeros(len(labels), config.latent_size, device=labels.device)
