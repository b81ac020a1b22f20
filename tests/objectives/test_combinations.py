import pytest

from hf_lvm.estimators import ESTIMATORS
from hf_lvm.objectives import OBJECTIVES, check_combination


def test_every_estimator_an_objective_takes_exists():
    for objective, estimators in OBJECTIVES.items():
        for estimator in estimators:
            assert estimator in ESTIMATORS
            check_combination(objective, estimator, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("elob", "reparameterization", 1), "Unknown objective 'elob': choose one of 'elbo'"),
        (
            ("elbo", "reinforce", 1),
            "'elbo' does not take the estimator 'reinforce': choose one of 'reparameterization'",
        ),
        (("elbo", "reparameterization", 0), "num_samples must be at least 1, but is 0"),
    ],
)
def test_refusals(arguments, said):
    with pytest.raises(ValueError, match=said):
        check_combination(*arguments)
