"""The noise of the labels that results are compared with: what no reader, however good, can get rid of.

A label is one reading of a true angle. With readings of the standard deviation s about it, and a reference that is the
mean of k of them, the reference itself has the standard deviation s / sqrt(k): a perfect reader, who always gives the
true angle, differs from it by that. Errors of results are independent of the labels' (they did not see them), so the
squares add, and what is left of the mean squared error is the results' own. Normal errors have a mean size of
sqrt(2 / pi) standard deviations; distances of points whose axes are alike have one of ``_MEAN_DISTANCE``. Source:
Bland and Altman, Statistical Methods in Medical Research 8 (1999) 135-160, sections 2 and 5.

Where a truth file holds several readings of one image, their mean is the reference, their spread the noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.core.schema import Quantity, Schema
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import Errors, align_interchangeable
from aop_pose.evaluation.figures import SPREAD, Figure
from aop_pose.formats.label import READER_COLUMNS
from aop_pose.io.csv_text import number_in
from aop_pose.stats.agreement import LIMIT_SDS, point_deviation
from aop_pose.stats.bootstrap import LOG, LOG_LEFT, Estimate

READERS = "readers"
"""Column of a consensus file: how many readings its points are the mean of."""
_MEAN_SIZE = math.sqrt(2 / math.pi)
"""Of a normal error, in standard deviations."""
_MEAN_DISTANCE = {2: math.sqrt(math.pi) / 2, 3: 2 * math.sqrt(2 / math.pi) / math.sqrt(3)}
"""By the number of axes: of normal errors alike along each axis, in root mean squares of the distance."""


@attrs.frozen(eq=False)
class Spread:
    """The readings that true values are means of; of shape (images,)."""

    single: Mapping[str, np.ndarray]
    """By ``Quantity.column``: standard deviation of single readings (n - 1 in the denominator), NaN with one reader."""
    readers: np.ndarray
    """Readings of each image, at least 1."""
    words: str
    """The source of the spread, for people."""
    points: np.ndarray | None = None
    """Shape (images, points): ``stats.agreement.point_deviation`` of single readings, in pixels of the original frames
    (in mm of volumes); NaN with one reader, None where it is unknown."""
    readings: tuple[np.ndarray, ...] = ()
    """Of each image (readers, points, axes), where they are known: then lengths are in pixels of the original frames,
    also those in millimetres, or in voxels."""

    @classmethod
    def of_readings(cls, readings: Sequence[np.ndarray], schema: Schema) -> Spread:
        """The spread of readings (readers, points, axes) of each image."""
        single: dict[str, list[float]] = {one.column: [] for one in schema.quantities if not one.needs_outline}
        for several in readings:
            like = np.repeat(_mean_of(several)[None], len(several), axis=0)
            for quantity in schema.quantities:
                if quantity.column in single:
                    values = schema.unfolded(quantity, several, like=like)
                    single[quantity.column].append(float(np.std(values, ddof=1)) if len(several) > 1 else np.nan)
        return cls(
            {name: np.array(values) for name, values in single.items()},
            np.array([len(several) for several in readings]),
            "several readings of an image",
            np.array([point_deviation(several) for several in readings]),
            tuple(readings),
        )

    def in_millimetres(self, affines: np.ndarray, schema: Schema) -> Spread:
        """The same of volumes whose voxels lie where ``affines`` (volumes, 4, 4) say."""
        if not self.readings:
            return self
        moved = [geometry.to_mm(affine, several) for affine, several in zip(affines, self.readings, strict=True)]
        return attrs.evolve(Spread.of_readings(moved, schema), readings=())


def spread_columns(quantity: Quantity) -> tuple[str, ...]:
    """Columns of a truth file that state the spread of single readings: ``AoP_sd``, ``aop_deg_sd``."""
    return tuple(f"{name}_sd" for name in dict.fromkeys((quantity.label_column, quantity.column)) if name)


@attrs.frozen(eq=False)
class Noise:
    """The noise of the labels of one quantity, in its unit."""

    quantity: Quantity
    single: float
    """Standard deviation of a single reading, pooled over the images that have several."""
    variances: np.ndarray
    """Of the reference, (images,)."""
    reader_variances: np.ndarray
    """Of one more reader's difference from the reference, (images,)."""
    words: str
    """Its source, for people."""

    @classmethod
    def of(cls, quantity: Quantity, spread: Spread, unit: np.ndarray) -> Noise | None:
        """The noise that a spread implies; None where no image has a spread of this quantity.

        ``unit`` (images,): what a spread that is one of points is multiplied by to be in the unit of the errors.
        """
        if quantity.column not in spread.single:
            return None
        single, readers = spread.single[quantity.column] * (unit if spread.readings else 1.0), spread.readers
        if not (several := np.isfinite(single)).any():
            return None
        # A file that states a spread and no readers says of one reading how far readings lie apart.
        freedom = np.maximum(readers[several] - 1, 1)
        pooled = float(np.sum(freedom * single[several] ** 2) / freedom.sum())
        # Two or three readings say little of one image's own spread, but their mean over images is right.
        squares = np.where(several, np.where(several, single, 0) ** 2, pooled)
        return cls(quantity, math.sqrt(pooled), squares / readers, squares * (1 + 1 / readers), spread.words)

    @classmethod
    def stated(cls, quantity: Quantity, deviation: float, readers: np.ndarray) -> Noise:
        """The noise of labels whose single readings have a known standard deviation; UsageError for one that is none.

        ``readers`` (images,): readings that each label is the mean of.
        """
        if not (math.isfinite(deviation) and deviation > 0):
            raise UsageError(f"--label-sd: expected a standard deviation above 0, found {deviation:g}")
        square, words = deviation**2, f"--label-sd {deviation:g}"
        return cls(quantity, deviation, square / readers, square * (1 + 1 / readers), words)

    def figures(self, errors: Errors) -> Iterator[Figure]:
        """The part of the error that is left: its root mean square, and its share of the mean squared error."""
        difference = errors.differences[self.quantity.key]
        both = np.where(np.isfinite(difference), [difference**2, self.variances], np.nan).T
        for name, statistic, scale in (
            (self.quantity.figure("rms"), lambda s: np.sqrt(s[..., 1] / s[..., 0]), LOG),
            (self.quantity.figure("own_rms"), _own, LOG),
            (f"{self.quantity.key}_own_share", lambda s: 1 - s[..., 2] / s[..., 1], LOG_LEFT),
        ):
            yield Figure(name, both, attrs.evolve(SPREAD, columns=_with_ones, statistic=statistic, scale=scale))

    def estimates(self, errors: Errors) -> dict[str, Estimate]:
        """The figures of the noise alone, over the images in which the quantity has an error; no intervals."""
        known = np.isfinite(errors.differences[self.quantity.key])
        if not known.any():
            return {}
        reference, reader = self.variances[known], self.reader_variances[known]
        values = {
            "label_sd": self.single,
            "perfect_mae": _MEAN_SIZE * np.sqrt(reference).mean(),
            "perfect_loa": LIMIT_SDS * math.sqrt(reference.mean()),
            "reader_loa": LIMIT_SDS * math.sqrt(reader.mean()),
            "two_readers_loa": LIMIT_SDS * math.sqrt(2) * self.single,
        }
        return {
            self.quantity.figure(name): Estimate(float(value), None, int(known.sum())) for name, value in values.items()
        }


def _with_ones(values: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(values)), values])


def _own(sums: np.ndarray) -> np.ndarray:
    """Root mean square without the noise of the labels; 0 where they are noisier than all of the error."""
    return np.sqrt(np.maximum(sums[..., 1] - sums[..., 2], 0) / sums[..., 0])


def perfect_points(spread: Spread, errors: Errors) -> dict[str, Estimate]:
    """The mean radial error of a perfect reader against these labels, over the points of measured images."""
    if spread.points is None or not np.isfinite(spread.points).any():
        return {}
    # As with quantities, what a few readings say of one image's own spread is pooled where an image has one reading.
    freedom = np.where(np.isfinite(spread.points), np.maximum(spread.readers - 1, 1)[:, None], 0)
    squares = np.where(freedom > 0, spread.points, 0) ** 2
    with np.errstate(invalid="ignore"):
        pooled = (freedom * squares).sum(axis=0) / freedom.sum(axis=0)
    axes = errors.schema.dimensions
    sizes = _MEAN_DISTANCE[axes] * np.sqrt(np.where(freedom > 0, squares, pooled) / spread.readers[:, None])
    if axes == 2 and errors.factor is not None:
        sizes = sizes * errors.factor[:, None]
    known = np.isfinite(errors.distances) & errors.labelled & np.isfinite(sizes)
    if not known.any():
        return {}
    name = "perfect_mre_px" if axes == 2 else "perfect_mre_mm"
    return {name: Estimate(float(sizes[known].mean()), None, int(known.any(axis=1).sum()))}


def stated_spread(columns: Mapping[str, Sequence[str]], schema: Schema) -> Spread | None:
    """The spread that a consensus file states, or None; UsageError for a value that is none.

    ``AoP_sd``, ``POINT_sd_px`` and ``readers``; without ``readers`` each label counts as a single reading.
    """
    by_name = {name.casefold(): name for name in columns}
    single: dict[str, np.ndarray] = {}
    quantities = schema.quantities
    of_points = [by_name.get(f"{point}_sd_px".casefold()) for point in schema.points if schema.dimensions == 2]
    for quantity in quantities:
        for column in spread_columns(quantity):
            if name := by_name.get(column.casefold()):
                single[quantity.column] = _numbers(columns[name], name, 0)
    if not single and not any(of_points):
        return None
    name = by_name.get(READERS)
    count = len(next(iter(columns.values())))
    readers = np.ones(count) if name is None else _numbers(columns[name], name, 1)
    words = f"{', '.join(spread_columns(one)[0] for one in quantities if one.column in single)} of the truth file"
    points = None
    if any(of_points):
        unknown = np.full(count, np.nan)
        points = np.stack([unknown if one is None else _numbers(columns[one], one, 0) for one in of_points], axis=1)
    return Spread(single, np.where(np.isfinite(readers), readers, 1), words, points)


def _numbers(texts: Sequence[str], column: str, least: float) -> np.ndarray:
    values = []
    for line, text in enumerate(texts, start=1):
        try:
            value = number_in(text) if text.strip() else math.nan
        except ValueError:
            value = -math.inf
        if value < least or math.isinf(value):
            raise UsageError(
                f"truth, {column}: expected numbers of at least {least:g} or nothing, found {text!r} (row {line})"
            )
        values.append(value)
    return np.array(values)


@attrs.frozen(eq=False)
class Readings:
    """Rows of a truth file, those of one image together."""

    rows: tuple[int, ...]
    """Position of the first row of each image, in the order of the file."""
    coords: np.ndarray
    """Shape (images, points, axes): the mean of the readings."""
    spread: Spread | None
    """None where every image has one reading."""
    note: str


def readings_of(
    names: Sequence[str], coords: np.ndarray, columns: Mapping[str, Sequence[str]], schema: Schema
) -> Readings:
    """Gather the rows of each name.

    Args:
        names: of the images, one a row.
        coords: (rows, points, axes).
        columns: those beside the points; a column that names the readers must not name one twice for an image.

    Raises:
        UsageError: a row is there twice, or a reader has two rows of one image.
    """
    places: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        places.setdefault(name, []).append(row)
    if len(places) == len(names):
        return Readings(tuple(range(len(names))), coords, None, "")
    readers = next((texts for name, texts in columns.items() if name.casefold() in READER_COLUMNS), None)
    gathered: list[np.ndarray] = []
    for name, rows in places.items():
        readings = coords[rows]
        _check_apart(name, readings, None if readers is None else [readers[row] for row in rows])
        # The ends of an axis may be named either way round; the first reader's order is taken.
        gathered.append(align_interchangeable(readings, np.repeat(readings[:1], len(rows), axis=0), schema))
    counts = np.array([len(rows) for rows in places.values()])
    several = int((counts > 1).sum())
    note = (
        f"images with several readings in the truth file, whose mean is the reference: {several} of {len(counts)} "
        f"({from_to(int(counts[counts > 1].min()), int(counts.max()))} readings each)"
    )
    means = np.array([_mean_of(readings) for readings in gathered])
    return Readings(tuple(rows[0] for rows in places.values()), means, Spread.of_readings(gathered, schema), note)


def _mean_of(readings: np.ndarray) -> np.ndarray:
    """The mean (points, axes) of the readings (readers, points, axes) that have a point; NaN where none has."""
    known = np.isfinite(readings)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, readings, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def from_to(least: int, most: int) -> str:
    """``2`` or ``2 to 5``."""
    return str(most) if least == most else f"{least} to {most}"


def _check_apart(name: str, readings: np.ndarray, readers: Sequence[str] | None) -> None:
    if readers is not None and len(set(readers)) < len(readers):
        raise UsageError(
            f"expected one row of each reader and image, found several of {name} by one reader "
            f"({', '.join(sorted({who for who in readers if list(readers).count(who) > 1}))}); remove all but one"
        )
    if readers is None and len(np.unique(readings.reshape(len(readings), -1), axis=0)) < len(readings):
        raise UsageError(
            "expected each frame once in the truth file, or several readings of it, found the same row of "
            f"{name} twice; remove it, or say in a column reader who read it"
        )
