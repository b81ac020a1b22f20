"""Configuration of the latent class model."""

import math

from huggingface_hub.dataclasses import strict

from hf_lvm.backbones.composition import ComposedConfig
from hf_lvm.distributions import count_classes, support_in_words
from hf_lvm.estimators import ESTIMATORS, check_temperature
from hf_lvm.layers.posteriors import CATEGORY_POSTERIORS
from hf_lvm.layers.priors import CATEGORY_PRIORS
from hf_lvm.objectives import check_combination

RELAXED = ("gumbel_softmax", "straight_through", "relax")


@strict
class LatentClassConfig(ComposedConfig):
    """What a `LatentClassModel` is made of.

    Args:
        num_variables: M, variables of z.
        num_classes: C, classes of each variable; or a list, one number for each.
        summed_variables: so many variables, the last ones, are summed over in p(x | the others) instead of inferred: what they
            are of a sentence follows from the decoder by Bayes' rule, and the encoder is for the others alone.
        posterior_type: q(z|x): `categorical`, or `vector_quantized`, by distances to code vectors that the decoder reads.
        code_size: size of a code of a `vector_quantized` posterior.
        prior_type: p(z): `uniform`, `learned`, or `conditional` on another text.
        objective: `elbo`, `marginal` (log p(x) summed over all z), `iwae` (the bound of `num_samples` samples) or
            `minimum_risk`.
        estimator: of its gradient, see `hf_lvm.estimators`; None for `minimum_risk`, which is its own.
        num_samples: samples of z for each sentence; not used by `exact`.
        enumeration_budget: values of z that `exact`, and the exact likelihood, may score for a sentence.
        sampled_of_the_rest: of `exact_topk`, latents that are sampled; half of `num_samples` where it is None.
        baseline_decay: of the moving averages in baselines.
        temperature: of relaxed samples (`gumbel_softmax`, `straight_through`, `relax`), where a schedule gives no other.
        learned_temperature: predict it from the sentence; it begins at `temperature`.
        risk_sharpness: alpha of `minimum_risk`.
        classification_weight: alpha of -alpha log q(y|x), which labelled sentences add (Kingma et al. 2014, equation 9).
        unlabelled_weight: w, weight of the unlabelled sentences beside labelled ones.
        class_names: names of the classes of each variable; variables behind the last named one have none.
        encoder, decoder, injection, pooling and the others: see `ComposedConfig`.

    Raises:
        ValueError: an unknown name, or a combination that makes no sense.
    """

    model_type = "hf_lvm_latent_class"

    num_variables: int = 1
    num_classes: int | list[int] = 10
    summed_variables: int = 0
    posterior_type: str = "categorical"
    code_size: int = 32
    prior_type: str = "uniform"
    objective: str = "elbo"
    estimator: str | None = "exact"
    num_samples: int = 1
    enumeration_budget: int = 1024
    sampled_of_the_rest: int | None = None
    baseline_decay: float | int = 0.9
    temperature: float | int = 1.0
    learned_temperature: bool = False
    risk_sharpness: float | int = 1.0
    classification_weight: float | int = 1.0
    unlabelled_weight: float | int = 1.0
    class_names: list[list[str]] | None = None

    @property
    def vector_size(self) -> int:
        """Size of the vector that the decoder is conditioned on."""
        head = CATEGORY_POSTERIORS.get(self.posterior_type)
        return 0 if head is None else head.vector_size(self.num_variables, self.num_classes, self.code_size)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """How many classes each variable has: M numbers."""
        return count_classes(self.num_variables, self.num_classes)

    @property
    def num_inferred(self) -> int:
        """How many variables the encoder infers, the first ones: M less those that are summed over."""
        return self.num_variables - self.summed_variables

    @property
    def inferred_counts(self) -> tuple[int, ...]:
        """How many classes each of these has."""
        return self.class_counts[: self.num_inferred]

    @property
    def support_size(self) -> int:
        """How many values z has: the product of the variables' classes, C^M where all have C."""
        return math.prod(self.class_counts)

    def name_of(self, variable: int, number: int) -> str:
        """The name of a class, or its number."""
        names = (self.class_names or [])[variable : variable + 1]
        return names[0][number] if names and number < len(names[0]) else str(number)

    def validate_parts(self):
        """The parts exist and go together."""
        super().validate_parts()
        for key, known in (("posterior_type", CATEGORY_POSTERIORS), ("prior_type", CATEGORY_PRIORS)):
            if getattr(self, key) not in known:
                raise ValueError(
                    f"Unknown {key} {getattr(self, key)!r} for a vector of categories: choose one of "
                    f"{', '.join(map(repr, known))}."
                )
        check_combination(self.objective, self.estimator, self.num_samples, latents="discrete")
        self.check_at_least_one("num_variables", "code_size", "enumeration_budget")
        if min(self.class_counts) < 2:
            raise ValueError(f"num_classes must be at least 2, but is {self.num_classes}.")
        self._check_summed_variables()
        if self.estimator == "exact" and self.support_size > self.enumeration_budget:
            raise ValueError(
                f"The estimator 'exact' scores all {support_in_words(self.class_counts)} = {self.support_size:,} values of z "
                f"for every sentence, and enumeration_budget is {self.enumeration_budget:,}: raise it, take fewer "
                "num_variables or num_classes, or choose an estimator that samples, such as 'rloo'."
            )
        if self.estimator == "disarm" and max(self.inferred_counts) != 2:
            raise ValueError(
                f"The estimator 'disarm' is for bits, and num_classes is {self.num_classes}: set num_classes to 2, or choose "
                "'rloo'."
            )
        if self.learned_temperature and self.estimator not in RELAXED[:2]:
            raise ValueError(
                f"learned_temperature is for relaxed samples, and the estimator is {self.estimator!r}: choose "
                "'gumbel_softmax' or 'straight_through', or leave it out."
            )
        check_temperature(self.temperature)
        if self.risk_sharpness <= 0:
            raise ValueError(f"risk_sharpness must be positive, but is {self.risk_sharpness}: 1 weighs candidates by q.")
        for key in ("classification_weight", "unlabelled_weight"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more, but is {getattr(self, key)}.")
        for names, count in zip(self.class_names or [], self.class_counts, strict=False):
            if len(names) > count:
                raise ValueError(f"class_names has {len(names)} names for a variable of {count} classes: raise num_classes.")
        self._check_num_samples()

    def _check_num_samples(self) -> None:
        if self.estimator is not None:
            ESTIMATORS[self.estimator].check_num_samples(self.num_samples)
        elif self.num_samples < 2:
            raise ValueError(
                f"The objective 'minimum_risk' compares samples, and num_samples is {self.num_samples}: set it to 2 or more "
                "(a hundred in the paper)."
            )
        samples_some = self.estimator == "exact_topk" and self.num_samples < math.prod(self.inferred_counts)
        if samples_some and self.sampled_of_the_rest is not None and self.sampled_of_the_rest >= self.num_samples:
            raise ValueError(
                f"exact_topk draws {self.sampled_of_the_rest} of the rest and has num_samples of {self.num_samples} in all, "
                "which leaves none to sum: raise num_samples, or lower sampled_of_the_rest."
            )

    def _check_summed_variables(self) -> None:
        if not 0 <= self.summed_variables < self.num_variables:
            raise ValueError(
                f"summed_variables is {self.summed_variables} of num_variables {self.num_variables}: leave at least one for "
                "the encoder, or sum over all of them by the objective 'marginal'."
            )
        if self.summed_variables and self.posterior_type == "vector_quantized":
            raise ValueError(
                "A 'vector_quantized' posterior tells the decoder codes that the encoder looks up, and summed_variables have "
                "no encoder: set posterior_type to 'categorical'."
            )
        summed = math.prod(self.class_counts[self.num_inferred :])
        if summed > self.enumeration_budget:
            raise ValueError(
                f"The summed variables have {support_in_words(self.class_counts[self.num_inferred :])} = {summed:,} values, "
                f"all of which are scored for each sentence, and enumeration_budget is {self.enumeration_budget:,}: raise it, "
                "or take fewer classes."
            )
