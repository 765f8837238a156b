"""Calibration of intervals over groups: scores, radii by folds, the scatter of a calibration, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.stats.bootstrap import LEAST_GROUPS
from aop_pose.trust.intervals import Scores, limited, weighted_quantile

FOLDS = 10
EASIEST, HARDEST = 0.05, 0.98
"""Shares of the frames below and above which difficulties are cut: the floor and the ceiling of the width."""
DRAWS = 2000


@attrs.frozen(eq=False)
class Errors:
    """Errors of one quantity on n frames, how difficult each frame is, and which belong together."""

    residuals: np.ndarray
    difficulty: np.ndarray
    groups: np.ndarray

    def of(self, mask: np.ndarray) -> Errors:
        """Some of the frames."""
        return Errors(self.residuals[mask], self.difficulty[mask], self.groups[mask])


def joined(parts: Sequence[Errors]) -> Errors:
    """All frames of several parts, whose groups are kept apart."""
    groups, first = [], 0
    for part in parts:
        _, index = np.unique(part.groups, return_inverse=True)
        groups.append(index + first)
        first += int(index.max()) + 1 if len(index) else 0
    return Errors(
        np.concatenate([part.residuals for part in parts]),
        np.concatenate([part.difficulty for part in parts]),
        np.concatenate(groups),
    )


def effective_groups(groups: np.ndarray) -> float:
    """The number of groups of one size that groups (n,) of unequal sizes are worth: n squared over the sum of squares.

    Kish, "Survey sampling" (1965), section 8.2, where the frames of a group say the same.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def frame_weights(groups: np.ndarray) -> np.ndarray:
    """Weight (n,) of each frame: all alike, adding up to the number of groups that they are worth.

    So coverage is promised for frames, as it is reported, and not for groups however small; but what is known is worth
    only as many observations as there are groups.
    """
    return np.full(len(groups), effective_groups(groups) / len(groups))


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


def limits_of(difficulty: np.ndarray) -> tuple[float, float]:
    """The easiest and the hardest that difficulties (n,) count as."""
    easiest, hardest = np.quantile(difficulty, [EASIEST, HARDEST])
    return float(easiest), float(hardest)


def scores_of(errors: Errors, name: str, share_of: str = "") -> Scores:
    """The scores that an artefact stores, with six digits; ``name`` of the difficulty."""
    easiest, hardest = (float(f"{limit:.6g}") for limit in limits_of(errors.difficulty))
    scores = errors.residuals / limited(errors.difficulty, easiest, hardest)
    order = np.argsort(scores, kind="stable")
    return Scores(
        difficulty=name,
        share_of=share_of,
        easiest=easiest,
        hardest=hardest,
        scores=[float(f"{score:.6g}") for score in scores[order]],
        weights=frame_weights(errors.groups)[order].round(8).tolist(),
    )


def radii_on(calibration: Errors, difficulty: np.ndarray, coverage: float) -> np.ndarray:
    """Radius (m,) of the intervals of frames of those difficulties (m,), as calibrated on other frames."""
    limits = limits_of(calibration.difficulty)
    scores = calibration.residuals / limited(calibration.difficulty, *limits)
    return np.asarray(conformal_quantile(scores, calibration.groups, coverage) * limited(difficulty, *limits))


def folds_of(groups: np.ndarray, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """Fold (n,) of each frame, 0 to folds - 1; whole groups, dealt out evenly in an order that the seed fixes."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    dealt = np.empty(len(names), dtype=np.int64)
    dealt[np.random.default_rng(seed).permutation(len(names))] = np.arange(len(names)) % folds
    return dealt[index]


def cross_conformal_radii(
    errors: Errors, coverage: float, others: Sequence[Errors] = (), *, folds: int = FOLDS, seed: int = 0
) -> np.ndarray:
    """Radius (n,) of each frame's interval as calibrated on the other folds of whole groups, and on ``others``.

    Coverage by these is that of the procedure on frames it has not seen. Vovk, "Cross-conformal predictors" (2015).
    """
    fold = folds_of(errors.groups, folds, seed)
    radii = np.empty(len(errors.residuals))
    for out in _parts(fold):
        radii[out] = radii_on(joined([errors.of(~out), *others]), errors.difficulty[out], coverage)
    return radii


def _parts(fold: np.ndarray) -> Iterator[np.ndarray]:
    return (fold == number for number in np.unique(fold))


def later_half(groups: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Bool (n,): frames of the groups that begin in the second half by the order of the names of their first frames."""
    ids, index = np.unique(groups, return_inverse=True)
    first = {number: min(names[i] for i in np.flatnonzero(index == number)) for number in range(len(ids))}
    order = sorted(first, key=lambda number: first[number])
    late = np.isin(np.arange(len(ids)), order[(len(ids) + 1) // 2 :])
    return late[index]


def scatter_of(
    errors: Errors, coverage: float, *, groups: int | None = None, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """The range that holds 95 % of the coverages of single calibrations, each on groups drawn with replacement.

    The frames stand for the population: what a calibration on drawn groups covers of all of them is known exactly.

    Args:
        groups: as many as a calibration has; None = as many as there are.
    """
    names, index = np.unique(errors.groups, return_inverse=True)
    scores = errors.residuals / limited(errors.difficulty, *limits_of(errors.difficulty))
    order = np.argsort(scores)
    scores, index = scores[order], index[order]
    rng, covered = np.random.default_rng(seed), np.empty(draws)
    sizes = np.bincount(index).astype(float)
    for draw in range(draws):
        times = np.bincount(rng.integers(0, len(names), groups or len(names)), minlength=len(names))
        weights = times[index].astype(float)
        worth = weights.sum() ** 2 / (times * sizes**2).sum()
        quantile = weighted_quantile(scores, weights * worth / weights.sum(), coverage)
        covered[draw] = (scores <= quantile).mean()
    low, high = np.quantile(covered, [0.025, 0.975])
    return float(low), float(high)


def narrowest(
    residuals: np.ndarray, difficulties: Mapping[str, np.ndarray], groups: np.ndarray, coverage: float
) -> str:
    """Name of the difficulty (n,) whose intervals are the narrowest in the mean over frames."""

    def width(name: str) -> float:
        return float(radii_on(Errors(residuals, difficulties[name], groups), difficulties[name], coverage).mean())

    return min(difficulties, key=width)
