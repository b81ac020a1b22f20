"""Objectives whatever the shapes, the padding and the weights: exact identities of every bound and schedule."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_lvm.distributions import CategoricalVector, DiagonalGaussian
from hf_lvm.objectives import (
    BATCH_MODES,
    FREE_BITS_MODES,
    KL_SCHEDULES,
    PER_DIMENSION_MODES,
    RowCounts,
    TargetKLController,
    check_classes,
    draw_candidates,
    free_bits_kl,
    have_brackets,
    kl_terms,
    kl_weight,
    marginal_terms,
    negative_elbo,
    refine_gaussian,
    risk,
    select_rows,
    semi_supervised_mean,
)
from hf_lvm.objectives.diagnostics import active_units, batch_mutual_information, joint_mutual_information, mutual_information
from hf_lvm.objectives.likelihood import IGNORED, biased_sentence_nll, sentence_nll, shift_right
from tests.hardening.examples import close, examples
from tests.hardening.test_estimator_properties import numbers

SEED = st.integers(0, 10**6)
SEEDS = st.lists(SEED, min_size=1, max_size=4)
TEXTS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=3)


def labels_of(texts: list[list[int]], extra: int = 0) -> torch.Tensor:
    width = max(map(len, texts)) + extra
    return torch.tensor([text + [IGNORED] * (width - len(text)) for text in texts])


@examples
@given(
    texts=TEXTS, extra=st.integers(0, 3), seed=st.integers(0, 10**6), dtype=st.sampled_from([torch.float64, torch.bfloat16])
)
def test_the_likelihood_of_a_sentence_is_the_sum_of_its_tokens(texts, extra, seed, dtype):
    labels = labels_of(texts, extra)
    logits = numbers([seed], 0, *labels.shape, 5).detach()[0].to(dtype).requires_grad_()
    nll = sentence_nll(logits, labels)
    assert nll.shape == (len(texts),) and nll.dtype == torch.promote_types(dtype, torch.float32)
    log_probs = logits.to(nll.dtype).log_softmax(-1)
    expected = [-sum(log_probs[row, at, token] for at, token in enumerate(text)) for row, text in enumerate(texts)]
    close(nll, torch.stack(expected))
    (gradient,) = torch.autograd.grad(nll.sum(), logits)
    assert gradient.isfinite().all() and (gradient[labels == IGNORED] == 0).all()
    row = len(texts) - 1
    close(sentence_nll(logits[row:, : len(texts[row])], labels[row:, : len(texts[row])])[0], nll[row], 1e-6)
    biases = numbers([seed], 1, 2, len(texts), 5).detach()[0]
    biased = biased_sentence_nll(logits, biases, labels)
    close(biased, torch.stack([sentence_nll(logits + bias.unsqueeze(1), labels) for bias in biases]).to(biased.dtype), 1e-4)
    read = shift_right(labels, 7, 6)
    assert read.shape == labels.shape and (read[:, 0] == 7).all()
    for row, text in enumerate(texts):
        assert read[row, 1 : len(text)].tolist() == text[:-1] and (read[row, len(text) + 1 :] == 6).all()
    with pytest.raises(ValueError, match="padded with -100 on the right"):
        shift_right(torch.tensor([[IGNORED, 3]]), 7)


@pytest.mark.parametrize("mode", FREE_BITS_MODES)
@examples
@given(seeds=SEEDS, threshold=st.floats(0, 2), weight=st.floats(0, 2))
def test_free_bits(mode, seeds, threshold, weight):
    parts = numbers(seeds, 0, 3).detach().abs().requires_grad_()
    kl, held = parts.sum(-1), free_bits_kl(parts, threshold, mode)
    assert held.shape == kl.shape
    close(free_bits_kl(parts, 0.0, mode), kl, 1e-9)
    if mode.endswith("zeroed"):
        assert (held.sum() <= kl.sum() + 1e-9).all()
    else:
        assert held.mean() >= kl.mean() - 1e-9
        assert held.mean() >= threshold * (3 if mode in PER_DIMENSION_MODES else 1) - 1e-9 or mode == "none"
    (gradient,) = torch.autograd.grad(held.sum(), parts)
    assert ((gradient == 0) | (gradient == 1)).all()
    if mode not in BATCH_MODES:
        close(free_bits_kl(parts[-1:], threshold, mode)[0], held[-1], 1e-9)
    close(free_bits_kl(parts.flip(0), threshold, mode).flip(0), held, 1e-9)
    reconstruction = numbers(seeds, 1).detach()
    loss = negative_elbo(reconstruction, kl, parts, kl_weight=weight, free_bits=threshold, free_bits_mode=mode)
    close(loss, reconstruction.mean() + weight * held.mean(), 1e-9)
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="free bits"):
            free_bits_kl(parts, wrong, mode)


@pytest.mark.parametrize("schedule", KL_SCHEDULES)
@examples
@given(
    total=st.integers(1, 60), warmup=st.integers(1, 60), cycles=st.integers(1, 4), ratio=st.floats(0.1, 1),
    ends=st.tuples(st.floats(0, 1), st.floats(0.1, 1)).map(sorted),
)  # fmt: skip
def test_a_kl_weight_stays_between_its_ends(schedule, total, warmup, cycles, ratio, ends):
    start, end = ends[0], max(ends[1], 0.1)
    plan = {"warmup_steps": warmup, "total_steps": max(total, cycles), "cycles": cycles, "cycle_ratio": ratio}
    way = [kl_weight(schedule, step, start=start, end=end, **plan) for step in range(max(total, cycles, warmup) + 2)]
    assert all(start - 1e-12 <= weight <= end + 1e-12 for weight in way)
    assert way[-1] == pytest.approx(end, abs=0.01) or schedule == "sigmoid"
    if not schedule.startswith("cyclical"):
        assert all(later >= earlier - 1e-12 for earlier, later in zip(way, way[1:], strict=False))
    if schedule not in ("constant", "sigmoid"):
        assert way[0] == pytest.approx(start)


@examples
@given(kls=st.lists(st.floats(0, 1e6), min_size=1, max_size=8), target=st.floats(0.1, 50))
def test_a_controller_stays_within_its_ends_and_goes_on_from_its_state(kls, target):
    one, other = (TargetKLController(target, integral_gain=0.01, maximum=2.0) for _ in range(2))
    for kl in kls:
        assert 0 <= one.update(kl) <= 2
        other.load_state_dict(one.state_dict())
        assert (other.weight, other.state_dict()) == (one.weight, one.state_dict())
    before = one.weight
    assert one.update(target * 2) >= before - one.proportional_gain
    with pytest.raises(ValueError, match="diverged"):
        one.update(math.nan)


@examples
@given(seeds=SEEDS, size=st.integers(1, 4), weight=st.floats(0, 2))
def test_a_marginal_likelihood_is_no_less_than_any_bound(seeds, size, weight):
    log_likelihood, scores = numbers(seeds, 0, size).T - 2, numbers(seeds, 1, size).T
    log_prior = scores.log_softmax(0)
    terms = marginal_terms(log_likelihood, log_prior, kl_weight=weight)
    assert (terms.kl >= -1e-9).all()
    close(terms.reconstruction + terms.kl, -(log_likelihood + log_prior).logsumexp(0), 1e-9)
    close(terms.log_posterior.exp().sum(0), torch.ones(len(seeds), dtype=torch.float64), 1e-9)
    q = numbers(seeds, 2, size).T.softmax(0)
    any_bound = (q * (-log_likelihood + weight * (q.log() - log_prior))).sum(0)
    assert (terms.loss <= any_bound + 1e-9).all()
    close(marginal_terms(log_likelihood[:, -1:], log_prior[:, -1:], kl_weight=weight).loss[0], terms.loss[-1], 1e-9)


def test_a_tiny_weight_of_the_divergence_is_none():
    log_likelihood, log_prior = torch.tensor([[-3.0], [-2.0]]), torch.tensor([[0.5], [0.5]]).log()
    least, tiny = (marginal_terms(log_likelihood, log_prior, kl_weight=weight).loss for weight in (0.0, 2e-313))
    assert tiny == least == 2


@examples
@given(seeds=SEEDS, sharpness=st.floats(0.01, 2))
def test_a_risk_lies_between_its_costs(seeds, sharpness):
    q = CategoricalVector(numbers(seeds, 0, 2, 3))
    candidates = draw_candidates(q, 4, torch.Generator().manual_seed(seeds[0]), reference=q.mode)
    weights = candidates.weights(sharpness)
    close(weights.sum(0), torch.ones(len(seeds), dtype=torch.float64), 1e-9)
    assert (weights[candidates.is_repeated()] == 0).all()
    costs = candidates.latents.double().square().sum(-1)  # the same for the same value
    value = risk(candidates, costs, sharpness=sharpness)
    assert ((value >= costs.amin(0) - 1e-9) & (value <= costs.amax(0) + 1e-9)).all()
    close(risk(candidates, costs + 3, sharpness=sharpness), value + 3, 1e-9)


@examples
@given(seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=6), weight=st.floats(0, 2), bits=st.integers(0, 63))
def test_a_semi_supervised_mean_is_made_of_its_parts(seeds, weight, bits):
    losses = numbers(seeds, 0).detach()
    labelled = torch.tensor([bits >> row & 1 == 1 for row in range(len(seeds))])
    whole = semi_supervised_mean(losses, labelled, unlabelled_weight=weight)
    expected = sum(share * losses[rows].mean() for share, rows in ((1, labelled), (weight, ~labelled)) if rows.any())
    close(whole, expected, 1e-9)
    counts = RowCounts(labelled=int(labelled.sum()), unlabelled=int((~labelled).sum()))
    parts = [
        semi_supervised_mean(losses[place], labelled[place], unlabelled_weight=weight, counts=counts)
        for place in (slice(0, 1), slice(1, None))
    ]
    close(sum(parts), whole, 1e-9)
    rows = labelled.nonzero().flatten()
    assert select_rows(losses.tolist(), rows) == losses[rows].tolist()
    classes = torch.where(labelled, 1, -1)
    assert torch.equal(check_classes(classes, [2], len(seeds)).squeeze(1), classes)
    with pytest.raises(ValueError, match="give 0 to 0"):
        check_classes(classes.abs(), [1], len(seeds))


@examples
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), extra=st.integers(0, 2), seed=st.integers(0, 99))
def test_brackets_behind_a_length_tell_nothing(lengths, extra, seed):
    width, count = max(lengths) + extra, torch.tensor(lengths)
    spans = torch.rand(len(lengths), width, width, generator=torch.Generator().manual_seed(seed)) < 0.2
    expected = [
        any(spans[row, i, j] for i in range(n) for j in range(i + 1, n) if (i, j) != (0, n - 1))
        for row, n in enumerate(lengths)
    ]
    assert have_brackets(spans, count).tolist() == expected


@examples
@given(seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=6, unique=True), size=st.integers(1, 3))
def test_diagnostics_have_their_ceilings_and_do_not_know_the_order(seeds, size):
    mean = 3 * numbers(seeds, 0, size).detach()
    q = DiagonalGaussian(mean, torch.full_like(mean, 0.5))
    latents = mean + 0.5 * numbers(seeds, 1, size).detach()
    order = torch.arange(len(seeds)).flip(0)
    moved = DiagonalGaussian(mean[order], q.stddev)
    whole = mutual_information(q, latents)
    assert whole <= math.log(len(seeds)) + 1e-9
    assert mutual_information(moved, latents[order], chunk_size=1) == pytest.approx(whole, abs=1e-9)
    assert batch_mutual_information(q, latents, len(seeds)) == pytest.approx(whole, abs=1e-9)
    assert batch_mutual_information(q, latents, 1) == pytest.approx(0, abs=1e-9)
    assert batch_mutual_information(q, latents, 2) <= math.log(2) + 1e-9
    active, variance = active_units(mean)
    assert active == int((variance >= 0.01).sum()) and variance.shape == (size,)
    close(active_units(mean[order])[1], variance, 1e-9)
    same = DiagonalGaussian(mean[:1].expand_as(mean), q.stddev)
    assert mutual_information(same, latents) == pytest.approx(0, abs=1e-9)
    classes = CategoricalVector(numbers(seeds, 2, 2, 3).detach())
    joint = joint_mutual_information(classes)
    single = [joint_mutual_information(classes.marginal(place, place + 1)) for place in range(2)]
    assert max(single) - 1e-9 <= joint <= min(sum(single), math.log(len(seeds))) + 1e-9
    for wrong in (mean[:1], mean[0], mean * math.nan):
        with pytest.raises(ValueError, match="means"):
            active_units(wrong)


@examples
@given(seeds=SEEDS, steps=st.integers(0, 3), norm=st.sampled_from([0.0, 0.5]), momentum=st.floats(0, 0.9))
def test_refining_moves_each_row_alone_and_downhill(seeds, steps, norm, momentum):
    target, start = numbers(seeds, 0, 2).detach(), numbers(seeds, 1, 2).detach()

    def bound_to(aim: torch.Tensor):
        return lambda mean, log_variance: (mean - aim).square().sum(-1) + (log_variance - 1).square().sum(-1)

    options = {"steps": steps, "learning_rate": 0.05, "momentum": momentum, "max_grad_norm": norm}
    mean, log_variance = refine_gaussian(start, torch.zeros_like(start), bound_to(target), **options)
    before, after = bound_to(target)(start, torch.zeros_like(start)), bound_to(target)(mean, log_variance)
    assert (after <= before + 1e-9).all() and (torch.equal(mean, start) or steps)
    alone, _ = refine_gaussian(start[-1:], torch.zeros_like(start[-1:]), bound_to(target[-1:]), **options)
    close(alone[0], mean[-1], 1e-9)


@examples
@given(seeds=SEEDS)
def test_a_divergence_in_closed_form_is_the_sum_of_its_dimensions(seeds):
    mean, scale = numbers(seeds, 0, 3), numbers(seeds, 1, 3).exp()
    q, p = DiagonalGaussian(mean, scale), DiagonalGaussian(mean.flip(-1), scale.flip(-1))
    terms = kl_terms(q, p)
    close(terms.kl, terms.per_dimension.sum(-1), 1e-9)
    assert (terms.per_dimension >= -1e-9).all() and not terms.monte_carlo
    close(kl_terms(q, q).kl, torch.zeros(len(seeds), dtype=torch.float64), 1e-9)
