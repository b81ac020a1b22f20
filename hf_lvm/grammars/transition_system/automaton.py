"""A pushdown automaton over the actions of a grammar, for a whole batch: what may come next, so that all trees close in time.

The state of a derivation is a stack of fields that are still to be filled, how many steps it has to spare, and the source that
it may copy from. Stacks are immutable and shared: two derivations with the same fields to be filled hold the same object, and
each remembers where an action leads, so that a step is one look-up and a beam is reordered by reordering references.

What an action costs is known beforehand: one step, and what the tree then needs at least more than before. So one table of
small integers, a row for each kind of field and a column for each action, says both what the grammar allows and what the
remaining length allows: the actions that cost no more than there is to spare.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.asdl.grammar import Cardinality
from hf_lvm.grammars.transition_system.frames import Costs, FieldFrame, ValueFrame, frames_of
from hf_lvm.grammars.transition_system.lexicons import NEVER
from hf_lvm.grammars.transition_system.oracle import actions_of
from hf_lvm.grammars.transition_system.sources import Source
from hf_lvm.grammars.transition_system.vocabulary import END, FINISH, PAD, REDUCE, ActionKind, ActionVocabulary


class Stack:
    """Fields still to be filled, the next one on top. Made by an `Automaton` only, which makes none twice.

    Attributes:
        frame: the one on top; None of a whole tree, and of what is none.
        below: the rest of the stack.
        text: what has been spelled of a value that the source might have.
        row: in the table of the automaton.
        after: action -> the stack after it, and what it costs.
    """

    __slots__ = ("after", "below", "frame", "row", "text")

    def __init__(self, frame: FieldFrame | ValueFrame | None, below: "Stack | None", text: str, row: int):
        self.frame, self.below, self.text, self.row = frame, below, text, row
        self.after: dict[int, tuple[Stack, int]] = {}


class _Changes(NamedTuple):
    """What a source changes in the costs of a row: action -> cost, and the same as tensors."""

    costs: dict[int, int]
    actions: torch.Tensor
    values: torch.Tensor


class Automaton:
    """The automaton of a vocabulary of actions.

    A limit counts steps without start and end. A copied word counts as many as the shortest value of its type, so that what a
    limit admits does not depend on the source: all trees whose steps, so counted, are no more than it.

    Args:
        vocabulary: of the actions.
        max_stacks: how many stacks are remembered; past them all are forgotten, and made again as they are needed. States in
            use stay what they are.

    Attributes:
        num_fields: how many numbers a place in a tree may have: 0 for the root, one for each field of each constructor, one
            for each primitive type, whose value is being written, and the last one where nothing is to be filled.
    """

    def __init__(self, vocabulary: ActionVocabulary, max_stacks: int = 1_000_000):
        self.vocabulary, self.max_stacks = vocabulary, max_stacks
        self.costs = Costs(vocabulary)
        self._root = FieldFrame(vocabulary.grammar.root, Cardinality.SINGLE, None, 0)
        self._first, number = {}, 1
        for name, constructor in vocabulary.grammar.constructors.items():
            self._first[name] = frames_of(constructor, number)
            number += len(constructor.fields)
        self._type_numbers = {type_: number + place for place, type_ in enumerate(vocabulary.lexicons)}
        self.num_fields = number + len(self._type_numbers) + 1
        self._table = torch.full((64, len(vocabulary)), NEVER, dtype=torch.int16)
        self._copies: dict[torch.device, tuple[torch.Tensor, int]] = {}
        self._num_rows = 1
        # Row 0: nothing is left but the end.
        self._table[0, END] = 0
        self._actions = {type_: torch.tensor(actions) for type_, actions in vocabulary.actions.items()}
        self._rows: dict[tuple, int] = {}
        self._values: dict[tuple[str, int], ValueFrame] = {}
        self._done, self._failed = Stack(None, None, "", 0), Stack(None, None, "", 0)
        self._interned: dict[tuple, Stack] = {}
        # For the sources that are in use.
        self._changes: WeakKeyDictionary[Source, dict[tuple, _Changes | None]] = WeakKeyDictionary()

    @property
    def shortest(self) -> int:
        """The steps of the smallest tree."""
        return self.costs.types[self.vocabulary.grammar.root]

    def begin(self, limit: int, count: int, sources: Sequence[Source] | None = None) -> "DerivationStates":
        """N derivations before their first action.

        Args:
            limit: the most steps of a tree, start and end not counted.
            count: N.
            sources: N, whose words may be copied; None where nothing is copied.

        Raises:
            ValueError: a limit that no tree keeps, or another number of sources.
        """
        if not self.shortest <= limit < NEVER:
            raise ValueError(
                f"The limit of {limit} steps admits no tree: the smallest one takes {self.shortest}. It must be from there to "
                f"{NEVER - 1}."
            )
        if sources is not None and len(sources) != count:
            raise ValueError(f"There are {len(sources)} sources for {count} derivations: give one to each.")
        root = self._stack(self._root, None)
        return DerivationStates(self, [root] * count, [limit - self.shortest] * count, list(sources or [None] * count))

    def steps_of(self, tree: Node, source: Source | None = None, name: str = "The tree") -> int:
        """How many steps a tree takes of a limit.

        Raises:
            ValueError: as `actions_of`.
        """
        return self.count_steps(actions_of(self.vocabulary, tree, source, name))

    def count_steps(self, actions: Iterable[int]) -> int:
        """How many steps of a limit the actions of a whole tree take, a copied word counted as its type's shortest value."""
        stack, steps = self._stack(self._root, None), self.shortest
        for action in actions:
            stack, cost = self.follow(stack, action)
            steps += cost
        return steps

    def table(self, device: torch.device) -> torch.Tensor:
        """(rows, A) int16, what each action costs of the steps to spare, `NEVER` where it cannot be."""
        if device == self._table.device:
            return self._table
        table, count = self._copies.get(device, (None, 0))
        if table is None or len(table) < self._num_rows:
            table = self._table.to(device)
        elif count < self._num_rows:
            table[count : self._num_rows] = self._table[count : self._num_rows].to(device)
        self._copies[device] = table, self._num_rows
        return table

    # ---- stacks ------------------------------------------------------------------------------------------------------

    def _stack(self, frame: FieldFrame | ValueFrame, below: Stack | None, text: str = "") -> Stack:
        key = (id(frame), id(below), text)
        stack = self._interned.get(key)
        if stack is None:
            if len(self._interned) >= self.max_stacks:
                self._interned.clear()
            if frame.row < 0:
                frame.row = self._row(frame)
            stack = self._interned[key] = Stack(frame, below, text, frame.row)
        return stack

    def _pushed(self, frame: FieldFrame | None, below: Stack | None) -> Stack | None:
        return below if frame is None else self._stack(frame, below)

    def follow(self, stack: Stack, action: int) -> tuple[Stack, int]:
        """The stack after an action, and what it costs; whether the source and the limit allow it is not looked at."""
        found = stack.after.get(action)
        if found is None:
            found = stack.after[action] = self._made(stack, action)
        return found

    def _made(self, stack: Stack, action: int) -> tuple[Stack, int]:
        frame = stack.frame
        if frame is None:
            return (stack if action in (END, PAD) else self._failed), 0
        kind = self.vocabulary.kind(action)
        cost = self._copy_cost(frame) if kind is ActionKind.COPY else int(self._table[stack.row, action])
        if cost == NEVER:
            return self._failed, 0
        if isinstance(frame, ValueFrame):
            rest = stack.below
        else:
            rest = self._pushed(frame.next if kind is ActionKind.REDUCE else frame.filled, stack.below)
        if kind is ActionKind.RULE:
            rest = self._pushed(self._first[self.vocabulary.constructor(action)], rest)
        elif kind is ActionKind.PIECE:
            lexicon, place = self.vocabulary.lexicons[frame.type], self.vocabulary.places[frame.type][action]
            state = lexicon.follow(frame.state if isinstance(frame, ValueFrame) else lexicon.start, place)
            if state is not None:
                text = stack.text + lexicon.pieces[place] if frame.type in self.vocabulary.copied else ""
                return self._stack(self._value(frame.type, state), rest, text), cost
        return (self._done if rest is None else rest), cost

    def _value(self, type_: str, state: int) -> ValueFrame:
        if (type_, state) not in self._values:
            self._values[type_, state] = ValueFrame(type_, state, self._type_numbers[type_])
        return self._values[type_, state]

    # ---- costs -------------------------------------------------------------------------------------------------------

    def _row(self, frame: FieldFrame | ValueFrame) -> int:
        is_value = isinstance(frame, ValueFrame)
        key = (frame.type, frame.state) if is_value else (frame.type, frame.cardinality)
        if key not in self._rows:
            if self._num_rows == len(self._table):
                self._table = torch.cat([self._table, torch.full_like(self._table, NEVER)])
                self._copies.clear()
            row = self._table[self._num_rows]
            self._write_costs(row, frame.type, *self._around(frame), frame.state if is_value else None)
            if not is_value and frame.cardinality in (Cardinality.OPTIONAL, Cardinality.SEQUENCE):
                row[REDUCE] = 0
            self._rows[key] = self._num_rows
            self._num_rows += 1
        return self._rows[key]

    def _around(self, frame: FieldFrame | ValueFrame) -> tuple[int, int]:
        """What is needed at least before a value or node is put into a field, itself included, and after that."""
        if isinstance(frame, ValueFrame):
            return self.vocabulary.lexicons[frame.type].needed(frame.state), 0
        return self.costs.before(frame.type, frame.cardinality), self.costs.after(frame.cardinality)

    def _write_costs(self, row: torch.Tensor, type_: str, before: int, after: int, state: int | None) -> None:
        vocabulary = self.vocabulary
        if type_ in vocabulary.grammar.types:
            for name in vocabulary.grammar.types[type_]:
                row[vocabulary.rules[name]] = self.costs.constructors[name] + after - before
            return
        lexicon = vocabulary.lexicons[type_]
        state = lexicon.start if state is None else state
        steps = lexicon.remaining(state)
        costs = torch.where(steps == NEVER, steps, steps + (1 + after - before))
        row[self._actions[type_]] = costs
        if lexicon.ends(state):
            row[FINISH] = 1 + after - before

    def _copy_cost(self, frame: FieldFrame | ValueFrame) -> int:
        if isinstance(frame, ValueFrame) or frame.type not in self.vocabulary.copied:
            return NEVER
        before, after = self._around(frame)
        return self.costs.types[frame.type] + after - before

    def changes(self, source: Source, stack: Stack) -> _Changes | None:
        """What a source changes in the costs of a stack; None where it is nothing."""
        frame = stack.frame
        if frame is None or not source.slots.get(frame.type):
            return None
        known = self._changes.get(source)
        if known is None:
            known = self._changes[source] = {}
        key = (frame.row, stack.text)
        if key not in known:
            known[key] = self._made_changes(source, frame, stack.text)
        return known[key]

    def _made_changes(self, source: Source, frame: FieldFrame | ValueFrame, text: str) -> _Changes | None:
        vocabulary, type_ = self.vocabulary, frame.type
        before, after = self._around(frame)
        is_value = isinstance(frame, ValueFrame)
        state = frame.state if is_value else vocabulary.lexicons[type_].start
        costs = {
            vocabulary.actions[type_][place]: min(1 + steps + after - before, NEVER) if steps != NEVER else NEVER
            for place, steps in source.changed_steps(type_, state, text).items()
        }
        if is_value and source.forbids_end(type_, text):
            costs[FINISH] = NEVER
        if not is_value:
            cost = self._copy_cost(frame)
            costs |= {vocabulary.first_copy + slot: cost for slot in source.slots[type_].values()}
        if not costs:
            return None
        return _Changes(costs, torch.tensor(list(costs)), torch.tensor(list(costs.values()), dtype=torch.int16))


class DerivationStates:
    """N derivations on their way; never changed, only followed by others.

    Attributes:
        automaton: whose they are.
        stacks: N.
        slacks: N, the steps that each has to spare.
        sources: N, None where nothing is copied.
    """

    __slots__ = ("automaton", "slacks", "sources", "stacks")

    def __init__(self, automaton: Automaton, stacks: list[Stack], slacks: list[int], sources: list[Source | None]):
        self.automaton, self.stacks, self.slacks, self.sources = automaton, stacks, slacks, sources

    def __len__(self) -> int:
        return len(self.stacks)

    @property
    def finished(self) -> list[bool]:
        """Whether each tree is whole."""
        return [stack is self.automaton._done for stack in self.stacks]

    @property
    def failed(self) -> list[bool]:
        """Whether each has taken an action that was not legal; nothing but the end is legal after that."""
        return [stack is self.automaton._failed for stack in self.stacks]

    def advance(self, actions: Sequence[int]) -> "DerivationStates":
        """The states after one action each, N numbers. What is not legal fails; whole trees go on with END and padding."""
        automaton = self.automaton
        stacks, slacks = [], []
        for stack, slack, source, action in zip(self.stacks, self.slacks, self.sources, actions, strict=True):
            following, cost = stack.after.get(action) or automaton.follow(stack, action)
            allowed = cost
            if source is not None:
                changes = automaton.changes(source, stack)
                allowed = cost if changes is None else changes.costs.get(action, cost)
            if action >= automaton.vocabulary.first_copy and (
                source is None or changes is None or action not in changes.costs
            ):
                allowed = NEVER
            if allowed > slack:
                following, cost = automaton._failed, slack
            stacks.append(following)
            slacks.append(slack - cost)
        return DerivationStates(automaton, stacks, slacks, self.sources)

    def legal(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """(N, A) bool, the actions that may come next; at least one in every row."""
        device = torch.device(device)
        automaton = self.automaton
        rows = torch.tensor([stack.row for stack in self.stacks], device=device)
        slacks = torch.tensor(self.slacks, dtype=torch.int16, device=device)
        costs = automaton.table(device).index_select(0, rows)
        if any(source is not None for source in self.sources):
            self._change(costs)
        return costs <= slacks.unsqueeze(1)

    def _change(self, costs: torch.Tensor) -> None:
        found = [
            (row, changes)
            for row, (stack, source) in enumerate(zip(self.stacks, self.sources, strict=True))
            if source is not None and (changes := self.automaton.changes(source, stack)) is not None
        ]
        if found:
            rows = torch.tensor([row for row, changes in found for _ in range(len(changes.actions))])
            actions = torch.cat([changes.actions for _, changes in found])
            values = torch.cat([changes.values for _, changes in found])
            device = costs.device
            costs[rows.to(device), actions.to(device)] = values.to(device)

    def fields(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """(N,), the number of the place that the next action fills: see `Automaton.num_fields`."""
        nothing = self.automaton.num_fields - 1
        numbers = [nothing if stack.frame is None else stack.frame.number for stack in self.stacks]
        return torch.tensor(numbers, device=device)

    def select(self, rows: Sequence[int]) -> "DerivationStates":
        """These rows, in this order; a row may come several times."""
        return DerivationStates(
            self.automaton,
            [self.stacks[row] for row in rows],
            [self.slacks[row] for row in rows],
            [self.sources[row] for row in rows],
        )

    def repeat(self, times: int) -> "DerivationStates":
        """Each row `times` times, one beside the other: N * times."""
        return self.select([row for row in range(len(self)) for _ in range(times)])

    @classmethod
    def joined(cls, states: Sequence["DerivationStates"]) -> "DerivationStates":
        """Several of the same automaton as one, one behind the other."""
        return cls(
            states[0].automaton,
            [stack for each in states for stack in each.stacks],
            [slack for each in states for slack in each.slacks],
            [source for each in states for source in each.sources],
        )
