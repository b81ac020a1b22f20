import os
from pathlib import Path

import pytest
import torch

from hf_lvm.distributions import standard_normal
from hf_lvm.layers.posteriors import BatchNormPosterior
from tests.child_processes import run_two


def new_head(seed: int = 0, **options) -> BatchNormPosterior:
    torch.manual_seed(seed)
    head = BatchNormPosterior(8, 32, **options).double()
    head.init_weights()
    return head


def kl(posterior) -> torch.Tensor:
    return posterior.kl_per_dimension(standard_normal(len(posterior.mean), 32, dtype=torch.float64)).sum(-1)


@pytest.mark.parametrize(("options", "floor"), [({}, 5.76), ({"scale": 0.5}, 4.0), ({"scale": 0.7}, 7.84)])
def test_the_kl_of_a_batch_has_the_published_floor(options, floor):
    head = new_head(**options)
    with torch.no_grad():
        head.log_variance.weight.zero_()
    pooled = torch.randn(50, 8, dtype=torch.float64)
    # Where the stddev is 1 and the shift 0 the floor is the value, whatever the weights of the mean.
    for size in (0.1, 1.0, 100.0):
        with torch.no_grad():
            head.mean.weight.normal_(std=size)
        assert kl(head(pooled)).mean().item() == pytest.approx(floor, rel=2e-3)
    with torch.no_grad():
        head.shift.normal_()
        head.log_variance.weight.normal_()
    assert kl(head(pooled)).mean() > floor


def test_means_are_those_of_batch_norm_in_training_and_evaluation():
    head, reference = new_head(), torch.nn.BatchNorm1d(32, momentum=None).double()
    torch.nn.init.constant_(reference.weight, 0.6)
    for seed in range(3):  # as many as both average plainly
        pooled = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + seed
        torch.testing.assert_close(head(pooled).mean, reference(head.mean(pooled)))
    for module in (head, reference):
        module.eval()
    torch.testing.assert_close(head(pooled).mean, reference(head.mean(pooled)))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    alone = head(pooled[:1])
    torch.testing.assert_close(alone.mean, head(pooled).mean[:1])
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_later_batches_enter_with_a_tenth():
    head = new_head()
    for _ in range(30):
        head(torch.zeros(2, 8, dtype=torch.float64))
    head(torch.ones(2, 8, dtype=torch.float64))
    torch.testing.assert_close(head.running_mean, 0.1 * head.mean.weight.sum(1))


def test_a_batch_of_one_is_normalised_by_the_running_averages():
    head, pooled = new_head(), torch.randn(1, 8, dtype=torch.float64)
    head(torch.randn(20, 8, dtype=torch.float64) + 2)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    alone = head(pooled)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    alone.mean.sum().backward()
    assert head.mean.weight.grad.isfinite().all() and head.mean.weight.grad.abs().max() > 0
    torch.testing.assert_close(alone.mean, head.eval()(pooled).mean)


def test_equal_sentences_give_no_nan():
    head = new_head()
    posterior = head(torch.ones(4, 8, dtype=torch.float64))
    kl(posterior).sum().backward()
    assert posterior.mean.isfinite().all() and head.mean.weight.grad.isfinite().all()


@pytest.mark.parametrize("scale", [0.0, -0.6])
def test_a_scale_that_is_none(scale):
    with pytest.raises(ValueError, match="batch_norm_scale must be positive, but is"):
        BatchNormPosterior(4, 2, scale=scale)


# The same in one process and in two: a sum over rows in which every row has a weight of its own.
def weighted_sum(first: int, count: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    head, pooled = BatchNormPosterior(8, 32).double(), torch.randn(7, 8, dtype=torch.float64)[first : first + count]
    mean = head(pooled).mean
    weights = torch.arange(first + 1, first + 1 + count, dtype=torch.float64).unsqueeze(1)
    value = (weights * mean.square() + mean.pow(3)).sum()
    value.backward()
    return {"value": value.detach(), "gradient": head.mean.weight.grad, **dict(head.named_buffers())}


def sum_of_one_of_two(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    torch.save(weighted_sum(*((0, 5), (5, 2))[rank]), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_of_unequal_size_normalise_over_their_common_batch(tmp_path):
    run_two(sum_of_one_of_two, tmp_path, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    whole = weighted_sum(0, 7)
    for name in ("value", "gradient"):
        torch.testing.assert_close(parts[0][name] + parts[1][name], whole[name])
    for part in parts:
        for name in ("running_mean", "running_variance", "batches_seen"):
            torch.testing.assert_close(part[name], whole[name])
