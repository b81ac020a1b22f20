"""Meanings in lambda calculus, as the ATIS and GeoQuery corpora have them: `( lambda $0 e ( flight $0 ) )`.

Operators that bind a variable, connectives and comparisons are constructors; everything else that stands first in brackets is
a predicate with its arguments. The operators are those of Zettlemoyer and Collins (2005, 2007) and their successors; the
grammar of Yin et al. (2018) for the same corpora has about the same constructors.
"""

from dataclasses import dataclass
from functools import cached_property

from hf_lvm.grammars.abstract_syntax import Node, Value, refuse_deep_nesting
from hf_lvm.grammars.asdl import Cardinality, Field, Grammar, parse_asdl
from hf_lvm.grammars.s_expressions import Expression, read_s_expression, write_s_expression

LAMBDA_ASDL = """
variable, type, predicate, entity
expr = Lambda(variable variable, type type, expr body)
     | Exists(variable variable, expr body)
     | The(variable variable, expr body)
     | Count(variable variable, expr body)
     | Max(variable variable, expr body)
     | Min(variable variable, expr body)
     | Argmax(variable variable, expr domain, expr value)
     | Argmin(variable variable, expr domain, expr value)
     | Sum(variable variable, expr domain, expr value)
     | And(expr+ arguments)
     | Or(expr+ arguments)
     | Not(expr argument)
     | Equal(expr left, expr right)
     | Less(expr left, expr right)
     | Greater(expr left, expr right)
     | Apply(predicate predicate, expr+ arguments)
     | Variable(variable name)
     | Entity(entity name)
"""

_SIGNS = {"Equal": "=", "Less": "<", "Greater": ">"}


@dataclass(frozen=True)
class LambdaCalculus:
    """How a corpus writes lambda calculus.

    Attributes:
        prefix: what the names of operators, connectives and predicates begin with: nothing, or `_`.
        spaced: whether brackets have blanks on both sides.
    """

    prefix: str = ""
    spaced: bool = True

    @cached_property
    def grammar(self) -> Grammar:
        """Of the trees: `LAMBDA_ASDL`."""
        return parse_asdl(LAMBDA_ASDL)

    @cached_property
    def _operators(self) -> dict[str, str]:
        """How an operator is written -> its constructor."""
        plain = {"Apply", "Variable", "Entity"}
        return {self.operator(name): name for name in self.grammar.constructors if name not in plain}

    def operator(self, constructor: str) -> str:
        """How the operator that a constructor stands for is written, such as `=` for `Equal`."""
        return self.prefix + _SIGNS.get(constructor, constructor.lower())

    def parse(self, text: str, name: str = "The meaning") -> Node:
        """The tree of a meaning.

        Args:
            text: an expression.
            name: what to call it in an error, such as `row 3`.

        Raises:
            ValueError: brackets that are not balanced, too many of them inside each other, or what the grammar does not
                derive: the place among the tokens is named, what stands there, and which type is expected.
        """
        with refuse_deep_nesting(name):
            tree, _ = self._node(read_s_expression(text, name), 0, name)
        return tree

    def write(self, tree: Node) -> str:
        """The text of a tree, which is read as the same tree again.

        Raises:
            ValueError: a tree that the grammar does not derive, or a value that would be read as something else, such as a
                predicate with the name of an operator.
        """
        self.grammar.check(tree, "The meaning")
        text = write_s_expression(self._expression(tree), self.spaced)
        if self.parse(text) != tree:
            raise ValueError(f"The meaning cannot be written: {text!r} is read as another tree than {tree}.")
        return text

    def _node(self, expression: Expression, place: int, name: str) -> tuple[Node, int]:
        """The tree of an expression whose first token is at `place`, and the place behind it."""
        if isinstance(expression, str):
            if expression in self._operators:
                _refuse(name, place, f"the operator {expression!r} without brackets", "expr")
            return Node("Variable" if expression.startswith("$") else "Entity", (expression,)), place + 1
        head = expression[0]
        if not isinstance(head, str) or head.startswith("$"):
            shown = head if isinstance(head, str) else "a bracket"
            _refuse(name, place + 1, f"{shown} first in brackets", "operator or predicate")
        constructor = self._operators.get(head, "Apply")
        if constructor == "Apply" and not head.startswith(self.prefix):
            _refuse(name, place + 1, repr(head), f"predicate, which begins with {self.prefix!r}")
        fields = self.grammar.constructors[constructor].fields
        children: list[Value] = []
        place, parts = place + 1, list(expression[1:])
        if constructor == "Apply":
            # Predicates go without the prefix, so that a word is the same here and in a sentence.
            children, fields = [head.removeprefix(self.prefix)], fields[1:]
        place += 1
        for field in fields:
            if not parts:
                _refuse(name, place, "')'", field.type)
            if field.cardinality is Cardinality.NONEMPTY:
                row = []
                while parts:
                    child, place = self._node(parts.pop(0), place, name)
                    row.append(child)
                children.append(tuple(row))
            else:
                child, place = self._value(parts.pop(0), field, place, name)
                children.append(child)
        if parts:
            shown = parts[0] if isinstance(parts[0], str) else "'('"
            _refuse(name, place, shown, f"')' behind the {len(fields)} arguments of {head!r}")
        return Node(constructor, tuple(children)), place + 1

    def _value(self, expression: Expression, field: Field, place: int, name: str) -> tuple[Value, int]:
        if field.type == "expr":
            return self._node(expression, place, name)
        if not isinstance(expression, str):
            _refuse(name, place, "'('", field.type)
        if (field.type == "variable") != expression.startswith("$"):
            _refuse(name, place, repr(expression), field.type)
        return expression, place + 1

    def _expression(self, tree: Node) -> Expression:
        if tree.constructor in ("Variable", "Entity"):
            return tree.children[0]
        if tree.constructor == "Apply":
            head, arguments = tree.children
            return (self.prefix + head, *map(self._expression, arguments))
        parts: list[Expression] = [self.operator(tree.constructor)]
        for child in tree.children:
            for part in child if isinstance(child, tuple) else (child,):
                parts.append(part if isinstance(part, str) else self._expression(part))
        return tuple(parts)


def _refuse(name: str, place: int, found: str, expected: str):
    raise ValueError(f"{name} cannot be derived: at token {place} there is {found}, where {expected} is expected.")
