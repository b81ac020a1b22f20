"""The keys that say how a part of the model is trained apart from the rest: its rate, its optimizer, when it learns."""

import math
from dataclasses import dataclass, field

from hf_lvm.training.composite_optimizer import check_optimizer_takes_parts
from hf_lvm.training.objective_arguments import STEPS_OR_SHARE, check_steps_or_share, steps_of

# Which part of the model (see `hf_lvm.training.parameter_parts`) a key speaks of.
PART_OF_RATE = {
    "encoder_learning_rate": "encoder",
    "injection_learning_rate": "injection",
    "action_learning_rate": "action_head",
}
PART_OF_KEY = PART_OF_RATE | {
    "encoder_optim": "encoder",
    "encoder_max_grad_norm": "encoder",
    "fixed_encoder_steps": "encoder",
    "encoder_epochs": "encoder",
}


@dataclass
class PartArguments:
    """The keys of the parts of a model, for `LatentTrainingArguments`."""

    encoder_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of q(z|x), encoder, pooling and head, where it is to be another than learning_rate; the "
            "schedule is the same. 0 keeps it as it is."
        },
    )
    injection_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the injections and the prior, where it is to be another than learning_rate: a bias over "
            "the vocabulary (injection logits) may move ten times as fast as the decoder."
        },
    )
    action_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of what decides the actions of a decoder of trees, where it is to be another than "
            "learning_rate (Kim et al. 2019: 0.1 beside 1)."
        },
    )
    encoder_optim: str | None = field(
        default=None,
        metadata={
            "help": "Optimizer of q(z|x), by a name as for optim, where it is to be another one: sgd for the words and "
            "adamw_torch for what is inferred (Kim et al. 2019). adam_beta1, adam_beta2, adam_epsilon and weight_decay are "
            "those of the run, optim_args belong to optim."
        },
    )
    encoder_max_grad_norm: float | None = field(
        default=None,
        metadata={
            "help": "Clip the gradients of q(z|x) to this norm of their own, and all others to max_grad_norm; both norms are "
            "logged. By default all are clipped together. 0 means no clipping of q(z|x)."
        },
    )
    fixed_encoder_steps: float = field(
        default=0,
        metadata={
            "help": "So many first steps train decoder and prior alone: an encoder that knows something already is not asked "
            f"to forget it by a decoder that knows nothing yet. {STEPS_OR_SHARE}."
        },
    )

    encoder_epochs: float | None = field(
        default=None,
        metadata={
            "help": "q(z|x) learns during the first so many epochs, of which fractions are allowed, and stays as it is "
            "afterwards (Kim et al. 2019: 1). By default it learns to the end."
        },
    )

    def check_parts(self) -> None:
        """Raise a `ValueError` when a key of a part has no such value, or contradicts another key."""
        check_steps_or_share("fixed_encoder_steps", self.fixed_encoder_steps)
        for key in PART_OF_RATE:
            rate = getattr(self, key)
            if rate is not None and not (rate >= 0.0 and math.isfinite(rate)):
                raise ValueError(f"{key} is {rate}; a rate is 0 or more")
        norm = self.encoder_max_grad_norm
        if norm is not None and not (norm >= 0.0 and math.isfinite(norm)):
            raise ValueError(f"encoder_max_grad_norm is {norm}; a norm is above 0, and 0 means no clipping")
        if self.encoder_optim is not None:
            check_optimizer_takes_parts("encoder_optim", self.encoder_optim)
            check_optimizer_takes_parts("optim (beside encoder_optim)", self.optim)
        if self.encoder_learning_rate == 0:
            for key in ("encoder_optim", "encoder_max_grad_norm", "encoder_epochs"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"{key} says how the encoder learns, and an encoder_learning_rate of 0 keeps it as it is: leave out "
                        "one of the two"
                    )
        self._check_encoder_epochs()
        guard_trains_it = self.collapse_guard == "act" and self.collapse_guard_action == "aggressive"
        for key, is_on in (
            ("aggressive", self.aggressive),
            ("autoencoder_warmup_steps", self.autoencoder_warmup_steps),
            ("collapse_guard_action: aggressive", guard_trains_it),
        ):
            if is_on and (self.fixed_encoder_steps or self.encoder_learning_rate == 0):
                raise ValueError(
                    f"{key} trains the encoder first, and fixed_encoder_steps (or an encoder_learning_rate of 0) keeps it as "
                    "it is: choose one of the two"
                )

    def _check_encoder_epochs(self) -> None:
        epochs = self.encoder_epochs
        if epochs is None:
            return
        if not (epochs > 0.0 and math.isfinite(epochs)):
            raise ValueError(f"encoder_epochs is {epochs}; it is a number of epochs above 0. Leave it out to train to the end")
        if self.aggressive or (self.collapse_guard == "act" and self.collapse_guard_action == "aggressive"):
            key = "aggressive" if self.aggressive else "collapse_guard_action: aggressive"
            raise ValueError(
                f"{key} trains the encoder for as long as that helps, and encoder_epochs ends it after {epochs:g}: choose one "
                "of the two"
            )
        share = self.fixed_encoder_steps
        # A number of steps, or a share of max_steps, is compared when the run begins: who knows how long an epoch is.
        if 0.0 < share < 1.0 and self.max_steps <= 0 and share * self.num_train_epochs >= epochs:
            raise ValueError(
                f"fixed_encoder_steps {share:g} keeps the encoder as it is for {share * self.num_train_epochs:g} epochs, and "
                f"encoder_epochs {epochs:g} are over by then: it would never learn. Give a smaller share or more epochs"
            )

    def fixed_steps(self, total_steps: int) -> int:
        """First optimizer steps of a run of `total_steps` in which the encoder stays as it is."""
        return steps_of(self.fixed_encoder_steps, total_steps)

    def part_rates(self) -> dict[str, float]:
        """Learning rates of the parts that have one of their own, by the name of the part."""
        return {part: getattr(self, key) for key, part in PART_OF_RATE.items() if getattr(self, key) is not None}

    def part_keys(self) -> list[str]:
        """The keys of parts that are in use."""
        unset = {"fixed_encoder_steps": 0}
        return [key for key in PART_OF_KEY if getattr(self, key) != unset.get(key)]

    def part_settings(self, total_steps: int) -> dict[str, float | str]:
        """What the training of the parts follows from: the keys in use, shares as the steps of `total_steps`."""
        settings = {key: getattr(self, key) for key in self.part_keys()}
        if self.fixed_encoder_steps:
            settings["fixed_encoder_steps"] = self.fixed_steps(total_steps)
        return settings
