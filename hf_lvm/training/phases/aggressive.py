"""Aggressive training of the inference network (He et al. 2019, algorithm 1).

A posterior collapses when it lags behind: the decoder learns to do without a latent before the encoder has learned to say
anything. So at first the encoder is trained until it stops getting better before every single step of the decoder, and
when the latent no longer tells more than an epoch before, training goes on as usual.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Module, Parameter
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_lvm.training.noise import NoiseStream, derive_seed
from hf_lvm.training.phases.held_out import HeldOut
from hf_lvm.training.phases.inner_batches import InnerBatches
from hf_lvm.training.phases.resumable import ResumableCallback

if TYPE_CHECKING:
    from hf_lvm.training.trainer import LatentTrainer

logger = logging.getLogger(__name__)


@dataclass
class AggressiveArguments:
    """The keys of aggressive training, for `LatentTrainingArguments`."""

    aggressive: bool = field(
        default=False,
        metadata={
            "help": "Aggressive training of the encoder: before every step of the decoder the encoder is trained until it "
            "stops getting better, as long as the latent tells more from epoch to epoch (He et al. 2019). Each such step "
            "costs as much as 25 to 80 ordinary ones."
        },
    )
    aggressive_max_inner_steps: int = field(
        default=100,
        metadata={"help": "Encoder steps before a decoder step stay below this number; He et al. 2019: 100."},
    )
    aggressive_check_every: int = field(
        default=15,
        metadata={
            "help": "Encoder steps between two looks at their loss per word; they end when it is higher than at the look "
            "before. He et al. 2019: 15."
        },
    )
    aggressive_max_epochs: float | None = field(
        default=None,
        metadata={
            "help": "End the aggressive phase after so many epochs, or such a part of one, even if the latent still tells "
            "more and more."
        },
    )

    def check_aggressive(self) -> None:
        """Raise a `ValueError` when a value is not allowed."""
        for name, smallest in (("aggressive_max_inner_steps", 2), ("aggressive_check_every", 1)):
            value = getattr(self, name)
            if value < smallest:
                raise ValueError(f"{name} is {value}; it is {smallest} or more")
        if self.aggressive_max_epochs is not None and self.aggressive_max_epochs <= 0:
            raise ValueError(f"aggressive_max_epochs is {self.aggressive_max_epochs:g}; it is more than 0")


class AggressiveTraining(ResumableCallback):
    """The aggressive phase of a `LatentTrainer`.

    While it is on, an optimizer step on a batch is:

    1. steps of q(z|x) alone, each on a batch of its own: the first on that batch, the others drawn uniformly from the train
       batches. After every `aggressive_check_every` of them the loss per word since the last look is compared with the one
       before; when it is higher, or `aggressive_max_inner_steps` - 1 steps are done, they end;
    2. one step of p(x, z) alone on that batch, which is what is logged.

    Both train the objective of the step with its KL weight, which moves once for all of it. The gradients of the part that
    does not move are not computed, so they do not count for `max_grad_norm` either (the published code computes and clips
    them together and throws half away).

    At the end of each epoch the mutual information of sentence and latent is estimated on the validation set, within batches
    of 32. When it is smaller than an epoch before, the phase is over for ever. (The published code has the closed-form entropy
    of q in place of log q of a sample: the same expectation, with several times the noise where the latent says little.)

    Loss per word and mutual information are those of all processes. Which batch an inner step draws, and its noise, follow
    from (seed, global step, inner step), so that whether the phase is on and the last mutual information are all there is to
    remember: resuming is exact at every step.

    Args:
        trainer: whose steps these are. Its model names its two sides by `inference_parameters()` and
            `generative_parameters()`.

    Raises:
        ValueError: one of the two sides has nothing to train, there is no validation set, or the training set is a
            stream.
    """

    memory = ("active", "began_in_epoch", "last_mutual_information")

    def __init__(self, trainer: "LatentTrainer") -> None:
        self._trainer = trainer
        self._inference = _trainable(trainer.model, "inference_parameters", "encoder")
        self._generative = _trainable(trainer.model, "generative_parameters", "decoder")
        self._held_out = HeldOut(trainer, "Aggressive training, which ends when the mutual information falls,")
        if not hasattr(trainer.train_dataset, "__len__"):
            raise ValueError(
                "Aggressive training draws batches from all of the training set, and this one is a stream: load it"
            )
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
            raise ValueError(
                "Aggressive training moves one side of the model at a time, which sharded training (DeepSpeed, FSDP) cannot: "
                "use several processes with whole models, or one"
            )
        super().__init__()

    def reset(self) -> None:
        self.active = self._trainer.args.aggressive
        self.began_in_epoch = 0.0
        self.last_mutual_information = 0.0
        self._outer_steps = self._inner_steps = 0

    def begin(self, epoch: float) -> None:
        """Start the phase in the middle of a run."""
        self.active, self.began_in_epoch, self.last_mutual_information = True, epoch, 0.0

    # ---- The steps ----

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self._batches = InnerBatches(self._trainer)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        # Here and not where the batches are fetched: a resumed run restores the generators of dropout in between.
        if self.active:
            self._inner_steps += self._train_inference(state.global_step)
            self._outer_steps += 1

    def outer_step(self, step: Callable[[Module], torch.Tensor], model: Module) -> torch.Tensor:
        """One micro-batch of the trainer's own optimizer step: `step(model)`, of the decoder alone while the phase is on."""
        if not self.active:
            return step(model)
        with without_gradients(self._inference):
            loss = step(self._trainer.model)
        if self._trainer.at_last_micro_batch:
            self._average_gradients(self._generative)
        return loss

    def _train_inference(self, global_step: int) -> int:
        """The inner loop; returns how many steps it took."""
        trainer, args = self._trainer, self._trainer.args
        outer_batches = batches = trainer.batches_of_step
        previous, inner = math.inf, 0
        totals = torch.zeros(2, dtype=torch.float64, device=args.device)  # nats, tokens
        with without_gradients(self._generative), trainer.synchronized_gradients():
            while inner < args.aggressive_max_inner_steps - 1:
                trainer.begin_step(batches, noise_step=derive_seed(NoiseStream.INNER_STEP, global_step, inner))
                totals += trainer.backward_of_step(batches)
                self._average_gradients(self._inference)
                trainer.update_weights()
                inner += 1
                if inner % args.aggressive_check_every == 0:
                    nats, tokens = trainer.accelerator.reduce(totals, "sum").tolist()
                    if nats / tokens > previous:
                        break
                    previous = nats / tokens
                    totals.zero_()
                batches = self._batches[derive_seed(args.seed, NoiseStream.INNER_BATCH, global_step, inner)]
        trainer.begin_step(outer_batches)
        return inner

    def _average_gradients(self, parameters: list[Parameter]) -> None:
        # By hand: these backward passes do not go through DistributedDataParallel, whose buckets wait for every parameter.
        if self._trainer.args.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = self._trainer.accelerator.reduce(flat, "mean")
        for gradient, mean in zip(gradients, flat.split([len(g.flatten()) for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    # ---- The end of the phase ----

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        # Not at `on_epoch_end`: a checkpoint of the last step of an epoch is written before that.
        too_long = args.aggressive_max_epochs is not None and state.epoch - self.began_in_epoch >= args.aggressive_max_epochs
        if not self.active or (state.epoch != int(state.epoch) and not too_long):
            return
        now = self._held_out.batch_mutual_information()
        before, self.last_mutual_information = self.last_mutual_information, now
        told = f"mutual information within batches of the validation set {before:.3f} -> {now:.3f} nats"
        if now - before < 0.0 or too_long:
            self.active = False
            told += ": aggressive training is over" + (" (aggressive_max_epochs)" if now >= before else "")
        self._trainer.log_aside({"aggressive_mutual_information": now})
        if state.is_world_process_zero:
            logger.info(f"Epoch {state.epoch:g}: {told}")

    def averages(self) -> dict[str, Any]:
        """Inner steps for each step since this was last asked; nothing when the phase was off."""
        if not self._outer_steps:
            return {}
        mean = self._inner_steps / self._outer_steps
        self._outer_steps = self._inner_steps = 0
        return {"inner_steps": mean}


def _trainable(model: Module, names: str, part: str) -> list[Parameter]:
    if not hasattr(model, names):
        raise ValueError(
            f"Aggressive training trains the two sides of a model in turns, and {type(model).__name__} has no {names}"
        )
    parameters = [parameter for _, parameter in getattr(model, names)() if parameter.requires_grad]
    if not parameters:
        raise ValueError(
            f"Aggressive training trains encoder and decoder in turns, and nothing of the {part}'s side can be trained: "
            f"do not freeze the {part}, or set aggressive to false"
        )
    return parameters


@contextmanager
def without_gradients(parameters: Iterable[Parameter]) -> Iterator[None]:
    """No gradients for these parameters inside the `with`: autograd leaves out what only they would need."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
