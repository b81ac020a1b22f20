"""Layers below the models: padding changes nothing, a batch is its rows, gradients reach no padding, densities sum to one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Distribution

from hf_lvm.distributions import CanonicalDeletion, DiagonalGaussian
from hf_lvm.layers.alignment import left_align
from hf_lvm.layers.length_table import LengthTable
from hf_lvm.layers.pair_scores import PairScorer, pairs_of_masks
from hf_lvm.layers.pooling import POOLINGS, Pooling
from hf_lvm.layers.posteriors import CATEGORY_POSTERIORS, POSTERIORS
from hf_lvm.layers.priors import CATEGORY_PRIORS, PRIORS
from hf_lvm.layers.span_scores import SPAN_SCORERS
from hf_lvm.layers.word_softmax import WordSoftmax, log_not
from hf_lvm.layers.word_states import pool_words
from tests.hardening.examples import close, examples
from tests.hardening.test_estimator_properties import numbers
from tests.tiny_parts import perturb

HIDDEN, LATENT, VARIABLES, CLASSES = 6, 3, 2, [3, 2]
SHAPES = {"conditional_gaussian": {"hidden_size": HIDDEN}, "vamp": {"embedding_size": HIDDEN, "components": 2}}
ROWS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 5)), min_size=1, max_size=4)


def states_of(rows: list[tuple[int, int]], extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """States (B, S, H) with large numbers in the padding, and the mask (B, S)."""
    width = max(length for _, length in rows) + extra
    mask = torch.arange(width) < torch.tensor([[length] for _, length in rows])
    drawn = [numbers([seed], 0, length, HIDDEN).detach()[0] for seed, length in rows]
    states = torch.stack([torch.cat([each, torch.full((width - len(each), HIDDEN), 1e3)]) for each in drawn])
    return states.requires_grad_(), mask.long()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", POOLINGS)
@examples
@given(rows=ROWS, extra=st.integers(0, 3))
def test_a_pooling_does_not_see_padding(name, bidirectional, rows, extra):
    pooling = perturb(Pooling(name, HIDDEN, bidirectional).double(), 0.5)
    states, mask = states_of(rows, extra)
    pooled = pooling(states, mask)
    assert pooled.shape == (len(rows), HIDDEN) and pooled.dtype == torch.float64
    (gradient,) = torch.autograd.grad(pooled.sum(), states)
    assert gradient.isfinite().all() and (gradient[mask == 0] == 0).all()
    for row in range(len(rows)):
        close(pooling(*states_of([rows[row]]))[0], pooled[row], 1e-6)
    inside = states.masked_fill((mask == 0).unsqueeze(-1), torch.nan)
    assert (pooled >= inside.nan_to_num(torch.inf).amin(1) - 1e-6).all()
    assert (pooled <= inside.nan_to_num(-torch.inf).amax(1) + 1e-6).all()


@examples
@given(rows=ROWS, extra=st.integers(0, 3), side=st.sampled_from(["left", "right"]))
def test_left_align_keeps_the_tokens_of_a_row_in_order(rows, extra, side):
    _, mask = states_of(rows, extra)
    ids = torch.arange(1, mask.numel() + 1).view_as(mask)
    mask = mask.flip(1) if side == "left" else mask
    aligned, moved = left_align(ids * mask, mask)
    for row, (_, length) in enumerate(rows):
        assert aligned[row, :length].tolist() == ids[row][mask[row] == 1].tolist() and not aligned[row, length:].any()
        assert moved[row].tolist() == [1] * length + [0] * (mask.shape[1] - length)
    again = left_align(aligned, moved)
    assert torch.equal(again[0], aligned) and torch.equal(again[1], moved)


@pytest.mark.parametrize("name", [*POSTERIORS, *CATEGORY_POSTERIORS])
@examples
@given(rows=ROWS, dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_a_posterior_of_a_batch_is_those_of_its_rows(name, rows, dtype):
    posterior_type = (POSTERIORS | CATEGORY_POSTERIORS)[name]
    how = (HIDDEN, LATENT) if name in POSTERIORS else (HIDDEN, VARIABLES, CLASSES)
    torch.manual_seed(0)
    head = posterior_type(*how)
    head.init_weights()
    head = perturb(head.to(dtype).eval(), 0.3)
    pooled = numbers([seed for seed, _ in rows], 0, HIDDEN).detach().to(dtype).requires_grad_()
    q = head(pooled)
    assert q.batch_shape == (len(rows),) and q.event_shape == (LATENT if name in POSTERIORS else VARIABLES,)
    value = q.sample((2,), torch.Generator().manual_seed(0))
    log_prob = q.log_prob(value)
    assert log_prob.isfinite().all() and log_prob.dtype == torch.promote_types(dtype, torch.float32)
    (gradient,) = torch.autograd.grad(log_prob.sum(), pooled, allow_unused=True)
    assert gradient.isfinite().all()
    close(head(pooled[-1:]).log_prob(value[:, -1:])[:, 0], log_prob[:, -1], 1e-4)


@pytest.mark.parametrize("name", [*PRIORS, *CATEGORY_PRIORS])
@examples
@given(rows=ROWS)
def test_a_prior_is_the_same_for_every_row_of_a_text(name, rows):
    prior_type, shapes = (PRIORS | CATEGORY_PRIORS)[name], {}
    if name in CATEGORY_PRIORS:
        how = (VARIABLES, CLASSES, HIDDEN)
    else:
        how, shapes = (LATENT,), SHAPES.get(name, {})
    torch.manual_seed(0)
    prior = prior_type(*how, **shapes)
    if hasattr(prior, "init_weights"):
        prior.init_weights()
    prior = perturb(prior.double(), 0.3)
    seeds = [seed for seed, _ in rows]
    condition = numbers(seeds, 0, HIDDEN).detach()
    given_to = {"condition": condition} if prior.needs_condition else {}
    if getattr(prior, "needs_encoder", False):
        given_to = {"posterior": DiagonalGaussian(*(numbers([1, 2], more, LATENT).exp() for more in range(2)))}
    p = prior(len(rows), dtype=torch.float64, **given_to)
    assert isinstance(p, Distribution) and p.batch_shape == (len(rows),)
    values = p.sample((3,), [torch.Generator().manual_seed(seed) for seed in seeds])
    log_prob = p.log_prob(values)
    assert log_prob.shape == (3, len(rows)) and log_prob.isfinite().all()
    if "condition" in given_to:
        given_to = {"condition": condition[-1:]}
    alone = prior(1, dtype=torch.float64, **given_to)
    close(alone.log_prob(values[:, -1:])[:, 0], log_prob[:, -1], 1e-9)
    close(alone.sample((3,), [torch.Generator().manual_seed(seeds[-1])])[:, 0], values[:, -1], 1e-9)


@pytest.mark.parametrize("name", SPAN_SCORERS)
@examples
@given(rows=ROWS, extra=st.integers(0, 3))
def test_the_score_of_a_span_does_not_know_the_padding(name, rows, extra):
    torch.manual_seed(0)
    scorer = perturb(SPAN_SCORERS[name](HIDDEN, 4).double().eval(), 0.3)
    states, mask = states_of(rows, extra)
    scores = scorer(states * mask.unsqueeze(-1))
    assert scores.shape == (len(rows), *states.shape[1:2] * 2)
    for row, (_, length) in enumerate(rows):
        alone = scorer(states_of([rows[row]])[0])[0]
        upper = torch.ones(length, length, dtype=torch.bool).triu()
        close(scores[row, :length, :length][upper], alone[upper], 1e-6)


@examples
@given(rows=ROWS, extra=st.integers(0, 3))
def test_the_score_of_a_pair_does_not_know_the_padding(rows, extra):
    torch.manual_seed(0)
    scorer = perturb(PairScorer(HIDDEN, 4).double().eval(), 0.3)
    states, mask = states_of(rows, extra)
    lengths = mask.sum(1)
    q = CanonicalDeletion(scorer(states, lengths), lengths=lengths)
    kept = q.argmax
    pairs = pairs_of_masks(kept)
    for row in range(len(rows)):
        own, count = states_of([rows[row]]), lengths[row : row + 1]
        alone = CanonicalDeletion(scorer(own[0], count), lengths=count)
        close(alone.log_partition[0], q.log_partition[row], 1e-6)
        assert torch.equal(alone.argmax[0], kept[row, : rows[row][1]]) and not kept[row, rows[row][1] :].any()
        close((pairs[row] * q.pair_scores[row]).sum(), q.score(kept)[row], 1e-6)


@examples
@given(
    rows=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=3), special=st.integers(0, 1),
    extra=st.integers(0, 2),
)  # fmt: skip
def test_the_state_of_a_word_is_that_of_its_ends(rows, special, extra):
    """Rows are the numbers of pieces of their words."""
    numbered = [[-1] * special + [word for word, pieces in enumerate(row) for _ in range(pieces)] for row in rows]
    width, words = max(map(len, numbered)) + extra, max(map(len, rows)) + extra
    word_ids = torch.tensor([each + [-1] * (width - len(each)) for each in numbered])
    states = numbers([0], 0, len(rows), width, HIDDEN)[0]
    pooled = pool_words(states, word_ids, words)
    assert pooled.shape == (len(rows), words, HIDDEN)
    for row, pieces in enumerate(rows):
        start = special
        for word, count in enumerate(pieces):
            half = HIDDEN // 2
            close(pooled[row, word], torch.cat([states[row, start + count - 1, :half], states[row, start, half:]]), 1e-12)
            start += count
        assert (pooled[row, len(pieces) :] == 0).all()


@examples
@given(size=st.integers(1, 4), fewest=st.integers(0, 2), lengths=st.lists(st.integers(2, 9), min_size=1, max_size=9))
def test_a_table_of_lengths_sums_to_one(size, fewest, lengths):
    table = LengthTable(size, fewest).double()
    table.fit(torch.tensor(lengths))
    log_probs = table(400)
    assert log_probs.exp().sum().item() == pytest.approx(1, abs=1e-6) and (log_probs[:fewest] == -torch.inf).all()
    close(table(7), log_probs[:8], 1e-12)
    with pytest.raises(ValueError, match="shortest length"):
        LengthTable(size, 3).fit(torch.tensor([2]))


@examples
@given(rows=ROWS, excluded=st.integers(0, 4))
def test_words_sum_to_one_and_the_excluded_are_none(rows, excluded):
    torch.manual_seed(0)
    softmax = perturb(WordSoftmax(HIDDEN, 5, (excluded,)).double(), 0.5)
    contexts = numbers([seed for seed, _ in rows], 0, 2, HIDDEN)
    words = torch.arange(5).expand(len(rows), -1)
    log_probs = softmax(contexts, words)
    assert log_probs.shape == (len(rows), 2, 5) and (log_probs[..., excluded] == -torch.inf).all()
    close(log_probs.exp().sum(-1), torch.ones(len(rows), 2, dtype=torch.float64), 1e-9)
    close(log_probs, softmax.logits(contexts).log_softmax(-1), 1e-9)
    read = torch.zeros(len(rows), 2, dtype=torch.long)
    alike = contexts[:1, :1].expand_as(contexts)
    close(softmax(alike, words, read), softmax(alike, words), 1e-9)
    others = log_not(log_probs)
    close(others.exp() + log_probs.exp(), torch.ones_like(others), 1e-9)
