"""Split-conformal intervals over groups: how wide an interval has to be so that it holds the truth as often as it says.

A residual |predicted - true| over a difficulty (1 where none is used) is a frame's score. The radius of the interval of
a new frame is the quantile of the scores of frames that trained nothing, times the new frame's own difficulty.

Assumption: the groups (patients, near-duplicates) are exchangeable with that of the new frame. Frames of another
machine or another population are not, and then nothing is promised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from aop_pose.errors import UsageError
from aop_pose.stats.bootstrap import LEAST_GROUPS

FOLDS = 10
_TIE = 1e-9


def frame_weights(groups: np.ndarray) -> np.ndarray:
    """Weight (n,) of each frame: all alike, adding up to the number of groups.

    So coverage is promised for frames, as it is reported, and not for groups however small; but what is known is worth
    only as many observations as there are groups.
    """
    return np.full(len(groups), len(np.unique(groups)) / len(groups))


def check_groups(groups: np.ndarray) -> None:
    """UsageError where there are too few groups to calibrate on."""
    found = len(np.unique(groups))
    if found < LEAST_GROUPS:
        raise UsageError(
            f"calibration: expected at least {LEAST_GROUPS} groups of frames that trained nothing, found {found}; "
            "frames of one group are nearly one picture, so their number does not help: add other patients"
        )


def check_coverage(coverage: float, groups: int | None = None) -> None:
    """UsageError for a coverage that is no share between 0 and 1, or too high for so many groups."""
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage: expected a share between 0 and 1, found {coverage:g}")
    if groups is not None and coverage * (groups + 1) - _TIE > groups:
        most = math.floor(1000 * groups / (groups + 1)) / 1000
        raise UsageError(
            f"--coverage: expected at most {most:g}, which is what {groups} groups of calibration can say, "
            f"found {coverage:g}"
        )


def weighted_quantile(scores: np.ndarray, weights: np.ndarray, coverage: float) -> float:
    """The least score whose weight up to it reaches ``coverage`` times (total weight + 1); infinity where none does.

    The 1 is the new group, which may lie anywhere: the idea of Lee, Barber and Willett, "Distribution-free inference
    with hierarchical data" (2023), whose groups count alike, taken over to frames that count alike. With one frame a
    group it is the rule of split conformal prediction, the ceil(coverage (n + 1))-th smallest of n scores (Vovk et al.
    2005; Lei et al. 2018). ``scores`` and ``weights`` (n,), the weights adding up to the number of groups.
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = coverage * (reached[-1] + 1) - _TIE
    place = int(np.searchsorted(reached, wanted))
    return float(scores[order][place]) if place < len(scores) else math.inf


def conformal_quantile(scores: np.ndarray, groups: np.ndarray, coverage: float) -> float:
    """``weighted_quantile`` of scores (n,) where every frame counts the same; ``groups`` (n,)."""
    return weighted_quantile(scores, frame_weights(groups), coverage)


def folds_of(groups: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Fold (n,) of each frame, 0 to folds - 1; whole groups, dealt out evenly in an order that the seed fixes."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    dealt = np.empty(len(names), dtype=np.int64)
    dealt[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % folds
    return dealt[index]


def narrowest(
    residuals: np.ndarray, difficulties: Mapping[str, np.ndarray], groups: np.ndarray, coverage: float
) -> str:
    """Name of the difficulty (n,) whose intervals are the narrowest in the mean over frames."""
    weights = frame_weights(groups)

    def width(name: str) -> float:
        difficulty = difficulties[name]
        radius = weighted_quantile(residuals / difficulty, weights, coverage)
        return float(2 * radius * (weights @ difficulty) / weights.sum())

    return min(difficulties, key=width)


def cross_conformal_radii(
    residuals: np.ndarray,
    difficulties: Mapping[str, np.ndarray],
    groups: np.ndarray,
    coverage: float,
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> np.ndarray:
    """Radius (n,) of each frame's interval as calibrated on the other folds, by whole groups.

    The difficulty is chosen on the other folds as well (``narrowest``), so that the coverage of these intervals is that
    of the whole procedure on frames it has not seen. Vovk, "Cross-conformal predictors" (2015).
    """
    fold = folds_of(groups, folds, seed)
    radii = np.empty(len(residuals))
    for number in np.unique(fold):
        out = fold == number
        kept = {name: values[~out] for name, values in difficulties.items()}
        name = narrowest(residuals[~out], kept, groups[~out], coverage)
        radius = conformal_quantile(residuals[~out] / kept[name], groups[~out], coverage)
        radii[out] = radius * difficulties[name][out]
    return radii
