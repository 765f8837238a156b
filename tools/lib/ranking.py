"""Rank correlation with its interval over groups, and the risk of the most trusted frames."""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.stats.bootstrap import Estimate, Resampling


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (n,) from 1 on, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson correlation of the ranks of two series (n,); NaN where one of them is constant."""
    a, b = ranks(first), ranks(second)
    a, b = a - a.mean(), b - b.mean()
    lengths = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / lengths if lengths > 0 else float("nan")


def spearman_over_groups(first: np.ndarray, second: np.ndarray, groups: np.ndarray, draws: int = 1000) -> Estimate:
    """``spearman`` with its 95 % interval, groups drawn with replacement and ranked anew in each draw."""
    resampling = Resampling(groups, draws=draws)
    _, index = np.unique(groups, return_inverse=True)
    value = spearman(first, second)
    if resampling.withheld:
        return Estimate(value)
    drawn = []
    for block in resampling.counts():
        for counts in block:
            frames = np.repeat(np.arange(len(index)), counts[index].astype(np.int64))
            drawn.append(spearman(first[frames], second[frames]))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Estimate(value, (float(low), float(high)))


@attrs.frozen(eq=False)
class RiskCoverage:
    """Mean error of the most trusted frames, for every number of them."""

    coverage: np.ndarray
    """(n,): 1 / n, 2 / n, ..., 1."""
    risk: np.ndarray
    """(n,), unit of the errors."""

    @property
    def area(self) -> float:
        """AURC: the mean of ``risk`` over all coverages; the least is reached by ranking by the error itself."""
        return float(self.risk.mean())

    def at(self, coverage: float) -> float:
        """Risk of the smallest number of frames that reaches a coverage in (0, 1]."""
        return float(self.risk[int(np.ceil(coverage * len(self.risk) - 1e-9)) - 1])


def risk_coverage(confidence: np.ndarray, errors: np.ndarray) -> RiskCoverage:
    """Curve of errors (n,) taken in the order of falling confidence (n,); equal confidences share their mean error."""
    order = np.argsort(-confidence, kind="stable")
    _, place, counts = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    shared = (np.bincount(place, weights=errors[order]) / counts)[place]
    number = np.arange(1, len(order) + 1)
    return RiskCoverage(number / len(order), np.cumsum(shared) / number)
