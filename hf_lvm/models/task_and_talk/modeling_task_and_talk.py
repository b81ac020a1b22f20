"""Task & Talk: two bots invent a language to answer questions about objects (Kottur et al. 2017).

x is the answer, the values of the two attributes that a task asks for, and z the dialog. One bot knows the task and one sees
the object, so what the first guesses is what the second has told it. R runs, each from first weights of its own, are one
tensor program: the weights of all runs stand in one tensor each, (R, ...), and no run ever sees another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_lvm.backbones.composition.adapter_checkpoints import AdapterCheckpoints
from hf_lvm.data.task_and_talk import all_tasks
from hf_lvm.distributions import Generators
from hf_lvm.estimators import build_estimator, check_temperature
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.models.task_and_talk.bots import Answerer, Questioner
from hf_lvm.models.task_and_talk.bound import dialog_terms, hard_weights
from hf_lvm.models.task_and_talk.configuration_task_and_talk import TaskAndTalkConfig
from hf_lvm.models.task_and_talk.dialogs import Dialogs
from hf_lvm.objectives import LikelihoodEstimate, check_combination, estimate_from_log_weights


@dataclass
class TaskAndTalkOutput(ModelOutput):
    """What a forward pass returns. B rows, L symbols of a dialog, N values of all attributes together.

    With several runs everything but `loss` and `run_losses` has R in front.

    Attributes:
        loss: scalar, the sum over runs of their losses, so that the gradient of each run is the one it would have alone. The
            loss of a run is the negative bound in nats, averaged over rows; under `reward` the negative reward.
        run_losses: (R,), the losses of the runs.
        reconstruction: (B,), -log p(x|z) in nats, the mean over dialogs.
        kl: (B,), zero, because the way the bots talk is their prior; under `marginal` KL(p(z|x) || p(z)), so that the two sum
            to -log p(x).
        logits: (B, 2, N), log p of each value as the first and as the second that was asked for, behind `latents`.
        latents: (B, L), the first dialog of each row that was drawn or given, questions and answers in turn; the greedy one
            where all were summed over.
    """

    loss: torch.Tensor | None = None
    run_losses: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    latents: torch.Tensor | None = None


@dataclass(frozen=True)
class Talk:
    """Greedy dialogs and the guesses behind them. With several runs everything has R in front, and B rows come behind.

    Attributes:
        dialogs: (B, L), numbers of questions and answers in turn.
        guesses: (B, 2), numbers of values among those of all attributes, as labels have them.
        right: (B, 2) bool, whether each guess is right.
    """

    dialogs: torch.Tensor
    guesses: torch.Tensor
    right: torch.Tensor


class TaskAndTalkModel(AdapterCheckpoints, PreTrainedModel):
    """Two bots, or R pairs of them that train side by side.

    Example:

    ```python
    >>> from hf_lvm import TaskAndTalkConfig, TaskAndTalkModel
    >>> from hf_lvm.data.task_and_talk import instances, published_split

    >>> model = TaskAndTalkModel(TaskAndTalkConfig(num_runs=3, hidden_size=8, seeds=[1, 2, 3]))
    >>> batch = instances(published_split().train, num_tasks=6)
    >>> model(**batch).run_losses.shape, model.run(1).config.seeds
    (torch.Size([3]), [2])

    ```
    """

    config: TaskAndTalkConfig
    base_model_prefix = "task_and_talk"
    main_input_name = "objects"
    accepts_loss_kwargs = False

    def __init__(self, config: TaskAndTalkConfig):
        super().__init__(config)
        if config.seeds is None:
            config.seeds = torch.randint(2**31, (config.num_runs,), device="cpu").tolist()
        self.questioner = Questioner(config)
        self.answerer = Answerer(config)
        self.estimator = None
        if config.estimator is not None:
            self.estimator = build_estimator(
                config.estimator,
                enumeration_budget=config.enumeration_budget,
                baseline_decay=config.baseline_decay,
                baseline_groups=config.num_runs,
                temperature=config.temperature,
            )
        self.post_init()

    def initialize_weights(self) -> None:
        """New weights where none were loaded: Glorot and Bengio's, normal, as the published code has them; biases of zero."""
        super().initialize_weights()
        for parameter, drawn in zip(self.run_parameters(), self._first_weights(self.config.seeds), strict=True):
            init.copy_(parameter, drawn)

    def _first_weights(self, seeds: Sequence[int]) -> Iterator[torch.Tensor]:
        """First weights of runs of some seeds, for each parameter; those of a run follow from its seed alone."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for parameter in self.run_parameters():
            shape = parameter.shape[1:]
            if len(shape) == 1:  # biases
                yield torch.zeros(len(seeds), *shape)
            else:
                stddev = self.config.initial_scale * (2.0 / sum(shape)) ** 0.5
                yield stddev * torch.stack([torch.randn(shape, generator=generator) for generator in generators])

    def run_parameters(self) -> list[nn.Parameter]:
        """The weights of the bots, each (R, ...)."""
        return [*self.questioner.parameters(), *self.answerer.parameters()]

    # ---- the game ----------------------------------------------------------------------------------------------------

    @property
    def tasks(self) -> torch.Tensor:
        """(T, 2), the attributes that each task asks for."""
        return all_tasks(len(self.config.num_values)).to(self.device)

    def values_of(self, objects: torch.Tensor) -> torch.Tensor:
        """Objects (B, A) of values counted from 0 in each attribute, as numbers among those of all attributes.

        Raises:
            ValueError: another number of attributes, or a value that an attribute does not have.
        """
        counts = torch.tensor(self.config.num_values, device=objects.device)
        if objects.dim() != 2 or objects.shape[1] != len(counts):
            raise ValueError(
                f"objects has shape {tuple(objects.shape)}: (B, {len(counts)}) is needed, a value of each attribute."
            )
        if objects.numel() and bool(((objects < 0) | (objects >= counts)).any()):
            raise ValueError(f"objects has values outside of 0 to one less than {self.config.num_values}.")
        return objects + counts.cumsum(0) - counts

    def labels_of(self, objects: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
        """What is asked for: (B, 2), numbers of values among those of all attributes."""
        return self.values_of(objects).gather(1, self.tasks[tasks])

    def dialogs(self, objects: torch.Tensor, tasks: torch.Tensor) -> Dialogs:
        """p(z | task, object) of B rows: a distribution over (R * B, L), run by run.

        Raises:
            ValueError: objects or tasks that do not exist, or not one task for each object.
        """
        values = self.values_of(objects)
        if tasks.shape != values.shape[:1]:
            raise ValueError(f"There are {len(values)} objects and tasks of shape {tuple(tasks.shape)}: give each its task.")
        if tasks.numel() and not 0 <= int(tasks.min()) <= int(tasks.max()) < self.config.num_tasks:
            raise ValueError(f"tasks has numbers outside of 0 to {self.config.num_tasks - 1}.")
        return Dialogs(self.questioner, self.answerer, values, tasks, self.config.num_rounds, self.config.seeds)

    def forward(
        self,
        objects: torch.LongTensor,
        tasks: torch.LongTensor,
        labels: torch.LongTensor | None = None,
        latents: torch.LongTensor | None = None,
        generator: Generators = None,
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        free_bits_mode: str = "none",
        temperature: float | None = None,
        question_entropy: float = 0.0,
        answer_entropy: float = 0.0,
        return_dict: bool | None = None,
    ) -> TaskAndTalkOutput:
        """The bound of answers, or their score behind given dialogs.

        Args:
            objects: (B, A), values counted from 0 in each attribute.
            tasks: (B,), numbers of tasks.
            labels: (B, 2), the answers as numbers among the values of all attributes; the right ones where it is None.
            latents: (B, L), dialogs to score the answers behind instead of those that the bots hold; with several runs also
                (R, B, L). `kl` is None and the loss the mean reconstruction.
            generator: None, one generator, or one for each row; each run makes its own noise from it and its seed.
            kl_weight, free_bits, free_bits_mode: taken because trainers pass them; there is no KL term to weigh.
            temperature: of relaxed samples, instead of the config's.
            question_entropy, answer_entropy: weights of the entropy of what each bot says, nats, which the loss is less by. In
                the loss only; as they fall, the bots go from saying everything to saying what they have found to be worth it.

        Raises:
            ValueError: objects, tasks, answers or dialogs that do not exist, or weights that do not go with the objective.
        """
        config = self.config
        dialogs = self.dialogs(objects, tasks)
        labels = self._answers(objects, tasks, labels)
        if latents is not None:
            return self._score(dialogs, labels, latents)
        check_combination(
            config.objective, config.estimator, config.num_samples, latents="dialog", free_bits_mode=free_bits_mode
        )
        if temperature is not None:
            check_temperature(temperature)
        terms = dialog_terms(config, self.estimator, dialogs, labels, generator, temperature, question_entropy, answer_entropy)
        row_losses = terms.loss
        if self.training and config.hard_share:
            row_losses = row_losses * hard_weights(self._is_right(dialogs, labels), dialogs.values, config.hard_share)
        run_losses = row_losses.mean(1)
        return TaskAndTalkOutput(
            loss=run_losses.sum(),
            run_losses=run_losses,
            reconstruction=self._alone(terms.reconstruction),
            kl=self._alone(terms.kl),
            logits=self._alone(terms.logits.detach()),
            latents=self._alone(terms.latents),
        )

    def _answers(self, objects: torch.Tensor, tasks: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Labels (B, 2) that exist: the right ones where none are given."""
        if labels is None:
            return self.labels_of(objects, tasks)
        return self._checked(labels, "labels", 2, [self.config.num_all_values] * 2)

    def _score(self, dialogs: Dialogs, labels: torch.Tensor, latents: torch.Tensor) -> TaskAndTalkOutput:
        """-log p(x|z) behind given dialogs."""
        runs, rows = self.config.num_runs, len(labels)
        latents = self._checked(latents, "latents", dialogs.event_shape[0], dialogs.symbol_counts)
        latents = latents.expand(runs, rows, -1).flatten(0, 1).unsqueeze(0)
        reconstruction = dialogs.by_run(-dialogs.log_likelihood_of(latents, labels)[0])
        run_losses = reconstruction.mean(1)
        given, logits = dialogs.example(latents)
        return TaskAndTalkOutput(
            loss=run_losses.sum(),
            run_losses=run_losses,
            reconstruction=self._alone(reconstruction),
            logits=self._alone(logits),
            latents=self._alone(given),
        )

    def _is_right(self, dialogs: Dialogs, labels: torch.Tensor) -> torch.Tensor:
        """Whether both greedy guesses are right: (R, B)."""
        return (self._greedy(dialogs)[1] == labels).all(-1)

    @torch.no_grad()
    def _greedy(self, dialogs: Dialogs) -> tuple[torch.Tensor, torch.Tensor]:
        """Greedy dialogs (R, B, L) and guesses (R, B, 2); from the table of all dialogs where that is there anyway."""
        if self.config.estimator == "exact":
            latents, logits = dialogs.example(dialogs.enumerate_support())
        else:
            latents, logits = dialogs.example(dialogs.mode.unsqueeze(0))
        return latents, logits.argmax(-1)

    def _alone(self, values: torch.Tensor) -> torch.Tensor:
        """What one run has, without a dimension for runs."""
        return values[0] if self.config.num_runs == 1 else values

    def _checked(self, numbers: torch.Tensor, name: str, width: int, counts: Sequence[int]) -> torch.Tensor:
        """Numbers (..., width) that exist."""
        if numbers.dim() < 2 or numbers.shape[-1] != width:
            raise ValueError(f"{name} has shape {tuple(numbers.shape)}: {width} numbers a row are needed, (B, {width}).")
        limits = torch.tensor(counts, device=numbers.device)
        if bool(((numbers < 0) | (numbers >= limits)).any()):
            raise ValueError(f"{name} has numbers outside of 0 to one less than {list(counts)}.")
        return numbers

    def estimate_log_likelihood(
        self,
        objects: torch.LongTensor,
        tasks: torch.LongTensor,
        labels: torch.LongTensor | None = None,
        num_samples: int = 100,
        generator: Generators = None,
    ) -> LikelihoodEstimate:
        """log p(x | task, object) in nats, (B,), or (R, B) of several runs.

        Summed exactly over all dialogs where there are no more than `enumeration_budget`; otherwise the logarithm of the mean
        of p(x|z) over sampled dialogs, in the mean a lower bound.

        Raises:
            ValueError: objects, tasks or answers that do not exist.
        """
        with in_evaluation_mode(self):
            dialogs = self.dialogs(objects, tasks)
            labels = self._answers(objects, tasks, labels)
            if self.config.num_dialogs <= self.config.enumeration_budget:
                log_joint = dialogs.log_prob_of_all + dialogs.log_likelihood_of_all(labels)
                log_likelihood = self._alone(dialogs.by_run(log_joint.double().logsumexp(0)))
                return LikelihoodEstimate.exactly(log_likelihood)
            estimate = estimate_from_log_weights(dialogs.sampled_log_likelihood(labels, num_samples, generator))
            return LikelihoodEstimate(
                *(
                    self._alone(dialogs.by_run(part))
                    for part in (estimate.log_likelihood, estimate.standard_error, estimate.effective_sample_size)
                )
            )

    # ---- runs --------------------------------------------------------------------------------------------------------

    def run(self, number: int) -> "TaskAndTalkModel":
        """One of the runs as a model of its own, with weights of its own, in the same mode.

        Raises:
            IndexError: there is no such run.
        """
        if not 0 <= number < self.config.num_runs:
            raise IndexError(f"There is no run {number}: there are runs 0 to {self.config.num_runs - 1}.")
        settings = self.config.to_dict() | {"num_runs": 1, "seeds": [self.config.seeds[number]]}
        alone = type(self)(type(self.config)(**settings)).to(self.device, self.dtype)
        state, shapes = {}, {name: own.shape for name, own in alone.state_dict().items()}
        for name, value in self.state_dict().items():
            if value.shape != shapes[name]:
                # Moments of baselines have the runs last, and none where there is one.
                value = value[number : number + 1] if value.dim() == len(shapes[name]) else value[..., number]
            state[name] = value.clone()
        alone.load_state_dict(state)
        return alone.train(self.training)

    @torch.no_grad()
    def begin_anew(self, runs: Sequence[int], seeds: Sequence[int]) -> None:
        """Give some of the runs first weights and noise of other seeds."""
        for parameter, drawn in zip(self.run_parameters(), self._first_weights(seeds), strict=True):
            parameter[list(runs)] = drawn.to(parameter)
        for run, seed in zip(runs, seeds, strict=True):
            self.config.seeds[run] = seed

    # ---- dialogs -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def talk(self, objects: torch.LongTensor, tasks: torch.LongTensor) -> Talk:
        """What the bots say about objects (B, A) under tasks (B,), each what is most probable, and what is then guessed."""
        with in_evaluation_mode(self):
            dialogs = self.dialogs(objects, tasks)
            latents, guesses = self._greedy(dialogs)
            right = guesses == self.labels_of(objects, tasks)
        return Talk(*(self._alone(part) for part in (latents, guesses, right)))


AutoConfig.register(TaskAndTalkConfig.model_type, TaskAndTalkConfig)
AutoModel.register(TaskAndTalkConfig, TaskAndTalkModel)
