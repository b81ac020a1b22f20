"""The gradient of a game by every estimator, against the sum over all messages; credit for each symbol."""

import pytest
import torch

from hf_lvm.analysis.estimator_check.moments import GradientMoments
from hf_lvm.estimators.baselines import LeaveOneOutBaseline
from hf_lvm.estimators.score_function import ScoreFunctionDraws
from tests.models.referential_game.tiny_games import OBJECTS, every_message, tiny_game

CANDIDATES = torch.tensor([[4, 2, 1]])
# Far from uniform, and a KL that matters: what earlier symbols have cost is then most of the variance.
FAR = {"perturbation": 0.5, "prior_type": "length", "max_length": 3}


class Given:
    """A game whose q is made from a given vector of the target: what each row gives for its gradient is one estimate."""

    def __init__(self, model, monkeypatch):
        self.model = model
        with torch.no_grad():
            self.vector = model.vectors(OBJECTS[4:5], None)
        monkeypatch.setattr(model, "_told", self._told)

    def _told(self, seen, games, vectors=None):
        self.leaf = self.vector.repeat(len(games.labels), 1).requires_grad_()
        return self.leaf

    def exact(self, kl_weight: float = 1.0) -> torch.Tensor:
        """The gradient of the negative bound, (S,), by the sum over all messages."""
        model, leaf = self.model, self.vector.clone().requires_grad_()
        messages = every_message(model)
        log_q = model.posterior_of(leaf).log_prob(messages.unsqueeze(1))[:, 0]
        with torch.no_grad():
            count = len(messages)
            scored = model(OBJECTS, candidates=CANDIDATES.repeat(count, 1), labels=torch.zeros(count).long(), latents=messages)
            log_prior = model.message_prior().log_prob(messages.unsqueeze(1))[:, 0]
        bound = (log_q.exp() * (-scored.reconstruction + kl_weight * (log_prior - log_q))).sum()
        return torch.autograd.grad(-bound, leaf)[0][0]

    def estimates(self, count: int, seed: int = 0, **options) -> torch.Tensor:
        """The gradient that each of `count` rows gives, (count, S)."""
        torch.manual_seed(seed)
        output = self.model(OBJECTS, candidates=CANDIDATES.repeat(count, 1), labels=torch.zeros(count).long(), **options)
        return torch.autograd.grad(output.loss * count, self.leaf)[0]


def found_of(estimates: torch.Tensor, exact: torch.Tensor) -> dict[str, float]:
    moments = GradientMoments(exact)
    moments.add(estimates)
    return moments.summary()


SCORE_FUNCTIONS = ("reinforce", "reinforce_moving_average", "reinforce_learned", "reinforce_self_critical", "rloo")


@pytest.mark.parametrize("token_credit", [False, True])
@pytest.mark.parametrize("estimator", SCORE_FUNCTIONS)
def test_score_functions_are_unbiased(estimator, token_credit, monkeypatch):
    model = tiny_game(estimator=estimator, num_samples=4, token_credit=token_credit, prior_weight=0.7, **FAR).double()
    given = Given(model, monkeypatch)
    exact = given.exact(0.7)
    assert exact.norm() > 1e-3
    if "moving" in estimator or "learned" in estimator:
        # A batch to average.
        model.train()
        given.estimates(50)
        model.eval()
    found = found_of(given.estimates(3000), exact)
    assert found["p_value"] > 1e-4 and found["standard_error"] < 0.1, found


def test_credit_for_each_symbol_lowers_the_variance(monkeypatch):
    variances = {}
    for token_credit in (False, True):
        model = tiny_game(estimator="rloo", num_samples=2, token_credit=token_credit, **FAR).double()
        given = Given(model, monkeypatch)
        variances[token_credit] = found_of(given.estimates(3000), given.exact())["variance"]
    assert variances[True] < 0.9 * variances[False], variances


def test_credit_for_each_symbol_has_the_same_value(monkeypatch):
    outputs = []
    for token_credit in (False, True):
        model = tiny_game(estimator="rloo", num_samples=2, token_credit=token_credit, **FAR)
        torch.manual_seed(1)
        outputs.append(model(OBJECTS, kl_weight=0.3))
    for field in ("loss", "reconstruction", "kl"):
        torch.testing.assert_close(*(getattr(output, field) for output in outputs))


def test_planted_mutants_are_caught(monkeypatch):
    """An own sample in the baseline; and a symbol that is not judged by its own KL."""
    options = {"num_samples": 2, "token_credit": True, **FAR}

    class OwnSample(LeaveOneOutBaseline):
        def forward(self, scores, mode_score, features):
            return scores.mean(0, keepdim=True).expand_as(scores), None

    model = tiny_game(estimator="rloo", **options).double()
    given = Given(model, monkeypatch)
    exact = given.exact()
    model.estimator.baseline = OwnSample()
    assert found_of(given.estimates(3000), exact)["p_value"] < 1e-4
    model = tiny_game(estimator="rloo", **options).double()
    given = Given(model, monkeypatch)
    right = ScoreFunctionDraws.expectation_by_steps

    def later_only(self, scores, step_scores, step_log_probs):
        shifted = torch.nn.functional.pad(step_scores[..., 1:], (0, 1))
        return right(self, scores, shifted, step_log_probs)

    monkeypatch.setattr(ScoreFunctionDraws, "expectation_by_steps", later_only)
    assert found_of(given.estimates(3000), exact)["p_value"] < 1e-4


def test_the_sum_over_messages_has_the_exact_gradient(monkeypatch):
    model = tiny_game(estimator="exact", **FAR).double()
    given = Given(model, monkeypatch)
    exact = given.exact(0.4)
    estimates = given.estimates(2, kl_weight=0.4)
    torch.testing.assert_close(estimates, exact.expand(2, -1), rtol=1e-8, atol=1e-10)


def test_the_gradient_of_the_k_sample_bound(monkeypatch):
    model = tiny_game(objective="iwae", estimator="vimco", num_samples=2, prior_type="length").double()
    given = Given(model, monkeypatch)
    messages, leaf = every_message(model), given.vector.clone().requires_grad_()
    count = len(messages)
    log_q = model.posterior_of(leaf).log_prob(messages.unsqueeze(1))[:, 0]
    with torch.no_grad():
        scored = model(OBJECTS, candidates=CANDIDATES.repeat(count, 1), labels=torch.zeros(count).long(), latents=messages)
        joint = -scored.reconstruction + model.message_prior().log_prob(messages.unsqueeze(1))[:, 0]
    weights = (joint - log_q).exp()
    bounds = ((weights.unsqueeze(0) + weights.unsqueeze(1)) / 2).log()
    bound = (log_q.exp().unsqueeze(0) * log_q.exp().unsqueeze(1) * bounds).sum()
    exact = torch.autograd.grad(-bound, leaf)[0][0]
    found = found_of(given.estimates(3000), exact)
    assert found["p_value"] > 1e-4 and found["standard_error"] < 0.3, found


def test_the_gradient_reaches_receiver_and_prior():
    """By `rloo`, in the mean, that of the sum over all messages."""
    gradients = {}
    for estimator, samples, repeats in (("exact", 1, 1), ("rloo", 8, 400)):
        model = tiny_game(estimator=estimator, num_samples=samples, prior_type="model", train_prior=True).double()
        torch.manual_seed(0)
        output = model(OBJECTS, candidates=CANDIDATES.repeat(repeats, 1), labels=torch.zeros(repeats).long())
        output.loss.backward()
        gradients[estimator] = {
            name: parameter.grad
            for name, parameter in model.named_parameters()
            if name.startswith(("receiver", "message_head", "prior")) and parameter.grad is not None
        }
    assert any(name.startswith("prior") for name in gradients["exact"])
    exact, estimate = (torch.cat([grad.flatten() for grad in each.values()]) for each in gradients.values())
    assert (exact - estimate).norm() < 0.1 * exact.norm()


# ---- relaxed messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receiver", ["hf_lvm_lstm_encoder", "bert"])
@pytest.mark.parametrize("prior", ["length", "model"])
def test_straight_through_has_the_value_of_its_messages(prior, receiver):
    """At each end the receiver reads exactly what a discrete message says, whichever receiver it is."""
    model = tiny_game(receiver=receiver, estimator="straight_through", num_samples=3, prior_type=prior).double().train()
    torch.manual_seed(0)
    output = model(OBJECTS)
    assert {len(symbols) for each in output.latents for symbols in model.symbols_of(each)} >= {0, 1, 2}
    given = model(OBJECTS, latents=output.latents)
    torch.testing.assert_close(output.reconstruction, given.reconstruction, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(output.logits, given.logits, rtol=1e-6, atol=1e-8)
    # The KL of the steps that were taken has the mean of log q - log p.
    exact = tiny_game(receiver=receiver, estimator="exact", prior_type=prior).double()(OBJECTS).kl
    model.config.num_samples = 800
    sampled = model(OBJECTS).kl
    torch.testing.assert_close(sampled, exact, rtol=0.15, atol=0.02)


def test_soft_messages_take_the_mean_over_ends():
    """The relaxed loss against a loop over ends, each with a message of its own that the receiver reads."""
    from hf_lvm.generation.relaxed_sequences import open_sequences

    model = tiny_game(estimator="gumbel_softmax", temperature=0.8, min_length=1).double().train()
    torch.manual_seed(4)
    output = model(OBJECTS)
    torch.manual_seed(4)
    q = model.encode(OBJECTS)
    relaxed = open_sequences(q, 0.8, (1,))
    table = model.receiver.get_input_embeddings().weight
    vectors = model.vectors(OBJECTS, None, by_receiver=True)
    start = table[model.config.bos_token_id]
    expected = torch.zeros(6, dtype=torch.float64)
    for row in range(6):
        for end in range(3):
            read = torch.stack([start, *(point @ table for point in relaxed.symbols[0, row, :end])])
            said = model.message_head(model.receiver(inputs_embeds=read.unsqueeze(0)).last_hidden_state[0, -1])
            expected[row] -= relaxed.end_weights[0, row, end] * (vectors @ said).log_softmax(0)[row]
    assert (relaxed.end_weights[..., 0] == 0).all(), "no message is shorter than min_length"
    torch.testing.assert_close(output.reconstruction, expected.detach())


def test_soft_messages_become_the_discrete_ones_as_the_temperature_falls():
    exact = tiny_game(estimator="exact").double()(OBJECTS)
    losses = []
    for temperature in (2.0, 0.05):
        model = tiny_game(estimator="gumbel_softmax", num_samples=600).double().train()
        torch.manual_seed(0)
        losses.append((model(OBJECTS, temperature=temperature).reconstruction - exact.reconstruction).abs().max())
    assert losses[1] < 0.05 and losses[1] < losses[0]


def test_straight_through_is_biased_and_points_the_right_way(monkeypatch):
    model = tiny_game(estimator="straight_through", num_samples=400, prior_type="none").double().train()
    given = Given(model, monkeypatch)
    exact, estimate = given.exact(0.0), given.estimates(4).mean(0)
    assert torch.nn.functional.cosine_similarity(estimate, exact, dim=0) > 0.7
    assert (estimate - exact).norm() > 0.05 * exact.norm()


@pytest.mark.parametrize("estimator", ["straight_through", "gumbel_softmax"])
def test_outside_training_messages_are_samples(estimator):
    model = tiny_game(estimator=estimator, num_samples=2)
    output = model(OBJECTS)
    given = model(OBJECTS, latents=output.latents)
    torch.testing.assert_close(output.reconstruction, given.reconstruction)
    log_ratio = output.posterior.log_prob(output.latents) - model.message_prior().log_prob(output.latents)
    torch.testing.assert_close(output.kl, log_ratio.mean(0))


def test_a_learned_temperature_learns():
    model = tiny_game(estimator="gumbel_softmax", learned_temperature=True, temperature=0.9, perturbation=0.0).train()
    model(OBJECTS).loss.backward()
    assert model.estimator.inverse_temperature.bias.grad.abs().item() > 0
    assert model.estimator.temperature_of(torch.zeros(1, 8)).item() == pytest.approx(0.9)
