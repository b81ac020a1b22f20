"""Words of a source that values of a tree may be copied from, so that each value still has one derivation.

A value that can be copied is always copied, from the first place where the source has it, and never spelled. The sampler must
not begin to spell a word that it then may not finish, so wherever a word of the source, or the beginning of one, is being
spelled, the fewest steps that finish the value are counted without that word.
"""

from collections.abc import Sequence

from hf_lvm.grammars.transition_system.lexicons import NEVER, Lexicon
from hf_lvm.grammars.transition_system.vocabulary import ActionVocabulary


class Source:
    """The words that one tree may copy.

    Args:
        vocabulary: of the actions.
        words: those past `vocabulary.copy_slots` are not copied.
        spelled_within: copy only words that the lexicon of the type can spell, too, in so many steps at most; None for any
            word that it admits.

    Attributes:
        words: as given.
        slots: primitive type -> word -> the number of the first place where the source has it.
    """

    def __init__(self, vocabulary: ActionVocabulary, words: Sequence[str], spelled_within: int | None = None):
        self.vocabulary, self.words = vocabulary, tuple(words)
        self.slots: dict[str, dict[str, int]] = {}
        for type_ in sorted(vocabulary.copied):
            lexicon, slots = vocabulary.lexicons[type_], {}
            for slot, word in enumerate(self.words[: vocabulary.copy_slots]):
                if word and word not in slots and lexicon.admits(word) and _is_spelled(lexicon, word, spelled_within):
                    slots[word] = slot
            self.slots[type_] = slots
        self._steps: dict[tuple[str, str], int] = {}

    def copy_action(self, type_: str, value: str) -> int | None:
        """The action that copies a value of a type, None where it has to be spelled."""
        slot = self.slots.get(type_, {}).get(value)
        return None if slot is None else self.vocabulary.first_copy + slot

    def forbids_end(self, type_: str, text: str) -> bool:
        """Whether what has been spelled of a value is a word that is copied instead."""
        return text in self.slots.get(type_, {})

    def changed_steps(self, type_: str, state: int, text: str) -> dict[int, int]:
        """What differs from `Lexicon.remaining` after `text` has been spelled: place of the piece -> steps still needed."""
        lexicon = self.vocabulary.lexicons[type_]
        remaining, changed = lexicon.remaining(state), {}
        for place in self._towards(type_, text):
            known = int(remaining[place])
            if known != NEVER and (steps := self._steps_after(type_, state, text, place)) != known:
                changed[place] = steps
        return changed

    def _towards(self, type_: str, text: str) -> set[int]:
        """The pieces with which a word that is copied goes on."""
        places = self.vocabulary.places[type_]
        actions = self.vocabulary.pieces
        found = set()
        for word in self.slots.get(type_, {}):
            if word.startswith(text):
                rest = word[len(text) :]
                pieces = (actions.get(rest[:length]) for length in range(1, len(rest) + 1))
                found |= {places[action] for action in pieces if action in places}
        return found

    def _steps_after(self, type_: str, state: int, text: str, place: int) -> int:
        lexicon = self.vocabulary.lexicons[type_]
        following, text = lexicon.follow(state, place), text + lexicon.pieces[place]
        if following is None:
            return NEVER if self.forbids_end(type_, text) else 0
        return self._steps_from(type_, following, text)

    def _steps_from(self, type_: str, state: int, text: str) -> int:
        """The fewest steps that finish a value which begins with `text` and is not copied."""
        lexicon = self.vocabulary.lexicons[type_]
        if not any(word.startswith(text) for word in self.slots[type_]):
            return lexicon.needed(state)
        if (type_, text) not in self._steps:
            if lexicon.ends(state) and not self.forbids_end(type_, text):
                steps = 1
            else:
                after = lexicon.remaining(state)
                for place, changed in self.changed_steps(type_, state, text).items():
                    after[place] = changed
                steps = min(1 + int(after.min()), NEVER)
            self._steps[type_, text] = steps
        return self._steps[type_, text]


def _is_spelled(lexicon: Lexicon, word: str, within: int | None) -> bool:
    if within is None:
        return True
    pieces = lexicon.segment(word)
    return pieces is not None and len(pieces) + lexicon.is_open <= within
