"""Importance weights whose mean is known: the estimate, its error, and the bound of every smaller number of samples."""

import math

import numpy as np
import pytest

from hf_lvm.metrics.importance_weighting.importance_weighting import compute_importance_weighting


def test_weights_that_are_all_equal_say_log_p_itself_at_every_size():
    result = compute_importance_weighting(np.full((3, 500), -20.0))
    assert result["nats_per_sentence"] == pytest.approx(20)
    assert result["mean_effective_sample_size"] == pytest.approx(500)
    assert result["low_sample_size_sentences"] == 0
    assert [(row["num_samples"], row["groups"]) for row in result["convergence"]] == [(1, 500), (10, 50), (100, 5), (500, 1)]
    assert [row["nats_per_sentence"] for row in result["convergence"]] == pytest.approx([20.0] * 4)
    assert [row["sampling_standard_error"] for row in result["convergence"]] == pytest.approx([0.0] * 4, abs=1e-9)


def test_two_kinds_of_weights_by_hand():
    # w is 1 or 3, so p(x) = 2; groups of 2 in the order drawn.
    log_weights = np.log([[1.0, 3.0, 3.0, 3.0]])
    result = compute_importance_weighting(log_weights, sizes=[1, 2, 9])
    assert result["nats_per_sentence"] == pytest.approx(-math.log(2.5))
    assert result["mean_effective_sample_size"] == pytest.approx(10**2 / 28)
    assert (result["low_sample_size_sentences"], result["low_sample_size_share"]) == (1, 1.0)
    assert [row["num_samples"] for row in result["convergence"]] == [1, 2, 4]
    one, two, four = result["convergence"]
    assert one["nats_per_sentence"] == pytest.approx(-3 / 4 * math.log(3))
    assert one["sampling_standard_error"] == pytest.approx(np.log([1, 3, 3, 3]).std(ddof=1) / 2)
    assert two["nats_per_sentence"] == pytest.approx(-(math.log(2) + math.log(3)) / 2)
    assert four["sampling_standard_error"] == pytest.approx(np.std([1, 3, 3, 3], ddof=1) / 2 / 2.5)
    assert four["sampling_standard_error"] == result["sampling_standard_error"]


def test_gaussian_log_weights_converge_to_the_known_likelihood_within_their_errors():
    # log w ~ N(-30 - 0.5, 1), so E[w] = exp(-30) and the bound with one sample is -30.5.
    rng = np.random.default_rng(0)
    log_weights = rng.normal(-30.5, 1.0, size=(400, 500))
    result = compute_importance_weighting(log_weights)
    one, *_, all_samples = result["convergence"]
    assert abs(one["nats_per_sentence"] - 30.5) < 4 * one["sampling_standard_error"] < 0.02
    # The bias of 500 samples is Var(w) / (2 * 500) = (e - 1) / 1000 relative to E[w].
    expected = 30 + (math.e - 1) / 1000
    assert abs(all_samples["nats_per_sentence"] - expected) < 4 * all_samples["sampling_standard_error"] < 0.05
    values = [row["nats_per_sentence"] for row in result["convergence"]]
    assert values == sorted(values, reverse=True)
    # The effective sample size is near K E[w]^2 / E[w^2] = 500 / e.
    assert result["mean_effective_sample_size"] == pytest.approx(500 / math.e, rel=0.1)


def test_the_sign_of_the_weights_matters():
    # Negated log weights, a defect of published code, turn the bound round: more samples would raise -log p(x).
    log_weights = np.random.default_rng(1).normal(-30, 2.0, size=(200, 100))
    right = [row["nats_per_sentence"] for row in compute_importance_weighting(log_weights)["convergence"]]
    wrong = [-row["nats_per_sentence"] for row in compute_importance_weighting(-log_weights)["convergence"]]
    assert right[0] == pytest.approx(wrong[0])
    assert right[-1] < right[0] - 1 and wrong[-1] > wrong[0] + 1


def test_one_sample_has_no_standard_error():
    result = compute_importance_weighting([[-3.0], [-5.0]])
    assert result["nats_per_sentence"] == 4 and result["sampling_standard_error"] is None
    assert [row["num_samples"] for row in result["convergence"]] == [1]


def test_low_sample_sizes_are_counted():
    log_weights = np.zeros((4, 20))
    log_weights[:3, 0] = 30.0  # one sample carries three of the sentences
    result = compute_importance_weighting(log_weights)
    assert (result["low_sample_size_sentences"], result["low_sample_size_share"]) == (3, 0.75)


@pytest.mark.parametrize(
    ("log_weights", "sizes", "message"),
    [
        ([1.0, 2.0], [1], r"shape \(2,\)"),
        (np.zeros((0, 3)), [1], r"shape \(0, 3\)"),
        ([[1.0, 2.0], [1.0, math.nan]], [1], "not finite in 1 of 2 sentences, first in sentence 1"),
        ([[1.0, 2.0]], [0], r"sizes is \[0\]"),
        ([[1.0, 2.0]], [1.5], r"sizes is \[1.5\]"),
    ],
)
def test_wrong_input_is_named(log_weights, sizes, message):
    with pytest.raises(ValueError, match=message):
        compute_importance_weighting(log_weights, sizes=sizes)
