"""Every form of free bits against its formula: what it is worth, where it presses, and the mean over all processes."""

import math
import os
from pathlib import Path

import pytest
import torch

from hf_lvm.objectives import BATCH_MODES, FREE_BITS_MODES, PER_DIMENSION_MODES, free_bits_kl, negative_elbo
from tests.child_processes import run_two

KL = torch.tensor([[0.2, 0.9, 0.2], [0.6, 2.0, 1.2]], dtype=torch.float64)
# Means over the batch: .4, 1.45, .7; sums of the sentences 1.3 and 3.8, their mean 2.55.
TWINS = (
    ("per_dimension", "per_dimension_zeroed"),
    ("per_sentence", "per_sentence_zeroed"),
    ("per_batch", "per_batch_zeroed"),
)


def value_and_gradient(mode: str, threshold: float, kl: torch.Tensor = KL) -> tuple[float, torch.Tensor]:
    kl = kl.clone().requires_grad_()
    value = free_bits_kl(kl, threshold, mode).mean()
    return value.item(), torch.autograd.grad(value, kl)[0]


@pytest.mark.parametrize(
    ("mode", "threshold", "value", "pressed"),
    [
        ("none", 0.5, 1.3 / 2 + 3.8 / 2, [[1, 1, 1], [1, 1, 1]]),
        ("per_dimension", 0.5, (0.5 + 0.9 + 0.5 + 0.6 + 2.0 + 1.2) / 2, [[0, 1, 0], [1, 1, 1]]),
        ("per_dimension_zeroed", 0.5, (0.9 + 0.6 + 2.0 + 1.2) / 2, [[0, 1, 0], [1, 1, 1]]),
        # The first dimension is pressed in no sentence, the third in both.
        ("kingma", 0.5, 0.5 + 1.45 + 0.7, [[0, 1, 1], [0, 1, 1]]),
        ("per_sentence", 2.0, (2.0 + 3.8) / 2, [[0, 0, 0], [1, 1, 1]]),
        ("per_sentence_zeroed", 2.0, (0.0 + 3.8) / 2, [[0, 0, 0], [1, 1, 1]]),
        ("per_batch", 2.0, 2.55, [[1, 1, 1], [1, 1, 1]]),
        ("per_batch", 3.0, 3.0, [[0, 0, 0], [0, 0, 0]]),
        ("per_batch_zeroed", 2.0, 2.55, [[1, 1, 1], [1, 1, 1]]),
        ("per_batch_zeroed", 3.0, 0.0, [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_each_form_is_its_formula(mode, threshold, value, pressed):
    assert value_and_gradient(mode, threshold)[0] == pytest.approx(value)
    assert (2 * value_and_gradient(mode, threshold)[1]).tolist() == pressed


@pytest.mark.parametrize("threshold", [0.2, 0.7, 1.3, 2.0, 4.0])  # .2 and 1.3 are values of the KL itself
def test_a_zeroed_form_has_the_gradient_of_its_twin_and_lacks_the_threshold_of_every_term_held(threshold):
    held = {
        "per_dimension": KL.le(threshold).sum().item() / 2,
        "per_sentence": KL.sum(1).le(threshold).sum().item() / 2,
        "per_batch": float(KL.sum(1).mean().le(threshold)),
    }
    for kept, zeroed in TWINS:
        value, gradient = value_and_gradient(kept, threshold)
        lower_value, same_gradient = value_and_gradient(zeroed, threshold)
        assert torch.equal(gradient, same_gradient)
        assert value - lower_value == pytest.approx(threshold * held[kept], abs=1e-12)


def test_the_means_stand_in_another_place_and_all_forms_agree_far_above_the_threshold():
    assert value_and_gradient("kingma", 0.5)[0] < value_and_gradient("per_dimension", 0.5)[0]
    assert value_and_gradient("per_batch", 2.0)[0] < value_and_gradient("per_sentence", 2.0)[0]
    high = KL + 1
    for mode in FREE_BITS_MODES:
        value, gradient = value_and_gradient(mode, 0.5, high)
        assert value == pytest.approx(high.sum(1).mean().item()) and (gradient == 0.5).all()


def test_forms_of_the_whole_need_no_parts_and_take_estimates_below_zero():
    kl = torch.tensor([-0.4, 3.0], dtype=torch.float64)
    totals = [mode for mode in FREE_BITS_MODES if mode not in ("none", *PER_DIMENSION_MODES)]
    worth = {mode: free_bits_kl(None, 1.0, mode, kl=kl).mean().item() for mode in totals}
    assert worth == pytest.approx({"per_sentence": 2, "per_sentence_zeroed": 1.5, "per_batch": 1.3, "per_batch_zeroed": 1.3})
    assert free_bits_kl(None, 0.0, "none", kl=kl) is kl


@pytest.mark.parametrize("mode", FREE_BITS_MODES)
def test_a_kl_that_is_not_a_number_does_not_hide_below_the_threshold(mode):
    kl = KL.clone()
    kl[0, 0] = math.nan
    assert math.isnan(free_bits_kl(kl, 0.5, mode).mean())


def test_the_floor_is_in_the_loss_and_the_kl_weight_on_it():
    reconstruction = torch.tensor([10.0, 20.0], dtype=torch.float64)
    loss = negative_elbo(reconstruction, KL.sum(1), KL, kl_weight=0.5, free_bits=0.5, free_bits_mode="per_dimension")
    assert loss.item() == pytest.approx(15 + 0.5 * (0.5 + 0.9 + 0.5 + 0.6 + 2.0 + 1.2) / 2)
    total = negative_elbo(reconstruction, KL.sum(1), kl_weight=0.5, free_bits=2.0, free_bits_mode="per_sentence")
    assert total.item() == pytest.approx(15 + 0.5 * (2.0 + 3.8) / 2)
    assert negative_elbo(reconstruction, KL.sum(1)).item() == pytest.approx(15 + KL.sum(1).mean().item())


def test_refusals():
    with pytest.raises(ValueError, match="Unknown free_bits_mode 'total': choose one of 'none', 'per_dimension', 'kingma'"):
        free_bits_kl(KL, 0.5, "total")
    with pytest.raises(ValueError, match="'kingma' needs a KL per dimension.*choose one of 'per_sentence'"):
        negative_elbo(torch.ones(2), torch.ones(2), free_bits=0.5, free_bits_mode="kingma")
    with pytest.raises(ValueError, match=r"The free bits are -0.5; give a number of nats, 0 or more"):
        free_bits_kl(KL, -0.5, "per_sentence")
    with pytest.raises(ValueError, match="Free bits need a KL"):
        free_bits_kl(None, 0.5, "per_sentence")


def results_of_one_of_two(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    rank, results = int(os.environ["RANK"]), {}
    for mode in BATCH_MODES:
        for threshold in (0.5, 2.0, 3.0):
            kl = KL[rank : rank + 1].clone().requires_grad_()
            value = free_bits_kl(kl, threshold, mode).mean()
            value.backward()
            results[f"{mode} {threshold}"] = {"value": value.item(), "gradient": kl.grad}
    torch.save(results, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_a_form_of_the_batch_over_two_processes_is_that_of_their_common_batch(tmp_path):
    run_two(results_of_one_of_two, tmp_path, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert len(parts[0]) == 3 * len(BATCH_MODES)
    for name in parts[0]:
        mode, threshold = name.split()
        value, gradient = value_and_gradient(mode, float(threshold))
        # DistributedDataParallel averages gradients over processes, and each row lives in one of them.
        assert sum(part[name]["value"] for part in parts) / 2 == pytest.approx(value)
        torch.testing.assert_close(torch.cat([part[name]["gradient"] for part in parts]) / 2, gradient)
