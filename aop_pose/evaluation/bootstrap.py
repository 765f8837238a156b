"""Intervals and paired tests over groups: frames of one patient, or near-duplicates, are drawn together."""

from __future__ import annotations

import attrs
import numpy as np


@attrs.frozen
class Interval:
    """An estimate with its percentile interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def group_bootstrap(
    values: np.ndarray, groups: np.ndarray, *, coverage: float = 0.95, draws: int = 5000, seed: int = 0
) -> Interval:
    """Mean of the values with its percentile interval, groups drawn with replacement.

    Args:
        values: (n,) one number a frame, finite.
        groups: (n,) group id of each frame.
        coverage: of the interval.

    Returns:
        The plain mean and the interval of means over drawn groups, each mean taken over all frames of the draw.
    """
    sums, sizes = _by_group(values, groups)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), (draws, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - coverage) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(np.mean(values)), float(low), float(high))


def sign_flip_test(differences: np.ndarray, groups: np.ndarray, *, draws: int = 10000, seed: int = 0) -> float:
    """Two-sided p-value that the mean paired difference is zero, by flipping the sign of whole groups.

    Under the null hypothesis the two arms are exchangeable within a group. The observed arrangement counts as one of
    the draws, so the least value is 1 / (draws + 1).
    """
    sums, _ = _by_group(differences, groups)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], (draws, len(sums)))
    reached = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12
    return float((1 + reached.sum()) / (draws + 1))


def _by_group(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and number of frames of each group."""
    values, groups = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if values.shape != groups.shape or values.ndim != 1 or not len(values):
        raise ValueError(f"expected as many values as groups, found {values.shape} and {groups.shape}")
    if not np.isfinite(values).all():
        raise ValueError("expected finite values, found NaN or infinity")
    _, index = np.unique(groups, return_inverse=True)
    return np.bincount(index, weights=values), np.bincount(index).astype(np.float64)
