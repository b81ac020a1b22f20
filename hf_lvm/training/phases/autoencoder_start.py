"""The warm start of the encoder as an autoencoder, and what ends with it (Li et al. 2019)."""

import logging

from torch.nn import Module
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_lvm.training.noise import NoiseStream, derive_seed
from hf_lvm.training.phases.learning_rate import forget_optimizer_state

logger = logging.getLogger(__name__)


class AutoencoderStart(TrainerCallback):
    """The end of the warm start: what was best before is forgotten and, if asked for, the decoder begins anew.

    While the KL costs nothing the bound of an evaluation, whose KL counts in full, says nothing about the model: the best
    model, which `load_best_model_at_end` and the plateau rule go back to, is chosen among the evaluations after the warm
    start. An evaluation at its very end still belongs to it, and so does a checkpoint: that one holds the autoencoder.

    With `reset_decoder_after_warmup` the model's `reset_decoder(seed)` then gives the generative side new weights, the same in
    every process, and the optimizer forgets what it knew about them. The encoder keeps weights and moments.

    Everything happens at the beginning of the first step after the warm start, which a run that is resumed right there
    begins with too: nothing has to be remembered.

    Raises:
        ValueError: the decoder is to begin anew, and the model cannot do that or its decoder is frozen.
    """

    def __init__(self, args: TrainingArguments, model: Module) -> None:
        if not args.reset_decoder_after_warmup:
            return
        if not hasattr(model, "reset_decoder"):
            raise ValueError(f"reset_decoder_after_warmup: the decoder of a {type(model).__name__} cannot begin anew")
        if hasattr(model, "check_decoder_can_reset"):
            model.check_decoder_can_reset()
        if not any(parameter.requires_grad for _, parameter in model.generative_parameters()):
            raise ValueError(
                "reset_decoder_after_warmup gives the decoder new weights, and a frozen decoder could not learn with them: do "
                "not freeze the decoder, or leave its weights as they are"
            )

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Module,
        optimizer=None,
        **kwargs,
    ) -> None:
        if state.global_step == 0 or state.global_step != args.autoencoder_steps(state.max_steps):
            return
        state.best_metric = state.best_global_step = state.best_model_checkpoint = None
        if args.reset_decoder_after_warmup:
            model.reset_decoder(seed=derive_seed(args.seed, NoiseStream.DECODER_RESET) % 2**63)
            forget_optimizer_state(optimizer, [parameter for _, parameter in model.generative_parameters()])
        if state.is_world_process_zero:
            begun = ", the decoder begins anew" if args.reset_decoder_after_warmup else ""
            logger.info(f"Step {state.global_step}: the warm start as an autoencoder is over{begun}")
