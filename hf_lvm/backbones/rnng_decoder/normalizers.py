"""The normaliser of a softmax over many pieces for many states, whose matrix of logits is gone through as seldom as can be."""

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hf_lvm.backbones.rnng_decoder.cells import at_least_float32

# Logits of so many bytes stay in a core's cache while they are exponentiated and summed.
BLOCK_BYTES = 2**20


def log_normalizers(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """log of the sum of exp over the outputs of a linear layer: (P,) from states (P, H), weight (V, H) and bias (V,).

    An output whose bias is -inf does not count.
    """
    return _LogNormalizers.apply(states, weight, bias)


class _LogNormalizers(torch.autograd.Function):
    """Keeps exp of the logits less their highest, so that the gradients are two products and nothing else of that size."""

    @staticmethod
    def forward(ctx, states, weight, bias):
        rows = len(states) if states.is_cuda else max(1, BLOCK_BYTES // (len(weight) * states.element_size()))
        sums, weights = [], None
        for begin in range(0, len(states), rows):
            here = slice(begin, begin + rows)
            logits = functional.linear(states[here], weight, bias)
            highest = logits.amax(1, keepdim=True)
            if weights is None:
                weights = logits.new_empty(len(states), len(weight))
            torch.exp(logits.sub_(highest), out=weights[here])
            sums.append((highest, weights[here].sum(1, keepdim=True, dtype=at_least_float32(logits[:0]).dtype)))
        highest, total = (torch.cat(each) for each in zip(*sums, strict=True))
        ctx.save_for_backward(states, weight, weights, total)
        return (highest + total.log()).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        states, weight, weights, total = ctx.saved_tensors
        scale = gradient.unsqueeze(1) / total
        of_states = scale * (weights @ weight.to(weights.dtype))
        of_weight, of_bias = (weights.t() @ each.to(weights.dtype) for each in (scale * states, scale))
        return of_states.to(states.dtype), of_weight.to(weight.dtype), of_bias.squeeze(1).to(weight.dtype)
