"""An LSTM layer with frozen weights against torch's own: states and gradients, once and twice, and what they cost."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hf_lvm.backbones.lstm import LSTM
from hf_lvm.backbones.recurrence import run_lstm

BATCH, LENGTH, INPUT, CONDITION, HIDDEN = 3, 5, 4, 2, 6
NAMES = ("inputs", "condition", "hidden", "cell")


def layer(dtype: torch.dtype = torch.float64, frozen: bool = True) -> LSTM:
    torch.manual_seed(0)
    return LSTM(INPUT + CONDITION, HIDDEN).to(dtype).requires_grad_(not frozen)


def given(dtype: torch.dtype = torch.float64, taken: tuple[str, ...] = NAMES, places: int = 1) -> list[torch.Tensor]:
    """Inputs, a condition for one or all places, and the two parts of a state, some of which take a gradient."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(BATCH, LENGTH, INPUT), (BATCH, places, CONDITION), (1, BATCH, HIDDEN), (1, BATCH, HIDDEN)]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    return [tensor.requires_grad_(name in taken) for name, tensor in zip(NAMES, tensors, strict=True)]


def flat(result) -> list[torch.Tensor]:
    outputs, state = result
    return [outputs, *state]


def ours(lstm: LSTM, inputs, condition, hidden, cell) -> list[torch.Tensor]:
    result = flat(run_lstm(lstm, inputs, (hidden, cell), condition))
    assert "_FrozenLSTMBackward" in {type(node).__name__ for node in nodes(result[0].grad_fn)}
    return result


def torchs(lstm: LSTM, inputs, condition, hidden, cell) -> list[torch.Tensor]:
    return flat(nn.LSTM.forward(lstm, torch.cat([inputs, condition.expand(-1, LENGTH, -1)], -1), (hidden, cell)))


def nodes(node):
    if node is not None:
        yield node
        for following, _ in node.next_functions:
            yield from nodes(following)


def weighed(results: list[torch.Tensor]) -> torch.Tensor:
    """Outputs and both states, each entry with a weight of its own."""
    generator = torch.Generator().manual_seed(2)
    return sum(
        (torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part.dtype) * part).sum() for part in results
    )


@pytest.mark.parametrize("places", [1, LENGTH])
@pytest.mark.parametrize(
    "taken", [names for size in range(1, 5) for names in itertools.combinations(NAMES, size)], ids="-".join
)
def test_states_and_gradients_are_those_of_torch(taken, places):
    found = []
    for run in (ours, torchs):
        tensors = given(taken=taken, places=places)
        results = run(layer(), *tensors)
        found.append([*results, *torch.autograd.grad(weighed(results), [part for part in tensors if part.requires_grad])])
    torch.testing.assert_close(*found, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("one_dnn", [True, False])
def test_float32_agrees_with_the_fused_kernel(monkeypatch, one_dnn):
    found = []
    for run in (torchs, ours):
        tensors = given(torch.float32)
        results = run(layer(torch.float32), *tensors)
        found.append([*results, *torch.autograd.grad(weighed(results), tensors)])
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", one_dnn)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


def test_layers_on_top_of_each_other_and_no_state():
    torch.manual_seed(0)
    layers = [LSTM(INPUT, HIDDEN).double().requires_grad_(False), LSTM(HIDDEN, HIDDEN).double().requires_grad_(False)]
    found = []
    for forward in (LSTM.forward, nn.LSTM.forward):
        inputs = given()[0]
        outputs = inputs
        for lstm in layers:
            outputs, state = forward(lstm, outputs)
        found.append([outputs, *state, *torch.autograd.grad(weighed([outputs, *state]), inputs)])
    torch.testing.assert_close(*found, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_second_derivatives_are_those_of_torch(dtype):
    """Of a state whose two parts depend on each other, as they do in the decoder, and on what the condition is made of."""
    found = []
    for run in (ours, torchs):
        inputs, condition, _, latents = given(dtype, taken=("inputs", "cell"))
        cell = latents.sin()
        condition = condition + cell[0, :, None, :CONDITION]
        results = run(layer(dtype), inputs, condition, cell.tanh(), cell)
        first = torch.autograd.grad(weighed(results).square(), (inputs, latents), create_graph=True)
        second = torch.autograd.grad(weighed(list(first)).square(), (inputs, latents), create_graph=True)
        found.append([*first, *second, *torch.autograd.grad(weighed(list(second)), (inputs, latents))])
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(*found, **tolerance)


def test_a_backward_pass_can_be_repeated_and_reaches_no_weight_that_was_frozen():
    lstm, tensors = layer(), given()
    loss = weighed(ours(lstm, *tensors))
    lstm.requires_grad_(True)
    once, again = (torch.autograd.grad(loss, tensors, retain_graph=True) for _ in range(2))
    torch.testing.assert_close(once, again, rtol=0.0, atol=0.0)
    weighed(list(torch.autograd.grad(loss, tensors, create_graph=True))).backward()
    assert all(weight.grad is None for weight in lstm.parameters())
    assert all(part.grad is not None for part in tensors)


def test_autocast_leaves_both_passes_in_the_precision_of_the_weights():
    found = []
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            tensors = given(torch.float32)
            results = ours(layer(torch.float32), *tensors)
            found.append([*results, *torch.autograd.grad(weighed(results), tensors)])
        assert {part.dtype for part in found[-1]} == {torch.float32}
    torch.testing.assert_close(*found, rtol=0.0, atol=0.0)


def test_only_the_products_for_inputs_that_take_a_gradient(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # whose products are not counted
    recurrent = 2 * LENGTH * BATCH * 4 * HIDDEN * HIDDEN
    of_inputs = 2 * LENGTH * BATCH * 4 * HIDDEN * INPUT
    of_condition = 2 * BATCH * 4 * HIDDEN * CONDITION
    forward = recurrent + of_inputs + of_condition
    for taken, backward in ((NAMES, forward), (NAMES[1:], recurrent + of_condition), (("cell",), recurrent)):
        tensors = given(torch.float32, taken)
        with FlopCounterMode(display=False) as counter:
            loss = weighed(ours(layer(torch.float32), *tensors))
            assert counter.get_total_flops() == forward
            loss.backward()
        assert counter.get_total_flops() == forward + backward


@pytest.mark.parametrize("why", ["weights that train", "no gradient", "nothing takes one", "bfloat16", "packed"])
def test_otherwise_it_is_the_lstm_of_torch(monkeypatch, why):
    monkeypatch.setattr("hf_lvm.backbones.lstm._frozen_lstm", None)
    dtype = torch.bfloat16 if why == "bfloat16" else torch.float32
    lstm = layer(dtype, frozen=why != "weights that train")
    inputs, condition, *state = given(dtype, () if why == "nothing takes one" else NAMES)
    with torch.set_grad_enabled(why != "no gradient"):
        if why == "packed":
            inputs = torch.cat([inputs, condition.expand(-1, LENGTH, -1)], -1)
            packed = nn.utils.rnn.pack_padded_sequence(inputs, torch.full((BATCH,), LENGTH), batch_first=True)
            outputs = nn.utils.rnn.pad_packed_sequence(lstm(packed, state)[0], batch_first=True)[0]
        else:
            outputs = lstm(inputs, tuple(state), condition)[0]
    assert outputs.shape == (BATCH, LENGTH, HIDDEN)


def test_wrong_sizes_are_refused():
    inputs, condition, hidden, cell = given()
    with pytest.raises(RuntimeError, match="split"):
        layer()(inputs, (hidden, cell))
    with pytest.raises(RuntimeError, match="shape"):
        layer()(inputs, (hidden[:, :1], cell[:, :1]), condition)
