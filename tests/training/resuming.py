"""A run that is stopped and resumed must end as the straight one does, bit for bit."""

from pathlib import Path

import torch

from tests.training import toy_latent_model as toy

UNWATCHED = {"train_runtime", "train_loss", "active_units", "inner_steps"}


def log(trainer) -> list[dict]:
    """What was logged, without times and what is averaged over a window of steps."""
    return [
        {
            name: value
            for name, value in entry.items()
            if name not in UNWATCHED and "per_second" not in name and "time" not in name
        }
        for entry in trainer.state.log_history
        if "train_runtime" not in entry
    ]


def assert_resumes_exactly(straight, folder: Path, steps: list[int], build=toy.build, **options) -> None:
    """Resume `straight`, whose `options` these are, from its checkpoints and compare everything it knows at the end."""
    for step in steps:
        torch.manual_seed(99)
        resumed = toy.trainer(folder / f"from-{step}", model=build(seed=5), **options)
        resumed.train(resume_from_checkpoint=str(Path(straight.args.output_dir, f"checkpoint-{step}")))
        for (name, one), other in zip(straight.model.named_parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(one, other), (step, name)
        assert log(resumed) == log(straight), step
        for name, callback in straight._resumable_callbacks().items():
            assert resumed._resumable_callbacks()[name].state() == callback.state(), (step, name)
