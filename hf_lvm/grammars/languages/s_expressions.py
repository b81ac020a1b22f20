"""Bracketed expressions as a language of meanings: whatever a corpus writes in brackets, without asking what it means."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl import Grammar
from hf_lvm.grammars.languages.language import Language, check_rule
from hf_lvm.grammars.s_expressions import (
    parse_s_expression,
    s_expression_grammar,
    s_expression_text,
    s_expression_tokens,
)
from hf_lvm.grammars.transition_system import AnyWord, ClosedLexicon, Lexicon


@dataclass(frozen=True)
class SExpressionMeanings(Language):
    """Bracketed expressions as a language.

    Attributes:
        spaced: whether brackets have blanks on both sides.
        unordered: what stands first in the brackets whose other items may come in any order; a type behind a colon, as in
            `and:<t*,t>`, does not matter. `"published"` sorts them by what stands first in each, those with the same in their
            order, `"full"` by all of their text. Variables keep their names by both, since brackets do not say what binds one.
    """

    spaced: bool = True
    unordered: tuple[str, ...] = ("and", "or")

    language_name: ClassVar[str] = "s_expressions"
    copied: ClassVar[tuple[str, ...]] = ("atom",)

    def __post_init__(self):
        names = self.unordered
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"unordered is {names!r}: a list of names is needed, such as ['and', 'or'].")
        object.__setattr__(self, "unordered", tuple(names))

    @cached_property
    def grammar(self) -> Grammar:
        """Of all bracketed expressions."""
        return s_expression_grammar()

    def parse(self, text: str, name: str = "The meaning") -> Node:
        """The tree of a text; see `Language.parse`."""
        return parse_s_expression(text, name)

    def write(self, tree: Node) -> str:
        """The text of a tree; see `Language.write`."""
        self.grammar.check(tree, "The meaning")
        text = s_expression_text(tree, self.spaced)
        if self.parse(text) != tree:
            raise ValueError(f"The meaning cannot be written: {text!r} is read as another tree than {tree}.")
        return text

    def tokens(self, text: str) -> list[str]:
        """Brackets and atoms."""
        return s_expression_tokens(text)

    def canonical(self, tree: Node, rule: str) -> Node:
        """By `"published"` or `"full"`: see `unordered`."""
        check_rule(rule)
        if tree.constructor == "Atom":
            return tree
        first, *others = (self.canonical(item, rule) for item in tree.children[0])
        if first.constructor == "Atom" and first.children[0].partition(":")[0] in self.unordered:
            others.sort(key=_head if rule == "published" else str)
        return Node("List", ((first, *others),))

    def lexicons(self, trees: Iterable[Node], num_pieces: int = 2000) -> dict[str, Lexicon]:
        """A closed lexicon of the atoms in the trees; any word without a bracket may be copied.

        Raises:
            ValueError: no tree.
        """
        return {"atom": ClosedLexicon(self.grammar.values(trees)["atom"], AnyWord())}

    def to_dict(self) -> dict[str, Any]:
        """`name` and `options`."""
        return {"name": self.language_name, "options": {"spaced": self.spaced, "unordered": list(self.unordered)}}


def _head(tree: Node) -> str:
    while tree.constructor == "List":
        tree = tree.children[0][0]
    return tree.children[0]
