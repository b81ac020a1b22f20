"""The cache of a decoder whose memory has a fixed size: the state of an LSTM, the last inputs of a convolution.

It stands where transformers expects a key/value cache, so that greedy search, beams and sampling carry such a state from step
to step as they carry keys and values.
"""

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, EncoderDecoderCache


class StateLayer(CacheLayerMixin):
    """The states of a whole decoder after some tokens: tensors with the batch first, none before the first token."""

    def __init__(self):
        super().__init__()
        self.states: tuple[torch.Tensor, ...] = ()
        self.tokens_seen = 0

    def get_seq_length(self) -> int:
        """How many tokens have been read."""
        return self.tokens_seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of a mask over all tokens; no decoder with a state reads one."""
        return self.tokens_seen + query_length, 0

    def get_max_length(self) -> int:
        """-1: a state goes on for ever."""
        return -1

    # The name that transformers 5.17 has for the same question.
    get_max_cache_shape = get_max_length

    def lazy_initialization(self, *args, **kwargs) -> None:
        """There are no keys and values to make room for."""
        raise TypeError("This cache holds states, not keys and values: use it with the decoder that made it.")

    def update(self, *args, **kwargs):
        """There are no keys and values to add to."""
        raise TypeError("This cache holds states, not keys and values: use it with the decoder that made it.")

    def reset(self) -> None:
        """Forget everything."""
        self.states, self.tokens_seen = (), 0

    def offload(self) -> None:
        """Nothing to win: a state is as small as one token."""

    prefetch = offload

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each row go on from the state of the row that its beam comes from."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the states of some rows."""
        self.states = tuple(state.index_select(0, indices.to(state.device)) for state in self.states)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row's state several times."""
        self.states = tuple(state.repeat_interleave(repeats, dim=0) for state in self.states)

    def crop(self, *args) -> None:
        """Refused: what a state has read cannot be taken back."""
        raise ValueError("A state cannot forget its last tokens: this decoder does not take assisted generation.")


class StateCache(Cache):
    """What a decoder remembers of the tokens it has read, and how many they were."""

    def __init__(self):
        super().__init__(layers=[StateLayer()])

    @classmethod
    def of(cls, past_key_values: Cache | None) -> "StateCache":
        """A cache to go on with: the one given, or a new one in the place of an empty cache of another kind.

        Raises:
            ValueError: a cache that another kind of decoder has filled.
        """
        if isinstance(past_key_values, EncoderDecoderCache):
            # So a cache is handed to decoders that attend to a source; states keep nothing of it.
            past_key_values = past_key_values.self_attention_cache
        if isinstance(past_key_values, cls):
            return past_key_values
        if past_key_values is not None and past_key_values.get_seq_length() > 0:
            raise ValueError(f"A {type(past_key_values).__name__} with tokens in it holds no state of this decoder.")
        return cls()

    @property
    def states(self) -> tuple[torch.Tensor, ...]:
        """Tensors with the batch first; empty before the first token."""
        return self.layers[0].states

    def advance(self, states: tuple[torch.Tensor, ...], num_tokens: int) -> None:
        """Put the states after `num_tokens` more tokens in the place of the former ones."""
        self.layers[0].states = states
        self.layers[0].tokens_seen += num_tokens
