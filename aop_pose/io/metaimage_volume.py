"""MetaImage (.mha, .mhd) as a volume: where its planes lie in space.

Its axes are DICOM's, x left, y back (https://itk.org/Wiki/ITK/MetaIO/Documentation). Its pixels are read by
``io.metaimage``, which says why it does so itself.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np

from aop_pose.errors import UnreadableError
from aop_pose.geometry import voxel_spacing
from aop_pose.io.metaimage import ELEMENT_TYPES, Header, read_header, read_planes
from aop_pose.io.stored_volume import LPS_TO_RAS, StoredVolume
from aop_pose.io.text import printable


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
    planes = read_planes(header)
    for _ in range(header.depth // header.sizes[2]):
        yield np.stack(list(itertools.islice(planes, header.sizes[2]))).T


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
