"""An encoder that learns in the first epochs of a run and stays as it is afterwards."""

import logging
import math

from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_lvm.training.parameter_parts import trainable_parameters

logger = logging.getLogger(__name__)

# Epochs are sums of fractions, which may miss the number that was meant by their last digit.
_ROUNDING = 1e-6


class EncoderEnd(TrainerCallback):
    """The key `encoder_epochs`.

    Kim et al. (2019) train q(z|x) at the beginning only: from then on the generative model learns beside a posterior that
    holds still.

    From the first step behind these epochs on autograd computes no gradients for the encoder, so that no optimizer moves it,
    whatever moments it has, and the backward pass is cheaper. The exception is a DistributedDataParallel that was told to wait
    for the gradient of every parameter (`ddp_find_unused_parameters: false`): there they are computed and dropped.

    When the encoder stops follows from the epoch, which a checkpoint knows: there is nothing else to remember. At the end of
    the run its parameters can be trained again.

    Args:
        args: of the run.
        model: names its part "encoder", see `hf_lvm.training.parameter_parts`.
    """

    def __init__(self, args: TrainingArguments, model: Module) -> None:
        self._epochs = args.encoder_epochs
        self._parameters = trainable_parameters(model, "encoder")
        self._is_held = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, train_dataloader=None, **kwargs
    ) -> None:
        fixed = args.fixed_steps(state.max_steps)
        if not fixed or not hasattr(train_dataloader, "__len__"):
            return
        steps = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        if fixed >= self._epochs * steps:
            raise ValueError(
                f"fixed_encoder_steps keeps the encoder as it is for {fixed} steps, and encoder_epochs {self._epochs:g} are "
                f"over after {math.ceil(self._epochs * steps)}: it would never learn. Give fewer fixed_encoder_steps or more "
                "encoder_epochs"
            )

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self._hold(False)

    def is_over(self, state: TrainerState) -> bool:
        """Whether the encoder stays as it is in the step that follows."""
        return (state.epoch or 0.0) >= self._epochs - _ROUNDING

    def before_batch(self, model: Module, state: TrainerState) -> None:
        """Keep the encoder out of the backward pass, or not, for a micro-batch of `model`, as accelerate has wrapped it."""
        is_over = self.is_over(state)
        if is_over != self._is_held:
            if is_over and state.is_world_process_zero:
                logger.info(f"Step {state.global_step}: the encoder stays as it is after {self._epochs:g} epochs")
            self._hold(is_over, waits_for_all=isinstance(model, DistributedDataParallel) and not model.find_unused_parameters)

    def drop_gradients(self, state: TrainerState) -> None:
        """Forget the gradients that a backward pass had to compute all the same."""
        if self.is_over(state):
            for parameter in self._parameters:
                parameter.grad = None

    def _hold(self, is_held: bool, waits_for_all: bool = False) -> None:
        self._is_held = is_held
        for parameter in self._parameters:
            parameter.requires_grad_(not is_held or waits_for_all)
