"""Deletions with a segment decoder and a bigram prior: bound, likelihood and gradients against sums over all compressions."""

import itertools

import pytest
import torch

from hf_lvm.layers.pair_scores import pairs_of_masks
from hf_lvm.objectives import RowCounts
from tests.models.latent_summarizer.tiny_summarizers import leftmost, tiny_summarizer
from tests.tiny_parts import END, START, batch_of, random_rows, row_generators

SENTENCES = [[5, 9, 5, 7, 9, 5], [6], [8, 8, 8], [3, 4, 5, 6, 7, 8, 9]]
TWELVE_WORDS = [5, 9, 5, 7, 9, 5, 5, 8, 3, 9, 4, 7]


def model(**options):
    return tiny_summarizer(perturbation=0.4, **options).double()


def terms(summarizer, words: list[int]) -> tuple[torch.Tensor, ...]:
    """log q(c|x), log p(c) and log p(x|c) of every compression, each found without the sums that are tested."""
    masks = torch.stack(list(leftmost(words).values()))
    batch = batch_of([[*words, END]])
    scores = summarizer.encode(**batch).pair_scores[0].double()
    pairs = pairs_of_masks(masks)
    log_q = torch.stack([scores[pair].sum() for pair in pairs]).log_softmax(0)
    gaps = summarizer.decoder(torch.tensor([words])).pair_log_probs[0]
    log_likelihood = torch.stack([gaps[pair].sum() for pair in pairs])
    log_prior = []
    for _, some in itertools.groupby(leftmost(words), key=len):
        read = torch.tensor([[START, *compression, END] for compression in some])
        logits = summarizer.prior(read[:, :-1]).logits.log_softmax(-1)
        own = logits.gather(-1, read[:, 1:, None]).sum((1, 2))
        log_prior += (own - torch.log1p(-logits[:, 0, END].exp())).unbind()
    return log_q, torch.stack(log_prior), log_likelihood


@pytest.mark.parametrize(
    ("words", "weight"), [*itertools.product(SENTENCES, (1.0, 0.3)), pytest.param(TWELVE_WORDS, 1.0, id="twelve words")]
)
def test_bound_and_likelihood_are_those_of_all_compressions(words, weight):
    summarizer, batch = model(), batch_of([[*words, END]])
    log_q, log_prior, log_likelihood = terms(summarizer, words)
    q = log_q.exp()
    output = summarizer(**batch, kl_weight=weight)
    kl, reconstruction = (q * (log_q - log_prior)).sum(), -(q * log_likelihood).sum()
    torch.testing.assert_close(output.kl[0], kl.detach())
    torch.testing.assert_close(output.reconstruction[0], reconstruction.detach())
    torch.testing.assert_close(output.loss, reconstruction + weight * kl)
    assert output.kl[0] > -1e-9
    exact = summarizer.estimate_log_likelihood(labels=batch["labels"])
    log_x = (log_prior + log_likelihood).logsumexp(0)
    torch.testing.assert_close(exact.log_likelihood[0], log_x.detach())
    assert exact.exact and (len(words) == 1 or -(kl + reconstruction) < log_x)
    # What learns from it: the gradient of both ways to the same number.
    for parameter in (summarizer.posterior_head.scores.keep.weight, summarizer.decoder.embeddings.weight):
        ways = [
            torch.autograd.grad(loss, parameter, retain_graph=True)[0] for loss in (output.loss, reconstruction + weight * kl)
        ]
        torch.testing.assert_close(*ways)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_marginal_likelihood(weight):
    summarizer, words = model(objective="marginal"), SENTENCES[0]
    _, log_prior, log_likelihood = terms(summarizer, words)
    output = summarizer(**batch_of([[*words, END]]), kl_weight=weight)
    joint = log_prior + log_likelihood
    posterior = joint.log_softmax(0)
    torch.testing.assert_close(output.loss, -weight * (log_prior + log_likelihood / weight).logsumexp(0))
    torch.testing.assert_close(output.reconstruction + output.kl, -joint.logsumexp(0, keepdim=True).detach())
    torch.testing.assert_close(output.kl[0], (posterior.exp() * (posterior - log_prior)).sum().detach())
    masks = torch.stack(list(leftmost(words).values())).unsqueeze(1)
    torch.testing.assert_close(output.posterior.log_prob(masks)[:, 0], posterior)


def test_all_texts_together_have_the_probability_one():
    summarizer = tiny_summarizer(perturbation=0.4, vocab_size=5, seed=3).double()
    with torch.no_grad():
        summarizer.decoder.stop_at.fill_(4.0)
        summarizer.prior.words.output.bias[END] += 3.0
    total = []
    for length in range(1, 11):
        texts = [[*words, END] for words in itertools.product((3, 4), repeat=length)]
        log_x = summarizer.estimate_log_likelihood(labels=torch.tensor(texts)).log_likelihood
        total.append(log_x.exp().sum().item())
    assert 1 - 1e-4 < sum(total) < 1 + 1e-9
    # The mass of longer texts falls like that of these, and completes the sum.
    ratio = total[-1] / total[-2]
    assert sum(total) + total[-1] * ratio / (1 - ratio) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_a_ratio_is_a_number_of_words(ratio):
    summarizer, words = model(target_ratio=ratio), SENTENCES[0]
    count = round(ratio * len(words))
    posterior = summarizer.encode(**batch_of([[*words, END]]))
    log_q, log_prior, log_likelihood = terms(summarizer, words)
    has = torch.tensor([len(compression) == count for compression in leftmost(words)])
    posterior_of = log_q.masked_fill(~has, -torch.inf).log_softmax(0)
    output = summarizer(**batch_of([[*words, END]]))
    torch.testing.assert_close(output.kl[0], (posterior_of.exp()[has] * (posterior_of - log_prior)[has]).sum().detach())
    assert (posterior.sample((20,)).sum(-1) == count).all()


# ---- what is known ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [[True, False], [False, False], [True, True]])
def test_rows_without_weight_draw_nothing_and_the_baseline_hears_of_it(known):
    """Else a process with such rows and one without wait for each other: a moving average is over all processes."""
    summarizer = model(estimator="reinforce_moving_average", unlabelled_weight=0.0).train()
    heard: list[bool] = []
    summarizer.estimator.sit_out = lambda: heard.append(True)
    kept = torch.zeros(2, max(map(len, SENTENCES[:2])), dtype=torch.bool)
    kept[:, 0] = torch.tensor(known)
    summarizer(**batch_of([[*words, END] for words in SENTENCES[:2]]), kept=kept).loss.backward()
    assert heard == [True]


@torch.no_grad()
@pytest.mark.parametrize("estimator", ["exact", "rloo"])
def test_known_and_unknown_compressions_in_one_batch(estimator):
    weights = {"classification_weight": 0.7, "joint_weight": 0.4, "unlabelled_weight": 2.0, "prior_weight": 0.5}
    summarizer = model(estimator=estimator, **weights)
    rows = [[*words, END] for words in SENTENCES]
    batch = batch_of(rows)
    kept = torch.zeros(4, 7, dtype=torch.bool)
    kept[0, [2, 3]] = True  # the words 5 7, of which 5 stands at the begin, too
    kept[2, 2] = True
    generators = row_generators(4)
    output = summarizer(**batch, kept=kept, generator=generators)
    unlabelled = summarizer(**batch_of([rows[1], rows[3]]), generator=[row_generators(4)[1], row_generators(4)[3]])
    torch.testing.assert_close(output.row_loss[[1, 3]], unlabelled.row_loss)
    for row, compression in ((0, (5, 7)), (2, (8,))):
        log_q, log_prior, log_likelihood = terms(summarizer, SENTENCES[row])
        place = list(leftmost(SENTENCES[row])).index(compression)
        cost = -0.4 * (log_likelihood[place] + 0.5 * log_prior[place]) - 0.7 * log_q[place]
        torch.testing.assert_close(output.row_loss[row], cost)
        torch.testing.assert_close(output.reconstruction[row] + output.kl[row], -(log_likelihood + log_prior)[place])
    torch.testing.assert_close(output.loss, output.row_loss[[0, 2]].mean() + 2.0 * output.row_loss[[1, 3]].mean())
    parts = [
        summarizer(**batch_of([row]), kept=mask[None, : len(row) - 1], generator=[generator],
                   row_counts=RowCounts(labelled=2, unlabelled=2)).loss
        for row, mask, generator in zip(rows, kept, row_generators(4), strict=True)
    ]  # fmt: skip
    torch.testing.assert_close(sum(parts), output.loss)


@torch.no_grad()
def test_supervised_alone_computes_q_alone():
    summarizer = model(joint_weight=0.0, unlabelled_weight=0.0)
    summarizer.decoder = summarizer.prior = None
    batch, kept = batch_of([[5, 9, 5, END], [6, 7, END]]), torch.tensor([[True, False, True], [False] * 3])
    output = summarizer(**batch, kept=kept)
    posterior = summarizer.encode(**batch_of([[5, 9, 5, END]]))
    torch.testing.assert_close(output.loss, -posterior.log_prob(kept[:1]).squeeze())
    torch.testing.assert_close(output.reconstruction[0] + output.kl[0], output.loss)


# ---- estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "options"),
    [("rloo", {}), ("reinforce", {"empty_baseline": True}), ("reinforce_self_critical", {})],
)
def test_sampled_gradients_are_right_in_the_mean(estimator, options):
    """Rows of one sentence share weights, so the mean gradient of many is compared, with its own standard error."""
    words, repeats, groups = [5, 9, 5, 7], 200, 16
    summarizer = model(estimator=estimator, num_samples=2, **options)
    parameters = [summarizer.posterior_head.scores.keep.weight, summarizer.decoder.stop_at]
    summarizer.config.estimator = "exact"
    exact = torch.autograd.grad(summarizer(**batch_of([[*words, END]])).loss, parameters)
    summarizer.config.estimator = estimator
    batch = {name: value.expand(repeats, -1) for name, value in batch_of([[*words, END]]).items()}
    torch.manual_seed(4)
    found = [torch.autograd.grad(summarizer(**batch).loss, parameters) for _ in range(groups)]
    for place, wanted in enumerate(exact):
        own = torch.stack([gradients[place].flatten() for gradients in found])
        error = own.std(0) / groups**0.5
        deviation = (own.mean(0) - wanted.flatten()) / error.clamp(min=1e-9)
        assert deviation.square().mean() < 3, (estimator, deviation)
        assert (error < 0.2 * wanted.norm()).all(), "else the comparison says nothing"


@torch.no_grad()
def test_objectives_that_sample_have_the_values_they_claim():
    rows = random_rows(3)
    for objective, estimator in (("iwae", "vimco"), ("minimum_risk", None)):
        summarizer = tiny_summarizer(objective=objective, estimator=estimator)
        output = summarizer(**batch_of(rows), generator=row_generators(3))
        assert output.loss.isfinite() and output.latents.shape[:2] == (3, 3)
        certain = summarizer(**batch_of(rows), sample_posterior=False)
        assert certain.latents.shape[0] == 1
