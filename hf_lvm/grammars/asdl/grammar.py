"""Grammars of abstract syntax: types, their constructors, and what the fields of these hold.

The form is that of ASDL (Wang, Appel, Korn and Serra 1997), which Python's own grammar has; Rabinovich, Stern and Klein (2017)
and Yin and Neubig (2018) parse into it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from hf_lvm.grammars.abstract_syntax import Node, Value


class Cardinality(Enum):
    """How many things a field holds; the value is how ASDL writes it behind the type. `+` is an addition to ASDL."""

    SINGLE = ""
    OPTIONAL = "?"
    SEQUENCE = "*"
    NONEMPTY = "+"

    @property
    def is_sequence(self) -> bool:
        return self in (Cardinality.SEQUENCE, Cardinality.NONEMPTY)


@dataclass(frozen=True)
class Field:
    """What a constructor holds in one place: a name, a type, and how many of that type."""

    name: str
    type: str
    cardinality: Cardinality = Cardinality.SINGLE

    def __str__(self) -> str:
        return f"{self.type}{self.cardinality.value} {self.name}"


@dataclass(frozen=True)
class Constructor:
    """A way to make a node. The same constructor may make nodes of several types."""

    name: str
    fields: tuple[Field, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.fields))})" if self.fields else self.name


class Grammar:
    """A grammar of abstract syntax.

    Args:
        types: the constructors of each type that is not primitive, in order. A constructor may belong to several types; it has
            the same fields in all of them.
        primitives: the types whose values are strings.
        root: the type of a whole tree.
        name: what to call the grammar in an error.

    Attributes:
        types: type -> names of its constructors; the root comes first.
        constructors: name -> `Constructor`, in the order in which they come up.
        primitives: the primitive types, in the order given.
        root: the type of a whole tree.

    Raises:
        ValueError: a type that is used and not defined, cannot be reached from the root, or has no finite tree (each of its
            constructors holds the type again); one name for two constructors or for a type twice; a type without a
            constructor; a field name that a constructor has twice.
    """

    def __init__(
        self,
        types: Mapping[str, Sequence[Constructor]],
        primitives: Collection[str],
        root: str,
        name: str = "The grammar",
    ):
        # The root first, so that a grammar and its text number constructors alike.
        types = {root: types[root], **types} if root in types else types
        self.types = {type_: tuple(constructor.name for constructor in row) for type_, row in types.items()}
        self.constructors: dict[str, Constructor] = {}
        self.primitives, self.root = tuple(primitives), root
        for type_, row in types.items():
            for constructor in row:
                known = self.constructors.setdefault(constructor.name, constructor)
                if known != constructor:
                    raise ValueError(
                        f"{name} has two constructors {constructor.name!r}: {known} and {constructor}. A name is that of one "
                        "constructor: rename one of them, or give both the same fields, and several types may share it."
                    )
            if not row:
                raise ValueError(f"{name} has the type {type_!r} without a constructor: give it one, or make it primitive.")
            if len(set(self.types[type_])) < len(row):
                raise ValueError(f"{name} gives the type {type_!r} a constructor twice: {', '.join(self.types[type_])}.")
        self._check_names(name)
        self._check_reachable(name)
        self._check_finite(name)
        self._members = {type_: frozenset(names) for type_, names in self.types.items()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grammar):
            return NotImplemented
        return self._content == other._content

    def __hash__(self) -> int:
        return hash((self.root, tuple(self.types)))

    @property
    def _content(self) -> tuple:
        return tuple(self.types.items()), tuple(self.constructors.items()), self.primitives, self.root

    def is_primitive(self, type_: str) -> bool:
        """Whether values of a type are strings, and not nodes."""
        return type_ not in self.types

    def belongs(self, constructor: str, type_: str) -> bool:
        """Whether a constructor makes nodes of a type."""
        return constructor in self._members[type_]

    def as_types(self) -> dict[str, tuple[Constructor, ...]]:
        """type -> its constructors: what a `Grammar` is made of."""
        return {type_: tuple(self.constructors[name] for name in names) for type_, names in self.types.items()}

    def restricted_to(self, root: str) -> "Grammar":
        """The part of the grammar that trees of another type are made of."""
        if root not in self.types:
            raise ValueError(f"The grammar has no type {root!r} to start from: it has {', '.join(self.types)}.")
        reached = reachable(self.as_types(), root)
        types = {type_: row for type_, row in self.as_types().items() if type_ in reached}
        return Grammar(types, [type_ for type_ in self.primitives if type_ in reached], root)

    def values(self, trees: Iterable[Node]) -> dict[str, list[str]]:
        """Primitive type -> all its values in the trees, in order and with repetitions: what lexicons are made from.

        Trees are those of the grammar.
        """
        found: dict[str, list[str]] = {type_: [] for type_ in self.primitives}
        for tree in trees:
            for node in tree.nodes:
                for field, child in zip(self.constructors[node.constructor].fields, node.children, strict=True):
                    if field.type in found and child is not None:
                        found[field.type] += child if isinstance(child, tuple) else [child]
        return found

    def check(self, tree: Node, name: str = "The tree") -> None:
        """Raise a `ValueError` unless the grammar derives the tree: it names the place, what stands there and what may."""
        agenda: list[tuple[Value, str, str]] = [(tree, self.root, "")]
        while agenda:
            value, type_, place = agenda.pop()
            if self.is_primitive(type_):
                if not isinstance(value, str):
                    raise ValueError(f"{_where(name, place)} there is {_shown(value)} in place of a string, a {type_}.")
                continue
            if not isinstance(value, Node) or not self.belongs(value.constructor, type_):
                raise ValueError(
                    f"{_where(name, place)} there is {_shown(value)} in place of a {type_}, which is one of: "
                    f"{_listed(self.types[type_])}."
                )
            fields = self.constructors[value.constructor].fields
            place = f"{place}.{value.constructor}" if place else value.constructor
            if len(value.children) != len(fields):
                raise ValueError(
                    f"{_where(name, place)} there are {len(value.children)} values for {len(fields)} fields: "
                    f"{self.constructors[value.constructor]}."
                )
            for field, child in reversed(list(zip(fields, value.children, strict=True))):
                agenda.extend(reversed(list(self._parts(field, child, f"{place}.{field.name}", name))))

    def _parts(self, field: Field, child: Value, place: str, name: str) -> Iterable[tuple[Value, str, str]]:
        if field.cardinality.is_sequence:
            if not isinstance(child, tuple):
                raise ValueError(f"{_where(name, place)} there is {_shown(child)} in place of a tuple of {field.type}.")
            if field.cardinality is Cardinality.NONEMPTY and not child:
                raise ValueError(f"{_where(name, place)} there is nothing: at least one {field.type} is needed.")
            return ((part, field.type, f"{place}[{number}]") for number, part in enumerate(child))
        if child is None and field.cardinality is Cardinality.OPTIONAL:
            return ()
        return ((child, field.type, place),)

    # ---- whether it is a grammar at all ------------------------------------------------------------------------------

    def _check_names(self, name: str) -> None:
        if both := [type_ for type_ in self.primitives if type_ in self.types]:
            raise ValueError(f"{name} has {both[0]!r} both as a primitive type and with constructors: rename one of them.")
        if self.root not in self.types:
            raise ValueError(f"{name} starts from {self.root!r}, but has the types {_listed(self.types)}: name one of them.")
        known = {*self.types, *self.primitives}
        for constructor in self.constructors.values():
            names = [field.name for field in constructor.fields]
            if len(set(names)) < len(names):
                raise ValueError(f"{name} has a field name twice in {constructor}.")
            for field in constructor.fields:
                if field.type not in known:
                    raise ValueError(
                        f"{name} uses the type {field.type!r} in {constructor}, and does not define it: define it, or name it "
                        f"among the primitive types, which are {_listed(self.primitives) or 'none'}."
                    )

    def _check_reachable(self, name: str) -> None:
        reached = reachable(self.as_types(), self.root)
        if lost := [type_ for type_ in (*self.types, *self.primitives) if type_ not in reached]:
            raise ValueError(
                f"{name} cannot reach {_listed(lost)} from its root {self.root!r}: use it in a field, remove it, or start "
                "from another type."
            )

    def _check_finite(self, name: str) -> None:
        finite = set(self.primitives)
        while grown := {
            type_
            for type_, names in self.types.items()
            if type_ not in finite and any(self._closes(constructor, finite) for constructor in names)
        }:
            finite |= grown
        if endless := [type_ for type_ in self.types if type_ not in finite]:
            raise ValueError(
                f"{name} has no finite tree of type {_listed(endless)}, because each constructor holds such a type again: "
                "give it a constructor that does not, or make a field optional."
            )

    def _closes(self, constructor: str, finite: set[str]) -> bool:
        needed = (Cardinality.SINGLE, Cardinality.NONEMPTY)
        fields = self.constructors[constructor].fields
        return all(field.type in finite for field in fields if field.cardinality in needed)


def reachable(types: Mapping[str, Sequence[Constructor]], root: str) -> set[str]:
    """The types that trees of type `root` may hold, primitive ones too."""
    reached, agenda = {root}, [root]
    while agenda:
        for constructor in types.get(agenda.pop(), ()):
            new = {field.type for field in constructor.fields} - reached
            reached |= new
            agenda.extend(new)
    return reached


def _where(name: str, place: str) -> str:
    return f"{name} cannot be derived: at {place}" if place else f"{name} cannot be derived: at its root"


def _shown(value: Value) -> str:
    if isinstance(value, Node):
        return value.constructor
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
