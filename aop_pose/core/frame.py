"""The images: a frame or a volume, where it came from, and what is known of its geometry.

Pixel convention, used everywhere: the centre of the top-left pixel is (0, 0), x runs right, y runs down.
Voxel convention, used everywhere: i, j, k count along the first, second and third axis of the file, and the centre of
the first voxel is (0, 0, 0).
"""

from __future__ import annotations

import math
from typing import Protocol

import attrs
import cv2
import numpy as np
from numpy.typing import ArrayLike

from aop_pose import geometry
from aop_pose.core.region import Region
from aop_pose.core.stances import Stance

MIN_SIDE = 32
"""Pixels; below it three points cannot be told apart."""
MAX_ELONGATION = 8.0
"""Longer side over shorter side; beyond it a letterboxed frame is a thread."""
BLANK_RANGE = 16
"""Gray values; a frame whose brightest and darkest pixel lie closer is blank."""
BLANK_DEVIATION = 3.0
"""Gray values; a frame whose standard deviation is below is blank. 1058 real PSFHS frames have 21 or more."""
MIN_NEIGHBOUR_CORRELATION = 0.5
"""Of the gray values of neighbouring pixels: the 1058 real PSFHS frames have 0.88 or more, white noise has 0."""
_SAMPLED_LINES = 256


class Image(Protocol):
    """A frame or a volume, as everything above ``io`` sees it."""

    @property
    def source(self) -> str:
        """Path below the folder that was given, or the file name."""

    @property
    def index(self) -> int:
        """Position in a cine or a sequence; 0 for a single image."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of its points: width, height, or voxels along i, j, k."""

    def to_mm(self, points: ArrayLike) -> np.ndarray:
        """Points (..., axes) of the image in millimetres, same shape; NaN where the spacing is unknown."""

    def unfit_reason(self) -> str:
        """Why it must not be measured, "" where it may be."""


def _positive_or_none(instance: object, attribute: attrs.Attribute, value: tuple[float, ...] | None) -> None:
    if value is not None and not (len(value) == 2 and all(math.isfinite(v) and v > 0 for v in value)):
        raise ValueError(
            f"{attribute.name}: expected (row, column) millimetres per pixel, two positive numbers, found {value}"
        )


@attrs.frozen(eq=False)
class Frame:
    """Pixels with their spacing and where they came from. Never patient data."""

    pixels: np.ndarray = attrs.field()
    """uint8 gray values, shape (H, W)."""
    spacing: tuple[float, float] | None = attrs.field(default=None, validator=_positive_or_none)
    """(row, column) millimetres per pixel, or None where unknown."""
    source: str = ""
    """Path below the folder that was given, or the file name."""
    index: int = 0
    """Position in a cine; 0 for a still."""
    aspect: float | None = None
    """Height of a pixel over its width where a file says so without saying millimetres; None = not said."""
    region: Region | None = attrs.field(default=None)
    """The part that is ultrasound, where it is known; None = not known yet. It lies inside the frame."""
    time_s: float | None = None
    """Seconds from the start of its cine; None = not known."""
    sop: str = ""
    """SOP instance UID of its DICOM file, "" for any other and where identifiers are not kept."""
    private: bool = False
    """It comes from a file of a patient, where names and dates may be burned in around the region."""
    choices: tuple[Frame, ...] = ()
    """The same frame with each region, where its file names several that may hold the anatomy."""

    @pixels.validator
    def _check_pixels(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        if value.dtype != np.uint8 or value.ndim != 2 or value.size == 0:
            raise ValueError(f"pixels: expected gray values (H, W) uint8, found {value.dtype} {value.shape}")

    @region.validator
    def _check_region(self, attribute: attrs.Attribute, value: Region | None) -> None:
        if value is not None and not value.lies_in(*self.shape):
            raise ValueError(f"region: expected one inside {self.width} x {self.height} pixels, found {value}")

    @property
    def height(self) -> int:
        return int(self.pixels.shape[-2])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """Width, height."""
        return self.width, self.height

    def to_mm(self, points: ArrayLike) -> np.ndarray:
        """Points (..., 2), x and y in pixels, in millimetres; NaN where the spacing is unknown."""
        row, column = self.spacing or (math.nan, math.nan)
        return np.asarray(points, np.float64) * (column, row)

    def turned_back(self, stance: Stance) -> Frame:
        """The same frame as it should stand, given how it stands."""
        row, column = self.spacing or (math.nan, math.nan)
        spacing, aspect = self.spacing, self.aspect
        if stance.quarters % 2:
            spacing, aspect = spacing and (column, row), aspect and 1 / aspect
        return attrs.evolve(self, pixels=stance.undo(self.pixels), spacing=spacing, aspect=aspect, region=None)

    def cut_to(self, region: Region) -> Frame:
        """The part of it that a region shows, as a frame of its own; itself where that is all of it."""
        if region.box == Region.whole(*self.shape).box:
            return self
        return attrs.evolve(self, pixels=region.cut(self.pixels), region=None)

    def unfit_reason(self) -> str:
        """Why it must not be measured, "" where it may be: too small or too narrow, blank, or noise."""
        shorter, longer = sorted(self.shape)
        size = f"{self.width} x {self.height} pixels"
        if shorter < MIN_SIDE:
            return f"too small to measure: {size}, {MIN_SIDE} are needed on the shorter side"
        if longer > MAX_ELONGATION * shorter:
            return f"too narrow to measure: {size}, at most {MAX_ELONGATION:g}:1 is measured"
        if is_blank(self.pixels):
            return "blank: a black or constant frame shows nothing to measure"
        if is_noise(self.pixels):
            return "noise: neighbouring pixels have nothing in common, which no picture shows"
        return ""


def is_blank(pixels: np.ndarray) -> bool:
    """True for a black, constant or nearly constant frame."""
    darkest, brightest, _, _ = cv2.minMaxLoc(pixels)
    # Not ndarray.std, which takes eight bytes a pixel.
    return brightest - darkest < BLANK_RANGE or float(cv2.meanStdDev(pixels)[1][0, 0]) < BLANK_DEVIATION


def is_noise(pixels: np.ndarray) -> bool:
    """True where a pixel says nothing of the next one, neither along the rows nor along the columns."""
    for lines in (pixels, pixels.T):
        sampled = np.ascontiguousarray(lines[:: max(1, len(lines) // _SAMPLED_LINES)])
        if not _correlation(sampled[:, :-1], sampled[:, 1:]) < MIN_NEIGHBOUR_CORRELATION:
            return False
    return True


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two uint8 arrays, NaN where one is constant.

    Sums of whole numbers: ``numpy.corrcoef`` takes ten times as long, and the threads of its matrix product get into
    the way of those that measure.
    """
    count = one.size
    (first, *_), (second, *_) = cv2.sumElems(one), cv2.sumElems(other)
    # OpenCV gives the square of a root.
    squares = [round(cv2.norm(each, cv2.NORM_L2SQR)) for each in (one, other)]
    product = (sum(squares) - round(cv2.norm(one, other, cv2.NORM_L2SQR))) / 2
    spread = (count * squares[0] - first * first) * (count * squares[1] - second * second)
    return float((count * product - first * second) / math.sqrt(spread)) if spread > 0 else math.nan


# Columns of a stored affine are at right angles to single precision; a scan that is sheared is off by far more.
_RIGHT_ANGLES_WITHIN = 1e-3


def _affine(value: object) -> np.ndarray:
    return np.array(value, dtype=np.float64)


@attrs.frozen(eq=False)
class Volume:
    """Voxels with their place in space, and where they came from. Never patient data.

    ValueError, in one line, for voxels that are not finite and for an affine that is not a rotation, a spacing and
    an origin.
    """

    voxels: np.ndarray = attrs.field()
    """float32 gray values, shape (I, J, K), in the file's axis order."""
    affine: np.ndarray = attrs.field(converter=_affine)
    """(4, 4): voxel indices (i, j, k, 1) -> millimetres (x, y, z, 1), right-handed, RAS (x right, y front, z head)."""
    source: str = ""
    """Path below the folder that was given, or the file name."""
    index: int = 0
    """Time point in a sequence; 0 for a single volume."""

    @voxels.validator
    def _check_voxels(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        if value.dtype != np.float32 or value.ndim != 3 or value.size == 0:
            raise ValueError(f"voxels: expected float32 (I, J, K), found {value.dtype} {value.shape}")
        broken = value.size - int(np.count_nonzero(np.isfinite(value)))
        if broken:
            raise ValueError(
                f"voxels: expected finite gray values, found {broken} of {value.size} that are NaN or infinite; "
                "fill them before"
            )

    @affine.validator
    def _check_affine(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        if value.shape != (4, 4) or not np.isfinite(value).all() or not np.array_equal(value[3], (0, 0, 0, 1)):
            raise ValueError(
                f"affine: expected finite numbers (4, 4) with the last row 0 0 0 1, found {value.tolist()}"
            )
        spacing = geometry.voxel_spacing(value)
        if not (spacing > 0).all():
            raise ValueError(f"affine: expected positive millimetres along i, j, k, found {_numbers(spacing)}")
        cosines = value[:3, :3] / spacing
        if np.abs(cosines.T @ cosines - np.eye(3)).max() > _RIGHT_ANGLES_WITHIN:
            raise ValueError(
                "affine: expected axes at right angles, found a sheared or flat one with the directions "
                f"{'; '.join(_numbers(column) for column in cosines.T)}; resample the volume"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        i, j, k = self.voxels.shape
        return i, j, k

    @property
    def spacing(self) -> np.ndarray:
        """Millimetres from voxel to voxel along i, j, k, shape (3,)."""
        return geometry.voxel_spacing(self.affine)

    @property
    def handedness(self) -> int:
        """1 where the axes i, j, k are right-handed like the patient's, -1 where they are mirrored."""
        return geometry.handedness(self.affine)

    def to_mm(self, indices: ArrayLike) -> np.ndarray:
        """Voxel indices (..., 3) -> millimetres (..., 3), x, y, z, right-handed."""
        return geometry.to_mm(self.affine, indices)

    def edges_mm(self, indices: np.ndarray) -> np.ndarray:
        """Millimetres (n,) of voxel indices (n, 3) from the nearest edge, negative outside."""
        room = np.minimum(indices + 0.5, np.array(self.shape) - 0.5 - indices)
        return np.asarray((room * self.spacing).min(axis=1))

    def unfit_reason(self) -> str:
        """Why it must not be measured, "" where it may be."""
        return "nothing to see: the whole volume has one value" if self.voxels.min() == self.voxels.max() else ""

    def from_mm(self, points: ArrayLike) -> np.ndarray:
        """Millimetres (..., 3), x, y, z -> voxel indices (..., 3), i, j, k."""
        return geometry.from_mm(self.affine, points)


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
