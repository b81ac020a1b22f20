"""The meanings that a model knows: its grammar, what they may copy of a sentence, and how they are spelled without copies.

q(z|x) copies words of x; p(x|z) and p(z) do not see x and are of the tree itself, spelled out. That p(z) is above 0 wherever q
is, so that the KL divergence is finite and at least 0, is seen to here: a word is copied only where it can also be spelled, in
so few steps that the spelled tree is within the limit of p(z). With A steps at most in q and S in p, a word takes S // A of
them at most, so that A steps take no more than S.
"""

from collections.abc import Sequence
from typing import Any

import torch

from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.transition_system import END, ActionVocabulary, Automaton, Source, actions_of, copied, spelled, tree_of

IGNORED = -100
# Sources that are remembered, so that what the automaton has found out about them is.
MOST_SOURCES = 50_000


class MeaningGrammar:
    """The automata of q and of p. Shared by copies of a model: all that it holds is a cache.

    Args:
        saved: `ActionVocabulary.to_dict()`.
        max_actions: A, the most steps of a tree of q.
        max_spelled: S, the most steps of a spelled tree.

    Attributes:
        vocabulary: of q, which may copy.
        automaton: of q.
        spelling: the automaton of p(z), without copies; the same where q copies nothing.
        size: the number of actions that do not copy.

    Raises:
        ValueError: limits that admit no tree, or a spelled limit below that of q.
    """

    def __init__(self, saved: dict[str, Any], max_actions: int, max_spelled: int):
        self.saved, self.max_actions, self.max_spelled = saved, max_actions, max_spelled
        if max_spelled < max_actions:
            raise ValueError(
                f"Spelled trees have {max_spelled} steps at most, as the prior and the reader have no more positions, and "
                f"those of q up to {max_actions}: lower max_actions, or choose parts with more positions."
            )
        # `from_pretrained` builds models on the meta device, where tables would have no numbers.
        with torch.device("cpu"):
            self.vocabulary = ActionVocabulary.from_dict(saved)
            self.automaton = self.spelling = Automaton(self.vocabulary)
            if self.vocabulary.copy_slots:
                vocabulary = self.vocabulary
                self.spelling = Automaton(ActionVocabulary(vocabulary.grammar, vocabulary.lexicons))
        self.size = self.vocabulary.first_copy
        if self.automaton.shortest > max_actions:
            raise ValueError(
                f"max_actions is {max_actions}, and the smallest tree of the grammar takes {self.automaton.shortest} steps: "
                "raise it."
            )
        self._sources: dict[tuple[str, ...], Source] = {}

    def __deepcopy__(self, memo: dict) -> "MeaningGrammar":
        return self

    def __reduce__(self) -> tuple:
        return MeaningGrammar, (self.saved, self.max_actions, self.max_spelled)

    @property
    def copies(self) -> bool:
        """Whether q copies words."""
        return self.vocabulary.copy_slots > 0

    def source(self, words: Sequence[str]) -> Source:
        """What may be copied of a sentence."""
        key = tuple(words)
        if key not in self._sources:
            if len(self._sources) >= MOST_SOURCES:
                self._sources.clear()
            self._sources[key] = Source(self.vocabulary, key, spelled_within=self.max_spelled // self.max_actions)
        return self._sources[key]

    def spell(self, actions: Sequence[int], source: Source | None) -> list[int]:
        """Actions of q, to their end where they have one, without copies and without the end."""
        actions = list(actions)
        actions = actions[: actions.index(END)] if END in actions else actions
        return spelled(self.automaton, actions, source)

    def tree(self, actions: Sequence[int], source: Source | None) -> Node:
        """The tree that actions of q build."""
        return tree_of(self.vocabulary, actions, () if source is None else source.words)

    def spelled_ids(self, values: torch.Tensor, sources: Sequence[Source] | None) -> torch.Tensor:
        """Actions of q (R, B, T) without copies: (R, B, L), END last and -100 behind it.

        Args:
            sources: B.
        """
        rows = [
            [*self.spell(actions, None if sources is None else sources[row]), END]
            for each in values.tolist()
            for row, actions in enumerate(each)
        ]
        return padded(rows, values.device).view(*values.shape[:2], -1)

    def ids_of_trees(self, trees: Sequence[Node], name: str = "meaning") -> torch.Tensor:
        """Trees spelled out: (N, L), END last and -100 behind it.

        Raises:
            ValueError: a tree that the grammar does not derive or that has too many steps; the row is named.
        """
        rows = []
        for row, tree in enumerate(trees):
            actions = actions_of(self.spelling.vocabulary, tree, name=f"{name} {row}")
            self._check_spelled(actions, f"{name} {row}")
            rows.append([*actions, END])
        return padded(rows)

    def copied_ids(self, meaning_ids: torch.Tensor, sources: Sequence[Source] | None, known: torch.Tensor) -> torch.Tensor:
        """Spelled trees (B, L) as the actions of q that build them: (B, L'), END last and padding behind it.

        Args:
            sources: B.
            known: (B,) bool; other rows are END alone.

        Raises:
            ValueError: actions that build no tree, or one beyond a limit; the row is named.
        """
        rows = []
        for row, (actions, is_known) in enumerate(zip(meaning_ids.tolist(), known.tolist(), strict=True)):
            own: list[int] = []
            if is_known:
                name = f"meaning_ids of row {row}"
                if END not in actions:
                    raise ValueError(f"The {name} have no END ({END}): append it.")
                own = actions[: actions.index(END)]
                self._check_spelled(own, name)
                own = copied(self.automaton, own, None if sources is None else sources[row], self.max_actions, name)
            rows.append([*own, END])
        return padded(rows, meaning_ids.device, END)

    def _check_spelled(self, actions: Sequence[int], name: str) -> None:
        if len(actions) > self.max_spelled:
            raise ValueError(
                f"{name} takes {len(actions)} steps without copies, and the limit is {self.max_spelled} "
                "(max_spelled_actions, or the positions of the prior and the reader): leave the tree out, or raise it."
            )


def padded(rows: Sequence[Sequence[int]], device: torch.device | None = None, value: int = IGNORED) -> torch.Tensor:
    """Rows of numbers filled up on the right: (N, L)."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], device=device)
