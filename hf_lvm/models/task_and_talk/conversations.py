"""Conversations symbol by symbol: sampled, greedy, given or relaxed, many at once.

Whoever listens is told a point of the simplex over the symbols, a corner where the symbol is certain. What is chosen at each
step is up to the caller, so sampling, scoring and relaxing are one loop, and the choices of one are scored as by another.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from hf_lvm.distributions.noise import as_gumbel
from hf_lvm.models.task_and_talk.bots import Answerer, Questioner

# From the step and log q of its symbols (R, V, K, B) to a point of the simplex for each, of the same shape.
Chooser = Callable[[int, torch.Tensor], torch.Tensor]


class Conversation(NamedTuple):
    """K dialogs of R runs about each of B rows.

    Attributes:
        points: of each step what was said, (R, V, K, B); questions and answers take turns.
        log_probs: of each step log q of every symbol after what was said before, (R, V, K, B), nats.
        guesses: two of (R, values, K, B), log p of each value behind the dialog.
    """

    points: list[torch.Tensor]
    log_probs: list[torch.Tensor]
    guesses: list[torch.Tensor]

    @property
    def log_prob_parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """log q of the questions and of the answers where all points are corners, (R, K, B) each."""
        steps = [(points * log_probs).sum(1) for points, log_probs in zip(self.points, self.log_probs, strict=True)]
        return sum(steps[::2]), sum(steps[1::2])

    @property
    def entropy_parts(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The entropies of the steps after what was said before, summed over questions and over answers, (R, K, B) each."""
        steps = [-(log_probs.exp() * log_probs).sum(1) for log_probs in self.log_probs]
        return sum(steps[::2]), sum(steps[1::2])

    def log_likelihood(self, labels: torch.Tensor) -> torch.Tensor:
        """log p of the two values that are asked for, numbers (B, 2), in nats: (R, K, B)."""
        log_likelihood = 0.0
        for guess, label in zip(self.guesses, labels.unbind(1), strict=True):
            places = label.expand(len(guess), 1, guess.shape[2], -1)
            log_likelihood = log_likelihood + guess.gather(1, places).squeeze(1)
        return log_likelihood

    @property
    def first_logits(self) -> torch.Tensor:
        """log p of each value of both guesses behind the first dialog of each row: (R, B, 2, values)."""
        return torch.stack([guess[:, :, 0].transpose(1, 2) for guess in self.guesses], dim=2)

    @property
    def symbols(self) -> torch.Tensor:
        """What was said, or is nearest to it: (K, R * B, L), as estimators take it."""
        return torch.stack([points.argmax(1) for points in self.points], dim=-1).transpose(0, 1).flatten(1, 2)


def converse(
    questioner: Questioner,
    answerer: Answerer,
    values: torch.Tensor,
    tasks: torch.Tensor,
    num_rounds: int,
    choose: Chooser,
    num_dialogs: int = 1,
) -> Conversation:
    """Have the bots talk K times about each row.

    Args:
        values: (B, A), the objects, each value by its number among those of all attributes.
        tasks: (B,), numbers of tasks.
        num_dialogs: K.
    """
    answer_gates, question_gates, task_gates = questioner.token_gates()
    asked_gates, told_gates = answerer.token_gates()
    object_gates = answerer.object_gates(values).unsqueeze(2)
    asking = questioner.listener(task_gates[:, :, tasks].unsqueeze(2))
    answering, points, log_probs = None, [], []

    def say(log_probs_of_step: torch.Tensor) -> torch.Tensor:
        log_probs.append(log_probs_of_step.expand(-1, -1, num_dialogs, -1))  # at first all dialogs are the same
        points.append(choose(len(points), log_probs[-1]))
        return points[-1]

    for turn in range(num_rounds):
        question = say(questioner.speak(asking))
        asking = questioner.listener(_heard(question_gates, question), asking)
        if not answerer.has_memory:
            answering = None
        answering = answerer.listener(_heard(asked_gates, question) + object_gates, answering)
        answer = say(answerer.speak(answering))
        if answerer.has_memory and turn + 1 < num_rounds:
            answering = answerer.listener(_heard(told_gates, answer) + object_gates, answering)
        asking = questioner.listener(_heard(answer_gates, answer), asking)
    return Conversation(points, log_probs, questioner.guess(asking, questioner.task_gates()[:, :, tasks].unsqueeze(2)))


def _heard(gates: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """The mean of the gates of symbols (R, 4H, V) at points (R, V, K, B): (R, 4H, K, B)."""
    return torch.bmm(gates, points.to(gates.dtype).flatten(2)).view(*gates.shape[:2], *points.shape[2:])


def sampling(noise: torch.Tensor) -> Chooser:
    """Draw each symbol by inversion from noise uniform on [0, 1), (R, K, B, L)."""

    def choose(step: int, log_probs: torch.Tensor) -> torch.Tensor:
        cumulative = log_probs.detach().double().exp().cumsum(1)
        drawn = (cumulative <= (noise[..., step] * cumulative[:, -1]).unsqueeze(1)).sum(1)
        return corners(drawn.clamp(max=log_probs.shape[1] - 1), log_probs)

    return choose


def greedy(step: int, log_probs: torch.Tensor) -> torch.Tensor:
    """Say the most probable symbol."""
    return corners(log_probs.argmax(1), log_probs)


def given(symbols: torch.Tensor) -> Chooser:
    """Say what is given: (R, K, B, L)."""
    return lambda step, log_probs: corners(symbols[..., step], log_probs)


def relaxing(noise: torch.Tensor, temperature: float, straight_through: bool) -> Chooser:
    """Say a point inside the simplex (Maddison et al. 2017; Jang et al. 2017), or a corner that has its gradient.

    Args:
        noise: uniform on [0, 1), (R, K, B, L, V), V of the larger vocabulary.
    """

    def choose(step: int, log_probs: torch.Tensor) -> torch.Tensor:
        gumbel = as_gumbel(noise[..., step, : log_probs.shape[1]]).movedim(-1, 1).to(log_probs.dtype)
        soft = ((log_probs + gumbel) / temperature).softmax(1)
        # In this order the value is a corner to the last bit.
        return corners(soft.argmax(1), soft) + (soft - soft.detach()) if straight_through else soft

    return choose


def corners(symbols: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Symbols (R, K, B) as corners of the simplex, (R, V, K, B), in the shape and type of `like`."""
    return torch.zeros_like(like).scatter_(1, symbols.unsqueeze(1), 1.0)
