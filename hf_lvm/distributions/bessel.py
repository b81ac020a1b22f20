"""The modified Bessel function of the first kind at any real order, in logarithms, with gradients of every order.

I_v(x) overflows a float64 near x = 700 and underflows for small x and large v, so only three quantities that stay moderate
are offered: log I_v(x), the ratio I_{v+1}(x) / I_v(x), and log of I_v(x) over its leading term (x/2)^v / Gamma(v+1), which
goes to 0 with x where log I_v(x) goes to minus infinity.

Two exact expansions cover all x >= 0, each where it converges to the last bits of a float64:

- small x: the power series (DLMF 10.25.2), whose terms are all positive;
- the rest: Olver's uniform expansion in the order (DLMF 10.41.3 and 10.41.5), taken at an order of 20 or more and carried
  down to v by the recurrence between three orders (DLMF 10.29.1), which forgets rounding errors in that direction.
"""

import functools
import math
from fractions import Fraction

import torch

# Where x^2 / (4 (v + 1)) exceeds this, the series has given way to the uniform expansion. Its terms are then below
# 8^k / k!, of which 48 reach the last bit.
SERIES_LIMIT = 8.0
SERIES_TERMS = 48
# With 12 terms the uniform expansion is exact to 3e-16 from order 20 on.
UNIFORM_ORDER = 20
UNIFORM_TERMS = 12


def log_bessel(order: float, argument: torch.Tensor) -> torch.Tensor:
    """log I_order(argument), of the shape of `argument`; minus infinity at 0 unless the order is 0.

    Computed in float64 and returned in the dtype of `argument`. Differentiable in the argument, not in the order.

    Args:
        order: a real number >= 0.
        argument: real numbers >= 0, of any shape.

    Raises:
        ValueError: a negative order.
    """
    power = order * torch.log(argument.double() / 2) if order > 0 else torch.zeros_like(argument, dtype=torch.float64)
    return (power - math.lgamma(order + 1) + log_relative_bessel(order, argument.double())).to(argument.dtype)


def log_relative_bessel(order: float, argument: torch.Tensor) -> torch.Tensor:
    """log of I_v(x) Gamma(v+1) / (x/2)^v, which is the hypergeometric function 0F1(; v+1; x^2/4): 0 at x = 0.

    Its derivative is `bessel_ratio`. Arguments, dtype and errors as in `log_bessel`.
    """
    _check_order(order)
    return _LogRelativeBessel.apply(argument, order)


def bessel_ratio(order: float, argument: torch.Tensor) -> torch.Tensor:
    """I_{v+1}(x) / I_v(x), between 0 (at x = 0) and 1. Arguments, dtype and errors as in `log_bessel`."""
    _check_order(order)
    return _BesselRatio.apply(argument, order)


class _LogRelativeBessel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, argument: torch.Tensor, order: float) -> torch.Tensor:
        ctx.save_for_backward(argument)
        ctx.order = order
        return _evaluate(order, argument.double())[0].to(argument.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (argument,) = ctx.saved_tensors
        # In terms of differentiable functions, so that second derivatives are right too.
        return gradient * bessel_ratio(ctx.order, argument), None


class _BesselRatio(torch.autograd.Function):
    @staticmethod
    def forward(ctx, argument: torch.Tensor, order: float) -> torch.Tensor:
        ctx.save_for_backward(argument)
        ctx.order = order
        return _evaluate(order, argument.double())[1].to(argument.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (argument,) = ctx.saved_tensors
        order, wide = ctx.order, argument.double()
        ratio = bessel_ratio(order, wide)
        # Riccati equation of the ratio (DLMF 10.29.2). At x = 0 ratio / x has the limit 1 / (2 (v + 1)).
        positive = wide > 0
        quotient = torch.where(positive, ratio / torch.where(positive, wide, 1.0), 1 / (2 * (order + 1)))
        return (gradient * (1 - ratio.square() - (2 * order + 1) * quotient)).to(argument.dtype), None


def _evaluate(order: float, argument: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log 0F1(; order + 1; argument^2 / 4) and the ratio of the orders order + 1 and order, of a float64 argument."""
    boundary = 2 * math.sqrt(SERIES_LIMIT * (order + 1))
    small = argument <= boundary
    # Each branch sees only arguments it can bear: the other entries are dropped below, but must not become NaN.
    by_series = _power_series(order, argument.clamp(max=boundary))
    by_expansion = _carried_down(order, argument.clamp(min=boundary))
    return tuple(torch.where(small, *both) for both in zip(by_series, by_expansion, strict=True))


def _power_series(order: float, argument: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    quarter = argument.square().unsqueeze(-1) / 4
    index = torch.arange(1, SERIES_TERMS + 1, dtype=torch.float64, device=argument.device)
    own, next_order = ((quarter / (index * (v + index))).cumprod(-1).sum(-1) for v in (order, order + 1))
    return own.log1p(), argument / (2 * (order + 1)) * (1 + next_order) / (1 + own)


def _carried_down(order: float, argument: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    steps = max(0, math.ceil(UNIFORM_ORDER - order))
    top = order + steps
    log_value, ratio = _uniform_expansion(top, argument)
    product = torch.ones_like(argument)
    for step in range(steps):
        ratio = 1 / (2 * (top - step) / argument + ratio)
        product = product * ratio
    log_value = log_value - product.log()
    return log_value - order * torch.log(argument / 2) + math.lgamma(order + 1), ratio


def _uniform_expansion(order: float, argument: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log I_order and I_{order+1} / I_order by DLMF 10.41.3 for the function and 10.41.5 for its derivative."""
    hypotenuse = torch.hypot(argument, torch.full_like(argument, order))
    p = order / hypotenuse
    value, derivative = _horner(_coefficients(order)[0], p), _horner(_coefficients(order)[1], p)
    exponent = hypotenuse + order * torch.log(argument / (order + hypotenuse))
    log_value = exponent - 0.5 * torch.log(2 * math.pi * hypotenuse) + value.log()
    return log_value, (hypotenuse * derivative / value - order) / argument


def _horner(coefficients: tuple[float, ...], p: torch.Tensor) -> torch.Tensor:
    result = torch.full_like(p, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * p + coefficient
    return result


@functools.lru_cache(maxsize=64)
def _coefficients(order: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of the polynomials sum_k U_k(p) / order^k and sum_k V_k(p) / order^k in p, lowest power first."""
    sums = [[0.0] * (3 * UNIFORM_TERMS + 1) for _ in range(2)]
    for total, polynomials in zip(sums, _debye_polynomials(), strict=True):
        for k, polynomial in enumerate(polynomials):
            for power, coefficient in enumerate(polynomial):
                total[power] += float(coefficient) / order**k
    return tuple(map(tuple, sums))


@functools.cache
def _debye_polynomials() -> tuple[list[list[Fraction]], list[list[Fraction]]]:
    """U_k and V_k for k = 0..UNIFORM_TERMS as exact coefficients, by their recurrence (DLMF 10.41.9)."""
    values, derivatives = [[Fraction(1)]], [[Fraction(1)]]
    for _ in range(UNIFORM_TERMS):
        known = values[-1]
        value, derivative = ([Fraction(0)] * (len(known) + 3) for _ in range(2))
        for power, c in enumerate(known):
            value[power + 1] += c * power / 2 + c / (8 * (power + 1))
            value[power + 3] -= c * power / 2 + 5 * c / (8 * (power + 3))
            derivative[power + 1] -= c / 2 + c * power
            derivative[power + 3] += c / 2 + c * power
        values.append(value)
        derivatives.append([a + b for a, b in zip(value, derivative, strict=True)])
    return values, derivatives


def _check_order(order: float) -> None:
    if not order >= 0:
        raise ValueError(f"The order of the Bessel function must be a real number >= 0, but is {order}.")
