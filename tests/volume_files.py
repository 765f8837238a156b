"""Volumes written byte by byte, so that no reader or writer of the project or of ITK stands between."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SHAPE = (4, 5, 6)
SPACING = (1.0, 2.0, 3.0)
ORIGIN = (10.0, -20.0, 30.0)
VALUES = np.arange(120, dtype="<f4").reshape(SHAPE, order="F")
"""Gray values (I, J, K): 0, 1, 2, ... along i, as they lie in a file."""

AXES = {
    "straight": np.eye(3),
    "flipped": np.diag([-1.0, 1.0, 1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "flipped and permuted": np.array([[0.0, 0, -1], [1, 0, 0], [0, 1, 0]]),
    "oblique": np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]),
    "oblique and flipped": np.array([[0.8, 0.6, 0], [0.6, -0.8, 0], [0, 0, 1]]),
}
"""Directions of i, j, k in RAS, a column each."""


def affine_of(axes: np.ndarray, spacing: Sequence[float] = SPACING) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = ORIGIN
    return affine


def nifti(
    path: Path,
    values: np.ndarray = VALUES,
    *,
    pixdim: Sequence[float] = (1, *SPACING),
    sform: np.ndarray | None = None,
    qform: Sequence[float] | None = None,
    kind: int = 16,
    units: int = 2,
    scaling: tuple[float, float] = (1, 0),
    order: str = "<",
    cut: int = 0,
) -> Path:
    """A NIfTI-1 file. ``pixdim`` begins with qfac, ``qform`` is b, c, d and the offset; ``cut`` leaves bytes away."""
    header = bytearray(352)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, values.ndim, *values.shape, *[1] * (7 - values.ndim))
    struct.pack_into(f"{order}hh", header, 70, kind, 8 * values.itemsize)
    struct.pack_into(f"{order}8f", header, 76, *pixdim, *[1] * (8 - len(pixdim)))
    struct.pack_into(f"{order}3f", header, 108, 352, *scaling)
    header[123] = units
    struct.pack_into(f"{order}hh", header, 252, int(qform is not None), int(sform is not None))
    struct.pack_into(f"{order}6f", header, 256, *(qform if qform is not None else [0] * 6))
    struct.pack_into(f"{order}12f", header, 280, *(sform[:3].ravel() if sform is not None else [0] * 12))
    header[344:348] = b"n+1\0"
    content = bytes(header) + values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")
    content = gzip.compress(content) if path.suffix == ".gz" else content
    path.write_bytes(content[: len(content) - cut])
    return path


def metaimage(path: Path, fields: str, values: np.ndarray = VALUES, *, compressed: bool = False, cut: int = 0) -> Path:
    """A MetaImage of float32; ``fields`` are lines such as ``ElementSpacing = 1 2 3``."""
    content = values.astype("<f4").tobytes(order="F")[: values.nbytes - cut]
    header = (
        f"ObjectType = Image\nNDims = {values.ndim}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = {compressed}\n{fields}\nDimSize = {' '.join(map(str, values.shape))}\n"
        "ElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + (zlib.compress(content) if compressed else content))
    return path


def nrrd(path: Path, fields: str, values: np.ndarray = VALUES, *, cut: int = 0) -> Path:
    """A NRRD of float32; ``fields`` are lines such as ``spacings: 1 2 3``."""
    content = values.astype("<f4").tobytes(order="F")[: values.nbytes - cut]
    header = (
        f"NRRD0004\ntype: float\nendian: little\nencoding: raw\ndimension: {values.ndim}\n"
        f"sizes: {' '.join(map(str, values.shape))}\n{fields}\n\n"
    )
    path.write_bytes(header.encode() + content)
    return path


def numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:g}" for value in np.ravel(values))
