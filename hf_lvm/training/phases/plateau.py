"""The plateau rule: when the validation bound stands still, go on slower, from the best model or from the present one.

The schedules behind published numbers that start from a large constant rate of SGD and let the validation set find out when
it is too large: the LSTM text VAEs on Penn Treebank, Yahoo and Yelp (He et al. 2019, Li et al. 2019), which go back to the
best model, and unsupervised recurrent neural network grammars (Kim et al. 2019), which do not.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_lvm.training.phases.learning_rate import check_optimizer_forgets, forget_optimizer_state, scale_learning_rate
from hf_lvm.training.phases.resumable import ResumableCallback

logger = logging.getLogger(__name__)

CONSTANT_SCHEDULES = ("constant", "constant_with_warmup")
DEFAULT_MAX_DECAYS = 5
_YOUNGER_KEYS = ("plateau_reload_best", "plateau_then_every_epoch", "plateau_min_learning_rate")


@dataclass
class PlateauArguments:
    """The keys of the plateau rule, for `LatentTrainingArguments`."""

    plateau_patience: int = field(
        default=0,
        metadata={
            "help": "Plateau rule: after so many evaluations in a row without a better bound, go back to the best checkpoint "
            "and go on with a smaller learning rate (He et al. 2019: 2; Li et al. 2019: 5). 0 switches it off."
        },
    )
    plateau_factor: float = field(
        default=0.5, metadata={"help": "What the plateau rule multiplies the learning rate by, between 0 and 1."}
    )
    plateau_first_epoch: float = field(
        default=0,
        metadata={
            "help": "First epoch, counted from 0, at whose end the plateau rule may act; evaluations without progress are "
            "counted from the beginning (He et al. 2019, Li et al. 2019: 15)."
        },
    )
    plateau_max_decays: int | None = field(
        default=None,
        metadata={
            "help": "The plateau rule ends the run when it acts for the so-many-th time: by default the fifth, or whenever "
            "plateau_min_learning_rate says so."
        },
    )
    plateau_reload_best: bool = field(
        default=True,
        metadata={
            "help": "When the plateau rule acts, go back to the best checkpoint and begin with an optimizer that remembers "
            "nothing. false lowers the learning rate alone, and goes on from where it is (Kim et al. 2019)."
        },
    )
    plateau_then_every_epoch: bool = field(
        default=False,
        metadata={
            "help": "Once the plateau rule has acted it acts again after every epoch, whatever the evaluations say (Kim et "
            "al. 2019). Goes with plateau_reload_best: false."
        },
    )
    plateau_min_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "The plateau rule ends the run when it has lowered learning_rate below this (Kim et al. 2019: 0.03, "
            "from 1)."
        },
    )

    def check_plateau(self) -> None:
        """Raise a `ValueError` when the rule cannot work with the other arguments of the run."""
        if self.plateau_patience < 0 or self.plateau_patience != int(self.plateau_patience):
            raise ValueError(f"plateau_patience is {self.plateau_patience}; it is a number of evaluations, or 0 for off")
        if not 0.0 < self.plateau_factor < 1.0:
            raise ValueError(f"plateau_factor is {self.plateau_factor}; the learning rate falls with one between 0 and 1")
        if not (self.plateau_first_epoch >= 0 and math.isfinite(self.plateau_first_epoch)):
            raise ValueError(f"plateau_first_epoch is {self.plateau_first_epoch}; epochs are counted from 0")
        if self.plateau_max_decays is None and self.plateau_min_learning_rate is None:
            self.plateau_max_decays = DEFAULT_MAX_DECAYS
        if self.plateau_max_decays is not None and self.plateau_max_decays < 1:
            raise ValueError(f"plateau_max_decays is {self.plateau_max_decays}; it is 1 or more")
        if self.plateau_patience == 0:
            return
        if self.plateau_min_learning_rate is not None and not 0.0 < self.plateau_min_learning_rate < self.learning_rate:
            raise ValueError(
                f"plateau_min_learning_rate is {self.plateau_min_learning_rate} and learning_rate {self.learning_rate}; the "
                "run ends when the one has fallen below the other: give a number between 0 and learning_rate"
            )
        if self.plateau_then_every_epoch and (self.plateau_reload_best or self.eval_strategy != "epoch"):
            raise ValueError(
                "plateau_then_every_epoch lowers the learning rate after every epoch, also one that gave a better model: do "
                "not go back from that one (plateau_reload_best: false), and evaluate after every epoch (eval_strategy: epoch)"
            )
        if not self.plateau_reload_best:
            self._check_plateau_sees_the_rate()
            return
        if not self.load_best_model_at_end:
            raise ValueError(
                f"plateau_patience is {self.plateau_patience}, and the plateau rule goes back to the best checkpoint: the run "
                "has to evaluate and save at the same moments (eval_strategy and save_strategy alike, eval_steps and "
                "save_steps too) and to keep its best model (load_best_model_at_end: true)"
            )
        if self.eval_strategy == self.save_strategy == "steps" and self.eval_steps != self.save_steps:
            raise ValueError(
                f"eval_steps is {self.eval_steps} and save_steps {self.save_steps}: the plateau rule goes back to the model "
                "of the best evaluation, so every evaluation needs its checkpoint. Give both the same number"
            )
        self._check_plateau_sees_the_rate()
        for optim in (self.optim, self.encoder_optim):
            check_optimizer_forgets(optim, "plateau_patience")

    def _check_plateau_sees_the_rate(self) -> None:
        if self.eval_strategy == "no":
            raise ValueError(
                f"plateau_patience is {self.plateau_patience}, and the plateau rule acts on evaluations: set eval_strategy to "
                "epoch or steps"
            )
        if self.lr_scheduler_type not in CONSTANT_SCHEDULES:
            name = getattr(self.lr_scheduler_type, "value", self.lr_scheduler_type)
            raise ValueError(
                f"lr_scheduler_type is {name!r}, and the plateau rule lowers the learning rate by itself: choose "
                f"{' or '.join(CONSTANT_SCHEDULES)}, or set plateau_patience to 0"
            )

    def plateau_settings(self) -> dict[str, float | bool | None]:
        """What the rule follows from: its keys, of those that are younger than some checkpoints the ones that are in use."""
        items = [item for item in fields(PlateauArguments) if item.name.startswith("plateau_")]
        return {
            item.name: getattr(self, item.name)
            for item in items
            if item.name not in _YOUNGER_KEYS or getattr(self, item.name) != item.default
        }


class PlateauCallback(ResumableCallback):
    """Lowers the learning rate of all parts, and goes back to the best weights, when evaluations stop getting better.

    The rule, after each evaluation, of a loss against the level to beat (none at first):

    - not above the level: the loss is the new level, and counting starts over;
    - above it: one more evaluation without progress. From `first_epoch` on, when there are `patience` of them, the learning
      rate is multiplied by `factor`, the weights of the best checkpoint come back, the optimizer forgets its moments, the
      *present* loss becomes the level (that is how He et al. give the smaller rate a fresh chance) and counting starts over.
      When that has happened `max_decays` times, or `learning_rate` has fallen below `min_learning_rate`, the run ends.

    Kim et al. change two things. Without `reload_best` only the rate changes: weights and moments stay what they are. With
    `then_every_epoch` the rule, once it has acted, does so after every evaluation, better or not.

    The loss is `metric_for_best_model`, by default the negative bound with KL weight 1 and no free bits, whatever is trained
    at the time. Evaluations during the warm start as an autoencoder are left out, unless the whole run is one: the KL costs
    nothing then, so the bound says nothing. Evaluations while the KL weight rises do count, as in the published schedules;
    let `first_epoch` lie behind the rise.

    The checkpoint that is saved after the evaluation holds the weights, the rate and the empty optimizer the run goes on
    with, so that resuming there, or anywhere, is exact.

    Args:
        args: those of the run, with `plateau_*`.
        load_best: loads the weights of `state.best_model_checkpoint` into the model.
    """

    memory = ("level", "without_progress", "decays", "last_step")

    def __init__(self, args: TrainingArguments, load_best: Callable[[], None]) -> None:
        self.patience, self.factor = args.plateau_patience, args.plateau_factor
        self.first_epoch, self.max_decays = args.plateau_first_epoch, args.plateau_max_decays
        self.reload_best, self.then_every_epoch = args.plateau_reload_best, args.plateau_then_every_epoch
        self.min_learning_rate, self._first_rate = args.plateau_min_learning_rate, args.learning_rate
        self._load_best = load_best
        super().__init__()

    def reset(self) -> None:
        self.level: float | None = None
        self.without_progress = 0
        self.decays = 0
        self.last_step = 0
        self._training = False

    @property
    def finished(self) -> bool:
        """Whether the rule has ended the run."""
        if self.max_decays is not None and self.decays >= self.max_decays:
            return True
        # From what a checkpoint knows of the rule: whether a run is over is asked before its scheduler is there.
        rate = self._first_rate * self.factor**self.decays
        return self.min_learning_rate is not None and rate < self.min_learning_rate

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self._training = True

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self._training = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        optimizer=None,
        lr_scheduler=None,
        **kwargs,
    ) -> None:
        key = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        # A user's own evaluation between two of the run's, or one more at the start of a resumed run, is none of them.
        if not self._training or key not in metrics or state.global_step <= self.last_step:
            return
        self.last_step = state.global_step
        if state.global_step <= args.autoencoder_steps(state.max_steps) < state.max_steps:
            return
        loss = -metrics[key] if args.greater_is_better else metrics[key]
        if math.isfinite(loss) and (self.level is None or loss <= self.level):
            self.level, self.without_progress = loss, 0
        else:
            self.without_progress += 1
        has_begun = self.then_every_epoch and self.decays > 0
        if has_begun or (self.without_progress >= self.patience and math.ceil(state.epoch) - 1 >= self.first_epoch):
            self._decay(loss, state, optimizer, lr_scheduler)
            control.should_training_stop |= self.finished

    def _decay(self, loss: float, state: TrainerState, optimizer, lr_scheduler) -> None:
        if self.reload_best and state.best_model_checkpoint is None:
            raise FileNotFoundError(
                "The plateau rule goes back to the best checkpoint, and this run has none: no evaluation gave a finite loss, "
                "or the folder was deleted or moved. Resume with the best checkpoint beside the one resumed from"
            )
        before = lr_scheduler.get_last_lr()[0]
        scale_learning_rate(optimizer, lr_scheduler, self.factor)
        if self.reload_best:
            self._load_best()
            forget_optimizer_state(optimizer, list(optimizer.state))
        self.decays += 1
        if math.isfinite(loss):
            self.level = loss
        if state.is_world_process_zero:
            back = f"Back to the weights of step {state.best_global_step}, l" if self.reload_best else "L"
            of = "" if self.max_decays is None else f" of {self.max_decays}"
            logger.info(
                f"Step {state.global_step}: {self.without_progress} evaluations without progress. {back}earning rate "
                f"{before:g} -> {lr_scheduler.get_last_lr()[0]:g} (decay {self.decays}{of}"
                + (", the last: the run ends)" if self.finished else ")")
            )
        self.without_progress = 0
