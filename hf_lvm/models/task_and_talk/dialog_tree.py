"""All dialogs at once. What the bots do after a beginning of a dialog is computed once for all dialogs that begin so.

The questioner depends on the task and the symbols so far, the answerer on the object and the symbols so far. So for T tasks, O
objects and Z dialogs there are T Z + O Z states at most and not T O Z, and those of the first rounds are few. Without a memory
the answerer has as many states as there are objects and questions.

Dialogs are numbered so that the symbol that came last varies slowest: dialog s followed by symbol v is v * S + s.
"""

from typing import NamedTuple

import torch

from hf_lvm.models.task_and_talk.bots import Answerer, Questioner


class DialogTree(NamedTuple):
    """Of T tasks, O objects and all Z dialogs, in nats.

    Attributes:
        log_questions: (R, Z, T), log q of the questions of each dialog.
        log_answers: (R, Z, O), log q of its answers. The sum of the two is log q of the dialog.
        guesses: two of (R, values, Z, T), log p of each value behind the dialog.
        questions: log q of each question in each round, (R, questions, S, T), S the number of beginnings.
        answers: log q of each answer in each round, (R, answers, S * questions, O).
    """

    log_questions: torch.Tensor
    log_answers: torch.Tensor
    guesses: list[torch.Tensor]
    questions: list[torch.Tensor]
    answers: list[torch.Tensor]


def grow_tree(questioner: Questioner, answerer: Answerer, values: torch.Tensor, num_rounds: int) -> DialogTree:
    """The tree of all dialogs about objects, (O, A) of value numbers, under every task."""
    answer_gates, question_gates, task_gates = questioner.token_gates()
    asking = questioner.listener(task_gates.unsqueeze(2))
    answering = _Answering(answerer, values)
    log_questions = log_answers = None
    questions, answers = [], []
    for _ in range(num_rounds):
        questions.append(questioner.speak(asking))
        log_questions = _grown(log_questions, questions[-1])
        asking = questioner.listener.after_each(question_gates, asking)
        answers.append(answering.hear())
        if log_answers is not None:  # each question may follow, and the answerer does not choose it
            log_answers = log_answers.repeat(1, questions[-1].shape[1], 1)
        log_answers = _grown(log_answers, answers[-1])
        log_questions = log_questions.repeat(1, answers[-1].shape[1], 1)
        asking = questioner.listener.after_each(answer_gates, asking)
    guesses = questioner.guess(asking, questioner.task_gates().unsqueeze(2))
    return DialogTree(log_questions, log_answers, guesses, questions, answers)


class _Answering:
    """The answerer in all dialogs, round by round."""

    def __init__(self, answerer: Answerer, values: torch.Tensor) -> None:
        self.answerer = answerer
        self.question_gates, self.answer_gates = answerer.token_gates()
        self.object_gates = answerer.object_gates(values)[:, :, None, None]  # (R, 4H, 1, 1, O)
        self.state, self.log_probs, self.beginnings = None, None, 1

    def hear(self) -> torch.Tensor:
        """log q of each answer after each question that may come next: (R, answers, questions * S, O)."""
        gates = self.question_gates[..., None, None] + self.object_gates  # (R, 4H, questions, 1, O)
        answerer = self.answerer
        if self.state is None or not answerer.has_memory:
            if self.log_probs is None or answerer.has_memory:
                self.state = answerer.listener(gates.flatten(2, 3))
                self.log_probs = answerer.speak(self.state)
            log_probs = self.log_probs
            if self.beginnings > 1:  # it has forgotten which
                log_probs = log_probs.repeat_interleave(self.beginnings, dim=2)
        else:
            gates_of_answers = self.answer_gates[..., None, None] + self.object_gates
            state = answerer.listener.after_each(gates_of_answers, self.state)
            self.state = answerer.listener.after_each(gates, state)
            log_probs = answerer.speak(self.state)
        self.beginnings = log_probs.shape[1] * log_probs.shape[2]
        return log_probs


def _grown(total: torch.Tensor | None, log_probs: torch.Tensor) -> torch.Tensor:
    """log q of beginnings (R, S, C) and of each symbol behind them (R, V, S, C), in the order of the longer beginnings."""
    longer = log_probs if total is None else total.unsqueeze(1) + log_probs
    return longer.flatten(1, 2)
