"""Train many models in two processes that are started once. Tests register a function that builds a model."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.child_processes import run_two
from tests.training_runs import BATCH, Run, latent_run

MODELS: dict[str, Callable[[], torch.nn.Module]] = {}


def register(name: str, build: Callable[[], torch.nn.Module]) -> None:
    """Have the model trained; `build` must give the same weights whenever it is called."""
    MODELS[name] = build


def train_in_two_processes(folder: Path) -> None:
    """Save every registered model below the folder, and train each in two processes."""
    for name, build in MODELS.items():
        build().save_pretrained(folder / name)
    run_two(train_each, folder, [folder / name for name in MODELS])


def read_runs(folder: Path) -> dict[str, Run]:
    """The runs of all registered models."""
    return {
        name: Run(
            **json.loads((folder / name / "run.json").read_text()), weights=load_file(folder / name / "weights.safetensors")
        )
        for name in MODELS
    }


def train_each(places: list[Path]) -> None:
    """What one of the two processes does; the first leaves the runs beside the models."""
    from transformers import AutoModel

    import hf_lvm  # noqa: F401

    torch.set_num_threads(1)
    for place in places:
        model = AutoModel.from_pretrained(place)
        run = latent_run(model, place / "run", per_device=BATCH // 2, accumulation=1)
        if os.environ["RANK"] == "0":
            (place / "run.json").write_text(json.dumps({"losses": run.losses, "grad_norms": run.grad_norms}))
            save_file(
                {name: value.clone().contiguous() for name, value in run.weights.items()},
                place / "weights.safetensors",
            )
    torch.distributed.destroy_process_group()
