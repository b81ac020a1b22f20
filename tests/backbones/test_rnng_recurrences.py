"""Gradients written out by hand against autograd: of the normalisers, block by block, and of all of it under autocast."""

import pytest
import torch

from hf_lvm.backbones.rnng_decoder import normalizers
from tests.backbones.test_rnng_decoder import random_words, tiny
from tests.grammars.test_shift_reduce import trees_of


@pytest.mark.parametrize("block_bytes", [1, 3 * 5 * 8, 2**20])
def test_normalizers_are_those_of_all_logits(block_bytes, monkeypatch):
    monkeypatch.setattr(normalizers, "BLOCK_BYTES", block_bytes)
    generator = torch.Generator().manual_seed(0)
    shapes = ((7, 4), (5, 4), (5,))
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    bias = inputs[2].masked_fill(torch.arange(5) == 2, -torch.inf)
    found, expected = normalizers.log_normalizers(*inputs[:2], bias), (inputs[0] @ inputs[1].T + bias).logsumexp(1)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)
    weights = torch.randn(7, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        *(torch.autograd.grad(weights @ value, inputs, retain_graph=True) for value in (found, expected)), rtol=0.0, atol=1e-12
    )


def test_gradients_under_autocast_are_close_to_those_without():
    model, words, spans = tiny().float(), random_words(2, 4), trees_of(4, 3, count=5, size=4).view(5, 2, 4, 4)
    exact = torch.autograd.grad(model(words, spans).log_prob.mean(), list(model.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(words, spans).log_prob.mean()
    rounded = torch.autograd.grad(loss, list(model.parameters()))
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == torch.float32 and (one - other).norm() < 0.03 * other.norm()
