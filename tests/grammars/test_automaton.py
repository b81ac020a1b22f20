"""The automaton lets through every tree within the limit, each by one derivation, and nothing else."""

import gc
import weakref

import pytest
import torch

from hf_lvm.grammars.asdl import parse_asdl
from hf_lvm.grammars.transition_system import (
    END,
    PAD,
    REDUCE,
    ActionVocabulary,
    Automaton,
    ClosedLexicon,
    Identifier,
    OpenLexicon,
    Source,
    actions_of,
    tree_of,
)
from tests.grammars.toy_trees import SOURCE, derivations_within, drawn, toy_vocabulary, trees_within

SOURCES = [None, SOURCE, ["c", "zz"], ["7", "8", "b"], ["a", "b", "ab", "ba", "aa"], []]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("words", SOURCES)
def test_exactly_the_trees_within_the_limit(limit, words):
    vocabulary = toy_vocabulary(copy_slots=5)
    source = None if words is None else Source(vocabulary, words)
    automaton = Automaton(vocabulary)
    derivations = list(derivations_within(automaton, limit, source))
    trees = trees_within(vocabulary, limit, source)
    assert len(set(trees)) == len(trees) == len(derivations)
    assert {tuple(row) for row in derivations} == {tuple(actions_of(vocabulary, tree, source)) for tree in trees}
    for row in derivations:
        tree = tree_of(vocabulary, row, words or ())
        assert actions_of(vocabulary, tree, source) == row
        assert len(row) <= automaton.steps_of(tree, source) <= limit


def test_values_that_are_no_end_are_finished_in_time():
    # "for" and "or" are keywords: what begins so needs another piece, and that costs a step.
    lexicon = OpenLexicon(["f", "or", "r"], Identifier())
    vocabulary = ActionVocabulary(parse_asdl("name\nexpr = Names(name+ names)"), {"name": lexicon}, copy_slots=2)
    automaton = Automaton(vocabulary)
    for words in (None, ["f", "orr"], ["r", "ff"]):
        source = None if words is None else Source(vocabulary, words)
        for limit in (4, 5, 6, 7):
            rows = [tuple(row) for row in derivations_within(automaton, limit, source)]
            trees = {tree_of(vocabulary, row, words or ()) for row in rows}
            assert len(trees) == len(rows)
            names = {name for tree in trees for name in tree.children[0]}
            assert names.isdisjoint({"or", "for", ""}) and all(name.isidentifier() for name in names)
            # With all pieces but one word of the source excluded, "r" and "f" are still there by copying.
            assert "r" in names and "f" in names
            assert ("rr" in names) == (limit >= 5) and ("orf" in names) == (limit >= 5)


def test_closed_values_that_are_all_copied():
    vocabulary = ActionVocabulary(
        parse_asdl("v\ns = S(v a, v? b, v* c, v+ d)"), {"v": ClosedLexicon(["x", "y"])}, copy_slots=3
    )
    source = Source(vocabulary, ["y", "x"])
    rows = list(derivations_within(Automaton(vocabulary), 7, source))
    assert rows and all(action >= vocabulary.first_copy or action <= vocabulary.first_piece for row in rows for action in row)
    assert len(rows) == len(trees_within_values(7))


def trees_within_values(limit: int) -> list[tuple]:
    """How many of each field: S, a, b or Reduce, c and Reduce, d and Reduce."""
    found = []
    for c in range(limit):
        for d in range(1, limit):
            if 1 + 1 + 1 + (c + 1) + (d + 1) <= limit:
                # Two values for each, and none for b.
                found += [(c, d)] * (2 * 3 * 2**c * 2**d)
    return found


def test_a_batch_is_its_rows():
    vocabulary = toy_vocabulary(copy_slots=5)
    automaton = Automaton(vocabulary)
    sources = [Source(vocabulary, words or []) for words in SOURCES]
    rows = drawn(automaton, 12, len(sources), sources=sources)
    batch = automaton.begin(12, len(sources), sources)
    single = [automaton.begin(12, 1, [source]) for source in sources]
    for step in range(12):
        legal = batch.legal()
        assert torch.equal(legal, torch.cat([each.legal() for each in single]))
        order = torch.randperm(len(sources)).tolist()
        assert torch.equal(batch.select(order).legal(), legal[order])
        assert torch.equal(batch.repeat(3).legal(), legal.repeat_interleave(3, dim=0))
        actions = [(*row, END)[min(step, len(row))] if step <= len(row) else PAD for row in rows]
        assert all(legal[number, action] or step > len(rows[number]) for number, action in enumerate(actions))
        before = list(batch.stacks)
        following = batch.advance(actions)
        assert batch.stacks == before and not any(following.failed)
        batch, single = following, [each.advance([action]) for each, action in zip(single, actions, strict=True)]
    assert all(batch.finished)


def test_what_is_not_legal_fails_and_stays_so():
    vocabulary = toy_vocabulary(copy_slots=5)
    automaton = Automaton(vocabulary)
    source = Source(vocabulary, ["ab"])
    states = automaton.begin(4, 1, [source])
    for wrong in set(range(len(vocabulary))) - set(states.legal()[0].nonzero().flatten().tolist()):
        failed = states.advance([wrong])
        assert failed.failed == [True] and failed.finished == [False]
        assert failed.legal()[0].nonzero().flatten().tolist() == [END]
        assert failed.advance([REDUCE]).failed == [True]
    # Words without a limit that admits them, and a word that is copied and not spelled.
    words = states.advance([vocabulary.rules["Words"]])
    assert words.failed == [False] and words.advance([vocabulary.pieces["ab"]]).failed == [True]
    assert words.advance([vocabulary.first_copy]).failed == [False]
    assert words.advance([vocabulary.first_copy + 1]).failed == [True]


def test_forgetting_changes_nothing():
    vocabulary = toy_vocabulary(copy_slots=5)
    source = Source(vocabulary, SOURCE)
    expected = sorted(derivations_within(Automaton(vocabulary), 5, source))
    forgetful = Automaton(vocabulary, max_stacks=3)
    assert sorted(derivations_within(forgetful, 5, source)) == expected
    assert len(forgetful._interned) <= 3


def test_sources_are_not_kept():
    vocabulary = toy_vocabulary(copy_slots=5)
    automaton = Automaton(vocabulary)
    source = Source(vocabulary, SOURCE)
    list(derivations_within(automaton, 4, source))
    known = weakref.ref(source)
    del source
    gc.collect()
    assert known() is None and len(automaton._changes) == 0


def test_equal_stacks_are_one():
    vocabulary = toy_vocabulary()
    automaton = Automaton(vocabulary)
    leaf, call, piece = vocabulary.rules["Leaf"], vocabulary.rules["Call"], vocabulary.pieces["a"]
    finish = 4
    short = automaton.begin(20, 1).advance([call]).advance([piece]).advance([finish])
    long = short.advance([leaf]).advance([leaf])
    assert short.stacks[0] is long.stacks[0] and short.slacks[0] == long.slacks[0] + 2


def test_limits_and_sources_that_do_not_fit_are_refused():
    vocabulary = toy_vocabulary(copy_slots=2)
    automaton = Automaton(vocabulary)
    assert automaton.shortest == 1
    with pytest.raises(ValueError, match="limit of 0 steps admits no tree: the smallest one takes 1"):
        automaton.begin(0, 1)
    with pytest.raises(ValueError, match="must be from there to 32766"):
        automaton.begin(40000, 1)
    with pytest.raises(ValueError, match="There are 1 sources for 2 derivations"):
        automaton.begin(5, 2, [Source(vocabulary, ["a"])])
