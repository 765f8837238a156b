"""Errors of predicted points against true points in volumes, in millimetres, frame by frame.

The two sides of the body look alike, and a network that was trained up to a swap (the Pair loss of FetusMapV2) does not
know them apart: errors are given as the points are named, and in the better of the two orders.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.schemas import Schema

Columns = tuple[int, ...]
Unit = tuple[Columns, Columns]
"""Left and right points that change places together, in matching order."""


@attrs.frozen(eq=False)
class PointErrors:
    """Errors in mm; NaN where a point was not predicted, or the truth does not have it."""

    schema: Schema
    measured: np.ndarray
    """Shape (frames,), bool: some point was predicted."""
    labelled: np.ndarray
    """Shape (frames, points), bool: the truth has the point."""
    distances: np.ndarray
    """Shape (frames, points): as the points are named."""
    exchanged: np.ndarray
    """Shape (frames, points): left points compared with right ones and the other way round; NaN for the others."""
    diagonals: np.ndarray
    """Of the volumes, shape (frames,): the error that a missing point counts as."""

    def up_to_swap(self, units: Sequence[Unit]) -> np.ndarray:
        """Distances (frames, points) with each unit in the better of its two orders, whole units at once."""
        best = self.distances.copy()
        for unit in units:
            columns = [index for side in unit for index in side]
            crossed = self.confused(unit) == 1
            best[np.ix_(crossed, columns)] = self.exchanged[np.ix_(crossed, columns)]
        return best

    def confused(self, unit: Unit) -> np.ndarray:
        """Shape (frames,): 1 where the unit lies nearer the truth exchanged than as named, else 0.

        NaN where no pair of the unit has both points on both sides of the comparison. A tie is not confused.
        """
        columns = np.array(unit)
        straight, crossed = self.distances[:, columns], self.exchanged[:, columns]
        # Only whole pairs are compared: a lone point would count in one order and not in the other. Where both have an
        # error as named, both have one exchanged.
        whole = np.isfinite(straight).all(axis=1)
        as_named, other = (np.where(whole[:, None], side, 0).sum(axis=(1, 2)) for side in (straight, crossed))
        return np.where(whole.any(axis=1), (other < as_named).astype(float), np.nan)


def point_errors(predicted: np.ndarray, truth: np.ndarray, diagonals: np.ndarray, schema: Schema) -> PointErrors:
    """Compare points in millimetres.

    Args:
        predicted: (frames, points, 3), x, y, z in mm, NaN for a point that was not predicted.
        truth: the same shape and space; NaN for a point that is not labelled, which is not scored.
        diagonals: (frames,) in mm.

    Raises:
        ValueError: other shapes.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    diagonals = np.asarray(diagonals, np.float64)
    expected = (len(truth), len(schema.points), 3)
    shapes = {"predicted": (predicted, expected), "truth": (truth, expected), "diagonals": (diagonals, expected[:1])}
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, found {array.shape}")
    exchanged = np.full(expected[:2], np.nan)
    for left, right in pairs(schema):
        exchanged[:, left] = np.linalg.norm(predicted[:, right] - truth[:, left], axis=-1)
        exchanged[:, right] = np.linalg.norm(predicted[:, left] - truth[:, right], axis=-1)
    return PointErrors(
        schema=schema,
        measured=np.isfinite(predicted).all(axis=2).any(axis=1),
        labelled=np.isfinite(truth).all(axis=2),
        distances=np.linalg.norm(predicted - truth, axis=-1),
        exchanged=exchanged,
        diagonals=diagonals,
    )


def pairs(schema: Schema) -> tuple[tuple[int, int], ...]:
    """Columns of each left point and of its right one."""
    return tuple((schema.index(left), schema.index(right)) for left, right in schema.symmetric)


def whole_body(schema: Schema) -> tuple[Unit, ...]:
    """One unit of all pairs: left and right are decided once."""
    left, right = zip(*pairs(schema), strict=True)
    return ((left, right),)


def each_side(schema: Schema) -> dict[str, Unit]:
    """A unit for each pair of groups, by the name without its side: the arms, the legs (FetusMapV2, section 3.2)."""
    names = [name.removeprefix("left_") for name, _ in schema.groups if name.startswith("left_")]
    return dict(zip(names, schema.sides, strict=True))


def each_pair(schema: Schema) -> tuple[Unit, ...]:
    """A unit for each pair of points."""
    return tuple(((left,), (right,)) for left, right in pairs(schema))


def volume_diagonals(affines: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Millimetres (frames,) from corner to corner of volumes of ``shapes`` (frames, 3) with ``affines``."""
    spacings = np.stack([geometry.voxel_spacing(affine) for affine in affines])
    return np.linalg.norm(spacings * shapes, axis=1)
