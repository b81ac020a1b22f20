import torch

from hf_lvm.distributions import uniform_noise
from hf_lvm.distributions.noise import as_gumbel, noise_of_cells
from tests.tiny_parts import row_generators


def test_uniform_noise_fills_the_unit_interval_row_by_row():
    noise = uniform_noise((2000,), 3, (2,), generator=row_generators(3), dtype=torch.float64)
    assert noise.shape == (2000, 3, 2) and noise.dtype == torch.float64
    assert 0 <= noise.min() < 0.01 and 0.99 < noise.max() < 1
    assert ((noise.mean(0) - 0.5).abs() < 5 * (12 * 2000) ** -0.5).all()
    alone = uniform_noise((2000,), 1, (2,), generator=[row_generators(3)[1]], dtype=torch.float64)
    assert torch.equal(noise[:, 1:2], alone)


def test_the_noise_of_a_cell_is_its_own_and_stays_when_the_square_grows():
    generator = torch.Generator()
    wide = noise_of_cells((4,), 2, 9, generator.manual_seed(0))
    assert wide.shape == (4, 2, 9, 9) and len(wide.unique()) == wide.numel()
    assert torch.equal(noise_of_cells((4,), 2, 6, generator.manual_seed(0)), wide[..., :6, :6])
    deep = noise_of_cells((4,), 2, 9, generator.manual_seed(0), depth=3)
    assert deep.shape == (4, 2, 9, 9, 3) and len(deep.unique()) == deep.numel()
    assert torch.equal(noise_of_cells((4,), 2, 6, generator.manual_seed(0), depth=3), deep[..., :6, :6, :])
    assert torch.equal(noise_of_cells((4,), 2, 9, generator.manual_seed(0), depth=1).squeeze(-1), wide)


def test_gumbel_noise():
    uniform = uniform_noise((20_000,), 1, (1,), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = as_gumbel(uniform)
    torch.testing.assert_close((-(-noise).exp()).exp(), uniform)
    assert as_gumbel(torch.zeros(1, dtype=torch.float64)).isfinite().all()
