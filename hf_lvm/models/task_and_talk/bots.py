"""The two bots of Task & Talk (Kottur et al. 2017, section 3), R independent copies of each.

The questioner knows the task and not the object. An LSTM, its listener, reads the task, each question it asks and each answer
it hears; a linear layer makes the next question of its state. Its guess comes from a second LSTM, which begins in the state of
the listener, reads the task once for each attribute that is asked for, and scores all values of all attributes each time.

The answerer sees the object and not the task. Its LSTM reads each question and each of its own answers, the embeddings of the
object's values beside every one of them; a linear layer makes the answer. Without a memory it begins from zero at each
question: an answer then depends on the object and this question alone.
"""

import torch
from torch import nn

from hf_lvm.layers.parallel_runs import LSTMState, ParallelLinear, ParallelLSTMCell
from hf_lvm.models.task_and_talk.configuration_task_and_talk import TaskAndTalkConfig


class ParallelEmbedding(nn.Module):
    """R tables of embeddings: (R, count, size)."""

    def __init__(self, num_runs: int, count: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_runs, count, size))


class Questioner(nn.Module):
    """Asks about an object that it does not see, and guesses the values that its task asks for.

    Its tokens are the answers it hears, its own questions, and the tasks.
    """

    def __init__(self, config: TaskAndTalkConfig) -> None:
        super().__init__()
        runs, hidden, size = config.num_runs, config.hidden_size, config.embedding_size
        self.counts = [config.num_answer_symbols, config.num_question_symbols, config.num_tasks]
        self.num_guesses = 2
        self.tokens = ParallelEmbedding(runs, sum(self.counts), size)
        self.listener = ParallelLSTMCell(runs, size, hidden)
        self.speaker = ParallelLinear(runs, hidden, config.num_question_symbols)
        self.predictor = ParallelLSTMCell(runs, size, hidden)
        self.guesser = ParallelLinear(runs, hidden, config.num_all_values)

    def token_gates(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What each answer, question and task adds to the gates of the listener: (R, 4H, count) each."""
        return self.listener.gates_of(self.tokens.weight.mT).split(self.counts, dim=-1)

    def task_gates(self) -> torch.Tensor:
        """What each task adds to the gates of the predictor: (R, 4H, T)."""
        return self.predictor.gates_of(self.tokens.weight[:, -self.counts[-1] :].mT)

    def speak(self, state: LSTMState) -> torch.Tensor:
        """log q of the next question in states (R, H, *positions): (R, questions, *positions)."""
        return log_probabilities(self.speaker(state[0]))

    def guess(self, state: LSTMState, task_gates: torch.Tensor) -> list[torch.Tensor]:
        """log p of each value as the first and as the second that is asked for: two of (R, values, *positions).

        Args:
            state: of the listener behind the dialog.
            task_gates: of the task at each position, broadcasting to (R, 4H, *positions).
        """
        guesses = []
        for _ in range(self.num_guesses):
            state = self.predictor(task_gates, state)
            guesses.append(log_probabilities(self.guesser(state[0])))
        return guesses


class Answerer(nn.Module):
    """Answers questions about an object that it sees. Its tokens are the questions it hears and its own answers."""

    def __init__(self, config: TaskAndTalkConfig) -> None:
        super().__init__()
        runs, hidden, size = config.num_runs, config.hidden_size, config.embedding_size
        self.counts = [config.num_question_symbols, config.num_answer_symbols]
        self.has_memory = config.answerer_memory
        self.token_size = size
        self.tokens = ParallelEmbedding(runs, sum(self.counts), size)
        self.values = ParallelEmbedding(runs, config.num_all_values, config.value_embedding_size)
        inputs = size + len(config.num_values) * config.value_embedding_size
        self.listener = ParallelLSTMCell(runs, inputs, hidden, recurrent=self.has_memory)
        self.speaker = ParallelLinear(runs, hidden, config.num_answer_symbols)

    def token_gates(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What each question and each answer adds to the gates, whatever the object: (R, 4H, count) each."""
        weight = self.listener.by_input.weight[:, : self.token_size]
        return torch.bmm(weight.mT, self.tokens.weight.mT).split(self.counts, dim=-1)

    def object_gates(self, values: torch.Tensor) -> torch.Tensor:
        """What objects add to the gates with every token, the bias included: (R, 4H, N) of objects (N, A).

        Args:
            values: each value by its number among those of all attributes.
        """
        weight, bias = self.listener.by_input.weight[:, self.token_size :], self.listener.by_input.bias
        embedded = self.values.weight[:, values].flatten(2)  # (R, N, A * size)
        return torch.baddbmm(bias.unsqueeze(-1), weight.mT, embedded.mT)

    def speak(self, state: LSTMState) -> torch.Tensor:
        """log q of the next answer in states (R, H, *positions): (R, answers, *positions)."""
        return log_probabilities(self.speaker(state[0]))


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Normalised over dimension 1, in float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
