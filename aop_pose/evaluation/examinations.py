"""Frames of one examination taken together: the mean of repeated frames, and how far they lie apart.

A frame-wise figure counts a patient as often as she has frames, and mixes two questions: how well a mean agrees, and
how well frames repeat. Sources: Bland and Altman, BMJ 313 (1996) 744 (within-subject standard deviation, repeatability
coefficient), and Statistical Methods in Medical Research 8 (1999) 135-160, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import numpy as np

from aop_pose.core.schema import Quantity
from aop_pose.evaluation.errors import Errors
from aop_pose.evaluation.figures import SPREAD, Figure, agreement_of, estimates_of
from aop_pose.evaluation.grouping import Grouping
from aop_pose.stats.agreement import LIMIT_SDS
from aop_pose.stats.bootstrap import Estimate, Statistic

REPEATABILITY = LIMIT_SDS * 2**0.5
"""Within-subject standard deviations that 95 % of the differences of two repeated values stay below: 2.77."""


@attrs.frozen(eq=False)
class Examinations:
    """Figures over examinations, one quantity after the other."""

    n: int
    """Examinations with a measured image."""
    n_repeated: int
    """Those with several."""
    most: int
    """Measured images of the largest."""
    estimates: Mapping[str, Estimate]
    """By name: agreement of means as the figures of images are named (``aop_bias_deg``), and of repeated images
    ``within_sd`` and ``repeatability`` of the results, ``reference_within_sd``, ``reference_repeatability``."""


def examinations_of(errors: Errors, grouping: Grouping) -> Examinations | None:
    """The figures where examinations are named and one of them has several measured images; else None."""
    if grouping.examinations is None:
        return None
    _, first, index = np.unique(grouping.examinations, return_index=True, return_inverse=True)
    sizes = np.bincount(index[errors.measured], minlength=index.max() + 1)
    if sizes.max() < 2:
        return None
    figures = [figure for quantity in errors.quantities for figure in _of(errors, quantity, index)]
    # Examinations whose pictures are nearly the same are drawn together.
    estimates = estimates_of(figures, grouping.ids[first])
    return Examinations(int((sizes > 0).sum()), int((sizes > 1).sum()), int(sizes.max()), estimates)


def _of(errors: Errors, quantity: Quantity, index: np.ndarray) -> Iterator[Figure]:
    difference, true = errors.differences[quantity.key], errors.true_values[quantity.key]
    known = np.isfinite(difference)
    first, second = _by_group((true + difference)[known], index, known), _by_group(true[known], index, known)
    means = attrs.evolve(
        errors,
        measured=np.isfinite(first.means),
        true_values={quantity.key: second.means},
        differences={quantity.key: first.means - second.means},
        losses={quantity.key: np.full(len(first.means), np.nan)},
    )
    yield from agreement_of(means, quantity)
    for end, side in (("", first), ("reference_", second)):
        for name, times in (("within_sd", 1.0), ("repeatability", REPEATABILITY)):
            how = attrs.evolve(SPREAD, statistic=_pooled(times))
            yield Figure(quantity.figure(f"{end}{name}"), side.within, how)


@attrs.frozen(eq=False)
class _Groups:
    means: np.ndarray
    """(groups,), NaN where a group has no value."""
    within: np.ndarray
    """(groups, 2): squares about the mean, and how many of them are free; NaN where there is no second value."""


def _by_group(values: np.ndarray, index: np.ndarray, known: np.ndarray) -> _Groups:
    groups, count = index[known], int(index.max()) + 1
    n = np.bincount(groups, minlength=count)
    with np.errstate(invalid="ignore"):
        means = np.bincount(groups, values, count) / n
    squares = np.bincount(groups, (values - means[groups]) ** 2, count)
    within = np.where((n > 1)[:, None], np.column_stack([squares, n - 1]), np.nan)
    return _Groups(np.where(n > 0, means, np.nan), within)


def _pooled(times: float) -> Statistic:
    return lambda sums: times * np.sqrt(sums[..., 0] / sums[..., 1])
