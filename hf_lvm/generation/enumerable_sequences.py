"""Distributions over sequences of symbols that are few enough to be written down."""

import itertools
from typing import Any

import torch

from hf_lvm.generation.cached_decoder import SymbolDecoder
from hf_lvm.generation.symbol_sequences import SymbolSequences


class EnumerableSequences(SymbolSequences):
    """`SymbolSequences` of a known number of symbols, so that all values can be counted and listed.

    Args:
        decoder: as of `SymbolSequences`.
        num_symbols: V, the symbols that are written: the ids 0 to V - 1. All others but EOS are forbidden.
        vocabulary: of the decoder, the special ids included.
        eos_token_id, max_length, options: as of `SymbolSequences`.

    Raises:
        ValueError: as `SymbolSequences`, or EOS among the symbols.
    """

    def __init__(
        self,
        decoder: SymbolDecoder,
        num_symbols: int,
        vocabulary: int,
        eos_token_id: int,
        max_length: int,
        **options: Any,
    ):
        if eos_token_id < num_symbols:
            raise ValueError(f"EOS is {eos_token_id}, and the symbols are 0 to {num_symbols - 1}: it stands behind them.")
        forbidden = [symbol for symbol in range(num_symbols, vocabulary) if symbol != eos_token_id]
        super().__init__(decoder, eos_token_id, max_length, forbidden=forbidden, **options)
        self.num_symbols = num_symbols

    @property
    def support_size(self) -> int:
        """The number of values: the sum of V^l over the lengths l that there are."""
        return number_of_sequences(self.num_symbols, self.min_length, self.max_length)

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """All values, the shortest first: (S, B, T), or (S, 1, T) without `expand`. One tensor, that is not copied by row."""
        values = every_sequence(self.num_symbols, self.min_length, self.max_length, self.eos_token_id, self.pad_token_id).to(
            self.decoder.device
        )
        return values.unsqueeze(1).expand(-1, self.batch_shape[0] if expand else 1, -1)


def number_of_sequences(num_symbols: int, min_length: int, max_length: int) -> int:
    """How many sequences of `min_length` to `max_length` symbols there are."""
    return sum(num_symbols**length for length in range(min_length, max_length + 1))


def every_sequence(num_symbols: int, min_length: int, max_length: int, eos_token_id: int, pad_token_id: int) -> torch.Tensor:
    """These sequences, the shortest first, with EOS and padding behind it: (S, max_length + 1)."""
    rows = []
    for length in range(min_length, max_length + 1):
        end = [eos_token_id, *[pad_token_id] * (max_length - length)]
        rows += [[*symbols, *end] for symbols in itertools.product(range(num_symbols), repeat=length)]
    return torch.tensor(rows)
