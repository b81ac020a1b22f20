"""A referential game against sums over all its messages, in float64."""

import pytest
import torch

from tests.models.referential_game.tiny_games import GAMES, OBJECTS, every_message, scores_by_hand, tiny_game
from tests.tiny_parts import row_generators

PRIORS = ["uniform", "length", "model", "none"]


def chosen(row: int) -> list[int]:
    return [number for number in GAMES["candidates"][row].tolist() if number >= 0]


def by_hand(model, row: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log q, log p and log p(x|m) of each message of one game: (S,) each."""
    messages, label = every_message(model), int(GAMES["labels"][row])
    target = OBJECTS[GAMES["candidates"][row, label]].unsqueeze(0)
    log_q = model.encode(target).log_prob(messages.unsqueeze(1))[:, 0]
    log_prior = model.message_prior().log_prob(messages.unsqueeze(1))[:, 0]
    log_p = torch.stack([scores_by_hand(model, each, chosen(row)).log_softmax(0)[label] for each in messages.tolist()])
    return log_q, log_prior, log_p


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"score": "bilinear"}, {"score": "scaled"}, {"share_object_encoder": True}], ids=str)
@pytest.mark.parametrize("sender", ["hf_lvm_lstm_decoder", "gpt2"])
def test_the_bound_is_the_sum_over_all_messages(sender, options):
    model = tiny_game(sender, prior_type="length", **options).double()
    output = model(**GAMES)
    for row in range(3):
        log_q, log_prior, log_p = by_hand(model, row)
        assert log_q.exp().sum().item() == pytest.approx(1, abs=1e-9)
        torch.testing.assert_close(output.reconstruction[row], -(log_q.exp() * log_p).sum(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(output.kl[row], (log_q.exp() * (log_q - log_prior)).sum(), rtol=1e-6, atol=1e-9)
        likelihood = model.estimate_log_likelihood(**GAMES)
        assert likelihood.exact and (likelihood.standard_error == 0).all()
        torch.testing.assert_close(likelihood.log_likelihood[row], (log_prior + log_p).logsumexp(0), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(output.loss, (output.reconstruction + output.kl).mean())
    assert output.latents.shape == (7, 3, 3) and output.logits.shape == (3, 3)
    assert output.logits[2, 2] == -torch.inf, "no candidate stands there"


@torch.no_grad()
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("lengths", [(0, 2), (1, 3), (2, 2)])
def test_priors_and_senders_are_distributions_over_the_same_messages(prior, lengths):
    model = tiny_game(prior_type=prior, min_length=lengths[0], max_length=lengths[1]).double()
    messages = every_message(model)
    assert len(messages) == model.config.number_of_messages
    p, q = model.message_prior(), model.encode(OBJECTS)
    assert p.log_prob(messages.unsqueeze(1)).exp().sum().item() == pytest.approx(1, abs=1e-12)
    mass = q.log_prob(messages.unsqueeze(1).expand(-1, len(OBJECTS), -1)).exp().sum(0)
    torch.testing.assert_close(mass, torch.ones(6, dtype=torch.float64))
    drawn = p.sample((50,), torch.Generator().manual_seed(0))
    assert drawn.shape == (50, lengths[1] + 1) and p.log_prob(drawn.unsqueeze(1)).isfinite().all()


@torch.no_grad()
def test_the_targets_of_a_game_sum_to_one():
    """p(x|candidates) over all x, exactly and given each message; and with the KL to any prior."""
    model = tiny_game(prior_type="model").double()
    games = {"objects": OBJECTS, "candidates": torch.tensor([[0, 3, 5, 1]] * 4), "labels": torch.arange(4)}
    assert model.estimate_log_likelihood(**games).log_likelihood.exp().sum().item() == pytest.approx(1, abs=1e-12)
    for message in every_message(model):
        given = model(**games, latents=message.expand(4, -1))
        assert (-given.reconstruction).exp().sum().item() == pytest.approx(1, abs=1e-12) and given.kl is None
        heard = model.listen(message.unsqueeze(0), OBJECTS, games["candidates"][:1])
        torch.testing.assert_close(heard[0], -given.reconstruction)


@torch.no_grad()
@pytest.mark.parametrize("objective", ["elbo", "marginal", "iwae", "minimum_risk"])
def test_every_objective_has_the_value_that_it_claims(objective):
    estimator = {"elbo": "rloo", "marginal": "exact", "iwae": "vimco", "minimum_risk": None}[objective]
    model = tiny_game(objective=objective, estimator=estimator, num_samples=2).double()
    rows = 600
    output = model(
        OBJECTS, candidates=torch.tensor([[4, 2, 1]] * rows), labels=torch.zeros(rows).long(), generator=row_generators(rows)
    )
    log_q, log_prior, log_p = by_hand(model, 1)
    bound = (log_q.exp() * (log_p + log_prior - log_q)).sum()
    exact = (log_p + log_prior).logsumexp(0)
    if objective == "marginal":
        torch.testing.assert_close(-output.loss, exact)
        torch.testing.assert_close(output.reconstruction[0] + output.kl[0], -exact)
        return
    terms = output.reconstruction + output.kl
    assert abs(terms.mean() + bound) < 4 * terms.std() / rows**0.5
    if objective == "elbo":
        torch.testing.assert_close(output.loss, terms.mean())
    if objective == "iwae":
        assert bound < -output.loss < exact + 0.05
    if objective == "minimum_risk":
        # Over all pairs: two equal messages count once, two others by q.
        q, costs = log_q.exp(), -(log_p + log_prior - log_q)
        weighed = (q * costs).unsqueeze(0) + (q * costs).unsqueeze(1)
        risks = torch.where(torch.eye(len(q), dtype=torch.bool), costs, weighed / (q.unsqueeze(0) + q.unsqueeze(1)))
        mass = q.unsqueeze(0) * q.unsqueeze(1)
        mean = (mass * risks).sum()
        error = ((mass * risks.square()).sum() - mean**2).sqrt() / rows**0.5
        assert abs(output.loss - mean) < 4 * error


@torch.no_grad()
def test_the_estimate_by_samples_converges():
    model = tiny_game().double()
    exact = model.estimate_log_likelihood(**GAMES).log_likelihood
    torch.manual_seed(3)
    estimate = model.estimate_log_likelihood(**GAMES, method="importance", num_samples=4000, chunk_size=1500)
    assert not estimate.exact
    assert ((estimate.log_likelihood - exact).abs() < 4 * estimate.standard_error + 1e-9).all()
    chunks = [
        model.estimate_log_likelihood(
            **GAMES, method="importance", num_samples=6, generator=row_generators(3), chunk_size=size, keep_log_weights=True
        ).log_weights
        for size in (None, 4)
    ]
    torch.testing.assert_close(*chunks)


@torch.no_grad()
@pytest.mark.parametrize("receiver", ["hf_lvm_lstm_encoder", "bert"])
def test_the_hinge_loss_is_the_published_one(receiver):
    model = tiny_game(receiver=receiver, game_loss="hinge", prior_type="none").double()
    messages = every_message(model)
    output = model(**GAMES)
    for row in range(3):
        label = int(GAMES["labels"][row])
        log_q = by_hand(model, row)[0]
        losses = []
        for message in messages.tolist():
            scores = scores_by_hand(model, message, chosen(row))
            others = [score for place, score in enumerate(scores) if place != label]
            losses.append(sum((1 - scores[label] + other).clamp(min=0) for other in others))
        torch.testing.assert_close(output.reconstruction[row], (log_q.exp() * torch.stack(losses)).sum(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(output.loss, output.reconstruction.mean())
