"""Exact match by two rules, oracles, well-formed shares and token F1 of meanings, by hand and against one another."""

import random

import pytest

import hf_lvm.metrics
from hf_lvm.data import synthetic_meanings
from hf_lvm.grammars.languages import build_language
from hf_lvm.metrics.semantic_parsing.baselines import majority_template, nearest_neighbour
from hf_lvm.metrics.semantic_parsing.semantic_parsing import compute_semantic_parsing

GOLD = "( lambda $0 e ( and ( boat $0 ) ( to $0 a ) ( to $0 b ) ) )"
OTHER_ORDER = "( lambda $0 e ( and ( to $0 a ) ( to $0 b ) ( boat $0 ) ) )"
SAME_PREDICATE = "( lambda $0 e ( and ( to $0 b ) ( to $0 a ) ( boat $0 ) ) )"
RENAMED = GOLD.replace("$0", "$7")
WRONG = GOLD.replace("boat", "ship")
BROKEN = "( lambda $0 e ( and"


def test_exact_match_by_two_rules():
    expected = {GOLD: (1, 1), OTHER_ORDER: (1, 1), SAME_PREDICATE: (0, 1), RENAMED: (0, 1), WRONG: (0, 0), BROKEN: (0, 0)}
    for prediction, (published, canonical) in expected.items():
        scores = compute_semantic_parsing([prediction], [GOLD])
        assert scores["exact_match_published"] == 100 * published
        assert scores["exact_match_canonical"] == 100 * canonical
        assert scores["well_formed"] == (prediction != BROKEN)
    scores = compute_semantic_parsing(list(expected), [GOLD] * 6)
    assert scores["exact_match_published"] == pytest.approx(100 / 3)
    assert scores["exact_match_canonical"] == pytest.approx(200 / 3)
    assert scores["well_formed"] == pytest.approx(5 / 6) and scores["sentences"] == 6


def test_the_k_best():
    predictions = [[WRONG, GOLD], [BROKEN, WRONG, SAME_PREDICATE, OTHER_ORDER], [], None, OTHER_ORDER, [GOLD]]
    scores = compute_semantic_parsing(predictions, [GOLD] * 6)
    assert scores["oracle_at_k"] == {
        "published": pytest.approx([200 / 6, 300 / 6, 300 / 6, 400 / 6]),
        "canonical": pytest.approx([200 / 6, 300 / 6, 400 / 6, 400 / 6]),
    }
    assert scores["exact_match_canonical"] == scores["oracle_at_k"]["canonical"][0]
    assert scores["well_formed"] == pytest.approx(3 / 6) and scores["well_formed_hypotheses"] == pytest.approx(7 / 8)
    assert scores["without_prediction"] == 2 and scores["hypotheses"] == 8
    nothing = compute_semantic_parsing([None, []], [GOLD] * 2)
    assert nothing["oracle_at_k"] == {"published": [0.0], "canonical": [0.0]} and nothing["well_formed_hypotheses"] is None
    assert nothing["token_f1"] == 0 and nothing["well_formed"] == 0


def test_token_f1_is_over_what_the_language_takes_for_tokens():
    # 4 of 4 tokens are common; 3 of 4; brackets count; 2 of 2 and 4.
    scores = [compute_semantic_parsing([text], ["( f a )"])["token_f1"] for text in ("(f a)", "( f b )", "( a", "zzz", "")]
    assert scores == pytest.approx([1, 3 / 4, 2 * 2 / 6, 0, 0])
    python = [
        compute_semantic_parsing([text], ["def f(x='a'): pass"], "python")["token_f1"]
        for text in ('def f( x = "a" ) :\n  pass', "def g(x='a'): pass", "def f(x='a')")
    ]
    # def f ( x = 'a' ) : pass
    assert python == pytest.approx([1, 8 / 9, 2 * 7 / 16])
    mean = compute_semantic_parsing(["( f b )", None], ["( f a )"] * 2)["token_f1"]
    assert mean == pytest.approx(3 / 8)


def test_other_languages():
    scores = compute_semantic_parsing(["x=f( 1 )", "x = f(2)"], ["x = f(1)"] * 2, "python")
    assert scores["exact_match_canonical"] == scores["exact_match_published"] == 50
    rules = {"text": 'order = "bring" thing { "and" thing } ;'}
    scores = compute_semantic_parsing(["bring  tea and milk", "tea"], ["bring tea and milk", "bring tea"], "ebnf", rules)
    assert scores["exact_match_published"] == 50 and scores["well_formed"] == 0.5
    assert compute_semantic_parsing(["(or b a)"], ["(or a b)"], "s_expressions")["exact_match_canonical"] == 100
    scores = compute_semantic_parsing(["(_and a b)"], ["(_and b a)"], language_options={"prefix": "_"})
    assert scores["exact_match_published"] == 100


def test_counts_over_a_corpus_are_those_of_its_sentences():
    draws = synthetic_meanings.generate(5)
    references = [next(draws)[1] for _ in range(60)]
    generator = random.Random(0)
    predictions = [generator.choices([reference, *references], [60] + [1] * 60, k=2) for reference in references]
    scores = compute_semantic_parsing(predictions, references)
    each = [compute_semantic_parsing([own], [gold]) for own, gold in zip(predictions, references, strict=True)]
    for name in ("exact_match_published", "exact_match_canonical", "token_f1", "well_formed"):
        assert scores[name] == pytest.approx(sum(row[name] for row in each) / 60)
    best, second = scores["oracle_at_k"]["canonical"]
    assert best == scores["exact_match_canonical"] and 30 < best < second < 100
    right = sum(gold in own for own, gold in zip(predictions, references, strict=True))
    assert second == pytest.approx(100 * right / 60)


def test_the_module_takes_every_form_of_prediction(tmp_path):
    predictions, references = [[], GOLD, None, [WRONG, GOLD], BROKEN], [GOLD] * 5
    metric = hf_lvm.metrics.load("semantic_parsing", cache_dir=str(tmp_path))
    expected = compute_semantic_parsing(predictions, references)
    assert metric.compute(predictions=predictions, references=references) == expected
    metric.add_batch(predictions=predictions[:3], references=references[:3])
    for prediction in predictions[3:]:
        metric.add(prediction=prediction, reference=GOLD)
    assert metric.compute() == expected


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["( f x )"] * 2, ["( f x )", "( f"], r"references\[1\] lacks 1 closing bracket.*leave out or mend that row"),
        (["( f x )"], ["( " * 3000 + "f" + " )" * 3000], r"references\[0\]"),
        (["( f x )"], [None], r"references\[0\] is a NoneType; a string is needed"),
        ([["( f x )", 3]], ["( f x )"], r"predictions\[0\]\[1\] is a int; a string, a list of strings or None"),
        ([3], ["( f x )"], r"predictions\[0\] is a int"),
        ("( f x )", ["( f x )"], "predictions is one string; a list"),
        ([], [], "there are 0 predictions and 0 references"),
        ([None], ["a", "b"], "there are 1 predictions and 2 references"),
    ],
)
def test_bad_input_is_named(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        compute_semantic_parsing(predictions, references)


def test_unknown_languages_and_options_are_refused():
    with pytest.raises(ValueError, match="no language 'sql'"):
        compute_semantic_parsing(["a"], ["a"], "sql")
    with pytest.raises(ValueError, match="has no option 'root'"):
        compute_semantic_parsing(["a"], ["a"], language_options={"root": "expr"})


def test_the_nearest_utterance_lends_its_meaning():
    texts = ["boats in pier0", "red boats", "Red boats!", "how many ferries are there"]
    meanings = ["one", "two", "three", "four"]
    found = nearest_neighbour(texts, meanings, ["RED boats", "ferries in pier9", "many", "xyz", "pier0"])
    # Of two that are alike the first, and the first of all where no word is known.
    assert found == ["two", "one", "four", "one", "one"]
    for other in ("red boats", "boats red"):
        assert nearest_neighbour(texts, meanings, [other]) == ["two"]
    with pytest.raises(ValueError, match="there are 4 training utterances and 1 meanings"):
        nearest_neighbour(texts, meanings[:1], ["a"])
    with pytest.raises(ValueError, match="hold no word"):
        nearest_neighbour(["?"], ["one"], ["a"])


def test_the_usual_shape_with_the_usual_values():
    calculus = build_language("lambda_calculus")
    meanings = [
        "( from $0 a )",
        "( to $0 a )",
        "( from $0 b )",
        "( from $0 c )",
        "( to $0 d )",
        "( from $0 c )",
        "( to $0 d )",
    ]
    assert majority_template(calculus, meanings) == "( from $0 c )"
    # Each place by itself, so that the values may stand together nowhere in training.
    python = build_language("python")
    texts = ["def f(x): pass", "def g(y): pass", "def f(z): pass", "def h(y): pass", "def f(): pass"]
    assert majority_template(python, texts) == "def f(y):\n    pass"
    assert majority_template(calculus, ["( f $0 )"]) == "( f $0 )"
    # A language whose rules the usual values break: there the most frequent whole meaning stands in.
    swap = build_language("ebnf", text="row = Pair: first second | Turn: second first ;", patterns={"first": "[ab]"})
    assert majority_template(swap, ["a x"]) == "a x"
    with pytest.raises(ValueError, match="no training meaning"):
        majority_template(calculus, [])
    with pytest.raises(ValueError, match=r"train_meanings\[1\] cannot be derived"):
        majority_template(calculus, ["( f x )", "( not )"])
