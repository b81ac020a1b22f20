"""Python's text and `ast` trees to abstract syntax trees of `python_grammar`."""

import ast
import re
from collections.abc import Callable

from hf_lvm.grammars.abstract_syntax import Node, Value
from hf_lvm.grammars.asdl import Field
from hf_lvm.grammars.python_syntax.grammar import python_grammar

# What a class of `ast` is in places of these types.
_IN_PLACE = {
    ("target", "Tuple"): "TupleTarget",
    ("target", "List"): "ListTarget",
    ("target_element", "Tuple"): "TupleTarget",
    ("target_element", "List"): "ListTarget",
    ("target_element", "Starred"): "StarredTarget",
    ("deletable", "Tuple"): "DeletedTuple",
    ("deletable", "List"): "DeletedList",
    ("index", "Tuple"): "IndexTuple",
}
_CONVERSIONS = {ord("s"): "ConvertStr", ord("r"): "ConvertRepr", ord("a"): "ConvertAscii"}


def parse_python(text: str, root: str = "stmt", name: str = "The text") -> Node:
    """The tree of a Python text.

    Args:
        text: one statement for `stmt`, one expression for `expr`, a file for `mod`. An expression or a single line may be
            indented; a statement of several lines may not, since strings in it may hold its line breaks.
        root: the type of the tree.
        name: what to call the text in an error, such as `row 3`.

    Raises:
        ValueError: what is no Python, with its place, another number of statements than one, or what the grammar does not
            derive.
    """
    # A single line may come with the indentation it has in its file. Several lines may not: to take it off all of them would
    # change strings that go over several lines.
    text = text.strip() if root == "expr" else text.lstrip(" \t\f") if "\n" not in text.strip() else text
    try:
        tree = ast.parse(text, mode="eval" if root == "expr" else "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f"line {error.lineno}, column {error.offset}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise ValueError(f"{name} is not Python ({place}): {_shortened(text)!r}.") from error
    if root == "expr":
        return from_ast(tree.body, root, name)
    if root == "mod":
        return from_ast(tree, root, name)
    if len(tree.body) != 1:
        raise ValueError(f"{name} has {len(tree.body)} statements, and one is a tree: {_shortened(text)!r}.")
    return from_ast(tree.body[0], root, name)


def from_ast(tree: ast.AST, root: str = "stmt", name: str = "The tree") -> Node:
    """The tree of an `ast` tree.

    Raises:
        ValueError: what the grammar does not derive, with its place in the text.
    """
    return _Reader(root, name).node(tree, root)


class _Reader:
    def __init__(self, root: str, name: str):
        self.grammar, self.name = python_grammar(root), name

    def node(self, tree: ast.AST, type_: str) -> Node:
        special: Callable[[ast.AST], Node] | None = getattr(self, f"_{type(tree).__name__}", None)
        if special is not None:
            node = special(tree)
        else:
            constructor = _IN_PLACE.get((type_, type(tree).__name__), type(tree).__name__)
            if constructor not in self.grammar.constructors:
                self._refuse(tree, type_)
            fields = self.grammar.constructors[constructor].fields
            node = Node(constructor, tuple(self._field(getattr(tree, field.name), field) for field in fields))
        if not self.grammar.belongs(node.constructor, type_):
            self._refuse(tree, type_)
        return node

    def _field(self, value, field: Field) -> Value:
        if isinstance(value, list):
            return tuple(self._part(part, field.type) for part in value)
        return None if value is None else self._part(value, field.type)

    def _part(self, value, type_: str) -> Node | str:
        return value if self.grammar.is_primitive(type_) else self.node(value, type_)

    def _optional(self, tree: ast.AST | None, type_: str) -> Node | None:
        return None if tree is None else self.node(tree, type_)

    def _row(self, trees: list, type_: str) -> tuple[Node, ...]:
        return tuple(self.node(tree, type_) for tree in trees)

    def _refuse(self, tree: ast.AST, type_: str):
        allowed = ", ".join(self.grammar.types[type_])
        raise ValueError(
            f"{self.name} cannot be derived: in line {getattr(tree, 'lineno', 1)}, column {getattr(tree, 'col_offset', 0) + 1}"
            f", there is a {type(tree).__name__} in place of a {type_}, which is one of: {allowed}."
        )

    # ---- statements --------------------------------------------------------------------------------------------------

    def _AnnAssign(self, tree: ast.AnnAssign) -> Node:
        bracketed = isinstance(tree.target, ast.Name) and not tree.simple
        target = self.node(tree.target, "variable" if bracketed else "place")
        rest = self.node(tree.annotation, "expr"), self._optional(tree.value, "expr")
        return Node("ParenthesizedAnnAssign" if bracketed else "AnnAssign", (target, *rest))

    def _Raise(self, tree: ast.Raise) -> Node:
        if tree.exc is None:
            return Node("Reraise")
        return Node("Raise", (self.node(tree.exc, "expr"), self._optional(tree.cause, "expr")))

    def _Try(self, tree: ast.Try) -> Node:
        body, final = self._row(tree.body, "stmt"), self._row(tree.finalbody, "stmt")
        if not tree.handlers:
            return Node("TryFinally", (body, final))
        return Node("Try", (body, self._row(tree.handlers, "excepthandler"), self._row(tree.orelse, "stmt"), final))

    def _ExceptHandler(self, tree: ast.ExceptHandler) -> Node:
        body = self._row(tree.body, "stmt")
        if tree.type is None:
            return Node("BareExceptHandler", (body,))
        return Node("ExceptHandler", (self.node(tree.type, "expr"), tree.name, body))

    def _alias(self, tree: ast.alias) -> Node:
        return Node("alias", (tuple(tree.name.split(".")), tree.asname))

    def _ImportFrom(self, tree: ast.ImportFrom) -> Node:
        dots = (Node("Dot"),) * (tree.level or 0)
        if [alias.name for alias in tree.names] == ["*"]:
            names = Node("ImportAll")
        else:
            names = Node("ImportNames", (tuple(Node("imported_name", (alias.name, alias.asname)) for alias in tree.names),))
        if tree.module is None:
            return Node("ImportFromPackage", (dots, names))
        return Node("ImportFrom", (dots, tuple(tree.module.split(".")), names))

    # ---- parameters --------------------------------------------------------------------------------------------------

    def _Lambda(self, tree: ast.Lambda) -> Node:
        return Node("Lambda", (self._parameters(tree.args, plain=True), self.node(tree.body, "expr")))

    def _arguments(self, tree: ast.arguments) -> Node:
        return self._parameters(tree, plain=False)

    def _parameters(self, tree: ast.arguments, plain: bool) -> Node:
        prefix, default, keyword = (
            ("lambda_", "lambda_default", "lambda_keyword") if plain else ("", "default_arg", "keyword_arg")
        )
        required = len(tree.posonlyargs) + len(tree.args) - len(tree.defaults)
        before = tree.posonlyargs[:required]
        defaults = iter(tree.defaults)
        at_slash = [self._parameter(arg, plain, default, next(defaults)) for arg in tree.posonlyargs[required:]]
        first = max(required - len(tree.posonlyargs), 0)
        with_default = tuple(self._parameter(arg, plain, default, next(defaults)) for arg in tree.args[first:])
        vararg = None
        if tree.vararg is not None:
            note = tree.vararg.annotation
            vararg = tree.vararg.arg if plain else Node("vararg", (tree.vararg.arg, self._optional(note, "element")))
        keywords = tuple(
            self._parameter(arg, plain, keyword, value) for arg, value in zip(tree.kwonlyargs, tree.kw_defaults, strict=True)
        )
        rest = with_default, vararg, keywords, None if tree.kwarg is None else self._plain(tree.kwarg, plain)
        names = tuple(self._plain(arg, plain) for arg in before)
        if at_slash:
            return Node(f"{prefix}default_arguments", (names, tuple(at_slash), *rest))
        return Node(f"{prefix}arguments", (names, tuple(self._plain(arg, plain) for arg in tree.args[:first]), *rest))

    def _plain(self, tree: ast.arg, plain: bool) -> Node | str:
        return tree.arg if plain else Node("arg", (tree.arg, self._optional(tree.annotation, "expr")))

    def _parameter(self, tree: ast.arg, plain: bool, constructor: str, value: ast.expr | None) -> Node:
        note = () if plain else (self._optional(tree.annotation, "expr"),)
        return Node(constructor, (tree.arg, *note, self._optional(value, "expr")))

    # ---- expressions -------------------------------------------------------------------------------------------------

    def _BoolOp(self, tree: ast.BoolOp) -> Node:
        first, *others = self._row(tree.values, "expr")
        return Node("BoolOp", (self.node(tree.op, "boolop"), first, tuple(others)))

    def _Dict(self, tree: ast.Dict) -> Node:
        return Node("Dict", (tuple(map(self._dict_item, tree.keys, tree.values)),))

    def _dict_item(self, key: ast.expr | None, value: ast.expr) -> Node:
        if key is None:
            return Node("DictUnpack", (self.node(value, "expr"),))
        return Node("DictPair", (self.node(key, "expr"), self.node(value, "expr")))

    def _Compare(self, tree: ast.Compare) -> Node:
        pairs = zip(tree.ops, tree.comparators, strict=True)
        rest = tuple(Node("comparison", (self.node(op, "cmpop"), self.node(right, "expr"))) for op, right in pairs)
        return Node("Compare", (self.node(tree.left, "expr"), rest))

    def _keyword(self, tree: ast.keyword) -> Node:
        value = self.node(tree.value, "expr")
        return Node("KeywordUnpack", (value,)) if tree.arg is None else Node("keyword", (tree.arg, value))

    def _comprehension(self, tree: ast.comprehension) -> Node:
        parts = self.node(tree.target, "target"), self.node(tree.iter, "expr"), self._row(tree.ifs, "expr")
        return Node("AsyncComprehension" if tree.is_async else "comprehension", parts)

    def _Constant(self, tree: ast.Constant) -> Node:
        value = tree.value
        singletons = {None: "NoneValue", True: "TrueValue", False: "FalseValue", Ellipsis: "EllipsisValue"}
        if value is None or value is Ellipsis or isinstance(value, bool):
            return Node(singletons[value])
        if isinstance(value, str):
            return Node("String", (value,))
        if isinstance(value, bytes):
            return Node("Bytes", (value.decode("latin-1"),))
        for kind, constructor in ((int, "Integer"), (float, "Float"), (complex, "Complex")):
            if isinstance(value, kind):
                return Node(constructor, (self._number(value, tree),))
        return self._refuse(tree, "expr")

    def _number(self, value: complex, tree: ast.Constant) -> str:
        try:
            return repr(value)
        except ValueError as error:  # more digits than Python writes
            raise ValueError(f"{self.name} cannot be derived: in line {tree.lineno} there is a number, {error}.") from error

    def _JoinedStr(self, tree: ast.JoinedStr) -> Node:
        return Node("JoinedStr", self._formatted(tree.values))

    def _formatted(self, values: list[ast.expr]) -> tuple[str, tuple[Node, ...]]:
        """The text in front, and each replacement with the text behind it."""
        text, parts = "", []
        for value in values:
            if isinstance(value, ast.Constant):
                if parts:
                    parts[-1] = (*parts[-1][:3], parts[-1][3] + value.value)
                else:
                    text += value.value
            else:
                conversion = Node(_CONVERSIONS[value.conversion]) if value.conversion in _CONVERSIONS else None
                spec = None if value.format_spec is None else Node("format_spec", self._formatted(value.format_spec.values))
                parts.append((self.node(value.value, "expr"), conversion, spec, ""))
        return text, tuple(Node("replacement", part) for part in parts)

    # ---- patterns ----------------------------------------------------------------------------------------------------

    def _MatchMapping(self, tree: ast.MatchMapping) -> Node:
        pairs = zip(tree.keys, tree.patterns, strict=True)
        items = tuple(Node("mapping_item", (self.node(key, "match_key"), self.node(value, "pattern"))) for key, value in pairs)
        return Node("MatchMapping", (items, tree.rest))

    def _MatchClass(self, tree: ast.MatchClass) -> Node:
        pairs = zip(tree.kwd_attrs, tree.kwd_patterns, strict=True)
        keywords = tuple(Node("keyword_pattern", (name, self.node(value, "pattern"))) for name, value in pairs)
        return Node("MatchClass", (self.node(tree.cls, "class_name"), self._row(tree.patterns, "pattern"), keywords))

    def _MatchSingleton(self, tree: ast.MatchSingleton) -> Node:
        return Node("MatchSingleton", (self._Constant(tree),))

    def _MatchAs(self, tree: ast.MatchAs) -> Node:
        if tree.name is None:
            return Node("MatchWildcard")
        if tree.pattern is None:
            return Node("MatchCapture", (tree.name,))
        return Node("MatchAs", (self.node(tree.pattern, "pattern"), tree.name))

    def _MatchOr(self, tree: ast.MatchOr) -> Node:
        first, *others = self._row(tree.patterns, "pattern")
        return Node("MatchOr", (first, tuple(others)))


def _shortened(text: str) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= 80 else f"{line[:77]}..."
