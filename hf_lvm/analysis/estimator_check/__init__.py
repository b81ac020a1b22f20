"""Gradient estimators against the exact gradient: bias, variance, cosine and time.

| file | holds |
|---|---|
| `check.py`, `problems.py`, `suite.py` | one estimator on one of three toys; the toys; all estimators on all of them |
| `model.py`, `swapping.py` | the same on a model and a batch of one's own; the model with another estimator meanwhile |
| `exact.py` | objectives summed over all values of z |
| `learning.py` | what baselines learn before they are looked at |
| `moments.py` | mean and scatter of gradients that are not kept |
| `row.py`, `figure.py` | what was measured, and a picture of it |
"""

from hf_lvm.analysis.estimator_check.check import check_estimator
from hf_lvm.analysis.estimator_check.figure import draw_estimators
from hf_lvm.analysis.estimator_check.model import check_model
from hf_lvm.analysis.estimator_check.row import EstimatorRow
from hf_lvm.analysis.estimator_check.suite import compare_estimators

__all__ = ["EstimatorRow", "check_estimator", "check_model", "compare_estimators", "draw_estimators"]
