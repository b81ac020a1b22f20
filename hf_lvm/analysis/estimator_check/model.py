"""Gradient estimators on a model and a batch of one's own, against the gradient summed over all values of z.

What is compared is the gradient of the batch's mean loss with respect to the logits of q(z|x), for every sentence, variable
and class. There all estimators differ, and it is all that the encoder is ever told: its own gradient is this one times a
matrix that no estimator touches. The gradient to the decoder is an average over samples in all of them.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_lvm.analysis.estimator_check.exact import BUDGET, exact_loss
from hf_lvm.analysis.estimator_check.learning import hold, learns_baseline, warm_up
from hf_lvm.analysis.estimator_check.moments import GradientMoments
from hf_lvm.analysis.estimator_check.row import EstimatorRow, is_biased_by_nature, name_of
from hf_lvm.analysis.estimator_check.swapping import Batch, as_in_training, cases_of, changed_config, rehearse
from hf_lvm.data.batching import given_conditions
from hf_lvm.distributions import CategoricalVector, support_in_words
from hf_lvm.estimators import Estimator
from hf_lvm.estimators.enumeration import Exact
from hf_lvm.estimators.score_function import ScoreFunction
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.objectives import OBJECTIVES

# How many logits may be held at once: as many copies of the batch are drawn for together as stay below it.
MAX_LOGITS = {"cpu": 2**23, "cuda": 2**27}
LEARNING_RATE = 0.01
# An estimator without variance is drawn a few times, to see that it has none.
DRAWS_OF_EXACT = 4
MIN_DRAWS = 20


def check_model(
    model: PreTrainedModel,
    batch: Batch,
    estimators: Sequence[str | Estimator] = (),
    *,
    objective: str | None = None,
    num_samples: int = 4,
    draws: int = 400,
    kl_weight: float = 1.0,
    seed: int = 0,
    enumeration_budget: int = BUDGET,
    warm_up_steps: int = 100,
    timed_steps: int = 5,
    name: str | None = None,
    on_row: Callable[[EstimatorRow], None] | None = None,
    on_progress: Callable[[str, int], None] | None = None,
    **options: Any,
) -> list[EstimatorRow]:
    """Bias, variance, cosine and time of estimators on a model and a batch, each against the exact gradient.

    The model draws as it does in training, without dropout. It comes back as it was: its estimator, its config, the mode of
    each module, its weights.

    Example:

    ```python
    >>> from transformers import BertConfig, GPT2Config
    >>> from hf_lvm import LatentClassConfig, LatentClassModel
    >>> from hf_lvm.analysis.estimator_check import check_model

    >>> encoder = BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    >>> decoder = GPT2Config(vocab_size=99, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    >>> model = LatentClassModel(LatentClassConfig(encoder=encoder, decoder=decoder, num_classes=5, injection="embedding"))
    >>> tokens = torch.tensor([[5, 6, 7, 2], [8, 9, 5, 2]])
    >>> batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}
    >>> rows = check_model(model, batch, ["rloo", "straight_through"], draws=100)
    >>> [(row.estimator, row.is_biased) for row in rows]
    [('rloo', False), ('straight_through', True)]

    ```

    Args:
        model: a `LatentClassModel`, or one of your own that has what is used of it here: `config` with `objective`,
            `estimator` and `num_samples`; `estimator` and `build_estimator(config)`; `encode(input_ids, attention_mask)`,
            q(z|x) as a `CategoricalVector`, and `prior_of(B)`; a forward that takes the batch, `generator` and `kl_weight`,
            and returns `loss`, the mean over sentences, and `posterior`; and that takes `labels` and `latents` (B, M), and
            returns `reconstruction` (B,) and `logits`.
        batch: what its forward takes: `input_ids`, `attention_mask`, `labels`, with a row a sentence.
        estimators: names in `ESTIMATORS`, or estimators of your own; all that go with the objective and the model by default.
        objective: whose gradient; that of the config by default. `marginal` has none with respect to q.
        num_samples: values of z that an estimator may score for a sentence in a draw. `exact` scores all there are.
        draws: independent estimates of each. The standard error falls with their square root.
        kl_weight: of the KL term.
        seed: of every draw.
        enumeration_budget: values of z that may be summed over for the exact gradient. Each is a pass of the decoder.
        warm_up_steps: of Adam, on this batch, that what learns (a baseline, a control variate) is given before it is held
            fixed. It begins with what the model's own estimator has learned, where that is the same one.
        timed_steps: training steps whose median time is reported; they include dropout and the gradient of all weights.
        name: `problem` of the rows; the name of the class by default.
        on_row: called with each row as soon as it is there.
        on_progress: called with the name of an estimator and the draws made so far.
        options: keys of the model's config to change for the check, such as `temperature` or `sampled_of_the_rest`.

    Raises:
        ValueError: a model without a vector of categories; more values of z than the budget; an estimator that does not go
            with the objective or the model; classes in the batch; a model that is random beyond its estimator.
    """
    _check_kind(model)
    objective = model.config.objective if objective is None else objective
    _check_arguments(model, batch, objective, draws, options)
    config = changed_config(model.config, options)
    posterior, logits_size = _first_pass(model, batch)
    _check_budget(posterior, enumeration_budget)
    cases = cases_of(model, config, objective, estimators, num_samples, posterior, enumeration_budget)
    for case in cases:
        rehearse(model, case, batch, kl_weight, seed)
    exact = exact_gradient_of(model, batch, posterior, objective, num_samples, kl_weight=kl_weight)
    generator = torch.Generator(model.device).manual_seed(seed)

    def loss() -> torch.Tensor:
        return model(**batch, generator=generator, kl_weight=kl_weight).loss

    limit = _logits_at_once(model.device)
    rows = []
    for case_config, estimator in cases:
        scored = _scored_latents(estimator, case_config.num_samples, posterior.support_size)
        wanted = DRAWS_OF_EXACT if isinstance(estimator, Exact) else draws
        copies = max(1, min(wanted, limit // (logits_size * scored)))
        moments = GradientMoments(exact)
        with as_in_training(model, case_config, estimator):
            if estimator is not None and learns_baseline(estimator):
                warm_up(estimator, loss, warm_up_steps, LEARNING_RATE)
                hold(estimator)
            while moments.count < wanted:
                count = min(copies, wanted - moments.count)
                moments.add(_gradients(model, _repeated(batch, count), count, generator, kl_weight))
                if on_progress is not None:
                    on_progress(name_of(estimator) or objective, moments.count)
            seconds = _seconds_of_a_step(model, loss, timed_steps)
        row = EstimatorRow(
            problem=type(model).__name__ if name is None else name,
            objective=objective,
            estimator=name_of(estimator),
            num_samples=case_config.num_samples,
            scored_latents=scored,
            is_biased=is_biased_by_nature(estimator),
            seconds=1000 * seconds,
            **moments.summary(),
        )
        rows.append(row)
        if on_row is not None:
            on_row(row)
    return rows


# ---- the exact gradient ----------------------------------------------------------------------------------------------


def exact_gradient_of(
    model: PreTrainedModel,
    batch: Batch,
    posterior: CategoricalVector,
    objective: str,
    num_samples: int = 1,
    *,
    kl_weight: float = 1.0,
) -> torch.Tensor:
    """The gradient of the mean loss with respect to the logits of q, summed over all values of z: (B M C,), float64.

    Every log p(x|z) is computed once, without dropout; the rest is arithmetic on a table of them, apart from the model.

    Args:
        posterior: q(z|x) of the batch.

    Raises:
        ValueError: too many sets of samples to sum over, or a gradient of zero.
    """
    count = len(batch["labels"])
    logits = posterior.logits.detach().double().requires_grad_()
    with in_evaluation_mode(model):
        prior = model.prior_of(count, **given_conditions(batch))
        # Variables that are summed over beside q are a part of p(x|z).
        prior = prior.marginal(0, posterior.event_shape[0])
        prior = prior.with_logits(prior.logits.double())
        log_likelihood = _log_likelihoods(model, batch["labels"], posterior.enumerate_support())
    loss = exact_loss(
        objective,
        posterior.with_logits(logits),
        prior,
        log_likelihood.double(),
        num_samples=num_samples,
        kl_weight=kl_weight,
        risk_sharpness=getattr(model.config, "risk_sharpness", 1.0),
    )
    (gradient,) = torch.autograd.grad(loss.mean(), logits)
    if not gradient.any():
        raise ValueError(
            f"The gradient of {objective!r} with respect to q is zero on this batch, so there is nothing to compare with: q "
            "may have become certain of every text, or a value of z may change nothing."
        )
    return gradient.flatten()


def _log_likelihoods(model: PreTrainedModel, labels: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """log p(x|z) of values (S, B, M), without a gradient: (S, B)."""
    first = model(labels=labels, latents=values[0])
    limit = _logits_at_once(labels.device)
    scores = [-first.reconstruction.unsqueeze(0)]
    for some in values[1:].split(max(1, limit // first.logits.numel())):
        output = model(labels=labels.repeat(len(some), 1), latents=some.flatten(0, 1))
        scores.append(-output.reconstruction.unflatten(0, (len(some), -1)))
    return torch.cat(scores)


def _logits_at_once(device: torch.device) -> int:
    return MAX_LOGITS.get(device.type, MAX_LOGITS["cuda"])


# ---- estimates of it -------------------------------------------------------------------------------------------------


def _gradients(
    model: PreTrainedModel, batch: Batch, copies: int, generator: torch.Generator, kl_weight: float
) -> torch.Tensor:
    """One estimate for each copy in the batch: (copies, B M C)."""
    output = model(**batch, generator=generator, kl_weight=kl_weight)
    posterior = output.posterior
    (gradient,) = torch.autograd.grad(output.loss * copies, posterior.logits)
    # Back through the normalisation of the logits, whose derivative takes out what is a shift of all of them.
    gradient = gradient - posterior.probs * gradient.sum(-1, keepdim=True)
    return gradient.detach().double().reshape(copies, -1)


def _repeated(batch: Batch, copies: int) -> dict[str, torch.Tensor]:
    return {key: value.repeat(copies, *[1] * (value.dim() - 1)) for key, value in batch.items()}


def _seconds_of_a_step(model: PreTrainedModel, loss: Callable[[], torch.Tensor], steps: int) -> float:
    """The median time of forward and backward in training, after one step that is not counted."""
    model.train()
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        torch.autograd.grad(loss(), weights, allow_unused=True)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _scored_latents(estimator: Estimator | None, num_samples: int, support_size: int) -> int:
    if isinstance(estimator, Exact):
        return support_size
    if isinstance(estimator, ScoreFunction) and estimator.baseline.uses_mode:
        return num_samples + 1
    return min(num_samples, support_size) if getattr(estimator, "name", None) == "exact_topk" else num_samples


# ---- what can be checked ---------------------------------------------------------------------------------------------


def _first_pass(model: PreTrainedModel, batch: Batch) -> tuple[CategoricalVector, int]:
    """q(z|x) of the batch, and how many logits one value of z has the decoder make."""
    with in_evaluation_mode(model):
        posterior = model.encode(batch["input_ids"], batch.get("attention_mask"))
        if isinstance(posterior, CategoricalVector):
            logits = model(labels=batch["labels"], latents=posterior.mode).logits
            return posterior, logits.numel()
    raise ValueError(_WRONG_KIND.format(kind=model.config.model_type, found=f"its q(z|x) is a {type(posterior).__name__}"))


_WRONG_KIND = (
    "A {kind!r} model cannot be checked: estimators are compared on a vector of categories, and {found}. Give a latent class "
    "model, or one of your own whose q(z|x) is a CategoricalVector."
)


def _check_budget(posterior: CategoricalVector, budget: int) -> None:
    if posterior.support_size > budget:
        raise ValueError(
            f"z has {support_in_words(posterior.class_counts)} = {posterior.support_size:,} values, and the exact "
            f"gradient sums over at most {budget:,}: raise enumeration_budget (each value is a pass of the decoder for every "
            "sentence), or check a model of the same kind with fewer num_variables or num_classes."
        )


def _check_kind(model: PreTrainedModel) -> None:
    missing = [key for key in ("objective", "estimator", "num_samples") if not hasattr(model.config, key)]
    if missing:
        raise ValueError(_WRONG_KIND.format(kind=model.config.model_type, found=f"its config has no {missing[0]}"))
    missing = [key for key in ("estimator", "build_estimator", "prior_of", "encode") if not hasattr(model, key)]
    if missing:
        raise ValueError(_WRONG_KIND.format(kind=model.config.model_type, found=f"it has no {missing[0]}"))


def _check_arguments(model: PreTrainedModel, batch: Batch, objective: str, draws: int, options: Mapping[str, Any]) -> None:
    if objective not in OBJECTIVES["discrete"]:
        raise ValueError(
            f"Unknown objective {objective!r}: choose one of {', '.join(map(repr, OBJECTIVES['discrete']))} for discrete "
            "latents."
        )
    if objective == "marginal":
        raise ValueError(
            "The objective 'marginal' sums log p(x) exactly and has no gradient with respect to q, so there is nothing to "
            "estimate: look at another one, such as objective 'elbo'."
        )
    if draws < MIN_DRAWS:
        raise ValueError(f"draws must be at least {MIN_DRAWS}, or nothing can be said of a mean; got {draws}.")
    unknown = [key for key in options if not hasattr(model.config, key)]
    if unknown:
        raise ValueError(f"The config of {type(model).__name__} has no key {unknown[0]!r} that could be changed for a check.")
    missing = [key for key in ("input_ids", "labels") if key not in batch]
    if missing:
        raise ValueError(f"The batch has no {missing[0]!r}: give what the model's forward takes, a row a sentence.")
    if batch.get("classes") is not None:
        raise ValueError(
            "The batch has classes: where z is known nothing is drawn. Leave them out, to see the gradient of sentences "
            "without a label."
        )
