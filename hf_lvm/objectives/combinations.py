"""Which objective goes with which estimator, and what the error says when they do not."""

OBJECTIVES = {"elbo": ("reparameterization",), "iwae": ("reparameterization", "dreg")}


def check_combination(objective: str, estimator: str, num_samples: int, *, free_bits_mode: str = "none") -> None:
    """Raise a `ValueError` for an objective or estimator that does not exist, or a combination that makes no sense.

    Args:
        objective: a name in `OBJECTIVES`.
        estimator: a name in `OBJECTIVES[objective]`.
        num_samples: samples of the latent for each sentence.
        free_bits_mode: that of the training; "none" where free bits are off.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"Unknown objective {objective!r}: choose one of {', '.join(map(repr, OBJECTIVES))}.")
    if estimator not in OBJECTIVES[objective]:
        allowed = ", ".join(map(repr, OBJECTIVES[objective]))
        taken_by = [name for name, estimators in OBJECTIVES.items() if estimator in estimators]
        hint = f" {estimator!r} goes with the objective {', '.join(map(repr, taken_by))}." if taken_by else ""
        raise ValueError(f"Objective {objective!r} does not take the estimator {estimator!r}: choose one of {allowed}.{hint}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}.")
    if objective == "iwae" and num_samples == 1:
        raise ValueError(
            "The K-sample bound of one sample is the ELBO with a noisier KL term: set num_samples to 2 or more (5 and 50 are "
            "common) for the objective 'iwae', or choose the objective 'elbo'."
        )
    if objective == "iwae" and free_bits_mode != "none":
        raise ValueError(
            f"free_bits_mode {free_bits_mode!r} holds up the KL term of the ELBO, and the K-sample bound has no KL term: set "
            "free_bits to 0, or choose the objective 'elbo'."
        )
