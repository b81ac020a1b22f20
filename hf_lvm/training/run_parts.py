"""What the recipes have in common: how a run begins, its trainer, and training with everything saved."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, ProgressCallback, set_seed

from hf_lvm.analysis.figures import collect_curves, draw_training_curves
from hf_lvm.analysis.html_report import write_html_report
from hf_lvm.backbones.sources import full_name, is_from_scratch
from hf_lvm.data import LatentTextCollator, LatentTextProcessor
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.checkpoints import last_checkpoint
from hf_lvm.training.memory import keep_freed_memory
from hf_lvm.training.progress import LatentProgressCallback, start_logging
from hf_lvm.training.run_arguments import ComposedArguments
from hf_lvm.training.run_cards import write_run_card
from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)


def begin_run(args: LatentTrainingArguments) -> None:
    """Logging, memory and seed of this process; before anything random happens."""
    start_logging(args.process_index)
    if args.device.type == "cpu":
        keep_freed_memory()
    set_seed(args.seed)


def refuse_keys(args: LatentTrainingArguments, keys: Sequence[str], reason: str) -> None:
    """Raise a `ValueError` for keys that were given and mean nothing to a model.

    Args:
        keys: names of arguments that must have their defaults.
        reason: why, as the beginning of a sentence that goes on with the names.
    """
    default = LatentTrainingArguments(output_dir=args.output_dir, use_cpu=args.use_cpu)
    given = [key for key in keys if getattr(args, key) != getattr(default, key)]
    if given:
        raise ValueError(f"{reason}, and so no {', '.join(given)}: leave it out.")


def check_decoder_is_new(model_arguments: ComposedArguments, args: LatentTrainingArguments) -> None:
    """Raise a `ValueError` when a decoder that begins anew would lose what it was pretrained for."""
    source = full_name("decoder", model_arguments.decoder)
    if args.reset_decoder_after_warmup and model_arguments.model is None and not is_from_scratch(source):
        raise ValueError(
            f"reset_decoder_after_warmup would throw away the weights of {model_arguments.decoder!r}: it is for decoders "
            "built from scratch. Leave it out; autoencoder_warmup_steps alone helps a pretrained decoder too"
        )


def resumes(args: LatentTrainingArguments) -> bool:
    """Whether this run goes on from a checkpoint: the one that is named, or the newest whole one where there is any."""
    given = args.resume_from_checkpoint
    return bool(given) and (given is not True or last_checkpoint(args.output_dir) is not None)


def log_model_size(model: PreTrainedModel, more: str = "") -> None:
    """Log how many parameters a model has, and how many of them are trained.

    Args:
        more: what else there is to say of its size.
    """
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    behind = f"; {more}" if more else ""
    logger.info("Model: %s parameters to train, of %s%s.", f"{trained:,}", f"{model.num_parameters():,}", behind)


def build_trainer(
    model: PreTrainedModel,
    args: LatentTrainingArguments,
    encoded: Mapping[str, Dataset],
    processor: LatentTextProcessor,
    trainer_class: type[LatentTrainer] = LatentTrainer,
    collator: LatentTextCollator | None = None,
) -> LatentTrainer:
    """A trainer over the splits `train` and `validation`, with a progress bar that speaks of bounds."""
    trainer = trainer_class(
        model=model,
        args=args,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=LatentTextCollator(processor) if collator is None else collator,
        processing_class=processor,
    )
    if not args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(LatentProgressCallback)
    return trainer


def train_and_save(trainer: LatentTrainer) -> float:
    """Train, resuming where the arguments say so, and save model and state; the seconds of training."""
    begin = time.perf_counter()
    trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    seconds = time.perf_counter() - begin
    # Not uploaded yet, where that is asked for: `finish_run` does it when everything is measured.
    trainer.save_model(_internal_call=True)
    trainer.save_state()
    model = trainer.accelerator.unwrap_model(trainer.model)
    if is_sharded(model) and trainer.is_world_process_zero():
        # What is measured is measured by one process, which has but a share of these weights.
        trainer.model = type(model).from_pretrained(trainer.args.output_dir).to(trainer.args.device)
    return seconds


def is_sharded(model: nn.Module) -> bool:
    """Whether a process holds but a share of the parameters: under FSDP2, or stage 3 of DeepSpeed."""
    return any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in model.parameters())


def finish_run(trainer: LatentTrainer, summary: str) -> None:
    """How every run ends, when its results are written: training curves, a last word, card and report, an upload if asked for.

    Args:
        trainer: that of the run.
        summary: what was measured, in words, for the log.

    Raises:
        OSError: it could not be shared. The run itself is whole, and the message says how to share it later.
    """
    folder = Path(trainer.args.output_dir)
    # A run shorter than `logging_steps` has no curve.
    if collect_curves(trainer.state.log_history):
        draw_training_curves(trainer.state.log_history, folder / "figures" / "training_curves.png")
    logger.info("%s\nEverything is in %s.", summary, folder)
    show_and_share(trainer)


def show_and_share(trainer: LatentTrainer) -> None:
    """Write card and report of what the folder holds, and share it in one commit where `push_to_hub` asks for it.

    Raises:
        OSError: it could not be shared.
    """
    write_run_card(trainer.args.output_dir)
    write_html_report(trainer.args.output_dir)
    if trainer.args.push_to_hub:
        published = trainer.publish()
        logger.info("It is shared as %s, commit %s.", published.url, published.revision)
