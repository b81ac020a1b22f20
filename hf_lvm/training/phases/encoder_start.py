"""An encoder that stays as it is: in the first steps of a run, or in all of them."""

import logging

from torch.nn import Module
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_lvm.training.parameter_parts import trainable_parameters

logger = logging.getLogger(__name__)


class EncoderStart(TrainerCallback):
    """The keys `fixed_encoder_steps` and an `encoder_learning_rate` of 0.

    An encoder that knows something already (from labels, from pretraining) is worth keeping while the decoder is new: what a
    decoder that knows nothing asks of it is to forget.

    Args:
        args: of the run.
        model: names its part "encoder", see `hf_lvm.training.parameter_parts`.
    """

    def __init__(self, args: TrainingArguments, model: Module) -> None:
        self._args = args
        self._parameters = trainable_parameters(model, "encoder")
        if args.encoder_learning_rate == 0:
            for parameter in self._parameters:
                parameter.requires_grad_(False)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step == self._args.fixed_steps(state.max_steps) > 0 and state.is_world_process_zero:
            logger.info(f"Step {state.global_step}: the encoder begins to learn")

    def drop_gradients(self, state: TrainerState) -> None:
        """Forget the encoder's gradients of a step in which it stays as it is: they do not count for clipping either."""
        if state.global_step < self._args.fixed_steps(state.max_steps):
            for parameter in self._parameters:
                parameter.grad = None
