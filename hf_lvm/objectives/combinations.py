"""Which objective goes with which estimator, and what the error says when they do not."""

# The estimators of each objective: for latents that a gradient can go through, and for latents that it cannot.
CONTINUOUS = {"elbo": ("reparameterization",), "iwae": ("reparameterization", "dreg")}
DISCRETE = {
    "elbo": (
        "exact",
        "exact_topk",
        "reinforce",
        "reinforce_moving_average",
        "reinforce_learned",
        "reinforce_self_critical",
        "rloo",
        "gumbel_softmax",
        "straight_through",
        "relax",
        "disarm",
    ),
    "marginal": ("exact",),
    "iwae": ("vimco",),
    "minimum_risk": (None,),
}
# For structures, such as trees: too many to enumerate, and a decoder cannot read half of one.
STRUCTURED = {
    "elbo": ("reinforce", "reinforce_moving_average", "reinforce_learned", "reinforce_self_critical", "rloo"),
    "iwae": ("vimco",),
    "minimum_risk": (None,),
}
# For structures written symbol by symbol: a reader of embeddings can be shown relaxed symbols.
SEQUENCES = STRUCTURED | {"elbo": (*STRUCTURED["elbo"], "gumbel_softmax", "straight_through")}
# For structures that can be summed over, such as deletions that are scored by pairs of words.
SUMMED = {
    "elbo": ("exact", *STRUCTURED["elbo"]),
    "marginal": ("exact",),
    "iwae": STRUCTURED["iwae"],
    "minimum_risk": STRUCTURED["minimum_risk"],
}
# For sequences of a few symbols, which can all be written down where they are short.
SHORT_SEQUENCES = SEQUENCES | {"elbo": ("exact", *SEQUENCES["elbo"]), "marginal": ("exact",)}
# For the dialogs of a game, which also has a reward that is no likelihood.
DIALOG = SHORT_SEQUENCES | {
    "elbo": (
        "exact",
        "reinforce",
        "reinforce_moving_average",
        "reinforce_self_critical",
        "rloo",
        "gumbel_softmax",
        "straight_through",
    ),
}
DIALOG |= {"reward": DIALOG["elbo"]}
OBJECTIVES = {
    "continuous": CONTINUOUS,
    "discrete": DISCRETE,
    "structured": STRUCTURED,
    "sequence": SEQUENCES,
    "short_sequence": SHORT_SEQUENCES,
    "summed": SUMMED,
    "dialog": DIALOG,
}
LEAVE_ONE_OUT = ("rloo", "vimco")


def check_combination(
    objective: str,
    estimator: str | None,
    num_samples: int,
    *,
    latents: str = "continuous",
    free_bits_mode: str = "none",
) -> None:
    """Raise a `ValueError` for an objective or estimator that does not exist, or a combination that makes no sense.

    Args:
        objective: a name in `OBJECTIVES[latents]`.
        estimator: a name in `OBJECTIVES[latents][objective]`; None for `minimum_risk`, which is its own.
        num_samples: samples of the latent for each sentence.
        latents: `continuous`, `discrete`, `structured`, `sequence`, structures that are written symbol by symbol,
            `short_sequence`, those that may be few enough to be summed over one by one, `summed`, structures that can be
            summed over by other means, or `dialog`, what the players of a game say.
        free_bits_mode: that of the training; "none" where free bits are off.
    """
    objectives = OBJECTIVES[latents]
    if objective not in objectives:
        raise ValueError(
            f"Unknown objective {objective!r}: choose one of {', '.join(map(repr, objectives))} for {latents} latents."
        )
    if estimator not in objectives[objective]:
        named = ", ".join(repr(name) for name in objectives[objective] if name is not None)
        mend = f"choose one of {named}" if named else "leave estimator unset"
        taken_by = [name for name, estimators in objectives.items() if estimator in estimators]
        hint = ""
        if taken_by:
            hint = f" {estimator!r} goes with the objective {', '.join(map(repr, taken_by))}."
        elif any(estimator in estimators for others in OBJECTIVES.values() for estimators in others.values()):
            hint = f" {estimator!r} is not for {latents} latents."
        raise ValueError(f"Objective {objective!r} does not take the estimator {estimator!r}: {mend}.{hint}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}.")
    if objective == "iwae" and num_samples == 1:
        raise ValueError(
            "The K-sample bound of one sample is the ELBO with a noisier KL term: set num_samples to 2 or more (5 and 50 are "
            "common) for the objective 'iwae', or choose the objective 'elbo'."
        )
    if estimator in LEAVE_ONE_OUT and num_samples == 1:
        raise ValueError(
            f"The estimator {estimator!r} judges each sample by the others, and num_samples is 1: set it to 2 or more (4 is "
            "common), or choose 'reinforce_moving_average'."
        )
    if objective != "elbo" and free_bits_mode != "none":
        reason = {
            "iwae": "the K-sample bound has no KL term",
            "marginal": "the marginal likelihood has no KL term",
            "minimum_risk": "a risk has no KL term of its own",
            "reward": "a reward has no KL term of its own",
        }[objective]
        raise ValueError(
            f"free_bits_mode {free_bits_mode!r} holds up the KL term of the ELBO, and {reason}: set free_bits to 0, or choose "
            "the objective 'elbo'."
        )
