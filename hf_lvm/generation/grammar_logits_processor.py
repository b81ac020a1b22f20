"""The grammar in `generate` of transformers: a `LogitsProcessor`."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from hf_lvm.generation.grammar_decoder import masked
from hf_lvm.grammars.transition_system import Automaton, DerivationStates, Source


class GrammarLogitsProcessor(LogitsProcessor):
    """Leaves only actions that the grammar and the remaining length allow, and makes log-probabilities of them.

        processors = LogitsProcessorList([GrammarLogitsProcessor(automaton, limit=110)])
        model.generate(..., logits_processor=processors, max_new_tokens=111, do_sample=True, top_k=0)

    Allow one token more than the limit, for END, and switch off what truncates (`top_k=0`), and each sample is one of the
    distribution that `SymbolSequences` over a `GrammarDecoder` scores; the score of a beam without length penalty is its log
    q.

    Beams are reordered behind a processor's back. So a row is known by what it has written: the states after each row of the
    last call are kept, and a row that goes on from one of them takes one step. Others, such as prompts, are read from the
    start.

    Args:
        automaton: of the grammar; its actions are the first tokens of the model.
        limit: the most steps of a tree, END not counted.
        prompt_length: how many tokens stand before the first action: the start token.
        sources: those of the B rows of the batch, whose words may be copied; beams and samples of a row share it. None where
            nothing is copied.

    Raises:
        ValueError: when it is called, scores of fewer tokens than actions, or a number of rows that the sources do not divide.
    """

    def __init__(self, automaton: Automaton, limit: int, prompt_length: int = 1, sources: Sequence[Source] | None = None):
        self.automaton, self.limit, self.prompt_length = automaton, limit, prompt_length
        self.sources = None if sources is None else list(sources)
        # (number of the source, actions as bytes) -> row of the states of the last call.
        self._rows: dict[tuple[int, bytes], int] = {}
        self._states: DerivationStates | None = None
        automaton.begin(limit, 0)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Log-probabilities (N, V), -inf where a token is not legal, from scores (N, V) and what has been written (N, L)."""
        size, count = len(self.automaton.vocabulary), len(input_ids)
        if scores.shape[-1] < size:
            raise ValueError(f"The model scores {scores.shape[-1]} tokens, and the grammar has {size} actions.")
        if self.sources is not None and (not self.sources or count % len(self.sources)):
            raise ValueError(f"{count} rows cannot share {len(self.sources)} sources: give one to each row of the batch.")
        each = count // len(self.sources) if self.sources is not None else count
        actions = input_ids[:, self.prompt_length :].to("cpu", torch.int64).contiguous().numpy()
        keys = [(row // each, actions[row].tobytes()) for row in range(count)]
        self._states = states = self._after(keys, actions)
        self._rows = {key: row for row, key in enumerate(keys)}
        # Half precision would round probabilities so that they no longer sum to one.
        logits = masked(scores[:, :size].to(torch.promote_types(scores.dtype, torch.float32)), states)
        log_probs = logits.log_softmax(-1)
        if scores.shape[-1] == size:
            return log_probs
        rest = log_probs.new_full((count, scores.shape[-1] - size), -torch.inf)
        return torch.cat([log_probs, rest], dim=-1)

    def _after(self, keys: list[tuple[int, bytes]], actions) -> DerivationStates:
        sources = None if self.sources is None else [self.sources[source] for source, _ in keys]
        if actions.shape[1]:
            width = actions.itemsize
            rows = [self._rows.get((source, written[:-width])) for source, written in keys]
            if None not in rows:
                return self._states.select(rows).advance(actions[:, -1].tolist())
        states = self.automaton.begin(self.limit, len(keys), sources)
        for step in actions.T.tolist():
            states = states.advance(step)
        return states
