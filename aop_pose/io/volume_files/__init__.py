"""The volumes of a file before their voxels are read: the common ground of all its formats."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import attrs
import numpy as np

from aop_pose.errors import UnreadableError

MAX_VOXELS = 1_000_000_000
"""Largest volume that is read (1000 x 1000 x 1000); a larger one is refused from its header."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""DICOM's axes (x left, y back), in which ITK and MetaImage count, to those of NIfTI and of this house."""


@attrs.frozen(eq=False)
class StoredVolume:
    """Size, place and voxels of one volume, or of a sequence of them on one grid."""

    shape: tuple[int, int, int] = attrs.field()
    """Voxels along i, j, k: the first, second and third axis of the file."""
    times: int = attrs.field()
    """Time points; 1 for a single volume."""
    spacing: np.ndarray
    """(3,) millimetres along i, j, k as the file states them, even where that cannot be; NaN = not stated."""
    directions: np.ndarray
    """(3, 3), a column of length 1 for each of i, j, k, in RAS."""
    origin: np.ndarray
    """(3,) millimetres of voxel (0, 0, 0), in RAS."""
    load: Callable[[], Generator[np.ndarray, None, None]]
    """Voxels (I, J, K) of each time point in order, in the file's number type; UnreadableError where damaged."""

    @shape.validator
    def _check_shape(self, attribute: attrs.Attribute, value: tuple[int, int, int]) -> None:
        size = " x ".join(map(str, value))
        if min(value) < 1:
            raise UnreadableError(f"no voxels: its header says {size}")
        if int(np.prod(value, dtype=np.float64)) > MAX_VOXELS:
            raise UnreadableError(f"too large: {size} voxels, at most {MAX_VOXELS // 1_000_000} million are read")

    @times.validator
    def _check_times(self, attribute: attrs.Attribute, value: int) -> None:
        if value < 1:
            raise UnreadableError("no voxels: its header says 0 time points")

    def affine(self, given: Sequence[float] | None = None) -> np.ndarray:
        """(4, 4): voxel indices -> millimetres. ``given``: spacing along i, j, k where the file states none.

        UnreadableError where neither gives three positive numbers.
        """
        spacing = self.spacing
        if not _positive(spacing) and given is not None:
            spacing = np.asarray(given, np.float64)
        if not _positive(spacing):
            stated = "none" if np.isnan(spacing).all() else ", ".join(f"{value:g}" for value in spacing)
            raise UnreadableError(
                f"spacing: expected positive millimetres along i, j, k, found {stated}; "
                "store it in the file, or give it (predict --pixel-size; in a label file the columns "
                "spacing_i_mm,spacing_j_mm,spacing_k_mm)"
            )
        matrix = np.eye(4)
        matrix[:3, :3] = self.directions * spacing
        matrix[:3, 3] = self.origin
        return matrix


def _positive(spacing: np.ndarray) -> bool:
    return bool(spacing.shape == (3,) and np.isfinite(spacing).all() and (spacing > 0).all())
