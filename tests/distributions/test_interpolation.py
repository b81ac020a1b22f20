import math

import pytest
import torch

from hf_lvm.distributions import INTERPOLATION_PATHS, interpolate_latents


@pytest.mark.parametrize("path", INTERPOLATION_PATHS)
def test_both_ends_are_on_the_way(path):
    start, end = torch.randn(3, 8), torch.randn(3, 8)
    points = interpolate_latents(start, end, 5, path)
    assert points.shape == (5, 3, 8)
    torch.testing.assert_close(points[0], start)
    torch.testing.assert_close(points[-1], end)


def test_the_line_goes_through_the_middle_and_the_circle_keeps_its_distance():
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    torch.testing.assert_close(interpolate_latents(start, end, 3)[1], torch.tensor([1.0, 1.0]))
    circle = interpolate_latents(start, end, 7, "spherical")
    torch.testing.assert_close(circle.norm(dim=-1), torch.full((7,), 2.0))
    angles = torch.atan2(circle[:, 1], circle[:, 0])
    torch.testing.assert_close(angles, torch.linspace(0, math.pi / 2, 7))


def test_the_length_changes_evenly_on_the_circle():
    points = interpolate_latents(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]), 5, "spherical")
    torch.testing.assert_close(points.norm(dim=-1), torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))


@pytest.mark.parametrize("end", [[2.0, 0.0], [-1.0, 0.0], [1.0, 1e-9]])
def test_directions_without_a_great_circle_take_the_line(end):
    start, end = torch.tensor([1.0, 0.0]), torch.tensor(end)
    torch.testing.assert_close(interpolate_latents(start, end, 4, "spherical"), interpolate_latents(start, end, 4, "linear"))


def test_refusals():
    zeros = torch.zeros(2)
    with pytest.raises(ValueError, match="Unknown path 'curved': choose one of 'linear', 'spherical'"):
        interpolate_latents(zeros, zeros, 3, "curved")
    with pytest.raises(ValueError, match="at least its 2 ends, but steps=1"):
        interpolate_latents(zeros, zeros, 1)
    with pytest.raises(ValueError, match=r"differ in shape: \(2,\) and \(3,\)"):
        interpolate_latents(zeros, torch.zeros(3), 3)
