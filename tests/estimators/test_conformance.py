"""Every estimator of discrete latents against the gradient summed over all values of z, in float64.

The models are tiny, so that a few thousand draws bring the standard error below 2% of the gradient's norm. `statistic` is
Hotelling's T^2 over all parameters at once: those of q, of the likelihood and of the prior.
"""

import pytest
import torch
from scipy.stats import chi2

from hf_lvm.analysis.estimator_check.check import check_estimator, exact_gradient
from hf_lvm.analysis.estimator_check.problems import AutoregressiveProblem, BinaryProblem, CategoricalProblem
from hf_lvm.estimators import ESTIMATORS, Vimco
from hf_lvm.estimators.baselines import LeaveOneOutBaseline, NoBaseline
from hf_lvm.estimators.draws import value_and_gradient
from hf_lvm.estimators.score_function import ScoreFunction
from hf_lvm.estimators.vimco import VimcoDraws

PROBLEMS = {
    "categorical": CategoricalProblem(num_classes=6, offset=-2.0),
    "autoregressive": AutoregressiveProblem(num_symbols=3, length=2, hidden_size=4),
    "sampled_kl": AutoregressiveProblem(num_symbols=3, length=2, hidden_size=4, closed_form_kl=False),
    "binary": BinaryProblem(num_bits=3),
}
LEARNS = {"warm_up_draws": 50, "warm_up_steps": 20}
EVERYWHERE = [
    ("elbo", "reinforce", 3, {}),
    ("elbo", "reinforce_moving_average", 2, LEARNS),
    ("elbo", "reinforce_learned", 2, LEARNS | {"feature_size": 1}),
    ("elbo", "reinforce_self_critical", 3, {}),
    ("elbo", "rloo", 3, {}),
    ("elbo", "exact_topk", 3, {"sampled_of_the_rest": 1}),
    ("elbo", "exact_topk", 4, {}),
    ("iwae", "vimco", 3, {}),
    ("elbo", "rloo", 3, {"kl_weight": 0.4}),
    ("iwae", "vimco", 3, {"kl_weight": 0.4}),
]
CASES = [
    pytest.param(problem, *case, id="-".join([problem, *map(str, case[:3]), *map(str, case[3])]))
    for problem in PROBLEMS
    for case in EVERYWHERE
] + [
    pytest.param("categorical", "elbo", "relax", 1, LEARNS | {"num_variables": 1, "num_classes": 6}, id="categorical-relax-1"),
    pytest.param("binary", "elbo", "relax", 3, LEARNS | {"num_variables": 3, "num_classes": 2}, id="binary-relax-3"),
    pytest.param("binary", "elbo", "disarm", 2, {}, id="binary-disarm-2"),
    pytest.param("binary", "elbo", "disarm", 6, {"kl_weight": 0.4}, id="binary-disarm-6"),
]


def is_off(row) -> bool:
    """Whether a mean this far off comes up less than once in ten thousand times where there is no bias."""
    return row.statistic > chi2.isf(1e-4, row.degrees_of_freedom)


@pytest.mark.parametrize(("problem", "objective", "estimator", "samples", "options"), CASES)
def test_the_estimate_is_unbiased_and_precise(problem, objective, estimator, samples, options):
    draws = 12_000 if estimator in ("rloo", "exact_topk", "relax", "disarm") else 25_000
    row = check_estimator(PROBLEMS[problem], objective, estimator, samples, draws=draws, chunk=draws, seed=1, **options)
    assert row.standard_error < 0.02
    assert row.degrees_of_freedom >= 5
    assert not is_off(row), row


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("objective", "estimator"), [("elbo", "exact"), ("marginal", "exact")])
def test_enumeration_has_no_variance(problem, objective, estimator):
    row = check_estimator(PROBLEMS[problem], objective, estimator, 1, draws=2)
    assert row.variance < 1e-20 and row.relative_bias < 1e-12


@pytest.mark.parametrize("objective", ["elbo", "marginal", "iwae"])
def test_the_exact_gradient_is_that_of_finite_differences(objective):
    """Of a bound written down here, with loops over single values."""
    problem, step = PROBLEMS["sampled_kl"], 1e-5

    def negative_bound(parameters: torch.Tensor) -> torch.Tensor:
        posterior, prior = problem.posterior(parameters[None]), problem.prior(parameters[None])
        values = posterior.enumerate_support()
        log_joint = (problem.log_likelihood(parameters[None], values) + prior.log_prob(values)).squeeze(1)
        log_q = posterior.log_prob(values).squeeze(1)
        if objective == "marginal":
            return -log_joint.exp().sum().log()
        bound = torch.zeros((), dtype=torch.float64)
        for first in range(len(values)):
            if objective == "elbo":
                bound += log_q[first].exp() * (log_joint[first] - log_q[first])
                continue
            for second in range(len(values)):
                weights = (log_joint - log_q).exp()[[first, second]]
                bound += (log_q[first] + log_q[second]).exp() * weights.mean().log()
        return -bound

    exact = exact_gradient(problem, objective, num_samples=2)
    for index in (0, 3, 7, len(exact) - 1):
        shift = torch.zeros_like(exact)
        shift[index] = step
        slope = (negative_bound(problem.start + shift) - negative_bound(problem.start - shift)) / (2 * step)
        assert exact[index].item() == pytest.approx(slope.item(), abs=1e-8)


class OwnSampleInItsBaseline(LeaveOneOutBaseline):
    def forward(self, scores, mode_score, features):
        return scores.mean(0), None


class HindsightBaseline(NoBaseline):
    """Half of the sample's own score: as good as halving the gradient."""

    def forward(self, scores, mode_score, features):
        return 0.5 * scores, None


class OwnWeightInItsBound(Vimco):
    class OwnDraws(VimcoDraws):
        def surrogate(self, log_weights, *, kl_weight=1.0):
            fixed = log_weights.detach()
            adds = torch.logsumexp(fixed, 0) - fixed.mean(0)
            return value_and_gradient(log_weights, (adds * self.log_prob).sum(0).expand_as(log_weights) * fixed.softmax(0))

    def _draw(self, posterior, num_samples, generator, features, temperature):
        return self.OwnDraws(posterior.sample((num_samples,), generator), posterior)


@pytest.mark.parametrize(
    ("objective", "mutant"),
    [
        ("elbo", ScoreFunction(OwnSampleInItsBaseline())),
        ("elbo", ScoreFunction(HindsightBaseline())),
        ("iwae", OwnWeightInItsBound()),
    ],
)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_mutant_that_judges_a_sample_by_itself_is_caught(problem, objective, mutant):
    assert is_off(check_estimator(PROBLEMS[problem], objective, mutant, 3, draws=12_000, seed=1))


@pytest.mark.parametrize(("problem", "largest"), [("categorical", 0.1), ("autoregressive", 0.35), ("binary", 0.06)])
@pytest.mark.parametrize("estimator", ["straight_through", "gumbel_softmax"])
def test_relaxed_estimators_are_biased_and_say_so(problem, largest, estimator):
    row = check_estimator(PROBLEMS[problem], "elbo", estimator, 4, draws=12_000, seed=1, temperature=0.5)
    assert ESTIMATORS[estimator].biased and is_off(row)
    assert row.standard_error < 0.02 < row.relative_bias + row.standard_error and row.relative_bias < largest
    assert row.cosine > 0.95


def test_a_colder_straight_through_is_less_biased_and_noisier():
    rows = [
        check_estimator(PROBLEMS["autoregressive"], "elbo", "straight_through", 1, draws=12_000, seed=1, temperature=degree)
        for degree in (0.2, 2.0)
    ]
    assert rows[0].relative_bias < 0.6 * rows[1].relative_bias
    assert rows[0].variance > 2 * rows[1].variance


def test_minimum_risk_over_few_candidates_is_biased():
    row = check_estimator(PROBLEMS["categorical"], "minimum_risk", None, 3, draws=12_000, seed=1)
    assert row.standard_error < 0.02 and 0.1 < row.relative_bias < 0.6


def test_the_others_baseline_lowers_the_variance_of_the_plain_score_function():
    variance = {
        name: check_estimator(PROBLEMS["categorical"], "elbo", name, 4, draws=3_000, seed=1, **options).variance
        for name, options in {"reinforce": {}, "rloo": {}, "reinforce_moving_average": LEARNS}.items()
    }
    assert variance["rloo"] < 0.5 * variance["reinforce"]
    assert variance["reinforce_moving_average"] < 0.5 * variance["reinforce"]


def test_a_trained_control_variate_lowers_the_variance():
    options = {"num_variables": 3, "num_classes": 2, "posterior_only": True, "draws": 4_000, "seed": 1}
    before = check_estimator(PROBLEMS["binary"], "elbo", "relax", 1, warm_up_draws=100, warm_up_steps=2, **options)
    after = check_estimator(PROBLEMS["binary"], "elbo", "relax", 1, warm_up_draws=100, warm_up_steps=100, **options)
    assert after.variance < 0.7 * before.variance
