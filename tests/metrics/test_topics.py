"""Coherence and diversity on documents counted by hand, and against the definition written out pair by pair."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_lvm.metrics
from hf_lvm.metrics.topics.topics import compute_topics, document_cooccurrence, npmi_matrix

DOCUMENTS = [
    ["file", "open", "path", "file"],
    ["file", "path"],
    ["lock", "thread"],
    ["thread", "open", "lock"],
    ["file", "thread"],
    ["the"],
    [],
    ["path"],
]


def pair(words: list[str]) -> float:
    return compute_topics([words], DOCUMENTS, top_words=2)["npmi"]


def test_pairs_counted_by_hand():
    # file stands in 3 of 8 documents, path in 3, both in 2.
    assert pair(["file", "path"]) == pytest.approx(math.log((2 / 8) / (3 / 8 * 3 / 8)) / -math.log(2 / 8))
    # open in 2, thread in 3, both in 1.
    assert pair(["open", "thread"]) == pytest.approx(math.log((1 / 8) / (2 / 8 * 3 / 8)) / -math.log(1 / 8))
    assert pair(["path", "file"]) == pair(["file", "path"])


def test_the_ends_of_the_scale():
    documents = [["the", "lock", "acquire"], ["the", "lock", "acquire"], ["the", "path"], ["the"]]
    result = compute_topics(
        [["lock", "acquire"], ["lock", "path"], ["the", "path"], ["lock", "mutex"], ["semaphore", "mutex"], ["the", "lock"]],
        documents,
        top_words=2,
    )
    # Only together; never together; a word that every document holds; one absent word; two of them; as the third.
    assert result["npmi_per_topic"] == pytest.approx([1, -1, 0, -1, -1, 0])
    assert result["unseen_pair_share"] == 3 / 6
    assert result["absent_words"] == 2
    assert result["npmi"] == pytest.approx(-2 / 6)
    everywhere = compute_topics([["the", "a"]], [["the", "a"], ["a", "the"]], top_words=2)
    assert everywhere["npmi"] == 1


def test_independent_words_get_zero():
    documents = [["a", "b"], ["a"], ["b"], ["c"]]
    assert compute_topics([["a", "b"]], documents, top_words=2)["npmi"] == pytest.approx(0, abs=1e-12)


def test_topics_count_alike_and_pairs_within_a_topic():
    topics = [["file", "path", "open"], ["thread", "lock", "open"]]
    result = compute_topics(topics, DOCUMENTS, top_words=3)
    by_topic = [[pair(list(words)) for words in itertools.combinations(topic, 2)] for topic in topics]
    assert result["npmi_per_topic"] == pytest.approx([sum(values) / 3 for values in by_topic])
    assert result["npmi"] == pytest.approx(sum(map(sum, by_topic)) / 6)
    assert result["diversity"] == 5 / 6
    assert (result["topics"], result["top_words"], result["documents"]) == (2, 3, 8)


def test_only_the_first_words_count():
    topics = [["file", "path", "mutex"], ["file", "lock", "path"]]
    result = compute_topics(topics, DOCUMENTS, top_words=2)
    assert result["npmi_per_topic"] == [pair(["file", "path"]), pair(["file", "lock"])]
    assert (result["diversity"], result["absent_words"]) == (3 / 4, 0)


def test_a_topic_said_three_times_is_coherent_and_not_diverse():
    result = compute_topics([["file", "path"]] * 3, DOCUMENTS, top_words=2)
    assert result["npmi"] == pytest.approx(pair(["file", "path"]))
    assert result["diversity"] == 1 / 3


def slow_npmi(first: str, second: str, documents: list[list[str]]) -> float:
    holds_first = [first in document for document in documents]
    holds_second = [second in document for document in documents]
    both = sum(map(all, zip(holds_first, holds_second, strict=True))) / len(documents)
    if both == 0:
        return -1.0
    if both == 1:
        return 1.0
    return math.log(both / (np.mean(holds_first) * np.mean(holds_second))) / -math.log(both)


TOPIC = st.permutations("abcdef").map(lambda words: list(words[:4]))
DOCUMENT = st.lists(st.sampled_from("abcdexyz"), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(TOPIC, min_size=1, max_size=4), st.lists(DOCUMENT, min_size=1, max_size=8), st.integers(2, 4))
def test_it_is_the_mean_over_pairs_of_the_definition(topics, documents, top_words):
    documents = [*documents, [topic[0] for topic in topics]]
    result = compute_topics(topics, documents, top_words=top_words)
    pairs = [list(itertools.combinations(topic[:top_words], 2)) for topic in topics]
    scores = [[slow_npmi(*words, documents) for words in of_topic] for of_topic in pairs]
    assert result["npmi_per_topic"] == pytest.approx([np.mean(values) for values in scores])
    assert result["npmi"] == pytest.approx(np.mean(scores))
    together = [any(set(words) <= set(document) for document in documents) for of_topic in pairs for words in of_topic]
    assert result["unseen_pair_share"] == pytest.approx(1 - np.mean(together))
    # The convention that gives 0 to a pair without a document.
    held = [slow_npmi(*words, documents) for of_topic in pairs for words in of_topic]
    zeroed = [score if seen else 0 for score, seen in zip(held, together, strict=True)]
    assert result["npmi"] + result["unseen_pair_share"] == pytest.approx(np.mean(zeroed))


def test_counts_are_of_documents_not_of_words():
    counts = document_cooccurrence(["file", "path", "mutex"], DOCUMENTS)
    assert counts.tolist() == [[3, 2, 0], [2, 3, 0], [0, 0, 0]]
    np.testing.assert_allclose(np.diagonal(npmi_matrix(counts, 8)), [1, 1, -1])


def test_the_module_takes_topics_in_batches_and_documents_once():
    metric = hf_lvm.metrics.load("topics")
    topics = [["file", "path"], ["thread", "lock"]]
    expected = compute_topics(topics, DOCUMENTS, top_words=2)
    assert metric.compute(topics=topics, documents=DOCUMENTS, top_words=2) == expected
    arrays = [np.array(document, dtype=str) for document in DOCUMENTS]
    for topic in topics:
        metric.add_batch(topics=[topic])
    assert metric.compute(documents=arrays, top_words=2) == expected
    with pytest.raises(ValueError, match="no documents; pass them to compute"):
        metric.compute(topics=topics)


@pytest.mark.parametrize(
    ("topics", "documents", "top_words", "message"),
    [
        ([], DOCUMENTS, 2, "0 topics and 8 documents"),
        ([["file", "path"]], DOCUMENTS[:1], 2, "1 topics and 1 documents.*two documents"),
        ([["file", "path"]], DOCUMENTS, 1, "top_words is 1"),
        ([["file", "path"], ["lock"]], DOCUMENTS, 2, r"topics\[1\] has 1 words; .*top_words = 2"),
        ([["file", "file", "path"]], DOCUMENTS, 3, r"topics\[0\] says 'file' more than once"),
        (["file path"], DOCUMENTS, 2, r"topics\[0\] is one string"),
        ([["file", "path"]], ["file path", "path"], 2, r"documents\[0\] is one string.*split as the vocabulary"),
        ([[3, 4]], DOCUMENTS, 2, r"topics\[0\] holds int"),
        ([["File", "Path"]], DOCUMENTS, 2, "none of the 2 top words.*split and case"),
    ],
)
def test_wrong_input_is_named(topics, documents, top_words, message):
    with pytest.raises(ValueError, match=message):
        compute_topics(topics, documents, top_words=top_words)
