"""A difference that changes with the size of what is measured: slope, its test, and a smooth line.

Sources: the slope of differences on means, Bland and Altman, Statistical Methods in Medical Research 8 (1999) 135-160,
section 3.2; its test by flipping the signs of whole groups, Cameron, Gelbach and Miller, Review of Economics and
Statistics 90 (2008) 414-427 (wild cluster bootstrap with the null imposed); the smooth line, Cleveland, Journal of the
American Statistical Association 74 (1979) 829-836.
"""

from __future__ import annotations

import numpy as np

from aop_pose.stats.bootstrap import Resampling

DRAWS = 9999
SPAN = 0.75
"""Share of the images that a point of the smooth line looks at."""
_BLOCK_CELLS = 4_000_000
LEAST_IMAGES, LEAST_GROUPS = 60, 30
"""A smooth line of fewer shows their accidents."""


def slope_columns(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Columns (n, 5) for ``slope``: one, x, y, x², xy, with the means taken off."""
    x, y = x - np.mean(x), y - np.mean(y)
    return np.column_stack([np.ones(len(x)), x, y, x * x, x * y])


def slope(sums: np.ndarray) -> np.ndarray:
    """Least-squares slope of y on x from sums of ``slope_columns``; NaN where x does not vary."""
    n, x, y, xx, xy = np.moveaxis(sums, -1, 0)
    spread = xx - x * x / n
    # Rounding leaves a little of the spread of equal values.
    varies = spread > 1e-12 * np.maximum(xx, 1e-300)
    return np.where(varies, (xy - x * y / n) / np.where(varies, spread, 1), np.nan)


def slope_test(x: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value that the slope of y on x is 0, both (n,); NaN where x or y does not vary.

    Residuals about the mean keep their place, and those of a group change their sign together. The observed
    arrangement counts as one of the draws.
    """
    across, residual = x - np.mean(x), y - np.mean(y)
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return np.nan
    index = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(index, across * residual)
    generator, reached, done = np.random.default_rng(seed), 0, 0
    while done < DRAWS:
        rows = min(DRAWS - done, max(1, _BLOCK_CELLS // len(sums)))
        signs = 2.0 * generator.integers(0, 2, (rows, len(sums)), dtype=np.int8) - 1
        reached += int((np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)).sum())
        done += rows
    return (1 + reached) / (DRAWS + 1)


def smooth(x: np.ndarray, y: np.ndarray, at: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """LOESS of degree 1 with tricube weights at the places ``at`` (k,): (..., k).

    Args:
        x, y: (n,).
        times: (..., n), how often each point counts; None = once, and the result is (k,).
    """
    nearest = max(3, round(SPAN * len(x)))
    away = np.abs(at[:, None] - x)
    reach = np.sort(away, axis=1)[:, nearest - 1 : nearest] * 1.0001 + 1e-12
    weights = np.clip(1 - (away / reach) ** 3, 0, None) ** 3
    apart = x - at[:, None]
    counted = np.ones(len(x)) if times is None else times
    total, first, second, values, product = (
        counted @ (weights * part).T for part in (1.0, apart, apart**2, y, apart * y)
    )
    spread = total * second - first**2
    with np.errstate(divide="ignore", invalid="ignore"):
        line = (second * values - first * product) / spread
        return np.where(spread > 1e-9 * total * second, line, values / total)


def smooth_band(
    x: np.ndarray, y: np.ndarray, at: np.ndarray, groups: np.ndarray, draws: int = 400
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The smooth line with the ends of its pointwise 95 % band over groups, each (k,); None for too few images."""
    index = np.unique(groups, return_inverse=True)[1]
    count = int(index.max()) + 1 if len(index) else 0
    if len(x) < LEAST_IMAGES or count < LEAST_GROUPS or np.ptp(x) < 1e-9:
        return None
    times = np.concatenate(list(Resampling(groups, draws=draws).counts()))[:, index]
    drawn = smooth(x, y, at, times)
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    return smooth(x, y, at), low, high
