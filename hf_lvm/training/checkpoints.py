"""Saving that either happens or does not: no partial checkpoint passes for a whole one, no save harms an older one.

Everything is written into a hidden folder beside its place, flushed to the disk and only then renamed. A full disk or
a kill leaves a hidden folder, which the next run deletes. Deleting goes the same way: first the name goes, then the
files.
"""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.trainer_callback import ExportableState, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints

from hf_lvm.training.phases.resumable import ResumableCallback
from hf_lvm.training.publishing_trainer import PublishingTrainer
from hf_lvm.training.run_files import COMPLETE_MODEL, INCOMPLETE_PREFIX, REPLACED_PREFIX

logger = logging.getLogger(__name__)

TRAINER_STATE_NAME = "trainer_state.json"


class SavingError(OSError):
    """A checkpoint or model could not be written. What was there before is untouched."""


def last_checkpoint(output_dir: str | os.PathLike) -> str | None:
    """Path of the newest whole checkpoint in a folder, or `None`; says in the log which folders it passed over."""
    output_dir = Path(output_dir)
    if not output_dir.is_dir():
        return None
    for checkpoint in reversed(sort_checkpoints(str(output_dir))):
        if is_whole(checkpoint):
            return checkpoint
        logger.warning(f"{checkpoint} is not a whole checkpoint and is passed over")
    return None


def is_whole(checkpoint: str | os.PathLike) -> bool:
    """Whether a checkpoint was written to its end: its trainer state, the last file written, can be read."""
    try:
        TrainerState.load_from_json(os.path.join(checkpoint, TRAINER_STATE_NAME))
    except (OSError, ValueError, TypeError):
        return False
    return True


def recover(output_dir: str | os.PathLike) -> None:
    """Clear away what a killed run left behind: finish what was already whole on the disk, delete the rest."""
    output_dir = Path(output_dir)
    for left_over in sorted(output_dir.glob(f"{REPLACED_PREFIX}*")):
        place = output_dir / left_over.name.removeprefix(REPLACED_PREFIX)
        if place.exists():
            discard(left_over)
        else:
            logger.warning(f"An earlier run was stopped while it replaced {place}; the former one is put back")
            left_over.rename(place)
    if (output_dir / COMPLETE_MODEL).is_dir():
        logger.warning(f"An earlier run was stopped while it moved its model into {output_dir}; the move is finished")
        _move_model(output_dir)
    for left_over in sorted(output_dir.glob(f"{INCOMPLETE_PREFIX}*")):
        logger.warning(f"Deleting {left_over}, left by a run that was stopped while saving")
        # Results are staged as a file.
        if left_over.is_dir():
            discard(left_over)
        else:
            left_over.unlink()


def discard(folder: str | os.PathLike) -> None:
    """Delete a folder that loses its name first, so that a half-deleted one never looks like a checkpoint."""
    folder = Path(folder)
    if not folder.name.startswith(INCOMPLETE_PREFIX):
        hidden = folder.with_name(f"{INCOMPLETE_PREFIX}{folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        folder = folder.rename(hidden)
    shutil.rmtree(folder)


def rotate(output_dir: str | os.PathLike, limit: int | None, protected: Iterable[str | os.PathLike]) -> None:
    """Delete the checkpoints of the lowest steps until `limit` are left, but none of the protected ones."""
    checkpoints = [Path(checkpoint) for checkpoint in sort_checkpoints(str(output_dir))]
    if limit is None or limit <= 0:
        return
    deletable = [checkpoint for checkpoint in checkpoints if checkpoint not in set(map(Path, protected))]
    for checkpoint in deletable[: max(0, len(checkpoints) - limit)]:
        discard(checkpoint)


def publish_folder(staged: Path, place: Path) -> None:
    """Rename a finished folder to its place, where it may replace an older one."""
    _flush(staged)
    replaced = place.with_name(f"{REPLACED_PREFIX}{place.name}")
    if place.exists():
        place.rename(replaced)
    staged.rename(place)
    _flush_entry(place.parent)
    if replaced.exists():
        discard(replaced)


def publish_model(staged: Path, output_dir: Path) -> None:
    """Move the files of a finished model into a folder that holds other things too.

    The staged folder is renamed first: from then on every file is safely on the disk and `recover` can finish the
    move. While it lasts there is no `config.json`, so that a mixture of two models cannot be loaded.
    """
    _flush(staged)
    complete = output_dir / COMPLETE_MODEL
    shutil.rmtree(complete, ignore_errors=True)
    staged.rename(complete)
    _move_model(output_dir)


def _move_model(output_dir: Path) -> None:
    complete = output_dir / COMPLETE_MODEL
    if (complete / "config.json").exists():
        (output_dir / "config.json").unlink(missing_ok=True)
    files = [path.relative_to(complete) for path in complete.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: (file == Path("config.json"), file)):
        (output_dir / file).parent.mkdir(parents=True, exist_ok=True)
        os.replace(complete / file, output_dir / file)
    _flush_entry(output_dir)
    shutil.rmtree(complete)


def _flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _flush_entry(path)


def _flush_entry(path: Path) -> None:
    if os.name == "nt":  # which flushes neither folders nor files opened for reading
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicSavingTrainer(PublishingTrainer):
    """A `transformers.Trainer` whose checkpoints and final model appear whole or not at all.

    It also goes on from the newest whole checkpoint with `train(resume_from_checkpoint=True)`, starts from scratch
    when there is none, gives every `ResumableCallback` back what it knew, finds the best checkpoint again where the whole
    folder was moved, and saves the training arguments as JSON instead of a pickle.
    """

    _staging: Path | None = None
    _resumed_from: str | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """Train; see `transformers.Trainer.train`.

        Args:
            resume_from_checkpoint: folder of a checkpoint, or `True` for the newest whole one in `output_dir`.

        Raises:
            FileNotFoundError: the folder named is not a whole checkpoint.
            SavingError: a checkpoint could not be written, for example because the disk is full.
        """
        if self.args.should_save:
            recover(self.args.output_dir)
        self.accelerator.wait_for_everyone()
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                logger.warning(f"There is no checkpoint in {self.args.output_dir} yet: training starts from scratch")
            else:
                logger.info(f"Training goes on from {resume_from_checkpoint}")
        elif resume_from_checkpoint and not is_whole(resume_from_checkpoint):
            newest = last_checkpoint(self.args.output_dir)
            raise FileNotFoundError(
                f"{resume_from_checkpoint} is not a whole checkpoint (no readable {TRAINER_STATE_NAME} in it). "
                + (f"The newest whole one is {newest}" if newest else f"There is none in {self.args.output_dir}")
            )
        self._resumed_from = resume_from_checkpoint or None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    # ---- What a run knew ----

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, *args, **kwargs
    ) -> tuple[int, int]:
        for callback in self._resumable_callbacks().values():
            callback.reset()
        progress = super()._init_training_state(max_steps, num_update_steps_per_epoch, num_train_epochs, *args, **kwargs)
        state = self.state
        if state.global_step >= max_steps:
            # `Trainer` would make one step more, and save it, whenever a run is resumed that had come to its end.
            progress = (num_train_epochs, 0)
        if self._resumed_from is not None and state.best_model_checkpoint is None and state.best_global_step:
            moved = Path(self._resumed_from).parent / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
            state.best_model_checkpoint = str(moved) if is_whole(moved) else None
        return progress

    def _load_callback_state(self) -> None:
        saved, resumable = self.state.stateful_callbacks, self._resumable_callbacks()
        for name in resumable.keys() & saved.keys():
            resumable[name].restore(saved.pop(name))
        super()._load_callback_state()
        # `Trainer._save_checkpoint` expects an entry of every callback that has a state.
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                saved.setdefault(type(callback).__name__, callback.state())

    def _resumable_callbacks(self) -> dict[str, ResumableCallback]:
        callbacks = self.callback_handler.callbacks
        return {type(callback).__name__: callback for callback in callbacks if isinstance(callback, ResumableCallback)}

    # ---- Saving ----

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save model, config and processor so that `from_pretrained` loads them; all of them or none.

        Raises:
            SavingError: the model could not be written.
        """
        if self._staging is not None:
            return super().save_model(output_dir, _internal_call=True)
        output_dir = Path(output_dir or self.args.output_dir)
        with self._staged(output_dir / f"{INCOMPLETE_PREFIX}model", what=f"the model in {output_dir}") as staging:
            super().save_model(str(staging), _internal_call=True)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                publish_model(staging, output_dir)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _save_checkpoint(self, model, trial) -> None:
        run_dir = Path(super()._get_output_dir(trial))
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        place = run_dir / name
        with self._staged(run_dir / f"{INCOMPLETE_PREFIX}{name}", what=str(place)) as staging:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.state.best_model_checkpoint == str(staging / name):
                self.state.best_model_checkpoint = str(place)
                if self.args.should_save:
                    self.state.save_to_json(str(staging / name / TRAINER_STATE_NAME))
            if self.args.should_save:
                publish_folder(staging / name, place)
                staging.rmdir()
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            rotate(run_dir, self.args.save_total_limit, protected=[place] if best is None else [place, best])
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(place))

    def _get_output_dir(self, trial) -> str:
        # `Trainer._save_checkpoint` writes, looks for the best checkpoint and rotates below this folder; while saving
        # it is the staging folder, in which there is nothing else to find or to delete.
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._staging is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            (folder / "training_args.bin").unlink(missing_ok=True)
            (folder / "training_args.json").write_text(self.args.to_json_string(), encoding="utf-8")

    def _issue_warnings_after_load(self, load_result) -> None:
        # A tied weight is saved once, under one of its names; its other names are not missing.
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _finalize_training(self, trial, *args, **kwargs):
        # `Trainer` does this here too, but deletes in place.
        best = self.state.best_model_checkpoint
        if self.args.should_save and self.args.save_total_limit == 1 and best is not None:
            rotate(self._get_output_dir(trial), 1, protected=[best])
        return super()._finalize_training(trial, *args, **kwargs)

    @contextmanager
    def _staged(self, staging: Path, what: str) -> Iterator[Path]:
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        # No process may write before the leftovers of an earlier save are gone.
        self.accelerator.wait_for_everyone()
        self._staging = staging
        try:
            if self.args.should_save:
                staging.mkdir(parents=True)
            yield staging
        except Exception as error:
            if self.args.should_save:
                shutil.rmtree(staging, ignore_errors=True)
            newest = last_checkpoint(self.args.output_dir)
            raise SavingError(
                f"Could not save {what}: {error}. "
                + (f"{newest} is whole: make room and resume from it" if newest else "No checkpoint was saved before")
            ) from error
        finally:
            self._staging = None
