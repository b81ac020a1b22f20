"""Python as a grammar: what the standard library says comes back, and what is drawn from the grammar is Python."""

import ast
import random
import sysconfig
from pathlib import Path

import pytest
import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import parse_asdl, write_asdl
from hf_lvm.grammars.python_syntax import (
    complete_line,
    from_ast,
    interpreter_asdl,
    parse_python,
    python_grammar,
    python_lexicons,
    write_python,
)
from hf_lvm.grammars.transition_system import ActionVocabulary, Automaton, actions_of, tree_of
from tests.grammars.toy_trees import drawn

STATEMENTS = [
    "def f(a, /, b: int, c=1, *args: *Ts, d, e=2, **kw) -> None:\n    return (a, *b)",
    "def f(a, b=1, /, c=2): pass",
    "async def f(*, a): await b",
    "@d(1)\nclass A(B, *C, metaclass=M, **kw):\n    x: int\n    (y): str = 1\n    z.w: int",
    "lambda a, b=1, /, c=2, *d, e, f=3, **g: a",
    "lambda: 0",
    "lambda a, /, b: 0",
    "x = y, = *z, [w.v, u[1:2, ..., ::3]] = ()",
    "del a, (b, [c.d]), e[0]",
    "x[a], x[a, b], x[()], x[1:2], x[*a], x[a, 1:2, *b], x[(yield)]",
    "x += (y := 1)",
    "for a, *b in c: pass\nelse: pass",
    "async def f():\n    async for a in b: pass\n    async with a as b, c as (d, e): pass\n    [x async for x in y if z if w]",
    "try: pass\nexcept A as a: raise\nexcept (B, C): raise D from None\nexcept: raise D\nelse: pass\nfinally: pass",
    "try: pass\nfinally: pass",
    "try: pass\nexcept* A: pass",
    "import a.b.c as d, e",
    "from . import a as b, c",
    "from ..a.b import (c)",
    "from a import *",
    "{1: 2, **a, 'b': c}, {1, *a}, {}, {a: b for c in d}, {a for b in c}, (a for b in c)",
    "a < b <= c is not d not in e",
    "a and b and (c or d) and not e",
    "f(a, *b, c=d, **e)",
    "(None, True, False, ..., 1, 1.5, 2j, 'a\\n', b'\\xff', 1e309, 0x10, '')",
    "f'a{b!r:>{w}}c{d}' f'{e!s}{{}}'",
    "f''",
    "global a, b",
    "if a: pass\nelif b: pass\nelse: pass",
    "while a:\n    break\nelse:\n    continue",
    "assert a, 'b'",
    "match a:\n    case 1 | -2 | 'b' | None: pass\n    case A.b | {'k': c, 1: _, **rest} | [*_, d]: pass\n"
    "    case P(x, y=0) as z if w: pass\n    case [a, *b]: pass\n    case (c): pass\n    case _: pass",
    "def f():\n    nonlocal a\n    return\n    yield\n    yield a, b\n    x = yield from a",
    "-x ** ~y @ z // 2 % 3 << 4 >> 5 & 6 | 7 ^ 8 - +9",
    "a if b else c",
    "1 .real, 1.0.real, 'a'.b",
]


def dumped(tree: ast.AST) -> str:
    return ast.dump(tree).replace(", kind='u'", "")


def check_comes_back(statement: ast.stmt) -> Node:
    tree = from_ast(statement)
    text = write_python(tree)
    assert dumped(ast.parse(text).body[0]) == dumped(statement)
    return tree


@pytest.mark.parametrize("text", STATEMENTS)
def test_statements_come_back(text):
    check_comes_back(ast.parse(text).body[0])


def statements_of(paths: list[Path]) -> list[ast.stmt]:
    found = []
    for path in paths:
        try:
            found += ast.parse(path.read_bytes()).body
        except (SyntaxError, ValueError):
            # Files that are meant to be no Python, in the tests of Python.
            assert "test" in str(path)
    return found


def library() -> list[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)


@pytest.fixture(scope="module")
def sample() -> list[ast.stmt]:
    """150 statements of the standard library, the same for one Python."""
    chosen = random.Random(0)
    paths = [path for path in library() if path.stat().st_size < 15_000]
    statements = [each for each in statements_of(chosen.sample(paths, 60)) if each.end_lineno - each.lineno < 20]
    return chosen.sample(statements, 150)


@pytest.fixture(scope="module")
def vocabulary(sample) -> ActionVocabulary:
    grammar = python_grammar()
    return ActionVocabulary(grammar, python_lexicons(grammar.values(map(from_ast, sample)), num_pieces=300))


def test_sample_of_the_library_comes_back(sample, vocabulary):
    automaton = Automaton(vocabulary)
    for number, statement in enumerate(sample):
        tree = check_comes_back(statement)
        actions = actions_of(vocabulary, tree)
        assert tree_of(vocabulary, actions) == tree
        if number < 40:
            # The very limit that it takes lets it through, and one less does not.
            for limit, fails in ((len(actions), False), (len(actions) - 1, True)):
                states = automaton.begin(limit, 1)
                for action in actions:
                    states = states.advance([action])
                assert states.failed == [fails] and states.finished == [not fails]


@pytest.mark.slow
def test_the_library_comes_back():
    """Every statement of the standard library, functions and classes as a whole, in and out as text and as actions."""
    grammar = python_grammar()
    statements = statements_of(library())
    trees = []
    for statement in statements:
        tree = from_ast(statement)
        assert dumped(ast.parse(write_python(tree)).body[0]) == dumped(statement)
        trees.append(tree)
    vocabulary = ActionVocabulary(grammar, python_lexicons(grammar.values(trees)))
    for tree in trees:
        assert tree_of(vocabulary, actions_of(vocabulary, tree)) == tree
    assert len(trees) > 10_000


def test_what_is_drawn_is_python(vocabulary):
    automaton, weights = Automaton(vocabulary), torch.ones(len(vocabulary))
    weights[vocabulary.first_piece :] = 0.02
    # What the grammar is wider than Python in.
    for name in ("Match", "JoinedStr"):
        weights[vocabulary.rules[name]] = 0
    rows = drawn(automaton, 35, 150, weights)
    for row in rows:
        tree = tree_of(vocabulary, row)
        assert actions_of(vocabulary, tree) == row
        text = write_python(tree)
        assert parse_python(text) == tree


def test_grammar_is_that_of_the_interpreter():
    documented = parse_asdl(interpreter_asdl(), ("identifier", "int", "string", "constant"), root="mod")
    for type_, names in documented.types.items():
        for name in names:
            assert issubclass(getattr(ast, name), getattr(ast, type_)) and set(getattr(ast, name)._fields) == {
                field.name for field in documented.constructors[name].fields
            }
    grammar = python_grammar()
    assert parse_asdl(write_asdl(grammar)) == grammar
    # What is the interpreter's own, field for field.
    for name in ("If", "IfExp", "BinOp", "Await", "While", "Assert"):
        own = {field.name: field.type for field in documented.constructors[name].fields}
        assert {field.name: field.type for field in grammar.constructors[name].fields} == own


def test_roots():
    tree = parse_python("x = 1\ny = 2", root="mod")
    assert tree.constructor == "Module" and write_python(tree, "mod") == "x = 1\ny = 2"
    assert write_python(parse_python(" (a, b) ", "expr"), "expr") == "(a, b)"
    with pytest.raises(ValueError, match="no type 'line' to start from"):
        python_grammar("line")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = = 1", r"is not Python \(line 1, column 5: invalid syntax\): 'x = = 1'"),
        ("x = 1; y = 2", "has 2 statements, and one is a tree"),
        ("", "has 0 statements"),
        ("x = *y", r"cannot be derived: in line 1, column 5, there is a Starred in place of a expr, which is one of"),
        ("*x", "cannot be derived: in line 1, column 1, there is a Starred in place of a expr"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place(text, message):
    with pytest.raises(ValueError, match=f"^row 3 {message}"):
        parse_python(text, name="row 3")


def test_tree_that_is_no_python_is_refused():
    wide = Node("Expr", (Node("JoinedStr", ("", (Node("replacement", (Node("String", ("\\'\"",)), None, None, "")),))),))
    python_grammar().check(wide)
    try:
        # From Python 3.12 on it can be written.
        assert parse_python(write_python(wide)) == wide
    except ValueError as error:
        assert str(error).startswith("The tree cannot be written as Python (")
    with pytest.raises(ValueError, match="cannot be written as Python .*: Assign"):
        write_python(Node("Assign", ((Node("Name", ("if",)),), Node("NoneValue"))))


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        ("   x = 1 ", "x = 1"),
        (" if x :", "if x:\n    pass"),
        ("else :", "if True:\n    pass\nelse:\n    pass"),
        ("elif y :", "if True:\n    pass\nelif y:\n    pass"),
        ("except A as e :", "try:\n    pass\nexcept A as e:\n    pass"),
        ("try :", "try:\n    pass\nexcept:\n    pass"),
        ("finally :", "try:\n    pass\nfinally:\n    pass"),
        ("@ wraps ( f )", "@wraps(f)\ndef decorated():\n    pass"),
        ("def f ( x ) :", "def f(x):\n    pass"),
        ("case 1 :", "match None:\n    case 1:\n        pass"),
        ("elsewhere = 1", "elsewhere = 1"),
    ],
)
def test_lines_are_completed(line, statement):
    assert write_python(parse_python(complete_line(line))) == statement
