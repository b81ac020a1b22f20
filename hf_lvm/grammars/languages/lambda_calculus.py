"""Lambda calculus as a language of meanings, and when two of its expressions are the same.

**published** is the comparison by which Yin et al. (2018) and their successors count exact matches on ATIS and GeoQuery: the
parts of `and` and `or` are sorted by what stands first in each (a predicate, an operator, or the token itself), those with the
same stay in their order, and variables keep their names. So two parts with one predicate count as wrong in another order, and
so does a variable of another name.

**full** treats the parts of `and` and `or` as multisets and ignores the names of bound variables, and does nothing else:
nested `and`s stay nested, repeated parts stay repeated, and the sides of `=` stay where they are. Each bound variable is
renamed to the number of operators around the one that binds it (de Bruijn levels), which depends neither on names nor on any
order; then, from the inside out, parts are sorted by all of their text. A level is fixed before anything inside is sorted, so
the result is exact without a search over orders: two trees have the same canonical form if and only if renaming and reordering
turn one into the other. Free variables keep their names, which no level takes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, ClassVar

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.lambda_calculus import LambdaCalculus
from hf_lvm.grammars.languages.language import Language, check_rule
from hf_lvm.grammars.s_expressions import s_expression_tokens
from hf_lvm.grammars.transition_system import ClosedLexicon, Lexicon, WordExcept

# What stands in a lexicon where the trees have no value of its type.
_STAND_INS = {"variable": "$0", "type": "e", "predicate": "thing", "entity": "thing0"}


@dataclass(frozen=True)
class LambdaCalculusMeanings(LambdaCalculus, Language):
    """Lambda calculus as a language; see `LambdaCalculus` for its options, and this module for its two rules."""

    language_name: ClassVar[str] = "lambda_calculus"
    # Predicates are a closed set: it is better if one is the same action in every sentence. Entities come from the sentence.
    copied: ClassVar[tuple[str, ...]] = ("entity",)

    def tokens(self, text: str) -> list[str]:
        """Brackets, names and signs."""
        return s_expression_tokens(text)

    def canonical(self, tree: Node, rule: str) -> Node:
        """By `"published"` or `"full"`."""
        check_rule(rule)
        if rule == "published":
            return self._sorted_by_head(tree)
        free = self._free_variables(tree)
        levels = (name for name in (f"${number}" for number in count()) if name not in free)
        return _Canonical(levels).node(tree, {}, 0)[0]

    def lexicons(self, trees: Iterable[Node], num_pieces: int = 2000) -> dict[str, Lexicon]:
        """Closed lexicons of the values in the trees; a word that is no operator and no variable may be copied as an entity.

        Where the trees have no value of a type, one stands in: `$0`, `e`, `thing` or `thing0`.
        """
        values = self.grammar.values(trees)
        lexicons = {type_: ClosedLexicon(values[type_] or [stand_in]) for type_, stand_in in _STAND_INS.items()}
        others = WordExcept(sorted(self._operators), "$")
        return lexicons | {"entity": ClosedLexicon(lexicons["entity"].pieces, others)}

    def to_dict(self) -> dict[str, Any]:
        """`name` and `options`."""
        return {"name": self.language_name, "options": {"prefix": self.prefix, "spaced": self.spaced}}

    def _sorted_by_head(self, tree: Node) -> Node:
        children = []
        for child in tree.children:
            if isinstance(child, tuple):
                child = tuple(map(self._sorted_by_head, child))
                if tree.constructor in ("And", "Or"):
                    child = tuple(sorted(child, key=self._head))
            children.append(self._sorted_by_head(child) if isinstance(child, Node) else child)
        return Node(tree.constructor, tuple(children))

    def _head(self, tree: Node) -> str:
        """What stands first in the text of a tree, without the prefix."""
        if tree.constructor in ("Apply", "Variable", "Entity"):
            return tree.children[0]
        return self.operator(tree.constructor).removeprefix(self.prefix)

    def _free_variables(self, tree: Node, bound: frozenset[str] = frozenset()) -> set[str]:
        if tree.constructor == "Variable":
            return {tree.children[0]} - bound
        if _binds(tree):
            bound |= {tree.children[0]}
        free: set[str] = set()
        for child in tree.children:
            for part in child if isinstance(child, tuple) else (child,):
                if isinstance(part, Node):
                    free |= self._free_variables(part, bound)
        return free


def _binds(tree: Node) -> bool:
    """Whether a node, other than a `Variable`, is an operator that binds the variable which is its first child."""
    return isinstance(tree.children[0], str) and tree.constructor not in ("Apply", "Entity")


class _Canonical:
    """Builds canonical trees, each with a text of its own to be sorted by."""

    def __init__(self, levels: Iterable[str]):
        self.more, self.levels = iter(levels), []

    def level(self, depth: int) -> str:
        while len(self.levels) <= depth:
            self.levels.append(next(self.more))
        return self.levels[depth]

    def node(self, tree: Node, names: Mapping[str, str], depth: int) -> tuple[Node, str]:
        """A tree under `depth` operators that bind, which gave the variables around it these names."""
        if tree.constructor == "Variable":
            made = Node("Variable", (names.get(tree.children[0], tree.children[0]),))
            return made, made.children[0]
        children, texts = list(tree.children), [tree.constructor]
        if _binds(tree):
            # The operator binds its variable in everything behind it; one of the same name around it is hidden.
            names = {**names, children[0]: self.level(depth)}
            children[0], depth = self.level(depth), depth + 1
        for place, child in enumerate(children):
            if isinstance(child, tuple):
                parts = [self.node(part, names, depth) for part in child]
                if tree.constructor in ("And", "Or"):
                    parts.sort(key=lambda part: part[1])
                children[place] = tuple(part for part, _ in parts)
                texts += [text for _, text in parts]
            elif isinstance(child, Node):
                children[place], text = self.node(child, names, depth)
                texts.append(text)
            else:
                texts.append(child)
        return Node(tree.constructor, tuple(children)), f"({' '.join(texts)})"
