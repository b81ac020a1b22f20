"""The picture of estimators: all that scatter, each by its name."""

import dataclasses

import pytest

from hf_lvm.analysis.estimator_check import EstimatorRow, draw_estimators

RLOO = EstimatorRow(
    problem="toy",
    objective="elbo",
    estimator="rloo",
    num_samples=4,
    scored_latents=4,
    draws=100,
    relative_bias=0.02,
    standard_error=0.03,
    cosine=0.99,
    cosine_of_one=0.7,
    variance=1.3,
    statistic=2.0,
    degrees_of_freedom=3.0,
    p_value=0.6,
    is_biased=False,
    seconds=20.0,
)
EXACT = dataclasses.replace(RLOO, estimator="exact", variance=1e-17)


@pytest.mark.filterwarnings("error")
def test_problems_of_different_estimators_and_scales_fit_in_one_picture(tmp_path):
    rows = [
        RLOO,
        EXACT,
        dataclasses.replace(RLOO, estimator="reinforce", variance=4e6, relative_bias=31.0, cosine_of_one=-0.1),
        dataclasses.replace(RLOO, problem="other", objective="minimum_risk", estimator=None, is_biased=True),
        dataclasses.replace(RLOO, problem="other", estimator="Own", p_value=1e-9),
    ]
    path = draw_estimators(rows, tmp_path / "figures" / "estimators.png")
    assert path.stat().st_size > 20_000


def test_without_scatter_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="no estimator with a variance"):
        draw_estimators([EXACT], tmp_path / "estimators.png")
