"""Arguments of a training run: those of transformers, and what a latent variable adds to them."""

import math
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from hf_lvm.objectives.free_bits import FREE_BITS_MODES, check_free_bits_mode
from hf_lvm.objectives.kl_schedules import KL_SCHEDULES, check_kl_schedule, kl_weight
from hf_lvm.training.word_dropout import check_rate

_STEPS_OR_SHARE = "Whole numbers count optimizer steps, a number between 0 and 1 is a share of all steps"


@dataclass
class LatentTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the KL schedule, free bits and word dropout.

    Every schedule is a function of the global step, so a resumed run goes on exactly where it was. The help texts of
    the fields say what each one does. Some defaults of `TrainingArguments` differ, because losses here are in nats
    per sentence and because a run should keep its best model by itself: `max_grad_norm` 5, `logging_steps` 10,
    evaluation and saving after each epoch, the last and the best checkpoint kept, the best one loaded at the end.

    Raises:
        ValueError: a value is not allowed; the message says which are.
    """

    _argument_group_name = "The objective, and how the run is watched and kept"

    kl_schedule: str = field(
        default="constant",
        metadata={
            "help": f"How the weight of the KL term moves during training: {', '.join(KL_SCHEDULES)}. "
            "A weight that rises from 0 gives the decoder time to find the latent useful."
        },
    )
    kl_start: float = field(
        default=0.0, metadata={"help": "KL weight at the first step of a rising schedule, between 0 and 1."}
    )
    kl_warmup_steps: float = field(
        default=0,
        metadata={"help": f"How long the KL weight of a rising schedule takes to reach 1. {_STEPS_OR_SHARE}."},
    )
    autoencoder_warmup_steps: float = field(
        default=0,
        metadata={
            "help": "Warm start of the encoder as an autoencoder: the KL weight is 0 for so long, and the KL schedule "
            f"begins afterwards. {_STEPS_OR_SHARE}."
        },
    )
    free_bits: float = field(
        default=0.0,
        metadata={
            "help": "KL that costs nothing, in nats per latent dimension; 0 switches free bits off. Keeps the "
            "posterior from collapsing to the prior."
        },
    )
    free_bits_mode: str = field(
        default="per_dimension",
        metadata={
            "help": "Where the floor of the free bits stands: per_dimension (for each sentence) or kingma (for the "
            "mean over the batch, Kingma et al. 2016). Used when free_bits is above 0."
        },
    )
    word_dropout: float = field(
        default=0.0,
        metadata={
            "help": "Share of the decoder's input tokens hidden during training, in [0, 1), so that the decoder has "
            "to ask the latent (Bowman et al. 2015)."
        },
    )
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

    def __post_init__(self) -> None:
        check_kl_schedule(self.kl_schedule)
        check_free_bits_mode(self.free_bits_mode)
        check_rate(self.word_dropout)
        if not 0.0 <= self.kl_start <= 1.0:
            raise ValueError(f"kl_start is {self.kl_start}; a KL weight is between 0 and 1")
        if not (self.free_bits >= 0.0 and math.isfinite(self.free_bits)):
            raise ValueError(f"free_bits is {self.free_bits}; it is a number of nats per dimension, 0 or more")
        if self.free_bits > 0.0 and self.free_bits_mode == "none":
            allowed = ", ".join(mode for mode in FREE_BITS_MODES if mode != "none")
            raise ValueError(
                f"free_bits is {self.free_bits} but free_bits_mode is 'none', so they would do nothing: choose one of "
                f"{allowed}, or set free_bits to 0"
            )
        for name in ("kl_warmup_steps", "autoencoder_warmup_steps"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)) or (value >= 1 and value != int(value)):
                raise ValueError(f"{name} is {value}; give a whole number of steps, or a share of all steps between 0 and 1")
        if isinstance(self.resume_from_checkpoint, str) and self.resume_from_checkpoint.lower() in ("true", "false"):
            self.resume_from_checkpoint = self.resume_from_checkpoint.lower() == "true"
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = self.eval_strategy == self.save_strategy != "no"
        super().__post_init__()
        # Memory is pinned for copies to an accelerator; without one torch warns in every epoch.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()

    def kl_weight_at(self, step: int, total_steps: int) -> float:
        """Weight of the KL term in the loss of optimizer step `step`, counted from 0, of `total_steps`."""
        warm_start = steps_of(self.autoencoder_warmup_steps, total_steps)
        if step < warm_start:
            return 0.0
        warmup_steps = steps_of(self.kl_warmup_steps, total_steps)
        return kl_weight(self.kl_schedule, step - warm_start, start=self.kl_start, warmup_steps=warmup_steps)


def steps_of(steps_or_share: float, total_steps: int) -> int:
    """Optimizer steps meant by a whole number of them or by a share of all, as `warmup_steps` of transformers."""
    return int(steps_or_share) if steps_or_share >= 1 else math.ceil(steps_or_share * total_steps)
