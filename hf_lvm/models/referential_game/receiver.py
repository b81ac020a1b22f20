"""What the receiver makes of a message: a vector, and the score of each candidate."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_lvm.backbones.encoders import build_encoder, encode_tokens, encoder_positions
from hf_lvm.distributions.lengths import may_look
from hf_lvm.generation.cached_decoder import embedding_table
from hf_lvm.layers.pooling import Pooling
from hf_lvm.models.referential_game.configuration_referential_game import ReferentialGameConfig
from hf_lvm.models.referential_game.objects import Games


class ReceivingPart:
    """Methods of a referential game that read messages. The receiver reads BOS and the symbols, and no end."""

    def build_receiver(self, config: ReferentialGameConfig, receiver: PreTrainedModel | None = None) -> None:
        """The encoder of messages, and what stands between it and the scores.

        Raises:
            ValueError: an encoder for another number of symbols, or too short.
        """
        self.receiver = build_encoder(config.receiver) if receiver is None else receiver
        room = encoder_positions(self.receiver)
        if room is not None and room < config.max_length + 1:
            raise ValueError(
                f"The receiver, a {config.receiver.model_type!r} model, has room for {room} symbols, and a message has up to "
                f"{config.max_length} behind its start: choose one with more positions, or lower max_length."
            )
        size = config.receiver.hidden_size
        self.pooling = Pooling(config.pooling, size, getattr(config.receiver, "bidirectional", False))
        self.message_head = nn.Linear(size, config.object_size)
        self.bilinear = nn.Linear(config.object_size, config.object_size, bias=False) if config.score == "bilinear" else None

    @property
    def reads_once(self) -> bool:
        """Whether one pass of the receiver tells what it makes of each beginning of a message."""
        config = self.config.receiver
        return config.model_type == "hf_lvm_lstm_encoder" and not config.bidirectional and self.config.pooling == "last"

    def message_vectors(self, messages: torch.Tensor) -> torch.Tensor:
        """What messages (R, B, T) say: (R, B, S), or (R, 1, S) where all rows have the same ones."""
        if messages.stride(1) == 0:
            messages = messages[:, :1]
        count, batch, width = messages.shape
        rows = messages.reshape(-1, width)
        inside = (rows == self.config.eos_token_id).cumsum(1) == 0
        if may_look(rows, False) and len(rows):
            width = int(inside.sum(1).max())
            rows, inside = rows[:, :width], inside[:, :width]
        tokens = torch.where(inside, rows, self.config.pad_token_id)
        tokens = nn.functional.pad(tokens, (1, 0), value=self.config.bos_token_id)
        mask = nn.functional.pad(inside.long(), (1, 0), value=1)
        return self._vectors_of(encode_tokens(self.receiver, tokens, mask), mask).view(count, batch, -1)

    def vectors_of_beginnings(self, points: torch.Tensor, shortest: int = 0) -> torch.Tensor:
        """What the first `shortest`, ..., L points of (N, L, V) say: (N, L + 1 - shortest, S).

        One pass where `reads_once`, and otherwise as many rows as there are beginnings.
        """
        table = embedding_table(self.receiver)
        start = table[self.config.bos_token_id].expand(len(points), 1, -1)
        embeds = torch.cat([start, points.to(table.dtype) @ table[: points.shape[-1]]], dim=1)
        length = embeds.shape[1]
        if self.reads_once:
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=points.device)
            states = encode_tokens(self.receiver, None, mask, embeds)[:, shortest:]
            return self._scaled(self.message_head(states))
        ends = torch.arange(shortest, length, device=points.device)
        mask = (torch.arange(length, device=points.device) <= ends.unsqueeze(1)).long()
        count = len(ends)
        rows = embeds.repeat_interleave(count, dim=0)
        mask = mask.repeat(len(points), 1)
        return self._vectors_of(encode_tokens(self.receiver, None, mask, rows), mask).view(len(points), count, -1)

    def _vectors_of(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self._scaled(self.message_head(self.pooling(hidden, mask)))

    def _scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        if self.bilinear is not None:
            return self.bilinear(vectors)
        return vectors * self.config.object_size**-0.5 if self.config.score == "scaled" else vectors

    def game_log_likelihood(self, scores: torch.Tensor, games: Games) -> torch.Tensor:
        """log p(x|candidates, m) of scores (..., B, C), or with the game_loss `hinge` minus that loss: (..., B)."""
        labels = games.labels.unsqueeze(1).expand(*scores.shape[:-1], 1)
        if self.config.game_loss == "likelihood":
            return scores.log_softmax(-1).gather(-1, labels).squeeze(-1)
        margins = (1.0 - scores.gather(-1, labels) + scores).clamp(min=0.0)
        target = torch.zeros_like(games.inside).scatter(1, games.labels.unsqueeze(1), True)
        # A place without a candidate scores -inf, and so has no margin.
        return -margins.masked_fill(target | ~games.inside, 0.0).sum(-1)
