import pytest
import torch

from hf_lvm.backbones.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_zeros_are_as_frequent_as_asked_and_the_mean_stays(p):
    torch.manual_seed(0)
    inputs = torch.ones(400, 500, requires_grad=True)
    outputs = Dropout(p)(inputs)
    zeros = (outputs == 0).float()
    assert zeros.mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / zeros.numel()) ** 0.5)
    assert outputs.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
    # Neighbours in a row and in a column are dropped independently.
    for shifted in (zeros[1:] * zeros[:-1], zeros[:, 1:] * zeros[:, :-1]):
        assert shifted.mean().item() == pytest.approx(p * p, abs=0.005)
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad, outputs.detach())


def test_it_does_nothing_in_evaluation_or_at_rate_0_and_keeps_the_dtype():
    inputs = torch.randn(3, 4, dtype=torch.bfloat16)
    assert Dropout(0.5).eval()(inputs) is inputs
    assert torch.equal(Dropout(0.0).train()(inputs), inputs)
    assert Dropout(0.5).train()(inputs).dtype == torch.bfloat16
    torch.manual_seed(1)
    one = Dropout(0.5)(inputs)
    torch.manual_seed(1)
    assert torch.equal(one, Dropout(0.5)(inputs))
