"""The best of a beam in the place of samples, a line for a baseline, and a clipped signal."""

import pytest
import torch

from hf_lvm.estimators import build_estimator, draw_best
from hf_lvm.estimators.baselines import LinearBaseline
from hf_lvm.estimators.score_function import Reinforce
from hf_lvm.generation.symbol_sequences import ScoredSequences

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 1.0, -torch.inf, -torch.inf]], dtype=torch.float64)


class Categories:
    """Two categoricals over four values, the second with two of them, that know their best."""

    def __init__(self, logits: torch.Tensor):
        self.logits = logits

    def log_prob(self, values: torch.Tensor) -> torch.Tensor:
        log_probs = self.logits.log_softmax(-1)
        return torch.stack([log_probs[row, values[:, row, 0]] for row in range(2)], 1)

    def beam(self, count: int) -> ScoredSequences:
        best = self.logits.detach().log_softmax(-1).topk(count)
        return ScoredSequences(best.indices.T.unsqueeze(-1), best.values.T)


def test_each_that_exists_counts_alike():
    logits = LOGITS.clone().requires_grad_()
    draws = draw_best(Reinforce(), Categories(logits), 3)
    assert draws.latents[:, :, 0].T.tolist() == [[0, 1, 2], [1, 0, 1]]
    scores = torch.tensor([[-3.0, -1.0], [-4.0, -2.0], [-8.0, -1.0]], dtype=torch.float64)
    bound = draws.expectation(scores)
    torch.testing.assert_close(bound.detach(), torch.tensor([-5.0, -1.5], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(bound.sum(), logits)
    log_probs = logits.log_softmax(-1)
    wanted = (torch.tensor([-3.0, -4.0, -8.0]) * log_probs[0, [0, 1, 2]]).mean() + (
        torch.tensor([-1.0, -2.0]) * log_probs[1, [1, 0]]
    ).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, logits)[0])


def test_with_all_values_there_are_the_bias_stays():
    logits = LOGITS.clone().requires_grad_()
    posterior = Categories(logits)
    scores = torch.tensor([[-3.0, -1.0], [-4.0, -2.0], [-8.0, -1.0], [-9.0, -1.0]], dtype=torch.float64)
    (found,) = torch.autograd.grad(draw_best(Reinforce(), posterior, 4).expectation(scores)[0], logits)
    (exact,) = torch.autograd.grad((logits[0].softmax(-1) * scores[:, 0]).sum(), logits)
    assert (found - exact).norm() > exact.norm()


@pytest.mark.parametrize("name", ["rloo", "reinforce_self_critical"])
def test_baselines_of_samples_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}.*are no samples"):
        draw_best(build_estimator(name), Categories(LOGITS), 2)


def test_a_line_through_one_feature():
    estimator = build_estimator("reinforce_learned", feature_size=5, baseline_slope=0.5, baseline_intercept=-2.0)
    baseline = estimator.baseline
    assert isinstance(baseline, LinearBaseline) and not isinstance(
        build_estimator("reinforce_learned", feature_size=5).baseline, LinearBaseline
    )
    scores = torch.tensor([[-3.0, -10.0], [-5.0, -12.0]])
    features = torch.tensor([[-4.0], [-20.0]])
    predicted, error = baseline(scores, None, features)
    assert predicted.tolist() == [-4.0, -12.0] and not predicted.requires_grad
    torch.testing.assert_close(error.detach(), torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.Adam(baseline.parameters(), lr=0.05)
    for _ in range(800):
        baseline.update(scores)
        optimizer.zero_grad()
        baseline(scores, None, features)[1].sum().backward()
        optimizer.step()
    # Through the means -4 and -11.
    torch.testing.assert_close(baseline(scores, None, features)[0], torch.tensor([-4.0, -11.0]), atol=0.1, rtol=0)
    with pytest.raises(ValueError, match="features \\(B, 1\\), not \\(2, 3\\)"):
        baseline(scores, None, torch.zeros(2, 3))


def test_a_clipped_signal():
    estimator = Reinforce()
    estimator.signal_clip = -3.5
    logits = LOGITS.clone().requires_grad_()
    draws = draw_best(estimator, Categories(logits), 2)
    scores = torch.tensor([[-3.0, -1.0], [-4.0, -2.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(draws.expectation(scores)[0], logits)
    log_probs = logits.log_softmax(-1)
    (wanted,) = torch.autograd.grad((-3.0 * log_probs[0, 0] - 3.5 * log_probs[0, 1]) / 2, logits)
    torch.testing.assert_close(gradient, wanted)
