"""Bounds on log p(x), what weighs them and what diagnoses them."""

from hf_lvm.objectives.combinations import OBJECTIVES, check_combination
from hf_lvm.objectives.deletion_bound import deletion_bound, exact_posterior
from hf_lvm.objectives.discrete_bound import BoundTerms, discrete_bound, draw_for
from hf_lvm.objectives.divergence import KLTerms, closed_form_kl, kl_terms
from hf_lvm.objectives.elbo import negative_elbo
from hf_lvm.objectives.free_bits import (
    BATCH_MODES,
    FREE_BITS_MODES,
    PER_DIMENSION_MODES,
    check_free_bits_mode,
    free_bits_kl,
)
from hf_lvm.objectives.importance_weighting import (
    LikelihoodEstimate,
    estimate_from_log_weights,
    importance_weighted_bound,
    log_importance_weights,
    negative_iwae,
)
from hf_lvm.objectives.kl_controller import TargetKLController
from hf_lvm.objectives.kl_schedules import KL_SCHEDULES, check_kl_schedule, kl_weight
from hf_lvm.objectives.marginal import MarginalTerms, marginal_terms
from hf_lvm.objectives.minimum_risk import draw_candidates, risk
from hf_lvm.objectives.posterior_refinement import refine_gaussian
from hf_lvm.objectives.semi_supervision import (
    RowCounts,
    check_classes,
    have_brackets,
    joined_terms,
    select_rows,
    semi_supervised_mean,
)
from hf_lvm.objectives.stepwise_bound import stepwise_bound
from hf_lvm.objectives.structured_bound import structured_bound

__all__ = [
    "BATCH_MODES",
    "FREE_BITS_MODES",
    "KL_SCHEDULES",
    "OBJECTIVES",
    "PER_DIMENSION_MODES",
    "BoundTerms",
    "KLTerms",
    "LikelihoodEstimate",
    "MarginalTerms",
    "RowCounts",
    "TargetKLController",
    "check_classes",
    "check_combination",
    "check_free_bits_mode",
    "check_kl_schedule",
    "closed_form_kl",
    "deletion_bound",
    "discrete_bound",
    "draw_candidates",
    "draw_for",
    "estimate_from_log_weights",
    "exact_posterior",
    "free_bits_kl",
    "have_brackets",
    "importance_weighted_bound",
    "joined_terms",
    "kl_terms",
    "kl_weight",
    "log_importance_weights",
    "marginal_terms",
    "negative_elbo",
    "negative_iwae",
    "refine_gaussian",
    "risk",
    "select_rows",
    "semi_supervised_mean",
    "stepwise_bound",
    "structured_bound",
]
