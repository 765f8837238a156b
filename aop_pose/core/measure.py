"""Keypoints and spacing (or a volume's affine) in, measurements out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import ArrayLike

from aop_pose import geometry
from aop_pose.core.frame import Frame, Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.results import Measurement
from aop_pose.core.schema import Unit

# On pixels 1 % taller than wide an angle is off by at most 0.6 degrees, well below what experts differ by.
_SQUARE_WITHIN = 0.01
_PIXELS = np.ones(2)


@attrs.frozen(eq=False)
class Measured:
    """The numbers that could be measured on one image."""

    measurements: dict[str, Measurement]
    """By name, as the columns of ``results.csv``; every value is finite, what does not exist is absent."""
    reason: str
    """Why nothing was measured; empty exactly where something was."""


def measure(
    keypoints: Keypoints,
    spacing: Sequence[float] | None = None,
    aspect: float | None = None,
    head_outline: ArrayLike | None = None,
    produced_by: str = "",
) -> Measured:
    """Everything that the schema of the keypoints defines and that the points allow.

    Args:
        keypoints: points in pixels of the original frame; a measurement whose points are missing is left out.
        spacing: (row, column) millimetres per pixel, or None where unknown. Angles and lengths in millimetres
            are taken in physical coordinates; without spacing there are no millimetres.
        aspect: height of a pixel over its width where a file states it, else None. Where it differs from 1 by
            more than 1 % and no spacing corrects it, nothing is measured; nor where spacing contradicts it.
        head_outline: outline of the fetal head in pixels, shape (points, 2). Only with it is there an HSD.
        produced_by: id of the model or of the label file, written into each measurement.

    Nothing is measured on points that cannot be what they are named (``Schema.implausible``).
    Lengths in pixels are left out where spacing says that pixels are not square: they would have no meaning.

    Raises:
        ValueError: spacing is not two positive numbers.
    """
    if spacing is not None and not (len(spacing) == 2 and all(math.isfinite(v) and v > 0 for v in spacing)):
        raise ValueError(
            f"spacing: expected (row, column) millimetres per pixel, two positive numbers, found {spacing}"
        )
    schema = keypoints.schema
    if schema.dimensions != 2 or not schema.quantities:
        return Measured({}, f"no measurement in a picture is defined on the points of schema {schema.name}")
    if refusal := why_refused(spacing, aspect):
        return Measured({}, refusal)
    scales = _scales(spacing)
    # Coordinates too large for a product overflow to values that are not finite, which are left out below.
    with np.errstate(over="ignore", invalid="ignore"):
        if schema.implausible is not None and (refusal := schema.implausible(keypoints.coords * scales["deg"])):
            return Measured({}, refusal)
        outline = None if head_outline is None else np.asarray(head_outline, np.float64).reshape(-1, 2)
        coords = {unit: keypoints.coords * scale for unit, scale in scales.items()}
        outlines = {unit: outline * scale for unit, scale in scales.items()} if outline is not None else {}
    return _measured(keypoints, coords, outlines, produced_by)


def measure_in(image: Frame | Volume, prediction: Prediction, produced_by: str = "") -> Measured:
    """The measurements of a prediction on its image: ``measure`` in a frame, ``measure_volume`` in a volume."""
    if prediction.keypoints is None:
        return Measured({}, prediction.reason)
    if isinstance(image, Volume):
        return measure_volume(prediction.keypoints, image.affine, produced_by)
    head = (prediction.outlines or {}).get("FH")
    return measure(prediction.keypoints, image.spacing, image.aspect, head, produced_by)


def measure_volume(keypoints: Keypoints, affine: ArrayLike, produced_by: str = "") -> Measured:
    """Everything in millimetres and degrees that the schema of the keypoints defines in a volume.

    Args:
        keypoints: points in voxels i, j, k; a length with a missing end, or with both ends in one place, is left out.
        affine: (4, 4), voxel indices -> millimetres (``Volume.affine``).
        produced_by: id of the model or of the label file, written into each measurement.
    """
    schema = keypoints.schema
    if schema.dimensions != 3 or not schema.quantities:
        return Measured({}, f"no measurement in a volume is defined on the points of schema {schema.name}")
    with np.errstate(over="ignore", invalid="ignore"):
        coords = geometry.to_mm(affine, keypoints.coords)
    return _measured(keypoints, {"mm": coords, "deg": coords}, {}, produced_by)


def _measured(
    keypoints: Keypoints, coords: dict[Unit, np.ndarray], outlines: dict[Unit, np.ndarray], produced_by: str
) -> Measured:
    """The finite quantities of the schema, or why there is none; points and outlines by the unit they are in."""
    schema = keypoints.schema
    measurements: dict[str, Measurement] = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for quantity in schema.quantities:
            if quantity.unit in coords:
                value = float(schema.values(quantity, coords[quantity.unit], outlines.get(quantity.unit)))
                if math.isfinite(value):
                    measurements[quantity.column] = Measurement(
                        quantity.column, value, quantity.unit, None, produced_by
                    )
    return Measured(measurements, "" if measurements else _why_nothing(keypoints))


def _scales(spacing: Sequence[float] | None) -> dict[Unit, np.ndarray]:
    """Unit -> factors for x and y: pixels where they are square, millimetres where known, else pixels for angles."""
    if spacing is None:
        return {"deg": _PIXELS, "px": _PIXELS}
    row, column = spacing
    millimetres = np.array([column, row])
    scales: dict[Unit, np.ndarray] = {"deg": millimetres, "mm": millimetres}
    return {**scales, "px": _PIXELS} if _is_square(row / column) else scales


def _is_square(aspect: float) -> bool:
    """False also for an aspect that is not a number, so that it is refused."""
    return abs(aspect - 1) <= _SQUARE_WITHIN


def why_refused(spacing: Sequence[float] | None, aspect: float | None) -> str:
    """Why nothing is measured on pixels of that spacing (row, column) and aspect, "" where it is; see ``measure``."""
    if aspect is None:
        return ""
    if spacing is None:
        if _is_square(aspect):
            return ""
        return f"pixels are {aspect:.3f} times as tall as wide and no spacing corrects the measurements"
    row, column = spacing
    if not _is_square(aspect * column / row):
        return (
            f"spacing {row:g} x {column:g} mm makes pixels {row / column:.3f} times as tall as wide, "
            f"but the file says {aspect:.3f}"
        )
    return ""


def _why_nothing(keypoints: Keypoints) -> str:
    names = keypoints.schema.points
    missing = [name for name in names if not np.isfinite(keypoints[name]).all()]
    if missing:
        return f"missing point{'s' if len(missing) > 1 else ''}: {', '.join(missing)}"
    coincident = [f"{a} and {b}" for a, b in keypoints.schema.lines if (keypoints[a] == keypoints[b]).all()]
    if coincident:
        return f"points in one place: {'; '.join(coincident)}"
    return "the coordinates are too large or too close together to be measured"
