"""A decoder that writes the actions of a grammar, and nothing else: a `SymbolDecoder` over another one.

Its logits are those of the decoder inside with -inf wherever an action is not legal, so the soft-max over them is the
distribution renormalised over legal actions. `SymbolSequences` over it is then a distribution over trees: its sampler, its
beams and its `log_prob` all see the same logits, every sample is the derivation of a whole tree within the limit, and the
probabilities of all trees within the limit sum to one.

    decoder = GrammarDecoder(CachedDecoder(model, start, ...), automaton, limit=110, sources=sources)
    q = SymbolSequences(decoder, eos_token_id=END, max_length=110, pad_token_id=PAD)
    actions = q.sample((4,))
    trees = [tree_of(automaton.vocabulary, row) for row in actions[0].tolist()]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hf_lvm.generation.cached_decoder import SymbolDecoder, SymbolState
from hf_lvm.grammars.transition_system import Automaton, DerivationStates, Source


@dataclass(frozen=True)
class GrammarState:
    """N derivations on their way.

    Attributes:
        inner: the state of the decoder inside.
        derivations: N, where each stands in the grammar.
        logits: (N, A), of the next action, -inf where it is not legal.
    """

    inner: SymbolState
    derivations: DerivationStates
    logits: torch.Tensor

    def select(self, rows: torch.Tensor) -> "GrammarState":
        """These rows (R,), in this order; a row may come several times."""
        return GrammarState(self.inner.select(rows), self.derivations.select(rows.tolist()), self.logits[rows])

    def repeat(self, times: int) -> "GrammarState":
        """Each row `times` times, one beside the other: (N * times)."""
        if times == 1:
            return self
        return GrammarState(
            self.inner.repeat(times), self.derivations.repeat(times), self.logits.repeat_interleave(times, dim=0)
        )


class GrammarDecoder:
    """A decoder under a grammar: a `SymbolDecoder`.

    Args:
        decoder: gives the logits of all A actions of the vocabulary, those that copy at the end. One whose `reads_fields` is
            true is told with every action which place the next one fills (`DerivationStates.fields`).
        automaton: of the grammar.
        limit: the most steps of a tree, END not counted: the `max_length` of the `SymbolSequences` over this.
        sources: B, whose words may be copied; None where nothing is copied.

    Raises:
        ValueError: a limit that no tree keeps, another number of sources than of rows, or logits of another vocabulary.
    """

    def __init__(self, decoder: SymbolDecoder, automaton: Automaton, limit: int, sources: Sequence[Source] | None = None):
        self.decoder, self.automaton, self.limit = decoder, automaton, limit
        self.batch_size, self.device = decoder.batch_size, decoder.device
        self._derivations = automaton.begin(limit, self.batch_size, sources)

    def begin(self) -> GrammarState:
        """The state before the first action, of B rows."""
        inner = self.decoder.begin()
        size = len(self.automaton.vocabulary)
        if inner.logits.shape[-1] != size:
            raise ValueError(
                f"The decoder has {inner.logits.shape[-1]} logits and the grammar {size} actions: give the decoder's config a "
                f"vocabulary of {size}."
            )
        return GrammarState(inner, self._derivations, masked(inner.logits, self._derivations))

    def advance(self, state: GrammarState, symbols: torch.LongTensor) -> tuple[torch.Tensor, GrammarState]:
        """L more actions (N, L) of each row: the logits after each of them (N, L, A), and the state after all of them.

        After an action that is not legal only END is: what `log_prob` says of the whole is -inf already.
        """
        derivations, steps = state.derivations, []
        for actions in symbols.T.tolist():
            derivations = derivations.advance(actions)
            steps.append(derivations)
        joined = derivations if len(steps) == 1 else DerivationStates.joined(steps)
        if getattr(self.decoder, "reads_fields", False):
            fields = joined.fields(self.device).view(len(steps), -1).T
            logits, inner = self.decoder.advance(state.inner, symbols, fields)
        else:
            logits, inner = self.decoder.advance(state.inner, symbols)
        legal = joined.legal(logits.device).unflatten(0, (len(steps), -1)).transpose(0, 1)
        logits = torch.where(legal, logits, -torch.inf)
        return logits, GrammarState(inner, derivations, logits[:, -1])

    def advance_points(self, state: GrammarState, points: torch.Tensor) -> tuple[torch.Tensor, GrammarState]:
        """Refused: between two actions a grammar says nothing.

        Raises:
            ValueError: always.
        """
        raise ValueError("A point between actions is no step of a derivation: sample actions, and use a score function.")


def masked(logits: torch.Tensor, derivations: DerivationStates) -> torch.Tensor:
    """Logits (N, A) with -inf in place of those of actions that are not legal."""
    return torch.where(derivations.legal(logits.device), logits, -torch.inf)
