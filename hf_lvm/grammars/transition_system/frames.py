"""What stands on the stack of the automaton: the fields that are still to be filled, and what each of them costs at least.

A frame is taken off as soon as nothing comes after it in its node, so that a step touches the top of the stack only.
"""

from hf_lvm.grammars.asdl.grammar import Cardinality, Constructor, Grammar
from hf_lvm.grammars.transition_system.vocabulary import ActionVocabulary


class FieldFrame:
    """A field to be filled, and the ones after it in the same node.

    Attributes:
        type, cardinality: of the field. After the first thing of a `NONEMPTY` one it is a `SEQUENCE`.
        next: the frame of the field after it; None where it is the last one.
        filled: the frame after one thing has been put into it; itself where it is a sequence.
        number: of the field among all of the grammar, see `Automaton.num_fields`.
        row: its row in the automaton's table.
    """

    __slots__ = ("cardinality", "filled", "next", "number", "row", "type")

    def __init__(self, type_: str, cardinality: Cardinality, following: "FieldFrame | None", number: int = 0):
        self.type, self.cardinality, self.next, self.number = type_, cardinality, following, number
        self.row = -1
        if cardinality is Cardinality.NONEMPTY:
            self.filled: FieldFrame | None = FieldFrame(type_, Cardinality.SEQUENCE, following, number)
        else:
            self.filled = self if cardinality is Cardinality.SEQUENCE else following


class ValueFrame:
    """A value of a primitive type that has been begun.

    Attributes:
        type: the primitive type.
        state: of its lexicon.
        number: of the type behind the numbers of all fields.
        row: its row in the automaton's table.
    """

    __slots__ = ("number", "row", "state", "type")

    def __init__(self, type_: str, state: int, number: int = 0):
        self.type, self.state, self.number, self.row = type_, state, number, -1


def frames_of(constructor: Constructor, first_number: int = 0) -> FieldFrame | None:
    """The frame of the first field of a node, its fields numbered on from `first_number`; None where it has no fields."""
    frame: FieldFrame | None = None
    for place, field in reversed(list(enumerate(constructor.fields))):
        frame = FieldFrame(field.type, field.cardinality, frame, first_number + place)
    return frame


class Costs:
    """The fewest steps that fill a field or make a node.

    Attributes:
        types: type -> steps of its smallest tree, or of its shortest value.
        constructors: constructor -> steps of its smallest node.
    """

    def __init__(self, vocabulary: ActionVocabulary):
        grammar = vocabulary.grammar
        self.types = {type_: lexicon.needed(lexicon.start) for type_, lexicon in vocabulary.lexicons.items()}
        self.constructors: dict[str, int] = {}
        changed = True
        while changed:
            changed = False
            for type_, names in grammar.types.items():
                steps = [cost for name in names if (cost := self._of_constructor(grammar, name)) is not None]
                if steps and min(steps) < self.types.get(type_, min(steps) + 1):
                    self.types[type_] = min(steps)
                    changed = True
        self.constructors = {name: self._of_constructor(grammar, name) for name in grammar.constructors}

    def before(self, type_: str, cardinality: Cardinality) -> int:
        """Steps that a field takes at least while nothing has been put into it."""
        if cardinality in (Cardinality.OPTIONAL, Cardinality.SEQUENCE):
            return 1
        return self.types[type_] + (cardinality is Cardinality.NONEMPTY)

    def after(self, cardinality: Cardinality) -> int:
        """Steps that a field still takes at least once a thing has been put into it: that which closes a sequence."""
        return int(cardinality.is_sequence)

    def _of_constructor(self, grammar: Grammar, name: str) -> int | None:
        total = 1
        for field in grammar.constructors[name].fields:
            if field.cardinality in (Cardinality.SINGLE, Cardinality.NONEMPTY) and field.type not in self.types:
                return None
            total += self.before(field.type, field.cardinality)
        return total
