"""One step of a model whose parameters are sharded over two processes, for `test_sharding.py`."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModel

from hf_lvm.training.run_parts import is_sharded
from tests.tiny_parts import row_generators
from tests.training_runs import latent_batch

ROWS = 4


def shard(model) -> list[str]:
    """Shard a model as accelerate does: every module that must not be split is a unit, all that is left is another."""
    units = [name for name, module in model.named_modules() if type(module).__name__ in model._no_split_modules]
    for name in units:
        fully_shard(model.get_submodule(name))
    fully_shard(model)
    return units


def step(model, rows: slice) -> torch.Tensor:
    """Loss of these rows of the batch, whose gradients it leaves."""
    batch = {name: value[rows] for name, value in latent_batch(model, ROWS).items()}
    loss = model.train()(**batch, generator=row_generators(ROWS)[rows]).loss
    loss.backward()
    return loss.detach()


def one_of_two(places: list[Path]) -> None:
    """What each process does; the first leaves losses and gradients beside the saved models."""
    import hf_lvm  # noqa: F401

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    for place in places:
        model = AutoModel.from_pretrained(place)
        if "recomputed" in place.name:
            model.gradient_checkpointing_enable()
        assert not is_sharded(model)
        units = shard(model)
        assert is_sharded(model)
        half = ROWS // 2
        loss = step(model, slice(rank * half, (rank + 1) * half))
        dist.all_reduce(loss)
        kinds = {type(parameter) for parameter in model.parameters()}
        assert kinds == {DTensor}, kinds
        held = sum(parameter.to_local().numel() for parameter in model.parameters())
        gradients = {n: p.grad.full_tensor() for n, p in model.named_parameters() if p.grad is not None}
        if rank == 0:
            torch.save({"loss": loss / 2, "gradients": gradients, "units": units, "held": held}, place / "step.pt")
    dist.destroy_process_group()
