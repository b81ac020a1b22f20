"""Languages from EBNF: texts to trees and back, and what is no language."""

import pytest

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import Cardinality, Field
from hf_lvm.grammars.ebnf import EBNFLanguage
from hf_lvm.grammars.transition_system import ActionVocabulary, Automaton, ClosedLexicon, actions_of, tree_of
from tests.grammars.toy_trees import drawn

QUERIES = """
# questions to a table
query  = "select" ( "*" | Columns: column { "," column } ) "from" table [ "where" test ] ;
column = Plain: name | Count: "count" "(" name ")" ;
table  = name ;
test   = item { "and" item } ;
item   = Equal: column '=' value | Not: "not" item | Bracket: "(" test ")" ;
"""


@pytest.fixture(scope="module")
def queries() -> EBNFLanguage:
    return EBNFLanguage(QUERIES, {"name": "[a-z]+", "value": r"\d+|[a-z]+"})


def test_texts_come_back(queries):
    for text in (
        "select * from t",
        "select a , count ( b ) , c from t where a = 1",
        "select a from t where not ( count ( a ) = b and c = 3 and not a = a )",
    ):
        tree = queries.parse(text)
        queries.grammar.check(tree)
        assert queries.write(tree) == text


def test_groups_are_fields(queries):
    grammar = queries.grammar
    assert grammar.root == "query" and grammar.primitives == ("name", "value")
    assert grammar.constructors["query"].fields == (
        Field("query_1", "query_1"),
        Field("table_3", "table"),
        Field("test_4", "test", Cardinality.OPTIONAL),
    )
    assert grammar.types["query_1"] == ("query_1_0", "Columns") and grammar.types["column"] == ("Plain", "Count")
    assert queries.parse("select a , b from t") == Node(
        "query",
        (Node("Columns", (Node("Plain", ("a",)), (Node("Plain", ("b",)),))), Node("table", ("t",)), None),
    )


def test_random_trees_come_back(queries):
    lexicons = {"name": ClosedLexicon(["a", "b", "t"]), "value": ClosedLexicon(["1", "a"])}
    vocabulary = ActionVocabulary(queries.grammar, lexicons)
    for row in drawn(Automaton(vocabulary), 25, 300):
        tree = tree_of(vocabulary, row)
        assert queries.parse(queries.write(tree)) == tree and actions_of(vocabulary, tree) == row


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select a from", "at token 3 there is the end, where name is expected"),
        ("select a b", r"at token 2 there is 'b', where ',' or 'from' is expected"),
        ("select a from t where a = =", "at token 7 there is '=', where value is expected"),
        ("select from from t", r"at token 1 there is 'from', where '\*' or 'count' or name is expected"),
        ("select a from t )", r"at token 4 there is '\)', where 'where' is expected"),
        ("select A from t", "at token 1 there is 'A'"),
        ("", "at token 0 there is the end, where 'select' is expected"),
    ],
)
def test_what_cannot_be_derived_is_refused_with_its_place(queries, text, message):
    with pytest.raises(ValueError, match=f"^row 5 cannot be derived: {message}"):
        queries.parse(text, "row 5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sum = sum "+" n | n ;', "is left-recursive: sum begins with sum. Write what is repeated as a repetition"),
        ('a = b "x" ; b = [ "y" ] { n } c ; c = a | n ;', "is left-recursive: a begins with b begins with c begins with a"),
        ('a = "x" ; b = "y" ;', "cannot reach b from its root 'a'"),
        ('a = "x" a ;', "no finite tree of type a"),
        ('a = "x" { b } ; b = [ n ] ;', "repeats 'b' in 'a', which may be empty"),
        ('a = "x" ; a = "y" ;', "defines 'a' twice, the second time in line 1"),
        ('a = X: "x" | X: "y" ;', "two constructors 'X'"),
        ('a = "x y" ;', 'the terminal "x y" in line 1: it must be one token'),
        ('a = ( "x" ;', r"has ';' in line 1, where '\)' or another item is expected"),
        ('a = "x"', "has the end in line 1, where ';' is expected"),
        ("a = \n ? ;", r"has '\?' in line 2, which EBNF does not know"),
        ("", "has no rule"),
    ],
)
def test_what_is_no_language_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^The grammar .*{message}"):
        EBNFLanguage(text)


def test_pattern_without_a_type_is_refused():
    with pytest.raises(ValueError, match="has a pattern for 'm', and the primitive types n"):
        EBNFLanguage('a = "x" n ;', {"m": "a"})


def test_ambiguous_text_is_refused():
    language = EBNFLanguage("s = One: n | Two: pair ; pair = { n } ;")
    with pytest.raises(ValueError, match="^The text has 2 trees, One"):
        language.parse("a")
    assert language.write(language.parse("a b")) == "a b"
    with pytest.raises(ValueError, match="has 2 trees"):
        language.write(Node("One", ("a",)))
    with pytest.raises(ValueError, match="cannot be written: 'a b' is read as another one"):
        language.write(Node("Two", (Node("pair", (("a b",),)),)))
