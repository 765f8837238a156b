"""NRRD (.nrrd) as a volume; written by SimpleITK.

Read here rather than with SimpleITK: its reader dies of a long word in a header (and of what else is written behind the
end of a buffer), takes what memory the header asks for, does not read the checksum of compressed voxels, and takes 1 mm
where a file states no spacing. The tests compare with it. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import bz2
import gzip
import math
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.csv_text import number_in
from aop_pose.io.files import companion, printable
from aop_pose.io.intact import check_gzip
from aop_pose.io.pixels import check_unpacked
from aop_pose.io.volume_files import LPS_TO_RAS, StoredVolume

_LONGEST_HEADER = 1 << 20
_STEP = 1 << 20
# Names of number types, as the format has them.
_NAMES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_TYPES = {name: kind for kind, names in _NAMES.items() for name in names.split("|")}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_VECTOR = re.compile(r"none|\([^()]*\)")
_ALONG_SPACE = ("domain", "space", "time", "???", "none", "")


@attrs.frozen(eq=False)
class _Voxels:
    """The place of a file's numbers."""

    path: Path
    start: int
    encoding: str
    dtype: np.dtype
    sizes: tuple[int, ...]
    times_first: bool

    @property
    def promised(self) -> int:
        return math.prod(self.sizes) * self.dtype.itemsize

    def check(self) -> None:
        """Unpack the numbers to their end, where their checksum stands, and count them; UnreadableError."""
        promised, there = self.promised, self.path.stat().st_size - self.start
        check_unpacked(math.prod(self.sizes) * max(self.dtype.itemsize, 4), there)
        if self.encoding != "raw":
            with self._opened() as stream:
                there = check_gzip(stream, promised) if isinstance(stream, gzip.GzipFile) else _count(stream, promised)
        if there != promised:
            what, more = ("truncated", "") if there < promised else ("damaged", "or more ")
            raise UnreadableError(
                f"{what} NRRD: its header promises {promised} bytes of voxels, {there} {more}are there"
            )

    def load(self) -> Generator[np.ndarray, None, None]:
        """Each time point (I, J, K)."""
        self.check()
        with self._opened() as stream:
            values = np.frombuffer(stream.read(self.promised), self.dtype).reshape(self.sizes, order="F")
        if len(self.sizes) == 3:
            yield values
        else:
            yield from (values if self.times_first else np.moveaxis(values, 3, 0))

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self.start)
                if self.encoding == "gzip":
                    with gzip.GzipFile(fileobj=stream) as packed:
                        yield packed
                elif self.encoding == "bzip2":
                    with bz2.BZ2File(stream) as packed:
                        yield packed
                else:
                    yield stream
        except EOFError:
            raise UnreadableError("truncated NRRD: its compressed voxels have no end") from None


def _count(stream: bz2.BZ2File, most: int) -> int:
    there = 0
    try:
        while (piece := stream.read(_STEP)) and there <= most:
            there += len(piece)
    except OSError:
        raise UnreadableError("damaged NRRD: its compressed voxels cannot be unpacked") from None
    return there


def open_nrrd(path: Path) -> StoredVolume:
    """Header of a file of 3 axes, of 4 with time last, or of 4 with time first as a list (a sequence of 3D Slicer).

    UnreadableError where it is damaged or not supported.
    """
    fields, start = _fields(path)
    try:
        sizes = tuple(int(size) for size in fields["sizes"].split())
        dtype = np.dtype(_TYPES[fields["type"].lower()])
        if int(fields["dimension"]) != len(sizes):
            raise ValueError("dimension")
    except (KeyError, ValueError):
        raise UnreadableError("damaged NRRD: expected dimension, sizes and type of number in its header") from None
    listed = _list_axis(fields, sizes)
    space = [axis for axis in range(len(sizes)) if axis != listed][:3]
    i, j, k = (sizes[axis] for axis in space)
    directions, spacing, origin = _place(fields, space, len(sizes))
    data, start = _data_file(path, fields, start)
    voxels = _Voxels(data, start, _encoding(fields), _ordered(dtype, fields), sizes, times_first=listed == 0)
    return StoredVolume(
        shape=(i, j, k),
        times=1 if len(sizes) == 3 else sizes[0 if listed == 0 else 3],
        spacing=spacing,
        directions=directions,
        origin=origin,
        load=voxels.load,
    )


def _list_axis(fields: dict[str, str], sizes: tuple[int, ...]) -> int:
    """The axis of time points; the last of four where none is called a list."""
    kinds = fields.get("kinds", "").lower().split() or [""] * len(sizes)
    others = [axis for axis, kind in enumerate(kinds) if kind not in _ALONG_SPACE]
    fits = len(kinds) == len(sizes) and (
        (len(sizes) == 3 and not others)
        or (len(sizes) == 4 and all(kinds[axis] == "list" and axis in (0, 3) for axis in others) and len(others) < 2)
    )
    if not fits:
        raise UnreadableError(
            "expected a volume of 3 axes, or a list of them, of one gray value a voxel, found "
            f"{len(sizes)} axes of the kinds {printable(' '.join(kinds))[:60] or 'not said'}"
        )
    return others[0] if others else 3


def _place(fields: dict[str, str], space: list[int], axes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions (3, 3), spacing (3,) and origin (3,) in RAS; NaN where no spacing is stated."""
    name = fields.get("space", "").lower()
    if "left-handed" in name:
        raise UnreadableError(f"expected a space with right-handed axes or patient's ones, found {fields['space']}")
    units = {unit for unit in re.findall(r'"([^"]*)"', fields.get("space units", ""))[:3] if unit not in ("", "???")}
    if units - {"mm", "millimeter", "millimeters"}:
        raise UnreadableError(f"space units: expected millimetres, found {', '.join(sorted(units))}")
    if "axis mins" in fields or "axismins" in fields:
        raise UnreadableError("a place by axis mins is not supported; state space directions and space origin")
    to_ras = _to_ras(name)
    origin = np.array(_vectors(fields, "space origin", 1, [(0.0, 0.0, 0.0)])[0][:3])
    if "space directions" not in fields:
        texts = fields.get("spacings", "").split()
        if texts and len(texts) != axes:
            raise UnreadableError(f"damaged NRRD: expected {axes} spacings, found {len(texts)}")
        spacing = np.array([_number(texts[axis], "spacings") for axis in space]) if texts else np.full(3, np.nan)
        return to_ras, np.full(3, np.nan) if np.isnan(spacing).any() else spacing, to_ras @ origin
    if "spacings" in fields:
        raise UnreadableError("damaged NRRD: two statements of spacing, spacings and space directions; keep one")
    vectors = _vectors(fields, "space directions", axes, [])
    columns = [vectors[axis] for axis in space]
    if any(len(column) < 3 for column in columns):
        raise UnreadableError("damaged NRRD: space directions: expected a vector of 3 numbers for each axis in space")
    matrix = np.array([column[:3] for column in columns]).T
    spacing = np.linalg.norm(matrix, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return to_ras @ (matrix / spacing), spacing, to_ras @ origin


def _to_ras(space: str) -> np.ndarray:
    """The matrix that turns the axes of a space into RAS; a space that is not named by directions counts as DICOM's."""
    words = space.removesuffix("-time").split("-")
    letters = [word[:1] for word in words] if len(words) == 3 else list(space[:3]) if len(space) in (3, 4) else []
    if len(letters) == 3 and all(letter in pair for letter, pair in zip(letters, ("rl", "ap", "si"), strict=True)):
        return np.diag([1.0 if letter in "ras" else -1.0 for letter in letters])
    return LPS_TO_RAS


def _vectors(
    fields: dict[str, str], name: str, count: int, default: list[tuple[float, ...]]
) -> list[tuple[float, ...]]:
    """The vectors of a field; an empty one where it says none."""
    if name not in fields:
        return default
    found = [
        () if text == "none" else tuple(_number(value, name) for value in text[1:-1].split(","))
        for text in _VECTOR.findall(fields[name])
    ]
    if len(found) != count or any(0 < len(vector) < 3 for vector in found) or (count == 1 and not found[0]):
        raise UnreadableError(f"damaged NRRD: {name}: expected {count} vectors, found {printable(fields[name])[:60]}")
    return found


def _number(text: str, name: str) -> float:
    try:
        return math.nan if text.lower() == "nan" else number_in(text)
    except ValueError:
        raise UnreadableError(f"damaged NRRD: {name}: expected numbers, found {printable(text)[:40]}") from None


def _encoding(fields: dict[str, str]) -> str:
    name = fields.get("encoding", "").lower()
    if name not in _ENCODINGS:
        raise UnreadableError(f"expected the encoding raw, gzip or bzip2, found {printable(name)[:40] or 'none'}")
    return _ENCODINGS[name]


def _ordered(dtype: np.dtype, fields: dict[str, str]) -> np.dtype:
    if dtype.itemsize == 1:
        return dtype
    order = fields.get("endian", "").lower()
    if order not in ("little", "big"):
        raise UnreadableError("damaged NRRD: expected endian: little or big in its header")
    return dtype.newbyteorder("<" if order == "little" else ">")


def _data_file(path: Path, fields: dict[str, str], start: int) -> tuple[Path, int]:
    if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise UnreadableError("voxels behind skipped lines or bytes are not supported; store them again")
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        return path, start
    if name.upper().startswith("LIST") or "%" in name:
        raise UnreadableError("one file per slice (data file: LIST or a pattern) is not supported; use one file")
    return companion(path, name), 0


def write_nrrd(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write (I, J, K), compressed; ``path`` ends in .nrrd. UsageError where SimpleITK is not installed."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    with _quiet() as itk:
        image = itk.GetImageFromArray(np.ascontiguousarray(voxels.T))
        image.SetSpacing(spacing.tolist())
        image.SetDirection((LPS_TO_RAS @ (affine[:3, :3] / spacing)).ravel().tolist())
        image.SetOrigin((LPS_TO_RAS @ affine[:3, 3]).tolist())
        itk.WriteImage(image, str(path), useCompression=True, imageIO="NrrdImageIO")


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """``field: value`` lines up to the first empty one, and where the bytes behind it begin."""
    with open(path, "rb") as stream:
        if stream.read(4) != b"NRRD":
            raise UnreadableError("expected a NRRD volume, found another file")
        fields: dict[str, str] = {}
        stream.readline(_LONGEST_HEADER)
        while text := stream.readline(_LONGEST_HEADER).decode("latin-1").strip("\r\n"):
            name, colon, value = text.partition(": ")
            key = name.strip().lower()
            if not colon or text.startswith("#"):
                continue
            if stream.tell() > _LONGEST_HEADER:
                raise UnreadableError(f"too large: a NRRD header of more than {_LONGEST_HEADER >> 20} MB")
            if fields.setdefault(key, value.strip()) != value.strip():
                raise UnreadableError(f"damaged NRRD: {printable(key)[:40]} stands twice and differs")
        return fields, stream.tell()


@contextmanager
def _quiet() -> Iterator[Any]:
    """SimpleITK, whose complaints do not reach the terminal; UsageError where it is not installed."""
    try:
        import SimpleITK
    except ImportError:
        raise UsageError(
            "writing NRRD volumes needs SimpleITK; install it with: pip install 'aop-pose[volumes]'"
        ) from None
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield SimpleITK
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
