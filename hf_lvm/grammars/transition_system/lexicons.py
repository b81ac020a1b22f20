"""How the values of a primitive type are written token by token, each in one way only.

A `ClosedLexicon` has a list of values, each a token of its own. An `OpenLexicon` spells every value that a rule for characters
admits from pieces, and ends it by a token of its own. A string can be cut into pieces in many ways; only one of them is
allowed: the longest piece first, as WordPiece cuts. That is enforced piece by piece, so a sampler cannot leave it: a piece is
allowed unless, together with pieces before it, it would complete a longer piece than one that was chosen. So no value is
written in two ways, every sequence of allowed pieces is the beginning of a value, and the probability of a value is that of
its pieces.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hf_lvm.grammars.transition_system.characters import CHARACTER_RULES, AnyText, CharacterRule, admitted

# More steps than any limit: what cannot be.
NEVER = 32767
# Longer values are spelled from several pieces, however frequent they are.
MAX_PIECE_LENGTH = 24
# A word with the blank or sign before it, letters between signs, a run of one sign.
_PART = re.compile(r"[ ._]?[^\W_]+|([^\w\s]|\s|_)\1+")


class Lexicon(Protocol):
    """What an automaton asks of the values of a type; states are numbers, pieces those of `pieces`.

    Attributes:
        pieces: the P tokens that values are made of.
        is_open: whether a value is finished by the token that says so; otherwise its last piece finishes it.
        start: the state before the first of them.
    """

    pieces: tuple[str, ...]
    is_open: bool
    start: int

    def admits(self, value: str) -> bool:
        """Whether a string may be a value, copied from the source where its tokens cannot make it."""

    def segment(self, value: str) -> list[int] | None:
        """The pieces of a value; None where they cannot make it."""

    def remaining(self, state: int) -> torch.Tensor:
        """(P,) int16, how many steps are needed at least after each piece; 0 where the value is finished by it, `NEVER` where
        the piece cannot stand."""

    def allows(self, state: int, piece: int) -> bool:
        """Whether a piece can stand: the same for one, without the cost of all."""

    def needed(self, state: int) -> int:
        """How many steps finish the value at least, the token that says so included."""

    def ends(self, state: int) -> bool:
        """Whether the token that says so may finish the value."""

    def follow(self, state: int, piece: int) -> int | None:
        """The state after a piece that can stand; None where the value is finished by it."""


class ClosedLexicon(Lexicon):
    """A list of values, each one step.

    Args:
        values: at least one.
        rule: which other strings may be copied from a source; None: none.
    """

    is_open, start = False, 0

    def __init__(self, values: Iterable[str], rule: CharacterRule | None = None):
        self.pieces, self.rule = tuple(dict.fromkeys(values)), rule
        if not self.pieces:
            raise ValueError("A closed lexicon without a value makes no tree: name at least one.")
        self._places = {value: place for place, value in enumerate(self.pieces)}

    def admits(self, value: str) -> bool:
        return value in self._places or (self.rule is not None and admitted(self.rule, value))

    def segment(self, value: str) -> list[int] | None:
        return [self._places[value]] if value in self._places else None

    def remaining(self, state: int) -> torch.Tensor:
        return torch.zeros(len(self.pieces), dtype=torch.int16)

    def allows(self, state: int, piece: int) -> bool:
        return True

    def needed(self, state: int) -> int:
        return 1

    def ends(self, state: int) -> bool:
        return False

    def follow(self, state: int, piece: int) -> None:
        return None


@dataclass(frozen=True)
class _Spelling:
    """A state on the way through a value.

    Attributes:
        growing: what stands at the end of the value from the beginning of each piece that may yet turn out to have been too
            short; each is the beginning of a longer piece.
        state: of the rule.
    """

    growing: frozenset[str]
    state: Hashable


class OpenLexicon(Lexicon):
    """All values that a rule admits, from pieces with the longest first, and a token that says that the value is finished.

    Args:
        pieces: at least one, none empty. What the single characters among them do not cover cannot be spelled.
        rule: which strings are values; None: all.

    Raises:
        ValueError: no piece, an empty one, or pieces of which no value can be made.
    """

    is_open, start = True, 0

    def __init__(self, pieces: Iterable[str], rule: CharacterRule | None = None):
        self.pieces, self.rule = tuple(dict.fromkeys(pieces)), rule or AnyText()
        if not self.pieces or "" in self.pieces:
            raise ValueError(
                "An open lexicon is spelled from pieces of at least one character: none is there, or an empty one."
            )
        self._places = {piece: place for place, piece in enumerate(self.pieces)}
        lengths: dict[str, set[int]] = {}
        for piece in self.pieces:
            lengths.setdefault(piece[0], set()).add(len(piece))
        self._lengths = {character: sorted(found, reverse=True) for character, found in lengths.items()}
        # Beginning -> the pieces that have it and are longer.
        self._extensions: dict[str, list[str]] = {}
        for piece in self.pieces:
            for length in range(1, len(piece)):
                self._extensions.setdefault(piece[:length], []).append(piece)
        # Beginning -> all pieces that have it, itself among them.
        self._family = {beginning: [self._places[piece] for piece in row] for beginning, row in self._extensions.items()}
        for piece, place in self._places.items():
            self._family.setdefault(piece, []).append(place)
        first = _Spelling(frozenset(), self.rule.start)
        self._spellings, self._numbers = [first], {first: 0}
        self._after: dict[Hashable, list[Hashable | None]] = {}
        self._by_rule: dict[Hashable, tuple[torch.Tensor, list[int]]] = {}
        self._excluded: dict[frozenset[str], frozenset[int]] = {}
        self._needed: dict[_Spelling, int] = {}
        if self.needed(0) == NEVER:
            raise ValueError(
                f"No value can be made of the pieces {self.pieces[:10]}: the rule {type(self.rule).__name__} has none."
            )

    def admits(self, value: str) -> bool:
        return admitted(self.rule, value)

    def segment(self, value: str) -> list[int] | None:
        if not self.admits(value):
            return None
        found, place = [], 0
        while place < len(value):
            lengths = self._lengths.get(value[place], ())
            length = next((length for length in lengths if value[place : place + length] in self._places), None)
            if length is None:
                return None
            found.append(self._places[value[place : place + length]])
            place += length
        return found

    def remaining(self, state: int) -> torch.Tensor:
        spelling = self._spellings[state]
        by_rule, unknown = self._steps_by_rule(spelling.state)
        steps = by_rule.clone()
        # Where the value may not end after a piece, how many more it takes depends on what has been spelled before.
        for place in unknown:
            steps[place] = self._steps_from(self._next(spelling, place))
        if excluded := self._too_long(spelling):
            steps[list(excluded)] = NEVER
        return steps

    def allows(self, state: int, piece: int) -> bool:
        spelling = self._spellings[state]
        following = self._rule_states(spelling.state)[piece]
        if following is None or piece in self._too_long(spelling):
            return False
        return self.rule.accepts(following) or self._steps_from(self._next(spelling, piece)) != NEVER

    def ends(self, state: int) -> bool:
        return self.rule.accepts(self._spellings[state].state)

    def needed(self, state: int) -> int:
        return self._steps_from(self._spellings[state])

    def follow(self, state: int, piece: int) -> int:
        return self._number(self._next(self._spellings[state], piece))

    # ---- how values go on --------------------------------------------------------------------------------------------

    def _next(self, spelling: _Spelling, piece: int) -> _Spelling:
        text = self.pieces[piece]
        longer = (before + text for before in (*spelling.growing, ""))
        growing = frozenset(each for each in longer if each in self._extensions)
        return _Spelling(growing, self._rule_states(spelling.state)[piece])

    def _rule_states(self, state: Hashable) -> list[Hashable | None]:
        """(P,), the state of the rule after each piece."""
        if state not in self._after:
            after = []
            for piece in self.pieces:
                reached = state
                for character in piece:
                    reached = self.rule.step(reached, character)
                    if reached is None:
                        break
                after.append(reached)
            self._after[state] = after
        return self._after[state]

    def _too_long(self, spelling: _Spelling) -> frozenset[int]:
        """The pieces that would complete a longer piece than the one chosen."""
        if spelling.growing not in self._excluded:
            self._excluded[spelling.growing] = frozenset(
                place
                for before in spelling.growing
                for longer in self._extensions[before]
                for place in self._family.get(longer[len(before) :], ())
            )
        return self._excluded[spelling.growing]

    def _legal(self, spelling: _Spelling) -> list[int]:
        excluded, states = self._too_long(spelling), self._rule_states(spelling.state)
        return [place for place, state in enumerate(states) if state is not None and place not in excluded]

    def _steps_by_rule(self, state: Hashable) -> tuple[torch.Tensor, list[int]]:
        """(P,) int16, 1 after pieces where the value may end, `NEVER` where the rule excludes one; and the other pieces."""
        if state not in self._by_rule:
            after = self._rule_states(state)
            ends = [each is not None and self.rule.accepts(each) for each in after]
            unknown = [place for place, each in enumerate(after) if each is not None and not ends[place]]
            self._by_rule[state] = torch.tensor([1 if end else NEVER for end in ends], dtype=torch.int16), unknown
        return self._by_rule[state]

    def _steps_from(self, spelling: _Spelling) -> int:
        """By breadth: the fewest pieces after which the value may end, and the token that says so."""
        if spelling not in self._needed:
            seen, level, steps = {spelling}, [spelling], 1
            while level and not any(self.rule.accepts(each.state) for each in level):
                following = {self._next(each, place) for each in level for place in self._legal(each)} - seen
                seen |= following
                level, steps = list(following), steps + 1
            self._needed[spelling] = steps if level else NEVER
        return self._needed[spelling]

    def _number(self, spelling: _Spelling) -> int:
        if spelling not in self._numbers:
            self._numbers[spelling] = len(self._spellings)
            self._spellings.append(spelling)
        return self._numbers[spelling]


def frequent_pieces(values: Iterable[str], count: int, alphabet: Iterable[str] = ()) -> list[str]:
    """Pieces for an `OpenLexicon`: every character, and the most frequent values, words in values and runs of one sign.

    Args:
        values: of a corpus, with repetitions.
        count: how many pieces at most; the characters come first and are never left out.
        alphabet: characters beside those of the values.
    """
    frequency = Counter(values)
    characters = sorted({*alphabet, *(character for value in frequency for character in value)})
    longer: Counter[str] = Counter()
    for value, times in frequency.items():
        for part in {value, *(match.group() for match in _PART.finditer(value))}:
            if 1 < len(part) <= MAX_PIECE_LENGTH:
                longer[part] += times
    words = sorted(longer, key=lambda part: (-longer[part], part))
    return [*characters, *words][: max(count, len(characters))]


def lexicon_to_dict(lexicon: Lexicon) -> dict[str, Any]:
    """What [`lexicon_from_dict`] makes the same lexicon of.

    Raises:
        ValueError: a lexicon or a rule that is none of this package.
    """
    if type(lexicon) not in (ClosedLexicon, OpenLexicon):
        raise ValueError(f"{type(lexicon).__name__} cannot be saved: a ClosedLexicon or an OpenLexicon can.")
    rule = next((name for name, cls in CHARACTER_RULES.items() if type(lexicon.rule) is cls), None)
    if rule is None and lexicon.rule is not None:
        raise ValueError(f"The rule {type(lexicon.rule).__name__} cannot be saved: one of {', '.join(CHARACTER_RULES)} can.")
    if options := getattr(lexicon.rule, "options", None):
        rule = {"name": rule, **options}
    return {"open": isinstance(lexicon, OpenLexicon), "pieces": list(lexicon.pieces), "rule": rule}


def lexicon_from_dict(saved: Mapping[str, Any]) -> ClosedLexicon | OpenLexicon:
    """The lexicon that was saved."""
    options = dict(saved["rule"]) if isinstance(saved["rule"], Mapping) else {"name": saved["rule"]}
    name = options.pop("name")
    if name not in (None, *CHARACTER_RULES):
        raise ValueError(f"{name!r} is no rule for characters: {', '.join(CHARACTER_RULES)} are there.")
    rule = None if name is None else CHARACTER_RULES[name](**options)
    return (OpenLexicon if saved["open"] else ClosedLexicon)(saved["pieces"], rule)
