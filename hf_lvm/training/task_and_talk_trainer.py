"""A trainer of bots that talk: many runs side by side, each step of all that there is to talk about."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_lvm.models.task_and_talk import TaskAndTalkModel
from hf_lvm.training.phases.resumable import ResumableCallback
from hf_lvm.training.trainer import LatentTrainer

# Runs are counted as having solved the training objects from this share of tasks on.
SOLVED = 0.99
# How much further on the seed of a run is that begins anew.
NEXT_SEED = 1_000_000


class DialogTrainer(LatentTrainer):
    """`LatentTrainer` of a `TaskAndTalkModel`, in one process.

    - Each step is of all rows.
    - The gradient of each run is clipped by its own norm.
    - Every `accuracy_steps` the greedy accuracy of each run on these rows is measured. With `stop_when_solved` a run whose
      accuracy is 1 stays as it is, and training ends with the last run.
    - Logged: `accuracy`, the mean of the runs, and `solved`, the share of runs with 99% or more.

    Args:
        model: of any number of runs.
        rows: what `hf_lvm.data.task_and_talk.instances` gives.

    Raises:
        ValueError: more than one process.
    """

    def __init__(self, model: TaskAndTalkModel, args: TrainingArguments, rows: dict[str, torch.Tensor], **kwargs) -> None:
        if args.world_size > 1:
            raise ValueError(
                f"There are {args.world_size} processes, and the runs of Task & Talk are one program: start one process for "
                "each group of runs instead, with a seed of its own."
            )
        super().__init__(model=model, args=args, train_dataset=_AllRows(rows, args.max_steps), **kwargs)
        self.rows = rows
        self.runs = RunsCallback(self)
        self.add_callback(self.runs)

    def get_train_dataloader(self) -> DataLoader:
        """All rows, once a step."""
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=lambda batches: batches[0])

    def objective_options(self, step: int) -> dict[str, Any]:
        """See `LatentTrainer.objective_options`; the weights of entropies beside the others."""
        questions, answers = self.args.entropy_weights(step, self.state.max_steps)
        return super().objective_options(step) | {"question_entropy": questions, "answer_entropy": answers}

    def _clip_grad_norm(self, model: nn.Module) -> torch.Tensor:
        return clip_runs(self.accelerator.unwrap_model(model), self.args.max_grad_norm)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the greedy accuracy where it was just measured."""
        if "loss" in logs and self.runs.accuracies:
            logs |= {"accuracy": self.runs.mean_accuracy, "solved": self.runs.share_solved}
        super().log(logs, start_time)


class RunsCallback(ResumableCallback):
    """Measures the accuracy of each run, and keeps those that have solved everything as they are.

    Attributes:
        accuracies: of each run when last measured, 0 to 1.
        solved_at: of each run the step at which it was first at 99% or more, -1 where it never was.
        stopped_at: of each run the step from which on it is kept as it is, -1 where it is not.
        history: [step, accuracies] of each measurement.
        seeds, attempts: of each run the seed that it last began from, and how often it has begun.
    """

    memory = ("accuracies", "solved_at", "stopped_at", "history", "seeds", "attempts")

    def __init__(self, trainer: DialogTrainer) -> None:
        self._trainer = trainer
        super().__init__()

    def reset(self) -> None:
        runs = self._trainer.model.config.num_runs
        self.accuracies: list[float] = []
        self.solved_at, self.stopped_at = [-1] * runs, [-1] * runs
        self.history: list[list] = []
        self.seeds: list[int] = list(self._trainer.model.config.seeds)
        self.attempts = [1] * runs

    def restore(self, state: dict[str, Any]) -> None:
        """See `ResumableCallback.restore`; the seeds are those of the noise, too."""
        super().restore(state)
        self._model.config.seeds = list(self.seeds)

    @property
    def mean_accuracy(self) -> float:
        """Of the runs, when last measured."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def share_solved(self) -> float:
        """Share of the runs that were at 99% or more when last measured."""
        return sum(accuracy >= SOLVED for accuracy in self.accuracies) / len(self.accuracies)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        # Of a run that goes on from a checkpoint: the weights of the runs that were kept are there as they were.
        self._kept = [parameter.detach().clone() for parameter in self._model.run_parameters()]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        model = self._model
        self._put_back()
        is_end = state.global_step == state.max_steps or state.global_step % args.cycle_steps(state.max_steps) == 0
        if state.global_step % args.accuracy_steps and not is_end:
            return
        right = model.talk(**{name: rows.to(model.device) for name, rows in self._trainer.rows.items()}).right
        accuracies = right.view(model.config.num_runs, -1, 2).all(-1).float().mean(1)
        self.accuracies = accuracies.tolist()
        self.history.append([state.global_step, self.accuracies])
        for run, accuracy in enumerate(self.accuracies):
            if accuracy >= SOLVED and self.solved_at[run] < 0:
                self.solved_at[run] = state.global_step
            if args.stop_when_solved and accuracy == 1.0:
                self._keep(run, state)
        if args.restart_unsolved and state.global_step % args.cycle_steps(state.max_steps) == 0:
            self._restart(state)
        if min(self.stopped_at) >= 0:
            control.should_training_stop = True

    def _keep(self, run: int, state: TrainerState) -> None:
        if self.stopped_at[run] < 0:
            self.stopped_at[run] = state.global_step
            for kept, parameter in zip(self._kept, self._model.run_parameters(), strict=True):
                kept[run] = parameter.detach()[run]

    def _restart(self, state: TrainerState) -> None:
        for run, accuracy in enumerate(self.accuracies):
            if accuracy >= SOLVED:
                self._keep(run, state)
        others = [run for run, step in enumerate(self.stopped_at) if step < 0]
        if not others or state.global_step >= state.max_steps:
            return
        for run in others:
            self.seeds[run] += NEXT_SEED
            self.attempts[run] += 1
            self.solved_at[run] = -1
        self._model.begin_anew(others, [self.seeds[run] for run in others])
        # Of the runs that are kept the optimizer need not know anything, and of the others nothing is true any longer.
        self._trainer.optimizer.state.clear()

    @property
    def _model(self) -> TaskAndTalkModel:
        return self._trainer.accelerator.unwrap_model(self._trainer.model)

    @torch.no_grad()
    def _put_back(self) -> None:
        """The weights of runs that are kept, after a step of the optimizer that moved them all."""
        stopped = [run for run, step in enumerate(self.stopped_at) if step >= 0]
        if stopped:
            for parameter, kept in zip(self._model.run_parameters(), self._kept, strict=True):
                parameter[stopped] = kept[stopped]


class _AllRows(Dataset):
    """The same rows at every step."""

    def __init__(self, rows: dict[str, torch.Tensor], steps: int) -> None:
        self.rows, self.steps = rows, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        return self.rows


@torch.no_grad()
def clip_runs(model: TaskAndTalkModel, max_norm: float) -> torch.Tensor:
    """Scale down the gradient of each run whose norm is larger; the mean of the norms that they had."""
    gradients = [parameter.grad for parameter in model.run_parameters() if parameter.grad is not None]
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (max_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))
    return norms.mean()
