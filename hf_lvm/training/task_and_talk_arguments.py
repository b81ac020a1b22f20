"""What the recipe of Task & Talk is told: the bots, their world, and what is particular about their training."""

from dataclasses import dataclass, field

from hf_lvm.objectives.combinations import DIALOG
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.objective_arguments import check_steps_or_share, steps_of


@dataclass
class TaskAndTalkArguments:
    """The model: a questioner that knows the task, and an answerer that sees the object."""

    _argument_group_name = "The model"

    model_type: str = field(default="hf_lvm_task_and_talk", metadata={"help": "Which kind of model."})
    num_question_symbols: int = field(default=3, metadata={"help": "Vocabulary of the questioner."})
    num_answer_symbols: int = field(default=4, metadata={"help": "Vocabulary of the answerer."})
    num_rounds: int = field(default=2, metadata={"help": "Questions with their answers in a dialog."})
    answerer_memory: bool = field(
        default=False,
        metadata={"help": "Whether the answerer remembers the rounds before; if not, each question is the first."},
    )
    hidden_size: int = field(default=100, metadata={"help": "Of all LSTMs."})
    embedding_size: int = field(default=20, metadata={"help": "Of symbols and tasks."})
    value_embedding_size: int = field(default=20, metadata={"help": "Of each value of an object."})
    initial_scale: float = field(
        default=1.0, metadata={"help": "Factor on the standard deviation of the first weights; 1 is as published."}
    )
    num_runs: int = field(
        default=24, metadata={"help": "Runs that train side by side, independent of each other; seeds seed, seed + 1, ..."}
    )
    objective: str = field(
        default="elbo",
        metadata={
            "help": f"What is trained: {', '.join(DIALOG)}. elbo is the expected log-probability of the answer, marginal the "
            "logarithm of its expected probability, reward the expected reward."
        },
    )
    estimator: str | None = field(
        default="exact",
        metadata={"help": f"Of its gradient: {', '.join((*DIALOG['elbo'], *DIALOG['iwae']))}; none for minimum_risk."},
    )
    num_samples: int = field(default=1, metadata={"help": "Dialogs for each object and task; not used by exact."})
    enumeration_budget: int = field(default=10_000, metadata={"help": "Dialogs that exact may sum over."})
    baseline_decay: float = field(default=0.9, metadata={"help": "Of the moving averages in baselines."})
    temperature: float = field(default=1.0, metadata={"help": "Of relaxed dialogs, at the beginning; temperature_schedule."})
    risk_sharpness: float = field(default=1.0, metadata={"help": "Alpha of minimum_risk."})
    right_reward: float = field(default=1.0, metadata={"help": "Of reward, where both values are right."})
    wrong_reward: float = field(default=-10.0, metadata={"help": "Of reward, otherwise."})
    sample_guess: bool = field(
        default=False, metadata={"help": "Of reward: draw the guess too, as published, instead of the mean over guesses."}
    )
    hard_share: float = field(
        default=0.0,
        metadata={
            "help": "Share of the loss that comes from objects about which a guess is wrong; the published code draws 0.8 of "
            "its batches from them."
        },
    )

    def __post_init__(self) -> None:
        if self.model_type != "hf_lvm_task_and_talk":
            raise ValueError(f"model_type is {self.model_type!r}; this recipe trains hf_lvm_task_and_talk")
        if self.estimator == "none" or self.objective == "minimum_risk":
            self.estimator = None


@dataclass
class WorldArguments:
    """What is talked about."""

    _argument_group_name = "The objects"

    num_values: list[int] = field(
        default_factory=lambda: [4, 4, 4],
        metadata={"help": "Values of each attribute. All ordered pairs of attributes are tasks."},
    )
    num_test: int | None = field(
        default=None,
        metadata={"help": "Objects to hold out, at random; left out, the published 13 of the 64 of three attributes of four."},
    )
    split_seed: int = field(default=0, metadata={"help": "Of num_test: the same one holds out the same objects."})

    def __post_init__(self) -> None:
        if self.num_test is None and self.num_values != [4, 4, 4]:
            raise ValueError(
                f"num_values is {self.num_values}, and the published split is of three attributes of four values: say by "
                "num_test how many objects to hold out"
            )


@dataclass
class DialogTrainingArguments(LatentTrainingArguments):
    """`LatentTrainingArguments`, and what is particular about bots that talk. Each step is of all training objects and tasks.

    `max_grad_norm` is that of each run by itself.
    """

    question_entropy: float = field(
        default=0.0,
        metadata={"help": "Weight of the entropy of questions, nats, which the loss is less by, at the first step."},
    )
    answer_entropy: float = field(default=0.0, metadata={"help": "Likewise, of answers."})
    entropy_steps: float = field(
        default=0.9,
        metadata={
            "help": "Steps in which both weights fall to 0, in a straight line. Whole numbers count optimizer steps, a number "
            "between 0 and 1 is a share of all steps, or of those of a cycle."
        },
    )
    question_entropy_steps: float | None = field(
        default=None,
        metadata={
            "help": "Likewise of the weight of questions alone, by default entropy_steps: a questioner that has made up its "
            "mind before answers mean something asks for the wrong ones."
        },
    )
    entropy_cycles: int = field(
        default=1,
        metadata={"help": "How often both weights begin at their first value, in parts of the training of equal length."},
    )
    restart_unsolved: bool = field(
        default=False,
        metadata={
            "help": "Where the weights begin again, keep the runs that have solved 99% of the training objects and tasks as "
            "they are, and let the others begin anew from other first weights, those of the seed 1,000,000 further on."
        },
    )
    accuracy_steps: int = field(
        default=10, metadata={"help": "Steps between two looks at the greedy accuracy of each run on the training objects."}
    )
    stop_when_solved: bool = field(
        default=True,
        metadata={
            "help": "Keep a run as it is once its greedy dialogs solve all tasks of all training objects, as the published "
            "code does, and end when all runs have come so far."
        },
    )
    max_steps: int = field(default=500, metadata={"help": "Optimizer steps; each is of all training objects and tasks."})
    eval_strategy: str = field(
        default="no", metadata={"help": "Has no use here: accuracies are looked at every accuracy_steps."}
    )
    save_strategy: str = field(default="steps", metadata={"help": "When to save a checkpoint: no or steps."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("question_entropy", "answer_entropy"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is 0 or more")
        check_steps_or_share("entropy_steps", self.entropy_steps)
        check_steps_or_share("question_entropy_steps", self.question_entropy_steps or 0)
        for name in ("entropy_cycles", "accuracy_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is 1 or more")
        if self.max_steps < 1:
            raise ValueError(f"max_steps is {self.max_steps}: it is 1 or more; each is of all training objects")
        if self.eval_strategy != "no":
            raise ValueError(f"eval_strategy is {self.eval_strategy!r}, and there is no validation split: leave it out")

    def entropy_weights(self, step: int, total_steps: int) -> tuple[float, float]:
        """Weights of the entropies of questions and of answers at optimizer step `step`, counted from 0."""
        cycle = self.cycle_steps(total_steps)

        def left(steps_or_share: float) -> float:
            length = steps_of(steps_or_share, cycle)
            return max(0.0, 1.0 - step % cycle / length) if length else 0.0

        of_questions = self.entropy_steps if self.question_entropy_steps is None else self.question_entropy_steps
        return self.question_entropy * left(of_questions), self.answer_entropy * left(self.entropy_steps)

    def cycle_steps(self, total_steps: int) -> int:
        """Steps of one cycle of these weights."""
        return max(total_steps // self.entropy_cycles, 1)

    def saved_settings(self, total_steps: int) -> dict[str, float | str | bool | None]:
        """See `LatentTrainingArguments.saved_settings`."""
        settings = super().saved_settings(total_steps)
        if self.question_entropy or self.answer_entropy:
            settings |= {"question_entropy": self.question_entropy, "answer_entropy": self.answer_entropy}
            settings["entropy_steps"] = steps_of(self.entropy_steps, self.cycle_steps(total_steps))
            if self.question_entropy_steps is not None:
                settings["question_entropy_steps"] = steps_of(self.question_entropy_steps, self.cycle_steps(total_steps))
            settings |= {"entropy_cycles": self.entropy_cycles, "restart_unsolved": self.restart_unsolved}
        return settings | {"stop_when_solved": self.stop_when_solved}
