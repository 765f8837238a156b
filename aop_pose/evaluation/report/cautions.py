"""Sentences that a reader has to know before any figure: on top of the page, and in the terminal before the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.figures import GRAIN, stated_intervals, told
from aop_pose.evaluation.report.tables import whole_percent
from aop_pose.stats.intervals import side_of

ANOTHER_UNIT = 1.6
"""Times that one side is as large as the other, in the middle image, from which they are in two units."""
FEW = 0.5
"""A share of the true images below which it is said first that the figures are of these alone."""


def cautions(comparison: Comparison) -> list[str]:
    """One sentence each, the gravest first; none ends in a line break."""
    return [
        *_few(comparison),
        *_units(comparison),
        *_alike(comparison),
        # Intervals are calibrated to hold the truth, so against another method they say nothing either way.
        *([] if comparison.sides.second_is_a_result else _intervals(comparison)),
        *_noise(comparison),
    ]


def inside(comparison: Comparison, key: str) -> str:
    """``88 of 100``: how many stated intervals of a quantity hold the true value; "" where none is stated."""
    stated = stated_intervals(comparison.errors, comparison.matched.intervals).get(key)
    if stated is None:
        return ""
    known = stated.covered[np.isfinite(stated.covered)]
    return f"{int(known.sum())} of {len(known)}"


def _few(comparison: Comparison) -> Iterator[str]:
    errors = comparison.errors
    measured, count = int(errors.measured.sum()), len(errors.measured)
    images = "frames" if errors.schema.dimensions == 2 else "volumes"
    if measured == 0:
        yield f"None of the {count} true {images} was predicted: there is no figure."
    elif measured < FEW * count:
        yield (
            f"Only {measured} of {count} true {images} ({measured / count:.0%}) were predicted: every figure is of "
            "these alone, and says nothing of the others."
        )


def _units(comparison: Comparison) -> Iterator[str]:
    """Sides of which one is a multiple of the other: millimetres and pixels, or pictures of another size."""
    matched, errors = comparison.matched, comparison.errors
    sizes = [np.nanmean(np.linalg.norm(_centred(side), axis=-1), axis=1) for side in (matched.truth, matched.predicted)]
    with np.errstate(divide="ignore", invalid="ignore"):
        times = _usual(sizes[0] / sizes[1])
    if _is_another(times):
        yield (
            f"The true points lie {times:.2g} times as far apart as the results': one side is in another unit, or of "
            "pictures of another size. Errors between them mean nothing."
        )
    millimetres = matched.millimetres
    for quantity in errors.quantities if millimetres is not None else ():
        if millimetres is None or quantity.key not in millimetres.stated:
            continue
        of_points = matched.schema.values(quantity, matched.truth) * millimetres.per_pixel
        with np.errstate(divide="ignore", invalid="ignore"):
            times = _usual(errors.true_values[quantity.key] / of_points)
        if _is_another(times):
            yield (
                f"{quantity.stated[:1].upper()}{quantity.stated[1:]} is {times:.2g} times that of the true points: it "
                "is in another unit than millimetres, or the size of a pixel is wrong."
            )
            return


def _centred(points: np.ndarray) -> np.ndarray:
    """Points (images, points, axes) about the middle of each image's; an image without any stays NaN."""
    known = np.isfinite(points)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    middle = np.where(known, points, 0).sum(axis=1, keepdims=True) / count
    # The mean over points that are all missing is NaN without a warning where one stays finite.
    return np.where(known.any(axis=(1, 2), keepdims=True), points - middle, 0.0)


def _usual(ratios: np.ndarray) -> float:
    known = ratios[np.isfinite(ratios) & (ratios > 0)]
    return float(np.median(known)) if len(known) else np.nan


def _is_another(times: float) -> bool:
    return bool(times > ANOTHER_UNIT or times < 1 / ANOTHER_UNIT)


def _alike(comparison: Comparison) -> Iterator[str]:
    """Truths or errors that are all the same, over which an agreement says nothing."""
    errors, main = comparison.errors, comparison.errors.main
    if main is None:
        return
    difference = errors.differences[main.key]
    known = np.isfinite(difference)
    if known.sum() < 2:
        return
    true, difference = errors.true_values[main.key][known], difference[known]
    for words, values in (
        (f"The true {main.reference_title}", true),
        (f"The measured {main.title}", true + difference),
    ):
        if np.ptp(values) < GRAIN:
            value = main.folded(values[0])
            yield (
                f"{words} is {value:.1f}{main.sign} in every image: correlations, slope and ICC need images that "
                "differ, and say nothing here."
            )
            break
    zero = np.abs(difference).max() < GRAIN
    if np.ptp(difference) < GRAIN and not zero:
        yield (
            f"Every error of {main.title} is the same ({difference[0]:+.1f}{main.sign}): the results are the reference "
            "with an offset, or were made from it."
        )
    if zero:
        yield f"Every error of {main.title} is 0: the results give that of the reference."


def _intervals(comparison: Comparison) -> Iterator[str]:
    """Intervals that hold too rarely or too often by more than chance, each length in one unit."""
    target = comparison.sides.coverage
    low: list[str] = []
    high: list[str] = []
    for quantity in told(comparison.errors.quantities):
        coverage = comparison.estimates.get(f"{quantity.key}_interval_coverage")
        side = 0 if coverage is None else side_of(coverage, target, comparison.n_groups)
        if coverage is None or not side:
            continue
        (low if side < 0 else high).append(
            f"{quantity.reference_title} {inside(comparison, quantity.key)} ({whole_percent(coverage)})"
        )
    aim = f"the {100 * target:.0f} % that calibration aims at"
    if low:
        yield (
            f"Stated intervals hold too rarely, fewer than {aim}: do not rely on them here. "
            f"True value inside: {'; '.join(low)}."
        )
    if high:
        yield (
            f"Stated intervals hold more often than {aim}: they are wider than these need. "
            f"True value inside: {'; '.join(high)}."
        )


def _noise(comparison: Comparison) -> Iterator[str]:
    noise = comparison.noise
    if noise is None:
        return
    quantity = noise.quantity
    known = np.isfinite(comparison.errors.differences[quantity.key])
    total = np.mean(comparison.errors.differences[quantity.key][known] ** 2) if known.any() else np.nan
    reference = noise.variances[known].mean() if known.any() else np.nan
    if reference > total:
        yield (
            f"The noise of the labels (root mean square {reference**0.5:.1f}{quantity.sign}, {noise.words}) is larger "
            f"than the whole error ({total**0.5:.1f}{quantity.sign}): it is not that of these labels, or the results "
            "saw them."
        )
