"""Metrics: the order of rows does not matter, numbers lie where they must, the perfect is perfect, nothing is an error."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hf_lvm.metrics
from hf_lvm.metrics.bracket_f1.baselines import balanced, left_branching, random_tree, right_branching
from hf_lvm.metrics.bracket_f1.bracket_f1 import compute_bracket_f1
from hf_lvm.metrics.clustering.clustering import class_mutual_information, compute_class_usage, compute_clustering
from hf_lvm.metrics.compression.compression import compute_compression
from hf_lvm.metrics.compression.words import common_count, first_words, random_words, split_words, token_f1
from hf_lvm.metrics.diversity.diversity import compute_diversity
from hf_lvm.metrics.importance_weighting.importance_weighting import compute_importance_weighting
from hf_lvm.metrics.language_structure.communication import target_credit
from hf_lvm.metrics.language_structure.language_structure import compute_language_structure
from hf_lvm.metrics.latent_diagnostics.latent_diagnostics import compute_latent_diagnostics
from hf_lvm.metrics.reconstruction.reconstruction import compute_reconstruction, content_words, edit_similarity
from hf_lvm.metrics.semantic_parsing.semantic_parsing import compute_semantic_parsing
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.metrics.topics.topics import compute_topics
from tests.hardening.examples import examples

TEXT = st.lists(st.sampled_from(["cat", "dog", "the", "runs", "a", ",", "Cat"]), max_size=6).map(" ".join)
SOME_TEXT = st.lists(st.sampled_from(["cat", "dog", "the", "runs", "a", ",", "Cat"]), min_size=1, max_size=6).map(" ".join)
SEED = st.integers(0, 10**6)


def trees_of(words: int, seed: int) -> dict:
    generator = random.Random(seed)
    return {"words": [f"w{place}" for place in range(words)], "spans": random_tree(words, generator)}


MEANINGS = ["( f a b )", "( f b a )", "( g a )", "( and:<t*,t> ( f a b ) ( g b ) )"]
SHARES = st.tuples(SEED, st.integers(1, 5)).map(
    lambda each: np.random.default_rng(each[0]).dirichlet(np.full(4, 0.3)).tolist() if each[1] > 1 else [1.0, 0.0, 0.0, 0.0]
)
NUMBERS = st.lists(st.floats(-20, 5), min_size=3, max_size=3)
# name -> rows as they are drawn, and the metric of a list of them
ROWS = {
    "reconstruction": (st.tuples(TEXT, SOME_TEXT), lambda rows: compute_reconstruction(*columns(rows, 2))),
    "compression": (
        st.tuples(TEXT, SOME_TEXT, SOME_TEXT),
        lambda rows: {
            key: value for key, value in compute_compression(*columns(rows, 3)).items() if key != "controls"
        },
    ),  # random controls are drawn in the order of the rows
    "bracket_f1": (
        st.tuples(st.integers(2, 6), SEED, SEED),
        lambda rows: without_random(
            compute_bracket_f1(
                [trees_of(words, seed) for words, seed, _ in rows],
                [trees_of(words, seed) for words, _, seed in rows],
                protocol="urnng-script",
            )
        ),
    ),
    "clustering": (st.tuples(st.integers(0, 3), st.integers(0, 3)), lambda rows: compute_clustering(*columns(rows, 2))),
    "class_usage": (SHARES, compute_class_usage),
    "text_likelihood": (
        st.tuples(st.floats(0, 50), st.integers(1, 9), st.integers(0, 9), st.integers(1, 50)),
        lambda rows: compute_text_likelihood(*columns(rows, 4)),
    ),
    "importance_weighting": (NUMBERS, compute_importance_weighting),
    "diversity": (TEXT, compute_diversity),
    "latent_diagnostics": (
        st.tuples(NUMBERS, st.floats(0.1, 3), NUMBERS),
        lambda rows: compute_latent_diagnostics(
            *columns([(mean, [scale] * 3, latent) for mean, scale, latent in rows], 3), batch_size=99
        ),
    ),
    "semantic_parsing": (
        st.tuples(st.lists(st.sampled_from([*MEANINGS, "( f"]), max_size=3), st.sampled_from(MEANINGS)),
        lambda rows: compute_semantic_parsing(*columns(rows, 2)),
    ),
    "topics": (
        st.lists(st.sampled_from("abcdef"), max_size=6),
        lambda rows: compute_topics([list("abc"), list("cde")], [*rows, ["a"], ["c", "d"]], top_words=3),
    ),
    "language_structure": (
        st.tuples(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.tuples(st.integers(0, 2), st.integers(0, 2))),
        lambda rows: {
            key: value
            for key, value in compute_language_structure(*columns(rows, 2), num_permutations=2).items()
            if key != "permuted"
        },
    ),
}  # fmt: skip
SHARE_NAMES = {
    "exact_match", "token_accuracy", "edit_similarity", "content_word_recall", "triple_repeat_share", "token_f1",
    "copied_share", "completeness",
    "novel_share", "prefix_share", "whole_source_share", "empty_share", "v_measure", "homogeneity", "many_to_one",
    "one_to_one", "majority_share", "well_formed", "well_formed_hypotheses", "unseen_pair_share", "distinct_1", "distinct_2",
    "duplicate_share", "active_share", "low_sample_size_share", "positional_disentanglement", "bag_of_symbols_disentanglement",
}  # fmt: skip
HUNDREDS = {
    "bleu", "rouge1", "rouge2", "rougeL", "self_bleu", "corpus_f1", "corpus_precision", "corpus_recall", "sentence_f1",
    "exact_match_published", "exact_match_canonical",
}  # fmt: skip
LEAST = {"diversity": 2, "latent_diagnostics": 2, "language_structure": 2, "topics": 0}


def columns(rows, count: int) -> list[list]:
    return [[row[place] for row in rows] for place in range(count)]


def without_random(found: dict) -> dict:
    return found | {"baselines": {name: value for name, value in found["baselines"].items() if name != "random"}}


def same(one, other) -> bool:
    """Equal but for the rounding of a sum in another order."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=1e-9, abs=1e-9, nan_ok=True)
    return one == other


def test_every_metric_is_looked_at():
    assert set(hf_lvm.metrics.list_metrics()) == set(ROWS) - {"class_usage"}


@pytest.mark.parametrize("name", ROWS)
@examples
@given(data=st.data())
def test_the_order_of_rows_does_not_matter_and_numbers_lie_where_they_must(name, data):
    row, compute = ROWS[name]
    rows = data.draw(st.lists(row, min_size=max(2, LEAST.get(name, 1)), max_size=6))
    found = compute(rows)
    assert same(compute(rows[::-1]), found), (found, compute(rows[::-1]))
    for key, value in found.items():
        if key in SHARE_NAMES and value is not None:
            assert -1e-9 <= value <= 1 + 1e-9, key
        if key in HUNDREDS:
            assert -1e-6 <= value <= 100 + 1e-6, key
    if name not in ("topics", "latent_diagnostics", "diversity", "language_structure", "class_usage", "importance_weighting"):
        alone = compute(rows[:1])
        assert alone.keys() == found.keys()
    if name not in ("topics",):
        with pytest.raises(ValueError) as error:
            compute([])
        assert len(str(error.value).split()) > 4


@examples
@given(predictions=st.lists(SOME_TEXT, min_size=1, max_size=5), seed=SEED)
def test_what_is_perfect_is_perfect(predictions, seed):
    found = compute_reconstruction(predictions, predictions)
    assert found["exact_match"] == found["token_accuracy"] == found["edit_similarity"] == 1
    assert found["content_word_recall"] in (1, None)
    short = compute_compression(predictions, predictions, predictions)
    assert short["token_f1"] == short["compression_ratio"] == short["whole_source_share"] == short["copied_share"] == 1
    trees = [trees_of(len(text.split()) + 2, seed) for text in predictions]
    assert compute_bracket_f1(trees, trees, protocol="urnng-script")["corpus_f1"] == 100
    classes = [len(text) for text in predictions]
    clusters = compute_clustering(classes, [f"c{number}" for number in classes])
    assert clusters["v_measure"] == pytest.approx(1) and clusters["one_to_one"] == clusters["adjusted_rand"] == 1
    assert clusters["perplexity"] <= clusters["used_classes"] + 1e-9
    meanings = [MEANINGS[number % len(MEANINGS)] for number in classes]
    parsed = compute_semantic_parsing(meanings, meanings)
    assert parsed["exact_match_published"] == parsed["exact_match_canonical"] == 100 and parsed["token_f1"] == 1
    credit = target_credit(np.eye(4)[[number % 4 for number in classes]], [number % 4 for number in classes])
    assert credit.tolist() == [1] * len(classes)
    assert target_credit(np.zeros((len(classes), 4)), [0] * len(classes)).tolist() == [0.25] * len(classes)


@examples
@given(one=TEXT, other=TEXT, count=st.integers(0, 8), seed=SEED, rule=st.sampled_from(["whitespace", "punctuation"]))
def test_words_of_texts(one, other, count, seed, rule):
    assert edit_similarity(one, other) == edit_similarity(other, one)
    assert 0 <= edit_similarity(one, other) <= 1 and (edit_similarity(one, other) == 1) == (one.split() == other.split())
    assert token_f1(one.split(), other.split()) == token_f1(other.split(), one.split())
    words, kept = split_words(one, rule), split_words(random_words(one, count, random.Random(seed), rule), rule)
    assert split_words(first_words(one, count, rule), rule) == words[:count]
    assert len(kept) == min(count, len(words))
    left = iter(words)
    assert all(word in left for word in kept)  # in the order that they have there
    assert content_words(f"{one} {other}") == content_words(one) | content_words(other)
    assert content_words(one) <= set(one.lower().split())


@examples
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5), total=st.integers(0, 50))
def test_a_common_count_comes_closest(lengths, total):
    def distance(count: int) -> int:
        return abs(sum(min(length, count) for length in lengths) - total)

    best = common_count(lengths, total)
    assert best == min(range(max(lengths) + 1), key=lambda count: (distance(count), count))


@examples
@given(words=st.integers(1, 9), seed=SEED)
def test_trees_that_need_no_parser_are_binary_trees(words, seed):
    for spans in (left_branching(words), right_branching(words), balanced(words), random_tree(words, random.Random(seed))):
        spans = {span for span in spans if span[0] != span[1]}
        assert len(spans) == words - 1 and (words == 1 or (0, words - 1) in spans)
        assert not any(i < k <= j < m for i, j in spans for k, m in spans)


@examples
@given(shares=st.lists(SHARES, min_size=1, max_size=6), weights=st.lists(NUMBERS, min_size=1, max_size=4))
def test_information_and_bounds_have_their_ceilings(shares, weights):
    information = class_mutual_information(shares)
    assert 0 <= information <= math.log(min(len(shares), 4)) + 1e-9
    assert class_mutual_information([shares[0]] * 3) == pytest.approx(0, abs=1e-9)
    usage = compute_class_usage(shares)
    assert usage["mutual_information"] == pytest.approx(float(information))
    assert 1 - 1e-9 <= usage["aggregate_perplexity"] <= 4 + 1e-9 and 1 <= usage["used_classes"] <= 4
    found = compute_importance_weighting(weights, sizes=[1])
    rows = found["convergence"]
    assert [row["num_samples"] for row in rows] == [1, 3] and rows[1]["nats_per_sentence"] <= rows[0][
        "nats_per_sentence"
    ] + 1e-9
    assert 1 - 1e-9 <= found["mean_effective_sample_size"] <= 3 + 1e-9
    for wrong in ([[0.5, 0.6]], [[-0.5, 1.5]], [[math.nan, 1.0]], [0.5, 0.5]):
        with pytest.raises(ValueError, match="probabilities"):
            compute_class_usage(wrong)
