"""Languages of meanings: texts to trees and back by name, lexicons of training values, and what is saved."""

import json

import pytest
import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import CANONICAL_RULES, LANGUAGES, Language, build_language, language_from_dict
from hf_lvm.grammars.transition_system import (
    FINISH,
    ActionVocabulary,
    Automaton,
    ClosedLexicon,
    OpenLexicon,
    Source,
    WordExcept,
    actions_of,
    tree_of,
)
from tests.grammars.toy_trees import drawn

RULES = 'order = "bring" item { "and" item } [ "to" place ] ; item = Some: count thing | One: thing ;'
# Options, texts of it, a sentence to copy from, and a text that it does not have.
EXAMPLES = {
    "lambda_calculus": (
        {},
        ["( lambda $0 e ( and ( boat $0 ) ( moored_in $0 pier0 ) ) )", "( count $1 ( = ( price $1 ) 9:ti ) )"],
        "is the boat not in pier7 or ( $0",
        "( lambda $0 )",
    ),
    "s_expressions": ({"unordered": ["and"]}, ["( f x ( and y z ) )", "y"], "and f q ( x", "( f"),
    "python": ({"root": "expr"}, ["f(x, 'ab', 2)", "not x[1.5]"], "call foo of and 37 b", "f("),
    "ebnf": (
        {"text": RULES, "patterns": {"count": "[0-9]+"}},
        ["bring 3 apples and tea to anna", "bring tea"],
        "bring to 7 and nuts",
        "bring and tea",
    ),
}


@pytest.fixture(params=EXAMPLES)
def example(request):
    options, texts, sentence, wrong = EXAMPLES[request.param]
    return build_language(request.param, **options), texts, sentence, wrong


def test_every_language_has_an_example():
    assert set(EXAMPLES) == set(LANGUAGES)


def test_texts_come_back_and_wrong_ones_are_named(example):
    language, texts, _, wrong = example
    assert isinstance(language, Language) and set(language.copied) <= set(language.grammar.primitives)
    for text in texts:
        tree = language.parse(text)
        language.grammar.check(tree)
        assert language.write(tree) == text
        for rule in CANONICAL_RULES:
            canonical = language.canonical(tree, rule)
            language.grammar.check(canonical)
            assert language.canonical(canonical, rule) == canonical
    with pytest.raises(ValueError, match="^row 3 "):
        language.parse(wrong, "row 3")
    with pytest.raises(ValueError, match="no rule 'loose' for canonical trees: 'published' and 'full' are there"):
        language.canonical(language.parse(texts[0]), "loose")
    with pytest.raises(ValueError):
        language.write(Node("Nothing"))


def test_a_saved_language_and_its_lexicons_come_back(example):
    language, texts, sentence, _ = example
    saved = json.loads(json.dumps(language.to_dict()))
    again = language_from_dict(saved)
    assert again == language and again.grammar == language.grammar and again.to_dict() == saved
    trees = list(map(language.parse, texts))
    vocabulary = ActionVocabulary(language.grammar, language.lexicons(trees), 8, language.copied)
    read = ActionVocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert read.to_dict() == vocabulary.to_dict()
    for tree in trees:
        for source in (None, Source(read, sentence.split())):
            actions = actions_of(vocabulary, tree, None if source is None else Source(vocabulary, sentence.split()))
            assert actions_of(read, tree, source) == actions
            assert tree_of(read, actions, sentence.split()) == tree


def test_every_tree_that_is_drawn_with_words_of_a_sentence_has_a_text(example):
    language, texts, sentence, _ = example
    trees = list(map(language.parse, texts))
    vocabulary = ActionVocabulary(language.grammar, language.lexicons(trees, 50), 8, language.copied)
    # Much is copied and values end soon.
    weights = torch.ones(len(vocabulary))
    weights[vocabulary.first_copy :] = 20
    weights[FINISH] = 50
    rows = drawn(Automaton(vocabulary), 25, 80, weights, [Source(vocabulary, sentence.split())] * 80)
    copied = 0
    for row in rows:
        tree = tree_of(vocabulary, row, sentence.split())
        assert language.parse(language.write(tree)) == tree
        copied += any(action >= vocabulary.first_copy for action in row)
    assert copied > 10


def test_lexicons_are_closed_where_values_are_and_open_for_python():
    calculus = build_language("lambda_calculus")
    lexicons = calculus.lexicons([calculus.parse(text) for text in EXAMPLES["lambda_calculus"][1]])
    assert {type_: lexicon.pieces for type_, lexicon in lexicons.items()} == {
        "variable": ("$0", "$1"),
        "type": ("e",),
        "predicate": ("boat", "moored_in", "price"),
        "entity": ("pier0", "9:ti"),
    }
    assert not lexicons["predicate"].admits("yacht") and lexicons["entity"].admits("pier7")
    for word in ("the", "not", "=", "$4", "(", "a)", ""):
        assert not lexicons["entity"].admits(word), word
    assert build_language("lambda_calculus", prefix="_").lexicons([])["entity"].admits("the")
    python = build_language("python", root="expr")
    assert isinstance(python.lexicons([], 300)["identifier"], OpenLexicon)
    assert len(python.lexicons([python.parse("f(abc, abd, abd)")], 1).get("string").pieces) == 100
    given = build_language("ebnf", **EXAMPLES["ebnf"][0])
    lexicons = given.lexicons(map(given.parse, EXAMPLES["ebnf"][1]))
    assert lexicons["thing"].pieces == ("apples", "tea")
    assert lexicons["thing"].admits("plums") and not lexicons["thing"].admits("and")
    assert isinstance(lexicons["count"], ClosedLexicon) and not lexicons["count"].admits("plums")
    with pytest.raises(ValueError, match="no value of type 'count'"):
        given.lexicons([given.parse("bring tea to anna")])


def test_words_but_some():
    rule = WordExcept(["the", "then"], "$!")
    lexicon = OpenLexicon("then $(!x", rule)
    for word, expected in {
        "th": 1,
        "the": 0,
        "then": 0,
        "thenn": 1,
        "x$": 1,
        "$x": 0,
        "!": 0,
        "": 0,
        "t t": 0,
        "x(": 0,
    }.items():
        assert lexicon.admits(word) == bool(expected), word
    # After "th" the value may end; after "the" it may not.
    state = lexicon.start
    for piece, ends in zip("then", (True, True, False, False), strict=True):
        state = lexicon.follow(state, lexicon.pieces.index(piece))
        assert lexicon.ends(state) == ends


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("latin", {}, "no language 'latin': lambda_calculus, s_expressions, python, ebnf are there"),
        ("python", {"version": 2}, "'python' has no option 'version': it has root"),
        ("ebnf", {}, "'ebnf' needs the option 'text'"),
        ("ebnf", {"text": 3}, "option text of the language 'ebnf' is 3: a str is needed"),
        ("lambda_calculus", {"spaced": "no"}, "option spaced of the language 'lambda_calculus' is 'no': a bool is needed"),
        ("python", {"root": "file"}, "root is 'file': a text of Python is"),
        ("s_expressions", {"unordered": "and"}, r"a list of names is needed, such as \['and', 'or'\]"),
        ("s_expressions", {"unordered": 3}, r"unordered is 3: a list of names is needed"),
        ("s_expressions", {"unordered": [3]}, r"unordered is \[3\]: a list of names is needed"),
        ("ebnf", {"text": RULES, "patterns": {"count": "("}}, r"pattern '\(' of the type 'count' is no regular expression"),
        ("ebnf", {"text": RULES, "patterns": {"count": 3}}, "pattern 3 of the type 'count' is no regular expression"),
        ("ebnf", {"text": RULES, "patterns": ["count"]}, r"patterns is \['count'\]: a mapping from primitive types"),
    ],
)
def test_wrong_names_and_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_language(name, **options)
    with pytest.raises(ValueError, match=message):
        language_from_dict({"name": name, "options": options})


def test_what_is_no_saved_language_is_refused():
    for saved in (
        "python",
        {"options": {}},
        {"name": "python", "class": "os.system"},
        {"name": "python", "options": ["root"]},
    ):
        with pytest.raises(ValueError, match="is no saved language: a mapping with 'name' and 'options' is"):
            language_from_dict(saved)


def test_lines_of_files_become_statements():
    lines = build_language("python", complete_lines=True)
    tree = lines.parse("    def strip_tags ( value ) :")
    assert lines.write(tree) == "def strip_tags(value):\n    pass"
    for line in ("else :", "@ cached", "case 3 :", "x = 'a\\nb'", "try :", "with open ( p ) as f :"):
        tree = lines.parse(line)
        assert lines.parse(lines.write(tree)) == tree
    with pytest.raises(ValueError, match="is not Python"):
        build_language("python").parse("else :")
    with pytest.raises(ValueError, match="root is 'expr': set it to 'stmt'"):
        build_language("python", root="expr", complete_lines=True)


def test_tokens_of_texts_that_have_a_tree_and_of_others():
    expected = {
        "lambda_calculus": ("(and ($0 ci0", ["(", "and", "(", "$0", "ci0"]),
        "s_expressions": ("f:<e,t>)", ["f:<e,t>", ")"]),
        "python": (
            "def f( a=1.5, 'it\\'s', \"x y\" ->",
            ["def", "f", "(", "a", "=", "1.5", ",", "'it\\'s'", ",", '"x y"', "-", ">"],
        ),
        "ebnf": ("bring 3 (", ["bring", "3", "("]),
    }
    for name, (text, tokens) in expected.items():
        assert build_language(name, **EXAMPLES[name][0]).tokens(text) == tokens


@pytest.mark.parametrize(
    ("name", "options", "opening"),
    [("lambda_calculus", {}, "( f"), ("s_expressions", {}, "( f"), ("ebnf", {"text": 's = In: "(" s ")" | Out: "x" ;'}, "(")],
)
def test_texts_that_are_nested_too_deeply_are_refused(name, options, opening):
    language = build_language(name, **options)
    language.parse(f"{opening} " * 20 + "x" + " )" * 20)
    with pytest.raises(ValueError, match="^row 5 is nested too deeply to be read"):
        language.parse(f"{opening} " * 3000 + "x" + " )" * 3000, "row 5")
