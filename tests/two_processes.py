"""Train many models in two processes that are started once, as `torchrun --nproc_per_node 2` starts them.

Tests register a function that builds a model. Run as a script, this file is one of the two processes.
"""

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.training_runs import BATCH, Run, latent_run

MODELS: dict[str, Callable[[], torch.nn.Module]] = {}
REPOSITORY = Path(__file__).parent.parent


def register(name: str, build: Callable[[], torch.nn.Module]) -> None:
    """Have the model trained; `build` must give the same weights whenever it is called."""
    MODELS[name] = build


def start_two(arguments: list[str]) -> None:
    """Run a script in two processes that find each other; fail with what they wrote when one fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        written = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert not any(process.returncode for process in processes), "\n".join(text[-3000:] for text in written)


def train_in_two_processes(folder: Path) -> None:
    """Save every registered model below the folder, and train each in two processes."""
    for name, build in MODELS.items():
        build().save_pretrained(folder / name)
    start_two([__file__, *(str(folder / name) for name in MODELS)])


def read_runs(folder: Path) -> dict[str, Run]:
    """The runs of all registered models."""
    return {
        name: Run(
            **json.loads((folder / name / "run.json").read_text()), weights=load_file(folder / name / "weights.safetensors")
        )
        for name in MODELS
    }


def main() -> None:
    from transformers import AutoModel

    import hf_lvm  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()  # as in conftest.py
    for place in map(Path, sys.argv[1:]):
        model = AutoModel.from_pretrained(place)
        run = latent_run(model, place / "run", per_device=BATCH // 2, accumulation=1)
        if os.environ["RANK"] == "0":
            (place / "run.json").write_text(json.dumps({"losses": run.losses, "grad_norms": run.grad_norms}))
            save_file(
                {name: value.clone().contiguous() for name, value in run.weights.items()},
                place / "weights.safetensors",
            )
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
