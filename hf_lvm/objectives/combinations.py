"""Which objective goes with which estimator, and what the error says when they do not."""

OBJECTIVES = {"elbo": ("reparameterization",)}


def check_combination(objective: str, estimator: str, num_samples: int) -> None:
    """Raise a `ValueError` for an objective or estimator that does not exist, or a pair that makes no sense."""
    if objective not in OBJECTIVES:
        raise ValueError(f"Unknown objective {objective!r}: choose one of {', '.join(map(repr, OBJECTIVES))}.")
    if estimator not in OBJECTIVES[objective]:
        allowed = ", ".join(map(repr, OBJECTIVES[objective]))
        raise ValueError(f"Objective {objective!r} does not take the estimator {estimator!r}: choose one of {allowed}.")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, but is {num_samples}.")
