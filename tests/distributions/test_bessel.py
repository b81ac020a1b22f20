"""The Bessel function against mpmath, at the orders of d = 2..768 and over seven decades of the argument."""

import math

import mpmath
import pytest
import torch

from hf_lvm.distributions.bessel import bessel_ratio, log_bessel, log_relative_bessel

DIMENSIONS = (2, 3, 4, 5, 16, 32, 50, 128, 767, 768)
# With both sides of the places where one expansion takes over from the other: 2 sqrt(8 (v + 1)) for these orders.
BOUNDARIES = [2 * math.sqrt(8 * d / 2) for d in (2, 3, 32, 768)]
ARGUMENTS = [1e-3, 1e-2, 0.1, 1.0, 3.0, 30.0, 300.0, 3e3, 1e4] + [b * f for b in BOUNDARIES for f in (0.999, 1.001)]


def reference(dimension: int) -> list[list[mpmath.mpf]]:
    """log I_v, log 0F1, the ratio of two orders and its derivative at each argument, to 50 digits."""
    order, rows = mpmath.mpf(dimension) / 2 - 1, []
    for x in map(mpmath.mpf, ARGUMENTS):
        value, above = mpmath.besseli(order, x), mpmath.besseli(order + 1, x)
        relative = mpmath.log(value) - order * mpmath.log(x / 2) + mpmath.loggamma(order + 1)
        ratio = above / value
        rows.append([mpmath.log(value), relative, ratio, 1 - ratio**2 - (2 * order + 1) * ratio / x])
    return rows


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_values_and_gradients(dimension):
    x = torch.tensor(ARGUMENTS, dtype=torch.float64, requires_grad=True)
    order = dimension / 2 - 1
    value, relative, ratio = (f(order, x) for f in (log_bessel, log_relative_bessel, bessel_ratio))
    (of_value,) = torch.autograd.grad(value.sum(), x)
    (of_relative,) = torch.autograd.grad(relative.sum(), x)
    (of_ratio,) = torch.autograd.grad(ratio.sum(), x)
    with mpmath.workdps(50):
        for place, (log_value, log_relative, quotient, curvature) in enumerate(reference(dimension)):
            for ours, exact, tolerance in (
                (value, log_value, 1e-12),
                (relative, log_relative, 1e-12),
                (ratio, quotient, 1e-13),
                (of_value, quotient + order / mpmath.mpf(ARGUMENTS[place]), 1e-13),
                (of_relative, quotient, 1e-13),
                (of_ratio, curvature, 1e-6),  # a difference of numbers near 1, as small as 1e-9
            ):
                assert abs(ours[place].item() - exact) <= tolerance * abs(exact), (ARGUMENTS[place], ours[place].item(), exact)


def test_second_derivatives():
    x = torch.tensor([0.3, 2.0, 9.0, 40.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: log_relative_bessel(3.5, x), (x,))
    assert torch.autograd.gradgradcheck(lambda x: bessel_ratio(0.5, x), (x,))


def test_zero():
    zero = torch.zeros(1, requires_grad=True)
    assert log_relative_bessel(3.0, zero).item() == bessel_ratio(3.0, zero).item() == log_bessel(0, zero).item() == 0
    assert log_bessel(3.0, zero).item() == -math.inf
    (slope,) = torch.autograd.grad(bessel_ratio(3.0, zero), zero)
    assert slope.item() == 1 / 8


def test_float32_is_as_exact_as_it_can_be():
    x = torch.tensor([0.01, 1.0, 100.0, 1e4])
    for function in (log_bessel, log_relative_bessel, bessel_ratio):
        assert function(15.0, x).dtype == torch.float32
        assert torch.equal(function(15.0, x), function(15.0, x.double()).float())


@pytest.mark.parametrize("function", [log_bessel, log_relative_bessel, bessel_ratio])
def test_a_negative_order_is_refused(function):
    with pytest.raises(ValueError, match=r"real number >= 0, but is -0\.5"):
        function(-0.5, torch.ones(1))
