"""ASDL texts to grammars and back, and what is no grammar."""

import pytest

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import Cardinality, Field, parse_asdl, write_asdl
from tests.grammars.toy_trees import toy_grammar


def test_text_says_types_fields_and_cardinalities():
    grammar = parse_asdl(
        """
        -- Zephyr
        module Meanings {
            expr = Bind(identifier name, expr body) | Call(identifier function, expr* arguments) | Leaf
                   attributes (int line)
            -- a product
            clause = (expr? left, expr+ right, int)
            start = Start(clause clause)
        }
        """,
        root="start",
    )
    assert grammar.root == "start" and list(grammar.types) == ["start", "expr", "clause"]
    assert grammar.primitives == ("identifier", "int")
    assert grammar.types["expr"] == ("Bind", "Call", "Leaf") and grammar.types["clause"] == ("clause",)
    assert grammar.constructors["Call"].fields[1] == Field("arguments", "expr", Cardinality.SEQUENCE)
    assert grammar.constructors["clause"].fields == (
        Field("left", "expr", Cardinality.OPTIONAL),
        Field("right", "expr", Cardinality.NONEMPTY),
        Field("int_2", "int"),
    )
    assert grammar.is_primitive("int") and grammar.belongs("Leaf", "expr") and not grammar.belongs("Start", "expr")


def test_types_share_constructors():
    grammar = parse_asdl(
        "word\nexpr = name | Both(expr left, place right)\nname = Name(word id) | Nil\nplace = Name | More(expr of)"
    )
    assert grammar.types == {"expr": ("Name", "Nil", "Both"), "place": ("Name", "More")}
    grammar.check(Node("Both", (Node("Name", ("x",)), Node("Name", ("y",)))))


@pytest.mark.parametrize("grammar", [toy_grammar(), parse_asdl("s = A | B(t t)\nt = (s? s, u* us)\nu = A | C", root="s")])
def test_written_grammar_is_read_as_the_same(grammar):
    again = parse_asdl(write_asdl(grammar))
    assert again == grammar and list(again.constructors) == list(grammar.constructors)


def test_part_of_a_grammar():
    grammar = toy_grammar().restricted_to("leaf")
    assert set(grammar.types) == {"leaf"} and grammar.primitives == ("number",) and grammar.root == "leaf"
    with pytest.raises(ValueError, match="no type 'tree' to start from: it has expr"):
        toy_grammar().restricted_to("tree")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w\nexpr = A(w a)\nlost = B(expr e)", "cannot reach lost from its root 'expr'"),
        ("w, v\nexpr = A(w a)", "cannot reach v from its root"),
        ("expr = A(expr a) | B(other o)\nother = C(expr e, expr+ es)", "no finite tree of type expr, other, because"),
        ("expr = A(word w)", r"uses the type 'word' in A\(word w\), and does not define it"),
        ("w\nexpr = A(w a)\nother = A(expr a)", r"two constructors 'A': A\(w a\) and A\(expr a\)"),
        ("expr = A | A", "gives the type 'expr' the constructor 'A' twice"),
        ("w\nexpr = A(w a) | A(w a)", "gives the type 'expr' the constructor 'A' twice"),
        ("expr = A\nexpr = B", "defines the type 'expr' twice, the second time in line 2"),
        ("w\nexpr = A(w a, w a)", "a field name twice"),
        ("w\nexpr = other\nother = expr", "the type 'expr' as an alternative of itself: expr = other = expr"),
        ("w\nexpr = A(w?* a)", r"has w\?\* in line 2: a row of things of which some are missing"),
        ("w\nexpr = A(w a", r"has the end in line 2, where ',' is expected"),
        ("expr = A(", "has the end in line 1, where a type is expected"),
        ("expr = A ) B", r"has '\)' in line 1, where a type is expected"),
        ("expr = A & B", "has '&' in line 1, which ASDL does not know"),
        ("", "has the end in line 1, where a type is expected"),
        ("w\nw = A", "'w' both as a primitive type and with constructors"),
    ],
)
def test_what_is_no_grammar_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^The grammar {message}|^The grammar .*{message}"):
        parse_asdl(text)


def test_root_must_be_a_type():
    with pytest.raises(ValueError, match="^Mine starts from 'tree', but has the types expr: name one of them"):
        parse_asdl("expr = A", root="tree", name="Mine")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (Node("Oops"), "at its root there is Oops in place of a expr, which is one of: Bind, Call"),
        (Node("Bind", ("a", "b")), "at Bind.body there is 'b' in place of a expr"),
        (Node("Bind", (Node("Leaf"), Node("Leaf"))), "at Bind.name there is Leaf in place of a string, a word"),
        (Node("Call", ("f", (Node("Leaf"), Node("Pair")))), "at Call.arguments.1..Pair there are 0 values for 1 fields"),
        (Node("Call", ("f", Node("Leaf"))), "at Call.arguments there is Leaf in place of a tuple of expr"),
        (Node("Words", ((),)), "at Words.words there is nothing: at least one word is needed"),
        (Node("Bind", ("a", None)), "at Bind.body there is None in place of a expr"),
        (
            Node("Pair", (Node("pair", (Node("Words", (("a",),)), (Node("Leaf"),))),)),
            "at Pair.pair.pair.left there is Words in place of a leaf, which is one of: Leaf, Number",
        ),
    ],
)
def test_what_a_grammar_does_not_derive_is_refused_with_its_place(tree, message):
    with pytest.raises(ValueError, match=f"^row 3 cannot be derived: {message}"):
        toy_grammar().check(tree, "row 3")


def test_values_of_trees():
    tree = Node("Call", ("f", (Node("Words", (("a", "f"),)), Node("Maybe", (None, "7")), Node("Maybe", (None, None)))))
    assert toy_grammar().values([tree, Node("Leaf")]) == {"word": ["f", "a", "f"], "number": ["7"]}
    assert str(tree) == "Call('f', [Words(['a', 'f']), Maybe(None, '7'), Maybe(None, None)])"
    assert [node.constructor for node in tree.nodes] == ["Call", "Words", "Maybe", "Maybe"]
