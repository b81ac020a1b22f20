"""Both forms of free bits: what they are worth, where they press, and the mean over all processes."""

import pytest
import torch

from hf_lvm.objectives import FREE_BITS_MODES, free_bits_kl, negative_elbo
from tests.two_processes import start_two

THRESHOLD = 0.5
KL = torch.tensor([[0.2, 0.9, 0.2], [0.6, 2.0, 1.2]], dtype=torch.float64)


def value_and_gradient(mode: str, kl: torch.Tensor = KL) -> tuple[float, torch.Tensor]:
    kl = kl.clone().requires_grad_()
    value = free_bits_kl(kl, THRESHOLD, mode).mean()
    (gradient,) = torch.autograd.grad(value, kl, allow_unused=True)
    return value.item(), torch.zeros_like(kl) if gradient is None else gradient


def test_none_is_the_plain_sum():
    value, gradient = value_and_gradient("none")
    assert value == pytest.approx(KL.sum(1).mean().item()) and (gradient == 0.5).all()


def test_per_dimension_holds_each_sentence_at_the_floor():
    value, gradient = value_and_gradient("per_dimension")
    assert value == pytest.approx((0.5 + 0.9 + 0.5 + 0.6 + 2.0 + 1.2) / 2)
    assert gradient.tolist() == [[0, 0.5, 0], [0.5, 0.5, 0.5]]


def test_kingma_holds_the_mean_over_the_batch_at_the_floor():
    # Means .4, 1.45, .7: the first dimension is pressed in no sentence, the third in both.
    value, gradient = value_and_gradient("kingma")
    assert value == pytest.approx(0.5 + 1.45 + 0.7)
    assert gradient.tolist() == [[0, 0.5, 0.5], [0, 0.5, 0.5]]


def test_the_two_forms_differ_in_value_and_gradient_and_agree_far_above_the_floor():
    assert value_and_gradient("kingma")[0] < value_and_gradient("per_dimension")[0]
    high = KL + 1
    for mode in FREE_BITS_MODES:
        value, gradient = value_and_gradient(mode, high)
        assert value == pytest.approx(high.sum(1).mean().item()) and (gradient == 0.5).all()


def test_the_floor_is_in_the_loss_and_the_kl_weight_on_it():
    reconstruction = torch.tensor([10.0, 20.0], dtype=torch.float64)
    loss = negative_elbo(reconstruction, KL.sum(1), KL, kl_weight=0.5, free_bits=THRESHOLD, free_bits_mode="per_dimension")
    assert loss.item() == pytest.approx(15 + 0.5 * (0.5 + 0.9 + 0.5 + 0.6 + 2.0 + 1.2) / 2)
    assert negative_elbo(reconstruction, KL.sum(1)).item() == pytest.approx(15 + KL.sum(1).mean().item())


def test_refusals():
    with pytest.raises(ValueError, match="Unknown free_bits_mode 'total': choose one of 'none', 'per_dimension', 'kingma'"):
        free_bits_kl(KL, 0.5, "total")
    with pytest.raises(ValueError, match="needs a KL per dimension"):
        negative_elbo(torch.ones(2), torch.ones(2), free_bits=0.5, free_bits_mode="kingma")


ONE_OF_TWO = """
import os, sys, torch
from hf_lvm.objectives import free_bits_kl
torch.distributed.init_process_group("gloo")
rank = int(os.environ["RANK"])
weight = torch.tensor([[0.2, 0.9, 0.2], [0.6, 2.0, 1.2]], dtype=torch.float64)[rank : rank + 1].requires_grad_()
value = free_bits_kl(weight, 0.5, "kingma").mean()
value.backward()
torch.save({"value": value.item(), "gradient": weight.grad}, sys.argv[1] + f"/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_kingma_over_two_processes_is_that_of_their_common_batch(tmp_path):
    script = tmp_path / "one_of_two.py"
    script.write_text(ONE_OF_TWO)
    start_two([str(script), str(tmp_path)])
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    value, gradient = value_and_gradient("kingma")
    # DistributedDataParallel averages gradients over processes, and each row lives in one of them.
    assert sum(part["value"] for part in parts) / 2 == pytest.approx(value)
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]) / 2, gradient)
