"""Automata over characters that say which strings are values of a primitive type."""

import keyword
import unicodedata
from collections.abc import Hashable, Iterable
from typing import Any, Protocol


class CharacterRule(Protocol):
    """A deterministic automaton over characters with finitely many states.

    Attributes:
        start: the state before the first character.
    """

    start: Hashable

    def step(self, state: Hashable, character: str) -> Hashable | None:
        """The state after one more character, None where no value goes on so."""

    def accepts(self, state: Hashable) -> bool:
        """Whether what has been read is a value."""


class AnyText(CharacterRule):
    """Every string, the empty one too."""

    start = 0

    def step(self, state: int, character: str) -> int:
        return 0

    def accepts(self, state: int) -> bool:
        return True


class AnyWord(CharacterRule):
    """Every string of at least one character, none of which is a blank or a bracket: what an s-expression has for atoms."""

    start = 0

    def step(self, state: int, character: str) -> int | None:
        return None if character.isspace() or character in "()" else 1

    def accepts(self, state: int) -> bool:
        return state == 1


class WordExcept(CharacterRule):
    """Every word of `AnyWord` but some, such as the operators of a language.

    Args:
        excluded: the words that are no values.
        beginnings: characters that no value begins with.
    """

    start = ""

    def __init__(self, excluded: Iterable[str] = (), beginnings: str = ""):
        self.excluded, self.beginnings = tuple(excluded), beginnings
        self._words = frozenset(self.excluded)
        self._on_the_way = {word[:length] for word in self._words for length in range(1, len(word) + 1)}

    @property
    def options(self) -> dict[str, Any]:
        """What the rule is made of, as JSON has it."""
        return {"excluded": list(self.excluded), "beginnings": self.beginnings}

    def step(self, state: str, character: str) -> str | None:
        if character.isspace() or character in "()" or (state == "" and character in self.beginnings):
            return None
        # What begins no excluded word need not be kept. A blank is in no word, so that one state stands for all of it.
        following = f"{state}{character}"
        return following if following in self._on_the_way else " "

    def accepts(self, state: str) -> bool:
        return state != "" and state not in self._words


class Digits(CharacterRule):
    """Whole numbers as Python writes them: 0, or digits without a leading zero."""

    start = "start"

    def step(self, state: str, character: str) -> str | None:
        if state == "zero" or character not in "0123456789":
            return None
        return "zero" if state == "start" and character == "0" else "inside"

    def accepts(self, state: str) -> bool:
        return state != "start"


class Identifier(CharacterRule):
    """Names as Python has them, keywords left out.

    Letters that Python would write in another way (NFKC) are left out too, and so are marks that combine with what stands
    before them: such a name would come back as another one.
    """

    start = ""
    excluded = frozenset(keyword.kwlist)
    _beginnings = frozenset(word[:length] for word in keyword.kwlist for length in range(len(word) + 1))

    def step(self, state: str, character: str) -> str | None:
        if not (f"a{character}" if state else character).isidentifier() or not self._is_plain(character):
            return None
        # What begins no keyword need not be kept: one state stands for all of it.
        following = f"{state}{character}"
        return following if following in self._beginnings else "*"

    def accepts(self, state: str) -> bool:
        return state != "" and state not in self.excluded

    def _is_plain(self, character: str) -> bool:
        if character.isascii():
            return True
        joins = unicodedata.combining(character) or "\u1100" <= character <= "\u11ff"
        return not joins and unicodedata.normalize("NFKC", character) == character


# By what a vocabulary names them when it is saved.
CHARACTER_RULES = {
    "any_text": AnyText,
    "any_word": AnyWord,
    "word_except": WordExcept,
    "digits": Digits,
    "identifier": Identifier,
}


def admitted(rule: CharacterRule, value: str) -> bool:
    """Whether a string is a value by a rule."""
    state = rule.start
    for character in value:
        state = rule.step(state, character)
        if state is None:
            return False
    return rule.accepts(state)
