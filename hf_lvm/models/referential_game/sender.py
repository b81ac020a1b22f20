"""What the sender says: q(m|object), and p(m), what messages are like."""

from collections.abc import Sequence

import torch
from torch.distributions import Distribution, constraints
from transformers import PreTrainedModel

from hf_lvm.backbones.decoders import build_decoder, decoder_positions
from hf_lvm.distributions import UniformSymbols
from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.enumerable_sequences import EnumerableSequences
from hf_lvm.generation.relaxed_sequences import OpenSequences, reading_weights
from hf_lvm.layers.conditioned_decoder import ConditionedDecoder
from hf_lvm.layers.conditioning import LatentConditioning
from hf_lvm.models.referential_game.configuration_referential_game import ReferentialGameConfig


class SendingPart:
    """Methods of a referential game about the distributions of messages."""

    def build_sender(
        self,
        config: ReferentialGameConfig,
        sender: PreTrainedModel | None = None,
        prior: PreTrainedModel | None = None,
    ) -> None:
        """The decoder of messages, what tells it the object, and the model of messages where there is one.

        Raises:
            ValueError: a decoder for another number of symbols, or with too few positions.
        """
        self.sender = build_decoder(config.sender) if sender is None else sender
        self.prior = None
        if config.prior_type == "model":
            self.prior = build_decoder(config.prior) if prior is None else prior
        elif prior is not None:
            raise ValueError(f"A prior was given, and the prior_type is {config.prior_type!r}: set it to 'model'.")
        self.conditioning = LatentConditioning(self.sender, config.injection, config.object_size, config.injection_length)
        for name, part, taken in (
            ("sender", self.sender, self.conditioning.positions_used),
            ("prior", self.prior, 0),
        ):
            room = None if part is None else decoder_positions(part)
            # The last symbol is not read: the end behind max_length symbols is certain.
            if room is not None and room < config.max_length + taken:
                raise ValueError(
                    f"The {name}, a {part.config.model_type!r} model, has {room} positions, of which {taken} are taken by the "
                    f"object, and reads {config.max_length} symbols: choose one with more, or lower max_length."
                )

    def posterior_of(self, told: torch.Tensor) -> EnumerableSequences:
        """q(m|object) of object vectors (B, S): batch shape (B,), values (B, max_length + 1)."""
        config = self.config
        decoder = ConditionedDecoder(self.sender, self.conditioning, told, config.bos_token_id)
        return self._messages(decoder)

    def _messages(self, decoder: CachedDecoder) -> EnumerableSequences:
        config = self.config
        return EnumerableSequences(
            decoder,
            config.num_symbols,
            config.vocabulary,
            config.eos_token_id,
            config.max_length,
            min_length=config.min_length,
            pad_token_id=config.pad_token_id,
        )

    def message_prior(self) -> "MessagePrior":
        """p(m), normalised over all messages that q can write; with the prior_type `none` the uniform one."""
        config = self.config
        if self.prior is not None:
            start = torch.full((1, 1), config.bos_token_id, device=self.device)
            return MessagePrior(self._messages(CachedDecoder(self.prior, start)), learns=config.train_prior)
        rate = float(config.prior_length_rate) if config.prior_type == "length" else 0.0
        lengths = UniformSymbols(
            config.num_symbols,
            config.eos_token_id,
            config.max_length,
            min_length=config.min_length,
            length_rate=rate,
            vocabulary=config.vocabulary,
            pad_token_id=config.pad_token_id,
            dtype=torch.promote_types(self.dtype, torch.float32),
            device=self.device,
        )
        return MessagePrior(lengths)


class MessagePrior(Distribution):
    """p(m) of messages (..., T), whoever wrote them: batch shape ().

    Args:
        messages: `UniformSymbols`, or `SymbolSequences` of batch shape (1,).
        learns: whether it has a gradient to its own weights.
    """

    arg_constraints = {}
    support = constraints.independent(constraints.nonnegative_integer, 1)

    def __init__(self, messages: UniformSymbols | EnumerableSequences, learns: bool = False):
        self.messages, self.learns = messages, learns
        super().__init__(torch.Size(), messages.event_shape, validate_args=False)

    def symbol_log_probs(self, value: torch.Tensor) -> torch.Tensor:
        """log p of each symbol of messages (R, B, T) given those before it: (R, B, T), nats; 0 behind the end."""
        if isinstance(self.messages, UniformSymbols):
            return self.messages.symbol_log_probs(value)
        shared = value.dim() == 3 and value.stride(1) == 0
        rows = value[:, :1] if shared else value
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns):
            scored = self.messages.symbol_log_probs(rows.reshape(-1, 1, rows.shape[-1])).view(rows.shape)
        return scored.expand(value.shape) if shared else scored

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """log p of messages (R, B, T): (R, B), nats."""
        return self.symbol_log_probs(value).sum(-1)

    def sample(
        self,
        sample_shape: Sequence[int] = torch.Size(),
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Messages (*sample_shape, T)."""
        drawn = self.messages.sample(sample_shape, generator)
        return drawn if isinstance(self.messages, UniformSymbols) else drawn.squeeze(-2)

    def step_log_probs_along(self, points: torch.Tensor) -> torch.Tensor:
        """log p of each symbol after points (N, L, V) before it, of steps 0 to L - 1: (N, L, V) or (L, V), nats.

        With a gradient to the points, whether p learns or not.
        """
        if isinstance(self.messages, UniformSymbols):
            return self.messages.step_log_probs()
        decoder = self.messages.decoder
        state = decoder.begin().repeat(len(points))
        logits = state.logits.unsqueeze(1)
        if points.shape[1] > 1:
            following, _ = decoder.advance_points(state, points[:, :-1])
            logits = torch.cat([logits, following], dim=1)
        return self.messages.step_log_probs(logits, 0)

    def divergence_along(self, relaxed: OpenSequences) -> torch.Tensor:
        """KL(q || p) by the chain rule along relaxed messages (K, B, T, V): (K, B), nats.

        The sum over steps t of the weight with which t is reached times KL(step t of q || step t of p): its mean over corners
        is the divergence. The end behind as many symbols as there may be is free in both.
        """
        log_q = relaxed.log_probs
        count, batch, steps, width = log_q.shape
        log_p = self.step_log_probs_along(relaxed.symbols.reshape(count * batch, steps, width))
        log_p = log_p.view(count, batch, steps, width) if log_p.dim() == 3 else log_p
        possible = log_q > -torch.inf
        log_q = torch.where(possible, log_q, 0.0)
        log_p = torch.where(possible, log_p.to(log_q.dtype), 0.0)
        divergence = (torch.where(possible, log_q.exp(), 0.0) * (log_q - log_p)).sum(-1)
        return (reading_weights(relaxed.end_weights)[..., :-1] * divergence).sum(-1)
