"""-log p of sentences against torch's own cross-entropy, with its gradient and the gradient of that."""

import pytest
import torch
from torch.nn import functional

from hf_lvm.objectives.likelihood import biased_sentence_nll, sentence_nll, shift_right

LABELS = torch.tensor([[4, 2, 0, 1], [3, 1, -100, -100]])


def random_logits(dtype=torch.float64) -> torch.Tensor:
    return torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul(3).to(dtype)


def reference(logits: torch.Tensor) -> torch.Tensor:
    nll = functional.cross_entropy(logits.flatten(0, 1), LABELS.flatten(), ignore_index=-100, reduction="none")
    return nll.view_as(LABELS).sum(-1)


def test_value_and_gradient_are_those_of_cross_entropy():
    results = []
    for function in (reference, lambda logits: sentence_nll(logits, LABELS)):
        logits = random_logits().requires_grad_()
        value = function(logits)
        (gradient,) = torch.autograd.grad((value * torch.tensor([0.3, -2.0])).sum(), logits)
        results.append((value.detach(), gradient))
    torch.testing.assert_close(results[0], results[1])


def test_it_can_be_differentiated_twice():
    logits = random_logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: sentence_nll(logits, LABELS), (logits,))
    assert torch.autograd.gradgradcheck(lambda logits: sentence_nll(logits, LABELS), (logits,))


def test_a_graph_that_is_kept_gives_the_same_gradient_again():
    logits = random_logits().requires_grad_()
    value = sentence_nll(logits, LABELS).sum()
    first, second = (torch.autograd.grad(value, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_logits_are_summed_in_float32(dtype):
    logits = random_logits(dtype).requires_grad_()
    nll = sentence_nll(logits, LABELS)
    assert nll.dtype == torch.float32
    torch.testing.assert_close(nll, reference(logits.detach().float()))
    nll.sum().backward()
    assert logits.grad.dtype == dtype
    exact = logits.detach().float().requires_grad_()
    reference(exact).sum().backward()
    torch.testing.assert_close(logits.grad.float(), exact.grad, rtol=1e-2, atol=1e-2)


def test_padding_costs_nothing_and_moves_nothing():
    logits = random_logits().requires_grad_()
    sentence_nll(logits, LABELS).sum().backward()
    assert not logits.grad[1, 2:].any() and logits.grad[1, :2].all()
    nothing = torch.full((1, 3), -100)
    assert sentence_nll(random_logits()[:1, :3], nothing).tolist() == [0.0]


def test_what_the_decoder_reads():
    assert shift_right(LABELS, 9, 7).tolist() == [[9, 4, 2, 0], [9, 3, 1, 7]]
    assert shift_right(LABELS, 9).tolist() == [[9, 4, 2, 0], [9, 3, 1, 9]]
    with pytest.raises(ValueError, match="on the right only"):
        shift_right(torch.tensor([[-100, 3]]), 9)


def random_biases(rows: int, count: int = 3, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(count, rows, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scale


@pytest.mark.parametrize("rows", [1, 2], ids=["shared", "of each sentence"])
@pytest.mark.parametrize("scale", [2.0, 3000.0], ids=["usual", "extreme"])
def test_biases_on_logits_computed_at_once_are_those_added_one_by_one(rows, scale):
    results = []
    for at_once in (True, False):
        logits, biases = random_logits().requires_grad_(), random_biases(rows, scale=scale).requires_grad_()
        if at_once:
            value = biased_sentence_nll(logits, biases, LABELS)
        else:
            value = torch.stack([sentence_nll(logits + bias.unsqueeze(1), LABELS) for bias in biases])
        weights = torch.linspace(-1, 1, value.numel(), dtype=value.dtype).view_as(value)
        results.append((value.detach(), *torch.autograd.grad((value * weights).sum(), (logits, biases))))
    assert results[0][0].shape == (3, 2)
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("rows", [1, 2])
def test_sentences_under_biases_can_be_differentiated_twice(rows):
    inputs = (random_logits().requires_grad_(), random_biases(rows).requires_grad_())
    assert torch.autograd.gradcheck(lambda logits, biases: biased_sentence_nll(logits, biases, LABELS), inputs)
    assert torch.autograd.gradgradcheck(lambda logits, biases: biased_sentence_nll(logits, biases, LABELS), inputs)


def test_biases_on_low_precision_logits_are_summed_in_float32():
    logits, biases = random_logits(torch.bfloat16), random_biases(1)
    with torch.autocast("cpu", torch.bfloat16):
        nll = biased_sentence_nll(logits, biases, LABELS)
    assert nll.dtype == torch.float32
    expected = torch.stack([reference(logits.double() + bias.unsqueeze(1)) for bias in biases])
    torch.testing.assert_close(nll.double(), expected, rtol=1e-5, atol=1e-5)
