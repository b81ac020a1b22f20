"""Speaking, listening, and playing a game through: what a trained pair does."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hf_lvm.data import LatentTextProcessor
from hf_lvm.distributions import Generators
from hf_lvm.layers.decoder_interface import in_evaluation_mode


@dataclass(frozen=True)
class Play:
    """B games that were played.

    Attributes:
        messages: (B, max_length + 1), with EOS and padding behind it.
        log_probs: (B, C), of `listen`.
        choices: (B,), the candidate that the receiver chose.
        labels: (B,), the target.
        is_right: (B,) bool. A receiver that likes another candidate as well as the target has not told them apart.
    """

    messages: torch.Tensor
    log_probs: torch.Tensor
    choices: torch.Tensor
    labels: torch.Tensor
    is_right: torch.Tensor


class Playing:
    """Methods of a referential game without a loss. All run without dropout."""

    def speak(
        self,
        objects: torch.Tensor | Sequence[str],
        object_mask: torch.Tensor | None = None,
        *,
        num_beams: int = 1,
        do_sample: bool = False,
        generator: Generators = None,
        processor: LatentTextProcessor | None = None,
    ) -> torch.LongTensor:
        """What the sender says of N objects: messages (N, max_length + 1), with EOS and padding behind it.

        The most probable symbol of each step, by default.

        Args:
            objects, object_mask: as of `forward`; or N strings, with a processor.
            num_beams: search for the most probable message with so many beams.
            do_sample: draw from q(m|object) instead.
            generator: of the draw: None, one generator, or one for each object.

        Raises:
            ValueError: both a draw and a search.
        """
        if do_sample and num_beams != 1:
            raise ValueError(f"do_sample draws a message, and num_beams {num_beams} searches for the best: choose one.")
        objects, object_mask = self._as_tensors(objects, object_mask, processor)
        with in_evaluation_mode(self):
            posterior = self.encode(objects, object_mask)
            if do_sample:
                return posterior.sample(generator=generator)
            messages = posterior.mode if num_beams == 1 else posterior.beam(1, num_beams).sequences[0]
        return messages

    def listen(
        self,
        messages: torch.LongTensor,
        objects: torch.Tensor | Sequence[str],
        candidates: torch.LongTensor | None = None,
        object_mask: torch.Tensor | None = None,
        *,
        processor: LatentTextProcessor | None = None,
    ) -> torch.Tensor:
        """log p(x|candidates, m) of every candidate, in nats: (B, C); -inf where no candidate is.

        Under the game_loss `hinge`, of which the scores are not trained to be probabilities, it is their softmax all the same.

        Args:
            messages: (B, T), each with EOS.
            objects, object_mask: N objects, as of `forward`; or N strings, with a processor.
            candidates: (B, C), numbers of objects, -1 where none is; by default all N objects for every message.

        Raises:
            ValueError: messages without an end, or candidates that are no objects.
        """
        objects, object_mask = self._as_tensors(objects, object_mask, processor)
        self.check_messages(messages)
        if candidates is None:
            candidates = torch.arange(len(objects), device=messages.device).expand(len(messages), -1)
        with in_evaluation_mode(self):
            seen = self.check_objects(objects, object_mask)
            # Any candidate may stand as the target: it has no part in what is heard.
            labels = (candidates >= 0).long().argmax(1)
            games = self.games_of(*seen, candidates, labels)
            scores = games.scores(self.message_vectors(messages.unsqueeze(0)), self.vectors(*seen, by_receiver=True))
        return scores.squeeze(0).log_softmax(-1)

    def play(
        self,
        objects: torch.Tensor | Sequence[str],
        object_mask: torch.Tensor | None = None,
        candidates: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        *,
        num_beams: int = 1,
        do_sample: bool = False,
        generator: Generators = None,
        processor: LatentTextProcessor | None = None,
    ) -> Play:
        """Games from the object to the choice; arguments as of `forward` and `speak`.

        Args:
            generator: of distractors that are drawn, and of a message that is.
        """
        objects, object_mask = self._as_tensors(objects, object_mask, processor)
        with in_evaluation_mode(self):
            seen = self.check_objects(objects, object_mask)
            games = self.games_of(*seen, candidates, labels, generator)
            own = (None if each is None else each[games.targets] for each in (objects, object_mask))
            messages = self.speak(*own, num_beams=num_beams, do_sample=do_sample, generator=generator)
            scores = games.scores(self.message_vectors(messages.unsqueeze(0)), self.vectors(*seen, by_receiver=True))
            log_probs = scores.squeeze(0).log_softmax(-1)
            target = log_probs.gather(1, games.labels.unsqueeze(1))
            rivals = log_probs.scatter(1, games.labels.unsqueeze(1), -torch.inf).amax(1)
            is_right = target.squeeze(1) > rivals
        return Play(messages, log_probs, log_probs.argmax(1), games.labels, is_right)

    def symbols_of(self, messages: torch.Tensor) -> list[list[int]]:
        """Messages (N, T) as lists of symbols, the end and what stands behind it left out."""
        self.check_messages(messages)
        return [row[: row.index(self.config.eos_token_id)] for row in messages.tolist()]

    def check_messages(self, messages: torch.Tensor) -> None:
        """Raise a `ValueError` for messages (..., T) without an end, or with ids before it that are no symbols."""
        ended = (messages == self.config.eos_token_id).cumsum(-1)
        wrong = (ended[..., -1] == 0) | (((messages < 0) | (messages >= self.config.num_symbols)) & (ended == 0)).any(-1)
        if messages.device.type == "cpu" and wrong.any():
            raise ValueError(
                f"Messages are symbols 0 to {self.config.num_symbols - 1} with the end {self.config.eos_token_id} behind "
                f"them; {int(wrong.sum())} of these are none."
            )

    def _as_tensors(
        self,
        objects: torch.Tensor | Sequence[str],
        mask: torch.Tensor | None,
        processor: LatentTextProcessor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if isinstance(objects, torch.Tensor):
            return objects.to(self.device), None if mask is None else mask.to(self.device)
        if processor is None or self.config.object_type != "text":
            raise ValueError(
                f"Objects that are no tensor are texts, for a game with the object_type 'text' (this one: "
                f"{self.config.object_type!r}) and with a processor."
            )
        inputs = processor(list(objects)).to(self.device)
        return inputs["input_ids"], inputs["attention_mask"]
