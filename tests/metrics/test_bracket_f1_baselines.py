"""Trees without a parser: their shapes, and the best binary tree against all there are."""

import random
from collections import Counter

import pytest

from hf_lvm.grammars.brackets import read_tree
from hf_lvm.metrics.bracket_f1.baselines import (
    balanced,
    left_branching,
    random_tree,
    right_branching,
    right_branching_last_on_top,
)
from hf_lvm.metrics.bracket_f1.bracket_f1 import compute_bracket_f1
from hf_lvm.metrics.bracket_f1.protocols import PROTOCOLS
from tests.distributions.binary_tree.enumeration import bracketings


def written(words, spans) -> str:
    return read_tree({"words": words, "spans": list(spans)}).write()


def test_branching_trees_of_five_words():
    words = ["a", "b", "c", "d", "e"]
    shapes = {
        left_branching: "(X (X (X (X a b) c) d) e)",
        right_branching: "(X a (X b (X c (X d e))))",
        right_branching_last_on_top: "(X (X a (X b (X c d))) e)",
        balanced: "(X (X a b) (X c (X d e)))",
    }
    for branching, tree in shapes.items():
        assert written(words, branching(5)) == tree
    assert written(words[:4], balanced(4)) == "(X (X a b) (X c d))"


@pytest.mark.parametrize(
    "branching",
    [
        left_branching,
        right_branching,
        right_branching_last_on_top,
        balanced,
        lambda count: random_tree(count, random.Random(count)),
    ],
)
def test_every_tree_is_binary_with_the_whole_sentence_last(branching):
    for count in range(2, 12):
        spans = branching(count)
        assert len(spans) == len(set(spans)) == count - 1
        assert spans[-1] == (0, count - 1)
        # Reading refuses spans that cross, and puts children first.
        tree = read_tree({"words": [f"w{i}" for i in range(count)], "spans": spans})
        assert sorted(tree.spans) == sorted(spans)


def test_random_trees_split_uniformly():
    generator = random.Random(0)
    draws = Counter(frozenset(random_tree(4, generator)) for _ in range(3000))
    assert len(draws) == 5
    # A third of the trees is split in the middle; the four others share the rest.
    assert draws.pop(frozenset({(0, 1), (2, 3), (0, 3)})) == pytest.approx(1000, abs=100)
    assert list(draws.values()) == pytest.approx([500] * 4, abs=80)


def test_random_trees_follow_the_seed():
    trees = ["(S (A (A (NN a) (NN b)) (NN c)) (NN d) (A (NN e) (NN f)))"] * 5
    runs = [compute_bracket_f1(trees, trees, protocol="prpn", seed=seed)["baselines"] for seed in (0, 0, 1, 2, 3)]
    assert runs[0] == runs[1]
    assert len({run["random"]["corpus_f1"] for run in runs}) > 1
    for run in runs:
        del run["random"]
    assert runs[1:] == runs[:-1]


def random_gold(count: int, generator: random.Random) -> tuple[list[str], str]:
    """Tags, and a tree of any arity with unary chains over words w0, w1, ..."""
    tags = generator.choices(["NN", ",", "$"], weights=[3, 2, 1], k=count)
    tags[generator.randrange(count)] = "NN"

    def grow(first: int, last: int) -> str:
        if first == last:
            tree = f"({tags[first]} w{first})"
        else:
            starts = sorted({first, *generator.sample(range(first + 1, last + 1), generator.randint(1, last - first))})
            ends = [*(start - 1 for start in starts[1:]), last]
            tree = f"(A {' '.join(map(grow, starts, ends))})"
        return f"(U {tree})" if generator.random() < 0.3 else tree

    return tags, grow(0, count - 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_best_binary_is_the_best_of_all_binary_trees(protocol):
    generator = random.Random(1)
    enumerated = 0
    for count in [2, 3, 3, 4, 4, 4, *[5] * 12, *[6] * 8]:
        tags, gold = random_gold(count, generator)
        words = [f"w{i}" for i in range(count)]
        if not PROTOCOLS[protocol].parses_punctuation:
            words = [word for word, tag in zip(words, tags, strict=True) if tag == "NN"]
            if len(words) < 2:
                continue
        trees = [written(words, spans) for spans in bracketings(0, len(words) - 1)]
        results = [compute_bracket_f1([tree], [gold], protocol=protocol) for tree in trees]
        best = max(result["sentence_f1"] for result in results)
        assert results[0]["baselines"]["best_binary"] == pytest.approx({"corpus_f1": best, "sentence_f1": best}), gold
        enumerated += len(trees) > 4
    assert enumerated > 3


def test_best_binary_makes_phrases_of_punctuation_at_as_many_places_as_it_can():
    # Two brackets want a word: one of those before "a" and the one behind it, or else the one behind costs a bracket.
    gold = "(U (A (A (, ,) (, ,) (NN a) (, ,)) (NN b)))"
    result = compute_bracket_f1([gold], [gold], protocol="urnng-evalb")
    assert (result["gold_brackets"], result["baselines"]["best_binary"]["corpus_f1"]) == (3, 100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_baselines_are_scored_as_predictions_of_their_trees_would_be(protocol):
    generator = random.Random(2)
    golds, words = [], []
    while len(golds) < 20:
        tags, gold = random_gold(generator.randint(3, 9), generator)
        if tags.count("NN") > 1:
            golds.append(gold)
            stays = [PROTOCOLS[protocol].parses_punctuation or tag == "NN" for tag in tags]
            words.append([f"w{i}" for i, stay in enumerate(stays) if stay])
    baselines = compute_bracket_f1(golds, golds, protocol=protocol)["baselines"]
    branchings = {
        "left_branching": left_branching,
        "right_branching": right_branching,
        "right_branching_last_on_top": right_branching_last_on_top,
        "balanced": balanced,
    }
    assert set(baselines) == {*branchings, "random", "best_binary"}
    for name, branching in branchings.items():
        trees = [written(sentence, branching(len(sentence))) for sentence in words]
        result = compute_bracket_f1(trees, golds, protocol=protocol)
        assert {mean: result[mean] for mean in ("corpus_f1", "sentence_f1")} == baselines[name]


def test_the_full_stop_is_what_right_branching_fails_on_where_punctuation_stays():
    gold = "(S (NN a) (A (NN b) (A (NN c) (NN d))) (. .))"
    baselines = compute_bracket_f1([gold], [gold], protocol="urnng-script")["baselines"]
    assert baselines["right_branching"]["corpus_f1"] == 0
    assert baselines["right_branching_last_on_top"]["corpus_f1"] == pytest.approx(80)  # 2 of 3, 2 of 2
