"""Number of patients that a study of agreement needs, so that its limits of agreement are as precise as asked.

Sources: Bland and Altman, Lancet 327 (1986) 307-310: the standard error of a limit is about sqrt(3 / n) s. Carkeet,
Optometry and Vision Science 92 (2015) e71-e80: the exact interval of a limit, by the noncentral t distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.stats.agreement import LIMIT_SDS
from aop_pose.stats.distributions import noncentral_t_quantile

LEAST, MOST = 10, 100_000
"""Patients; fewer are no study, and of more nobody needs a plan."""
STUDIES = 20_000
"""Simulated studies."""


@attrs.frozen
class StudyPlan:
    """Patients, each with one difference, for limits of agreement of a precision."""

    published: int
    """By the standard error of Bland and Altman."""
    exact: int
    """By Carkeet's interval, of a study whose standard deviation comes out as expected."""
    simulated: int
    """By the spread of the limits of simulated studies."""
    narrow_enough: float
    """Share of simulated studies with ``exact`` patients whose own exact interval is as narrow as asked."""
    nearly_sure: int
    """Patients with which that is so in nine of ten."""


def plan(sd: float, half_width: float, seed: int = 0) -> StudyPlan:
    """Patients for 95 % intervals of the limits that reach ``half_width`` to either side.

    Args:
        sd: expected standard deviation of the differences, in the unit of ``half_width``.
        half_width: of the interval of each limit.

    Raises:
        UsageError: a number that is not above 0, or a precision that takes fewer than ``LEAST`` patients or more than
            ``MOST``.
    """
    for name, value in (("--sd", sd), ("--half-width", half_width)):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{name}: expected degrees above 0, found {value:g}")
    wanted = half_width / sd
    needed = 3 * (LIMIT_SDS / wanted) ** 2
    if not LEAST <= needed <= MOST:
        raise UsageError(
            f"--half-width: expected one for which {LEAST} to {MOST} patients are needed with --sd {sd:g}, "
            f"found {half_width:g}, which takes {needed:.0f}"
        )
    rng = np.random.default_rng(seed)
    published = math.ceil(needed)
    exact = _least(lambda n: exact_half_width(n) <= wanted, published)
    simulated = _least(lambda n: LIMIT_SDS * _limits(n, np.random.default_rng(seed)).std() <= wanted, published)
    spreads = np.sqrt(rng.chisquare(exact - 1, STUDIES) / (exact - 1))
    share = float((spreads * exact_half_width(exact) <= wanted).mean())
    return StudyPlan(published, exact, simulated, share, _least(lambda n: _assured(n, wanted, seed), exact))


def exact_half_width(n: int) -> float:
    """Half the width of Carkeet's 95 % interval of a limit from ``n`` differences, in their standard deviations."""
    low, high = (noncentral_t_quantile(share, n - 1, LIMIT_SDS * math.sqrt(n)) for share in (0.025, 0.975))
    return (high - low) / (2 * math.sqrt(n))


def _assured(n: int, wanted: float, seed: int) -> bool:
    spread = np.quantile(np.random.default_rng(seed).chisquare(n - 1, STUDIES) / (n - 1), 0.9) ** 0.5
    return bool(spread * exact_half_width(n) <= wanted)


def _limits(n: int, rng: np.random.Generator) -> np.ndarray:
    """Upper limits of studies of ``n`` normal differences of mean 0 and standard deviation 1."""
    means = rng.normal(0, 1 / math.sqrt(n), STUDIES)
    return means + LIMIT_SDS * np.sqrt(rng.chisquare(n - 1, STUDIES) / (n - 1))


def _least(enough: Callable[[int], bool], near: int) -> int:
    """The least number for which ``enough`` holds, found by halving about ``near``."""
    low, high = LEAST - 1, near
    while not enough(high):
        low, high = high, math.ceil(1.3 * high) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
