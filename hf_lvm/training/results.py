"""`results.json`: the numbers of a run and everything needed to get them again."""

import json
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from transformers import PreTrainedConfig, Trainer, TrainingArguments

from hf_lvm.data import documentation
from hf_lvm.data.loading import BUILT_IN, BUILT_IN_KINDS
from hf_lvm.training.run_arguments import ComposedArguments, DataArguments

PACKAGES = ("hf-lvm", "torch", "transformers", "accelerate", "datasets", "tokenizers")


def run_description(command: list[str], settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Command, settings, machine, time and versions of a run.

    Args:
        command: the command line, program first.
        settings: the keys that the user set.
        seconds: wall-clock seconds of training.
    """
    return {
        "command": " ".join([Path(command[0]).name, *map(shlex.quote, _without_tokens(command[1:]))]),
        "settings": settings,
        "training_seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": _hardware(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
    }


def results_of_run(
    trainer: Trainer, command: list[str], settings: dict[str, Any], seconds: float, corpus: str, **facts: Any
) -> dict[str, Any]:
    """How the results of every run of a `Trainer` begin; what was measured comes behind.

    Args:
        command, settings, seconds: see `run_description`.
        corpus: what the numbers were measured on, see `describe_corpus`.
        facts: more to say of the data.
    """
    return {
        **run_description(command, settings, seconds),
        "corpus": corpus,
        **facts,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
    }


def _without_tokens(argv: list[str]) -> list[str]:
    """A command line without the values of flags that hold an access token: results are shared."""
    shown, hide = [], False
    for word in argv:
        flag, equals, _ = word.partition("=")
        is_token = flag.startswith("--") and flag.endswith("_token") and flag.removeprefix("--").startswith(("hub", "push"))
        shown.append("..." if hide else f"{flag}=..." if is_token and equals else word)
        hide = is_token and not equals
    return shown


def model_settings(arguments: ComposedArguments, config: PreTrainedConfig) -> dict[str, Any]:
    """The keys of a model as it was built: those of a trained model that a run went on from, where it did.

    Args:
        arguments: the keys as they were given; beside `model` and `posterior` some of them are not used.
        config: of the model that was trained.
    """
    settings = asdict(arguments)
    if arguments.model is not None:
        settings |= {key: getattr(config, key) for key in settings if hasattr(config, key) and key != "model_type"}
    if arguments.model is not None or arguments.posterior is not None:
        settings |= {"encoder": config.encoder.model_type, "pooling": config.pooling}
    if arguments.model is not None:
        settings |= {"decoder": config.decoder.model_type}
    return settings


def evaluations_of(log_history: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, float]]:
    """What the evaluations on the validation split said while a model was trained, one entry each, in their order.

    Args:
        log_history: of the trainer's state. Lines of one step are one evaluation: a callback may have logged its own.
        keys: the values to keep, without their prefix `eval_`; those that an evaluation has not are left out.

    Returns:
        Dictionaries with `step`, `epoch` and the values.
    """
    found: dict[int, dict[str, float]] = {}
    for line in log_history:
        values = {key: line[f"eval_{key}"] for key in keys if f"eval_{key}" in line}
        if values:
            found.setdefault(line["step"], {"step": line["step"], "epoch": line["epoch"]}).update(values)
    return list(found.values())


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write JSON that either is there whole or not at all."""
    staged = path.with_name(f".incomplete-{path.name}")
    staged.write_text(json.dumps(results, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    staged.replace(path)


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}, {sys.platform}"


def describe_corpus(data: DataArguments, texts: DatasetDict, kind: str | None = None) -> str:
    """Which texts a number was measured on: the name and the size of each split.

    Args:
        kind: of rows of the documentation, where its name alone does not say it.
    """
    if data.data_dir is None and (data.dataset or BUILT_IN) in BUILT_IN_KINDS:
        return documentation.describe(texts, kind or BUILT_IN_KINDS[data.dataset or BUILT_IN])
    sizes = ", ".join(f"{len(rows):,} {split}" for split, rows in texts.items())
    return f"{Path(data.data_dir or data.dataset).name}: {sizes}"


def changed_settings(args: TrainingArguments) -> dict[str, Any]:
    """The seed, and the training arguments that differ from their defaults, besides where the output goes."""
    # On the same device: arguments for another one would prepare it.
    default = json.loads(type(args)(output_dir=args.output_dir, use_cpu=args.use_cpu).to_json_string())
    own = json.loads(args.to_json_string())
    changed = {key for key in own if default.get(key) != own[key]} - {"output_dir"} | {"seed"}
    return {key: own[key] for key in own if key in changed or (key == "use_cpu" and own[key])}
