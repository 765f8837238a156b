"""Several readings of one image in a truth file: their mean is the reference, their spread the noise of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import align_interchangeable
from aop_pose.evaluation.noise import Spread

READER_COLUMNS = ("reader", "rater", "observer", "annotator", "annotated_by", "labeller", "labeler")
"""Columns, in any case, that name who read a row."""


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
    means: list[np.ndarray] = []
    singles: dict[str, list[float]] = {one.column: [] for one in schema.quantities if not one.needs_outline}
    for name, rows in places.items():
        readings = coords[rows]
        _check_apart(name, readings, None if readers is None else [readers[row] for row in rows])
        # The ends of an axis may be named either way round; the first reader's order is taken.
        readings = align_interchangeable(readings, np.repeat(readings[:1], len(rows), axis=0), schema)
        mean = np.nanmean(readings, axis=0) if np.isfinite(readings).any() else readings[0]
        means.append(mean)
        for quantity in schema.quantities:
            if quantity.column in singles:
                values = schema.unfolded(quantity, readings, like=np.repeat(mean[None], len(rows), axis=0))
                singles[quantity.column].append(float(np.std(values, ddof=1)) if len(rows) > 1 else np.nan)
    counts = np.array([len(rows) for rows in places.values()])
    several = int((counts > 1).sum())
    note = (
        f"images with several readings in the truth file, whose mean is the reference: {several} of {len(counts)} "
        f"({from_to(int(counts[counts > 1].min()), int(counts.max()))} readings each)"
    )
    spread = Spread(
        {name: np.array(values) for name, values in singles.items()}, counts, "several readings of an image"
    )
    return Readings(tuple(rows[0] for rows in places.values()), np.array(means), spread, note)


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
