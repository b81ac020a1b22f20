"""Objectives of structures against sums over all of them, in float64."""

import pytest
import torch

from hf_lvm.estimators import build_estimator
from hf_lvm.objectives import draw_for, structured_bound
from hf_lvm.objectives.combinations import STRUCTURED
from tests.distributions.binary_tree.enumeration import all_masks, random_trees

TREES = all_masks(4, 4)


def scores_of(trees: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(x|z) and log p(z) of trees (..., 3, 4, 4), which differ by sentence: (..., 3) each."""
    tables = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return tuple((trees * table).sum((-1, -2)) - 4.0 for table in tables)


def terms_of(objective: str, estimator: str | None, num_samples: int, seed: int = 0, **options):
    posterior = random_trees(3, 4)
    built = None if estimator is None else build_estimator(estimator, feature_size=2)
    draws = draw_for(objective, built, posterior, num_samples, torch.Generator().manual_seed(seed), features=torch.ones(3, 2))
    log_likelihood, log_prior = scores_of(draws.latents)
    terms = structured_bound(objective, draws, log_likelihood, log_prior, posterior.entropy(), **options)
    return posterior, draws, terms


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
@pytest.mark.parametrize("objective", STRUCTURED)
def test_values_are_those_of_the_definitions(objective, kl_weight):
    posterior, draws, terms = terms_of(objective, STRUCTURED[objective][-1], 3, kl_weight=kl_weight)
    words, actions = scores_of(draws.latents)
    log_q, entropy = posterior.log_prob(draws.latents), posterior.entropy()
    weights = words + kl_weight * (actions - log_q)
    if objective == "elbo":
        expected = -(words + kl_weight * actions).mean(0) - kl_weight * entropy
    elif objective == "iwae":
        expected = -(weights.exp().mean(0).log())
    else:
        expected = -(draws.weights() * weights).sum(0)
    torch.testing.assert_close(terms.loss, expected)
    # What is reported is neither weighted nor importance-weighted, and has no gradient.
    torch.testing.assert_close(terms.reconstruction, -words.mean(0))
    torch.testing.assert_close(terms.kl, -actions.mean(0) - entropy)
    assert terms.kl_per_dimension is None and not (terms.reconstruction.requires_grad or terms.kl.requires_grad)


def test_the_bounds_stand_in_their_order():
    log_likelihood, log_prior = scores_of(TREES.unsqueeze(1).expand(-1, 3, -1, -1))
    exact = -(log_likelihood + log_prior).logsumexp(0)
    means = {}
    for objective, estimator in (("elbo", "rloo"), ("iwae", "vimco")):
        means[objective] = torch.stack([terms_of(objective, estimator, 8, seed)[2].loss for seed in range(100)]).mean(0)
    assert (means["elbo"] > means["iwae"]).all() and (means["iwae"] > exact).all()


def test_the_mode_as_a_baseline_is_scored_and_not_reported():
    posterior, draws, terms = terms_of("elbo", "reinforce_self_critical", 3)
    assert draws.latents.shape[0] == 4 and torch.equal(draws.latents[-1], posterior.mode)
    words, actions = scores_of(draws.latents[:3])
    torch.testing.assert_close(terms.loss, -(words + actions).mean(0) - posterior.entropy())
    torch.testing.assert_close(terms.reconstruction, -words.mean(0))


def test_an_unknown_objective():
    with pytest.raises(ValueError, match="Unknown objective 'marginal': choose one of 'elbo', 'iwae', 'minimum_risk'"):
        _, draws, _ = terms_of("elbo", "rloo", 2)
        structured_bound("marginal", draws, *scores_of(draws.latents), torch.zeros(3))
