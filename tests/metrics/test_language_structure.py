"""Structure of languages against counts by hand, definitions written out one by one, and codes whose structure is known."""

import itertools
import json
import math
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine
from scipy.stats import spearmanr
from sklearn.metrics import mutual_info_score

import hf_lvm.metrics
from hf_lvm.metrics.language_structure import language_structure
from hf_lvm.metrics.language_structure.communication import accuracy_by_length, target_credit
from hf_lvm.metrics.language_structure.disentanglement import bag_of_symbols_disentanglement, positional_disentanglement
from hf_lvm.metrics.language_structure.distances import choose_pairs, edit_distances, meaning_distances, message_distances
from hf_lvm.metrics.language_structure.information import (
    entropy,
    information_table,
    miller_madow_entropy,
    miller_madow_information,
    mutual_information,
)
from hf_lvm.metrics.language_structure.language_structure import compute_language_structure, unique_message_share
from hf_lvm.metrics.language_structure.messages import PADDING, message_table
from hf_lvm.metrics.language_structure.topography import topographic_similarity

GRID = np.array(list(itertools.product(range(4), repeat=3)))
# A symbol for each value of each attribute, the last value of the last attribute said by saying nothing.
CODE = [[a, 4 + b, 8 + c][: 3 - (c == 3)] for a, b, c in GRID]
MESSAGE = st.lists(st.integers(0, 3), max_size=6)
LANGUAGE = st.lists(st.tuples(MESSAGE, st.tuples(st.integers(0, 2), st.integers(0, 2))), min_size=3, max_size=25)


def shuffled(messages: list, seed: int = 0) -> list:
    return [messages[row] for row in np.random.default_rng(seed).permutation(len(messages))]


def slow_edit_distance(first: list[int], second: list[int]) -> int:
    if not first or not second:
        return len(first) + len(second)
    return min(
        slow_edit_distance(first[1:], second) + 1,
        slow_edit_distance(first, second[1:]) + 1,
        slow_edit_distance(first[1:], second[1:]) + (first[0] != second[0]),
    )


def slow_entropy(values: list) -> float:
    return -sum(n / len(values) * math.log(n / len(values)) for n in Counter(values).values())


def slow_information(first: list, second: list) -> float:
    return slow_entropy(first) + slow_entropy(second) - slow_entropy(list(zip(first, second, strict=True)))


def slow_disentanglement(variables: list[list], attributes: list[list]) -> float:
    gaps = []
    for variable in variables:
        if len(set(variable)) > 1:
            one, two, *_ = sorted((slow_information(variable, attribute) for attribute in attributes), reverse=True)
            gaps.append((one - two) / slow_entropy(variable))
    return sum(gaps) / len(gaps) if gaps else math.nan


# Distances.


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=2, max_size=6))
def test_edit_distances_are_those_of_the_recursive_definition(messages):
    table, pairs = message_table(messages), np.triu_indices(len(messages), k=1)
    expected = [slow_edit_distance(messages[i], messages[j]) for i, j in zip(*pairs, strict=True)]
    assert edit_distances(table, *pairs).tolist() == expected
    # The same where each pair of different messages is computed once.
    twice = message_table(messages * 2)
    pairs = np.triu_indices(len(twice), k=1)
    by_hand = [slow_edit_distance((messages * 2)[i], (messages * 2)[j]) for i, j in zip(*pairs, strict=True)]
    assert message_distances(twice, *pairs).tolist() == by_hand


@pytest.mark.parametrize("length", [20, 70, 400])
def test_edit_distances_of_long_messages(length):
    """Whatever the number of bytes they need."""
    start, other = list(range(length)), [length] * length
    table = message_table([start, start[1:], start[:3] + [0] + start[3:], other, []])
    zero, rest = np.zeros(4, np.int64), np.arange(1, 5)
    assert edit_distances(table, zero, rest).tolist() == [1, 1, length, length]
    assert edit_distances(table, rest, zero).tolist() == [1, 1, length, length]


def test_distances_counted_by_hand():
    table = message_table([[1, 2, 3], [2, 3], [], [1, 2, 4, 3, 3], [9]])
    first, second = np.array([0, 0, 0, 2, 2]), np.array([1, 2, 3, 2, 4])
    assert message_distances(table, first, second, "edit").tolist() == [1, 3, 2, 0, 1]
    assert message_distances(table, first, second, "edit_over_longer").tolist() == [1 / 3, 1, 2 / 5, 0, 1]
    assert message_distances(table, first, second, "edit_over_mean").tolist() == [1 / 2.5, 2, 2 / 4, 0, 2]
    # [1, 2, 3] against [2, 3, none]; against [1, 2, 4, 3, 3].
    assert message_distances(table, first, second, "hamming").tolist() == [3, 3, 3, 0, 1]


def test_distances_of_meanings():
    attributes = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 2]])
    pairs = np.triu_indices(3, k=1)
    assert meaning_distances(attributes, *pairs, "hamming").tolist() == [2, 0, 2]
    vectors = np.random.default_rng(0).normal(size=(9, 4))
    for chosen in (np.triu_indices(9, k=1), (np.array([1, 5]), np.array([2, 0]))):
        rows = list(zip(*chosen, strict=True))
        expected = [cosine(vectors[i], vectors[j]) for i, j in rows]
        np.testing.assert_allclose(meaning_distances(vectors, *chosen, "cosine"), expected, atol=1e-12)
        expected = [math.dist(vectors[i], vectors[j]) for i, j in rows]
        np.testing.assert_allclose(meaning_distances(vectors, *chosen, "euclidean"), expected, atol=1e-12)


def test_pairs_are_all_or_drawn():
    assert list(zip(*choose_pairs(4, 6), strict=True)) == list(itertools.combinations(range(4), 2))
    first, second = choose_pairs(5, 9, seed=3)
    assert len(first) == 9 and (first != second).all()
    assert np.array_equal(choose_pairs(5, 9, seed=3), (first, second))
    assert not np.array_equal(choose_pairs(5, 9, seed=4), (first, second))
    drawn = Counter(tuple(sorted(pair)) for pair in np.stack(choose_pairs(80, 3000)).T.tolist())
    assert max(drawn.values()) < 10
    many = Counter(tuple(sorted(pair)) for seed in range(2000) for pair in np.stack(choose_pairs(5, 9, seed)).T.tolist())
    assert len(many) == 10 and all(abs(count - 1800) < 200 for count in many.values())  # five standard deviations


# Topographic similarity.


@settings(max_examples=40, deadline=None)
@given(LANGUAGE)
def test_topographic_similarity_is_the_rank_correlation_of_the_distances(language):
    messages, meanings = map(list, zip(*language, strict=True))
    pairs = list(itertools.combinations(range(len(language)), 2))
    spoken = [slow_edit_distance(messages[i], messages[j]) if messages[i] != messages[j] else 0 for i, j in pairs]
    meant = [sum(a != b for a, b in zip(meanings[i], meanings[j], strict=True)) for i, j in pairs]
    measured = topographic_similarity(messages, meanings)
    if len(set(spoken)) == 1 or len(set(meant)) == 1:
        assert math.isnan(measured)
    else:
        assert measured == pytest.approx(spearmanr(spoken, meant).statistic, abs=1e-12)


def test_a_compositional_language_is_topographic_and_a_permuted_one_is_not():
    assert topographic_similarity(CODE, GRID) == pytest.approx(1)
    assert topographic_similarity(CODE, GRID, message_distance="hamming") == pytest.approx(1)
    values = [topographic_similarity(shuffled(CODE, seed), GRID) for seed in range(20)]
    assert abs(np.mean(values)) < 0.03 and max(map(abs, values)) < 0.15
    # Near meanings far apart in what is said of them.
    backwards = [[0, 0, 0], [1, 1, 1], [0, 0, 1]]
    assert topographic_similarity(backwards, [[0, 0], [0, 1], [1, 1]]) == pytest.approx(-math.sqrt(3) / 2)


def test_one_hot_vectors_are_as_near_as_their_attributes():
    """Rounding breaks no tie: cosines of equal angles come out different in the last digits."""
    messages = shuffled(CODE)
    expected = topographic_similarity(messages, GRID)
    one_hot = np.eye(4)[GRID].reshape(len(GRID), -1) * 0.1
    for distance in ("cosine", "euclidean"):
        assert topographic_similarity(messages, one_hot, meaning_distance=distance) == pytest.approx(expected, abs=1e-12)
    turned = one_hot @ np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
    assert topographic_similarity(messages, turned) == pytest.approx(expected, abs=1e-12)


def test_drawn_pairs_tell_nearly_the_same():
    messages = CODE[:32] + shuffled(CODE)[32:]
    every = topographic_similarity(messages, GRID)
    drawn = [topographic_similarity(messages, GRID, max_pairs=1500, seed=seed) for seed in range(20)]
    assert 0.2 < every < 0.8
    assert abs(np.mean(drawn) - every) < 0.02 and 0.005 < np.std(drawn) < 0.05
    assert topographic_similarity(messages, GRID, max_pairs=1500) == drawn[0]


@pytest.mark.parametrize(
    ("messages", "meanings"),
    [
        ([[1, 2]], [[0, 1]]),
        ([[1], [2]], [[0, 1], [1, 1]]),
        ([[1]] * 4, [[0], [1], [2], [3]]),
        ([[], [], []], [[0], [1], [2]]),
        ([[1], [2], [3]], [[0, 0], [1, 0], [1, 1]]),
        ([[1], [2], [2, 3]], [[0], [0], [0]]),
    ],
    ids=["one", "two", "one message", "empty", "equally far", "one meaning"],
)
def test_without_distances_that_differ_there_is_no_similarity(messages, meanings):
    assert math.isnan(topographic_similarity(messages, meanings))


# Disentanglement.


@settings(max_examples=40, deadline=None)
@given(LANGUAGE)
def test_disentanglement_is_the_published_mean_over_positions_and_symbols(language):
    messages, meanings = map(list, zip(*language, strict=True))
    attributes = list(zip(*meanings, strict=True))
    longest = max(map(len, messages))
    positions = [[message[place] if place < len(message) else None for message in messages] for place in range(longest)]
    counts = [[message.count(symbol) for message in messages] for symbol in range(4)]
    expected = slow_disentanglement(positions, attributes)
    assert positional_disentanglement(messages, meanings) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    expected = slow_disentanglement(counts, attributes)
    assert bag_of_symbols_disentanglement(messages, meanings) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_gap_by_hand():
    """H(s) = 1.5 bits, of which the first attribute tells 1 bit and the second half a bit."""
    meanings = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert positional_disentanglement([[0], [0], [1], [2]], meanings) == pytest.approx(1 / 3)
    # A symbol for each meaning tells both alike; a position that never changes does not count.
    assert positional_disentanglement([[0, 7], [1, 7], [2, 7], [3, 7]], meanings) == pytest.approx(0)
    assert positional_disentanglement([[0, 7], [0, 7], [1, 7], [2, 7]], meanings) == pytest.approx(1 / 3)


def test_languages_of_the_literature():
    # Appendix 8.2 of Chaabouni et al. 2020, as in the documentation of EGG: a symbol for each value, at no fixed place.
    meanings = list(itertools.product(range(4), repeat=2))
    messages = [[a, 4 + b, a] if a in (1, 2) or (a, b) == (3, 0) else [a, a, 4 + b] for a, b in meanings]
    assert bag_of_symbols_disentanglement(messages, meanings) == pytest.approx(1)
    assert positional_disentanglement(messages, meanings) < 0.9
    # The value that EGG documents for 1,000 drawn meanings, with and without a third position that is always the same.
    torch.manual_seed(0)
    meanings = torch.cat([torch.randint(0, 10, (1000, 1)) for _ in range(2)], dim=1)
    assert positional_disentanglement(meanings, meanings) == pytest.approx(0.978656, abs=1e-6)
    longer = torch.cat([meanings, torch.zeros_like(meanings)], dim=1)
    assert positional_disentanglement(longer, meanings) == pytest.approx(0.978656, abs=1e-6)


def test_compositional_languages_are_disentangled_and_permuted_ones_are_not():
    assert positional_disentanglement(CODE, GRID) == pytest.approx(1)
    assert bag_of_symbols_disentanglement(CODE, GRID) == pytest.approx(1)
    # The same symbols for all attributes: only the place tells which.
    assert positional_disentanglement(GRID, GRID) == pytest.approx(1)
    assert bag_of_symbols_disentanglement(GRID, GRID) < 0.1
    # The words in any order: only the symbols tell.
    free = [shuffled(message, seed) for seed, message in enumerate(CODE)]
    assert bag_of_symbols_disentanglement(free, GRID) == pytest.approx(1)
    assert positional_disentanglement(free, GRID) < 0.2
    grid = np.array(list(itertools.product(range(4), repeat=5)))
    random = np.random.default_rng(0).permutation(grid)
    assert positional_disentanglement(random, grid) < 0.01
    assert bag_of_symbols_disentanglement(random + 4 * np.arange(5), grid) < 0.01


def test_padding_is_a_value_of_a_position():
    """The length alone tells the first attribute, at the second position."""
    meanings = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert positional_disentanglement([[5], [5], [5, 5], [5, 5]], meanings) == pytest.approx(1)
    assert bag_of_symbols_disentanglement([[5], [5], [5, 5], [5, 5]], meanings) == pytest.approx(1)


@pytest.mark.parametrize("measure", [positional_disentanglement, bag_of_symbols_disentanglement])
def test_where_disentanglement_is_undefined(measure):
    assert math.isnan(measure([[1], [2], [3]], [[0], [1], [2]]))  # nothing to tell the attribute from
    assert math.isnan(measure([[1, 2]] * 3, [[0, 0], [1, 0], [1, 1]]))
    assert math.isnan(measure([[], []], [[0, 0], [1, 0]]))
    assert measure([[1], [2], [3]], [[0, 4], [1, 4], [2, 4]]) == pytest.approx(1)  # an attribute that never changes


# Information.


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 2), st.integers(7, 9)), min_size=1, max_size=40))
def test_information_is_that_of_the_definition_and_of_scikit_learn(rows):
    table = np.array(rows)
    first, second, third = table.T
    assert entropy(first) == pytest.approx(slow_entropy(first.tolist()), abs=1e-12)
    assert mutual_information(first, second) == pytest.approx(mutual_info_score(first, second), abs=1e-9)
    information, entropies = information_table(table[:, :2], table[:, 1:])
    expected = [[mutual_info_score(x, y) for y in (second, third)] for x in (first, second)]
    np.testing.assert_allclose(information, expected, atol=1e-9)
    np.testing.assert_allclose(entropies, [entropy(first), entropy(second)], atol=1e-12)
    assert (information <= entropies[:, None]).all() and (information >= 0).all()


def test_the_correction_of_miller_and_madow():
    values = np.array([0, 0, 1, 2])
    assert miller_madow_entropy(values) == pytest.approx(entropy(values) + 2 / 8)
    other = np.array([0, 1, 1, 1])  # 3 values, 2 values, 4 pairs
    assert miller_madow_information(values, other) == pytest.approx(mutual_information(values, other) + (3 + 2 - 4 - 1) / 8)
    independent = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert miller_madow_information(*independent) == pytest.approx(-1 / 8)
    # Of 100 rows drawn from 10 equally likely values: nearer to log 10 in the mean.
    drawn = np.random.default_rng(0).integers(0, 10, (400, 100))
    plug_in, corrected = (np.mean([measure(row) for row in drawn]) for measure in (entropy, miller_madow_entropy))
    assert plug_in < math.log(10) - 0.03 and abs(corrected - math.log(10)) < 0.01
    # And of two independent variables of 3 values nearer to 0.
    pairs = np.random.default_rng(1).integers(0, 3, (400, 2, 100))
    plug_in, corrected = (
        np.mean([measure(*row) for row in pairs]) for measure in (mutual_information, miller_madow_information)
    )
    assert plug_in > 0.015 and abs(corrected) < 0.004


def test_meanings_with_messages_of_their_own():
    meanings = np.array([[0], [1], [2], [3]])
    assert unique_message_share([[1], [2], [1, 2], []], meanings) == 1
    assert unique_message_share([[1], [1], [2], [3]], meanings) == 0.5
    assert unique_message_share([[1]] * 4, meanings) == 0
    # Two messages for one meaning, one of which also means another.
    assert unique_message_share([[1], [2], [2], [3], [3]], np.array([[0], [0], [1], [2], [2]])) == pytest.approx(1 / 3)


# Communication.


def test_credit_of_the_target_is_shared_among_equals():
    logits = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, -np.inf, -np.inf]])
    assert target_credit(logits, [0, 1, 2, 0, 0]).tolist() == [1, 1 / 2, 1 / 3, 0, 1]
    assert target_credit(torch.from_numpy(logits), torch.tensor([0, 1, 2, 0, 0])).mean() == pytest.approx(17 / 30)


def test_accuracy_of_each_length():
    rows = accuracy_by_length([2, 0, 2, 2, 2], [1, 0.5, 0, 0, 1])
    assert rows == [
        {"length": 0, "messages": 1, "accuracy": 0.5, "standard_error": None},
        {"length": 2, "messages": 4, "accuracy": 0.5, "standard_error": pytest.approx(math.sqrt(1 / 3) / 2)},
    ]


# All together.


def test_what_is_measured_of_a_small_language():
    meanings = [[0, 0], [0, 1], [1, 0], [1, 1]]
    result = compute_language_structure(
        [[4, 7], [4], [5, 7, 7], []], meanings, [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0], [2.0, 1.0]], [0, 1, 1, 1]
    )
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["mean_length"], result["shortest"], result["longest"], result["empty_messages"]) == (1.5, 0, 3, 1)
    assert result["length_standard_deviation"] == pytest.approx(math.sqrt(1.25))
    assert (result["distinct_messages"], result["distinct_meanings"], result["distinct_symbols"]) == (4, 4, 3)
    assert (result["accuracy"], result["chance"]) == (0.625, 0.5)
    assert [row["accuracy"] for row in result["accuracy_by_length"]] == [0, 0.5, 1, 1]
    assert result["message_entropy"] == result["message_entropy_ceiling"] == pytest.approx(math.log(4))
    assert result["message_entropy_miller_madow"] == pytest.approx(math.log(4) + 3 / 8)
    assert result["attribute_information_share"] == pytest.approx([1, 1])
    assert result["attribute_information_miller_madow"] == pytest.approx([math.log(2) + (4 + 2 - 4 - 1) / 8] * 2)
    # First position: 4, 4, 5, none. Second: 7, none, 7, none. Third: none but once.
    assert result["position_entropy"] == pytest.approx([1.5 * math.log(2), math.log(2), slow_entropy([0, 0, 1, 0])])
    assert result["position_information"][1] == pytest.approx([0, math.log(2)])
    assert result["position_information"][0] == pytest.approx([math.log(2), math.log(2) / 2])
    assert result["position_information_share"][0] == pytest.approx([1, 0.5])
    assert result["undefined"] == {} and result["pairs"] == 6


def test_a_compositional_language_beside_chance():
    result = compute_language_structure(CODE, GRID, correct=np.arange(64) < 48)
    for name in language_structure.SCORES:
        assert result[name] == pytest.approx(1)
        assert abs(result["permuted"][name]["mean"]) < 0.1 and 0 < result["permuted"][name]["standard_deviation"] < 0.1
    assert (result["accuracy"], result["chance"], result["unique_message_share"]) == (0.75, None, 1)
    assert result["permuted"] == compute_language_structure(CODE, GRID)["permuted"]
    assert result["permuted"] != compute_language_structure(CODE, GRID, seed=1)["permuted"]
    assert compute_language_structure(CODE, GRID, num_permutations=0)["permuted"] is None
    # A permuted language is one of those that make its chance level.
    chance = compute_language_structure(shuffled(CODE), GRID, num_permutations=40)
    for name in language_structure.SCORES:
        mean, deviation = chance["permuted"][name].values()
        assert abs(chance[name] - mean) < 4 * deviation


@settings(max_examples=25, deadline=None)
@given(LANGUAGE, st.randoms(use_true_random=False))
def test_names_of_symbols_and_values_and_the_order_of_rows_do_not_matter(language, random):
    expected = compute_language_structure(*zip(*language, strict=True), num_permutations=0)
    random.shuffle(language)
    renamed = [([(symbol * 7 + 3) % 11 for symbol in message], (5 - a, b * 100)) for message, (a, b) in language]
    result = compute_language_structure(*zip(*renamed, strict=True), num_permutations=0)
    for name, value in expected.items():
        if isinstance(value, list):
            np.testing.assert_allclose(result[name], value, atol=1e-9, err_msg=name)
        else:
            assert result[name] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), name


def test_vectors_have_distances_and_no_attributes():
    vectors = GRID + 0.25
    result = compute_language_structure(CODE, vectors, correct=np.ones(64))
    assert result["meaning_type"] == "vectors" and result["meaning_distance"] == "cosine"
    assert result["topographic_similarity"] == pytest.approx(topographic_similarity(CODE, vectors))
    assert result["positional_disentanglement"] is None and "vectors" in result["undefined"]["positional_disentanglement"]
    assert result["attribute_information"] is None and result["position_information"] is None
    assert list(result["permuted"]) == ["topographic_similarity"]
    assert result["meaning_information"] == pytest.approx(math.log(64)) and result["accuracy"] == 1
    # Vectors of whole numbers are attributes unless it is said what they are.
    assert compute_language_structure(CODE, GRID.astype(float))["meaning_type"] == "attributes"
    as_vectors = compute_language_structure(CODE, GRID + 1, meaning_type="vectors", num_permutations=1)
    assert as_vectors["positional_disentanglement"] is None


@pytest.mark.parametrize(
    ("messages", "meanings", "reason"),
    [
        ([[1, 2]], [[0, 1]], "one message only"),
        ([[]], [[0]], "one message only"),
        ([[3, 3]] * 4, [[0, 0], [0, 1], [1, 0], [1, 1]], "all messages are the same"),
        ([[]] * 3, [[0], [1], [2]], "all messages are the same"),
    ],
)
def test_languages_without_structure_say_so(messages, meanings, reason):
    result = compute_language_structure(messages, meanings)
    json.dumps(result, allow_nan=False)
    for name in language_structure.SCORES:
        assert result[name] is None and reason in result["undefined"][name]
    assert result["message_entropy"] == result["meaning_information"] == 0 and result["permuted"] == {}
    assert result["distinct_messages"] == 1
    one = compute_language_structure([[1, 2], [2, 1], [2, 2]], [[0], [1], [1]])
    assert "one attribute only" in one["undefined"]["positional_disentanglement"]


def test_the_module_measures_what_the_function_does():
    metric = hf_lvm.metrics.load("language_structure")
    meanings, vectors = GRID.tolist(), (GRID + 0.5).tolist()
    assert metric.compute(messages=CODE, meanings=meanings) == compute_language_structure(CODE, GRID)
    correct = np.ones(64)
    by_module = metric.compute(messages=CODE, meanings=vectors, correct=correct, message_distance="edit_over_longer")
    assert by_module == compute_language_structure(CODE, vectors, correct=correct, message_distance="edit_over_longer")
    assert by_module["meaning_type"] == "vectors"
    # Every number is described.
    for name in by_module:
        assert name in metric.inputs_description and name in compute_language_structure.__doc__, name


def test_all_pairs_of_two_thousand_messages_in_seconds():
    generator = np.random.default_rng(0)
    table = message_table([generator.integers(0, 10, generator.integers(3, 11)).tolist() for _ in range(2000)])
    begin = time.process_time()
    distances = edit_distances(table, *np.triu_indices(2000, k=1))
    assert time.process_time() - begin < 5  # a third of a second where nothing else runs
    assert len(distances) == 1_999_000


def test_messages_come_as_lists_arrays_and_tensors():
    lists = [[1, 2], [2, 0], [0, 0]]
    table = message_table(lists)
    for other in (np.array(lists), torch.tensor(lists), [tuple(row) for row in lists], [torch.tensor(row) for row in lists]):
        assert np.array_equal(message_table(other).symbols, table.symbols)
    padded = message_table([[4], [], np.array([2, 1], dtype=np.uint8)])
    assert padded.symbols.tolist() == [[4, PADDING], [PADDING, PADDING], [2, 1]]
    assert padded.lengths.tolist() == [1, 0, 2]
    assert message_table([[1], [], [1], [1, 1]]).ids.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(
    ("messages", "meanings", "options", "message"),
    [
        ([], [[0]], {}, "there is no message"),
        ("abc", [[0]], {}, "messages is a str"),
        (["abc"], [[0]], {}, r"messages\[0\] is a string"),
        ([[1], [1, -100]], [[0], [1]], {}, r"messages\[1\] is \[1, -100\].*padding"),
        ([[1], [0.5]], [[0], [1]], {}, r"messages\[1\] is made of float64"),
        ([[1], [[2], [3]]], [[0], [1]], {}, r"messages\[1\] has shape \(2, 1\)"),
        ([[1], 2], [[0], [1]], {}, r"messages\[1\] has shape \(\)"),
        ([[1], [2]], [[0]], {}, "2 messages and 1 meanings"),
        ([[1], [2]], [0, 1], {}, r"shape \(2,\).*meanings\[:, None\]"),
        ([[1], [2]], [[0, 1], [1]], {}, "rows of several lengths"),
        ([[1], [2]], [[0], [float("nan")]], {}, "infinite or NaN"),
        ([[1], [2]], [["red"], ["blue"]], {}, "number the values"),
        ([[1], [2]], [[0.5], [1]], {"meaning_type": "attributes"}, "not whole"),
        ([[1], [2]], [[0], [1]], {"meaning_type": "sets"}, "meaning_type is 'sets'"),
        ([[1], [2]], [[0], [1]], {"meaning_distance": "cosine"}, "meanings are attributes; choose one of 'hamming'"),
        ([[1], [2]], [[0], [1]], {"message_distance": "jaccard"}, "message_distance is 'jaccard'; choose one of 'edit'"),
        ([[1], [2], [3]], [[0.5, 0], [0, 0], [1, 1]], {}, r"meanings\[1\] is zero.*euclidean"),
        ([[1], [2]], [[0], [1]], {"max_pairs": 1}, "max_pairs is 1"),
        ([[1], [2]], [[0], [1]], {"num_permutations": -1}, "num_permutations is -1"),
        ([[1], [2]], [[0], [1]], {"logits": [[0.0, 1.0]] * 2}, "logits and targets together"),
        ([[1], [2]], [[0], [1]], {"correct": [1, 2]}, "outside 0-1"),
        ([[1], [2]], [[0], [1]], {"correct": [1]}, r"correct has shape \(1,\)"),
        ([[1]], [[0]], {"logits": [[0.0, 1.0]], "targets": [2]}, "from 0 to 1"),
        ([[1]], [[0]], {"logits": [[0.0, 1.0]], "targets": [0, 1]}, r"targets \(2,\)"),
        ([[1]], [[0]], {"logits": [[0.0, math.nan]], "targets": [0]}, "NaN or"),
        ([[1]], [[0]], {"logits": [[0.0, -math.inf]], "targets": [1]}, "the target must be a candidate"),
    ],
)
def test_wrong_input_is_named(messages, meanings, options, message):
    with pytest.raises(ValueError, match=message):
        compute_language_structure(messages, meanings, **options)
