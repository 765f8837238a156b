"""Calibration of intervals over groups: radii by folds, the narrowest difficulty, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aop_pose.errors import UsageError
from aop_pose.stats.bootstrap import LEAST_GROUPS
from aop_pose.stats.conformal import weighted_quantile
from aop_pose.trust.intervals import DIFFICULTIES, NEED_MAPS

FOLDS = 10


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


def names_for(points: int, maps: bool) -> tuple[str, ...]:
    """The difficulties that are defined for a schema of that many points, and a head with or without ``maps``."""
    defined = [name for name in DIFFICULTIES if points == 3 or not name.startswith("geometry")]
    return tuple(name for name in defined if maps or name not in NEED_MAPS)
