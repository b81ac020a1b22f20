"""Configuration of Task & Talk."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from hf_lvm.estimators import ESTIMATORS, check_temperature
from hf_lvm.objectives import check_combination

SIZES = (
    "num_question_symbols", "num_answer_symbols", "num_rounds", "hidden_size", "embedding_size", "value_embedding_size",
    "num_runs", "enumeration_budget",
)  # fmt: skip


@strict
class TaskAndTalkConfig(PreTrainedConfig):
    """What a `TaskAndTalkModel` is made of. The sizes are those of Kottur et al. (2017) and of their code.

    Args:
        num_values: values of each of the A attributes of an object; 4, 4 and 4 where it is None. Tasks are the A (A - 1)
            ordered pairs of attributes, see `hf_lvm.data.task_and_talk.all_tasks`.
        num_question_symbols, num_answer_symbols: vocabularies of the two bots; 64 and 64 (overcomplete), 3 and 12 (attribute
            and value) and 3 and 4 (minimal) are the published ones.
        num_rounds: questions with their answers in a dialog.
        answerer_memory: whether the answerer remembers the rounds before; if not, it begins anew at each question.
        hidden_size: of all LSTMs.
        embedding_size: of symbols and tasks.
        value_embedding_size: of each value of an object.
        num_runs: R, runs with weights of their own that train side by side.
        seeds: R different numbers, from which each run has its first weights and its noise; drawn where it is None.
        initial_scale: factor on the standard deviation of new weights, which is that of Glorot and Bengio (2010).
        objective: `elbo` (the expected log-probability of the answer), `marginal` (the logarithm of its expected probability),
            `iwae`, `minimum_risk`, or `reward` (the expected reward of the game).
        estimator: of its gradient, see `hf_lvm.estimators`; None for `minimum_risk`, which is its own.
        num_samples: dialogs for each object and task; not used by `exact`.
        enumeration_budget: dialogs that `exact`, and the exact likelihood, may sum over.
        baseline_decay: of the moving average of `reinforce_moving_average`; each run has its own.
        temperature: of `gumbel_softmax` and `straight_through`, where a schedule gives no other.
        risk_sharpness: alpha of `minimum_risk`.
        right_reward, wrong_reward: of `reward`: for both values right, and for anything else.
        sample_guess: of `reward`: draw the guess too, as in the paper; otherwise the reward is the mean over guesses.
        hard_share: share of a training loss that comes from objects of the batch about which something is guessed wrong; the
            published code draws 0.8 of its batches from them.

    Raises:
        ValueError: an unknown name, a size too small, or a combination that makes no sense.
    """

    model_type = "hf_lvm_task_and_talk"
    keys_to_ignore_at_inference = ["latents", "run_losses"]

    num_values: list[int] | None = None
    num_question_symbols: int = 3
    num_answer_symbols: int = 4
    num_rounds: int = 2
    answerer_memory: bool = False
    hidden_size: int = 100
    embedding_size: int = 20
    value_embedding_size: int = 20
    num_runs: int = 1
    seeds: list[int] | None = None
    initial_scale: float | int = 1.0
    objective: str = "elbo"
    estimator: str | None = "exact"
    num_samples: int = 1
    enumeration_budget: int = 10_000
    baseline_decay: float | int = 0.9
    temperature: float | int = 1.0
    risk_sharpness: float | int = 1.0
    right_reward: float | int = 1.0
    wrong_reward: float | int = -10.0
    sample_guess: bool = False
    hard_share: float | int = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.num_values is None:
            self.num_values = [4, 4, 4]
        if len(self.num_values) < 2 or min(self.num_values) < 2:
            raise ValueError(
                f"num_values is {self.num_values}: a task asks for two attributes, so give 2 or more, of 2 or more values."
            )
        for key in SIZES:
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, but is {getattr(self, key)}.")
        for key in ("num_question_symbols", "num_answer_symbols"):
            if getattr(self, key) < 2:
                raise ValueError(f"{key} is {getattr(self, key)}: of one symbol nothing can be learned, give 2 or more.")
        if self.seeds is not None and (len(self.seeds) != self.num_runs or len(set(self.seeds)) != self.num_runs):
            raise ValueError(f"num_runs is {self.num_runs} and seeds {self.seeds}: give each run a seed of its own.")
        if self.initial_scale <= 0:
            raise ValueError(f"initial_scale must be positive, but is {self.initial_scale}: 1 is as published.")
        if not 0 <= self.hard_share < 1:
            raise ValueError(f"hard_share must be at least 0 and below 1, but is {self.hard_share}.")
        self._check_objective()

    def _check_objective(self) -> None:
        check_combination(self.objective, self.estimator, self.num_samples, latents="dialog")
        check_temperature(self.temperature)
        if self.risk_sharpness <= 0:
            raise ValueError(f"risk_sharpness must be positive, but is {self.risk_sharpness}: 1 weighs candidates by q.")
        if self.estimator is None and self.num_samples < 2:
            raise ValueError(
                f"The objective 'minimum_risk' compares samples, and num_samples is {self.num_samples}: set it to 2 or more."
            )
        if self.estimator is not None:
            ESTIMATORS[self.estimator].check_num_samples(self.num_samples)
        if self.right_reward <= self.wrong_reward:
            raise ValueError(f"right_reward {self.right_reward} must be above wrong_reward, which is {self.wrong_reward}.")
        if self.sample_guess and (self.objective != "reward" or not self.has_score_function):
            raise ValueError(
                "sample_guess is for the objective 'reward' and an estimator that weighs samples, such as 'rloo': elsewhere "
                "the mean over guesses is known. Leave it out."
            )
        if self.estimator == "exact" and self.num_dialogs > self.enumeration_budget:
            raise ValueError(
                f"The estimator 'exact' sums over all ({self.num_question_symbols} * {self.num_answer_symbols})^"
                f"{self.num_rounds} = {self.num_dialogs:,} dialogs, and enumeration_budget is {self.enumeration_budget:,}: "
                "take smaller vocabularies or fewer rounds, or an estimator that samples, such as 'rloo'."
            )

    @property
    def has_score_function(self) -> bool:
        """Whether the estimator weighs log q of samples."""
        return self.estimator is not None and self.estimator.startswith(("reinforce", "rloo"))

    @property
    def num_all_values(self) -> int:
        """Values of all attributes together: what a guess is among."""
        return sum(self.num_values)

    @property
    def num_tasks(self) -> int:
        """Ordered pairs of attributes."""
        return len(self.num_values) * (len(self.num_values) - 1)

    @property
    def num_dialogs(self) -> int:
        """Z, how many different dialogs there are."""
        return (self.num_question_symbols * self.num_answer_symbols) ** self.num_rounds
