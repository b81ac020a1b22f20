import torch

from hf_lvm.distributions import uniform_noise
from tests.tiny_parts import row_generators


def test_uniform_noise_fills_the_unit_interval_row_by_row():
    noise = uniform_noise((2000,), 3, (2,), generator=row_generators(3), dtype=torch.float64)
    assert noise.shape == (2000, 3, 2) and noise.dtype == torch.float64
    assert 0 <= noise.min() < 0.01 and 0.99 < noise.max() < 1
    assert ((noise.mean(0) - 0.5).abs() < 5 * (12 * 2000) ** -0.5).all()
    alone = uniform_noise((2000,), 1, (2,), generator=[row_generators(3)[1]], dtype=torch.float64)
    assert torch.equal(noise[:, 1:2], alone)
