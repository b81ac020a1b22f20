import pytest

from hf_lvm.estimators import ESTIMATORS
from hf_lvm.objectives import OBJECTIVES, check_combination


def test_every_estimator_an_objective_takes_exists():
    for latents, objectives in OBJECTIVES.items():
        for objective, estimators in objectives.items():
            for estimator in estimators:
                assert estimator in ESTIMATORS or (objective, estimator) == ("minimum_risk", None)
                check_combination(objective, estimator, 2, latents=latents)
    named = {name for objectives in OBJECTIVES.values() for estimators in objectives.values() for name in estimators}
    assert set(ESTIMATORS) == named - {None}
    check_combination("elbo", "reparameterization", 1, free_bits_mode="kingma")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("elob", "reparameterization", 1), "Unknown objective 'elob': choose one of 'elbo', 'iwae' for continuous latents"),
        (
            ("elbo", "reinforce", 1),
            "'elbo' does not take the estimator 'reinforce': choose one of 'reparameterization'.* not for continuous latents",
        ),
        (("elbo", "dreg", 4), "'elbo' does not take the estimator 'dreg'.*'dreg' goes with the objective 'iwae'"),
        (("elbo", "reparameterization", 0), "num_samples must be at least 1, but is 0"),
        (("iwae", "dreg", 1), "one sample is the ELBO .* set num_samples to 2 or more"),
        (("iwae", "reparameterization", 1), "choose the objective 'elbo'"),
    ],
)
def test_refusals(arguments, said):
    with pytest.raises(ValueError, match=said):
        check_combination(*arguments)


def test_the_k_sample_bound_takes_no_free_bits():
    with pytest.raises(ValueError, match="'per_dimension' holds up the KL term .* set free_bits to 0"):
        check_combination("iwae", "dreg", 5, free_bits_mode="per_dimension")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("elbo", "reparameterization", 1), "does not take .*'reparameterization' is not for discrete latents"),
        (("marginal", "rloo", 4), "'marginal' does not take the estimator 'rloo': choose one of 'exact'. 'rloo' goes with"),
        (("minimum_risk", "rloo", 4), "does not take the estimator 'rloo': leave estimator unset. 'rloo' goes with"),
        (("elbo", "rloo", 1), "judges each sample by the others, and num_samples is 1"),
        (("iwae", "exact", 4), "choose one of 'vimco'"),
    ],
)
def test_refusals_of_discrete_latents(arguments, said):
    with pytest.raises(ValueError, match=said):
        check_combination(*arguments, latents="discrete")
    with pytest.raises(ValueError, match="the marginal likelihood has no KL term: set free_bits to 0"):
        check_combination("marginal", "exact", 1, latents="discrete", free_bits_mode="kingma")
