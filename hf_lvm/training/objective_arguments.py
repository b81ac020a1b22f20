"""The keys that say what is trained: KL weight, free bits, word dropout, the warm start as an autoencoder."""

import math
from dataclasses import dataclass, field

from hf_lvm.estimators import TEMPERATURE_SCHEDULES, check_temperature_schedule, temperature_at
from hf_lvm.objectives.free_bits import FREE_BITS_MODES, PER_DIMENSION_MODES, check_free_bits_mode
from hf_lvm.objectives.kl_controller import TargetKLController
from hf_lvm.objectives.kl_schedules import KL_SCHEDULES, check_kl_schedule, check_kl_weights, kl_weight
from hf_lvm.training.phases.learning_rate import check_optimizer_forgets
from hf_lvm.training.word_dropout import check_rate

STEPS_OR_SHARE = "Whole numbers count optimizer steps, a number between 0 and 1 is a share of all steps"
_MODES = tuple(mode for mode in FREE_BITS_MODES if mode != "none")


@dataclass
class ObjectiveArguments:
    """The keys of the objective, for `LatentTrainingArguments`.

    Every schedule is a function of the global step, so a resumed run goes on exactly where it was.
    """

    kl_schedule: str = field(
        default="constant",
        metadata={
            "help": f"How the weight of the KL term moves during training: {', '.join(KL_SCHEDULES)}. "
            "A weight that rises from 0 gives the decoder time to find the latent useful."
        },
    )
    kl_start: float = field(
        default=0.0,
        metadata={"help": "KL weight at the first step of a rising schedule, and of each cycle, between 0 and kl_end."},
    )
    kl_end: float = field(
        default=1.0,
        metadata={
            "help": "KL weight that a schedule rises to, and that constant has: 1 trains the bound, another is the beta of "
            "Higgins et al. (2017). Evaluations report the bound all the same."
        },
    )
    kl_warmup_steps: float = field(
        default=0,
        metadata={"help": f"How long the KL weight of linear and sigmoid takes to rise. {STEPS_OR_SHARE}."},
    )
    kl_cycles: int = field(default=4, metadata={"help": "Cycles of a cyclical KL schedule in the whole run (Fu et al. 2019)."})
    kl_cycle_ratio: float = field(
        default=0.5, metadata={"help": "Share of a cycle in which the KL weight rises; it then stays until the cycle ends."}
    )
    kl_sigmoid_midpoint: float | None = field(
        default=None,
        metadata={
            "help": "When the KL weight of sigmoid has risen by half. By default the middle of kl_warmup_steps. "
            f"{STEPS_OR_SHARE}."
        },
    )
    kl_sigmoid_steepness: float | None = field(
        default=None,
        metadata={"help": "Steepness of sigmoid per step. By default such that the rise takes kl_warmup_steps."},
    )
    kl_target: float | None = field(
        default=None,
        metadata={
            "help": "Steer the KL term to so many nats per sentence: after each step the KL weight rises where the KL is "
            "above the target and falls where it is below (Shao et al. 2020). Takes the place of kl_schedule; kl_start is the "
            "first weight."
        },
    )
    kl_proportional_gain: float = field(
        default=0.01, metadata={"help": "How strongly the weight that steers to kl_target answers at once, at most this much."}
    )
    kl_integral_gain: float = field(
        default=0.0001,
        metadata={
            "help": "How fast the weight that steers to kl_target moves, per nat off the target and step. The default "
            "is for runs of 10,000 steps and more; a run of 1,000 needs 0.001."
        },
    )
    autoencoder_warmup_steps: float = field(
        default=0,
        metadata={
            "help": "Warm start of the encoder as an autoencoder: the KL weight is 0 for so long, and the KL schedule "
            f"begins afterwards. {STEPS_OR_SHARE}."
        },
    )
    reset_decoder_after_warmup: bool = field(
        default=False,
        metadata={
            "help": "Give the decoder new weights at the end of the warm start, so that it learns from the beginning beside "
            "an encoder that already tells sentences apart (Li et al. 2019). Goes well with free_bits."
        },
    )
    free_bits: float = field(
        default=0.0,
        metadata={
            "help": f"KL that costs nothing, in nats per latent dimension in the modes {', '.join(PER_DIMENSION_MODES)}, in "
            "nats in total in the others; 0 switches free bits off. Keeps the posterior from collapsing to the prior."
        },
    )
    free_bits_mode: str = field(
        default="per_dimension",
        metadata={
            "help": f"Where the floor of the free bits stands: {', '.join(_MODES)} (see hf_lvm.objectives.free_bits). Used "
            "when free_bits is above 0."
        },
    )
    word_dropout: float = field(
        default=0.0,
        metadata={
            "help": "Share of the decoder's input tokens hidden during training, in [0, 1), so that the decoder has "
            "to ask the latent (Bowman et al. 2015)."
        },
    )

    temperature_schedule: str = field(
        default="constant",
        metadata={
            "help": "How the temperature of relaxed samples (gumbel_softmax, straight_through) moves from the model's own to "
            f"temperature_end: {', '.join(TEMPERATURE_SCHEDULES)}."
        },
    )
    temperature_end: float | None = field(
        default=None, metadata={"help": "Temperature at the end of a linear or exponential schedule."}
    )
    temperature_steps: float = field(
        default=0, metadata={"help": f"How long the temperature falls; by default the whole run. {STEPS_OR_SHARE}."}
    )
    labelled_share: float = field(
        default=0.0,
        metadata={
            "help": "Share of each batch that is drawn from the labelled texts, of which there are few; 0 draws them as they "
            "come. An epoch then is one pass over the unlabelled ones."
        },
    )

    def check_objective(self) -> None:
        """Raise a `ValueError` when a value is not allowed or two contradict each other."""
        check_kl_schedule(self.kl_schedule)
        check_free_bits_mode(self.free_bits_mode)
        check_rate(self.word_dropout)
        check_kl_weights(self.kl_start, self.kl_end, "kl_")
        if not 0.0 <= self.labelled_share < 1.0:
            raise ValueError(f"labelled_share is {self.labelled_share}; it is a share of each batch, at least 0 and below 1")
        self._check_temperature()
        for name in ("kl_warmup_steps", "autoencoder_warmup_steps", "kl_sigmoid_midpoint", "temperature_steps"):
            check_steps_or_share(name, getattr(self, name) or 0)
        if not (self.free_bits >= 0.0 and math.isfinite(self.free_bits)):
            unit = "nats per dimension" if self.free_bits_mode in PER_DIMENSION_MODES else "nats in total"
            raise ValueError(f"free_bits is {self.free_bits}; it is a number of {unit}, 0 or more")
        if self.free_bits > 0.0 and self.free_bits_mode == "none":
            raise ValueError(
                f"free_bits is {self.free_bits} but free_bits_mode is 'none', so they would do nothing: choose one of "
                f"{', '.join(_MODES)}, or set free_bits to 0"
            )
        if self.kl_target is not None:
            for key, is_set in (("kl_schedule", self.kl_schedule != "constant"), ("kl_end", self.kl_end != 1.0)):
                if is_set:
                    raise ValueError(
                        f"kl_target is {self.kl_target} and {key} {getattr(self, key)!r}: both would set the KL weight. "
                        "Leave out one of the two"
                    )
            self.kl_controller()
        # Long before the schedule is first asked, in a run that may be prepared for a long time.
        self.kl_weight_at(0, total_steps=10**9)
        if self.reset_decoder_after_warmup:
            if not self.autoencoder_warmup_steps:
                raise ValueError(
                    "reset_decoder_after_warmup gives the decoder new weights at the end of the warm start as an autoencoder, "
                    "and there is none: set autoencoder_warmup_steps"
                )
            check_optimizer_forgets(self.optim, "reset_decoder_after_warmup")

    def autoencoder_steps(self, total_steps: int) -> int:
        """Optimizer steps of the warm start as an autoencoder in a run of `total_steps`."""
        return steps_of(self.autoencoder_warmup_steps, total_steps)

    def _check_temperature(self) -> None:
        if self.temperature_schedule == "constant" and self.temperature_end is not None:
            raise ValueError(
                f"temperature_end is {self.temperature_end} and temperature_schedule 'constant': choose 'linear' or "
                "'exponential', or leave it out"
            )
        check_temperature_schedule(self.temperature_schedule, 1.0, self.temperature_end)

    def temperature_at(self, step: int, total_steps: int, start: float) -> float:
        """Temperature of relaxed samples at optimizer step `step`, counted from 0, of `total_steps`."""
        length = steps_of(self.temperature_steps, total_steps) or total_steps
        schedule = self.temperature_schedule
        return temperature_at(step, length, schedule=schedule, start=start, end=self.temperature_end)

    def kl_controller(self) -> TargetKLController:
        """A new controller that steers to `kl_target`."""
        return TargetKLController(
            self.kl_target,
            proportional_gain=self.kl_proportional_gain,
            integral_gain=self.kl_integral_gain,
            start=self.kl_start,
        )

    def kl_weight_at(self, step: int, total_steps: int) -> float:
        """Weight of the KL term that the schedule gives optimizer step `step`, counted from 0, of `total_steps`."""
        warm_start = self.autoencoder_steps(total_steps)
        if step < warm_start:
            return 0.0
        return kl_weight(
            self.kl_schedule,
            step - warm_start,
            start=self.kl_start,
            end=self.kl_end,
            warmup_steps=steps_of(self.kl_warmup_steps, total_steps),
            total_steps=total_steps - warm_start,
            cycles=self.kl_cycles,
            cycle_ratio=self.kl_cycle_ratio,
            midpoint=None if self.kl_sigmoid_midpoint is None else steps_of(self.kl_sigmoid_midpoint, total_steps),
            steepness=self.kl_sigmoid_steepness,
        )

    def objective_settings(self, total_steps: int) -> dict[str, float | str | bool | None]:
        """What the objective of every step follows from: the keys in use, shares as the steps they mean."""
        keys = ["kl_schedule", "free_bits", "word_dropout", "autoencoder_warmup_steps", "reset_decoder_after_warmup"]
        if self.kl_target is not None:
            keys += ["kl_target", "kl_start", "kl_proportional_gain", "kl_integral_gain"]
        elif self.kl_schedule != "constant":
            keys += ["kl_start"]
        if self.kl_end != 1.0:
            keys += ["kl_end"]
        keys += {
            "linear": ["kl_warmup_steps"],
            "sigmoid": ["kl_warmup_steps", "kl_sigmoid_midpoint", "kl_sigmoid_steepness"],
            "cyclical_linear": ["kl_cycles", "kl_cycle_ratio"],
            "cyclical_cosine": ["kl_cycles", "kl_cycle_ratio"],
        }.get(self.kl_schedule, [])
        if self.temperature_schedule != "constant":
            keys += ["temperature_schedule", "temperature_end", "temperature_steps"]
        if self.labelled_share > 0.0:
            keys += ["labelled_share"]
        settings = {key: getattr(self, key) for key in keys}
        for key in ("autoencoder_warmup_steps", "kl_warmup_steps", "kl_sigmoid_midpoint", "temperature_steps"):
            if settings.get(key) is not None:
                settings[key] = steps_of(settings[key], total_steps)
        if self.free_bits > 0.0:
            settings["free_bits_mode"] = self.free_bits_mode
        if self.kl_schedule.startswith("cyclical") or (self.temperature_schedule != "constant" and not self.temperature_steps):
            settings["max_steps"] = total_steps
        return settings


def steps_of(steps_or_share: float, total_steps: int) -> int:
    """Optimizer steps meant by a whole number of them or by a share of all, as `warmup_steps` of transformers."""
    return int(steps_or_share) if steps_or_share >= 1 else math.ceil(steps_or_share * total_steps)


def check_steps_or_share(name: str, value: float) -> None:
    """Raise a `ValueError` when `value` is neither a number of steps nor a share of them."""
    if not (value >= 0 and math.isfinite(value)) or (value >= 1 and value != int(value)):
        raise ValueError(f"{name} is {value}; give a whole number of steps, or a share of all steps between 0 and 1")
