"""A run that is resumed goes on by the schedules it began with."""

from typing import Any

from hf_lvm.training.phases.resumable import ResumableCallback


class SavedSettings(ResumableCallback):
    """Remembers, with each checkpoint, what the objective of a run follows from, and refuses to go on with anything else.

    A schedule is a function of the step. Resumed with another one, the rest of a run would be neither the old run nor a new
    one: the KL weight might jump back to 0 in the middle, or a warm start be over before it began.
    """

    memory = ("settings",)

    def reset(self) -> None:
        self.settings: dict[str, Any] | None = None

    def begin(self, settings: dict[str, Any], checkpoint: str | None) -> None:
        """Take over the settings of a run; of one that goes on from `checkpoint` they must be those it was saved with.

        Raises:
            ValueError: they are not; names the keys that differ and how to go on.
        """
        saved = self.settings
        if checkpoint is not None and saved is not None:
            keys = [key for key in sorted(saved.keys() | settings.keys()) if saved.get(key) != settings.get(key)]
            if keys:
                differences = ", ".join(f"{key} {_shown(saved.get(key))} (now {_shown(settings.get(key))})" for key in keys)
                raise ValueError(
                    f"{checkpoint} belongs to a run with another schedule, in steps: {differences}. A run that is resumed "
                    "goes on by the schedule it began with: give it the same values, or begin a new run from the weights of "
                    f"the checkpoint (model: {checkpoint}, without resume_from_checkpoint)"
                )
        self.settings = settings


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value)
