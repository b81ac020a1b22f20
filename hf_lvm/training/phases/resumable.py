"""Callbacks that remember: what they know is saved with each checkpoint and is there again when the run goes on."""

from typing import Any, ClassVar

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


class ResumableCallback(TrainerCallback, ExportableState):
    """A callback whose memory is part of `trainer_state.json`.

    `AtomicSavingTrainer` calls `reset` when a run begins and `restore` when it goes on from a checkpoint, whatever
    `restore_callback_states_from_checkpoint` says: a run that forgot how often its learning rate fell would not be the same
    run. The object stays the same one, so it may hold on to its trainer, which transformers' own way of restoring (a new
    object, made from the saved arguments) does not allow.
    """

    memory: ClassVar[tuple[str, ...]] = ()  # names of the attributes to save; plain JSON values

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Give every attribute of `memory` the value it has at the beginning of a run."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """See `transformers.trainer_callback.ExportableState`."""
        return {"args": {}, "attributes": {name: getattr(self, name) for name in self.memory}}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned when the checkpoint was written."""
        for name in self.memory:
            if name in state["attributes"]:
                setattr(self, name, state["attributes"][name])
