"""The few distributions that intervals need: normal, t, beta, noncentral t.

Written out here because SciPy is as large as a third of the whole installation, for four functions; checked against it.
Source of the continued fraction: DLMF 8.17.22, by Lentz's method.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()
_TINY = 1e-300
_ACCURACY = 1e-13


def normal_quantile(share: float) -> float:
    """Value that a standard normal variable stays below with probability ``share``."""
    return _NORMAL.inv_cdf(share)


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) of a beta variable with shapes ``a``, ``b`` > 0: the regularized incomplete beta function."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)), with d the coefficients of DLMF 8.17.23."""
    value = above = 1.0
    below = 0.0
    for m in range(100_000):
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        even = (m + 1) * (b - m - 1) * x / ((a + 2 * m + 1) * (a + 2 * m + 2))
        before = value
        for term in (odd, even):
            below = 1 / ((1 + term * below) or _TINY)
            above = (1 + term / above) or _TINY
            value *= above * below
        if abs(value - before) < _ACCURACY * abs(value):
            return value
    raise ArithmeticError(f"incomplete beta function of {x}, {a}, {b} does not converge")


def beta_quantile(share: float, a: float, b: float) -> float:
    """Value that a beta variable with shapes ``a``, ``b`` stays below with probability ``share``."""
    return root(lambda x: beta_cdf(x, a, b) - share, 0.0, 1.0)


@lru_cache(maxsize=256)
def t_quantile(share: float, freedom: float) -> float:
    """Value that a t variable with so many degrees of freedom stays below with probability ``share``."""
    if share < 0.5:
        return -t_quantile(1 - share, freedom)
    # t² / (t² + freedom) is a beta variable.
    y = beta_quantile(2 * share - 1, 0.5, freedom / 2)
    return math.sqrt(freedom * y / (1 - y))


def t_tails(t: float, freedom: float) -> float:
    """Probability that a t variable lies as far from 0 as ``t``, on either side."""
    return beta_cdf(freedom / (freedom + t**2), freedom / 2, 0.5) if math.isfinite(t) else 0.0


def noncentral_t_quantile(share: float, freedom: int, shift: float) -> float:
    """Value that (Z + ``shift``) / sqrt(chi² / freedom) stays below with probability ``share``, for ``freedom`` >= 2.

    The chi² variable is integrated out, so that P(T <= t) is the mean of Phi(t sqrt(chi² / freedom) - shift).
    """
    # The square root of chi² / freedom is nearly normal about 1, with the standard deviation sqrt(1 / (2 freedom)).
    spread = 1 / math.sqrt(2 * freedom)
    w = np.linspace(max(1e-9, 1 - 10 * spread), 1 + 12 * spread, 1001)
    density = np.exp((freedom - 1) * np.log(w) - freedom * (w**2 - 1) / 2)
    density /= density.sum()

    def below(t: float) -> float:
        heights = [math.erfc((shift - t * one) / math.sqrt(2)) / 2 for one in w.tolist()]
        return float(density @ np.array(heights)) - share

    near = shift + normal_quantile(share) * math.sqrt(1 + shift**2 / (2 * freedom))
    reach = 10 * (1 + abs(near))
    return root(below, near - reach, near + reach)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """The place where a monotone function is zero, or jumps over it, between two at which its signs differ.

    Source: Chandrupatla, Advances in Engineering Software 28 (1997) 145-149: inverse quadratic interpolation where it
    is safe, else halving.
    """
    here, there = high, low
    at_here, at_there = function(here), function(there)
    step = 0.5
    for _ in range(200):
        middle = here + step * (there - here)
        value = function(middle)
        if (value < 0) == (at_here < 0):
            before, at_before = here, at_here
        else:
            before, at_before, there, at_there = there, at_there, here, at_here
        here, at_here = middle, value
        best, least = (here, at_here) if abs(at_here) < abs(at_there) else (there, at_there)
        width = abs(there - here)
        close = _ACCURACY * max(abs(best), 1e-12)
        if least == 0 or width <= 2 * close:
            break
        along = (here - there) / (before - there)
        up = (at_here - at_there) / (at_before - at_there)
        step = 0.5
        if up**2 < along and (1 - up) ** 2 < 1 - along:
            step = at_here / (at_there - at_here) * at_before / (at_there - at_before) + (before - here) / (
                there - here
            ) * at_here / (at_before - at_here) * at_there / (at_before - at_there)
        step = min(1 - close / width, max(close / width, step))
    return best
