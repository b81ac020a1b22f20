"""Trees to the actions that build them, and back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hf_lvm.grammars.abstract_syntax import Node, Value
from hf_lvm.grammars.asdl.grammar import Cardinality, Constructor, Field
from hf_lvm.grammars.transition_system.sources import Source
from hf_lvm.grammars.transition_system.vocabulary import END, PAD, REDUCE, START, ActionVocabulary


def actions_of(vocabulary: ActionVocabulary, tree: Node, source: Source | None = None, name: str = "The tree") -> list[int]:
    """The one sequence of actions that builds a tree, without start and end.

    Args:
        vocabulary: of the actions.
        tree: of `vocabulary.grammar`.
        source: whose words are copied where the tree has them.
        name: what to call the tree in an error, such as `row 3`.

    Raises:
        ValueError: a tree that the grammar does not derive, or a value that its lexicon cannot write and the source does not
            have; the place in the tree is named, and what may stand there.
    """
    vocabulary.grammar.check(tree, name)
    actions: list[int] = []
    # What is still to be written: a value with its type and place, or an action.
    agenda: list[tuple[Value, str, str] | int] = [(tree, vocabulary.grammar.root, "")]
    while agenda:
        item = agenda.pop()
        if isinstance(item, int):
            actions.append(item)
            continue
        value, type_, place = item
        if isinstance(value, str):
            actions += _value_actions(vocabulary, value, type_, place, source, name)
            continue
        actions.append(vocabulary.rules[value.constructor])
        place = f"{place}.{value.constructor}" if place else value.constructor
        below: list[tuple[Value, str, str] | int] = []
        for each, child in zip(vocabulary.grammar.constructors[value.constructor].fields, value.children, strict=True):
            if child is None:
                below.append(REDUCE)
            elif each.cardinality.is_sequence:
                below += [(part, each.type, f"{place}.{each.name}[{number}]") for number, part in enumerate(child)]
                below.append(REDUCE)
            else:
                below.append((child, each.type, f"{place}.{each.name}"))
        agenda.extend(reversed(below))
    return actions


def _value_actions(
    vocabulary: ActionVocabulary, value: str, type_: str, place: str, source: Source | None, name: str
) -> list[int]:
    if source is not None and (copied := source.copy_action(type_, value)) is not None:
        return [copied]
    actions = vocabulary.spelled(type_, value)
    if actions is None:
        shown = value if len(value) <= 60 else f"{value[:57]}..."
        raise ValueError(
            f"{name} cannot be written: at {place} there is {shown!r}, which the lexicon of the type {type_} does not make"
            f"{'' if source is None else ' and the source does not have'}: add it to the lexicon, or leave the tree out."
        )
    return actions


@dataclass
class _Open:
    """A node on its way: its constructor, what its fields hold so far, and the value or the row that is being made."""

    constructor: Constructor
    children: list[Value] = field(default_factory=list)
    row: list[Node | str] = field(default_factory=list)

    @property
    def next_field(self) -> Field:
        return self.constructor.fields[len(self.children)]

    @property
    def is_whole(self) -> bool:
        return len(self.children) == len(self.constructor.fields)

    def put(self, value: Node | str) -> None:
        if self.next_field.cardinality.is_sequence:
            self.row.append(value)
        else:
            self.children.append(value)


def tree_of(
    vocabulary: ActionVocabulary, actions: Iterable[int], words: Sequence[str] = (), name: str = "The actions"
) -> Node:
    """The tree that actions build.

    Args:
        vocabulary: of the actions.
        actions: a start in front, an end and padding behind are read over.
        words: of the source, for actions that copy.
        name: what to call the actions in an error.

    Raises:
        ValueError: an action that cannot stand where it does, with its place and what may; or a tree that is not whole.
    """
    actions = list(map(int, actions))
    if actions[:1] == [START]:
        actions = actions[1:]
    if END in actions:
        actions = actions[: actions.index(END)]
    while actions and actions[-1] == PAD:
        actions.pop()
    builder = _Builder(vocabulary, words, name)
    for place, action in enumerate(actions):
        builder.take(action, place)
    if builder.tree is None:
        raise ValueError(
            f"{name} end after {len(actions)} steps before the tree is whole: {builder.expected} is still expected. Sample "
            "within a limit, and every tree closes."
        )
    return builder.tree


class _Builder:
    def __init__(self, vocabulary: ActionVocabulary, words: Sequence[str], name: str):
        self.vocabulary, self.words, self.name = vocabulary, words, name
        self.nodes: list[_Open] = []
        self.tree: Node | None = None
        # Of a value on its way: the state of its lexicon and its pieces.
        self.state: int | None = None
        self.text: list[str] = []

    @property
    def type(self) -> str:
        return self.nodes[-1].next_field.type if self.nodes else self.vocabulary.grammar.root

    @property
    def expected(self) -> str:
        if self.state is not None:
            return f"the rest of a value of type {self.type}"
        if self.nodes and self.nodes[-1].next_field.cardinality is not Cardinality.SINGLE:
            return f"{self.type} or Reduce"
        return self.type

    def take(self, action: int, place: int) -> None:
        kind = self.vocabulary.kind(action)
        done = self.tree is not None or not getattr(self, f"_{kind.value}")(action)
        if done:
            expected = "the end" if self.tree is not None else self.expected
            raise ValueError(
                f"{self.name} have {self.vocabulary.name(action)} at step {place}, where {expected} is expected: take actions "
                "that the automaton of the same grammar allows."
            )

    def _special(self, action: int) -> bool:
        return False

    def _rule(self, action: int) -> bool:
        grammar, constructor = self.vocabulary.grammar, self.vocabulary.constructor(action)
        if grammar.is_primitive(self.type) or not grammar.belongs(constructor, self.type):
            return False
        self.nodes.append(_Open(grammar.constructors[constructor]))
        self._close()
        return True

    def _reduce(self, action: int) -> bool:
        if self.state is not None or not self.nodes:
            return False
        node = self.nodes[-1]
        cardinality = node.next_field.cardinality
        if cardinality is Cardinality.SINGLE or (cardinality is Cardinality.NONEMPTY and not node.row):
            return False
        node.children.append(None if cardinality is Cardinality.OPTIONAL else tuple(node.row))
        node.row = []
        self._close()
        return True

    def _piece(self, action: int) -> bool:
        place = self.vocabulary.places.get(self.type, {}).get(action)
        if place is None:
            return False
        lexicon = self.vocabulary.lexicons[self.type]
        state = lexicon.start if self.state is None else self.state
        if not lexicon.allows(state, place):
            return False
        self.text.append(lexicon.pieces[place])
        self.state = lexicon.follow(state, place)
        if self.state is None:
            self._finish_value()
        return True

    def _finish(self, action: int) -> bool:
        if not self.vocabulary.grammar.is_primitive(self.type):
            return False
        lexicon = self.vocabulary.lexicons[self.type]
        if not lexicon.ends(lexicon.start if self.state is None else self.state):
            return False
        self._finish_value()
        return True

    def _copy(self, action: int) -> bool:
        slot = action - self.vocabulary.first_copy
        if self.state is not None or not self.vocabulary.grammar.is_primitive(self.type) or slot >= len(self.words):
            return False
        self.text.append(self.words[slot])
        self._finish_value()
        return True

    def _finish_value(self) -> None:
        value = "".join(self.text)
        self.text, self.state = [], None
        self.nodes[-1].put(value)
        self._close()

    def _close(self) -> None:
        """Put nodes that are whole where they belong."""
        while self.nodes and self.nodes[-1].is_whole:
            node = self.nodes.pop()
            made = Node(node.constructor.name, tuple(node.children))
            if not self.nodes:
                self.tree = made
                return
            self.nodes[-1].put(made)
