"""The two recurrences of a recurrent neural network grammar over all levels at once, with their gradients written out.

What autograd would make of a loop over levels is slow: every level would copy what was computed before it, and the gradients
of the weights would be a small product for each level where they are one large product for all. The cells are those of
`hf_lvm.backbones.rnng_decoder.cells`, whose autograd the tests compare with.
"""

from collections.abc import Sequence

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hf_lvm.backbones.rnng_decoder.cells import StackCell, TreeCell, at_least_float32


def compose(cell: TreeCell, words: torch.Tensor, levels: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """A vector for each constituent, (U, H), from those of the words (W, H).

    Args:
        levels: for each height from 1 on the numbers of the left and of the right parts; what they make up has the numbers
            that follow, the words having the first ones.
    """
    if not levels:
        return words
    pairs = [torch.stack(level, dim=1).flatten() for level in levels]
    return _Compose.apply(words, cell.gates.weight, cell.gates.bias, pairs)


def read_stacks(cell: StackCell, gates: torch.Tensor, below: Sequence[torch.Tensor]) -> torch.Tensor:
    """States of a layer after all stacks, (S, H), size by size.

    Args:
        gates: (S, 4H), what the layer makes of its inputs, the first one for the empty stack.
        below: for each size from 1 on the numbers of the stacks without their top, which are one smaller.
    """
    # A state is multiplied once, however many stacks grow from it, and not at all if none does.
    return _ReadStacks.apply(gates, cell.recurrent.weight, [(each, *each.unique(return_inverse=True)) for each in below])


class _Compose(torch.autograd.Function):
    @staticmethod
    def forward(ctx, words, weight, bias, pairs):
        num_words, size = words.shape
        made = sum(map(len, pairs)) // 2
        words = at_least_float32(words)
        hidden, cell = words.new_empty(num_words + made, size), words.new_zeros(num_words + made, size)
        hidden[:num_words] = words
        active, squashed = words.new_empty(made, 5 * size), words.new_empty(made, size)
        begin = 0
        for pair in pairs:
            here = slice(begin, begin := begin + len(pair) // 2)
            gates = functional.linear(hidden.index_select(0, pair).view(-1, 2 * size), weight, bias)
            there = slice(num_words + here.start, num_words + here.stop)
            before = cell.index_select(0, pair).view(-1, 2, size)
            _gated(gates, before, active[here], squashed[here], cell[there], hidden[there])
        ctx.save_for_backward(weight, hidden, cell, active, squashed, *pairs)
        ctx.product_type = gates.dtype
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        weight, hidden, cell, active, squashed, *pairs = ctx.saved_tensors
        num_words, size = len(hidden) - len(active), hidden.shape[1]
        every = torch.cat(pairs)
        of_hidden, of_cell, of_gates = gradient.clone(), torch.zeros_like(cell), torch.empty_like(active)
        end = len(active)
        for pair in reversed(pairs):
            here = slice(end - len(pair) // 2, end)
            there = slice(num_words + here.start, num_words + here.stop)
            before = cell.index_select(0, pair).view(-1, 2, size)
            of_before = _gated_gradient(of_hidden[there], of_cell[there], active[here], squashed[here], before, of_gates[here])
            of_cell.index_add_(0, pair, of_before.view(-1, size))
            of_hidden.index_add_(0, pair, _product(of_gates[here], weight, ctx.product_type).view(-1, size))
            end = here.start
        inputs = hidden.index_select(0, every).view(-1, 2 * size)
        return of_hidden[:num_words], _product(of_gates.t(), inputs, ctx.product_type), of_gates.sum(0), None


class _ReadStacks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gates, weight, levels):
        size = gates.shape[1] // 4
        gates = at_least_float32(gates)
        hidden, cell, squashed = (gates.new_empty(len(gates), size) for _ in range(3))
        active = torch.empty_like(gates)
        ctx.product_type, begin = gates.dtype, 1
        _gated(gates[:1], gates.new_zeros(1, 1, size), active[:1], squashed[:1], cell[:1], hidden[:1])
        for below, growing, which in levels:
            here = slice(begin, begin := begin + len(below))
            recurrent = functional.linear(hidden.index_select(0, growing), weight)
            ctx.product_type = recurrent.dtype
            inputs = gates[here] + recurrent.index_select(0, which)
            before = cell.index_select(0, below).unsqueeze(1)
            _gated(inputs, before, active[here], squashed[here], cell[here], hidden[here])
        ctx.save_for_backward(weight, hidden, cell, active, squashed, *(each for level in levels for each in level))
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        weight, hidden, cell, active, squashed, *flat = ctx.saved_tensors
        levels = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        of_hidden, of_cell, of_gates = gradient.clone(), torch.zeros_like(cell), torch.empty_like(active)
        of_recurrent, end = [], len(active)
        for below, growing, which in reversed(levels):
            here = slice(end - len(below), end)
            before = cell.index_select(0, below).unsqueeze(1)
            of_before = _gated_gradient(of_hidden[here], of_cell[here], active[here], squashed[here], before, of_gates[here])
            of_cell.index_add_(0, below, of_before.squeeze(1))
            of_recurrent.append(active.new_zeros(len(growing), active.shape[1]).index_add_(0, which, of_gates[here]))
            of_hidden.index_add_(0, growing, _product(of_recurrent[-1], weight, ctx.product_type))
            end = here.start
        before = cell.new_zeros(1, 1, cell.shape[1])
        _gated_gradient(of_hidden[:1], of_cell[:1], active[:1], squashed[:1], before, of_gates[:1])
        inputs = hidden.index_select(0, torch.cat(flat[1::3][::-1]))
        return of_gates, _product(torch.cat(of_recurrent).t(), inputs, ctx.product_type), None


def _gated(
    gates: torch.Tensor,
    before: torch.Tensor,
    active: torch.Tensor,
    squashed: torch.Tensor,
    cell: torch.Tensor,
    hidden: torch.Tensor,
) -> None:
    """The next states of an LSTM with k cell states before it: (N, k, H).

    Args:
        gates: (N, (3 + k) H), before their activations: input, k times forget, output, and what is put in.
        active, squashed, cell, hidden: written to: the activations of the gates, the hyperbolic tangent of the new cell state,
            this state, and the new hidden state.
    """
    size, gates = cell.shape[1], at_least_float32(gates)
    torch.sigmoid(gates[:, :-size], out=active[:, :-size])
    torch.tanh(gates[:, -size:], out=active[:, -size:])
    i, *forget, o, g = active.split(size, dim=1)
    torch.mul(i, g, out=cell)
    for kept, state in zip(forget, before.unbind(1), strict=True):
        cell.addcmul_(kept, state)
    torch.tanh(cell, out=squashed)
    torch.mul(o, squashed, out=hidden)


def _gated_gradient(
    of_hidden: torch.Tensor,
    of_cell: torch.Tensor,
    active: torch.Tensor,
    squashed: torch.Tensor,
    before: torch.Tensor,
    of_gates: torch.Tensor,
) -> torch.Tensor:
    """The gradient in the cell states before, (N, k, H), from those in the new states of `_gated`, (N, H) each; that in the
    gates before their activations is written to `of_gates`, (N, (3 + k) H)."""
    size = squashed.shape[1]
    gates, (i, *_, o, g) = active[:, :-size], active.split(size, dim=1)
    of_cell = torch.addcmul(of_cell, of_hidden, torch.addcmul(o, o * squashed, squashed, value=-1))
    # The slopes of the activations: s (1 - s) and 1 - t^2.
    torch.addcmul(gates, gates, gates, value=-1, out=of_gates[:, :-size])
    torch.addcmul(i, i * g, g, value=-1, out=of_gates[:, -size:])
    of_parts = of_gates.unflatten(1, (-1, size))
    of_parts[:, 0] *= g
    of_parts[:, 1:-2] *= before
    of_parts[:, -2] *= squashed * of_hidden
    of_parts[:, :-2] *= of_cell.unsqueeze(1)
    of_parts[:, -1] *= of_cell
    return active.view_as(of_parts)[:, 1:-2] * of_cell.unsqueeze(1)


def _product(left: torch.Tensor, right: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A product of as few bits as those that autocast chose on the way forward."""
    return (left.to(dtype) @ right.to(dtype)).to(left.dtype)
