"""Bracketing F1 by four protocols against counts made by hand, what must not change it, and every way to get it wrong."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nltk import Tree

import hf_lvm.metrics
from hf_lvm.metrics.bracket_f1.bracket_f1 import compute_bracket_f1
from hf_lvm.metrics.bracket_f1.protocols import PROTOCOLS

# Gold and predicted spans of each sentence, first and last word inclusive, stand beside the trees.
GOLD = [
    "(S (NP (DT The) (NN dog)) (VP (VBD saw) (NP (DT a) (NN cat))) (. .))",  # 0-1, 3-4, 2-4, 0-5
    "(S (NP (PRP It)) (VP (VBZ costs) (NP ($ $) (CD 5) (RBR more))))",  # 0-0, 2-4, 1-4, 0-4
]
PREDICTED = [
    "(X (X (X the dog) (X saw (X a cat))) .)",  # 0-1, 3-4, 2-4, 0-4, 0-5
    "(X (X (X (X it costs) $) 5) more)",  # 0-1, 0-2, 0-3, 0-4
]


def brackets(protocol: str, predicted, gold) -> tuple[int, int, int]:
    """Matched, predicted and gold brackets of one pair."""
    result = compute_bracket_f1([predicted], [gold], protocol=protocol)
    return result["matched_brackets"], result["predicted_brackets"], result["gold_brackets"]


@pytest.mark.parametrize(
    ("protocol", "first", "second", "removed"),
    [
        # The full stop stays; 0-5 and 0-4 of the second sentence are the outermost brackets and go.
        ("urnng-script", (3, 4, 3), (0, 3, 2), 0),
        # The full stop goes and makes 0-4 a repeated bracket; the dollar stays, whole sentences and 0-0 count.
        ("urnng-evalb", (4, 5, 4), (1, 4, 4), 1),
        # The dollar goes too, so that in the second sentence 0-1 and 0-2 become one span.
        ("prpn", (3, 3, 3), (0, 2, 2), 2),
        ("compound-pcfg", (3, 3, 3), (0, 2, 2), 2),
    ],
)
def test_two_sentences_counted_by_hand(protocol, first, second, removed):
    result = compute_bracket_f1(PREDICTED, GOLD, protocol=protocol)
    assert brackets(protocol, PREDICTED[0], GOLD[0]) == first
    assert brackets(protocol, PREDICTED[1], GOLD[1]) == second
    matched, predicted, gold = np.add(first, second)
    assert (result["matched_brackets"], result["predicted_brackets"], result["gold_brackets"]) == (matched, predicted, gold)
    precision, recall = matched / predicted, matched / gold
    assert result["corpus_precision"] == pytest.approx(100 * precision)
    assert result["corpus_recall"] == pytest.approx(100 * recall)
    assert result["corpus_f1"] == pytest.approx(100 * 2 * precision * recall / (precision + recall))
    sentence_f1s = [200 * counts[0] / (counts[1] + counts[2]) for counts in (first, second)]
    assert result["sentence_f1"] == pytest.approx(sum(sentence_f1s) / 2)
    assert (result["protocol"], result["sentences"], result["skipped_sentences"]) == (protocol, 2, 0)
    assert result["removed_words"] == removed


@pytest.mark.parametrize(
    ("gold", "predicted", "script", "evalb", "prpn"),
    [
        pytest.param(
            "(S (VP (VB Go) (NP (NN home))))", "(X Go home)", (0, 0, 1), (1, 1, 3), (0, 0, 0), id="unary chain at the root"
        ),
        pytest.param(
            "(S (VP (VB Go) (RB home)) (. .))", "(X (X Go home) .)", (1, 1, 1), (2, 2, 2), (0, 0, 0), id="span twice"
        ),
        pytest.param(
            "(S (VP (VB Go) (RB home)) (. .))", "(X Go (X home .))", (0, 1, 1), (1, 2, 2), (0, 0, 0), id="span twice or once"
        ),
        pytest.param(
            "(S (NP (NNP Rolls)) (, ,) (VP (VBD fell) (RB hard)))",
            "(X (X Rolls ,) (X fell hard))",
            (1, 2, 1),
            (3, 3, 3),
            (1, 1, 1),
            id="one word is left of a bracket",
        ),
        pytest.param(
            "(NP (DT a) (NN b) (. .) ('' ''))", "(X (X a b) (X . ''))", (0, 2, 0), (1, 2, 1), (0, 0, 0), id="no word is left"
        ),
        pytest.param(
            "(S (NP (NN a) (NN b)) (PRN (-LRB- -LRB-) (NN c) (-RRB- -RRB-)))",
            "(X (X a b) (X -LRB- (X c -RRB-)))",  # 0-1, 3-4, 2-4, 0-4
            (2, 3, 2),
            (3, 4, 3),
            (1, 1, 1),
            id="round brackets are words to evalb",
        ),
        pytest.param("(NP (DT a) (JJ b) (NN c))", "(X a (X b c))", (0, 1, 0), (1, 2, 1), (0, 1, 0), id="empty gold"),
        pytest.param("(NP (DT a) (NN b))", "(X a b)", (0, 0, 0), (1, 1, 1), (0, 0, 0), id="two words"),
        pytest.param(
            "(NP (NP (NP (DT a) (NN b))) (NN c))", "(X (X a b) c)", (1, 1, 1), (2, 2, 3), (1, 1, 1), id="unary chain inside"
        ),
        pytest.param("(S (NN a) (NN b) (NN c))", "(X a b c)", (0, 0, 0), (1, 1, 1), (0, 0, 0), id="a tree that is not binary"),
    ],
)
def test_corners_counted_by_hand(gold, predicted, script, evalb, prpn):
    assert brackets("urnng-script", predicted, gold) == script
    assert brackets("urnng-evalb", predicted, gold) == evalb
    assert brackets("prpn", predicted, gold) == brackets("compound-pcfg", predicted, gold) == prpn


def test_without_gold_brackets_recall_is_1_and_precision_too_if_nothing_is_predicted():
    two, three = "(NP (DT a) (NN b))", "(NP (DT a) (JJ b) (NN c))"
    nothing = compute_bracket_f1(["(X a b)"], [two], protocol="prpn")
    rates = ("corpus_recall", "corpus_precision", "corpus_f1", "sentence_f1")
    assert [nothing[name] for name in rates] == [100, 100, 100, 100]
    too_many = compute_bracket_f1(["(X a (X b c))"], [three], protocol="prpn")
    assert [too_many[name] for name in rates] == [100, 0, 0, 0]
    both = compute_bracket_f1(["(X a b)", "(X a (X b c))"], [two, three], protocol="prpn")
    assert [both[name] for name in rates] == [100, 0, 0, 50]
    missing = compute_bracket_f1(["(X a b c)"], ["(S (NN a) (NP (NN b) (NN c)))"], protocol="prpn")
    assert [missing[name] for name in rates] == [0, 0, 0, 0]


def test_sentences_of_which_too_little_stays_are_left_out_and_counted():
    gold = [GOLD[0], "(FRAG (NN a))", "(FRAG (NN a) (. .))", "(FRAG (: --) (. .))"]
    predicted = [PREDICTED[0], "(X a)", "(X a .)", "(X -- .)"]
    scored = {name: compute_bracket_f1(predicted, gold, protocol=name) for name in PROTOCOLS}
    counts = {name: (result["sentences"], result["skipped_sentences"]) for name, result in scored.items()}
    assert counts == {"urnng-script": (3, 1), "urnng-evalb": (2, 2), "prpn": (1, 3), "compound-pcfg": (1, 3)}
    assert scored["urnng-evalb"]["removed_words"] == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_neither_wrappers_nor_labels_nor_case_matter(protocol):
    expected = compute_bracket_f1(PREDICTED, GOLD, protocol=protocol)
    wrapped = [f"(TOP {GOLD[0]})", f"( {GOLD[1]})"]
    assert compute_bracket_f1(PREDICTED, wrapped, protocol=protocol) == expected
    assert compute_bracket_f1([f"(ROOT (S1 {tree}))" for tree in PREDICTED], GOLD, protocol=protocol) == expected
    other = [tree.upper().replace("(X", "(-NONE-") for tree in PREDICTED]
    assert compute_bracket_f1(other, GOLD, protocol=protocol) == expected


def test_where_punctuation_goes_trees_may_be_over_the_words_that_stay():
    stripped = ["(X (X the dog) (X saw (X a cat)))", "(X (X (X it costs) 5) more)"]
    over_all_words = compute_bracket_f1(PREDICTED, GOLD, protocol="prpn")
    assert compute_bracket_f1(stripped, GOLD, protocol="prpn") == over_all_words
    assert brackets("urnng-evalb", stripped[0], GOLD[0]) == (4, 4, 4)
    with pytest.raises(ValueError, match=r"predictions\[0\] has 5 words and references\[0\] 6"):
        compute_bracket_f1(stripped, GOLD, protocol="urnng-script")


TAGS = ["NN", "NN", "DT", "$", ",", ".", "-RRB-"]


@st.composite
def gold_trees(draw, max_words: int = 7):
    """Trees of any arity with unary chains, whose words are partly punctuation, as bracketed strings."""

    def grow(first: int, last: int) -> str:
        if first == last:
            tree = f"({draw(st.sampled_from(TAGS))} w{first})"
        else:
            ends = draw(st.sets(st.integers(first, last - 1), min_size=1))
            starts = [first, *(end + 1 for end in sorted(ends))]
            parts = zip(starts, [*sorted(ends), last], strict=True)
            tree = f"(A {' '.join(grow(*part) for part in parts)})"
        return f"(U {tree})" if draw(st.integers(0, 4)) == 0 else tree

    return f"(S {grow(0, draw(st.integers(1, max_words - 1)))})"


def scored_by(protocol: str, trees: list[str]) -> None:
    leaves = [Tree.fromstring(tree).pos() for tree in trees]
    assume(all(sum(tag in ("NN", "DT") for _, tag in words) > 1 for words in leaves))


@settings(max_examples=60, deadline=None)
@given(st.lists(gold_trees(), min_size=1, max_size=4), st.sampled_from(list(PROTOCOLS)))
def test_gold_agrees_with_itself_and_nothing_beats_the_best_binary_tree(trees, protocol):
    scored_by(protocol, trees)
    result = compute_bracket_f1(trees, trees, protocol=protocol)
    rates = ("corpus_f1", "sentence_f1", "corpus_precision", "corpus_recall")
    assert [result[name] for name in rates] == [100] * 4
    for mean in ("corpus_f1", "sentence_f1"):
        best = result["baselines"]["best_binary"][mean]
        assert max(scores[mean] for scores in result["baselines"].values()) == best <= 100


@settings(max_examples=60, deadline=None)
@given(st.lists(gold_trees(), min_size=2, max_size=5), st.sampled_from(list(PROTOCOLS)), st.randoms(use_true_random=False))
def test_the_order_of_sentences_does_not_matter_and_sides_swap_precision_and_recall(trees, protocol, shuffler):
    scored_by(protocol, trees)
    # Other brackets over the same tagged words: each tree flat but for its first two words.
    others = []
    for tree in trees:
        first, second, *rest = [f"({tag} {word})" for word, tag in Tree.fromstring(tree).pos()]
        others.append(f"(S (X {first} {second}) {' '.join(rest)})" if rest else f"(S {first} {second})")
    result = compute_bracket_f1(others, trees, protocol=protocol)
    order = list(range(len(trees)))
    shuffler.shuffle(order)
    shuffled = compute_bracket_f1([others[row] for row in order], [trees[row] for row in order], protocol=protocol)
    for scores in (result, shuffled):
        del scores["baselines"]["random"]  # its draws follow the order of sentences
    for name, means in result.pop("baselines").items():
        assert shuffled["baselines"][name] == pytest.approx(means)
    del shuffled["baselines"]
    assert shuffled == pytest.approx(result)
    swapped = compute_bracket_f1(trees, others, protocol=protocol)
    assert swapped["matched_brackets"] == result["matched_brackets"]
    assert swapped["predicted_brackets"] == result["gold_brackets"]
    assert swapped["sentence_f1"] == result["sentence_f1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": None}, "no protocol is given; choose one of urnng-script, urnng-evalb, prpn, compound-pcfg"),
        ({"protocol": "evalb"}, "there is no protocol 'evalb'; choose one of urnng-script"),
        ({"predictions": [], "references": []}, "0 predictions and 0 references"),
        ({"predictions": PREDICTED[:1]}, "1 predictions and 2 references"),
        ({"predictions": PREDICTED[0]}, r"lists of trees, not one tree; write \[tree\]"),
        ({"references": Tree.fromstring(GOLD[0])}, r"lists of trees, not one tree"),
        ({"predictions": [PREDICTED[0], ""]}, r"predictions\[1\] is empty: a tree has at least one word"),
        ({"references": [GOLD[0], "(S )"]}, r"references\[1\] has a bracket 'S' without a word"),
        ({"references": [GOLD[0], "(S (NN a)"]}, r"references\[1\] is not one bracketed sentence .*write a label right after"),
        ({"predictions": [PREDICTED[0], "((it costs) $ 5 more)"]}, r"predictions\[1\] has a bracket without a label"),
        ({"predictions": [PREDICTED[0], 5]}, r"predictions\[1\] is int: a bracketed string, an nltk.Tree or a map"),
        ({"predictions": [PREDICTED[0], "(X it (X costs 5 more))"]}, r"predictions\[1\] has 4 words and references\[1\] 5"),
        ({"predictions": [PREDICTED[1], PREDICTED[0]]}, r"predictions\[0\].*first at word 0: 'it' and 'the'"),
        (
            {"references": [GOLD[0], {"words": ["it", "costs", "$", "5", "more"], "spans": [(0, 2), (2, 3)]}]},
            r"references\[1\] has the spans \(0, 2\) and \(2, 3\), which cross",
        ),
        (
            {"references": [GOLD[0], {"words": ["it", "costs", "$", "5", "more"], "spans": [(3, 5)]}]},
            r"references\[1\] has the span \(3, 5\), which does not fit its 5 words",
        ),
        ({"references": [GOLD[0], {"words": [], "spans": []}]}, r"references\[1\] has \[\] for words"),
        ({"protocol": "prpn", "references": [GOLD[0], PREDICTED[1]]}, r"'prpn' removes punct.*'it' in references\[1\] has no"),
        ({"predictions": ["(X a)"], "references": ["(NN a)"]}, "none of the 1 sentences has words enough"),
        (
            {"predictions": ["(X a b)"], "references": ["(S (NOUN a) (VERB b))"], "protocol": "prpn"},
            "none of the 1 sentences .*'prpn'; tags found: NOUN, VERB",
        ),
    ],
)
def test_wrong_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        compute_bracket_f1(**{"predictions": PREDICTED, "references": GOLD, "protocol": "urnng-script", **change})


def test_the_module_takes_every_form_of_tree_whole_or_in_batches():
    metric = hf_lvm.metrics.load("bracket_f1")
    expected = compute_bracket_f1(PREDICTED, GOLD, protocol="urnng-evalb", seed=3)
    trees = [Tree.fromstring(tree) for tree in GOLD]
    spans = [
        {"words": ["the", "dog", "saw", "a", "cat", "."], "spans": [(0, 1), (3, 4), (2, 4), (0, 4)]},
        {"words": ["it", "costs", "$", "5", "more"], "spans": np.array([[0, 1], [0, 2], [0, 3]]), "tags": None},
    ]
    assert metric.compute(predictions=spans, references=trees, protocol="urnng-evalb", seed=3) == expected
    assert compute_bracket_f1(spans, trees, protocol="urnng-evalb", seed=3) == expected
    for row in range(2):
        metric.add_batch(predictions=[PREDICTED[row]], references=[trees[row]])
    assert metric.compute(protocol="urnng-evalb", seed=3) == expected
    for row in range(2):
        metric.add(prediction=spans[row], reference=GOLD[row])
    assert metric.compute(protocol="urnng-evalb", seed=3) == expected
    with pytest.raises(ValueError, match=r"predictions\[1\] holds 'New York'"):
        metric.compute(predictions=[trees[0], Tree("S", ["New York", "fell"])], references=GOLD, protocol="prpn")
    with pytest.raises(ValueError, match=r"references\[0\] has the span \(0, 2\), which does not fit its 2 words"):
        metric.compute(predictions=["(X a b)"], references=[{"words": ["a", "b"], "spans": [(0, 2)]}], protocol="prpn")


def test_long_sentences_and_deep_trees_are_scored():
    count = 1000
    words = [word for i in range(count) for word in (f"w{i}", ",")]
    gold = f"(S {' '.join(f'(NP (NN w{i}) (, ,))' for i in range(count))})"
    deep = {"words": words, "spans": [(0, last) for last in range(2 * count)]}
    result = compute_bracket_f1([deep], [gold], protocol="urnng-evalb")
    # Each of the commas repeats the bracket before it, that of one word or of the first so many words.
    assert (result["predicted_brackets"], result["gold_brackets"]) == (2 * count - 1, count + 1)
    assert result["matched_brackets"] == 2
    best = 200 * (count + 1) / (2 * count - 1 + count + 1)  # every comma makes a phrase of its word
    assert result["baselines"]["best_binary"]["corpus_f1"] == pytest.approx(best)
    with pytest.raises(ValueError, match=r"predictions\[0\] .*depth exceeds MAX_TREE_DEPTH"):
        compute_bracket_f1([f"{'(X ' * count}{', ,) '.join(words[::2])}, ,)"], [gold], protocol="urnng-evalb")


def test_results_are_plain_python_values():
    result = compute_bracket_f1(np.array(PREDICTED), GOLD, protocol="prpn", seed=1)
    assert {type(value) for value in result.values()} == {float, int, str, dict}
    assert {type(value) for means in result["baselines"].values() for value in means.values()} == {float}
