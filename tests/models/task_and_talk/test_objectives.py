"""Losses and gradients of every objective and estimator against sums over all dialogs, in float64."""

import pytest
import torch

from hf_lvm.models.task_and_talk.bound import hard_weights
from hf_lvm.models.task_and_talk.dialogs import DialogsWithGuess
from hf_lvm.objectives import OBJECTIVES
from tests.models.task_and_talk.tiny_games import all_rows, tiny_game

ROWS = all_rows()
ANSWERER = sum(parameter.numel() for parameter in tiny_game().answerer.parameters())
UNBIASED = ["reinforce", "reinforce_moving_average", "reinforce_self_critical", "rloo"]


def exact_parts(model):
    """log q of questions, of answers, and log p(x|z) of all dialogs, (Z, R, B) each, with gradients."""
    dialogs = model.dialogs(**ROWS)
    support = dialogs.enumerate_support()
    parts = (*dialogs.log_prob_parts(support), dialogs.log_likelihood_of(support, model.labels_of(**ROWS)))
    return tuple(part.unflatten(1, (model.config.num_runs, -1)) for part in parts)


def gradient(model, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, model.run_parameters(), retain_graph=True)])


def test_each_objective_is_its_sum_over_all_dialogs():
    """Values and gradients, the entropies among them."""
    entropies = {"question_entropy": 0.3, "answer_entropy": 0.7}
    for memory in (False, True):
        losses = {}
        for objective in ("elbo", "marginal", "reward"):
            model = tiny_game(num_runs=2, answerer_memory=memory, objective=objective)
            questions, answers, log_likelihood = exact_parts(model)
            log_q = questions + answers
            bonus = -(log_q.exp() * (0.3 * questions + 0.7 * answers)).sum(0)
            expected = {
                "elbo": -(log_q.exp() * log_likelihood).sum(0),
                "marginal": -(log_q + log_likelihood).logsumexp(0),
                "reward": 10 - 11 * (log_q + log_likelihood).logsumexp(0).exp(),
            }[objective]
            for options, by_hand in (({}, expected), (entropies, expected - bonus)):
                output = model(**ROWS, **options)
                torch.testing.assert_close(output.run_losses, by_hand.mean(1))
                torch.testing.assert_close(output.loss, by_hand.mean(1).sum())
                torch.testing.assert_close(gradient(model, output.loss), gradient(model, by_hand.mean(1).sum()))
            losses[objective] = model(**ROWS)
        marginal, elbo = losses["marginal"], losses["elbo"]
        torch.testing.assert_close(marginal.run_losses, (marginal.reconstruction + marginal.kl).mean(1))
        torch.testing.assert_close(elbo.run_losses, elbo.reconstruction.mean(1))
        assert (elbo.kl == 0).all() and (marginal.kl > 1e-4).all() and (elbo.run_losses > marginal.run_losses + 0.01).all()
        estimate = tiny_game(num_runs=2, answerer_memory=memory).estimate_log_likelihood(**ROWS)
        assert estimate.exact
        torch.testing.assert_close(-estimate.log_likelihood.mean(1), marginal.run_losses)


@torch.no_grad()
def test_the_probabilities_of_all_answers_sum_to_one():
    model = tiny_game()
    count = model.config.num_all_values
    pairs = torch.cartesian_prod(torch.arange(count), torch.arange(count))
    total = sum(model.estimate_log_likelihood(**ROWS, labels=pair.expand(len(ROWS["tasks"]), 2)).log_likelihood.exp()
                for pair in pairs)  # fmt: skip
    torch.testing.assert_close(total, torch.ones_like(total))


@torch.no_grad()
def test_bounds_stand_in_their_order_and_the_estimate_converges():
    exact = tiny_game().estimate_log_likelihood(**ROWS).log_likelihood.mean()
    elbo = -tiny_game()(**ROWS).loss
    sampled = tiny_game(enumeration_budget=1, estimator="rloo", num_samples=2)
    bounds = []
    for count, times in ((2, 400), (8, 100), (4000, 1)):
        rows = {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in ROWS.items()}
        estimate = sampled.estimate_log_likelihood(**rows, num_samples=count, generator=torch.Generator().manual_seed(0))
        assert not estimate.exact
        bounds.append(estimate.log_likelihood.mean())
    assert elbo + 0.02 < bounds[0] and bounds[0] + 0.02 < bounds[1] and bounds[1] + 0.01 < bounds[2]
    torch.testing.assert_close(bounds[2], exact, rtol=0, atol=0.02)
    iwae = tiny_game(objective="iwae", estimator="vimco", num_samples=8)
    mean = torch.stack([-iwae(**ROWS, generator=torch.Generator().manual_seed(seed)).loss for seed in range(100)]).mean()
    torch.testing.assert_close(mean, bounds[1], rtol=0, atol=0.01)


def measured(model, count: int, times: int = 1, **options) -> torch.Tensor:
    """The gradients of `count` draws, (count, P); each row stands `times` times in a draw."""
    generator = torch.Generator().manual_seed(3)
    rows = {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in ROWS.items()}
    return torch.stack([gradient(model, model(**rows, generator=generator, **options).loss) for _ in range(count)])


def agrees(gradients: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether their mean is the exact one as far as its standard errors tell, along it and over all weights together.

    Of all weights, and of the answerer's alone, which have no gradient but that of q.
    """
    return all(_agrees(gradients[:, part], exact[part]) for part in (slice(None), slice(-ANSWERER, None)))


def _agrees(gradients: torch.Tensor, exact: torch.Tensor) -> bool:
    error = gradients.std(0) / len(gradients) ** 0.5
    slopes = gradients @ exact / exact.square().sum()
    slope_error = slopes.std() / len(gradients) ** 0.5
    assert slope_error < 0.06 and error.norm() < 0.2 * exact.norm(), "too few draws to tell"
    # Errors of weights go together, so that their norm is off by more than that of as many independent ones.
    is_near = (gradients.mean(0) - exact).norm() < 4 * error.norm()
    return bool(is_near) and bool((slopes.mean() - 1).abs() < 4 * slope_error)


@pytest.mark.parametrize("estimator", UNBIASED)
@pytest.mark.parametrize("objective", ["elbo", "reward"])
def test_unbiased_estimators_have_the_exact_gradient_in_the_mean(objective, estimator):
    settings = {"objective": objective, "right_reward": 1.0, "wrong_reward": 0.0}
    options = {"question_entropy": 0.2, "answer_entropy": 0.4}
    reference = tiny_game(**settings)
    exact = gradient(reference, reference(**ROWS, **options).loss)
    model = tiny_game(estimator=estimator, num_samples=20, **settings).train()
    times = 60 if estimator == "reinforce" else 4
    assert agrees(measured(model, 30, times=times, **options), exact)


def test_a_baseline_that_contains_the_own_sample_would_be_noticed(monkeypatch):
    """Planted: the gradient of q shrinks by half where the baseline is the mean of both samples."""
    reference = tiny_game()
    exact = gradient(reference, reference(**ROWS).loss)
    model = tiny_game(estimator="rloo", num_samples=2).train()
    assert agrees(measured(model, 20, times=20), exact)
    monkeypatch.setattr(model.estimator.baseline, "forward", lambda scores, mode_score, features: (scores.mean(0), None))
    assert not agrees(measured(model, 20, times=20), exact)


def test_dialogs_with_all_guesses_have_the_expected_reward_and_its_gradient():
    """Of what `sample_guess` draws, all values: their probabilities sum to 1, and the mean reward is the expected one."""
    model = tiny_game(objective="reward")
    dialogs, count = DialogsWithGuess(model.dialogs(**ROWS)), model.config.num_all_values
    support = model.dialogs(**ROWS).enumerate_support()
    guesses = torch.cartesian_prod(torch.arange(count), torch.arange(count)).repeat(len(support), 1)
    guesses = guesses.unsqueeze(1).expand(-1, support.shape[1], -1)
    values = torch.cat([support.repeat_interleave(count**2, 0), guesses], dim=-1)
    probabilities = dialogs.log_prob(values).exp()
    torch.testing.assert_close(probabilities.sum(0), torch.ones_like(probabilities[0]))
    rewards = 11 * dialogs.is_right(values, model.labels_of(**ROWS)) - 10
    loss, expected = -(probabilities * rewards).sum(0).mean(), model(**ROWS).loss
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(model, loss), gradient(model, expected))


def test_vimco_has_the_gradient_of_the_k_sample_bound():
    model = tiny_game(objective="iwae", estimator="vimco", num_samples=2).train()
    questions, answers, log_likelihood = (part[:, 0] for part in exact_parts(model))
    log_q = questions + answers
    pairs = torch.logaddexp(log_likelihood.unsqueeze(0), log_likelihood.unsqueeze(1)) - torch.tensor(2.0).log()
    bound = (log_q.exp().unsqueeze(0) * log_q.exp().unsqueeze(1) * pairs).sum((0, 1)).mean()
    exact = gradient(model, -bound)
    assert agrees(measured(model, 20, times=50), exact)


def test_relaxed_gradients_point_the_way_and_say_how_far_off_they_are():
    reference = tiny_game()
    exact = gradient(reference, reference(**ROWS).loss)
    for estimator in ("gumbel_softmax", "straight_through"):
        model = tiny_game(estimator=estimator, num_samples=30, temperature=0.7).train()
        gradients = measured(model, 20, times=4)
        cosine = torch.nn.functional.cosine_similarity(gradients.mean(0), exact, 0)
        assert 0.5 < cosine < 0.999 and not agrees(gradients, exact), "biased, and near"
        discrete = model.eval()(**ROWS, generator=torch.Generator().manual_seed(0)).reconstruction
        assert ((discrete - reference(**ROWS).reconstruction).abs() < 2.0).all()


@pytest.mark.parametrize(
    ("objective", "estimator"), [(name, one) for name, several in OBJECTIVES["dialog"].items() for one in several]
)
def test_every_combination_trains_every_run_as_if_it_were_alone(objective, estimator):
    options = {"objective": objective, "estimator": estimator, "num_samples": 2 if estimator != "exact" else 1}
    settings = {**options, "answerer_memory": True, "hard_share": 0.5, "num_runs": 3, "seeds": [8, 5, 9]}
    model = tiny_game(**settings).train()
    alone = [model.run(number) for number in range(3)]
    output = model(**ROWS, generator=torch.Generator().manual_seed(1))
    output.loss.backward()
    for number, single in enumerate(alone):
        own = single(**ROWS, generator=torch.Generator().manual_seed(1))
        own.loss.backward()
        torch.testing.assert_close(output.run_losses[number], own.loss)
        for field in ("reconstruction", "kl", "logits", "latents"):
            torch.testing.assert_close(output[field][number], own[field])
        for name, parameter in single.named_parameters():
            together = model.get_parameter(name).grad
            torch.testing.assert_close(together[number], parameter.grad[0])
            assert together.abs().sum() > 0, name
    assert len({round(loss, 6) for loss in output.run_losses.tolist()}) == 3


def test_hard_rows_are_those_of_objects_about_which_something_is_wrong():
    objects = torch.tensor([[0, 1], [0, 1], [1, 0], [1, 0], [1, 1], [1, 1]])
    is_right = torch.tensor([[True, False, True, True, True, True], [True] * 6])
    weights = hard_weights(is_right, objects, 0.8)
    torch.testing.assert_close(weights[0], torch.tensor([2.6, 2.6, 0.2, 0.2, 0.2, 0.2]))
    torch.testing.assert_close(weights[1], torch.ones(6))
    torch.testing.assert_close(weights.mean(1), torch.ones(2))
