"""Formulas of agreement between two raters, each over sums of columns, so that one formula serves every draw.

Sources: intraclass correlation, Shrout and Fleiss, Psychological Bulletin 86 (1979) 420-428; limits of agreement,
Bland and Altman, Lancet 327 (1986) 307-310; kappa, Cohen, Educational and Psychological Measurement 20 (1960) 37-46;
predictive values and likelihood ratios, Altman and Bland, BMJ 309 (1994) 102, and Deeks and Altman, BMJ 329 (2004) 168;
a difference that changes with the size of what is measured: its slope, Bland and Altman, Statistical Methods in Medical
Research 8 (1999) 135-160, section 3.2; its test by flipping the signs of whole groups, Cameron, Gelbach and Miller,
Review of Economics and Statistics 90 (2008) 414-427 (wild cluster bootstrap with the null imposed); the smooth line,
Cleveland, Journal of the American Statistical Association 74 (1979) 829-836.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aop_pose.stats.bootstrap import Ends, Resampling, Statistic, sign_flip_test
from aop_pose.stats.intervals import beyond_chance, ratio_of, share_of

LIMIT_SDS = 1.96
"""Limits of agreement: bias plus and minus this many standard deviations of the differences."""

_ROUNDING = 1e-12


def rating_columns(ratings: np.ndarray) -> np.ndarray:
    """Ratings (n targets, k raters) -> columns (n, k + 3): one, each rating, sum of squares, squared mean.

    All ratings are shifted by their common mean, which changes no intraclass correlation and keeps digits.
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    shifted = ratings - ratings.mean() if ratings.size else ratings
    return np.column_stack(
        [np.ones(len(shifted)), shifted, (shifted**2).sum(axis=1), shifted.mean(axis=1, keepdims=True) ** 2]
    )


def icc_2_1(sums: np.ndarray) -> np.ndarray:
    """Absolute agreement of single ratings, raters drawn at random (two-way random effects)."""
    n, k, between_rows, between_columns, residual = _mean_squares(sums)
    return (between_rows - residual) / (between_rows + (k - 1) * residual + k * (between_columns - residual) / n)


def icc_3_1(sums: np.ndarray) -> np.ndarray:
    """Consistency of single ratings of these very raters (two-way mixed effects): an offset does not count."""
    _, k, between_rows, _, residual = _mean_squares(sums)
    return (between_rows - residual) / (between_rows + (k - 1) * residual)


def _mean_squares(sums: np.ndarray) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray]:
    """Two-way analysis of variance without replication, from sums of ``rating_columns``."""
    k = sums.shape[-1] - 3
    n, raters, squares, row_squares = sums[..., 0], sums[..., 1 : k + 1], sums[..., k + 1], sums[..., k + 2]
    correction = raters.sum(axis=-1) ** 2 / (n * k)
    rows = k * row_squares - correction
    columns = (raters**2).sum(axis=-1) / n - correction
    # Rounding must not make the residual of perfect agreement negative.
    residual = np.maximum(squares - correction - rows - columns, 0)
    return n, k, rows / (n - 1), columns / (k - 1), residual / ((n - 1) * (k - 1))


def moment_columns(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Columns (n, 6) for ``pearson``: one, x, y, x², y², xy, with each rater's mean taken off."""
    x, y = first - np.mean(first), second - np.mean(second)
    return np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])


def pearson(sums: np.ndarray) -> np.ndarray:
    """Pearson's r from sums of ``moment_columns``."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.sqrt(np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0))
    return np.where(spread > 0, (xy - x * y / n) / spread, np.nan)


def point_deviation(readings: np.ndarray) -> np.ndarray:
    """Standard deviation of single readings (k, points, axes) of each point: (points,), NaN for one reading.

    The root of the summed squares of the distances from their mean over k - 1: both axes together, as a distance.
    """
    squares = ((readings - readings.mean(axis=0)) ** 2).sum(axis=(0, 2))
    return np.sqrt(squares / (len(readings) - 1)) if len(readings) > 1 else np.full(len(squares), np.nan)


def difference_columns(differences: np.ndarray) -> np.ndarray:
    """Columns (n, 3) for ``deviation`` and ``limit``: one, d, d²."""
    return np.column_stack([np.ones(len(differences)), differences, differences**2])


def deviation(sums: np.ndarray) -> np.ndarray:
    """Standard deviation of the differences (n - 1 in the denominator)."""
    n, total, squares = np.moveaxis(sums, -1, 0)
    rest = squares - total**2 / n
    # Of equal differences nothing is left but rounding.
    return np.sqrt(np.where(rest > _ROUNDING * squares, rest, 0) / (n - 1))


def limit(sign: int) -> Statistic:
    """Upper (+1) or lower (-1) limit of agreement."""
    return lambda sums: sums[..., 1] / sums[..., 0] + sign * LIMIT_SDS * deviation(sums)


def table_columns(first: np.ndarray, second: np.ndarray, threshold: float) -> np.ndarray:
    """Columns (n, 4) of a two-by-two table: both at least the threshold, only first, only second, neither."""
    a, b = first >= threshold, second >= threshold
    return np.column_stack([a & b, a & ~b, ~a & b, ~a & ~b]).astype(np.float64)


def accuracy(sums: np.ndarray) -> np.ndarray:
    """Share of frames on the same side of the threshold."""
    return (sums[..., 0] + sums[..., 3]) / sums.sum(axis=-1)


def sensitivity(sums: np.ndarray) -> np.ndarray:
    """Of the frames that the second rater puts at or above the threshold, the share that the first does too."""
    return sums[..., 0] / (sums[..., 0] + sums[..., 2])


def specificity(sums: np.ndarray) -> np.ndarray:
    """Of the frames that the second rater puts below the threshold, the share that the first does too."""
    return sums[..., 3] / (sums[..., 3] + sums[..., 1])


def positive_predictive_value(sums: np.ndarray) -> np.ndarray:
    """Of the frames that the first rater puts at or above the threshold, the share that the second does too."""
    return sums[..., 0] / (sums[..., 0] + sums[..., 1])


def negative_predictive_value(sums: np.ndarray) -> np.ndarray:
    """Of the frames that the first rater puts below the threshold, the share that the second does too."""
    return sums[..., 3] / (sums[..., 3] + sums[..., 2])


def positive_likelihood_ratio(sums: np.ndarray) -> np.ndarray:
    """Sensitivity / (1 - specificity); NaN where no frame is wrongly put at or above the threshold."""
    wrongly = 1 - specificity(sums)
    return np.where(wrongly > 0, sensitivity(sums) / wrongly, np.nan)


def negative_likelihood_ratio(sums: np.ndarray) -> np.ndarray:
    """(1 - sensitivity) / specificity; NaN where no frame is rightly put below the threshold."""
    rightly = specificity(sums)
    return np.where(rightly > 0, (1 - sensitivity(sums)) / rightly, np.nan)


def kappa(sums: np.ndarray) -> np.ndarray:
    """Cohen's kappa: agreement beyond that of two raters who decide by chance; NaN where chance agrees always."""
    both, first, second, neither = np.moveaxis(sums, -1, 0)
    n = sums.sum(axis=-1)
    chance = ((both + first) * (both + second) + (neither + first) * (neither + second)) / n**2
    return np.where(chance < 1, (accuracy(sums) - chance) / (1 - chance), np.nan)


TABLE_STATISTICS: dict[str, tuple[Statistic, Callable[[np.ndarray, float], Ends]]] = {
    "accuracy": (accuracy, share_of((0, 3), (0, 1, 2, 3))),
    "sensitivity": (sensitivity, share_of((0,), (0, 2))),
    "specificity": (specificity, share_of((3,), (1, 3))),
    "ppv": (positive_predictive_value, share_of((0,), (0, 1))),
    "npv": (negative_predictive_value, share_of((3,), (2, 3))),
    "lr_positive": (positive_likelihood_ratio, ratio_of(((0,), (0, 2)), ((1,), (1, 3)))),
    "lr_negative": (negative_likelihood_ratio, ratio_of(((2,), (0, 2)), ((3,), (1, 3)))),
    "kappa": (kappa, beyond_chance),
}
"""Of sums of ``table_columns``, each with its interval from those of the groups."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1; none gets smaller than one before it, none above 1. Source:
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70. ValueError for a value outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected p-values in [0, 1], found {values}")
    order = np.argsort(values, kind="stable")
    raised = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted.tolist()


SPAN = 0.75
"""Share of the images that a point of the smooth line looks at."""
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

    Residuals about the mean keep their place, and those of a group change their sign together (``sign_flip_test``).
    """
    across, residual = x - np.mean(x), y - np.mean(y)
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return np.nan
    return sign_flip_test(across * residual, groups, seed=seed)


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
