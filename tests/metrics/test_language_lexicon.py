"""Lexicons against counts by hand and against the definitions written out one by one."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lvm.metrics.language_structure.lexicon import Names, cooccurrence, lexicon_rows, lexicon_table
from hf_lvm.metrics.language_structure.messages import PADDING

NAMES = Names(["colour", "shape"], [["red", "blue"], ["square", "circle", "star"]], "abcde")
MEANINGS = np.array(list(itertools.product(range(2), range(3))))
MESSAGES = [[colour, 2 + shape][: 2 if shape else 1] for colour, shape in MEANINGS]
LANGUAGE = st.lists(
    st.tuples(st.lists(st.integers(0, 2), max_size=3), st.tuples(st.integers(0, 2), st.integers(5, 6))),
    min_size=1,
    max_size=20,
)


def forms_of(unit: str, message: list[int], longest: int) -> set[tuple[int, ...]]:
    if unit == "message":
        return {tuple(message)}
    if unit == "symbol":
        return {(symbol,) for symbol in message}
    return set(enumerate(message + [PADDING] * (longest - len(message))))


@settings(max_examples=60, deadline=None)
@given(LANGUAGE, st.sampled_from(["position", "symbol", "message"]))
def test_rows_are_those_of_the_definition(language, unit):
    messages, meanings = map(list, zip(*language, strict=True))
    longest, count = max(map(len, messages)), len(language)
    expected = {}
    spoken = [forms_of(unit, message, longest) for message in messages]
    for form in set().union(*spoken):
        for attribute in (0, 1):
            for value in {meaning[attribute] for meaning in meanings}:
                own = [form in forms for forms in spoken]
                meant = [meaning[attribute] == value for meaning in meanings]
                both = sum(a and b for a, b in zip(own, meant, strict=True))
                if both:
                    pmi = math.log(both / count / (sum(own) / count * sum(meant) / count))
                    key = (form, f"attribute {attribute}", str(value))
                    expected[key] = (sum(own), both, both / sum(own), sum(meant) / count, pmi)
    rows = lexicon_rows(messages, meanings, unit)
    columns = ("form_count", "count", "probability", "value_probability", "pmi")
    found = {}
    for row in rows:
        if unit == "position":
            form = (row["position"], PADDING if row["symbol"] is None else row["symbol"])
        else:
            form = tuple(row["message"]) if unit == "message" else (row["symbol"],)
        found[form, row["attribute"], row["value"]] = tuple(row[column] for column in columns)
    assert len(found) == len(rows) and found == {key: pytest.approx(value) for key, value in expected.items()}
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    # Best first, and of equally good ones the more frequent first.
    for _, own in itertools.groupby(rows, key=lambda row: (row.get("position"), row["form"])):
        scores = [(-round(row["pmi"], 9), -row["count"]) for row in own]
        assert scores == sorted(scores)


def test_the_table_of_a_small_language():
    assert lexicon_table(lexicon_rows(MESSAGES, MEANINGS, names=NAMES)) == (
        "form       count  goes with, and P(value | form)\n"
        "a@0            3  colour=red 1.00\n"
        "b@0            3  colour=blue 1.00\n"
        "(ended)@1      2  shape=square 1.00\n"
        "d@1            2  shape=circle 1.00\n"
        "e@1            2  shape=star 1.00"
    )
    table = lexicon_table(lexicon_rows(MESSAGES, MEANINGS, "symbol", names=NAMES), max_forms=2)
    assert table.splitlines()[1:] == [
        "a         3  colour=red 1.00",
        "b         3  colour=blue 1.00",
        "and 2 less frequent forms",
    ]
    table = lexicon_table(lexicon_rows([*MESSAGES, []], [*MEANINGS, (0, 0)], "message", names=NAMES), most=1)
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["(empty)", "a", "a", "a", "b", "b", "b"]


def test_a_symbol_of_everything_means_nothing_in_particular():
    table = lexicon_table(lexicon_rows([[4], [4]], [[0], [1]]))
    assert table.splitlines()[1] == "4@0       2  nothing in particular"


def test_one_symbol_may_mean_different_things_in_different_tasks():
    """As the answers of a dialog: the same token names a colour when that was asked for, and a shape when that was."""
    meanings, tasks = np.concatenate([MEANINGS, MEANINGS]), ["colour"] * 6 + ["shape"] * 6
    messages = [[colour] for colour, _ in MEANINGS] + [[shape] for _, shape in MEANINGS]
    rows = lexicon_rows(messages, meanings, "message", contexts=tasks, names=NAMES, most=1)
    told = [(row["context"], row["message"], row["form_count"], row["value"], row["probability"]) for row in rows]
    assert told == [
        ("colour", [0], 3, "red", 1.0),
        ("colour", [1], 3, "blue", 1.0),
        ("shape", [0], 2, "square", 1.0),
        ("shape", [1], 2, "circle", 1.0),
        ("shape", [2], 2, "star", 1.0),
    ]
    assert lexicon_table(rows).splitlines()[1] == "colour   a         3  colour=red 1.00"
    numbered = lexicon_rows(messages, meanings, "message", contexts=[3] * 6 + [1] * 6, names=NAMES, most=1)
    assert [row["context"] for row in numbered] == [1, 1, 1, 3, 3]
    # Without the tasks, the token means both a little.
    together = lexicon_rows(messages, meanings, "message", names=NAMES)
    assert max(row["probability"] for row in together if row["message"] == [0]) < 1


def test_words_of_sentences():
    messages = [[1], [2], [1, 2, 1], []]
    sentences = [["a", "dog", "a"], ["a", "cat"], ["a", "dog", "cat"], ["a"]]
    rows = lexicon_rows(messages, sentences, "symbol")
    best = {row["symbol"]: (row["attribute"], row["value"], row["count"]) for row in reversed(rows)}
    assert best == {1: (None, "dog", 2), 2: (None, "cat", 2)}
    assert next(row for row in rows if row["value"] == "a")["value_probability"] == 1
    assert lexicon_table(rows).splitlines()[1] == "1         2  dog 1.00"
    assert not [row for row in lexicon_rows(messages, sentences, "symbol", min_count=2) if row["count"] < 2]


def test_rare_values_can_be_kept_out():
    """A value that is met once, by chance, has the largest pointwise mutual information."""
    meanings = [[0]] * 50 + [[1]] * 49 + [[2]]
    messages = [[0]] * 40 + [[1]] * 10 + [[1]] * 49 + [[0]]
    for min_count, expected in ((1, {0: "2", 1: "1"}), (2, {0: "0", 1: "1"})):
        rows = lexicon_rows(messages, meanings, min_count=min_count, most=1)
        assert {row["symbol"]: row["value"] for row in rows} == expected


def test_matrices_for_figures():
    counted = cooccurrence(MESSAGES, MEANINGS)
    assert counted.forms == [(0, 0), (0, 1), (1, PADDING), (1, 3), (1, 4)]
    assert counted.values == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert counted.counts.toarray()[0].tolist() == [3, 0, 1, 1, 1]
    np.testing.assert_allclose(counted.probabilities()[0], [1, 0, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(counted.differences()[2], [0, 0, 2 / 3, -1 / 3, -1 / 3])
    few = counted.most_frequent(3)
    assert few.forms == counted.forms[:3] and few.counts.shape == (3, 5)
    nothing = cooccurrence([[], []], [[0], [1]])
    assert nothing.forms == [] and lexicon_rows([[], []], [[0], [1]]) == []
    assert lexicon_rows([[], []], [[0], [1]], "message")[0]["form"] == "(empty)"


@pytest.mark.parametrize(
    ("meanings", "options", "message"),
    [
        (MEANINGS, {"unit": "letter"}, "unit is 'letter'; choose one of 'position'"),
        (MEANINGS + 0.5, {}, "meanings are vectors; a lexicon needs attributes"),
        (MEANINGS[:3], {}, "6 messages and 3 meanings"),
        ([["dog"]] * 5, {}, "6 messages and 5 meanings"),
        (["a dog"] * 6, {}, r"meanings\[0\] is no list of words"),
        ([["dog"]] * 5 + [[3]], {}, r"meanings\[5\] is no list of words"),
        (MEANINGS, {"min_count": 0}, "min_count is 0"),
        (MEANINGS, {"contexts": [0, 1]}, r"contexts has shape \(2,\)"),
        (MEANINGS, {"names": Names(symbols="abc")}, "names: there are 3 symbols and number 3 is needed"),
        (MEANINGS, {"names": Names(attributes=["colour"])}, "names: there are 1 attributes and number 1 is needed"),
        (MEANINGS, {"names": Names(values=[["red"], list("abc")])}, "1 values of attribute 0 and number 1 is needed"),
    ],
)
def test_wrong_input_is_named(meanings, options, message):
    with pytest.raises(ValueError, match=message):
        lexicon_rows(MESSAGES, meanings, **options)


def test_symbols_that_a_mapping_leaves_out_keep_their_digits():
    names = Names(symbols={0: "zero"})
    assert [names.symbol(number) for number in (0, 1, PADDING)] == ["zero", "1", "(ended)"]
