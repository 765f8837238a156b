"""MetaImage (.mha, .mhd): the header, and the frames one by one.

Read here rather than with SimpleITK: ITK prints its complaints to the terminal, gives back whatever lies in
memory where a compressed file holds less than its header says, and would be half of the base install. The
tests compare with files that SimpleITK wrote. Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import itertools
import math
import os
import zlib
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import attrs
import numpy as np

from aop_pose.errors import UnreadableError
from aop_pose.geometry import voxel_spacing
from aop_pose.io.csv_text import number_in
from aop_pose.io.files import companion, printable
from aop_pose.io.intact import check_zlib, pieces_of
from aop_pose.io.pixels import check_size, check_unpacked, over_black, rgb_to_gray, to_gray8
from aop_pose.io.volume_files import LPS_TO_RAS, StoredVolume

Spacing = tuple[float, float]

MAX_HEADER = 16 << 20
"""Longest header that is read, in bytes: per-frame fields of some ten thousand frames."""
# The first line of another file, such as a picture, may be as long as the file.
_MAX_LINE = 1 << 16
# ITK's MET_LONG is four bytes on every machine.
ELEMENT_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Planes of one gray picture differ by rounding alone; successive frames of a cine differ in their speckle.
_SAME_PICTURE_TOLERANCE = 0.03
_SAME_PICTURE_SHARE = 0.95
# Relative difference up to which two statements of one spacing are the same.
_SAME_SPACING = 1e-3


@attrs.frozen
class Header:
    """The header of a MetaImage."""

    width: int
    height: int
    depth: int
    """Planes; 1 for a 2-D picture, those of all time points for a sequence of volumes."""
    channels: int
    dtype: np.dtype
    compressed: bool
    spacing: Spacing | None
    """Millimetres per pixel, rows first (y, x); None where the file says nothing or ITK's default of 1, 1."""
    path: Path
    data_name: str
    """The file of the pixels as the header names it; empty where they follow the header."""
    offset: int | None
    """Offset of the pixels in their file; None: they are its last bytes."""
    fields: Mapping[str, str]
    """Everything the header says, as text."""
    sizes: tuple[int, ...]
    """Pixels along each axis."""

    def data_file(self) -> Path:
        """The file of the pixels; UnreadableError where that is no file in the folder of the header."""
        return companion(self.path, self.data_name) if self.data_name else self.path

    @property
    def plane_bytes(self) -> int:
        return self.width * self.height * self.channels * self.dtype.itemsize


def read_metaimage(path: Path) -> Iterator[tuple[np.ndarray, Spacing | None]]:
    """Yield (uint8 gray (H, W), spacing) for each frame; one frame is held in memory at a time.

    A 3-D file is a cine, one frame per plane along z. Exception: FH-PS-AOP 2023 stores each gray frame as
    three colour planes (3 x 256 x 256). A file with exactly three planes that show the same picture (at least
    95 % of the pixels within 3 % of the gray range) is one frame in colour; three planes that differ are a
    cine of three.

    Raises UnreadableError for damaged, lying or unsupported headers and for missing pixels.
    """
    header = read_header(path)
    three = header.depth == 3 and header.channels == 1
    check_size(header.width, header.height, header.channels * header.dtype.itemsize * (3 if three else 1))
    planes = read_planes(header)
    if three:
        stack = np.empty((3, header.height, header.width), header.dtype)
        for number, plane in enumerate(planes):
            stack[number] = plane
        planes = iter([np.moveaxis(stack, 0, -1)] if _is_one_picture(stack) else stack)
    for plane in planes:
        yield _gray(plane), header.spacing


def read_header(path: Path, axes: tuple[int, ...] = (2, 3)) -> Header:
    """Parse and check the header of a file of so many axes; raises UnreadableError."""
    with open(path, "rb") as stream:
        fields = _fields(stream)
        after_header = stream.tell()
    try:
        return _header(path, fields, after_header, axes)
    except (KeyError, ValueError) as error:
        raise UnreadableError(f"damaged MetaImage header: {error}") from None


def _fields(stream: BinaryIO) -> dict[str, str]:
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = stream.readline(_MAX_LINE)
        name, equals, text = line.decode("latin-1").partition("=")
        key, value = name.strip(), text.strip()
        if not equals:
            raise UnreadableError("not a MetaImage: expected a header of 'Key = Value' lines up to ElementDataFile")
        if stream.tell() > MAX_HEADER:
            raise UnreadableError(f"too large: a MetaImage header of more than {MAX_HEADER >> 20} MB")
        if fields.setdefault(key, value) != value:
            raise UnreadableError(f"damaged MetaImage header: {printable(key)[:40]} stands twice and differs")
    return fields


def _header(path: Path, fields: dict[str, str], after_header: int, axes: tuple[int, ...]) -> Header:
    if not _is_true(fields.get("BinaryData", "True")):
        raise ValueError("pixels written as text are not supported; save them as binary")
    sizes = [int(size) for size in fields["DimSize"].split()]
    if len(sizes) not in axes or len(sizes) != int(fields["NDims"]) or min(sizes) < 1:
        known = " or ".join(map(str, axes))
        raise ValueError(f"expected NDims {known} and as many positive sizes, found DimSize = {fields['DimSize']}")
    if fields["ElementType"] not in ELEMENT_TYPES:
        raise ValueError(f"ElementType {fields['ElementType']} is not supported")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"expected 1 to 4 channels, found {channels}")
    big_endian = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    data_name, offset = _where(fields, after_header)
    return Header(
        width=sizes[0],
        height=sizes[1],
        depth=math.prod(sizes[2:]),
        channels=channels,
        dtype=np.dtype(ELEMENT_TYPES[fields["ElementType"]]).newbyteorder(">" if big_endian else "<"),
        compressed=_is_true(fields.get("CompressedData", "False")),
        spacing=_spacing(fields),
        path=path,
        data_name=data_name,
        offset=offset,
        fields=fields,
        sizes=tuple(sizes),
    )


def _where(fields: dict[str, str], after_header: int) -> tuple[str, int | None]:
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return "", after_header
    if name.upper().startswith("LIST") or "%" in name:
        raise ValueError("one file per slice (ElementDataFile = LIST or a pattern) is not supported; use one file")
    skipped = int(fields.get("HeaderSize", "0"))
    if skipped < -1:
        raise ValueError(f"HeaderSize = {skipped}")
    return name, None if skipped == -1 else skipped


def _spacing(fields: dict[str, str]) -> Spacing | None:
    stated = [
        [number_in(value) for value in fields[name].split()]
        for name in ("ElementSpacing", "ElementSize")
        if fields.get(name)
    ]
    if not stated:
        return None
    if len(stated) == 2 and not np.allclose(stated[0], stated[-1], rtol=_SAME_SPACING, atol=0):
        raise ValueError(
            f"two spacings that disagree, ElementSpacing = {fields['ElementSpacing']} and "
            f"ElementSize = {fields['ElementSize']}; keep the one that is right"
        )
    x, y = stated[0][:2]
    positive = 0 < x < float("inf") and 0 < y < float("inf")
    return (y, x) if positive and (x, y) != (1.0, 1.0) else None


def _is_true(value: str) -> bool:
    return value[:1].upper() in ("T", "1", "Y")


def read_planes(header: Header) -> Iterator[np.ndarray]:
    """Arrays (H, W) or (H, W, channels), one per plane; raises UnreadableError where one is missing."""
    shape: tuple[int, ...] = (header.height, header.width)
    if header.channels > 1:
        shape = (*shape, header.channels)
    with open(header.data_file(), "rb") as stream:
        total = header.plane_bytes * header.depth
        size = os.fstat(stream.fileno()).st_size
        start = max(size - total, 0) if header.offset is None else header.offset
        if not header.compressed and size - start != total:
            what = "truncated" if size - start < total else "damaged"
            raise UnreadableError(f"{what}: its header promises {total} bytes of pixels, {size - start} are there")
        if header.compressed:
            # Before the first plane is given: the checksum stands behind the last one.
            check_unpacked(total, size)
            stream.seek(start)
            check_zlib(pieces_of(stream), total, total)
        stream.seek(start)
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if header.compressed else None
        for number in range(header.depth):
            buffer = stream.read(header.plane_bytes) if inflate is None else _inflated(stream, inflate, header)
            if len(buffer) != header.plane_bytes:
                raise UnreadableError(f"truncated: plane {number} of {header.depth} is not complete")
            yield np.frombuffer(buffer, dtype=header.dtype).reshape(shape)


def _inflated(stream: BinaryIO, inflate: zlib._Decompress, header: Header) -> bytes:
    """The next plane of a compressed file, or less where the file ends; never more than was asked for."""
    pieces: list[bytes] = []
    missing = header.plane_bytes
    while missing > 0 and not inflate.eof:
        packed = inflate.unconsumed_tail or stream.read(1 << 16)
        try:
            piece = inflate.decompress(packed, missing)
        except zlib.error:
            raise UnreadableError("damaged: its compressed pixels cannot be unpacked") from None
        if not packed and not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _is_one_picture(stack: np.ndarray) -> bool:
    """True where three planes, shape (3, H, W), are the channels of one gray picture."""
    low, high = float(stack.min()), float(stack.max())
    within = _SAME_PICTURE_TOLERANCE * (high - low)
    # Row by row, since float64 takes eight times the bytes of the picture.
    same = sum(int((np.ptp(row.astype(np.float64), axis=0) <= within).sum()) for row in np.moveaxis(stack, 1, 0))
    return same >= _SAME_PICTURE_SHARE * stack[0].size


def _gray(plane: np.ndarray) -> np.ndarray:
    """Any plane as uint8 (H, W): two channels are gray and alpha, four are RGB and alpha, over black."""
    if plane.ndim == 2:
        return to_gray8(plane).copy()
    channels = plane.shape[-1]
    gray = to_gray8(rgb_to_gray(plane[..., :3]) if channels >= 3 else plane[..., 0])
    return over_black(gray, plane[..., -1]) if channels in (2, 4) else gray


def open_metaimage(path: Path) -> StoredVolume:
    """Header of a file of 3 axes, or of 4 with time last; UnreadableError where it is damaged or not supported."""
    header = read_header(path, axes=(3, 4))
    if header.channels > 1:
        raise UnreadableError(f"expected one gray value a voxel, found {header.channels} channels")
    matrix = _numbers(header.fields, ("TransformMatrix", "Rotation", "Orientation"))
    origin = _numbers(header.fields, ("Offset", "Position", "Origin"))
    spacing = _numbers(header.fields, ("ElementSpacing", "ElementSize"))
    axes = len(header.sizes)
    # A row of the file's matrix is the direction of one axis.
    directions = np.eye(axes) if matrix is None else _shaped(matrix, axes * axes).reshape(axes, axes).T
    lengths = np.linalg.norm(directions, axis=0)
    if not np.allclose(lengths, 1, rtol=0, atol=_SAME_SPACING):
        found = ", ".join(f"{length:.4g}" for length in lengths)
        raise UnreadableError(f"TransformMatrix: expected directions of length 1 beside the spacing, found {found}")
    place = np.zeros(axes) if origin is None else _shaped(origin, axes)
    i, j, k = header.sizes[:3]
    return StoredVolume(
        shape=(i, j, k),
        times=header.sizes[3] if axes > 3 else 1,
        spacing=np.full(3, np.nan) if spacing is None else _shaped(spacing, axes)[:3],
        directions=LPS_TO_RAS @ directions[:3, :3],
        origin=LPS_TO_RAS @ place[:3],
        load=lambda: _load(header),
    )


def _load(header: Header) -> Generator[np.ndarray, None, None]:
    i, j, k = header.sizes[:3]
    check_unpacked(i * j * k * max(header.dtype.itemsize, 4), header.data_file().stat().st_size)
    planes = read_planes(header)
    for _ in range(header.depth // k):
        voxels = np.empty((k, j, i), header.dtype)
        for number, plane in enumerate(itertools.islice(planes, k)):
            voxels[number] = plane
        yield voxels.T


def _numbers(fields: Mapping[str, str], names: tuple[str, ...]) -> np.ndarray | None:
    """Numbers of the first of these fields that the header has."""
    for name in names:
        if name in fields:
            try:
                return np.array([float(value) for value in fields[name].split()])
            except ValueError:
                raise UnreadableError(f"damaged MetaImage header: {name} = {printable(fields[name])}") from None
    return None


def _shaped(values: np.ndarray, count: int) -> np.ndarray:
    if len(values) != count:
        raise UnreadableError(f"damaged MetaImage header: expected {count} numbers, found {len(values)}")
    return values


def write_metaimage(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write (I, J, K) as one compressed file (.mha); the same volume gives the same bytes."""
    spacing = voxel_spacing(affine)
    directions, origin = LPS_TO_RAS @ (affine[:3, :3] / spacing), LPS_TO_RAS @ affine[:3, 3]
    kind = next(name for name, kind in ELEMENT_TYPES.items() if np.dtype(kind) == voxels.dtype)
    content = zlib.compress(voxels.astype(voxels.dtype.newbyteorder("<")).tobytes(order="F"))
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(len(content)),
        "TransformMatrix": _text(directions.T),
        "Offset": _text(origin),
        "ElementSpacing": _text(spacing),
        "DimSize": " ".join(map(str, voxels.shape)),
        "ElementType": kind,
        "ElementDataFile": "LOCAL",
    }
    header = "".join(f"{name} = {value}\n" for name, value in lines.items())
    path.write_bytes(header.encode("ascii") + content)


def _text(values: np.ndarray) -> str:
    # Adding 0 turns -0.0 into 0.0.
    return " ".join(repr(float(value) + 0.0) for value in np.ravel(values))
