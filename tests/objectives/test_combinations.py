import pytest

from hf_lvm.estimators import ESTIMATORS
from hf_lvm.objectives import OBJECTIVES, check_combination


def test_every_estimator_an_objective_takes_exists():
    for objective, estimators in OBJECTIVES.items():
        for estimator in estimators:
            assert estimator in ESTIMATORS
            check_combination(objective, estimator, 2)
    check_combination("elbo", "reparameterization", 1, free_bits_mode="kingma")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("elob", "reparameterization", 1), "Unknown objective 'elob': choose one of 'elbo', 'iwae'"),
        (
            ("elbo", "reinforce", 1),
            "'elbo' does not take the estimator 'reinforce': choose one of 'reparameterization'",
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
