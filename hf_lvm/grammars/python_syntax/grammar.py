"""Python's own grammar, read from the running interpreter, and narrowed where it derives trees that are not valid Python.

`ast` documents every constructor and its fields as ASDL. By itself that also derives trees that are not valid Python:
comparisons with fewer operands than operators, assignments to calls, blocks without a statement. So here fields that belong
together are one row of pairs, the targets of assignments have types of their own, and blocks have at least one statement. What
follows from the place of a node (whether a name is read or written) and what only records how the text was written (type
comments, the u of u'') is left out. Constructors that a later Python adds come with the fields it documents.

Two things are still wider than Python: patterns of `match`, and formatted strings before Python 3.12, whose expressions are
restricted in their quotes and backslashes. [`write_python`] raises an error for a tree that cannot be written.
"""

import ast
import re
from functools import cache

from hf_lvm.grammars.asdl import Constructor, Grammar, parse_asdl

# Left out wherever they stand.
_DROPPED_FIELDS = frozenset({"ctx", "type_comment", "kind", "type_ignores"})
# Constructors of the interpreter that stand elsewhere or are no Python of their own.
_DROPPED = frozenset(
    {"Starred", "Slice", "Tuple", "FormattedValue", "Constant", "TemplateStr", "Interpolation", "FunctionType"}
)
_DROPPED_TYPES = frozenset({"expr_context", "type_ignore"})
# Expressions other than tuples: a tuple in square brackets may hold slices, and is then no expression.
_RENAMED = {"expr": "untupled"}

# Another type for a field of the interpreter's.
_FIELD_TYPES = {
    "ClassDef.bases": "element*",
    "Delete.targets": "deletable+",
    "Assign.targets": "target+",
    "AugAssign.target": "place",
    "For.target": "target",
    "AsyncFor.target": "target",
    "With.items": "withitem+",
    "AsyncWith.items": "withitem+",
    # Two in brackets are two items.
    "withitem.context_expr": "context",
    "withitem.optional_vars": "target?",
    "Match.cases": "match_case+",
    "Import.names": "alias+",
    "Global.names": "identifier+",
    "Nonlocal.names": "identifier+",
    "NamedExpr.target": "variable",
    "Lambda.args": "lambda_arguments",
    "Set.elts": "element+",
    "List.elts": "element*",
    "ListComp.generators": "comprehension+",
    "SetComp.generators": "comprehension+",
    "DictComp.generators": "comprehension+",
    "GeneratorExp.generators": "comprehension+",
    "Call.args": "element*",
    "Subscript.slice": "index",
    "MatchValue.value": "match_value",
    "MatchSingleton.value": "singleton",
    "MatchSequence.patterns": "sequence_pattern*",
    "TypeAlias.name": "variable",
}

# In place of a constructor of the interpreter.
_REPLACED = {
    "AnnAssign": "AnnAssign(place target, expr annotation, expr? value)"
    " | ParenthesizedAnnAssign(variable target, expr annotation, expr? value)",
    "Raise": "Raise(expr exc, expr? cause) | Reraise",
    "Try": "Try(stmt+ body, excepthandler+ handlers, stmt* orelse, stmt* finalbody) | TryFinally(stmt+ body, stmt+ finalbody)",
    "TryStar": "TryStar(stmt+ body, typed_handler+ handlers, stmt* orelse, stmt* finalbody)",
    "ExceptHandler": "ExceptHandler(expr type, identifier? name, stmt+ body) | BareExceptHandler(stmt+ body)",
    "alias": "alias(identifier+ name, identifier? asname)",
    "ImportFrom": "ImportFrom(dot* level, identifier+ module, imported names) | ImportFromPackage(dot+ level, imported names)",
    "BoolOp": "BoolOp(boolop op, expr left, expr+ others)",
    "Dict": "Dict(dict_item* items)",
    "Compare": "Compare(expr left, comparison+ comparisons)",
    "JoinedStr": "JoinedStr(string text, replacement* parts)",
    "comprehension": "comprehension(target target, expr iter, expr* ifs)"
    " | AsyncComprehension(target target, expr iter, expr* ifs)",
    "keyword": "keyword(identifier arg, expr value) | KeywordUnpack(expr value)",
    "arg": "arg(identifier arg, expr? annotation)",
    # Once a parameter has a default, those after it have one: either from an ordinary one on or from one before the slash.
    "arguments": "arguments(arg* posonlyargs, arg* args, default_arg* default_args, vararg? vararg, keyword_arg* kwonlyargs,"
    " arg? kwarg) | default_arguments(arg* posonlyargs, default_arg+ default_posonlyargs, default_arg* default_args,"
    " vararg? vararg, keyword_arg* kwonlyargs, arg? kwarg)",
    "MatchMapping": "MatchMapping(mapping_item* items, identifier? rest)",
    "MatchClass": "MatchClass(class_name cls, pattern* patterns, keyword_pattern* keywords)",
    "MatchStar": "",
    "MatchAs": "MatchWildcard | MatchCapture(identifier name) | MatchAs(pattern pattern, identifier name)",
    "MatchOr": "MatchOr(pattern first, pattern+ others)",
}

_ADDED = """
expr = untupled | literal | Tuple(element* elts)
context = untupled | literal
index = untupled | literal | Slice | IndexTuple(index_element* elts)
target = Name | Attribute | Subscript | TupleTarget(target_element* elts) | ListTarget(target_element* elts)
target_element = target | StarredTarget(target value)
place = Name | Attribute | Subscript
variable = Name
deletable = Name | Attribute | Subscript | DeletedTuple(deletable* elts) | DeletedList(deletable* elts)
element = expr | Starred(expr value)
index_element = element | Slice(expr? lower, expr? upper, expr? step)
class_name = Name | Attribute
literal = NoneValue | TrueValue | FalseValue | EllipsisValue | Integer(integer value) | Float(float value)
        | Complex(complex value) | String(string value) | Bytes(bytes value)
singleton = NoneValue | TrueValue | FalseValue
match_value = Attribute | UnaryOp | BinOp | Integer | Float | Complex | String | Bytes
match_key = match_value | singleton
mapping_item = (match_key key, pattern pattern)
keyword_pattern = (identifier attr, pattern pattern)
sequence_pattern = pattern | MatchStar(identifier? name)
typed_handler = ExceptHandler
dict_item = DictPair(expr key, expr value) | DictUnpack(expr value)
comparison = (cmpop op, expr right)
replacement = (expr value, conversion? conversion, format_spec? format_spec, string text)
conversion = ConvertStr | ConvertRepr | ConvertAscii
format_spec = (string text, replacement* parts)
dot = Dot
imported = ImportAll | ImportNames(imported_name+ names)
imported_name = (identifier name, identifier? asname)
default_arg = (identifier arg, expr? annotation, expr default)
keyword_arg = (identifier arg, expr? annotation, expr? default)
vararg = (identifier arg, element? annotation)
lambda_arguments = lambda_arguments(identifier* posonlyargs, identifier* args, lambda_default* default_args,
                                    identifier? vararg, lambda_keyword* kwonlyargs, identifier? kwarg)
                 | lambda_default_arguments(identifier* posonlyargs, lambda_default+ default_posonlyargs,
                                            lambda_default* default_args, identifier? vararg, lambda_keyword* kwonlyargs,
                                            identifier? kwarg)
lambda_default = (identifier arg, expr default)
lambda_keyword = (identifier arg, expr? default)
"""

PRIMITIVES = ("identifier", "integer", "float", "complex", "string", "bytes")


def interpreter_asdl() -> str:
    """The grammar of the running Python as it documents it: an ASDL text."""
    definitions = []
    for name in dir(ast):
        cls = getattr(ast, name)
        if isinstance(cls, type) and ast.AST in cls.__bases__ and re.match(rf"{name}\s*[=(]", cls.__doc__ or ""):
            text = cls.__doc__
            definitions.append(text if "=" in text else f"{name} = {text[len(name) :]}")
    # Python 3.13 and later mark sequences with missing items by ?*. They all become rows of pairs here.
    return "\n".join(definitions).replace("?*", "*")


@cache
def python_grammar(root: str = "stmt") -> Grammar:
    """The grammar of the running Python.

    Args:
        root: the type of a whole tree: `stmt`, one statement, `expr`, one expression, or `mod`, where `Module` is a file.

    Raises:
        ValueError: another type that Python's grammar does not have.
    """
    interpreter = parse_asdl(
        interpreter_asdl(), ("identifier", "int", "string", "constant"), root="mod", name="Python's own grammar"
    )
    lines = [
        f"{_RENAMED.get(type_, type_)} = {' | '.join(filter(None, (_narrowed(type_, constructor) for constructor in row)))}"
        for type_, row in interpreter.as_types().items()
        if type_ not in _DROPPED_TYPES
    ]
    grammar = parse_asdl("\n".join(lines) + _ADDED, PRIMITIVES, root="mod", name="Python's grammar")
    return grammar.restricted_to(root)


def _narrowed(type_: str, constructor: Constructor) -> str:
    if constructor.name in _DROPPED:
        return ""
    if constructor.name in _REPLACED:
        return _REPLACED[constructor.name]
    fields = []
    for field in constructor.fields:
        if field.name in _DROPPED_FIELDS:
            continue
        own = _FIELD_TYPES.get(f"{constructor.name}.{field.name}")
        if own is None:
            own = f"{field.type}{field.cardinality.value}"
            # Blocks have a statement; files need none.
            if own == "stmt*" and field.name == "body" and type_ != "mod":
                own = "stmt+"
        fields.append(f"{own} {field.name}")
    return f"{constructor.name}({', '.join(fields)})" if fields else constructor.name
