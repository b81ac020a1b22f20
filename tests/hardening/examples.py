"""How many examples a property is tried on: five by default, always the same ones; as many others as HF_LVM_EXAMPLES says."""

import os

import torch
from hypothesis import HealthCheck, Phase, settings

EXAMPLES = os.environ.get("HF_LVM_EXAMPLES")


def _settings(default: int) -> settings:
    # Five examples that are always the same are small enough as they are; to shrink one takes longer than all tests.
    return settings(
        max_examples=int(EXAMPLES or default), derandomize=EXAMPLES is None, deadline=None, database=None,
        phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )  # fmt: skip


examples = _settings(5)
few_examples = _settings(2)  # of a property that is tried on many classes, or on models


def close(one: torch.Tensor, other: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
