"""Train bots that talk about objects, many runs side by side, and report on all of them."""

import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import ProgressCallback

from hf_lvm.analysis.dialog_report import DialogReport, report_dialogs
from hf_lvm.data.task_and_talk import ObjectSplit, instances, published_split, split_objects
from hf_lvm.models.task_and_talk import TaskAndTalkConfig, TaskAndTalkModel
from hf_lvm.training.config_file import parse
from hf_lvm.training.progress import LatentProgressCallback
from hf_lvm.training.results import changed_settings, run_description, write_results
from hf_lvm.training.run_parts import begin_run, finish_run, refuse_keys, train_and_save
from hf_lvm.training.task_and_talk_arguments import DialogTrainingArguments, TaskAndTalkArguments, WorldArguments
from hf_lvm.training.task_and_talk_trainer import SOLVED, DialogTrainer

logger = logging.getLogger(__name__)

ARGUMENTS = (TaskAndTalkArguments, WorldArguments, DialogTrainingArguments)
# What a vector, a decoder of texts or an encoder would use.
OTHERS_KEYS = (
    "aggressive", "free_bits", "word_dropout", "autoencoder_warmup_steps", "labelled_share", "kl_target", "collapse_guard",
)  # fmt: skip

DESCRIPTION = """Train two bots that have to invent a language (Kottur et al. 2017): one knows a task, two attributes to be
told, the other sees an object, and in a dialog of two rounds the first has to find out what it is asked for.

Many runs, each from first weights of its own, train side by side as one program. Afterwards the output folder holds all of
them (AutoModel.from_pretrained loads them after `import hf_lvm`, and `model.run(r)` is one of them), results.json, dialogs.txt
and figures/."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    model_arguments, world, args = parse(ARGUMENTS, argv, DESCRIPTION, prog)
    refuse_keys(args, OTHERS_KEYS, "A dialog is no latent vector and no text")
    begin_run(args)
    split = split_of(world)
    model = build_bots(model_arguments, world, args.seed)
    trainer = DialogTrainer(model, args, instances(split.train, model.config.num_tasks))
    if not args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(LatentProgressCallback)
    seconds = train_and_save(trainer)
    report = report_dialogs(model, split)
    settings = asdict(model_arguments) | asdict(world) | changed_settings(args)
    results = {
        **run_description([prog or sys.argv[0], *argv], settings, seconds),
        "corpus": describe_world(world, split),
        "steps": trainer.state.global_step,
        **measured(report, trainer),
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    (output / "dialogs.txt").write_text(report.text, encoding="utf-8")
    finish_run(trainer, summary(results))
    return results


def split_of(world: WorldArguments) -> ObjectSplit:
    """The objects to train on and those held out."""
    if world.num_test is None:
        return published_split()
    return split_objects(world.num_values, world.num_test, world.split_seed)


def build_bots(arguments: TaskAndTalkArguments, world: WorldArguments, seed: int) -> TaskAndTalkModel:
    """New bots; their runs have the seeds `seed`, `seed` + 1, ..."""
    settings = {key: value for key, value in asdict(arguments).items() if key != "model_type"}
    seeds = list(range(seed, seed + arguments.num_runs))
    return TaskAndTalkModel(TaskAndTalkConfig(num_values=world.num_values, seeds=seeds, **settings))


def measured(report: DialogReport, trainer: DialogTrainer) -> dict[str, Any]:
    """What results.json says of the runs: shares and means first, then each run."""
    watched = trainer.runs
    runs = [
        {"seed": seed, "attempts": attempts, **own, "solved_at": solved, "stopped_at": stopped}
        for seed, attempts, own, solved, stopped in zip(
            watched.seeds, watched.attempts, report.runs, watched.solved_at, watched.stopped_at, strict=True
        )
    ]
    solved = [run for run in runs if run["train_both"] >= SOLVED]
    return {
        "num_runs": len(runs),
        "solved_runs": len(solved),
        "all_runs": {key: spread([run[key] for run in runs]) for key in report.keys},
        "of_solved_runs": {key: spread([run[key] for run in solved]) for key in report.keys} if solved else None,
        "lexicon": report.lexicon.splitlines(),
        "runs": runs,
        "accuracy_history": [[step, [round(value, 4) for value in values]] for step, values in watched.history],
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation (0 of one value), smallest, median and largest."""
    return {
        "mean": statistics.mean(values),
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        "smallest": min(values),
        "median": statistics.median(values),
        "largest": max(values),
    }


def describe_world(world: WorldArguments, split: ObjectSplit) -> str:
    """Which objects a number was measured on."""
    held_out = "as published" if world.num_test is None else f"at random, seed {world.split_seed}"
    sizes = " * ".join(map(str, world.num_values))
    return f"{sizes} values: {len(split.train)} training objects, {len(split.test)} held out {held_out}"


def summary(results: dict[str, Any]) -> str:
    """The results in a few lines."""
    lines = [f"{results['solved_runs']} of {results['num_runs']} runs solve 99% of training or more"]
    for title, key in (("of all runs", "all_runs"), ("of those", "of_solved_runs")):
        if results[key] is not None:
            train, both, some = (results[key][name] for name in ("train_both", "test_both", "test_any"))
            lines.append(
                f"  {title}: train {train['mean']:.1%}, unseen objects both values {both['mean']:.1%} (SD "
                f"{both['standard_deviation']:.1%}, {both['smallest']:.1%} to {both['largest']:.1%}), at least one "
                f"{some['mean']:.1%}"
            )
    return "\n".join(lines)
