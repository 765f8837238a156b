"""One picture (or volume) and what is known of its geometry.

Pixel convention, used everywhere: the centre of the top-left pixel is (0, 0), x runs right, y runs down.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import ArrayLike

from aop_pose import geometry


def _positive_or_none(instance: object, attribute: attrs.Attribute, value: tuple[float, ...] | None) -> None:
    if value is not None and not all(math.isfinite(v) and v > 0 for v in value):
        raise ValueError(f"{attribute.name}: expected positive millimetres per pixel, found {value}")


@attrs.frozen(eq=False)
class Frame:
    """Pixels with their spacing and where they came from. Never patient data."""

    pixels: np.ndarray = attrs.field()
    """uint8 gray values, shape (H, W), or (D, H, W) for a volume."""
    spacing: tuple[float, ...] | None = attrs.field(default=None, validator=_positive_or_none)
    """Millimetres per pixel along each axis of ``pixels`` (rows first), or None where unknown."""
    source: str = ""
    """Path below the folder that was given, or the file name."""
    index: int = 0
    """Position in a cine; 0 for a still."""
    aspect: float | None = None
    """Height of a pixel over its width where a file says so without saying millimetres; None = not said."""

    @pixels.validator
    def _check_pixels(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        if value.dtype != np.uint8 or value.ndim not in (2, 3) or value.size == 0:
            raise ValueError(f"pixels: expected uint8 (H, W) or (D, H, W), found {value.dtype} {value.shape}")

    def __attrs_post_init__(self) -> None:
        if self.spacing is not None and len(self.spacing) != self.pixels.ndim:
            raise ValueError(f"spacing: expected {self.pixels.ndim} numbers, found {len(self.spacing)}")

    @property
    def height(self) -> int:
        return int(self.pixels.shape[-2])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[-1])


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

    def from_mm(self, points: ArrayLike) -> np.ndarray:
        """Millimetres (..., 3), x, y, z -> voxel indices (..., 3), i, j, k."""
        return geometry.from_mm(self.affine, points)


def _numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
