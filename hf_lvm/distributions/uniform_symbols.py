"""Sequences of symbols that are all equally probable: first a length is drawn, then each symbol uniformly."""

import math
from collections.abc import Sequence

import torch
from torch.distributions import Distribution, constraints

from hf_lvm.distributions.noise import Generators, noise_of_positions, uniform_noise


class UniformSymbols(Distribution):
    """p(c) = p(|c|) V^-|c| over sequences of min_length to max_length of V symbols, with p(l) proportional to exp(-rate l).

    A rate of 0 makes all lengths equally probable, and -log V all sequences. Values are as those of
    `hf_lvm.generation.symbol_sequences`: symbols, then EOS, then padding that is not looked at, T = max_length + 1. It is
    normalised over exactly the values that such a distribution with the same limits has.

    Args:
        num_symbols: V, the ids 0 to V - 1.
        eos_token_id: the id that ends a sequence, V or more.
        max_length, min_length: the most and the fewest symbols, EOS not counted.
        length_rate: nats that each further symbol makes a length less probable.
        vocabulary: how many ids there are, the special ones included; those that are neither symbols nor EOS have
            probability 0. None: the ids up to EOS.
        pad_token_id: what stands behind EOS in samples; EOS itself if it is None.

    Raises:
        ValueError: no symbol, lengths or a rate that leave no distribution, EOS among the symbols or outside the vocabulary.
    """

    arg_constraints = {}
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(
        self,
        num_symbols: int,
        eos_token_id: int,
        max_length: int,
        *,
        min_length: int = 0,
        length_rate: float = 0.0,
        vocabulary: int | None = None,
        pad_token_id: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        if num_symbols < 1 or not 0 <= min_length <= max_length or max_length < 1 or not math.isfinite(length_rate):
            raise ValueError(
                f"num_symbols {num_symbols}, min_length {min_length}, max_length {max_length} and length_rate {length_rate}: "
                "at least one symbol, 0 <= min_length <= max_length, a max_length of at least 1 and a finite rate are needed."
            )
        if eos_token_id < num_symbols:
            raise ValueError(f"EOS is {eos_token_id}, and the symbols are 0 to {num_symbols - 1}: it stands behind them.")
        if vocabulary is not None and vocabulary <= eos_token_id:
            raise ValueError(f"The vocabulary of {vocabulary} ids has no EOS, which is {eos_token_id}: make it larger.")
        self.num_symbols, self.eos_token_id = num_symbols, eos_token_id
        self.min_length, self.max_length = min_length, max_length
        self.pad_token_id = eos_token_id if pad_token_id is None else pad_token_id
        lengths = torch.arange(max_length + 1, dtype=torch.float64)
        scores = (-length_rate * lengths).masked_fill(lengths < min_length, -torch.inf)
        self.length_log_probs = scores.log_softmax(-1).to(device, dtype)
        # log p(the end is here | it has not come before), and log p(it is not here | likewise).
        mass = scores.log_softmax(-1)
        from_here = mass.flip(0).logcumsumexp(0).flip(0)
        ends, goes_on = mass - from_here, from_here[1:] - from_here[:-1]
        width = eos_token_id + 1 if vocabulary is None else vocabulary
        steps = torch.full((max_length, width), -torch.inf, dtype=torch.float64)
        steps[:, :num_symbols] = (goes_on - math.log(num_symbols)).unsqueeze(1)
        steps[:, eos_token_id] = ends[:-1]
        self._steps = steps.to(device, dtype)
        super().__init__(torch.Size(), torch.Size((max_length + 1,)), validate_args=False)

    def step_log_probs(self) -> torch.Tensor:
        """log p of every id at each step, given that the sequence has come so far: (max_length, vocabulary), nats."""
        return self._steps

    def symbol_log_probs(self, value: torch.Tensor) -> torch.Tensor:
        """log p of each symbol of sequences (..., L), L up to T, given those before it: (..., L); 0 behind EOS.

        -inf throughout where a sequence has no EOS.
        """
        length = value.shape[-1]
        ended = (value == self.eos_token_id).cumsum(-1)
        inside = (ended == 0) | ((ended == 1) & (value == self.eos_token_id))
        symbols = value.masked_fill(~inside, self.eos_token_id)[..., : self.max_length]
        chosen = self._steps[torch.arange(symbols.shape[-1], device=value.device), symbols]
        chosen = chosen.masked_fill(~inside[..., : self.max_length], 0.0)
        # The EOS behind as many symbols as there may be is certain.
        chosen = torch.nn.functional.pad(chosen, (0, length - chosen.shape[-1]))
        return chosen.masked_fill((ended[..., -1:] == 0), -torch.inf)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """log p of sequences (..., L), nats: (...)."""
        return self.symbol_log_probs(value).sum(-1)

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Samples (*sample_shape, T).

        Args:
            generator: None or one generator.
        """
        count, device = math.prod(sample_shape), self._steps.device
        drawn = uniform_noise((count,), 1, (), generator=generator, device=device, dtype=torch.float64)
        lengths = torch.searchsorted(self.length_log_probs.double().exp().cumsum(0), drawn, right=True).clamp(
            self.min_length, self.max_length
        )
        noise = noise_of_positions((count,), 1, self.max_length, generator, device).squeeze(1)
        symbols = (noise * self.num_symbols).long().clamp(max=self.num_symbols - 1)
        symbols = torch.nn.functional.pad(symbols, (0, 1))
        places = torch.arange(self.max_length + 1, device=device)
        behind = torch.where(places == lengths, self.eos_token_id, self.pad_token_id)
        return torch.where(places < lengths, symbols, behind).view(*sample_shape, -1)
