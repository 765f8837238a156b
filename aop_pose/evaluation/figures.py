"""The figures of ``metrics.json``: the values that images add to a figure, and the way they are summed.

A figure is over the images in which it has a value. Its twin ``NAME_with_missing`` counts what was not predicted as
well: a point is off by the diagonal of its image, so it is within no threshold, a quantity by ``Quantity.missing`` or
the diagonal, a plane by the diagonal and 90 degrees. A bias has no twin, because what is missing has no sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from aop_pose.core.schema import Quantity, Schema
from aop_pose.core.schemas import AOP
from aop_pose.evaluation.errors import (
    PCK_LIMIT_MM,
    WORST_ANGLE_DEG,
    Errors,
    area_shares,
    each_pair,
    each_side,
    frame_errors,
    is_close,
    rounded,
    whole_body,
)
from aop_pose.evaluation.rows import Millimetres
from aop_pose.stats import agreement
from aop_pose.stats.bootstrap import FISHER_Z, LOG, LOG_LEFT, PLAIN, Estimate, Resampling
from aop_pose.stats.intervals import Counted, How, Quantile, Summed, estimates, share_of, value_of

Entries = dict[str, Any]
"""Keys and values of ``metrics.json``."""

WITH_MISSING = "_with_missing"
SDR_THRESHOLDS = (5, 10, 15, 20)
"""Pixels; a point is detected where its error is at most the threshold (SDR: successful detection rate)."""
PCK_THRESHOLDS_MM = (2, 5, 10, 15, 20)
"""The same in volumes (PCK: percentage of correct keypoints)."""
UNDER_2_5 = "under_2_5_percent"
"""The share of lengths whose error is below ``evaluation.errors.CLOSE_PERCENT`` of the true length."""


def _sum_and_count(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return np.column_stack([np.where(known, values, 0).sum(axis=1), known.sum(axis=1)])


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


# Effective groups from which intervals hold (docs/intervals.md); where errors have tails the data seldom show them, so
# less than the stated tails is left outside on the side of larger errors, and more on the other.
LEAST_FOR_SIZES, LEAST_FOR_CORRELATIONS, LEAST_FOR_LIMITS = 30, 50, 100
_FAR, _NEAR, _NEARER = 0.4, 1.2, 1.6
GRAIN = 0.01
"""Degrees, pixels or millimetres that the three decimals of tables may make of equal errors."""
# Over all values there are; an image weighs as much as it has.
MEAN = Summed(_sum_and_count, _mean, at_least_t=True, grain=GRAIN)
"""Of values of either sign."""
MEAN_SIZE = Summed(_sum_and_count, _mean, LOG, LEAST_FOR_SIZES, tails=(1.0, 0.8), grain=GRAIN)
"""Of errors, which are above 0."""
MEAN_AREA = attrs.evolve(MEAN_SIZE, scale=LOG_LEFT, tails=MEAN_SIZE.tails[::-1], grain=0.0)
"""Of shares of an area, near 1."""
SHARE = Counted(_sum_and_count, _mean, share_of((0,), (1,)))
"""Of values that are 0 or 1."""
SPREAD = Summed(
    lambda values: values, lambda sums: np.sqrt(sums[..., 0] / sums[..., 1]), LOG, LEAST_FOR_LIMITS, tails=(_NEAR, _FAR)
)
"""A standard deviation, of squares and how many of them are free."""
DEVIATION = attrs.evolve(
    SPREAD,
    columns=lambda values: agreement.difference_columns(values[:, 0]),
    statistic=agreement.deviation,
    grain=GRAIN,
)
ICC_2_1, ICC_3_1 = (
    Summed(agreement.rating_columns, icc, FISHER_Z, LEAST_FOR_CORRELATIONS, tails=(_FAR, _NEARER))
    for icc in (agreement.icc_2_1, agreement.icc_3_1)
)


def _vary(*sides: np.ndarray) -> bool:
    """True where each side (n,) differs from image to image by more than the rounding of tables."""
    return all(np.ptp(side) >= GRAIN for side in sides)


def _pearson_columns(values: np.ndarray) -> np.ndarray:
    first, second = values.T
    return agreement.moment_columns(first if _vary(first, second) else np.zeros(len(first)), second)


def _slope_columns(values: np.ndarray) -> np.ndarray:
    """Of middles and differences: a side that does not vary leaves no slope but its own."""
    middle, difference = values.T
    varies = _vary(middle + difference / 2, middle - difference / 2)
    return agreement.slope_columns(middle if varies else np.zeros(len(middle)), difference)


PEARSON = Summed(
    _pearson_columns,
    agreement.pearson,
    FISHER_Z,
    LEAST_FOR_CORRELATIONS,
    tails=(_FAR, _NEARER),
)
SLOPE = Summed(_slope_columns, agreement.slope, least_groups=LEAST_FOR_CORRELATIONS)


@attrs.frozen(eq=False)
class Figure:
    """A number over images: value, interval over groups, twin and row of a table all come from here."""

    name: str
    """Key in ``metrics.json``."""
    values: np.ndarray
    """Values that each image adds, shape (images, k); NaN where it adds nothing."""
    how: How
    filled: np.ndarray | None = None
    """The same with what is missing counted, infinite where nobody knows as how much; None = it has no twin."""
    promised: bool = False
    """It stands first in ``metrics.json``, even where it has no value."""

    @property
    def known(self) -> np.ndarray:
        """Images that add to it, (images,) bool."""
        return ~np.isnan(self.values).all(axis=1)

    @property
    def twin(self) -> Estimate | None:
        """With what is missing counted, without an interval."""
        if self.filled is None:
            return None
        values = self.filled[~np.isnan(self.filled).all(axis=1)]
        if not len(values):
            return Estimate(np.nan, None, 0)
        if isinstance(self.how, Quantile):
            value = float(np.quantile(values, self.how.share)) if np.isfinite(values).all() else np.nan
        else:
            value = value_of(values, self.how)
        return Estimate(value, None, len(values))


def estimates_of(figures: Iterable[Figure], groups: np.ndarray, among: np.ndarray | None = None) -> dict[str, Estimate]:
    """By name, each figure over the images in which it has a value, with its interval; without any there is none.

    Args:
        groups: (images,), equal = drawn together.
        among: (images,) bool, of the images that count; None = all.
    """
    figures = list(figures)
    by_known: dict[bytes, list[Figure]] = {}
    for figure in figures:
        known = figure.known if among is None else figure.known & among
        if known.any():
            by_known.setdefault(known.tobytes(), []).append(figure)
    found: dict[str, Estimate] = {}
    for key, together in by_known.items():
        known = np.frombuffer(key, bool)
        parts = [(one.values[known], one.how) for one in together]
        for one, estimate in zip(together, estimates(parts, Resampling(groups[known])), strict=True):
            found[one.name] = estimate
    return {figure.name: found[figure.name] for figure in figures if figure.name in found}


def twins_of(figures: Iterable[Figure]) -> dict[str, Estimate]:
    """By name of the figure, its twin."""
    return {figure.name: twin for figure in figures if (twin := figure.twin) is not None}


def figures_of(
    errors: Errors, intervals: Mapping[str, np.ndarray] | None = None, at: Sequence[float] = ()
) -> list[Figure]:
    """Every figure that a schema has, in the order of ``metrics.json``; ``intervals`` as ``Matched`` has them.

    ``at``: further thresholds of the main quantity.
    """
    found = _in_pictures(errors, at) if errors.schema.dimensions == 2 else _in_volumes(errors)
    return [*found, *_of_intervals(errors, intervals or {})]


def agreement_of(errors: Errors, quantity: Quantity) -> Iterator[Figure]:
    """Figures of a quantity as of two raters: sizes of the errors, bias, limits of agreement, correlations."""
    yield from _sizes(errors, quantity)
    yield _bias(errors, quantity)
    yield from _agreement(errors, quantity, ())


def trends_of(errors: Errors) -> Iterator[Figure]:
    """The slope of the differences on the means of both sides, of each quantity: 0.1 = a tenth more."""
    for quantity in errors.quantities:
        both = np.column_stack([errors.middles(quantity), errors.differences[quantity.key]])
        yield Figure(f"{quantity.key}_slope", both, SLOPE)


def slope_tests(errors: Errors, groups: np.ndarray) -> dict[str, float]:
    """By ``Quantity.key``, the p-value that this slope is 0, over groups (images,); NaN where a side does not vary, or
    the difference."""
    found = {}
    for quantity in errors.quantities:
        difference, true = errors.differences[quantity.key], errors.true_values[quantity.key]
        if (known := np.isfinite(difference)).any():
            middles, difference, true = errors.middles(quantity)[known], difference[known], true[known]
            varies = _vary(true, true + difference, difference)
            found[quantity.key] = agreement.slope_test(middles, difference, groups[known]) if varies else np.nan
    return found


def told(quantities: Sequence[Quantity]) -> list[Quantity]:
    """Those of a summary: a length in the unit that says most; ``metrics.json`` and the page have both."""
    in_mm = {one.name for one in quantities if one.unit == "mm"}
    return [one for one in quantities if one.unit != "px" or one.name not in in_mm]


def limits_of(errors: Errors, quantity: Quantity, at: Sequence[float] = ()) -> tuple[float, ...]:
    """The values at which a quantity is cut in two, rising: those of the literature, and ``at`` of the main one."""
    return tuple(sorted({*quantity.thresholds, *(at if quantity is errors.main else ())}))


def at_limit(quantity: Quantity, limit: float, what: str) -> str:
    """Key in ``metrics.json`` of a figure at a threshold: ``aop_at_120_sensitivity``."""
    return f"{quantity.key}_at_{limit:g}_{what}"


@attrs.frozen
class Table:
    """A two-by-two table: images at or above a threshold (+) or below it (-), by the results and by the reference."""

    both: int
    only_results: int
    only_reference: int
    neither: int
    straddled: int | None
    """Images whose stated interval holds the threshold; None where none is stated."""


def table_at(errors: Errors, quantity: Quantity, limit: float, intervals: Mapping[str, np.ndarray]) -> Table:
    """The table of a quantity at a threshold, over the images in which both sides have a value."""
    true, difference = errors.true_values[quantity.key], errors.differences[quantity.key]
    known = np.isfinite(difference)
    both, only_results, only_reference, neither = (
        agreement.table_columns((true + difference)[known], true[known], limit).sum(axis=0).astype(int).tolist()
    )
    straddled = None
    if quantity.key in (stated := stated_intervals(errors, intervals)):
        low, high = stated[quantity.key].ends
        straddled = int(((low < limit) & (limit <= high)).sum())
    return Table(both, only_results, only_reference, neither, straddled)


def metrics(
    predicted: np.ndarray,
    truth: np.ndarray,
    sizes: np.ndarray,
    scale: float | None = None,
    schema: Schema = AOP,
    millimetres: Millimetres | None = None,
) -> Entries:
    """The promised figures of ``metrics.json`` for arrays as :func:`frame_errors` takes them.

    MRE: mean radial error. MAE: mean absolute error of a coordinate. SDR: share of points, in [0, 1]. Figures of a
    quantity are of its absolute error, its bias is predicted minus true. ``UNDER_2_5`` of a length is the share of
    frames whose error is below 2.5 % of the true length. ``scale`` is "original" where none is given. A figure over no
    frames is None.
    """
    return promised(frame_errors(predicted, truth, sizes, scale, schema, millimetres))


def promised(errors: Errors) -> Entries:
    """The figures that stand first in ``metrics.json``, their twins and the counts, without intervals."""
    figures = [figure for figure in figures_of(errors) if figure.promised]
    estimates = estimates_of(figures, np.zeros(len(errors.measured)))
    return {
        **{one.name: rounded(estimates[one.name].value) if one.name in estimates else None for one in figures},
        **{f"{name}{WITH_MISSING}": rounded(twin.value) for name, twin in twins_of(figures).items()},
        **counts(errors),
    }


def counts(errors: Errors) -> Entries:
    """Numbers of images and points, the scale and the limits of thresholds, as ``metrics.json`` has them."""
    images: Entries = {
        "n": len(errors.measured), "n_missing": int((~errors.measured).sum())
    }  # fmt: skip
    if errors.schema.dimensions == 2:
        return {**images, "scale": "original" if errors.scale is None else rounded(errors.scale)}
    return {
        **images,
        "n_points": int(errors.labelled.sum()),
        "n_points_missing": int(errors.missing_points.sum()),
        "pck_thresholds_mm": list(PCK_THRESHOLDS_MM),
        "pck_limit_mm": PCK_LIMIT_MM,
    }


def filled(errors: Errors, distances: np.ndarray) -> np.ndarray:
    """Distances (images, ...) of labelled points, of missing ones the diagonal, NaN for points without a label."""
    more = (np.newaxis,) * (distances.ndim - 2)
    lost = _or_infinite(errors.diagonals)[(slice(None), np.newaxis, *more)]
    known = np.where(np.isfinite(distances), distances, lost)
    return np.where(errors.labelled[(..., *more)], known, np.nan)


def _or_infinite(losses: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(losses), losses, np.inf)


def _within(distances: np.ndarray, limit: float) -> np.ndarray:
    return np.where(np.isnan(distances), np.nan, distances <= limit)


def _in_pictures(errors: Errors, at: Sequence[float]) -> Iterator[Figure]:
    distances, offsets = errors.distances, errors.offsets
    assert offsets is not None  # points in pictures are compared with their axes
    with_missing = filled(errors, distances)
    yield Figure("mre_px", distances, MEAN_SIZE, with_missing, promised=True)
    for i, point in enumerate(errors.schema.points):
        yield Figure(f"mre_px_{point.lower()}", distances[:, [i]], MEAN_SIZE, with_missing[:, [i]], promised=True)
    flat = (len(offsets), -1)
    yield Figure("mae_px", offsets.reshape(flat), MEAN_SIZE, filled(errors, offsets).reshape(flat), promised=True)
    for limit in SDR_THRESHOLDS:
        within = _within(distances, limit)
        yield Figure(f"sdr_{limit}", within, SHARE, _within(with_missing, limit), promised=True)
        for i, point in enumerate(errors.schema.points):
            yield Figure(f"sdr_{limit}_{point.lower()}", within[:, [i]], SHARE)
    for quantity in errors.quantities:
        yield from _sizes(errors, quantity)
        yield _bias(errors, quantity)
        yield from _agreement(errors, quantity, at)


def _in_volumes(errors: Errors) -> Iterator[Figure]:
    schema, points = errors.schema, range(len(errors.schema.points))
    named, with_missing = np.where(errors.labelled, errors.distances, np.nan), filled(errors, errors.distances)
    yield from _by_group(errors, errors.distances, "")
    grouped = {name for name, _ in schema.groups}
    for i in points:
        if schema.points[i] not in grouped:
            yield from _radial(schema.points[i], named[:, [i]], with_missing[:, [i]])
    for limit in PCK_THRESHOLDS_MM:
        yield Figure(f"pck_{limit}_mm", _within(named, limit), SHARE, _within(with_missing, limit))
    for end, distances in swapped(errors).items():
        yield from _by_group(errors, distances, f"{end}")
    for quantity in errors.quantities:
        for figure in agreement_of(errors, quantity):
            yield attrs.evolve(figure, promised=False)
    if (planes := errors.planes) is not None:
        for name, found, lost in (
            ("plane_distance_mm", planes.distances, _or_infinite(errors.diagonals)),
            ("plane_angle_deg", planes.angles, np.full(len(planes.angles), WORST_ANGLE_DEG)),
        ):
            missing = np.where(planes.true & ~np.isfinite(found), lost, found)
            yield Figure(name, found[:, None], MEAN_SIZE, missing[:, None])
    for place, (name, angles) in enumerate(errors.axes.items()):
        known = errors.labelled.all(axis=1)
        missing = np.where(known & ~np.isfinite(angles), WORST_ANGLE_DEG if place else 2 * WORST_ANGLE_DEG, angles)
        for end, how in (("", MEAN_SIZE), ("_median", Quantile(0.5))):
            yield Figure(f"axis_{name}{end}_deg", angles[:, None], how, missing[:, None])
    for name, confused in confusions(errors).items():
        yield Figure(name, confused[:, None], SHARE)


def _by_group(errors: Errors, distances: np.ndarray, end: str) -> Iterator[Figure]:
    named, with_missing = np.where(errors.labelled, distances, np.nan), filled(errors, distances)
    yield from _radial(end, named, with_missing)
    for name, points in errors.schema.groups:
        columns = list(errors.schema.indices(points))
        yield from _radial("_".join(filter(None, (end, name))), named[:, columns], with_missing[:, columns])


def _radial(of: str, distances: np.ndarray, with_missing: np.ndarray) -> Iterator[Figure]:
    end = f"_{of}" if of else ""
    yield Figure(f"mre_mm{end}", distances, MEAN_SIZE, with_missing)
    yield Figure(f"pck_auc{end}", area_shares(distances), MEAN_AREA, area_shares(with_missing))


def swapped(errors: Errors) -> dict[str, np.ndarray]:
    """Distances up to a swap, by the end of a figure's name: all pairs at once, side by side, pair by pair."""
    schema = errors.schema
    if not schema.symmetric:
        return {}
    kinds = {"swap": whole_body(schema)}
    if len(schema.symmetric) > 1:
        kinds |= {"swap_sides": tuple(each_side(schema).values()), "swap_pairs": each_pair(schema)}
    return {end: errors.up_to_swap(units) for end, units in kinds.items()}


def confusions(errors: Errors) -> dict[str, np.ndarray]:
    """By name, (images,): 1 where left and right lie nearer the truth exchanged, of the body and of each side."""
    if not errors.schema.symmetric:
        return {}
    (body,), sides = whole_body(errors.schema), each_side(errors.schema)
    found = {"lr_confusion": errors.confused(body)}
    if len(sides) > 1:
        found |= {f"lr_confusion_{name}": errors.confused(unit) for name, unit in sides.items()}
    return found


def _sizes(errors: Errors, quantity: Quantity) -> Iterator[Figure]:
    """Figures of the absolute error."""
    difference, true = errors.differences[quantity.key], errors.true_values[quantity.key]
    size = np.abs(difference)
    # An image whose truth has no value (coincident points) cannot be wrong, so it is in no twin either.
    counted = np.where(np.isfinite(size), size, _or_infinite(errors.losses[quantity.key]))
    counted = np.where(np.isfinite(true), counted, np.nan)
    for name, how in (("mae", MEAN_SIZE), ("median", Quantile(0.5, GRAIN)), ("p95", Quantile(0.95, GRAIN))):
        yield Figure(quantity.figure(name), size[:, None], how, counted[:, None], promised=True)
    if not quantity.within:
        close, counted_close = (np.where(np.isnan(one), np.nan, is_close(one, true)) for one in (size, counted))
        yield Figure(f"{quantity.key}_{UNDER_2_5}", close[:, None], SHARE, counted_close[:, None], promised=True)


def _bias(errors: Errors, quantity: Quantity) -> Figure:
    return Figure(quantity.figure("bias"), errors.differences[quantity.key][:, None], MEAN, promised=True)


def _agreement(errors: Errors, quantity: Quantity, at: Sequence[float]) -> Iterator[Figure]:
    """Two raters of one quantity: limits of agreement, correlations, tables at thresholds."""
    key, difference = quantity.key, errors.differences[quantity.key][:, None]
    second = errors.true_values[key][:, None]
    both = np.where(np.isfinite(difference), np.hstack([second + difference, second]), np.nan)
    for share in quantity.within:
        yield Figure(quantity.figure(f"within_{share}"), _within(np.abs(difference), share), SHARE)
    yield Figure(quantity.figure("sd"), difference, DEVIATION)
    for name, sign, tails in (("loa_low", -1, DEVIATION.tails[::-1]), ("loa_high", +1, DEVIATION.tails)):
        how = attrs.evolve(DEVIATION, statistic=agreement.limit(sign), scale=PLAIN, tails=tails)
        yield Figure(quantity.figure(name), difference, how)
    yield Figure(f"{key}_icc_2_1", both, ICC_2_1)
    yield Figure(f"{key}_icc_3_1", both, ICC_3_1)
    yield Figure(f"{key}_pearson_r", both, PEARSON)
    for limit in limits_of(errors, quantity, at):
        for name, (statistic, interval) in agreement.TABLE_STATISTICS.items():
            yield Figure(at_limit(quantity, limit, name), both, Counted(_table(limit), statistic, interval))


def _table(threshold: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: agreement.table_columns(values[:, 0], values[:, 1], threshold)


@attrs.frozen(eq=False)
class Stated:
    """The intervals that rows state of a quantity; of shape (images,), NaN where a row states none."""

    ends: tuple[np.ndarray, np.ndarray]
    """On the scale of the errors."""
    covered: np.ndarray
    """1 where the truth lies inside, else 0."""

    @property
    def width(self) -> np.ndarray:
        low, high = self.ends
        return high - low


def stated_intervals(errors: Errors, intervals: Mapping[str, np.ndarray]) -> dict[str, Stated]:
    """By ``Quantity.key``, the intervals of measured images whose truth is known; what no row states is left out."""
    found = {}
    for quantity in errors.quantities:
        if quantity.column not in intervals:
            continue
        ends, true = intervals[quantity.column].T, errors.true_values[quantity.key]
        if quantity.unit == "px" and errors.factor is not None:
            ends = ends * errors.factor
        stated = errors.measured & np.isfinite(ends).all(axis=0) & np.isfinite(true)
        if stated.any():
            low, high = np.where(stated, ends, np.nan)
            found[quantity.key] = Stated((low, high), np.where(stated, (low <= true) & (true <= high), np.nan))
    return found


def _of_intervals(errors: Errors, intervals: Mapping[str, np.ndarray]) -> Iterator[Figure]:
    named = {quantity.key: quantity for quantity in errors.quantities}
    for key, stated in stated_intervals(errors, intervals).items():
        yield Figure(f"{key}_interval_coverage", stated.covered[:, None], SHARE)
        yield Figure(named[key].figure("interval_width"), stated.width[:, None], MEAN_SIZE)
