"""Lengths: a ratio that is drawn; a model in p(c), which is a distribution over all texts, with an exact bound."""

import itertools

import pytest
import torch

from hf_lvm.layers.length_table import LengthTable
from tests.models.latent_summarizer.test_pointers import SENTENCES, every_compression, summarizer
from tests.models.latent_summarizer.test_relaxed_bound import STRAIGHT
from tests.models.latent_summarizer.tiny_summarizers import leftmost, tiny_summarizer
from tests.tiny_parts import END, START, batch_of, perturb, row_generators

TABLE = {"length_model": "table", "length_table_size": 3}
TEXTS = [[5, 9, 5, 7, 9, 5, END], [6, END], [8, 8, 8, END]]


def exact_model(**options):
    return perturb(tiny_summarizer(**TABLE | options).double(), 0.4, seed=3)


def texts_of(length: int, words=(3, 4)) -> list[list[int]]:
    return [list(each) for each in itertools.product(words, repeat=length)]


def log_prior_by_hand(prior, text: list[int]) -> torch.Tensor:
    logits = prior(torch.tensor([[START, *text]])).logits[0].log_softmax(-1)
    return logits[torch.arange(len(text) + 1), torch.tensor([*text, END])].sum()


# ---- lengths ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("allow_empty", [False, True])
def test_the_prior_says_how_probable_each_length_is(allow_empty):
    model = summarizer("pointer", vocab_size=5, allow_empty=allow_empty, min_summary_words=int(not allow_empty))
    found = model.prior.log_length_probs(6, START, END)
    for length in range(7):
        by_hand = torch.stack([log_prior_by_hand(model.prior, text) for text in texts_of(length)]).logsumexp(0)
        torch.testing.assert_close(found[length], by_hand)
    assert model.prior.log_length_probs(400, START, END).isfinite().all(), "of texts less probable than a double can be"


@torch.no_grad()
@pytest.mark.parametrize("fewest", [0, 1])
def test_a_table_is_a_distribution_over_all_lengths(fewest):
    table = perturb(LengthTable(4, fewest).double(), 1.0)
    probabilities = table(300).exp()
    torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert probabilities[0] == 0 if fewest else probabilities[0] > 0
    table.fit(torch.tensor([fewest + 2] * 6 + [fewest + 6, fewest + 4]))
    found = table(60).exp()
    torch.testing.assert_close(found[fewest : fewest + 4] * 13, torch.tensor([1.0, 1, 7, 1], dtype=torch.float64))
    # Behind the cells 2 of them, and one added; they stop in 3 of 3 + 2 + 1 steps.
    torch.testing.assert_close(found[fewest + 4 :][:3] * 13, 3 * torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64))
    with pytest.raises(ValueError, match="no lengths to learn from"):
        table.fit(torch.tensor([]))
    with pytest.raises(ValueError, match="The shortest length is -1"):
        table.fit(torch.tensor([-1]))


@torch.no_grad()
@pytest.mark.parametrize("allow_empty", [False, True])
def test_all_texts_together_have_the_probability_one(allow_empty):
    """Length by length what the table says, whatever the language model would."""
    options = {"allow_empty": allow_empty, "min_summary_words": int(not allow_empty), "max_summary_words": 5}
    model = summarizer("vocab", vocab_size=5, **TABLE, **options)
    source = model.source_of(batch_of([[3, END]])["labels"], None)
    wanted = model.length_table(5).exp()
    for length in range(6):
        values = torch.tensor([[[*text, *[END] * (6 - length)]] for text in texts_of(length)])
        torch.testing.assert_close(model.log_prior(source, values).exp().sum(), wanted[length])
    assert wanted[0] == 0 or allow_empty


# ---- the bound -------------------------------------------------------------------------------------------------------


def deletions(model, words: list[int]) -> tuple[torch.Tensor, ...]:
    """log q, log p(c) by hand and log p(x|c) of every compression."""
    masks = torch.stack(list(leftmost(words).values())).unsqueeze(1)
    batch = batch_of([[*words, END]])
    source = model.source_of(batch["labels"], None)
    log_p = []
    for text in leftmost(words):
        by_itself = model.prior.log_length_probs(len(text), START, END)[-1]
        log_p.append(model.length_table(len(text))[-1] + log_prior_by_hand(model.prior, list(text)) - by_itself)
    return model.encode(**batch).log_prob(masks)[:, 0], torch.stack(log_p), model.log_likelihood(source, masks)[:, 0]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("options", [{}, {"target_ratio": 0.5}], ids=["any length", "one length"])
def test_the_exact_bound_is_that_of_all_compressions(text, options):
    model, batch = exact_model(**options), batch_of([text])
    log_q, log_p, log_x = deletions(model, text[:-1])
    possible = log_q > -torch.inf
    log_q, log_p, log_x = log_q[possible], log_p[possible], log_x[possible]
    q = log_q.exp()
    output = model(**batch, kl_weight=0.6)
    kl, reconstruction = (q * (log_q - log_p)).sum(), -(q * log_x).sum()
    assert kl > -1e-12
    torch.testing.assert_close(output.kl[0], kl.detach())
    torch.testing.assert_close(output.loss, reconstruction + 0.6 * kl)
    parameters = [model.posterior_head.scores.keep.weight, model.prior.words.output.weight, model.length_table.scores]
    ways = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (output.loss, reconstruction + 0.6 * kl)]
    for ours, theirs in zip(*ways, strict=True):
        torch.testing.assert_close(ours, theirs)
    if not options:
        estimate = model.estimate_log_likelihood(labels=batch["labels"])
        torch.testing.assert_close(estimate.log_likelihood[0], (log_p + log_x).logsumexp(0).detach())
        # What is drawn is scored alike: each weight is p(x, c) / q(c|x).
        drawn = model.estimate_log_likelihood(**batch, num_samples=50, method="importance", keep_log_weights=True)
        weights = log_p + log_x - log_q
        assert torch.isclose(drawn.log_weights[:, 0, None], weights.detach(), atol=1e-9).any(1).all()


@torch.no_grad()
def test_other_rows_do_not_matter():
    model = exact_model()
    together = model(**batch_of(TEXTS))
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(together.row_loss[row], model(**batch_of([text])).row_loss[0])


@torch.no_grad()
@pytest.mark.parametrize("posterior_type", ["pointer", "pointer_vocab", "vocab"])
@pytest.mark.parametrize("estimator", ["rloo", "straight_through"])
def test_the_mean_over_samples_is_the_divergence(posterior_type, estimator):
    model, batch = summarizer(posterior_type, **TABLE, estimator=estimator).train(), batch_of(SENTENCES)
    perturb(model.length_table, 1.0)
    source = model.source_of(batch["labels"], None)
    values, _ = every_compression(model, batch)
    log_q = model.encode(**batch).log_prob(values)
    possible = log_q > -torch.inf
    log_p = model.log_prior(source, values)
    kl = torch.where(possible, log_q.exp() * (log_q - log_p), 0.0).sum(0)
    assert (kl > 0).all()
    torch.manual_seed(2)
    found = model(**{name: value.repeat(1500, 1) for name, value in batch.items()}).kl.view(1500, 2)
    assert ((found.mean(0) - kl).abs() < 4 * found.std(0) / 1500**0.5).all()


def test_a_gradient_flows_to_lengths_straight_through():
    model = summarizer("pointer", **TABLE, **STRAIGHT).train()
    model(**batch_of(SENTENCES), generator=row_generators(2)).loss.backward()
    assert model.length_table.scores.grad.any() and model.prior.units.weight.grad.isfinite().all()


@torch.no_grad()
def test_short_ones_gain_nothing_of_the_prior():
    """Uniform words, and a table that likes three: by itself the prior prefers one, and with the table three."""
    plain, model = (tiny_summarizer(perturbation=0.0, **options).double() for options in ({}, TABLE))
    for each in (plain, model):
        for parameter in each.prior.parameters():
            parameter.zero_()
    model.length_table.fit(torch.tensor([3] * 50))
    labels = batch_of([[5, 6, 7, 8, END]])["labels"]
    masks = torch.arange(4).expand(4, 4).le(torch.arange(4).unsqueeze(1)).unsqueeze(1)
    scores = [each.log_prior(each.source_of(labels, None), masks)[:, 0] for each in (plain, model)]
    assert scores[0].argmax() == 0
    # One of 20 words a place, so that the first factor is all the difference.
    corrected = scores[1] + torch.arange(1, 5) * torch.tensor(20.0).log()
    torch.testing.assert_close(corrected, model.length_table(4)[1:].double(), rtol=1e-5, atol=1e-5)


def test_a_prior_that_stays_is_summed_over_once():
    model, batch = exact_model(train_prior=False), batch_of(TEXTS)
    calls = []
    # Of all that the prior computes, the table of all words alone is of two dimensions.
    model.prior.units.register_forward_hook(lambda _, inputs, __: calls.append(1) if inputs[0].dim() == 2 else None)
    losses = [model(**batch).loss for _ in range(3)]
    assert len(calls) == 1 and losses[0] == losses[2] and not model.length_table.scores.requires_grad
    with torch.no_grad():
        model.prior.words.output.bias[5] += 1.0
    again = model(**batch).loss
    assert len(calls) == 2
    learning = exact_model()
    learning.load_state_dict(model.state_dict())
    torch.testing.assert_close(again, learning(**batch).loss)


@torch.no_grad()
def test_words_of_several_pieces_count_as_pieces():
    model = tiny_summarizer(decoder="gpt2", estimator="rloo", **TABLE).double()
    labels, word_ids = torch.tensor([[5, 6, 7, 5, 6, END]]), torch.tensor([[0, 0, 1, 2, 2, -1]])
    source = model.source_of(labels, word_ids)
    found = model.log_prior(source, torch.tensor([[[True, True, False]]]))[0, 0]
    by_itself = model.prior.log_length_probs(3, START, END)[-1]
    torch.testing.assert_close(found, model.length_table(3)[-1] + log_prior_by_hand(model.prior, [5, 6, 7]) - by_itself)


def test_saved_with_the_model(tmp_path):
    model = perturb(tiny_summarizer(**TABLE), 0.3)
    names = [name for name, _ in model.generative_parameters()]
    assert {"length_table.scores", "length_table.stop"} <= set(names)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again.length_table(9), model.length_table(9))
    torch.testing.assert_close(again(**batch_of(TEXTS)).row_loss, model(**batch_of(TEXTS)).row_loss)


# ---- a ratio that is drawn -------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("decoder", ["hf_lvm_segment_decoder", "hf_lvm_lstm_decoder"])
def test_a_ratio_is_drawn_for_each_sentence_in_training(decoder):
    options = {"decoder": decoder} | ({} if "segment" in decoder else {"estimator": "rloo", "posterior_type": "pointer"})
    model, fixed = (
        tiny_summarizer(**options, **more).double() for more in ({"target_ratio_spread": 0.3, "target_ratio": 0.5}, {})
    )
    fixed.load_state_dict(model.state_dict())
    text = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, END]
    batch = batch_of([text] * 200)
    source = model.source_of(batch["labels"], None)
    assert (model.counts_for(source, sampled=True) == 5).all(), "not outside training"
    counts = model.train().counts_for(source, sampled=True, generator=row_generators(200))
    assert set(counts.tolist()) == set(range(2, 9)) and (model.counts_for(source) == 5).all()
    assert (model.counts_for(source, 0.3, sampled=True) == 3).all()
    found = model(**batch, generator=row_generators(200))
    if "segment" in decoder:
        for count in counts.unique().tolist():
            fixed.config.target_ratio = count / 10
            wanted = fixed(**batch_of([text])).row_loss
            torch.testing.assert_close(found.row_loss[counts == count], wanted.expand(int((counts == count).sum())))
    else:
        assert model.posterior_head.counts_of(found.latents, source).equal(counts.expand(3, -1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_ratio_spread": 0.1}, "target_ratio_spread is 0.1: it is 0 or more, around a target_ratio"),
        ({"target_ratio": 0.5, "target_ratio_spread": 0.5}, "target_ratio 0.5 and target_ratio_spread 0.5"),
        ({"prior": "gpt2", "estimator": "rloo"}, "known of a bigram prior only, and this is a 'gpt2' model.*target_ratio"),
        ({"objective": "marginal"}, "The objective 'marginal' sums over pairs of words"),
        ({"length_model": "poisson"}, "Unknown length_model 'poisson': choose 'table'"),
        ({"length_table_size": 0}, "length_table_size must be at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        tiny_summarizer(**TABLE | options)
