"""The mean over frames with its interval, groups drawn together."""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.stats.bootstrap import Resampling


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

    Raises:
        ValueError: no values, not as many as groups, or one that is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise ValueError("expected values, found none")
    resampling = Resampling(groups, draws=draws, seed=seed)
    by_group = resampling.by_group(np.column_stack([values, np.ones(len(values))]))
    sums = np.concatenate([counts @ by_group for counts in resampling.counts()])
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(float(values.mean()), float(low), float(high))
