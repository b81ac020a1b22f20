"""A pointer network: sequences of words of a source, or of a vocabulary and of the source, written by an LSTM.

At each step the state h of the LSTM gives every word i of the source, and the end, a score (W h) . (U s_i) / sqrt(d), and the
probability of a *word* is the sum over all places where it stands (Vinyals et al. 2015; See et al. 2017). Were the symbols
places, a word that occurs twice would be two latents, and log q(places) - log p(words) no term of a KL divergence.

The same weights may write by pointing alone or by the mixture of source and vocabulary, and the LSTM may read a sequence again
without its source: the compressor of Miao and Blunsom (2016) does all three (sections 2.1 and 2.2).

What a `PointerDecoder` says is a distribution over symbols, so `hf_lvm.generation.symbol_sequences` samples from it, scores
with it and searches it by beams, all of one density.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from hf_lvm.layers.precision import linear_at_least_float32
from hf_lvm.layers.span_scores import init_linear
from hf_lvm.layers.word_softmax import WordSoftmax

# A log-probability of nothing that still can be added and differentiated.
NOTHING = -1e9


@dataclass(frozen=True)
class PointerState:
    """N sequences on their way.

    Attributes:
        logits: (N, V), of the next symbol.
        hidden, cell: (1, N, H), of the LSTM.
        rows: (N,), the source each of them is of.
        steps: (N,), symbols so far.
    """

    logits: torch.Tensor
    hidden: torch.Tensor
    cell: torch.Tensor
    rows: torch.Tensor
    steps: torch.Tensor

    def select(self, rows: torch.Tensor) -> "PointerState":
        """These rows (R,), in this order; a row may come several times."""
        logits, own, steps = (each.index_select(0, rows) for each in (self.logits, self.rows, self.steps))
        return PointerState(logits, self.hidden.index_select(1, rows), self.cell.index_select(1, rows), own, steps)

    def repeat(self, times: int) -> "PointerState":
        """Each row `times` times, one beside the other: (N * times)."""
        if times == 1:
            return self
        return self.select(torch.arange(len(self.rows), device=self.rows.device).repeat_interleave(times))


class PointerNetwork(nn.Module):
    """The weights. `over` makes a decoder of them for a batch of sources; `forward` reads sequences that are there.

    Args:
        source_size: of a source word's state.
        hidden_size: H, of the LSTM and of the vectors that scores are made of.
        vocab_size: V, of the ids that words have.
        excluded: ids that are never written by the vocabulary.
        mixes_vocabulary: whether symbols are ids of the vocabulary, each copied from the source with probability t and drawn
            from a softmax over all V with 1 - t; otherwise they are places of source words.
    """

    def __init__(
        self,
        source_size: int,
        hidden_size: int,
        vocab_size: int,
        excluded: tuple[int, ...] = (),
        mixes_vocabulary: bool = False,
    ):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, hidden_size)
        self.start = nn.Parameter(torch.zeros(hidden_size))
        self.begin = nn.Linear(source_size, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, batch_first=True)
        self.query, self.key = nn.Linear(hidden_size, hidden_size, bias=False), nn.Linear(source_size, hidden_size)
        self.end = nn.Parameter(torch.zeros(hidden_size))
        self.mixes_vocabulary = mixes_vocabulary
        if mixes_vocabulary:
            self.mixed = nn.Linear(hidden_size + source_size, hidden_size)
            self.copies = nn.Linear(hidden_size, 1)
            self.words = WordSoftmax(hidden_size, vocab_size, excluded)

    def over(
        self,
        states: torch.Tensor,
        features: torch.Tensor,
        words: torch.Tensor,
        lengths: torch.Tensor,
        end: int,
        fewest: torch.Tensor,
        most: torch.Tensor,
        copies_only: bool = False,
    ) -> "PointerDecoder":
        """A decoder of sequences over B sources.

        Args:
            states: (B, n, S), of the source's words.
            features: (B, S), what the LSTM begins from.
            words: (B, n) ids, padded on the right.
            lengths: (B,), words of each source.
            end: the id that ends a sequence where symbols are ids; otherwise the end is the symbol n.
            fewest, most: (B,), symbols of a sequence, the end not counted.
            copies_only: whether a network that mixes writes by its pointers alone. Symbols are ids all the same.
        """
        return PointerDecoder(self, states, features, words, lengths, end, fewest, most, copies_only)

    def forward(self, input_ids: torch.LongTensor | None = None, inputs_embeds: torch.Tensor | None = None) -> torch.Tensor:
        """States (N, L, H) of the LSTM that reads words by themselves, of no source: it begins at zero, behind its start.

        Args:
            input_ids: (N, L), padded on the right, where states mean nothing.
            inputs_embeds: (N, L, H), in their place.
        """
        embeds = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds.to(self.start.dtype)
        with torch.autocast(embeds.device.type, enabled=False):
            start = self.start.expand(len(embeds), 1, -1)
            return self.lstm(torch.cat([start, embeds], dim=1))[0][:, 1:].contiguous()

    def get_input_embeddings(self) -> nn.Embedding:
        """What it reads in the place of each id."""
        return self.embeddings

    def init_weights(self) -> None:
        """Where no weights were loaded: layers as torch has them, embeddings as small."""
        init.normal_(self.embeddings.weight, std=0.1)
        for parameter in (self.start, self.end):
            init.normal_(parameter, std=0.1)
        bound = self.lstm.hidden_size**-0.5
        for parameter in (*self.lstm.parameters(), self.query.weight):
            init.uniform_(parameter, -bound, bound)
        layers = [self.begin, self.key]
        if self.mixes_vocabulary:
            layers += [self.mixed, self.copies, self.words.output]
        for layer in layers:
            init_linear(layer)


class PointerDecoder:
    """A pointer network over B sources: a `hf_lvm.generation.cached_decoder.SymbolDecoder`.

    Symbols are places of source words, each word at its first one, with n for the end; or ids of the vocabulary.
    """

    def __init__(
        self,
        network: PointerNetwork,
        states: torch.Tensor,
        features: torch.Tensor,
        words: torch.Tensor,
        lengths: torch.Tensor,
        end: int,
        fewest: torch.Tensor,
        most: torch.Tensor,
        copies_only: bool = False,
    ):
        self.copies_only = copies_only
        self.network, self.lengths = network, lengths
        # The network of a model of fewer bits is kept in float32.
        self.states, self.features = states.to(network.start.dtype), features.to(network.start.dtype)
        self.fewest, self.most = fewest, most
        self.batch_size, self.device = len(words), words.device
        count = words.shape[1]
        self.end_symbol = end if network.mixes_vocabulary else count
        inside = torch.arange(count, device=words.device) < lengths.unsqueeze(1)
        same = (words.unsqueeze(1) == words.unsqueeze(2)) & inside.unsqueeze(1) & inside.unsqueeze(2)
        self.first_places = same.to(torch.uint8).argmax(2)  # (B, n); of padding any
        places = torch.arange(count, device=words.device)
        self.is_symbol = inside & (self.first_places == places)
        self._same = None if bool((self.is_symbol == inside).all()) else same
        self.inside = inside
        self._ids = torch.cat([words, torch.full_like(words[:, :1], end)], dim=1)
        keys = linear_at_least_float32(network.key, self.states)
        self._keys = torch.cat([keys, network.end.to(keys.dtype).expand(len(words), 1, -1)], dim=1)

    def begin(self) -> PointerState:
        """The state before the first symbol, of B rows."""
        rows = torch.arange(self.batch_size, device=self.device)
        hidden = self.network.begin(self.features).tanh().unsqueeze(0)
        start = self.network.start.expand(self.batch_size, 1, -1)
        state = PointerState(start[:, 0, :0], hidden, torch.zeros_like(hidden), rows, torch.full_like(rows, -1))
        return self._read(state, start)[1]

    def advance(self, state: PointerState, symbols: torch.LongTensor) -> tuple[torch.Tensor, PointerState]:
        """L more symbols (N, L) of each row: the logits after each of them (N, L, V), and the state after all of them."""
        ids = symbols if self.network.mixes_vocabulary else self._ids[state.rows].gather(1, symbols)
        return self._read(state, self.network.embeddings(ids))

    def advance_points(self, state: PointerState, points: torch.Tensor) -> tuple[torch.Tensor, PointerState]:
        """The same for points of simplices (N, L, V) in the place of symbols: each is read as a mean of embeddings."""
        table = self.network.embeddings.weight
        table = table if self.network.mixes_vocabulary else self.network.embeddings(self._ids)[state.rows]
        return self._read(state, points.to(table.dtype) @ table)

    def _read(self, state: PointerState, embedded: torch.Tensor) -> tuple[torch.Tensor, PointerState]:
        dtype = self.network.start.dtype
        # A recurrence is not to be rounded, nor are the densities made of it.
        with torch.autocast(embedded.device.type, enabled=False):
            before = tuple(part.to(dtype).contiguous() for part in (state.hidden, state.cell))
            outputs, (hidden, cell) = self.network.lstm(embedded.to(dtype), before)
            logits = self._logits(outputs, state.rows)
        length = embedded.shape[1]
        steps = state.steps.unsqueeze(1) + torch.arange(1, length + 1, device=self.device)
        logits = self._limited(logits, state.rows, steps)
        return logits, PointerState(logits[:, -1], hidden, cell, state.rows, steps[:, -1])

    def _logits(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of symbols (N, L, V) of states (N, L, H)."""
        network = self.network
        dtype = torch.promote_types(outputs.dtype, torch.float32)
        scores = network.query(outputs).to(dtype) @ self._keys[rows].to(dtype).mT * outputs.shape[-1] ** -0.5
        may_be = functional.pad(self.inside, (0, 1), value=True)[rows].unsqueeze(1)
        places = scores.masked_fill(~may_be, NOTHING).log_softmax(-1)
        symbols = self._summed(places, rows)
        if not network.mixes_vocabulary:
            is_symbol = functional.pad(self.is_symbol, (0, 1), value=True)[rows].unsqueeze(1)
            return symbols.masked_fill(~is_symbol, -torch.inf)
        # Places that are no symbols are copied into one column too many.
        vocabulary = network.embeddings.num_embeddings
        ids = self._ids.masked_fill(~functional.pad(self.is_symbol, (0, 1), value=True), vocabulary)[rows]
        copied = symbols.new_full((*symbols.shape[:2], vocabulary + 1), -torch.inf if self.copies_only else NOTHING)
        copied = copied.scatter(-1, ids.unsqueeze(1).expand_as(symbols), symbols)[..., :-1]
        if self.copies_only:
            return copied
        attended = places[..., :-1].exp().to(outputs.dtype) @ self.states[rows].to(outputs.dtype)
        mixed = network.mixed(torch.cat([outputs, attended], dim=-1)).tanh()
        written = network.words.logits(mixed).log_softmax(-1)
        copies = network.copies(mixed).to(dtype)
        mixture = torch.logaddexp(
            functional.logsigmoid(copies) + copied, functional.logsigmoid(-copies) + written.clamp(min=NOTHING)
        )
        return mixture.masked_fill(mixture < NOTHING / 2, -torch.inf)

    def _summed(self, places: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of words at their first places, and of the end, from those of all places: (N, L, n + 1)."""
        if self._same is None:
            return places
        own = places[..., :-1]
        same = self._same[rows].unsqueeze(1)  # [.., place, word]
        # Padding is a word of its own, so that no sum is one of nothing.
        same = same | torch.eye(own.shape[-1], dtype=torch.bool, device=same.device)
        summed = own.unsqueeze(-1).masked_fill(~same, NOTHING).logsumexp(2)
        return torch.cat([summed, places[..., -1:]], dim=-1)

    def _limited(self, logits: torch.Tensor, rows: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Without the end before `fewest` symbols, and with nothing but the end from `most` on."""
        is_end = torch.arange(logits.shape[-1], device=logits.device) == self.end_symbol
        early = (steps < self.fewest[rows].unsqueeze(1)).unsqueeze(-1)
        late = (steps >= self.most[rows].unsqueeze(1)).unsqueeze(-1)
        # Where nothing but the end is left it has a score, whatever the network gave it.
        logits = torch.where(late & is_end, torch.zeros_like(logits), logits)
        return logits.masked_fill((early & is_end) | (late & ~is_end), -torch.inf)
