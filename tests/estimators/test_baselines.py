"""What a baseline knows, when it learns it, and that it is saved."""

import pytest
import torch

from hf_lvm.distributions import CategoricalVector
from hf_lvm.estimators import build_estimator
from hf_lvm.estimators.baselines import LearnedBaseline, LeaveOneOutBaseline, MovingAverageBaseline, SelfCriticalBaseline

SCORES = torch.tensor([[1.0, -4.0], [2.0, -6.0], [6.0, -5.0]], dtype=torch.float64)


def test_the_others_mean_leaves_the_own_score_out():
    baseline, error = LeaveOneOutBaseline()(SCORES, None, None)
    torch.testing.assert_close(baseline, torch.tensor([[4.0, -5.5], [3.5, -4.5], [1.5, -5.0]], dtype=torch.float64))
    assert error is None


def test_the_score_of_the_mode_is_the_self_critical_baseline():
    greedy = torch.tensor([3.0, 4.0])
    assert SelfCriticalBaseline()(SCORES, greedy, None)[0] is greedy


def test_the_moving_average_takes_a_batch_in_after_it_has_served_it():
    baseline = MovingAverageBaseline(decay=0.5)
    assert baseline(SCORES, None, None)[0] == 0
    baseline.update(SCORES)
    assert baseline(SCORES, None, None)[0].item() == pytest.approx(-1.0)  # all of the only batch there was
    baseline.update(SCORES + 3.0)
    assert baseline(SCORES, None, None)[0].item() == pytest.approx((-1.0 + 2 * 2.0) / 3)
    pooled = torch.cat([SCORES.flatten(), *[(SCORES + 3.0).flatten()] * 2])
    assert baseline.stddev.item() == pytest.approx(pooled.std(unbiased=False).item(), rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_an_estimator_updates_its_average_in_training_only(training):
    estimator = build_estimator("reinforce_moving_average").train(training)
    posterior = CategoricalVector(torch.zeros(2, 1, 3, requires_grad=True))
    draws = estimator.draw(posterior, 4, torch.Generator().manual_seed(0))
    before = draws.expectation(torch.full((4, 2), -7.0))
    assert (estimator.baseline.mean.item() == -7.0) is training
    (gradient,) = torch.autograd.grad(before.sum(), posterior.logits)
    counts = posterior.one_hot(draws.latents).mean(0)
    torch.testing.assert_close(gradient, -7.0 * counts)  # nothing subtracted: the first batch had no baseline yet


def test_what_is_learned_is_saved_with_a_model_and_goes_on_from_there():
    estimator = build_estimator("reinforce_learned", feature_size=4, baseline_decay=0.8)
    estimator.baseline.update(SCORES)
    again = build_estimator("reinforce_learned", feature_size=4, baseline_decay=0.8)
    again.load_state_dict(estimator.state_dict())
    features = torch.randn(2, 4)
    assert torch.equal(again.baseline(SCORES, None, features)[0], estimator.baseline(SCORES, None, features)[0])
    assert again.baseline.mean.item() == pytest.approx(-1.0)


def test_a_learned_baseline_finds_what_x_predicts():
    torch.manual_seed(0)
    baseline = LearnedBaseline(feature_size=3, decay=0.9)
    optimizer = torch.optim.Adam(baseline.parameters(), lr=0.02)
    weight, generator = torch.tensor([4.0, -2.0, 1.0]), torch.Generator().manual_seed(1)
    for _ in range(150):
        features = torch.randn(32, 3, generator=generator)
        scores = (features @ weight - 60.0).expand(2, 32) + 0.1 * torch.randn(2, 32, generator=generator)
        _, error = baseline(scores, None, features)
        optimizer.zero_grad()
        error.mean().backward()
        optimizer.step()
        baseline.update(scores)
    features = torch.randn(200, 3, generator=generator)
    predicted, _ = baseline(torch.zeros(1, 200), None, features)
    residual = (predicted - (features @ weight - 60.0)).std()
    assert residual < 1.5 < (features @ weight).std()


def test_the_error_of_a_learned_baseline_changes_no_value_and_no_gradient_of_the_posterior():
    posterior = CategoricalVector(torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(2)).requires_grad_())
    features, scores = torch.randn(2, 4), torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    learned, average = (build_estimator(f"reinforce_{kind}", feature_size=4) for kind in ("learned", "moving_average"))
    results = []
    for estimator in (learned, average):
        draws = estimator.draw(posterior, 2, torch.Generator().manual_seed(3), features=features.requires_grad_())
        value = draws.expectation(scores)
        results.append((value, torch.autograd.grad(value.sum(), posterior.logits, retain_graph=True)[0]))
    torch.testing.assert_close(results[0][0], scores.mean(0))
    torch.testing.assert_close(results[0], results[1])
    gradients = torch.autograd.grad(results[0][0].sum(), [features, *learned.parameters()], allow_unused=True)
    assert gradients[0] is None and gradients[-1].abs().sum() > 0


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: MovingAverageBaseline(1.0), "baseline_decay must be at least 0 and less than 1, but is 1.0"),
        (lambda: LearnedBaseline(3)(SCORES, None, None), "'reinforce_learned' predicts scores from features of x"),
    ],
)
def test_refusals(build, said):
    with pytest.raises(ValueError, match=said):
        build()
