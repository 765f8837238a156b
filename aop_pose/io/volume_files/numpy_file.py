"""NumPy as a volume: .npz with ``voxels`` (I, J, K) or (I, J, K, T) and ``affine`` (4, 4); .npy with voxels alone."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np

from aop_pose.errors import UnreadableError
from aop_pose.geometry import voxel_spacing
from aop_pose.io.files import printable
from aop_pose.io.pixels import check_unpacked
from aop_pose.io.volume_files import StoredVolume

# What NumPy, zipfile (NotImplementedError, RuntimeError) and ast (TokenError) raise on damaged files; a header that
# lies about its size asks for more memory than there is.
_DAMAGED = (
    ValueError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_LONGEST_NAME_LIST = 1000
_STEP = 1 << 20


def open_npz(path: Path) -> StoredVolume:
    """``affine`` takes voxel indices to right-handed millimetres (RAS); UnreadableError where an array is missing."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist()[:_LONGEST_NAME_LIST]}
            missing = {"voxels", "affine"} - set(names)
            if missing:
                found = printable(", ".join(sorted(names)))[:100] or "none"
                raise UnreadableError(f"expected the arrays voxels and affine, found {found}")
            affine = _array(archive, names["affine"], path)
            voxels = _array(archive, names["voxels"], path)
    except _DAMAGED as error:
        raise UnreadableError(f"damaged NumPy file: {_one_line(error)}") from None
    if affine.shape != (4, 4) or affine.dtype.kind not in "iuf":
        raise UnreadableError(f"affine: expected numbers (4, 4), found {affine.dtype} {affine.shape}")
    if not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise UnreadableError(f"affine: expected the last row 0, 0, 0, 1, found {', '.join(map(str, affine[3]))}")
    spacing = voxel_spacing(affine)
    with np.errstate(divide="ignore", invalid="ignore"):
        directions = affine[:3, :3] / spacing
    return _stored(voxels, spacing, directions, affine[:3, 3].astype(np.float64))


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    """An array of an archive, read to the end of its member, where the checksum stands."""
    with archive.open(name) as member:
        _check_promise(member, path.stat().st_size)
    with archive.open(name) as member:
        values = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(_STEP):
            raise UnreadableError(f"damaged NumPy file: more bytes in {printable(name)[:40]} than its header promises")
    return values


def _check_promise(stream: IO[bytes], file_bytes: int) -> int:
    """Bytes of the numbers that a header promises, of which there must not be too many for a file of this size."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"a header of version {version}")
    shape, _, dtype = read(stream)
    if dtype.kind not in "biufc":
        raise UnreadableError(f"expected an array of numbers, found one of {dtype}; it is never unpickled")
    count = math.prod(shape)
    check_unpacked(count * max(dtype.itemsize, 4), file_bytes)
    return count * dtype.itemsize


def open_npy(path: Path) -> StoredVolume:
    """Voxels whose spacing has to be given; i, j, k are taken to run right, front and up."""
    try:
        with open(path, "rb") as stream:
            size = path.stat().st_size
            promised = _check_promise(stream, size)
            if size - stream.tell() != promised:
                raise ValueError(f"its header promises {promised} bytes of numbers, {size - stream.tell()} are there")
        voxels = np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        raise UnreadableError(f"damaged NumPy file: {_one_line(error)}") from None
    return _stored(voxels, np.full(3, np.nan), np.eye(3), np.zeros(3))


def _stored(voxels: np.ndarray, spacing: np.ndarray, directions: np.ndarray, origin: np.ndarray) -> StoredVolume:
    if voxels.ndim not in (3, 4) or voxels.dtype.kind not in "biuf":
        raise UnreadableError(
            f"voxels: expected numbers (I, J, K) or (I, J, K, T), found {voxels.dtype} {voxels.shape}"
        )
    i, j, k, *times = voxels.shape
    return StoredVolume(
        shape=(i, j, k),
        times=times[0] if times else 1,
        spacing=spacing,
        directions=directions,
        origin=origin,
        load=lambda: (one for one in (np.moveaxis(voxels, 3, 0) if times else voxels[None])),
    )


def write_npz(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write (I, J, K) and its affine, compressed."""
    with open(path, "wb") as stream:
        np.savez_compressed(stream, voxels=voxels, affine=affine)


def _one_line(error: Exception) -> str:
    # Of a damaged archive the message may hold all of its bytes.
    return printable(" ".join(str(error).split())[:100]) or type(error).__name__
