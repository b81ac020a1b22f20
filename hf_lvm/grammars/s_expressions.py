"""Bracketed expressions, `( f x ( g y ) )`: their text as nested tuples, and a grammar that derives all of them."""

import re

from hf_lvm.grammars.abstract_syntax import Node, refuse_deep_nesting
from hf_lvm.grammars.asdl import Grammar, parse_asdl

# A bracketed expression: an atom, or a row of expressions with at least one in it.
Expression = "str | tuple[Expression, ...]"

S_EXPRESSION_ASDL = """
atom
expression = Atom(atom value) | List(expression+ items)
"""


def s_expression_grammar() -> Grammar:
    """A grammar of all bracketed expressions without empty brackets; the narrower one of `lambda_calculus` says more."""
    return parse_asdl(S_EXPRESSION_ASDL)


def read_s_expression(text: str, name: str = "The expression") -> Expression:
    """An expression from its text.

    Raises:
        ValueError: no expression, brackets that are empty or not balanced, or something behind the expression.
    """
    tokens = s_expression_tokens(text)
    open_rows: list[list[Expression]] = [[]]
    for place, token in enumerate(tokens):
        if len(open_rows) == 1 and open_rows[0]:
            raise ValueError(f"{name} goes on with {token!r} at token {place}, behind a whole expression: {_begin(text)!r}.")
        if token == "(":
            open_rows.append([])
        elif token == ")":
            if len(open_rows) == 1 or not open_rows[-1]:
                what = "closes a bracket that is not open" if len(open_rows) == 1 else "closes an empty bracket"
                raise ValueError(f"{name} {what} at token {place}: {_begin(text)!r}.")
            row = tuple(open_rows.pop())
            open_rows[-1].append(row)
        else:
            open_rows[-1].append(token)
    if len(open_rows) > 1 or not open_rows[0]:
        missing = f"lacks {len(open_rows) - 1} closing bracket(s)" if len(open_rows) > 1 else "is empty"
        raise ValueError(f"{name} {missing}: {_begin(text)!r}.")
    return open_rows[0][0]


def s_expression_tokens(text: str) -> list[str]:
    """Brackets and atoms, of texts that are no expressions too."""
    return re.findall(r"[()]|[^\s()]+", text)


def write_s_expression(expression: Expression, spaced: bool = True) -> str:
    """The text of an expression.

    Args:
        spaced: whether brackets have blanks on both sides, as in `( f x )`; otherwise `(f x)`.
    """
    parts: list[str] = []
    agenda: list[Expression | None] = [expression]
    while agenda:
        item = agenda.pop()
        if item is None:
            parts.append(")")
        elif isinstance(item, str):
            parts.append(item)
        else:
            parts.append("(")
            agenda += [None, *reversed(item)]
    text = " ".join(parts)
    return text if spaced else text.replace("( ", "(").replace(" )", ")")


def parse_s_expression(text: str, name: str = "The expression") -> Node:
    """The tree of `s_expression_grammar` of a text.

    Raises:
        ValueError: as `read_s_expression`, and too many brackets inside each other.
    """
    with refuse_deep_nesting(name):
        return _tree(read_s_expression(text, name))


def s_expression_text(tree: Node, spaced: bool = True) -> str:
    """The text of a tree of `s_expression_grammar`."""
    return write_s_expression(_expression(tree), spaced)


def _tree(expression: Expression) -> Node:
    if isinstance(expression, str):
        return Node("Atom", (expression,))
    return Node("List", (tuple(map(_tree, expression)),))


def _expression(tree: Node) -> Expression:
    return tree.children[0] if tree.constructor == "Atom" else tuple(map(_expression, tree.children[0]))


def _begin(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
