"""A guard against posterior collapse: looks at the latent while the model trains, says when it is not used, and can act."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast
from transformers import PreTrainedConfig, TrainerControl, TrainerState, TrainingArguments

from hf_lvm.objectives.diagnostics import active_units, joint_mutual_information
from hf_lvm.objectives.free_bits import PER_DIMENSION_MODES
from hf_lvm.training.class_statistics import ClassStatistics, class_probabilities
from hf_lvm.training.latent_statistics import posterior_means
from hf_lvm.training.objective_arguments import STEPS_OR_SHARE, check_steps_or_share, steps_of
from hf_lvm.training.phases.held_out import Encoded, HeldOut, mutual_information_of_parts
from hf_lvm.training.phases.resumable import ResumableCallback

if TYPE_CHECKING:
    from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)

MODES = ("off", "warn", "act")
ACTIONS = ("free_bits", "aggressive")
# Nats about a sentence below which a latent says nothing: the noise of the estimate is of this size.
USED_FROM = 0.1
# Looks in a row that must agree, so that one unlucky look raises no alarm.
PATIENCE = 2
# What the guard gives, in nats per dimension, one level after the other.
FREE_BITS_LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8)


@dataclass
class CollapseGuardArguments:
    """The keys of the collapse guard, for `LatentTrainingArguments`."""

    collapse_guard: str = field(
        default="off",
        metadata={
            "help": "Watch whether the latent is used, on some sentences of the validation set: off, warn (say it when it is "
            "not), or act (and do something about it, see collapse_guard_action)."
        },
    )
    collapse_guard_action: str = field(
        default="free_bits",
        metadata={
            "help": "What the guard does under act: free_bits (raise them, level by level, until the latent is used) or "
            "aggressive (start the aggressive phase)."
        },
    )
    collapse_guard_samples: int = field(
        default=256, metadata={"help": "Sentences of the validation set that the guard looks at, the first ones."}
    )
    collapse_guard_steps: float = field(default=0.05, metadata={"help": f"How often the guard looks. {STEPS_OR_SHARE}."})
    collapse_guard_patience_steps: float = field(
        default=0.1,
        metadata={
            "help": "How long the latent may take to become useful, once the KL weight has reached 1, before the guard calls "
            f"it a collapse. {STEPS_OR_SHARE}."
        },
    )

    def check_collapse_guard(self) -> None:
        """Raise a `ValueError` when a value is not allowed or the guard's action contradicts the objective."""
        for name, allowed in (("collapse_guard", MODES), ("collapse_guard_action", ACTIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.collapse_guard_samples < 2:
            raise ValueError(
                f"collapse_guard_samples is {self.collapse_guard_samples}; sentences are compared: give 2 or more"
            )
        for name in ("collapse_guard_steps", "collapse_guard_patience_steps"):
            check_steps_or_share(name, getattr(self, name))
        if self.collapse_guard_steps == 0:
            raise ValueError("collapse_guard_steps is 0; give the steps between two looks, or set collapse_guard to off")
        if self.collapse_guard == "act" and self.free_bits_mode == "none" and self.collapse_guard_action == "free_bits":
            raise ValueError(
                "collapse_guard_action is 'free_bits' and free_bits_mode 'none': choose the mode in which the guard may raise "
                "them, or another action"
            )


class CollapseGuard(ResumableCallback):
    """Tells on a held-out slice whether the latent variable is used.

    Every `collapse_guard_steps` it logs, over the first `collapse_guard_samples` sentences of the validation set:
    `guard_active_units`, `guard_mutual_information` (over the slice as a data set: at most log of its size) and `guard_kl` in
    nats, and `guard_kl_per_dimension`, a list, in `trainer_state.json` only. Of a latent of categories instead of active units
    `guard_used_classes` and `guard_class_perplexity`, the mean over its variables, and the mutual information is that of all
    of them together.

    It is a collapse when the latent says less than 0.1 nats about its sentence, two looks in a row, at a time when it should
    have become useful: the warm start and the rise of the KL weight are over for `collapse_guard_patience_steps`. (Active
    units alone do not tell: they are a variance, small too where a posterior is narrow.) Then the guard warns and, under
    `act`, does one thing and waits for the next two looks: free bits rise by one of the levels 0.05, 0.1, 0.2, 0.4, 0.8 nats
    per dimension (times the number of dimensions in modes that count the total; never below the run's own), or the aggressive
    phase starts, once.

    What it has seen and done is saved with checkpoints, and a look consumes no randomness: a guarded run resumes exactly.

    Args:
        trainer: whose model is watched.

    Raises:
        ValueError: there is no validation set to look at.
    """

    memory = ("looks_unused", "collapsed", "level", "started_aggressive")

    def __init__(self, trainer: "LatentTrainer") -> None:
        self._trainer = trainer
        self._held_out = HeldOut(trainer, "The collapse guard")
        self._size = min(trainer.args.collapse_guard_samples, len(self._held_out))
        super().__init__()

    def reset(self) -> None:
        self.looks_unused = 0  # in a row
        self.collapsed = False
        self.level = 0  # of free bits that the guard has given
        self.started_aggressive = False

    def free_bits(self, mode: str) -> float:
        """The free bits that the guard has given so far, in the unit of a mode; 0 for none."""
        if self.level == 0:
            return 0.0
        per_dimension = FREE_BITS_LEVELS[self.level - 1]
        return per_dimension if mode in PER_DIMENSION_MODES else per_dimension * num_dimensions(self._trainer.model.config)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step % max(1, steps_of(args.collapse_guard_steps, state.max_steps)):
            return
        seen = self.look()
        numbers = ("active_units", "used_classes", "class_perplexity", "mutual_information", "kl")
        self._trainer.log_aside({f"guard_{name}": seen[name] for name in numbers if name in seen})
        if "kl_per_dimension" in seen:  # a list, which trackers of experiments do not take
            state.log_history[-1]["guard_kl_per_dimension"] = seen["kl_per_dimension"]
        if state.global_step < self._first_judgement(args, state.max_steps):
            return
        used = seen["mutual_information"] >= USED_FROM
        self.looks_unused = 0 if used else self.looks_unused + 1
        if used and self.collapsed:
            self.collapsed = False
            self._say(state, f"Step {state.global_step}: the latent variable is in use again ({_in_words(seen, self._size)}).")
        elif self.looks_unused >= PATIENCE:
            self._collapse(args, state, seen)

    def look(self) -> dict[str, Any]:
        """What the latent says about the slice now, the same in every process."""
        size = self._trainer.args.eval_batch_size
        with torch.no_grad():
            parts = [
                self._held_out.encode(range(first, min(first + size, self._size))) for first in range(0, self._size, size)
            ]
        means = [posterior_means(part.posterior) for part in parts]
        usage = _usage(parts)
        information = usage.pop("mutual_information") if usage else mutual_information_of_parts(parts)
        numbers = [information, float(torch.cat([part.kl for part in parts]).mean())]
        numbers += [] if means[0] is None else [active_units(torch.cat(means).float())[0]]
        numbers += usage.values()
        per_dimension = (
            [] if parts[0].kl_per_dimension is None else torch.cat([part.kl_per_dimension for part in parts]).mean(0)
        )
        # What one process decides all must do, though their sums may differ in the last digit.
        values = torch.tensor([*numbers, *per_dimension], device=self._trainer.args.device)
        information, kl, *rest = broadcast(values).tolist()
        seen: dict[str, Any] = {"mutual_information": information, "kl": kl}
        if means[0] is not None:
            seen |= {"active_units": int(rest.pop(0)), "latent_size": means[0].shape[1]}
        if usage:
            seen |= {name: rest.pop(0) for name in usage}
            counts = self._trainer.model.config.inferred_counts
            seen["classes"] = sum(counts) / len(counts)
        return seen | ({"kl_per_dimension": rest} if rest else {})

    def _first_judgement(self, args: TrainingArguments, max_steps: int) -> int:
        """The first step after which an unused latent is a collapse."""
        begun = args.autoencoder_steps(max_steps)
        if args.kl_target is None:
            while begun < max_steps and args.kl_weight_at(begun, max_steps) < 0.99 * args.kl_end:
                begun += 1
        return begun + steps_of(args.collapse_guard_patience_steps, max_steps)

    def _collapse(self, args: TrainingArguments, state: TrainerState, seen: dict[str, Any]) -> None:
        if not self.collapsed:
            self._warn(state, f"Step {state.global_step}: {explanation(seen, self._size, args)}")
            self.collapsed = True
        if args.collapse_guard != "act":
            return
        self.looks_unused = 0
        if args.collapse_guard_action == "aggressive":
            if not self.started_aggressive and not self._trainer.aggressive.active:
                self.started_aggressive = True
                self._trainer.aggressive.begin(state.epoch)
                self._say(state, f"Step {state.global_step}: the collapse guard starts aggressive training of the encoder.")
            return
        before = self._trainer.free_bits()
        while self.level < len(FREE_BITS_LEVELS) and self._trainer.free_bits() <= before:
            self.level += 1
        after = self._trainer.free_bits()
        if after > before:
            self._say(state, f"Step {state.global_step}: the collapse guard raises free_bits from {before:g} to {after:g}.")

    def _warn(self, state: TrainerState, message: str) -> None:
        if state.is_world_process_zero:
            logger.warning(message)

    def _say(self, state: TrainerState, message: str) -> None:
        if state.is_world_process_zero:
            logger.info(message)


def _usage(parts: Sequence[Encoded]) -> dict[str, float]:
    """What a latent of categories tells and which of them it uses; empty for any other latent."""
    statistics = ClassStatistics()
    for part in parts:
        probabilities = class_probabilities(part.posterior)
        if probabilities is None:
            return {}
        statistics.add(probabilities)
    values = statistics.compute()
    whole = parts[0].posterior.with_logits(torch.cat([part.posterior.logits for part in parts]))
    return {
        "mutual_information": joint_mutual_information(whole),
        **{name: values[name] for name in ("used_classes", "class_perplexity")},
    }


def num_dimensions(config: PreTrainedConfig) -> int:
    """Parts that a latent has: the inferred variables of categories, the topics, or the dimensions of a vector."""
    names = ("num_inferred", "num_topics", "latent_size")
    return next(getattr(config, name) for name in names if hasattr(config, name))


def explanation(seen: dict[str, Any], sentences: int, args: TrainingArguments) -> str:
    """What a collapse is and what helps, for someone who meets one for the first time.

    Args:
        seen: what `CollapseGuard.look` returned.
        sentences: how many it looked at.
        args: those of the run; what is already in use is not recommended.
    """
    cures = _cures_of_classes(args) if "used_classes" in seen else _cures_of_a_vector(args, "kl_per_dimension" in seen)
    helpful = "; ".join(cure for cure, is_new in cures if is_new) or "a smaller decoder, or more free_bits"
    return (
        f"the latent variable is not used ({_in_words(seen, sentences)}). The decoder has learned to write sentences without "
        "asking what they are to say, and the encoder has stopped telling it: posterior collapse. The bound may look fine and "
        "still fall, but all latents decode to the same few sentences, and it rarely gets better by itself. What helps: "
        f"{helpful}. To let the guard see to it, set collapse_guard: act."
    )


def _cures_of_a_vector(args: TrainingArguments, has_kl_per_dimension: bool) -> list[tuple[str, bool]]:
    """What helps a latent vector, and whether it is not in use yet."""
    free_bits = "free_bits: 4 with free_bits_mode: per_sentence lets the latent carry four nats for free"
    if has_kl_per_dimension:
        free_bits = "free_bits: 0.25 lets each dimension carry a quarter of a nat for free"
    return [
        (free_bits, not args.free_bits),
        (
            "kl_schedule: linear with kl_warmup_steps: 0.3 gives the decoder time to find the latent useful",
            args.kl_schedule == "constant" and args.kl_target is None,
        ),
        (
            "autoencoder_warmup_steps: 0.1 lets the encoder learn first (and reset_decoder_after_warmup: true has the decoder "
            "begin anew beside it)",
            not args.autoencoder_warmup_steps,
        ),
        ("word_dropout: 0.3 takes words away that the decoder would lean on instead", not args.word_dropout),
        ("aggressive: true trains the encoder harder than the decoder, at a price", not args.aggressive),
    ]


def _cures_of_classes(args: TrainingArguments) -> list[tuple[str, bool]]:
    """What helps a vector of categories. Not a KL weight of 0 at first: nothing then keeps all sentences from one class."""
    return [
        ("context_window: 2 takes words away that the decoder would lean on instead", True),
        ("injection: [embedding, logits] lets the decoder hear the classes louder", True),
        (
            "kl_schedule: linear with kl_start: 0.3 and kl_warmup_steps: 0.3 lets classes come apart while they cost little",
            args.kl_schedule == "constant" and args.kl_target is None,
        ),
        ("free_bits: 0.25 lets each variable carry a quarter of a nat for free", not args.free_bits),
    ]


def _in_words(seen: dict[str, Any], sentences: int) -> str:
    active = f"{seen['active_units']} of {seen['latent_size']} dimensions active, " if "active_units" in seen else ""
    if "used_classes" in seen:
        active = f"{seen['used_classes']:g} of {seen['classes']:g} classes used, "
    information = max(seen["mutual_information"], 0.0)
    return (
        f"on {sentences} validation sentences: {active}{information:.2f} nats of information about the sentence, of at most "
        f"{math.log(sentences):.1f} that could be seen, KL {seen['kl']:.2f} nats"
    )
