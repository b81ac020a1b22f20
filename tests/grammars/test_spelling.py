"""Derivations that copy against those that spell, words that may be copied, and the numbers of fields."""

import pytest
import torch

from hf_lvm.grammars.transition_system import Automaton, Source, actions_of, copied, spelled, tree_of
from tests.grammars.toy_trees import SOURCE, derivations_within, toy_vocabulary, trees_within

LIMIT = 5
VOCABULARY = toy_vocabulary(copy_slots=5)
AUTOMATON = Automaton(VOCABULARY)


def test_one_tree_with_and_without_copies():
    # "c" is in no piece, so that it cannot be spelled and is not copied.
    source = Source(VOCABULARY, SOURCE, spelled_within=10)
    trees = trees_within(VOCABULARY, LIMIT, source)
    assert len(trees) > 100
    for tree in trees:
        with_copies, without = actions_of(VOCABULARY, tree, source), actions_of(VOCABULARY, tree)
        assert spelled(AUTOMATON, with_copies, source) == without
        assert copied(AUTOMATON, without, source, LIMIT) == with_copies
        assert spelled(AUTOMATON, without, None) == without
    assert any(max(actions_of(VOCABULARY, tree, source)) >= VOCABULARY.first_copy for tree in trees)


def test_words_that_are_spelled_in_too_many_steps_are_not_copied():
    slots = {within: Source(VOCABULARY, SOURCE, spelled_within=within).slots["word"] for within in (None, 1, 2, 3)}
    assert slots == {None: {"ab": 0, "c": 1, "7": 3, "a": 4}, 1: {}, 2: {"ab": 0, "a": 4}, 3: {"ab": 0, "a": 4}}
    source = Source(VOCABULARY, SOURCE, spelled_within=2)
    for actions in derivations_within(AUTOMATON, 4, source):
        # A copied word counts as the shortest value, 1 step, and is 2 spelled: so the spelled tree has twice as many at most.
        assert len(spelled(AUTOMATON, actions, source)) <= 8


def test_what_cannot_be_spelled_or_is_too_long():
    leaf = VOCABULARY.rules["Leaf"]
    with pytest.raises(ValueError, match="row 3 takes 1 steps, and the limit is 0"):
        copied(AUTOMATON, [leaf], None, 0, "row 3")
    source = Source(VOCABULARY, SOURCE)
    words = [VOCABULARY.rules["Words"], VOCABULARY.first_copy + 1, 3]
    assert tree_of(VOCABULARY, words, SOURCE).children == (("c",),)
    with pytest.raises(ValueError, match="The copied word 'c' is none that the lexicon of the type word can spell"):
        spelled(AUTOMATON, words, source)
    with pytest.raises(ValueError, match="a copy of word 1 of a source of 0 words"):
        spelled(AUTOMATON, words, None)


def test_every_place_in_a_tree_has_a_number():
    states = AUTOMATON.begin(20, 1)
    numbers = [states.fields().item()]
    tree = tree_of(VOCABULARY, actions_of(VOCABULARY, trees_within(VOCABULARY, 6)[-1]))
    for action in actions_of(VOCABULARY, tree):
        states = states.advance([action])
        numbers.append(states.fields().item())
    assert numbers[0] == 0 and numbers[-1] == AUTOMATON.num_fields - 1
    # Two fields of Bind, Call, Maybe and the inner pair, one of Words, Pair and Number; two types.
    assert AUTOMATON.num_fields == 1 + 11 + 2 + 1
    seen = set()
    for actions in derivations_within(AUTOMATON, 6):
        states = AUTOMATON.begin(20, 1)
        for action in actions:
            states = states.advance([action])
            seen.add(states.fields().item())
    assert len(seen) > 8 and seen <= set(range(AUTOMATON.num_fields))
    # The numbers do not depend on what has been looked at before.
    assert Automaton(VOCABULARY).begin(5, 2).advance([VOCABULARY.rules["Number"]] * 2).fields().dtype == torch.long
