"""A language of meanings that the user gives by its EBNF."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.ebnf import EBNFLanguage
from hf_lvm.grammars.languages.language import Language, check_rule
from hf_lvm.grammars.transition_system import ClosedLexicon, Lexicon, WordExcept


class EBNFMeanings(EBNFLanguage, Language):
    """A language given by EBNF. Two texts are the same if their trees are, by both rules: an EBNF tells nothing of meanings.

    Args:
        text, patterns: As of `EBNFLanguage`, whose errors it raises.
    """

    language_name: ClassVar[str] = "ebnf"

    def __init__(self, text: str, patterns: Mapping[str, str] | None = None):
        super().__init__(text, patterns)
        self.text, self.patterns = text, dict(patterns or {})
        self.copied = self.grammar.primitives

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EBNFMeanings):
            return NotImplemented
        return (self.text, self.patterns) == (other.text, other.patterns)

    def __hash__(self) -> int:
        return hash(self.text)

    def tokens(self, text: str) -> list[str]:
        """What blanks separate."""
        return text.split()

    def canonical(self, tree: Node, rule: str) -> Node:
        """The tree itself, by both rules."""
        check_rule(rule)
        return tree

    def lexicons(self, trees: Iterable[Node], num_pieces: int = 2000) -> dict[str, Lexicon]:
        """Closed lexicons of the values in the trees. Other words may be copied where their type has no pattern.

        Raises:
            ValueError: a primitive type of which the trees have no value.
        """
        lexicons = {}
        for type_, values in self.grammar.values(trees).items():
            if not values:
                raise ValueError(f"The trees have no value of type {type_!r}: a lexicon of it needs at least one.")
            rule = None if type_ in self.patterns else WordExcept(sorted(self.terminals))
            lexicons[type_] = ClosedLexicon(values, rule)
        return lexicons

    def to_dict(self) -> dict[str, Any]:
        """`name` and `options`."""
        return {"name": self.language_name, "options": {"text": self.text, "patterns": dict(self.patterns)}}
