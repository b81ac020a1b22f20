"""Abstract syntax trees of `python_grammar` to `ast` trees and Python's text."""

import ast
from collections.abc import Callable

from hf_lvm.grammars.abstract_syntax import Node, Value
from hf_lvm.grammars.asdl import Field
from hf_lvm.grammars.python_syntax.grammar import python_grammar
from hf_lvm.grammars.python_syntax.reading import from_ast

# What a constructor is in `ast`, where that has another name.
_CLASSES = {
    "ParenthesizedAnnAssign": "AnnAssign",
    "StarredTarget": "Starred",
    "TupleTarget": "Tuple",
    "ListTarget": "List",
    "DeletedTuple": "Tuple",
    "DeletedList": "List",
    "IndexTuple": "Tuple",
    "KeywordUnpack": "keyword",
    "AsyncComprehension": "comprehension",
    "BareExceptHandler": "ExceptHandler",
    "TryFinally": "Try",
    "vararg": "arg",
}
_DEFAULTS = {"Try": {"handlers": [], "orelse": []}, "ExceptHandler": {"type": None, "name": None}, "keyword": {"arg": None}}
_CONTEXTS = {"target": ast.Store, "target_element": ast.Store, "place": ast.Store, "variable": ast.Store, "deletable": ast.Del}
_SINGLETONS = {"NoneValue": None, "TrueValue": True, "FalseValue": False, "EllipsisValue": ...}
_NUMBERS = {"Integer": int, "Float": float, "Complex": complex}
_CONVERSIONS = {"ConvertStr": ord("s"), "ConvertRepr": ord("r"), "ConvertAscii": ord("a")}


def write_python(tree: Node, root: str = "stmt", name: str = "The tree") -> str:
    """The text of a tree, as `ast.unparse` writes it. What comes out is read again, and is the same tree.

    Args:
        tree: of `python_grammar(root)`.
        root: its type.
        name: what to call the tree in an error.

    Raises:
        ValueError: a tree that is no Python although the grammar derives it, which patterns and formatted strings can be, or
            that `ast.unparse` does not write as it is.
    """
    try:
        text = ast.unparse(to_ast(tree, root))
        parsed = ast.parse(text, mode="eval" if root == "expr" else "exec")
        again = from_ast(parsed.body if root == "expr" else parsed if root == "mod" else _only(parsed.body), root)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as Python ({error}): {_shown(tree)}.") from error
    if again != tree:
        raise ValueError(f"{name} cannot be written as Python, where {text!r} is another tree: {_shown(tree)}.")
    return text


def to_ast(tree: Node, root: str = "stmt") -> ast.AST:
    """The `ast` tree of a tree, with places as `ast.fix_missing_locations` has them.

    Raises:
        ValueError: a tree that the grammar does not derive.
    """
    grammar = python_grammar(root)
    grammar.check(tree)
    return ast.fix_missing_locations(_Writer(grammar).node(tree, root))


def _only(statements: list[ast.stmt]) -> ast.stmt:
    if len(statements) != 1:
        raise ValueError(f"it becomes {len(statements)} statements")
    return statements[0]


def _shown(tree: Node) -> str:
    text = str(tree)
    return text if len(text) <= 200 else f"{text[:197]}..."


class _Writer:
    def __init__(self, grammar):
        self.grammar = grammar

    def node(self, tree: Node, type_: str) -> ast.AST:
        special: Callable[..., ast.AST] | None = getattr(self, f"_{tree.constructor}", None)
        if special is not None:
            return special(*tree.children)
        if tree.constructor in _SINGLETONS:
            return ast.Constant(_SINGLETONS[tree.constructor])
        if tree.constructor in _NUMBERS:
            return ast.Constant(_NUMBERS[tree.constructor](tree.children[0]))
        fields = self.grammar.constructors[tree.constructor].fields
        class_name = _CLASSES.get(tree.constructor, tree.constructor)
        values = {field.name: self._field(child, field) for field, child in zip(fields, tree.children, strict=True)}
        made = getattr(ast, class_name)(**(_DEFAULTS.get(class_name, {}) | values))
        if "ctx" in made._fields:
            made.ctx = _CONTEXTS.get(type_, ast.Load)()
        if isinstance(made, ast.comprehension):
            made.is_async = int(tree.constructor == "AsyncComprehension")
        elif isinstance(made, ast.AnnAssign):
            made.simple = int(tree.constructor == "AnnAssign" and isinstance(made.target, ast.Name))
        elif isinstance(made, ast.Module):
            made.type_ignores = []
        return made

    def _field(self, value: Value, field: Field):
        if isinstance(value, tuple):
            return [self._part(part, field.type) for part in value]
        return None if value is None else self._part(value, field.type)

    def _part(self, value: Node | str, type_: str):
        return value if isinstance(value, str) else self.node(value, type_)

    def _row(self, trees: tuple[Node, ...], type_: str) -> list[ast.AST]:
        return [self.node(tree, type_) for tree in trees]

    def _optional(self, tree: Node | None, type_: str) -> ast.AST | None:
        return None if tree is None else self.node(tree, type_)

    # ---- statements --------------------------------------------------------------------------------------------------

    def _Reraise(self) -> ast.AST:
        return ast.Raise(None, None)

    def _alias(self, name, asname) -> ast.AST:
        return ast.alias(".".join(name), asname)

    def _imported_name(self, name, asname) -> ast.AST:
        return ast.alias(name, asname)

    def _ImportFrom(self, dots, module, imported) -> ast.AST:
        return ast.ImportFrom(".".join(module), self._imported(imported), len(dots))

    def _ImportFromPackage(self, dots, imported) -> ast.AST:
        return ast.ImportFrom(None, self._imported(imported), len(dots))

    def _imported(self, tree: Node) -> list[ast.AST]:
        return [ast.alias("*")] if tree.constructor == "ImportAll" else self._row(tree.children[0], "imported_name")

    # ---- parameters --------------------------------------------------------------------------------------------------

    def _arguments(self, posonlyargs, args, default_args, vararg, kwonlyargs, kwarg) -> ast.AST:
        return self._parameters(posonlyargs, (), args, default_args, vararg, kwonlyargs, kwarg)

    def _default_arguments(self, posonlyargs, default_posonlyargs, default_args, vararg, kwonlyargs, kwarg) -> ast.AST:
        return self._parameters(posonlyargs, default_posonlyargs, (), default_args, vararg, kwonlyargs, kwarg)

    _lambda_arguments, _lambda_default_arguments = _arguments, _default_arguments

    def _parameters(self, before_slash, at_slash, args, default_args, vararg, kwonlyargs, kwarg) -> ast.AST:
        optional = [*at_slash, *default_args]
        return ast.arguments(
            posonlyargs=[*map(self._parameter, before_slash), *map(self._parameter, at_slash)],
            args=[*map(self._parameter, args), *map(self._parameter, default_args)],
            defaults=[self.node(each.children[-1], "expr") for each in optional],
            vararg=None if vararg is None else self._parameter(vararg, "element"),
            kwonlyargs=[self._parameter(each) for each in kwonlyargs],
            kw_defaults=[self._optional(each.children[-1], "expr") for each in kwonlyargs],
            kwarg=None if kwarg is None else self._parameter(kwarg),
        )

    def _parameter(self, tree: Node | str, type_: str = "expr") -> ast.AST:
        if isinstance(tree, str):
            return ast.arg(tree, None)
        plain = tree.constructor.startswith("lambda_")
        return ast.arg(tree.children[0], None if plain else self._optional(tree.children[1], type_))

    # ---- expressions -------------------------------------------------------------------------------------------------

    def _BoolOp(self, op, left, others) -> ast.AST:
        return ast.BoolOp(self.node(op, "boolop"), [self.node(left, "expr"), *self._row(others, "expr")])

    def _Dict(self, items) -> ast.AST:
        keys = [self.node(item.children[0], "expr") if item.constructor == "DictPair" else None for item in items]
        return ast.Dict(keys, [self.node(item.children[-1], "expr") for item in items])

    def _Compare(self, left, comparisons) -> ast.AST:
        ops = [self.node(each.children[0], "cmpop") for each in comparisons]
        return ast.Compare(self.node(left, "expr"), ops, [self.node(each.children[1], "expr") for each in comparisons])

    def _String(self, value) -> ast.AST:
        return ast.Constant(value)

    def _Bytes(self, value) -> ast.AST:
        return ast.Constant(value.encode("latin-1"))

    def _JoinedStr(self, text, parts) -> ast.AST:
        values = [ast.Constant(text)] if text else []
        for part in parts:
            value, conversion, spec, behind = part.children
            spec = None if spec is None else self._JoinedStr(*spec.children)
            number = -1 if conversion is None else _CONVERSIONS[conversion.constructor]
            values.append(ast.FormattedValue(self.node(value, "expr"), number, spec))
            if behind:
                values.append(ast.Constant(behind))
        return ast.JoinedStr(values)

    # ---- patterns ----------------------------------------------------------------------------------------------------

    def _MatchMapping(self, items, rest) -> ast.AST:
        keys = [self.node(item.children[0], "match_key") for item in items]
        return ast.MatchMapping(keys, [self.node(item.children[1], "pattern") for item in items], rest)

    def _MatchClass(self, cls, patterns, keywords) -> ast.AST:
        names = [each.children[0] for each in keywords]
        values = [self.node(each.children[1], "pattern") for each in keywords]
        return ast.MatchClass(self.node(cls, "class_name"), self._row(patterns, "pattern"), names, values)

    def _MatchSingleton(self, value) -> ast.AST:
        return ast.MatchSingleton(_SINGLETONS[value.constructor])

    def _MatchWildcard(self) -> ast.AST:
        return ast.MatchAs(None, None)

    def _MatchCapture(self, name) -> ast.AST:
        return ast.MatchAs(None, name)

    def _MatchOr(self, first, others) -> ast.AST:
        return ast.MatchOr([self.node(first, "pattern"), *self._row(others, "pattern")])
