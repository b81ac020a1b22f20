"""Meanings in lambda calculus and bracketed expressions: text to trees and back, and what cannot be derived."""

import pytest
import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.lambda_calculus import LambdaCalculus
from hf_lvm.grammars.s_expressions import (
    parse_s_expression,
    read_s_expression,
    s_expression_grammar,
    s_expression_text,
    write_s_expression,
)
from hf_lvm.grammars.transition_system import (
    ActionVocabulary,
    AnyWord,
    Automaton,
    ClosedLexicon,
    OpenLexicon,
    actions_of,
    tree_of,
)
from tests.grammars.toy_trees import drawn

# The forms of the corpora, with words of our own.
MEANINGS = [
    "( lambda $0 e ( and ( boat $0 ) ( moored_in $0 harbour0 ) ( or ( red $0 ) ( not ( sold $0 ) ) ) ) )",
    "( argmin $0 ( exists $1 ( and ( boat $0 ) ( owner $0 $1 ) ) ) ( length_of $0 ) )",
    "( count $0 ( and ( boat $0 ) ( < ( price $0 ) 900:ti ) ( > ( length_of $0 ) ( length_of boat0 ) ) ) )",
    "( lambda $0 e ( = ( price ( the $1 ( boat $1 ) ) ) $0 ) )",
    "( sum $0 ( boat:t $0 ) ( price:i $0 ) )",
    "( max $0 ( exists $1 ( = ( price $1 ) $0 ) ) )",
    "boat0",
    "$0",
]


def test_texts_come_back():
    calculus = LambdaCalculus()
    for text in MEANINGS:
        tree = calculus.parse(text)
        calculus.grammar.check(tree)
        assert calculus.write(tree) == text
    assert calculus.parse(MEANINGS[4]) == Node(
        "Sum",
        (
            "$0",
            Node("Apply", ("boat:t", (Node("Variable", ("$0",)),))),
            Node("Apply", ("price:i", (Node("Variable", ("$0",)),))),
        ),
    )


def test_other_notations():
    underscored = LambdaCalculus(prefix="_")
    text = "( _lambda $v0 e ( _and ( _boat $v0 ) ( _< ( _price:_i $v0 ) 9:_ti ) ) )"
    assert underscored.write(underscored.parse(text)) == text
    plain = LambdaCalculus().parse("( lambda $v0 e ( and ( boat $v0 ) ( < ( price:_i $v0 ) 9:_ti ) ) )")
    assert underscored.parse(text) == plain
    close = LambdaCalculus(spaced=False)
    assert close.write(plain) == "(lambda $v0 e (and (boat $v0) (< (price:_i $v0) 9:_ti)))"
    assert close.parse(close.write(plain)) == plain


def lambda_vocabulary() -> ActionVocabulary:
    grammar = LambdaCalculus().grammar
    values = grammar.values(map(LambdaCalculus().parse, MEANINGS))
    lexicons = {type_: ClosedLexicon(values[type_]) for type_ in grammar.primitives}
    return ActionVocabulary(grammar, lexicons)


def test_every_tree_that_is_drawn_has_a_text():
    calculus, vocabulary = LambdaCalculus(), lambda_vocabulary()
    rows = drawn(Automaton(vocabulary), 30, 250)
    for row in rows:
        tree = tree_of(vocabulary, row)
        assert actions_of(vocabulary, tree) == row
        assert calculus.parse(calculus.write(tree)) == tree


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("( lambda e ( boat $0 ) )", "cannot be derived: at token 2 there is 'e', where variable is expected"),
        ("( lambda $0 ( boat $0 ) )", r"at token 3 there is '\(', where type is expected"),
        ("( lambda $0 e )", r"at token 4 there is '\)', where expr is expected"),
        (
            "( not ( boat $0 ) ( red $0 ) )",
            r"at token 6 there is '\(', where '\)' behind the 1 arguments of 'not'",
        ),
        ("( = $0 a b )", r"at token 4 there is b, where '\)' behind the 2 arguments"),
        ("( and )", r"at token 2 there is '\)', where expr is expected"),
        ("( and ( boat and ) $0 )", "at token 4 there is the operator 'and' without brackets, where expr is expected"),
        ("( ( boat $0 ) $1 )", "at token 1 there is a bracket first in brackets, where operator or predicate is expected"),
        ("( boat ( $0 a ) )", r"at token 3 there is \$0 first in brackets"),
        ("( boat )", r"at token 2 there is '\)', where expr is expected"),
        ("( boat $0", r"lacks 1 closing bracket\(s\)"),
        ("( boat $0 ) )", r"goes on with '\)' at token 4, behind a whole expression"),
        ("( boat ( ) )", "closes an empty bracket at token 3"),
        (")", "closes a bracket that is not open at token 0"),
        ("  ", "is empty"),
    ],
)
def test_what_cannot_be_derived_is_refused_with_its_place(text, message):
    with pytest.raises(ValueError, match=f"^row 7 .*{message}"):
        LambdaCalculus().parse(text, "row 7")


def test_predicates_have_the_prefix():
    with pytest.raises(ValueError, match="at token 1 there is 'boat', where predicate, which begins with '_' is expected"):
        LambdaCalculus(prefix="_").parse("( boat $0 )")


def test_tree_that_would_be_read_as_another_is_refused():
    tree = Node("Apply", ("not", (Node("Entity", ("a",)),)))
    with pytest.raises(ValueError, match=r"'\( not a \)' is read as another tree"):
        LambdaCalculus().write(tree)
    with pytest.raises(ValueError, match="at Apply.predicate there is"):
        LambdaCalculus().write(Node("Apply", (None, (Node("Entity", ("a",)),))))


def test_bracketed_expressions():
    text = "(argmax:<e,t> (lambda $0:e (state:<s,t> $0)) x)"
    assert read_s_expression(text) == ("argmax:<e,t>", ("lambda", "$0:e", ("state:<s,t>", "$0")), "x")
    assert write_s_expression(read_s_expression(text), spaced=False) == text
    tree = parse_s_expression(text)
    s_expression_grammar().check(tree)
    assert s_expression_text(tree, spaced=False) == text
    assert s_expression_text(tree) == "( argmax:<e,t> ( lambda $0:e ( state:<s,t> $0 ) ) x )"


def test_random_bracketed_expressions_come_back():
    lexicon = OpenLexicon(["a", "b", "ab", "$"], AnyWord())
    vocabulary = ActionVocabulary(s_expression_grammar(), {"atom": lexicon})
    weights = torch.ones(len(vocabulary))
    weights[vocabulary.rules["Atom"]] = 0.5
    for row in drawn(Automaton(vocabulary), 25, 500, weights):
        tree = tree_of(vocabulary, row)
        assert parse_s_expression(s_expression_text(tree)) == tree
