"""Agreement with gold classes against its definitions written out, and class usage against enumerated posteriors."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_lvm.metrics
from hf_lvm.metrics.clustering.clustering import class_mutual_information, compute_class_usage, compute_clustering

# Eight tokens. Class 0 holds three nouns and a verb, class 1 two verbs, class 2 a verb and a determiner.
PREDICTIONS = [0, 0, 0, 0, 1, 1, 2, 2]
REFERENCES = ["NN", "NN", "NN", "VB", "VB", "VB", "VB", "DT"]


def test_eight_tokens_counted_by_hand():
    result = compute_clustering(PREDICTIONS, REFERENCES)
    assert result["many_to_one"] == (3 + 2 + 1) / 8
    assert result["one_to_one"] == (3 + 2 + 1) / 8  # 0 = NN, 1 = VB, 2 = DT
    assert result["majority_share"] == 4 / 8
    gold_entropy = 1 / 2 * math.log(2) + 3 / 8 * math.log(8 / 3) + 1 / 8 * math.log(8)
    unexplained = 1 / 2 * (3 / 4 * math.log(4 / 3) + 1 / 4 * math.log(4)) + 1 / 4 * math.log(2)
    homogeneity = 1 - unexplained / gold_entropy
    predicted_entropy = 1 / 2 * math.log(2) + 1 / 2 * math.log(4)
    spread = 4 / 8 * (1 / 2 * math.log(2) + 1 / 2 * math.log(4))
    completeness = 1 - spread / predicted_entropy
    assert result["homogeneity"] == pytest.approx(homogeneity)
    assert result["completeness"] == pytest.approx(completeness)
    assert result["v_measure"] == pytest.approx(2 * homogeneity * completeness / (homogeneity + completeness))
    assert result["perplexity"] == pytest.approx(math.exp(predicted_entropy))
    # 4 of the 28 pairs are together on both sides, 8 in the prediction, 9 in gold.
    by_chance = 8 * 9 / 28
    assert result["adjusted_rand"] == pytest.approx((4 - by_chance) / ((8 + 9) / 2 - by_chance))
    assert (result["used_classes"], result["gold_classes"], result["num_items"]) == (3, 3, 8)


def test_classes_that_only_have_other_names_agree_fully():
    result = compute_clustering([5, 5, 9, 0, 0, 0], ["a", "a", "b", "c", "c", "c"])
    shares = ("v_measure", "homogeneity", "completeness", "many_to_one", "one_to_one", "adjusted_rand")
    assert [result[name] for name in shares] == pytest.approx([1] * 6)


def test_a_collapsed_model_gets_no_more_than_the_majority():
    result = compute_clustering([4] * 6, [0, 0, 0, 1, 1, 2])
    assert (result["v_measure"], result["homogeneity"], result["completeness"]) == (0, 0, 1)
    assert result["many_to_one"] == result["one_to_one"] == result["majority_share"] == 1 / 2
    assert (result["adjusted_rand"], result["perplexity"], result["used_classes"]) == (0, 1, 1)


def test_a_class_for_every_item_is_homogeneous_and_nothing_else():
    result = compute_clustering(range(6), [0, 0, 0, 1, 1, 2])
    assert (result["homogeneity"], result["many_to_one"]) == pytest.approx((1, 1))
    assert (result["one_to_one"], result["adjusted_rand"]) == (3 / 6, 0)
    assert result["perplexity"] == pytest.approx(6)


LABELS = st.integers(1, 12).flatmap(
    lambda count: st.tuples(*[st.lists(st.integers(0, 3), min_size=count, max_size=count)] * 2)
)


@settings(max_examples=100, deadline=None)
@given(LABELS)
def test_it_is_what_the_definitions_say(labels):
    predicted, gold = labels
    result = compute_clustering(np.array(predicted), ["NVDA"[tag] for tag in gold])
    count = len(gold)
    mappings = [dict(enumerate(image)) for image in itertools.product(range(4), repeat=4)]
    agree = [sum(mapping[c] == tag for c, tag in zip(predicted, gold, strict=True)) / count for mapping in mappings]
    one_to_one = [share for share, mapping in zip(agree, mappings, strict=True) if len(set(mapping.values())) == 4]
    assert result["many_to_one"] == pytest.approx(max(agree))
    assert result["one_to_one"] == pytest.approx(max(one_to_one))

    def entropy(values):
        return -sum(values.count(value) / count * math.log(values.count(value) / count) for value in set(values))

    joint = entropy(list(zip(predicted, gold, strict=True)))
    homogeneity = 1 - (joint - entropy(predicted)) / entropy(gold) if len(set(gold)) > 1 else 1
    completeness = 1 - (joint - entropy(gold)) / entropy(predicted) if len(set(predicted)) > 1 else 1
    assert result["homogeneity"] == pytest.approx(homogeneity, abs=1e-9)
    assert result["completeness"] == pytest.approx(completeness, abs=1e-9)
    assert result["v_measure"] * (homogeneity + completeness) == pytest.approx(2 * homogeneity * completeness, abs=1e-9)
    assert result["perplexity"] == pytest.approx(math.exp(entropy(predicted)))


def test_the_module_takes_strings_whole_numbers_and_batches():
    metric = hf_lvm.metrics.load("clustering")
    expected = compute_clustering(PREDICTIONS, REFERENCES)
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == expected
    numbers = np.unique(REFERENCES, return_inverse=True)[1]
    assert metric.compute(predictions=np.array(PREDICTIONS), references=numbers) == expected
    # Numerals are names as well, and names among them do not make numbers of them.
    numerals = ["7" if tag == "NN" else tag for tag in REFERENCES]
    for start in range(0, 8, 4):
        metric.add_batch(predictions=PREDICTIONS[start : start + 4], references=numerals[start : start + 4])
    assert metric.compute() == expected


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "0 predictions and 0 references"),
        ([0, 1], ["a"], "2 predictions and 1 references"),
        ([[0, 1], [0, 1]], [0, 1], r"predictions has shape \(2, 2\).*flat list.*for tag in sentence"),
        ([[0, 1], [0]], [0, 1], "predictions is nested.*for tag in sentence"),
        ([0, 1], "ab", "references is one string"),
        ([0, 1], [3, "a"], "references is made of int, str"),
        ([0, 1], ["a", None], "references is made of NoneType, str"),
        ([0.0, 1.5], ["a", "b"], "predictions is made of float"),
        ([0, 1, 1], [0, 1, -100], "references holds -100.*leave those out"),
    ],
)
def test_wrong_classes_are_named(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        compute_clustering(predictions, references)


def random_posteriors(*shape: int, concentration: float = 0.3) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.full(shape[-1], concentration), size=shape[:-1])


def test_usage_is_the_sum_over_all_classes():
    posterior = random_posteriors(7, 4)
    aggregate = [sum(row[c] for row in posterior) / 7 for c in range(4)]
    entropy = -sum(p * math.log(p) for p in aggregate)
    information = sum(p * math.log(p / q) / 7 for row in posterior for p, q in zip(row, aggregate, strict=True))
    result = compute_class_usage(posterior)
    assert result["mutual_information"] == pytest.approx(information)
    assert result["aggregate_entropy"] == pytest.approx(entropy)
    assert result["aggregate_perplexity"] == pytest.approx(math.exp(entropy))
    assert result["aggregate_entropy"] - result["posterior_entropy"] == pytest.approx(information)
    assert result["mutual_information_ceiling"] == math.log(4)
    assert (result["classes"], result["num_items"]) == (4, 7)
    assert result["used_classes"] == len(set(posterior.argmax(1)))


def test_classes_that_are_known_for_sure_reach_the_ceiling():
    # Three classes of four, two data points each: zeros everywhere.
    result = compute_class_usage(np.eye(4)[[0, 1, 3, 0, 1, 3]])
    assert result["mutual_information"] == pytest.approx(math.log(3))
    assert (result["posterior_entropy"], result["used_classes"]) == (0, 3)
    assert result["aggregate_perplexity"] == pytest.approx(3)
    one_each = compute_class_usage(np.eye(4)[:3])
    assert (
        one_each["mutual_information"] == pytest.approx(one_each["mutual_information_ceiling"]) == pytest.approx(math.log(3))
    )


def test_variables_with_different_numbers_of_classes_have_a_ceiling_each():
    posterior = np.stack([random_posteriors(9, 4), np.pad(random_posteriors(9, 2), ((0, 0), (0, 2)))], axis=1)
    result = compute_class_usage(posterior, class_counts=[4, 2])
    assert result["classes"] == [4, 2] and result["mutual_information_ceiling"] == [math.log(4), math.log(2)]
    assert result["mutual_information"] == compute_class_usage(posterior)["mutual_information"]
    assert compute_class_usage(posterior, class_counts=[4, 4]) == compute_class_usage(posterior)
    for wrong in ([2, 4], [4]):
        with pytest.raises(ValueError, match="give one number for each of 2 variables"):
            compute_class_usage(posterior, class_counts=wrong)


@pytest.mark.parametrize("row", [[0.25] * 4, [1.0, 0.0, 0.0, 0.0], [0.7, 0.1, 0.1, 0.1]])
def test_a_posterior_that_ignores_the_data_point_knows_nothing(row):
    result = compute_class_usage([row] * 11)
    assert result["mutual_information"] == pytest.approx(0, abs=1e-12) and result["mutual_information"] >= 0
    assert result["used_classes"] == 1
    assert result["aggregate_entropy"] == pytest.approx(-sum(p * math.log(p) for p in row if p))


def test_rare_classes_fall_below_the_threshold():
    posterior = np.eye(3)[[0] * 6 + [1] * 3 + [2]]
    assert [compute_class_usage(posterior, threshold)["used_classes"] for threshold in (0, 0.1, 0.11, 0.3, 0.5)] == [
        3,
        3,
        2,
        2,
        1,
    ]


def test_several_variables_are_taken_one_by_one():
    posterior = random_posteriors(9, 3, 5)
    result = compute_class_usage(posterior)
    alone = [compute_class_usage(posterior[:, variable]) for variable in range(3)]
    for name in ("mutual_information", "aggregate_entropy", "posterior_entropy", "aggregate_perplexity", "used_classes"):
        assert result[name] == pytest.approx([one[name] for one in alone])


def test_the_sum_over_variables_bounds_the_joint_of_a_factorised_posterior_from_above():
    first, second = np.moveaxis(random_posteriors(50, 2, 4), 1, 0)
    parts = class_mutual_information(np.stack([first, second], axis=1))
    joint = class_mutual_information((first[:, :, None] * second[:, None, :]).reshape(50, 16))
    assert parts.max() < joint < parts.sum()
    # A second variable that repeats the first: counted twice, though it adds next to nothing.
    sure = np.eye(4)[np.arange(8) % 4]
    twice = class_mutual_information(np.stack([sure, sure], axis=1))
    assert twice.sum() == pytest.approx(2 * class_mutual_information((sure[:, :, None] * sure[:, None, :]).reshape(8, 16)))


def test_without_a_product_the_sum_over_variables_bounds_nothing():
    # x says whether two fair coins fall on the same side: each coin alone tells nothing of it.
    joint = np.array([[[0.5, 0.0], [0.0, 0.5]], [[0.0, 0.5], [0.5, 0.0]]])
    parts = class_mutual_information(np.stack([joint.sum(2), joint.sum(1)], axis=1))
    np.testing.assert_allclose(parts, [0, 0], atol=1e-15)
    assert class_mutual_information(joint.reshape(2, 4)) == pytest.approx(math.log(2))


def test_rounding_of_a_float32_softmax_is_divided_out():
    logits = np.random.default_rng(0).normal(scale=3, size=(20, 500))
    exact = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert class_mutual_information(exact.astype(np.float32)) == pytest.approx(class_mutual_information(exact), abs=1e-6)
    assert class_mutual_information(exact * 1.00005) == pytest.approx(class_mutual_information(exact), abs=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.5, 0.5], r"shape \(2,\).*\(data points, classes\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.full((2, 2, 2, 2), 0.5), r"shape \(2, 2, 2, 2\)"),
        ([[0.5, 0.5], [math.nan, 1.0]], "NaN"),
        ([[0.5, 0.5], [1.2, -0.2]], "negative.*not logits"),
        ([[0.5, 0.5], [0.5, 0.4]], "sums to 0.9;.*softmax"),
    ],
)
def test_wrong_posteriors_are_named(probabilities, message):
    with pytest.raises(ValueError, match=message):
        compute_class_usage(probabilities)


def test_a_threshold_is_a_share():
    with pytest.raises(ValueError, match="threshold is 5;.*0-1"):
        compute_class_usage([[0.5, 0.5]], threshold=5)
