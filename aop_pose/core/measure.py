"""Keypoints and spacing (or a volume's affine) in, measurements out: which formula belongs to which schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import numpy as np
from numpy.typing import ArrayLike

from aop_pose import geometry
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import Measurement
from aop_pose.core.schema import AOP, FETAL_FACE, FETUS, HEAD

# On pixels 1 % taller than wide an angle is off by at most 0.6 degrees, well below what experts differ by.
_SQUARE_WITHIN = 0.01
_PIXELS = np.ones(2)
# Straight lengths in volumes, by schema. A bone is as long as its two joints are apart.
_LENGTHS = {
    FETUS.name: {
        "crl_mm": ("cranial_crest", "rump"),
        "humerus_left_mm": ("left_shoulder", "left_elbow"),
        "humerus_right_mm": ("right_shoulder", "right_elbow"),
        "femur_left_mm": ("left_hip", "left_knee"),
        "femur_right_mm": ("right_hip", "right_knee"),
    },
    FETAL_FACE.name: {"eye_distance_mm": ("left_eye", "right_eye")},
}
_MIDLINE = FETUS.indices(dict(FETUS.groups)["head_and_trunk"])


@attrs.frozen(eq=False)
class Measured:
    """What could be measured on one frame."""

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

    Nothing is measured on four points that are not the axes of one head (``geometry.implausible_axes``).
    Lengths in pixels are left out where spacing says that pixels are not square: they would have no meaning.

    Raises:
        ValueError: spacing is not two positive numbers.
    """
    if spacing is not None and not (len(spacing) == 2 and all(math.isfinite(v) and v > 0 for v in spacing)):
        raise ValueError(
            f"spacing: expected (row, column) millimetres per pixel, two positive numbers, found {spacing}"
        )
    measure_schema = _BY_SCHEMA.get(keypoints.schema.name)
    if measure_schema is None:
        return Measured({}, f"no measurement is defined on the points of schema {keypoints.schema.name}")
    refusal = _why_refused(spacing, aspect)
    if refusal:
        return Measured({}, refusal)
    # Coordinates too large for a product overflow to values that are not finite, which are left out below.
    with np.errstate(over="ignore", invalid="ignore"):
        refusal = _why_implausible(keypoints, spacing)
        values = {} if refusal else measure_schema(keypoints, spacing, head_outline)
    if refusal:
        return Measured({}, refusal)
    return _measured(values, keypoints, produced_by)


def measure_volume(keypoints: Keypoints, affine: ArrayLike, produced_by: str = "") -> Measured:
    """Lengths in millimetres between the points of a volume.

    Schema ``fetus``: crown-rump length and both humeri and femora; ``fetal_face``: the distance of the eyes' centres.

    Args:
        keypoints: points in voxels i, j, k; a length with a missing end, or with both ends in one place, is left out.
        affine: (4, 4), voxel indices -> millimetres (``Volume.affine``).
        produced_by: id of the model or of the label file, written into each measurement.
    """
    lengths = _LENGTHS.get(keypoints.schema.name)
    if lengths is None:
        return Measured({}, f"no measurement in a volume is defined on the points of schema {keypoints.schema.name}")
    with np.errstate(over="ignore", invalid="ignore"):
        places = dict(zip(keypoints.schema.points, geometry.to_mm(affine, keypoints.coords), strict=True))
        values = {name: _axis_length(places[end], places[other]) for name, (end, other) in lengths.items()}
    return _measured(values, keypoints, produced_by)


def midsagittal_plane(points: ArrayLike) -> geometry.Plane:
    """The plane that parts the left of a fetus from its right, fitted to the points of head and trunk.

    All of them are taken from the midline (``schemas.FETUS``). A fetus that turns its head has no such plane; then it
    is the plane nearest to them all.

    Args:
        points: (22, 3), x, y, z in mm; missing ones (NaN) are left aside.
    """
    return geometry.fit_plane(np.asarray(points, np.float64)[list(_MIDLINE)])


def _measured(values: dict[str, float], keypoints: Keypoints, produced_by: str) -> Measured:
    """The finite ones of the values, with their units, or why there is none."""
    measurements = {
        name: Measurement(name, value, unit=name.rsplit("_", 1)[-1], produced_by=produced_by)
        for name, value in values.items()
        if math.isfinite(value)
    }
    return Measured(measurements, "" if measurements else _why_nothing(keypoints))


def _measure_aop(
    keypoints: Keypoints, spacing: Sequence[float] | None, head_outline: ArrayLike | None
) -> dict[str, float]:
    scales = _scales(spacing)
    ps1, ps2, fh1 = keypoints.coords * scales.get("mm", _PIXELS)
    values = {"aop_deg": float(geometry.angle_of_progression(ps1, ps2, fh1))}
    if head_outline is not None:
        outline = np.asarray(head_outline, np.float64).reshape(-1, 2)
        for unit, scale in scales.items():
            values[f"hsd_{unit}"] = geometry.head_symphysis_distance(keypoints["PS1"] * scale, outline * scale)
    return values


def _measure_head(
    keypoints: Keypoints, spacing: Sequence[float] | None, head_outline: ArrayLike | None
) -> dict[str, float]:
    values: dict[str, float] = {}
    for unit, scale in _scales(spacing).items():
        ofd1, ofd2, bpd1, bpd2 = keypoints.coords * scale
        ofd, bpd = _axis_length(ofd1, ofd2), _axis_length(bpd1, bpd2)
        values |= {f"ofd_{unit}": ofd, f"bpd_{unit}": bpd}
        values[f"hc_{unit}"] = float(geometry.head_circumference(bpd, ofd))
        if unit == "mm":
            values["hc_ramanujan_mm"] = float(geometry.ramanujan_perimeter(bpd, ofd))
    return values


def _why_implausible(keypoints: Keypoints, spacing: Sequence[float] | None) -> str:
    if keypoints.schema is not HEAD:
        return ""
    problem = geometry.implausible_axes(keypoints.coords * _scales(spacing).get("mm", _PIXELS))
    return f"not the axes of one head: {problem}" if problem else ""


def _axis_length(end: np.ndarray, other_end: np.ndarray) -> float:
    """NaN for two ends in one place: that is no head of size 0."""
    length = float(geometry.point_distance(end, other_end))
    return length if length > 0 else math.nan


_BY_SCHEMA: dict[str, Callable[[Keypoints, Sequence[float] | None, ArrayLike | None], dict[str, float]]] = {
    AOP.name: _measure_aop,
    HEAD.name: _measure_head,
}


def _scales(spacing: Sequence[float] | None) -> dict[str, np.ndarray]:
    """Unit of length -> factors for x and y: pixels where they are square, millimetres where known."""
    if spacing is None:
        return {"px": _PIXELS}
    row, column = spacing
    millimetres = {"mm": np.array([column, row])}
    return {"px": _PIXELS, **millimetres} if _is_square(row / column) else millimetres


def _is_square(aspect: float) -> bool:
    """False also for an aspect that is not a number, so that it is refused."""
    return abs(aspect - 1) <= _SQUARE_WITHIN


def _why_refused(spacing: Sequence[float] | None, aspect: float | None) -> str:
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


SIGNS = {"deg": "°", "px": " px", "mm": " mm"}
"""Units as they stand behind a number."""


@attrs.frozen
class Quantity:
    """A number measured on the points of a schema."""

    name: str
    unit: str
    """``deg``; ``px``, which is put on the scale that is asked for; ``mm``, which needs the size of a pixel."""
    title: str
    """As the field writes it."""
    of: Callable[[np.ndarray], np.ndarray]
    """Points (frames, points, 2) -> values (frames,) in the unit of the points, NaN where undefined."""
    missing: float | None = None
    """Error of a frame without a prediction; None = the diagonal of its picture."""
    stated: bool = False
    """The truth file may state it (the expert's circumference): then that is the reference, not the true points."""

    @property
    def key(self) -> str:
        """Its name among the quantities of a schema: a length in millimetres has the unit in it."""
        return f"{self.name}_mm" if self.unit == "mm" else self.name

    @property
    def reference_title(self) -> str:
        """What the true value is called: one expert's circumference is the reference of both formulas."""
        return "HC" if self.stated else self.title

    @property
    def sign(self) -> str:
        return SIGNS[self.unit]

    @property
    def label(self) -> str:
        """Title and unit, as an axis or the head of a column has it."""
        return f"{self.title}, {self.sign.strip()}"

    def figure(self, what: str) -> str:
        """Key in ``metrics.json`` of a figure in the unit of the quantity: ``hc_mae_mm``."""
        return f"{self.name}_{what}_{self.unit}"


def _distance(first: int, second: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda coords: geometry.point_distance(coords[:, first], coords[:, second])


def _angle(coords: np.ndarray) -> np.ndarray:
    return geometry.angle_of_progression(coords[:, 0], coords[:, 1], coords[:, 2])


_OFD, _BPD = _distance(0, 1), _distance(2, 3)


def _circumference(coords: np.ndarray) -> np.ndarray:
    return geometry.head_circumference(_BPD(coords), _OFD(coords))


def _perimeter(coords: np.ndarray) -> np.ndarray:
    return geometry.ramanujan_perimeter(_BPD(coords), _OFD(coords))


QUANTITIES: dict[str, tuple[Quantity, ...]] = {
    AOP.name: (Quantity("aop", "deg", "AoP", _angle, missing=180.0),),
    HEAD.name: (
        Quantity("ofd", "px", "OFD", _OFD),
        Quantity("bpd", "px", "BPD", _BPD),
        Quantity("hc", "px", "HC", _circumference),
        Quantity("ofd", "mm", "OFD", _OFD),
        Quantity("bpd", "mm", "BPD", _BPD),
        Quantity("hc", "mm", "HC", _circumference, stated=True),
        Quantity("hc_ramanujan", "mm", "HC (Ramanujan)", _perimeter, stated=True),
    ),
}
"""By schema; the last one that is known is the one that is plotted."""
