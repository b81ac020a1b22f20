"""How many examples a property is tried on: five by default, always the same ones; as many others as HF_LVM_EXAMPLES says."""

import os

import torch
from hypothesis import HealthCheck, Phase, settings

EXAMPLES = os.environ.get("HF_LVM_EXAMPLES")
examples = settings(
    max_examples=int(EXAMPLES or 5), derandomize=EXAMPLES is None, deadline=None, database=None,
    phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def close(one: torch.Tensor, other: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
