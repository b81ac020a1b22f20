"""What is trained: from dialogs and the guesses behind them to the loss of each row.

x is the answer, the two values that a task asks for, and z the dialog. The way the bots talk, p(z | task, object), is at once
prior and posterior: a dialog is held and not explained. So the KL term is zero, the ELBO is E_z[log p(x|z)], and

    E_z[log p(x|z)]  <=  E[log 1/K sum_k p(x|z_k)]  <=  log E_z[p(x|z)] = log p(x | task, object).

The first and the last are equal where a dialog says all that there is to say, and they have other local optima before.

The expected reward is no bound: E_z[wrong + (right - wrong) p(x|z)]. Where the guess is drawn too, as in the paper, it is two
more symbols of the dialog, and the reward is one of two numbers.
"""

from dataclasses import dataclass

import torch

from hf_lvm.distributions import Generators
from hf_lvm.estimators import Draws, Estimator
from hf_lvm.estimators.gumbel_softmax import GumbelSoftmax
from hf_lvm.models.task_and_talk.configuration_task_and_talk import TaskAndTalkConfig
from hf_lvm.models.task_and_talk.dialogs import Dialogs, DialogsWithGuess
from hf_lvm.objectives import draw_for, importance_weighted_bound, marginal_terms
from hf_lvm.objectives.minimum_risk import risk

# Objectives that are an expectation over dialogs, or have one beside them.
TAKE_ENTROPY = ("elbo", "marginal", "reward")


@dataclass(frozen=True)
class DialogTerms:
    """Of R runs and B rows.

    Attributes:
        loss: (R, B), what is minimised: nats, or units of the reward.
        reconstruction: (R, B), -log p(x|z), the mean over dialogs; under `marginal` over those that p(z|x) holds.
        kl: (R, B), zero; under `marginal` KL(p(z|x) || p(z)), so that the two sum to -log p(x).
        latents: (R, B, L), the first dialog; of those that are enumerated the greedy one.
        logits: (R, B, 2, values), log p of each value of both guesses behind it.
    """

    loss: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor
    latents: torch.Tensor
    logits: torch.Tensor


def dialog_terms(
    config: TaskAndTalkConfig,
    estimator: Estimator | None,
    dialogs: Dialogs,
    labels: torch.Tensor,
    generator: Generators = None,
    temperature: float | None = None,
    question_entropy: float = 0.0,
    answer_entropy: float = 0.0,
) -> DialogTerms:
    """The terms of the objective that a config names.

    Args:
        estimator: that of the config, None for `minimum_risk`.
        dialogs: of R runs about B rows.
        labels: (B, 2), what is asked for, each value by its number among those of all attributes.
        generator: None, one generator, or a list of B generators.
        temperature: of relaxed samples, instead of the config's.
        question_entropy, answer_entropy: weights of the entropy of what each bot says, in nats, which the loss is less by.

    Raises:
        ValueError: such a weight under `iwae` or `minimum_risk`.
    """
    weights = (question_entropy, answer_entropy)
    if any(weights) and config.objective not in TAKE_ENTROPY:
        raise ValueError(
            f"question_entropy and answer_entropy are {question_entropy:g} and {answer_entropy:g}, and the objective "
            f"{config.objective!r} has no expectation that an entropy could be added to: choose one of "
            f"{', '.join(map(repr, TAKE_ENTROPY))}, or leave them out."
        )
    if isinstance(estimator, GumbelSoftmax) and estimator.training:
        return _relaxed_terms(config, estimator, dialogs, labels, generator, temperature, weights)
    if config.sample_guess:
        dialogs = DialogsWithGuess(dialogs)
    if isinstance(estimator, GumbelSoftmax):
        draws = Draws(dialogs.sample((config.num_samples,), generator), dialogs)
    else:
        draws = draw_for(config.objective, estimator, dialogs, config.num_samples, generator)
    log_likelihood = dialogs.log_likelihood_of(draws.latents, labels)  # (D, R * B)
    kl = torch.zeros_like(log_likelihood[0])
    reconstruction = draws.mean(-log_likelihood.detach())
    surprise = 0.0
    if any(weights):
        # The mean of its own gradient is zero: what is left of an entropy's is that of how often a dialog is held.
        parts = dialogs.log_prob_parts(draws.latents)
        surprise = -sum(weight * part.detach() for weight, part in zip(weights, parts, strict=True))
    if config.objective == "elbo":
        loss = -draws.expectation(log_likelihood + surprise)
    elif config.objective == "reward":
        if config.sample_guess:
            score = reward_of(config, dialogs.is_right(draws.latents, labels))
        else:
            score = reward_of(config, log_likelihood.exp())
        loss = -draws.expectation(score + surprise)
    elif config.objective == "marginal":
        terms = marginal_terms(log_likelihood, draws.log_prob)
        loss, reconstruction, kl = terms.loss, terms.reconstruction, terms.kl
        if any(weights):
            loss = loss - draws.expectation(surprise)
    elif config.objective == "iwae":
        # log p(z) - log q(z) is zero, and so is its gradient.
        loss = -importance_weighted_bound(draws.surrogate(log_likelihood))
    else:
        loss = risk(draws, -log_likelihood, sharpness=config.risk_sharpness)
    by_run = dialogs.by_run
    latents, logits = dialogs.example(draws.latents)
    return DialogTerms(by_run(loss), by_run(reconstruction), by_run(kl), latents, logits)


def _relaxed_terms(
    config: TaskAndTalkConfig,
    estimator: GumbelSoftmax,
    dialogs: Dialogs,
    labels: torch.Tensor,
    generator: Generators,
    temperature: float | None,
    weights: tuple[float, float],
) -> DialogTerms:
    """Terms of conversations in points of simplices; the value is that of the relaxed model unless the points are corners."""
    if temperature is None:
        temperature = estimator.temperature
    conversation = dialogs.relaxed(
        temperature, config.num_samples, generator, straight_through=type(estimator).straight_through
    )
    log_likelihood = conversation.log_likelihood(labels)  # (R, K, B)
    score = reward_of(config, log_likelihood.exp()) if config.objective == "reward" else log_likelihood
    for weight, entropy in zip(weights, conversation.entropy_parts, strict=True):
        if weight:
            score = score + weight * entropy
    reconstruction = -log_likelihood.mean(1)
    return DialogTerms(
        loss=-score.mean(1),
        reconstruction=reconstruction.detach(),
        kl=torch.zeros_like(reconstruction),
        latents=dialogs.by_run(conversation.symbols[0]),
        logits=conversation.first_logits,
    )


def reward_of(config: TaskAndTalkConfig, right: torch.Tensor) -> torch.Tensor:
    """The reward where both guesses are right with probability `right`."""
    return config.wrong_reward + (config.right_reward - config.wrong_reward) * right


def hard_weights(is_right: torch.Tensor, values: torch.Tensor, hard_share: float) -> torch.Tensor:
    """Weights of rows, (R, B), whose mean is 1: a share of the loss is that of objects about which a guess is wrong.

    What the published code does by drawing: a share of its batches comes from the training objects of which at least one task
    is not solved, all tasks of an object alike. Where nothing is wrong, all rows count the same.

    Args:
        is_right: (R, B), whether both greedy guesses are right.
        values: (B, A), the objects; rows about the same one belong together.
    """
    rows = values.unique(dim=0, return_inverse=True)[1]
    wrong = torch.zeros(len(is_right), len(rows), device=rows.device)
    wrong = wrong.index_add_(1, rows, (~is_right).float())[:, rows] > 0
    count = wrong.sum(1, keepdim=True)
    hard = torch.where(count > 0, wrong * (wrong.shape[1] / count.clamp(min=1)), 1.0)
    return (1.0 - hard_share) + hard_share * hard
