"""A moving average over two processes is that of one process with the whole batch."""

import os
from pathlib import Path

import pytest
import torch

from hf_lvm.estimators.baselines import MovingAverageBaseline
from tests.child_processes import run_two

# Of the last batch the second process has nothing, as where all its rows are labelled and leave nothing to draw.
SCORES = [torch.arange(12.0).view(2, 6) - 20.0, torch.arange(12.0).view(2, 6).square(), torch.arange(8.0).view(2, 4)]


def moments_of_process(folder: Path) -> None:
    """The moments after batches of which this process sees its share: four rows the first, the rest the second."""
    torch.distributed.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    baseline = MovingAverageBaseline(decay=0.7)
    rows = slice(0, 4) if rank == 0 else slice(4, 6)
    for scores in SCORES:
        baseline.update(scores[:, rows])
    torch.save(baseline.moments, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture
def two_processes(tmp_path):
    run_two(moments_of_process, tmp_path, tmp_path)
    return [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_processes_agree_with_each_other_and_with_one(two_processes):
    whole = MovingAverageBaseline(decay=0.7)
    for scores in SCORES:
        whole.update(scores)
    assert torch.equal(*two_processes)
    torch.testing.assert_close(two_processes[0], whole.moments)
    before = whole.moments.clone()
    whole.update(torch.empty(0))
    assert torch.equal(whole.moments, before)
