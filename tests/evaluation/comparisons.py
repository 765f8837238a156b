"""Made-up comparisons for the tests of the figures and the page."""

import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.evaluation.comparison import Comparison, Sides
from aop_pose.evaluation.grouping import Grouping
from aop_pose.evaluation.match import Matched
from aop_pose.geometry import angle_of_progression


def angles(points):
    return angle_of_progression(points[:, 0], points[:, 1], points[:, 2])


def matched_of(predicted, truth, sizes, schema=AOP, **settings):
    """Two sides as ``match`` gives them; a frame without points has abstained."""
    names = tuple(f"{i:03}.png" for i in range(len(truth)))
    statuses = tuple("ok" if known else "abstained" for known in np.isfinite(predicted).all(axis=(1, 2)))
    return Matched(schema, names, statuses, predicted, truth, sizes, np.linalg.norm(sizes, axis=1), **settings)


def reading(turns):
    """Points (n, 3, 2) of turns in degrees, which a very low head has above 180."""
    turns, ps1 = np.radians(turns), np.full((len(turns), 2), 100.0)
    return np.stack([ps1, ps1 - [60, 0], ps1 + 70 * np.column_stack([-np.cos(turns), np.sin(turns)])], axis=1)


def comparison_of_angles(found, true, intervals=None, **settings):
    """Each frame a group of its own."""
    stated = {} if intervals is None else {"aop_deg": np.array(intervals, float)}
    matched = matched_of(reading(found), reading(true), np.full((len(true), 2), 256.0), intervals=stated)
    return Comparison.of(matched, Grouping(np.arange(len(true)), "frames"), **settings)


def comparison(
    n=90, groups=None, half_width=None, shuffled=False, columns=None, missing=(), quality=None, seed=0, pixels=None,
    noise=None, examinations=False, **sides,
):  # fmt: skip
    """A comparison of n frames with 2 pixels of noise; ``half_width`` states intervals about the predicted angle."""
    rng = np.random.default_rng(seed)
    truth = reading(rng.uniform(70, 160, n))
    predicted = truth + rng.normal(0, 2, truth.shape)
    predicted[list(missing)] = np.nan
    intervals = {}
    if half_width is not None:
        middle = angles(predicted)
        middle = middle[rng.permutation(n)] if shuffled else middle
        intervals = {"aop_deg": np.column_stack([middle - half_width, middle + half_width])}
    sizes = np.full((n, 2), 256.0)
    matched = matched_of(predicted, truth, sizes, intervals=intervals, columns=columns or {}, models=("m@1",))
    ids = np.arange(n) if groups is None else groups
    grouping = Grouping(ids, "made-up groups", examinations=ids if examinations else None)
    named = Sides("mine <b>", "truth.csv", **sides)
    return Comparison.of(matched, grouping, quality=quality, sides=named, pixels=pixels, noise=noise)
