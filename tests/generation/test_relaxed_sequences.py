"""Relaxed sequences against enumeration, finite differences, and a loop over whole prefixes without a cache."""

import pytest
import torch
from scipy.stats import chi2
from transformers import AutoModel, AutoModelForSeq2SeqLM

from hf_lvm.distributions.noise import as_gumbel, noise_of_positions
from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.relaxed_sequences import (
    attention_bias,
    embed_sequences,
    end_weights,
    reading_weights,
    relaxed_sequences,
)
from hf_lvm.generation.symbol_sequences import SymbolSequences
from tests.generation.decoders import (
    FAMILIES,
    RULES,
    WHOLE,
    all_sequences,
    embedding_layer,
    inputs_of,
    logits_without_cache,
    tiny_decoder,
    tiny_model,
)
from tests.tiny_parts import END, row_generators, tiny_config

SAMPLES, BATCH, VOCABULARY, LENGTH = 2, 2, 7, 4


def without_cache(model, given, temperature, straight_through):
    """The same points (K, B, T, V) under `RULES`, every step from one pass over the whole prefix."""
    gumbel = as_gumbel(noise_of_positions((SAMPLES,), BATCH, LENGTH * VOCABULARY, row_generators(BATCH)))
    gumbel = gumbel.view(SAMPLES, BATCH, LENGTH, VOCABULARY)
    table = embedding_layer(model)(torch.arange(VOCABULARY))
    samples = []
    for noise in gumbel:
        points = []
        for step in range(LENGTH):
            embeds = torch.stack(points, dim=1) @ table if points else table.new_zeros(BATCH, 0, table.shape[1])
            scores = logits_without_cache(model, given, embeds=embeds)[:, -1] / RULES["temperature"]
            scores[:, RULES["forbidden"]] = -torch.inf
            if step < RULES["min_length"]:
                scores[:, END] = -torch.inf
            soft = ((scores.log_softmax(-1) + noise[:, step]) / temperature).softmax(-1)
            hard = torch.nn.functional.one_hot(soft.argmax(-1), VOCABULARY)
            points.append(hard + (soft - soft.detach()) if straight_through else soft)
        last = torch.zeros_like(points[0])
        last[:, END] = 1.0
        samples.append(torch.stack([*points, last], dim=1))
    return torch.stack(samples)


def loss_of(points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Some loss of points and ends that is linear in neither."""
    numbers = torch.linspace(-1.0, 2.0, points.shape[-1], dtype=points.dtype)
    of_positions = torch.linspace(0.5, 1.5, points.shape[-2], dtype=points.dtype)
    running = ((points @ numbers) * of_positions).cumsum(-1)
    return ((running**2 + running) * weights).sum()


# ---- one loop ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_points_and_gradients_are_those_without_a_cache(family, straight_through):
    model = tiny_model(family)
    given = inputs_of(family, model)
    q = SymbolSequences(CachedDecoder(model, **given), END, LENGTH, **RULES)
    relaxed = relaxed_sequences(q, 0.8, (SAMPLES,), row_generators(BATCH), straight_through)
    expected = without_cache(model, given, 0.8, straight_through)
    assert relaxed.points.shape == (SAMPLES, BATCH, LENGTH + 1, VOCABULARY)
    # The norms of Llama and T5 are float32 inside, whatever the model is.
    tolerance = 1e-5 if family.startswith(("llama", "t5")) else 1e-9
    torch.testing.assert_close(relaxed.points, expected, rtol=0.0, atol=tolerance)
    assert (relaxed.points[..., 0] == 0).all() and (relaxed.points[:, :, 0, END] == 0).all()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradient = torch.autograd.grad(loss_of(relaxed.points, relaxed.end_weights), parameters, allow_unused=True)
    wanted = torch.autograd.grad(loss_of(expected, end_weights(expected[..., END])), parameters, allow_unused=True)
    for computed, right in zip(gradient, wanted, strict=True):
        assert (computed is None) == (right is None)
        if right is not None:
            torch.testing.assert_close(computed, right, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_is_that_of_finite_differences(family):
    """Along one direction of all weights, and one of what the decoder attends to or is conditioned on."""
    model = tiny_model(family)
    given = inputs_of(family, model)
    source = given.get("conditions", given)
    name = "input_condition" if "conditions" in given else "encoder_hidden_states"

    def loss() -> torch.Tensor:
        q = SymbolSequences(CachedDecoder(model, **given), END, LENGTH, **RULES)
        relaxed = relaxed_sequences(q, 0.8, (SAMPLES,), row_generators(BATCH))
        return loss_of(relaxed.points, relaxed.end_weights)

    moved = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [moved]
    if name in source:
        source[name].requires_grad_()
        groups.append([source[name]])
    generator = torch.Generator().manual_seed(3)
    # What is float32 inside needs a larger step.
    step, tolerance = (1e-3, 2e-3) if family.startswith(("llama", "t5")) else (1e-5, 1e-7)
    for tensors in groups:
        gradients = torch.autograd.grad(loss(), tensors, allow_unused=True)
        directions = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in tensors]
        scale = sum((direction**2).sum() for direction in directions).sqrt()
        slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True) if g is not None) / scale
        values = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                for tensor, direction in zip(tensors, directions, strict=True):
                    tensor.add_(sign * step * direction / scale)
                values.append(loss().item())
        assert abs(slope) > 1e-3
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope.item(), rel=tolerance)


# ---- ends --------------------------------------------------------------------------------------------------------------


def test_weights_of_ends_are_the_probabilities_of_coins():
    ends = torch.tensor([[0.2, 0.5, 0.9, 0.3], [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.5, 1.0]], dtype=torch.float64)
    weights = end_weights(ends.requires_grad_())
    expected = [[0.2, 0.4, 0.36, 0.04], [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, dtype=torch.float64), rtol=0.0, atol=1e-15)
    assert torch.autograd.gradcheck(end_weights, ends)
    read = [[1.0, 0.8, 0.4, 0.04], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]
    torch.testing.assert_close(reading_weights(weights), torch.tensor(read, dtype=torch.float64))
    inside = [[0.8, 0.4, 0.04, 0.0], [1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(reading_weights(weights, with_end=False), torch.tensor(inside, dtype=torch.float64))


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_soft_points_are_inside_simplices_and_ends_sum_to_one(family):
    q = SymbolSequences(tiny_decoder(family), END, 5)
    for temperature in (0.01, 1.0, 10.0):
        relaxed = relaxed_sequences(q, temperature, (3, 2))
        assert relaxed.points.shape == (3, 2, 2, 6, 7) and relaxed.log_probs.shape == (3, 2, 2, 5, 7)
        ones = torch.ones(3, 2, 2, dtype=torch.float64)
        torch.testing.assert_close(relaxed.end_weights.sum(-1), ones, rtol=0.0, atol=1e-12)
        torch.testing.assert_close(relaxed.points.sum(-1), ones.unsqueeze(-1).expand(-1, -1, -1, 6), rtol=0.0, atol=1e-12)
        assert (relaxed.points >= 0).all() and (relaxed.points[..., -1, END] == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_straight_through_points_are_corners_to_the_last_bit(dtype):
    q = SymbolSequences(tiny_decoder("gpt2", dtype=dtype), END, 5)
    points, weights, log_probs = relaxed_sequences(q, 1.3, (50,), straight_through=True)
    assert points.dtype == dtype and points.requires_grad
    assert ((points == 0) | (points == 1)).all() and (points.sum(-1) == 1).all()
    values = points.argmax(-1)
    assert torch.equal(weights.argmax(-1), q.lengths(values)) and (weights.sum(-1) == 1).all()
    # The steps' own log-probabilities make log q.
    chosen = log_probs.gather(-1, values[..., :-1, None]).squeeze(-1) * reading_weights(weights)[..., :-1]
    torch.testing.assert_close(chosen.sum(-1), q.log_prob(values), rtol=0.0, atol=1e-5 if dtype == torch.float32 else 1e-9)


# ---- samples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1e-3, 1.0])
@pytest.mark.parametrize(("family", "rules"), [("gpt2", {}), ("lstm", RULES), ("bart", RULES)])
def test_corners_come_as_often_as_sequences_should(family, rules, temperature):
    """At every temperature; at a low one soft points are such corners too."""
    q = SymbolSequences(tiny_decoder(family, vocabulary=4 if rules else 3), END, 3, pad_token_id=END, **rules)
    values, draws = all_sequences(q, 4 if rules else 3), 2000
    with torch.no_grad():
        probs = q.log_prob(values.unsqueeze(1).expand(-1, 2, -1)).exp()
        points = relaxed_sequences(q, temperature, (draws,), torch.Generator().manual_seed(1), True).points
        if temperature < 0.1:
            soft = relaxed_sequences(q, temperature, (draws,), torch.Generator().manual_seed(1)).points
            assert ((soft - points).abs().amax((-1, -2)) > 0.1).double().mean() < 0.02
    samples = points.argmax(-1)
    samples = samples.masked_fill((samples == END).cumsum(-1) > 0, END)
    counts = (samples.unsqueeze(1) == values.unsqueeze(1)).all(-1).sum(0).double()
    assert (counts.sum(0) == draws).all()
    for row in range(2):
        often = draws * probs[:, row] >= 5
        observed = torch.cat([counts[often, row], counts[~often, row].sum().view(1)])
        expected = draws * torch.cat([probs[often, row], probs[~often, row].sum().view(1)])
        assert ((observed - expected) ** 2 / expected.clamp(min=1e-9)).sum().item() < chi2.isf(1e-4, int(often.sum()))


def test_steps_make_the_divergence_by_the_chain_rule():
    q, p = (SymbolSequences(tiny_decoder(family, vocabulary=3), END, 3) for family in ("gpt2", "lstm"))
    values = all_sequences(q, 3).unsqueeze(1).expand(-1, 2, -1)
    with torch.no_grad():
        log_q, log_p = q.log_prob(values), p.log_prob(values)
        points, weights, of_q = relaxed_sequences(q, 1.0, (3000,), torch.Generator().manual_seed(2), True)
        states = p.decoder.begin().repeat(3000)
        logits, _ = p.decoder.advance_points(states, points[..., :2, :].transpose(0, 1).flatten(0, 1))
        of_p = torch.cat([states.logits.unsqueeze(1), logits], dim=1).log_softmax(-1).unflatten(0, (2, 3000)).transpose(0, 1)
    exact = (log_q.exp() * (log_q - log_p)).sum(0)
    steps = (of_q.exp() * (of_q - of_p)).sum(-1)
    samples = (steps * reading_weights(weights)[..., :3]).sum(-1)
    assert ((samples.mean(0) - exact).abs() < 4 * samples.std(0) / 3000**0.5).all()
    assert (samples.std(0) / 3000**0.5 < 0.02 * exact).all()


def test_the_bias_of_both_gradients():
    """Against the exact gradient of the mean loss of discrete sequences, over enumerated ones."""
    q = SymbolSequences(tiny_decoder("gpt2", batch=1, vocabulary=3), END, 2)
    weight = q.decoder.decoder.lm_head.weight
    values = all_sequences(q, 3)
    corners = torch.nn.functional.one_hot(values, 3).double()

    def losses(points: torch.Tensor) -> torch.Tensor:
        scores = (points @ torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)).cumsum(-1)
        return (scores * end_weights(points[..., END])).sum(-1)

    probs = q.log_prob(values.unsqueeze(1)).exp().squeeze(1)
    value = (probs * losses(corners)).sum()
    exact = torch.autograd.grad(value, weight)[0]

    def estimate(temperature: float, straight_through: bool) -> tuple[float, float]:
        """The mean loss, and how far the mean gradient is from the exact one, relative to its norm."""
        generator = torch.Generator().manual_seed(0)
        loss = losses(relaxed_sequences(q, temperature, (5000,), generator, straight_through).points).mean()
        gradient = torch.autograd.grad(loss, weight)[0]
        return loss.item(), ((gradient - exact).norm() / exact.norm()).item()

    # The value of corners is that of the discrete objective at every temperature, that of soft points at none.
    (soft, soft_error), (hard, hard_error) = estimate(2.0, False), estimate(2.0, True)
    assert abs(hard - value) < 0.03 < 0.05 < abs(soft - value) and min(soft_error, hard_error) > 0.3
    # At a low temperature little is left of either bias.
    (soft, soft_error), (hard, hard_error) = estimate(0.2, False), estimate(0.2, True)
    assert abs(hard - value) < 0.03 and abs(soft - value) < 0.03 and max(soft_error, hard_error) < 0.1


def test_a_row_alone_and_a_longer_limit_give_the_same_points():
    model = tiny_model("bart")
    together = SymbolSequences(CachedDecoder(model, **inputs_of("bart", model, batch=4)), END, 4)
    alone = SymbolSequences(CachedDecoder(model, **inputs_of("bart", model, batch=1)), END, 4)
    points = relaxed_sequences(together, 0.5, (3,), row_generators(4)).points
    single = relaxed_sequences(alone, 0.5, (3,), row_generators(1)).points
    torch.testing.assert_close(single, points[:, :1], rtol=0.0, atol=1e-9)
    longer = SymbolSequences(together.decoder, END, 6)
    more = relaxed_sequences(longer, 0.5, (3,), row_generators(4)).points
    torch.testing.assert_close(more[:, :, :4], points[:, :, :4], rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_prompts_and_sources_changes_nothing(side):
    model = tiny_model("t5")
    given = inputs_of("t5", model)
    padded, mask = torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long)
    for index, row in enumerate(([1, 4, 5], [1, 6])):
        place = slice(0, len(row)) if side == "right" else slice(4 - len(row), 4)
        padded[index, place], mask[index, place] = torch.tensor(row), 1
    q = SymbolSequences(CachedDecoder(model, **given | {"prompt": padded, "prompt_mask": mask}), END, 4)
    points = relaxed_sequences(q, 0.5, (2,), row_generators(2)).points
    short = {
        "encoder_hidden_states": given["encoder_hidden_states"][1:, :3],
        "encoder_attention_mask": given["encoder_attention_mask"][1:, :3],
    }
    alone = SymbolSequences(CachedDecoder(model, prompt=torch.tensor([[1, 6]]), **short), END, 4)
    single = relaxed_sequences(alone, 0.5, (2,), [row_generators(2)[1]]).points
    torch.testing.assert_close(single, points[:, 1:], rtol=0.0, atol=1e-6)


def test_each_row_may_have_a_temperature_with_a_gradient():
    q = SymbolSequences(tiny_decoder("gpt2"), END, 3, **RULES)
    temperature = torch.tensor([0.5, 2.0], dtype=torch.float64).view(2, 1, 1).requires_grad_()
    points, weights, _ = relaxed_sequences(q, temperature, (2,), row_generators(2))
    for row, number in enumerate((0.5, 2.0)):
        expected = relaxed_sequences(q, number, (2,), row_generators(2)).points
        torch.testing.assert_close(points[:, row], expected[:, row], rtol=0.0, atol=1e-12)
    (gradient,) = torch.autograd.grad(loss_of(points, weights), temperature)
    step, values = 1e-6, []
    for sign in (1, -1):
        moved = temperature.detach() + sign * step * torch.tensor([1.0, 0.0]).view(2, 1, 1)
        relaxed = relaxed_sequences(q, moved, (2,), row_generators(2))
        values.append(loss_of(relaxed.points, relaxed.end_weights).item())
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradient[0].item(), rel=1e-5)


def test_prompt_and_source_are_read_once_and_each_step_reads_one_point():
    decoder, reads = tiny_decoder("bart"), []

    def note(_, __, inputs):
        reads.append(tuple(inputs.get("decoder_inputs_embeds", inputs.get("decoder_input_ids")).shape[:2]))

    decoder.decoder.register_forward_pre_hook(note, with_kwargs=True)
    relaxed_sequences(SymbolSequences(decoder, END, 5), 1.0, (3,))
    assert reads == [(2, 1), (6, 1), (6, 1), (6, 1), (6, 1)]


# ---- the part that reads them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_end", [True, False])
@pytest.mark.parametrize("family", ["bert", *WHOLE])
def test_an_encoder_reads_corners_as_it_reads_the_sequences(family, with_end):
    q = SymbolSequences(tiny_decoder("gpt2", dtype=torch.float32), END, 4, min_length=1)
    config = tiny_config(family, vocab_size=9)
    if family in WHOLE:
        encoder = AutoModelForSeq2SeqLM.from_config(config).get_encoder().eval()
        layer = encoder.get_input_embeddings()
    else:
        encoder = AutoModel.from_config(config).eval()
        layer = encoder.get_input_embeddings()
    relaxed = relaxed_sequences(q, 0.7, (3,), straight_through=True)
    embeds, weights = (part.flatten(0, 1) for part in embed_sequences(relaxed, layer(torch.arange(9)), with_end))
    states = encoder(inputs_embeds=embeds, attention_mask=attention_bias(weights)).last_hidden_state
    values = relaxed.points.argmax(-1).flatten(0, 1)
    mask = (torch.arange(5) < (q.lengths(values) + with_end).unsqueeze(1)).long()
    assert torch.equal(weights, mask.float())
    expected = encoder(input_ids=values, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(states[mask > 0], expected[mask > 0], rtol=0.0, atol=1e-5)
    # A gradient reaches the ends by way of the weights alone.
    (gradient,) = torch.autograd.grad((states * mask.unsqueeze(-1)).square().sum(), weights)
    assert gradient.isfinite().all() and (gradient[mask > 0] != 0).any()


def test_weights_between_zero_and_one_move_attention_continuously():
    torch.manual_seed(1)
    encoder = AutoModel.from_config(tiny_config("bert")).double().eval()
    embeds = torch.randn(1, 4, 16, dtype=torch.float64)

    def states(weight: float) -> torch.Tensor:
        bias = attention_bias(torch.tensor([[1.0, 1.0, 1.0, weight]], dtype=torch.float64))
        return encoder(inputs_embeds=embeds, attention_mask=bias).last_hidden_state[:, :3].detach()

    assert (states(1.0) - states(0.0)).abs().max() > 1e-3
    torch.testing.assert_close(states(1e-9), states(0.0), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(states(1.0 - 1e-9), states(1.0), rtol=0.0, atol=1e-6)


# ---- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), torch.tensor([1.0, 0.0])])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match="must be positive"):
        relaxed_sequences(SymbolSequences(tiny_decoder("gpt2"), END, 3), temperature)


def test_sizes_that_do_not_go_together_are_refused():
    q = SymbolSequences(tiny_decoder("gpt2"), END, 3)
    with pytest.raises(ValueError, match="one a row, 2 in all"):
        relaxed_sequences(q, torch.ones(3))
    with pytest.raises(ValueError, match="the points have 7 symbols"):
        embed_sequences(relaxed_sequences(q, 1.0), torch.zeros(6, 4))


def test_a_single_position_is_where_everything_ends():
    assert end_weights(torch.tensor([[0.3]])).tolist() == [[1.0]]
