"""q(z | task, object): the distribution over dialogs that the two bots make, with what estimators ask of a distribution.

It is normalised by construction, symbol by symbol. What is behind a dialog, the guess, is found on the way, so the two are
computed once: `log_likelihood_of` the dialogs that were drawn, or of all of them, takes it from there.
"""

from collections.abc import Sequence

import torch
from torch.distributions import Distribution, constraints

from hf_lvm.distributions.noise import Generators, noise_of_runs
from hf_lvm.models.task_and_talk.bots import Answerer, Questioner
from hf_lvm.models.task_and_talk.conversations import Chooser, Conversation, converse, given, greedy, relaxing, sampling
from hf_lvm.models.task_and_talk.dialog_tree import DialogTree, grow_tree


class Dialogs(Distribution):
    """Dialogs of R runs about B rows: batch shape (R * B,), run by run, event shape (L,) of symbols, questions first.

    Args:
        questioner, answerer: the bots.
        values: (B, A), objects, each value by its number among those of all attributes.
        tasks: (B,), numbers of tasks.
        num_rounds: of questions with their answers; L is twice as many.
        seeds: R numbers that make the noise of each run its own.
    """

    arg_constraints = {}
    has_enumerate_support = True

    def __init__(
        self,
        questioner: Questioner,
        answerer: Answerer,
        values: torch.Tensor,
        tasks: torch.Tensor,
        num_rounds: int,
        seeds: Sequence[int],
    ) -> None:
        self.questioner, self.answerer = questioner, answerer
        self.values, self.tasks = values, tasks
        self.num_rounds, self.seeds = num_rounds, seeds
        self._tree: DialogTree | None = None
        self._objects: tuple[torch.Tensor, torch.Tensor] | None = None
        self._scored: list[tuple[torch.Tensor, Conversation | None]] = []
        super().__init__(torch.Size([len(seeds) * len(tasks)]), torch.Size([2 * num_rounds]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.nonnegative_integer, 1)

    @property
    def num_runs(self) -> int:
        """R."""
        return len(self.seeds)

    @property
    def symbol_counts(self) -> list[int]:
        """How many symbols there are at each of the L places."""
        questions, answers = self.questioner.counts[1], self.questioner.counts[0]
        return [questions, answers] * self.num_rounds

    @property
    def support_size(self) -> int:
        """Z, how many dialogs there are."""
        size = 1
        for count in self.symbol_counts:
            size *= count
        return size

    # ---- samples -----------------------------------------------------------------------------------------------------

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Dialogs (K, R * B, L).

        Args:
            sample_shape: (K,).
            generator: None, one generator, or a list of B generators, one a row.
        """
        (count,) = sample_shape
        return self._remember(self._converse(sampling(self._noise(count, self.event_shape[0], generator)), count))

    def _noise(self, num_samples: int, length: int, generator: Generators) -> torch.Tensor:
        """Uniform on [0, 1), float64: (R, K, B, length)."""
        return noise_of_runs(self.seeds, len(self.tasks), length, generator, self.tasks.device, (num_samples,))

    @property
    def mode(self) -> torch.Tensor:
        """What the bots say when each says what is most probable, (R * B, L): not always the most probable dialog."""
        with torch.no_grad():
            return self._converse(greedy).symbols[0]

    def relaxed(
        self, temperature: float, num_samples: int, generator: Generators = None, *, straight_through: bool = False
    ) -> Conversation:
        """K conversations in points of simplices, through which a gradient goes; see `conversations.relaxing`."""
        length, symbols = self.event_shape[0], max(self.symbol_counts)
        noise = self._noise(num_samples, length * symbols, generator).unflatten(-1, (length, symbols))
        return self._converse(relaxing(noise, temperature, straight_through), num_samples)

    def _converse(self, choose: Chooser, num_dialogs: int = 1) -> Conversation:
        return converse(self.questioner, self.answerer, self.values, self.tasks, self.num_rounds, choose, num_dialogs)

    def _remember(self, conversation: Conversation) -> torch.Tensor:
        symbols = conversation.symbols
        self._scored = [(symbols, conversation)]
        return symbols

    # ---- densities ---------------------------------------------------------------------------------------------------

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """log q in nats of dialogs (K, R * B, L): (K, R * B)."""
        return sum(self.log_prob_parts(value))

    def log_prob_parts(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """log q of the questions and of the answers in dialogs (K, R * B, L), (K, R * B) each, in nats."""
        conversation = self._conversation_of(value)
        parts = self._parts_of_all if conversation is None else conversation.log_prob_parts
        return tuple(part.transpose(0, 1).flatten(1) for part in parts)

    def log_likelihood_of(self, value: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """log p(x|z) in nats of labels (B, 2) behind dialogs (K, R * B, L): (K, R * B)."""
        conversation = self._conversation_of(value)
        if conversation is None:
            return self.log_likelihood_of_all(labels)
        return conversation.log_likelihood(labels).transpose(0, 1).flatten(1)

    def sampled_log_likelihood(
        self, labels: torch.Tensor, num_samples: int, generator: Generators = None, chunk_size: int = 10
    ) -> torch.Tensor:
        """log p(x|z) in nats of labels (B, 2) behind K dialogs that are drawn, so many at once, and forgotten: (K, R * B)."""
        chunks = self._noise(num_samples, self.event_shape[0], generator).split(chunk_size, dim=1)
        found = [self._converse(sampling(noise), noise.shape[1]).log_likelihood(labels) for noise in chunks]
        return torch.cat(found, dim=1).transpose(0, 1).flatten(1)

    def example(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One dialog of each row, (R, B, L), and log p of each value of both guesses behind it, (R, B, 2, values).

        The first of dialogs that were drawn or given, the greedy one where they are all that there are.
        """
        conversation = self._conversation_of(value)
        if conversation is None:
            dialogs, numbers = self.greedy_of_tree()
            runs = torch.arange(self.num_runs, device=self.tasks.device).unsqueeze(1)
            return dialogs, torch.stack([guess[runs, :, numbers, self.tasks] for guess in self.tree.guesses], dim=2)
        return self.by_run(conversation.symbols[0]), conversation.first_logits

    def by_run(self, values: torch.Tensor) -> torch.Tensor:
        """(R * B, ...) to (R, B, ...)."""
        return values.unflatten(0, (self.num_runs, -1))

    def _conversation_of(self, value: torch.Tensor) -> Conversation | None:
        """The conversation with these dialogs, None where they are all that there are; each is held once."""
        for known, conversation in self._scored:
            if known is value:
                return conversation
        symbols = value.unflatten(1, (self.num_runs, -1)).transpose(0, 1)
        conversation = self._converse(given(symbols), len(value))
        self._scored.append((value, conversation))
        return conversation

    # ---- all dialogs -------------------------------------------------------------------------------------------------

    @property
    def tree(self) -> DialogTree:
        """All dialogs about the objects and under the tasks that there are."""
        if self._tree is None:
            objects, self._rows = self.values.unique(dim=0, return_inverse=True)
            self._tree = grow_tree(self.questioner, self.answerer, objects, self.num_rounds)
        return self._tree

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        """All dialogs: (Z, R * B, L), or (Z, 1, L) without `expand`."""
        numbers, symbols = torch.arange(self.support_size, device=self.tasks.device), []
        for count in self.symbol_counts:
            symbols.append(numbers % count)
            numbers = numbers // count
        support = torch.stack(symbols, dim=-1).unsqueeze(1)
        if not expand:
            return support
        support = support.expand(-1, self.batch_shape[0], -1)
        self._scored.append((support, None))
        return support

    @property
    def log_prob_of_all(self) -> torch.Tensor:
        """log q of all dialogs: (Z, R * B)."""
        return sum(self._parts_of_all).transpose(0, 1).flatten(1)

    @property
    def _parts_of_all(self) -> tuple[torch.Tensor, torch.Tensor]:
        """log q of the questions and of the answers in all dialogs, (R, Z, B) each."""
        tree = self.tree
        questions = tree.log_questions @ self._places(self.tasks, tree.log_questions)
        return questions, tree.log_answers @ self._places(self._rows, tree.log_answers)

    def log_likelihood_of_all(self, labels: torch.Tensor) -> torch.Tensor:
        """log p(x|z) of the values that are asked for, numbers (B, 2), behind all dialogs: (Z, R * B)."""
        log_likelihood = 0.0
        for guess, label in zip(self.tree.guesses, labels.unbind(1), strict=True):
            table = guess.transpose(1, 2).flatten(2)  # (R, Z, values * T)
            places = label * guess.shape[-1] + self.tasks
            log_likelihood = log_likelihood + table @ self._places(places, table)
        return log_likelihood.transpose(0, 1).flatten(1)

    @torch.no_grad()
    def greedy_of_tree(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the bots say when each says what is most probable, (R, B, L), and the number of this dialog, (R, B)."""
        tree = self.tree
        runs = torch.arange(self.num_runs, device=self.tasks.device).unsqueeze(1)
        beginnings, number, symbols = 1, torch.zeros_like(runs), []
        for questions, answers in zip(tree.questions, tree.answers, strict=True):
            for log_probs, contexts in ((questions, self.tasks), (answers, self._rows)):
                symbols.append(log_probs.argmax(1)[runs, number, contexts])
                number = symbols[-1] * beginnings + number
                beginnings *= log_probs.shape[1]
        return torch.stack(symbols, dim=-1), number

    @staticmethod
    def _places(columns: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """What picks columns (B,) of a table (..., C) by a product, whose backward pass is one too: (C, B)."""
        picked = torch.zeros(table.shape[-1], len(columns), dtype=table.dtype, device=table.device)
        return picked.scatter_(0, columns.unsqueeze(0), 1.0)


class DialogsWithGuess(Dialogs):
    """Dialogs with the guess drawn behind them: event shape (L + 2,), the last two numbers of values."""

    def __init__(self, dialogs: Dialogs) -> None:
        super().__init__(
            dialogs.questioner, dialogs.answerer, dialogs.values, dialogs.tasks, dialogs.num_rounds, dialogs.seeds
        )
        self._event_shape = torch.Size([2 * self.num_rounds + 2])

    def sample(self, sample_shape: Sequence[int] = torch.Size(), generator: Generators = None) -> torch.Tensor:
        """Dialogs with guesses (K, R * B, L + 2)."""
        (count,) = sample_shape
        noise = self._noise(count, self.event_shape[0], generator)
        conversation = self._converse(sampling(noise), count)
        draw = sampling(noise[..., -2:])
        guesses = [draw(place, guess).argmax(1) for place, guess in enumerate(conversation.guesses)]
        guessed = torch.stack(guesses, dim=-1).transpose(0, 1).flatten(1, 2)
        value = torch.cat([conversation.symbols, guessed], dim=-1)
        self._scored = [(value, conversation)]
        return value

    @property
    def mode(self) -> torch.Tensor:
        with torch.no_grad():
            conversation = self._converse(greedy)
            guesses = torch.stack([guess.argmax(1)[:, 0].flatten() for guess in conversation.guesses], dim=-1)
            return torch.cat([conversation.symbols[0], guesses], dim=-1)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """log q of dialogs and guesses (K, R * B, L + 2), in nats: (K, R * B)."""
        log_prob = super().log_prob(value)
        for guess, drawn in zip(self._conversation_of(value).guesses, value[..., -2:].unbind(-1), strict=True):
            drawn = drawn.unflatten(1, (self.num_runs, -1)).transpose(0, 1).unsqueeze(1)
            log_prob = log_prob + guess.gather(1, drawn).squeeze(1).transpose(0, 1).flatten(1)
        return log_prob

    def is_right(self, value: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """1 where both guesses (K, R * B, L + 2) are the labels (B, 2), else 0: (K, R * B)."""
        return (value[..., -2:] == labels.repeat(self.num_runs, 1)).all(-1).float()
