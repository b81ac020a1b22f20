"""The loss of messages that are relaxed, so that its gradient runs through what is sampled.

A message ends at every place with some weight, and its loss is the mean over the ends of what the receiver answers to the
symbols before each (as in EGG, Kharitonov et al. 2019). So the sender feels what it would lose by ending earlier, and what it
would gain by ending later: behind an end stands what it would have written if it had not ended, and not, as in EGG, what it
writes after the end, which no receiver has ever read and which tells the sender to be brief.

- `straight_through`: the points are corners, exact samples of q at every temperature, the weights are 0 and once 1, and the
  value is that of the discrete loss, without bias. The gradient is biased: the derivative of the softmax stands in the place
  of that of the argmax, and the receiver's slope between embeddings in the place of the difference of its values at them.
- `gumbel_softmax`: points inside the simplices. Value and gradient are those of the relaxed loss, without bias for it; it
  becomes the discrete one as the temperature falls, with a noisier gradient.

Both in training only: outside, messages are samples.
"""

from typing import NamedTuple

import torch

from hf_lvm.distributions import Generators
from hf_lvm.generation.enumerable_sequences import EnumerableSequences
from hf_lvm.generation.relaxed_sequences import open_sequences
from hf_lvm.models.referential_game.objects import Games
from hf_lvm.objectives import BoundTerms


class PlayedGame(NamedTuple):
    """What came of messages.

    Attributes:
        terms: of the objective.
        messages: (R, B, T), that it was computed from, or that are nearest to it.
        logits: (B, C), of one message of each row.
    """

    terms: BoundTerms
    messages: torch.Tensor
    logits: torch.Tensor


class RelaxedGame:
    """Methods of a referential game for messages that a gradient goes through."""

    def relaxed_game(
        self,
        games: Games,
        vectors: torch.Tensor,
        posterior: EnumerableSequences,
        temperature: float | torch.Tensor,
        generator: Generators = None,
        *,
        kl_weight: float = 1.0,
    ) -> PlayedGame:
        """The loss of K relaxed messages a row, in nats.

        Args:
            vectors: (N, S), of the objects, by the receiver.
            temperature: of the softmax; one, or one a row.
        """
        config = self.config
        hard = config.estimator == "straight_through"
        relaxed = open_sequences(posterior, temperature, (config.num_samples,), generator, straight_through=hard)
        count, batch = relaxed.symbols.shape[:2]
        said = self.vectors_of_beginnings(relaxed.symbols.flatten(0, 1), config.min_length)
        said = said.view(count, batch, -1, said.shape[-1]).transpose(1, 2)  # (K, ends, B, S)
        scores = games.scores(said, vectors)
        weights = relaxed.end_weights[..., config.min_length :].transpose(1, 2)  # (K, ends, B)
        reconstruction = -(weights * self.game_log_likelihood(scores, games)).sum(1).mean(0)
        kl = self.message_prior().divergence_along(relaxed).mean(0)
        # What is not counted has no gradient, which may be infinite where q and p part ways.
        loss = reconstruction + kl_weight * kl if kl_weight else reconstruction
        messages = self.readable(relaxed.points.argmax(-1))
        ends = weights[0].argmax(0)
        logits = scores[0, ends, torch.arange(batch, device=ends.device)]
        return PlayedGame(BoundTerms(loss, reconstruction.detach(), kl.detach()), messages, logits)

    def readable(self, messages: torch.Tensor) -> torch.Tensor:
        """Messages (..., T) with padding behind their end."""
        ended = (messages == self.config.eos_token_id).cumsum(-1)
        behind = (ended > 1) | ((ended == 1) & (messages != self.config.eos_token_id))
        return messages.masked_fill(behind, self.config.pad_token_id)
