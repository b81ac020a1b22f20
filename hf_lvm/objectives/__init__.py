"""Bounds on log p(x), what weighs them and what diagnoses them."""

from hf_lvm.objectives.combinations import OBJECTIVES, check_combination
from hf_lvm.objectives.elbo import negative_elbo
from hf_lvm.objectives.free_bits import FREE_BITS_MODES, check_free_bits_mode, free_bits_kl
from hf_lvm.objectives.importance_weighting import (
    LikelihoodEstimate,
    estimate_from_log_weights,
    importance_weighted_bound,
)
from hf_lvm.objectives.kl_schedules import KL_SCHEDULES, check_kl_schedule, kl_weight

__all__ = [
    "FREE_BITS_MODES",
    "KL_SCHEDULES",
    "OBJECTIVES",
    "LikelihoodEstimate",
    "check_combination",
    "check_free_bits_mode",
    "check_kl_schedule",
    "estimate_from_log_weights",
    "free_bits_kl",
    "importance_weighted_bound",
    "kl_weight",
    "negative_elbo",
]
