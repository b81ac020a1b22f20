"""The KL weight that follows the measured KL, as a part of a training run."""

from collections.abc import Callable

from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_lvm.training.phases.resumable import ResumableCallback


class KLControlCallback(ResumableCallback):
    """Feeds the KL of every optimizer step, over all processes, to a `TargetKLController`, and remembers its weight.

    During the warm start as an autoencoder the controller waits: the KL is meant to grow freely then.

    Args:
        args: those of the run, with `kl_target`.
        step_kl: the KL of the optimizer step just made, in nats per sentence, the same in every process.
    """

    memory = ("weight", "integral")

    def __init__(self, args: TrainingArguments, step_kl: Callable[[], float]) -> None:
        self._args, self._step_kl = args, step_kl
        super().__init__()

    def reset(self) -> None:
        self._controller = self._args.kl_controller()

    @property
    def weight(self) -> float:
        """Weight of the KL term in the next step."""
        return self._controller.weight

    @weight.setter
    def weight(self, value: float) -> None:
        self._controller.weight = value

    @property
    def integral(self) -> float:
        """What the controller has learned about the weight that holds the target."""
        return self._controller.integral

    @integral.setter
    def integral(self, value: float) -> None:
        self._controller.integral = value

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step > args.autoencoder_steps(state.max_steps):
            self._controller.update(self._step_kl())
