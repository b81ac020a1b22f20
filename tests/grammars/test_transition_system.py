"""Trees to actions and back, and what cannot be written."""

import pytest
import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.transition_system import (
    END,
    FINISH,
    PAD,
    REDUCE,
    START,
    ActionKind,
    ActionVocabulary,
    Automaton,
    ClosedLexicon,
    Digits,
    OpenLexicon,
    Source,
    actions_of,
    tree_of,
)
from tests.grammars.toy_trees import NUMBERS, SOURCE, derivation, drawn, toy_grammar, toy_vocabulary

TREE = Node(
    "Bind",
    (
        "aba",
        Node("Call", ("ab", (Node("Maybe", (None, "7")), Node("Pair", (Node("pair", (Node("Leaf"), (Node("Leaf"),))),))))),
    ),
)


def test_actions_are_rules_depth_first():
    assert derivation(toy_vocabulary(), TREE) == (
        ["Bind", "'ab'", "'a'", "Finish"]
        + ["Call", "'ab'", "Finish", "Maybe", "Reduce", "'7'"]
        + ["Pair", "pair", "Leaf", "Leaf", "Reduce", "Reduce"]
    )


def test_what_the_source_has_is_copied_from_its_first_place():
    vocabulary = toy_vocabulary(copy_slots=4)
    source = Source(vocabulary, SOURCE)
    assert source.slots == {"number": {"7": 3}, "word": {"ab": 0, "c": 1, "7": 3}}
    assert derivation(vocabulary, TREE, source) == (
        ["Bind", "'ab'", "'a'", "Finish", "Call", "copy 0", "Maybe", "Reduce", "copy 3"]
        + ["Pair", "pair", "Leaf", "Leaf", "Reduce", "Reduce"]
    )
    # "c" is in no piece, and yet in the source.
    tree = Node("Words", (("c", "ab"),))
    assert tree_of(vocabulary, actions_of(vocabulary, tree, source), SOURCE) == tree
    with pytest.raises(
        ValueError, match=r"at Words.words\[0\] there is 'c', which the lexicon of the type word does not make:"
    ):
        actions_of(vocabulary, tree)


def test_only_types_that_are_named_are_copied():
    lexicons = {"word": OpenLexicon(["a"]), "number": ClosedLexicon(NUMBERS, Digits())}
    vocabulary = ActionVocabulary(toy_grammar(), lexicons, copy_slots=3, copied=["number"])
    assert Source(vocabulary, ["7", "99", "a", "8"]).slots == {"number": {"7": 0, "99": 1}}


@pytest.mark.parametrize("words", [None, SOURCE])
def test_random_trees_come_back(words):
    vocabulary = toy_vocabulary(copy_slots=4)
    automaton, source = Automaton(vocabulary), None if words is None else Source(vocabulary, words)
    weights = torch.ones(len(vocabulary))
    # Otherwise half of all trees are the smallest.
    weights[vocabulary.rules["Leaf"]] = 0.1
    rows = drawn(automaton, 24, 600, weights, None if source is None else [source] * 600)
    trees = [tree_of(vocabulary, row, words or ()) for row in rows]
    for row, tree in zip(rows, trees, strict=True):
        vocabulary.grammar.check(tree)
        assert actions_of(vocabulary, tree, source) == row
        assert len(row) <= automaton.steps_of(tree, source) <= 24
    assert len(set(trees)) > 300 and {node.constructor for tree in trees for node in tree.nodes} == set(vocabulary.rules)


def test_kinds_and_names():
    vocabulary = toy_vocabulary(copy_slots=2)
    kinds = [vocabulary.kind(action) for action in range(len(vocabulary))]
    assert kinds[:5] == [ActionKind.SPECIAL] * 3 + [ActionKind.REDUCE, ActionKind.FINISH]
    assert kinds.count(ActionKind.RULE) == 8 and kinds.count(ActionKind.PIECE) == 6 and kinds[-2:] == [ActionKind.COPY] * 2
    assert len({vocabulary.name(action) for action in range(len(vocabulary))}) == len(vocabulary)
    with pytest.raises(ValueError, match="is no action: they are numbered from 0 to 20"):
        vocabulary.kind(21)


def test_saved_vocabulary_has_the_same_numbers():
    vocabulary = toy_vocabulary(copy_slots=2)
    again = ActionVocabulary.from_dict(vocabulary.to_dict())
    assert again.to_dict() == vocabulary.to_dict() and again.grammar == vocabulary.grammar
    assert [again.name(action) for action in range(len(again))] == [
        vocabulary.name(action) for action in range(len(vocabulary))
    ]


def test_start_end_and_padding_are_read_over():
    vocabulary = toy_vocabulary()
    actions = actions_of(vocabulary, TREE)
    assert tree_of(vocabulary, torch.tensor([START, *actions, END, PAD, PAD])) == TREE
    assert tree_of(vocabulary, [*actions, PAD]) == TREE


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (["Bind"], "end after 1 steps before the tree is whole: word is still expected"),
        (["Bind", "'a'"], "end after 2 steps before the tree is whole: the rest of a value of type word"),
        (["Number"], "have Number at step 0, where expr is expected"),
        (["Leaf", "Leaf"], "have Leaf at step 1, where the end is expected"),
        (["Bind", "'a'", "Leaf"], "have Leaf at step 2, where the rest of a value of type word is expected"),
        (["Bind", "'7'"], "have '7' at step 1, where word is expected"),
        (["Bind", "Reduce"], "have Reduce at step 1, where word is expected"),
        (["Words", "Reduce"], "have Reduce at step 1, where word or Reduce is expected"),
        (["Bind", "'a'", "'b'"], "have 'b' at step 2, where the rest of a value"),
        (["Maybe", "Finish"], "have Finish at step 1, where expr or Reduce is expected"),
        (["Bind", "copy 1"], "have copy 1 at step 1, where word is expected"),
        (["<start>"], "end after 0 steps before"),
        (["Bind", "<start>"], "have <start> at step 1"),
    ],
)
def test_actions_that_build_no_tree_are_refused(actions, message):
    vocabulary = toy_vocabulary(copy_slots=2)
    numbers = {vocabulary.name(action): action for action in range(len(vocabulary))}
    with pytest.raises(ValueError, match=f"^row 3 {message}"):
        tree_of(vocabulary, [numbers[name] for name in actions], ["a"], "row 3")


def test_lexicons_are_those_of_the_grammar():
    with pytest.raises(ValueError, match="primitive type 'number' has no lexicon"):
        ActionVocabulary(toy_grammar(), {"word": OpenLexicon(["a"])})
    lexicons = {"word": OpenLexicon(["a"]), "number": ClosedLexicon(NUMBERS)}
    with pytest.raises(ValueError, match="'expr' is no primitive type of the grammar, which has word, number"):
        ActionVocabulary(toy_grammar(), lexicons, copy_slots=1, copied=["expr"])


def test_empty_value_is_a_value():
    vocabulary = toy_vocabulary()
    tree = Node("Words", (("", "a", ""),))
    assert derivation(vocabulary, tree) == ["Words", "Finish", "'a'", "Finish", "Finish", "Reduce"]
    assert tree_of(vocabulary, actions_of(vocabulary, tree)) == tree
    assert (REDUCE, FINISH) == (3, 4)
