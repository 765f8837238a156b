"""NIfTI-1 (.nii, .nii.gz): where the voxels lie, and the voxels.

Read here rather than with SimpleITK: ITK gives zeros for the voxels that a truncated file lacks, takes a spacing of 0
for 1 mm, and follows the spacing of ``pixdim`` where ``sform`` states another. The tests compare with files that
SimpleITK wrote. Format: https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Generator
from io import BufferedReader
from pathlib import Path

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.errors import UnreadableError
from aop_pose.io.intact import check_gzip
from aop_pose.io.pixels import check_unpacked
from aop_pose.io.volume_files import StoredVolume

_HEADER = 348
_START, _LAST_START = 352, 1 << 30
_MAGIC = b"n+1\0"
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
# Relative difference up to which two statements of one spacing are the same.
_SAME_SPACING = 1e-3
# Codes of xyzt_units; 0, unknown, is taken for millimetres as every program does.
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@attrs.frozen(eq=False)
class _Values:
    """The place of a file's numbers and their scale to gray values."""

    path: Path
    dtype: np.dtype
    start: int
    slope: float
    intercept: float

    def load(self, shape: tuple[int, int, int], times: int) -> Generator[np.ndarray, None, None]:
        """Gray values (I, J, K) of each time point; the file is read no further than the one asked for.

        A compressed file is read to its end before: behind the last byte stands its checksum.
        """
        size = int(np.prod(shape)) * self.dtype.itemsize
        total = self.start + times * size
        with _opened(self.path) as stream:
            if isinstance(stream, gzip.GzipFile):
                check_unpacked(total, self.path.stat().st_size)
                there = check_gzip(stream, total)
            else:
                there = self.path.stat().st_size
            if there > total:
                raise UnreadableError(
                    f"damaged: its header promises {times * size} bytes of voxels, more are there; correct its sizes"
                )
            stream.seek(self.start)
            for time in range(times):
                buffer = stream.read(size)
                if len(buffer) < size:
                    raise UnreadableError(
                        f"truncated: its header promises {times * size} bytes of voxels, "
                        f"{time * size + len(buffer)} are there"
                    )
                yield self._scaled(np.frombuffer(buffer, self.dtype).reshape(shape, order="F"))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        # A slope of 0, or none, says that the numbers are the gray values.
        unscaled = self.slope == 0 or not np.isfinite(self.slope) or (self.slope, self.intercept) == (1, 0)
        if unscaled:
            return values
        scaled = np.empty(values.shape, np.float32)
        # Plane by plane, since float64 takes eight times the bytes of the file; what overflows becomes infinite, which
        # ``Volume`` refuses in one line.
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(values.shape[2]):
                scaled[..., k] = values[..., k] * self.slope + self.intercept
        return scaled


def open_nifti(path: Path) -> StoredVolume:
    """Header of a file; UnreadableError where it is damaged, no volume, or not supported.

    Where ``sform_code`` is positive the place is ``sform``, else where ``qform_code`` is, ``qform``, as nibabel has
    it. Where neither is, the file states no orientation: i, j, k are taken to run right, front and up.
    """
    with _opened(path) as stream:
        try:
            header = stream.read(_HEADER)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise UnreadableError("damaged: it cannot be unpacked") from None
    order = next((o for o in "<>" if header[:4] == struct.pack(f"{o}i", _HEADER)), None)
    if order is None or len(header) < _HEADER or header[344:348] != _MAGIC:
        raise UnreadableError("expected a NIfTI-1 volume in one file (.nii, .nii.gz), found another kind of file")
    axes, *lengths = struct.unpack_from(f"{order}8h", header, 40)
    if not 3 <= axes <= 7 or min(lengths[:axes]) < 1 or any(length > 1 for length in lengths[4:axes]):
        found = f"{axes} axes, {' x '.join(map(str, lengths[: max(axes, 0)]))}"
        raise UnreadableError(f"expected a volume of 3 axes, or a sequence of them of 4, found {found}")
    code, _ = struct.unpack_from(f"{order}hh", header, 70)
    if code not in _TYPES:
        raise UnreadableError(f"expected one gray value a voxel, found data type {code}; store it as gray values")
    start, slope, intercept = struct.unpack_from(f"{order}3f", header, 108)
    if not 0 <= start < _LAST_START:
        raise UnreadableError(f"damaged: its header says that the voxels begin at byte {start:g}")
    # Some programs leave the start of the voxels at 0.
    values = _Values(path, np.dtype(order + _TYPES[code]), max(int(start), _START), slope, intercept)
    shape = (lengths[0], lengths[1], lengths[2])
    check_unpacked(int(np.prod(shape)) * max(values.dtype.itemsize, 4), path.stat().st_size)
    spacing, directions, origin = _place(header, order)
    times = lengths[3] if axes > 3 else 1
    return StoredVolume(shape, times, spacing, directions, origin, lambda: values.load(shape, times))


def _place(header: bytes, order: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spacing (3,), directions (3, 3) and origin (3,) in millimetres."""
    mirror, *spacings = struct.unpack_from(f"{order}4f", header, 76)
    spacing = np.array(spacings)
    directions, origin = np.eye(3), np.zeros(3)
    qform, sform = struct.unpack_from(f"{order}hh", header, 252)
    if sform > 0:
        rows = np.array(struct.unpack_from(f"{order}12f", header, 280)).reshape(3, 4)
        stated, spacing, origin = spacing, geometry.voxel_spacing(rows), rows[:, 3]
        _check_same(spacing, stated)
        with np.errstate(divide="ignore", invalid="ignore"):
            directions = rows[:, :3] / spacing
    elif qform > 0:
        b, c, d, *offset = struct.unpack_from(f"{order}6f", header, 256)
        directions, origin = _rotation(b, c, d), np.array(offset)
        if mirror < 0:
            directions = directions * (1, 1, -1)
    scale = _MILLIMETRES.get(header[123] & 7, 1.0)
    return spacing * scale, directions, origin * scale


def _check_same(sform: np.ndarray, pixdim: np.ndarray) -> None:
    """Refuse two statements of one spacing that disagree; what is not positive states none."""
    both = [bool(np.isfinite(each).all() and (each > 0).all()) for each in (sform, pixdim)]
    if all(both) and not np.allclose(sform, pixdim, rtol=_SAME_SPACING, atol=0):
        one, other = (" x ".join(f"{value:.4g}" for value in each) for each in (sform, pixdim))
        raise UnreadableError(
            f"its two statements of spacing disagree: sform {one}, pixdim (of qform) {other}; correct the header"
        )


def _rotation(b: float, c: float, d: float) -> np.ndarray:
    """Rotation (3, 3) of the quaternion of which a header holds three parts; the first is not negative."""
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    a, b, c, d = np.array([a, b, c, d]) / np.linalg.norm([a, b, c, d])
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray, packed: bool) -> None:
    """Write (I, J, K) or (I, J, K, T) of a type that NIfTI knows with its ``sform``; the same gives the same bytes.

    UnreadableError where an axis has more voxels than a NIfTI-1 header can say.
    """
    if max(voxels.shape) > np.iinfo(np.int16).max:
        raise UnreadableError(f"NIfTI-1 holds at most 32767 voxels along an axis, found {voxels.shape}")
    dtype = voxels.dtype.newbyteorder("<")
    code = next(code for code, name in _TYPES.items() if np.dtype(name) == voxels.dtype)
    header = bytearray(_START)
    struct.pack_into("<i", header, 0, _HEADER)
    struct.pack_into("<8h", header, 40, voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim))
    struct.pack_into("<hh", header, 70, code, 8 * dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1, *geometry.voxel_spacing(affine), 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, _START, 1, 0)
    header[123] = 2
    struct.pack_into("<hh", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = _MAGIC
    content = bytes(header) + voxels.astype(dtype).tobytes(order="F")
    path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0) if packed else content)


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else open(path, "rb")
