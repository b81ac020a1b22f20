"""Arguments of a training run: those of transformers, and what a latent variable adds to them."""

import math
from dataclasses import dataclass, field, fields

import torch
from transformers import SchedulerType, TrainingArguments

from hf_lvm.training.objective_arguments import ObjectiveArguments, steps_of
from hf_lvm.training.part_arguments import PartArguments
from hf_lvm.training.phases.aggressive import AggressiveArguments
from hf_lvm.training.phases.collapse_guard import CollapseGuardArguments
from hf_lvm.training.phases.plateau import PlateauArguments


@dataclass
class LatentTrainingArguments(
    CollapseGuardArguments, PlateauArguments, AggressiveArguments, PartArguments, ObjectiveArguments, TrainingArguments
):
    """`transformers.TrainingArguments`, what a latent variable adds to the objective, how the parts of a model
    are trained apart, and the phases of a run.

    The help texts of the fields say what each one does. Some defaults of `TrainingArguments` differ, because losses here
    are in nats per sentence and because a run should keep its best model by itself: `max_grad_norm` 5, `logging_steps` 10,
    evaluation and saving after each epoch, the last and the best checkpoint kept, the best one loaded at the end.

    Raises:
        ValueError: a value is not allowed; the message says which are.
    """

    _argument_group_name = "The objective, and how the run is watched and kept"

    max_grad_norm: float = field(
        default=5.0,
        metadata={"help": "Gradients are clipped to this norm; losses are in nats per sentence. 0 means no clipping."},
    )
    logging_steps: float = field(
        default=10,
        metadata={
            "help": "Optimizer steps between two lines of the log, averages over the steps between; below 1 a share "
            "of all steps."
        },
    )
    eval_strategy: str = field(
        default="epoch", metadata={"help": "When to evaluate on the validation split: no, steps or epoch."}
    )
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint: no, steps, epoch or best."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints to keep. The newest and the best are never deleted."}
    )
    load_best_model_at_end: bool | None = field(
        default=None,
        metadata={
            "help": "End with the model of the best validation bound instead of the last one. By default it does "
            "when the run evaluates and saves at the same moments."
        },
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Folder of a checkpoint to go on from, or `true` for the newest one in output_dir, which starts "
            "from scratch when there is none yet."
        },
    )

    hub_strategy: str = field(
        default="end",
        metadata={
            "help": "What push_to_hub shares: end, the whole run once it is measured; every_save, the model of each "
            "checkpoint too. The state of the optimizer is never shared."
        },
    )

    def __post_init__(self) -> None:
        if isinstance(self.resume_from_checkpoint, str) and self.resume_from_checkpoint.lower() in ("true", "false"):
            self.resume_from_checkpoint = self.resume_from_checkpoint.lower() == "true"
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{item.name} is {value}; give a finite number")
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = self.eval_strategy == self.save_strategy != "no"
        super().__post_init__()
        self.check_objective()
        self.check_parts()
        self.check_aggressive()
        self.check_plateau()
        self.check_collapse_guard()
        # Memory is pinned for copies to an accelerator; without one torch warns in every epoch.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()

    def saved_settings(self, total_steps: int) -> dict[str, float | str | bool | None]:
        """What the steps of a run follow from, besides its data: the keys in use, shares as the steps of `total_steps`.

        A run that is resumed must have the same ones.
        """
        settings = self.objective_settings(total_steps)
        # A new rate would be ignored without a word, and a new schedule jump to where it would have been.
        settings |= {"learning_rate": self.learning_rate, "lr_scheduler_type": SchedulerType(self.lr_scheduler_type).value}
        settings |= self.part_settings(total_steps)
        settings |= self.plateau_settings() if self.plateau_patience > 0 else {}
        for prefix, is_used in (
            ("aggressive", self.aggressive),
            ("collapse_guard", self.collapse_guard == "act"),  # one that only warns changes nothing
        ):
            keys = [item.name for item in fields(self) if item.name.startswith(prefix)] if is_used else []
            settings |= {key: getattr(self, key) for key in keys}
        for key in ("collapse_guard_steps", "collapse_guard_patience_steps"):
            if key in settings:
                settings[key] = steps_of(settings[key], total_steps)
        return settings
