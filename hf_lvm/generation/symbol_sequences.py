"""Distributions over sequences of symbols that an autoregressive decoder writes, as torch.distributions has them.

`generate` of transformers samples from another distribution than the one its model scores: by default it keeps the 50 best
symbols only, and some families force a token at the end. Here the sampler and `log_prob` are two ways through one definition.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch.distributions import Distribution, constraints
from torch.nn import functional

from hf_lvm.distributions.inversion import drawn_by_inversion
from hf_lvm.distributions.lengths import may_look
from hf_lvm.distributions.noise import Generators, noise_of_positions
from hf_lvm.generation.cached_decoder import SymbolDecoder, SymbolState

# Finished rows are dropped once they are this share of all rows, since dropping them copies the cache.
FINISHED_SHARE = 0.25


class ScoredSequences(NamedTuple):
    """Sequences with their probability.

    Attributes:
        sequences: (..., B, T), as `SymbolSequences` has them.
        log_prob: (..., B), log q in nats as it was summed step by step, without a gradient.
    """

    sequences: torch.Tensor
    log_prob: torch.Tensor


class SymbolSequences(Distribution):
    """q(c) = product over t of q(c_t | c_<t), the end included: batch shape (B,), event shape (T,), symbols as integers.

    A value is a sequence of up to `max_length` symbols, then EOS, then padding, which is not looked at: T = max_length + 1.
    EOS is in log q exactly once. A sequence that has reached `max_length` symbols ends for certain, so that its EOS is free
    and the probabilities of all values sum to one. All rules below are part of q, for the sampler and `log_prob` alike.

    Samples come from one pass with a cache, the prompt and the source read once for all samples of a row; `log_prob` is one
    pass over whole sequences, with a gradient. They agree to rounding if the decoder is deterministic. Both use it in the mode
    it is in, and in training mode each draws dropout masks of its own: a sample comes from q under one mask and is scored
    under another, so that a score-function gradient is slightly biased. Where the two must agree, put the decoder in
    evaluation mode or its dropout to 0.

    Args:
        decoder: what gives the logits, with its B rows of prompts and sources: a `CachedDecoder`.
        eos_token_id: the symbol that ends a sequence.
        max_length: the most symbols of a sequence, EOS not counted.
        min_length: the fewest symbols; before that EOS is left out, and the other symbols share its probability.
        pad_token_id: what stands behind EOS; EOS itself if it is None.
        forbidden: ids of symbols that cannot be, or a mask (V,) that is True there; the others share their probability.
        temperature: the logits of q are those of the decoder divided by it.

    Raises:
        ValueError: lengths, a temperature or forbidden symbols that leave no distribution.
    """

    arg_constraints = {}
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(
        self,
        decoder: SymbolDecoder,
        eos_token_id: int,
        max_length: int,
        *,
        min_length: int = 0,
        pad_token_id: int | None = None,
        forbidden: Iterable[int] | torch.Tensor = (),
        temperature: float = 1.0,
        validate_args: bool | None = False,
    ):
        if not 0 <= min_length <= max_length or max_length < 1:
            raise ValueError(
                f"min_length {min_length} and max_length {max_length} leave no length: 0 <= min_length <= max_length is "
                "needed, and a max_length of at least 1."
            )
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature is {temperature}: it must be positive, and 1 is that of the decoder itself.")
        if isinstance(forbidden, torch.Tensor) and forbidden.dtype == torch.bool:
            forbidden = forbidden.nonzero().flatten()
        self.forbidden = tuple(sorted({int(symbol) for symbol in forbidden}))
        if eos_token_id in self.forbidden:
            raise ValueError(
                f"forbidden holds {eos_token_id}, which is EOS: every sequence ends with it. For longer ones set min_length."
            )
        self.decoder, self.eos_token_id, self.temperature = decoder, eos_token_id, temperature
        self.max_length, self.min_length = max_length, min_length
        self.pad_token_id = eos_token_id if pad_token_id is None else pad_token_id
        super().__init__(torch.Size((decoder.batch_size,)), torch.Size((max_length + 1,)), validate_args=validate_args)

    # ---- samples -----------------------------------------------------------------------------------------------------

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Samples (*sample_shape, B, T).

        Args:
            generator: None, one generator, or a list of B generators, one a row, which makes a row's samples independent of
                the others and of padding.
        """
        return self.draw(sample_shape, generator)[0]

    @torch.no_grad()
    def draw(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> ScoredSequences:
        """Samples (*sample_shape, B, T), and log q as the sampler itself computes it (*sample_shape, B), without gradient."""
        return self._drawn(self.decoder.begin(), sample_shape, generator)

    def sample_and_log_prob(
        self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples (*sample_shape, B, T) and their `log_prob` (*sample_shape, B), with its gradient.

        The prompt and the source are read once for both.
        """
        begin = self.decoder.begin()
        with torch.no_grad():
            sequences = self._drawn(begin, sample_shape, generator).sequences
        return sequences, self._scored(begin, sequences)

    @property
    @torch.no_grad()
    def mode(self) -> torch.Tensor:
        """The most probable symbol of each step, (B, T): greedy search, which need not find the most probable sequence."""
        return self._walk(self.decoder.begin(), lambda log_probs, rows, step: log_probs.argmax(-1))[0]

    def _drawn(self, begin: SymbolState, sample_shape: Sequence[int], generator: Generators) -> ScoredSequences:
        count, batch = math.prod(sample_shape), self.batch_shape[0]
        noise = noise_of_positions((count,), batch, self.max_length, generator, self.decoder.device)
        noise = noise.transpose(0, 1).flatten(0, 1)  # (B * count, max_length)
        sequences, log_prob = self._walk(
            begin.repeat(count), lambda log_probs, rows, step: drawn_by_inversion(log_probs, noise[rows, step])
        )
        sequences = sequences.unflatten(0, (batch, count)).transpose(0, 1).reshape(*sample_shape, batch, -1)
        return ScoredSequences(sequences, log_prob.view(batch, count).T.reshape(*sample_shape, batch))

    def _walk(
        self, state: SymbolState, choose: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """N sequences symbol by symbol: (N, T), and their log q (N,).

        Args:
            choose: the next symbols (R,) from their log-probabilities (R, V), the rows (R,) that these belong to and the step.
        """
        log_probs = self.step_log_probs(state.logits.unsqueeze(1), 0).squeeze(1)
        count, device = len(log_probs), log_probs.device
        sequences = torch.full((count, self.max_length + 1), self.pad_token_id, device=device)
        log_prob, rows = log_probs.new_zeros(count), torch.arange(count, device=device)
        ended = torch.zeros(count, dtype=torch.bool, device=device)
        for step in range(self.max_length):
            if step:
                log_probs = self.step_log_probs(state.logits.unsqueeze(1), step).squeeze(1)
            symbols = choose(log_probs, rows, step)
            gained = log_probs.gather(1, symbols.unsqueeze(1)).squeeze(1)
            log_prob[rows] += gained.masked_fill(ended, 0.0)
            sequences[rows, step] = symbols.masked_fill(ended, self.pad_token_id)
            ended = ended | (symbols == self.eos_token_id)
            if step + 1 == self.max_length:
                break
            going_on = (~ended).nonzero().squeeze(1)
            if not len(going_on):
                break
            if len(going_on) <= (1 - FINISHED_SHARE) * len(rows):
                rows, symbols, ended, state = rows[going_on], symbols[going_on], ended[going_on], state.select(going_on)
            _, state = self.decoder.advance(state, symbols.unsqueeze(1))
        sequences[rows[~ended], self.max_length] = self.eos_token_id
        return sequences, log_prob

    # ---- probabilities -----------------------------------------------------------------------------------------------

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """log q(value) in nats of sequences (..., B, L), L up to T: (..., B). With a gradient, in one pass.

        Raises:
            ValueError: another shape; on a CPU or with `validate_args` also a sequence without EOS, or with ids before it that
                are none.
        """
        self._check_shape(value)
        return self._scored(self.decoder.begin(), value)

    def symbol_log_probs(self, value: torch.Tensor) -> torch.Tensor:
        """log q of each symbol of sequences (..., B, L) given those before it: (..., B, L), nats, with a gradient.

        0 behind EOS, and at the EOS behind `max_length` symbols, which is free: the sum over L is `log_prob`. All -inf in a
        sequence that is none.

        Raises:
            ValueError: as `log_prob`.
        """
        self._check_shape(value)
        return self._scored_symbols(self.decoder.begin(), value)

    def _check_shape(self, value: torch.Tensor) -> None:
        if value.shape[-2:-1] != self.batch_shape or value.shape[-1] > self.max_length + 1:
            raise ValueError(
                f"The sequences have shape {tuple(value.shape)}: (..., {self.batch_shape[0]}, L) is needed, with L of up to "
                f"{self.max_length + 1}, which is max_length and EOS."
            )

    def _scored(self, begin: SymbolState, value: torch.Tensor) -> torch.Tensor:
        return self._scored_symbols(begin, value).sum(-1)

    def _scored_symbols(self, begin: SymbolState, value: torch.Tensor) -> torch.Tensor:
        batch, length = value.shape[-2:]
        sequences = value.reshape(-1, batch, length).transpose(0, 1).flatten(0, 1)  # (B * count, L), as `repeat` orders them
        lengths, look = self.lengths(sequences), may_look(value, self._validate_args)
        inside = torch.arange(length, device=value.device) <= lengths.unsqueeze(1)
        symbols = sequences.masked_fill(~inside, self.eos_token_id)
        if look:
            if (lengths == length).any():
                raise ValueError(
                    "A sequence has no EOS, and so it is no value: append it, also to sequences that were cut at max_length."
                )
            vocabulary = begin.logits.shape[-1]
            if ((symbols < 0) | (symbols >= vocabulary)).any():
                raise ValueError(
                    f"A sequence has ids before its EOS that are not from 0 to {vocabulary - 1}: padding such as -100 can "
                    "only stand behind it."
                )
        # Where values were not checked, sequences without EOS or with negative ids are impossible.
        wrong = (lengths == length) | (symbols < 0).any(1)
        # The symbol behind max_length others is a free EOS, so nothing is computed for it.
        scored = min(int(lengths.max()) + 1 if look and len(lengths) else length, self.max_length)
        state = begin.repeat(len(sequences) // batch)
        logits = state.logits.unsqueeze(1)
        if scored > 1:
            following, _ = self.decoder.advance(state, symbols[:, : scored - 1].clamp(min=0))
            logits = torch.cat([logits, following], dim=1)
        log_probs = self.step_log_probs(logits, 0)
        chosen = log_probs.gather(-1, symbols[:, :scored].clamp(min=0).unsqueeze(-1)).squeeze(-1)
        chosen = chosen.masked_fill(~inside[:, :scored], 0.0).masked_fill(wrong.unsqueeze(1), -torch.inf)
        chosen = functional.pad(chosen, (0, length - scored))
        return chosen.view(batch, -1, length).transpose(0, 1).reshape(value.shape)

    def lengths(self, sequences: torch.Tensor) -> torch.Tensor:
        """The number of symbols before EOS of sequences (..., L): (...); L where there is none."""
        return (sequences == self.eos_token_id).cumsum(-1).eq(0).sum(-1)

    def step_log_probs(self, logits: torch.Tensor, first: int) -> torch.Tensor:
        """log q of every symbol at steps `first` and on, all before `max_length`, (N, L, V), from logits (N, L, V).

        In nats, in float32 or wider, by all rules of q: the lengths, the forbidden symbols and the temperature.

        Raises:
            ValueError: EOS or a forbidden symbol that the decoder does not have, or no symbol left where some are asked for.
        """
        # Rounded to the 8 bits of bfloat16, probabilities would not sum to one.
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature
        vocabulary = scores.shape[-1]
        if max(self.eos_token_id, *self.forbidden, 0) >= vocabulary:
            raise ValueError(
                f"EOS {self.eos_token_id} or a forbidden symbol, of up to {max(self.forbidden, default=0)}, is outside the "
                f"decoder's vocabulary of {vocabulary}."
            )
        if self.min_length and len(self.forbidden) >= vocabulary - 1:
            raise ValueError("Every symbol but EOS is forbidden, and min_length asks for some: allow one, or set it to 0.")
        if self.forbidden or first < self.min_length:
            excluded = torch.zeros(logits.shape[1], vocabulary, dtype=torch.bool, device=logits.device)
            excluded[:, list(self.forbidden)] = True
            excluded[: max(self.min_length - first, 0), self.eos_token_id] = True
            scores = scores.masked_fill(excluded, -torch.inf)
        return scores.log_softmax(-1)

    # ---- the best ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def beam(self, num_sequences: int, num_beams: int | None = None) -> ScoredSequences:
        """The most probable sequences that beam search finds, best first by log q itself: (N, B, T) with log q (N, B).

        Args:
            num_sequences: N.
            num_beams: how many beginnings and sequences each row keeps at every step; N if it is None. With as many as there
                are beginnings, the search is exact.

        Returns:
            Where a row has fewer possible sequences than N, the others are empty and have -inf in the place of log q.

        Raises:
            ValueError: fewer than one sequence, or fewer beams than sequences.
        """
        num_beams = num_sequences if num_beams is None else num_beams
        if not 1 <= num_sequences <= num_beams:
            raise ValueError(f"num_sequences {num_sequences} must be at least 1 and at most num_beams, which is {num_beams}.")
        state, batch = self.decoder.begin(), self.batch_shape[0]
        device = state.logits.device
        first_rows = torch.arange(batch, device=device).unsqueeze(1)
        sequences = torch.full((batch, 1, self.max_length + 1), self.pad_token_id, device=device)
        ended = torch.zeros(batch, 1, dtype=torch.bool, device=device)
        total = None
        for step in range(self.max_length):
            log_probs = self.step_log_probs(state.logits.unsqueeze(1), step).view(batch, ended.shape[1], -1)
            vocabulary = log_probs.shape[-1]
            # A sequence that has ended goes on in one way, at no cost.
            stays = torch.full_like(log_probs[0, 0], -torch.inf)
            stays[self.eos_token_id] = 0.0
            log_probs = torch.where(ended.unsqueeze(-1), stays, log_probs)
            candidates = (log_probs if total is None else total.unsqueeze(-1) + log_probs).flatten(1)
            total, chosen = candidates.topk(min(num_beams, candidates.shape[1]), dim=1)
            parents, symbols = chosen // vocabulary, chosen % vocabulary
            sequences, had_ended = sequences[first_rows, parents], ended.gather(1, parents)
            sequences[:, :, step] = symbols.masked_fill(had_ended, self.pad_token_id)
            rows = (first_rows * ended.shape[1] + parents).flatten()
            # An impossible sequence counts as ended: nothing that follows makes it possible.
            ended = had_ended | (symbols == self.eos_token_id) | (total == -torch.inf)
            if step + 1 == self.max_length or bool(ended.all()):
                break
            _, state = self.decoder.advance(state.select(rows), symbols.view(-1, 1))
        sequences[:, :, self.max_length].masked_fill_(~ended, self.eos_token_id)
        missing = max(num_sequences - total.shape[1], 0)
        total = functional.pad(total, (0, missing), value=-torch.inf)[:, :num_sequences]
        sequences = functional.pad(sequences, (0, 0, 0, missing))[:, :num_sequences]
        empty = torch.full_like(sequences[0, 0], self.pad_token_id)
        empty[0] = self.eos_token_id
        sequences = torch.where((total == -torch.inf).unsqueeze(-1), empty, sequences)
        return ScoredSequences(sequences.transpose(0, 1), total.T)
