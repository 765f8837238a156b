"""NRRD (.nrrd) as a volume, read and written by SimpleITK.

SimpleITK turns every space into DICOM's axes; it takes 1 mm where a file states no spacing, so that is looked up in the
text of the header. It does not read the checksum of compressed voxels and takes what memory the header asks for, so the
voxels are unpacked and counted before. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import bz2
import gzip
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.io.files import printable
from aop_pose.io.intact import check_gzip
from aop_pose.io.opening import companion
from aop_pose.io.pixels import check_unpacked
from aop_pose.io.volume_files.stored import LPS_TO_RAS, StoredVolume

_LONGEST_HEADER = 1 << 20
_STEP = 1 << 20
# Names of number types by their bytes, as the format has them.
_BYTES = {
    1: "signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short|unsigned short int|uint16|"
    "uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t|ulonglong|"
    "unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
_SIZE_OF = {name: size for size, names in _BYTES.items() for name in names.split("|")}


def open_nrrd(path: Path) -> StoredVolume:
    """Header of a file of 3 axes, of 4 with time last, or of 4 with time first as a list (a sequence of 3D Slicer).

    UnreadableError where it is damaged or not supported, or SimpleITK is not installed.
    """
    fields, start = _fields(path)
    _check_voxels(path, fields, start)
    if "left-handed" in fields.get("space", "").lower():
        # SimpleITK would take it for right-handed, and the left side for the right one.
        raise UnreadableError(f"expected a space with right-handed axes or patient's ones, found {fields['space']}")
    with _quiet() as itk:
        reader = itk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO")
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise UnreadableError(_reason(error)) from None
        size, axes, channels = reader.GetSize(), reader.GetDimension(), reader.GetNumberOfComponents()
        listed = channels > 1 and _said(reader, "NRRD_kinds[pixel]") == "list"
        if axes not in (3, 4) or (channels > 1 and (axes == 4 or not listed)):
            raise UnreadableError(
                f"expected a volume, or a sequence of them, of one gray value a voxel, found {axes} axes and "
                f"{channels} values a voxel"
            )
        directions = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3]
        i, j, k = size[:3]
        return StoredVolume(
            shape=(i, j, k),
            times=size[3] if axes == 4 else channels,
            spacing=np.array(reader.GetSpacing())[:3] if _states_spacing(fields, listed) else np.full(3, np.nan),
            directions=LPS_TO_RAS @ directions,
            origin=LPS_TO_RAS @ np.array(reader.GetOrigin())[:3],
            load=lambda: _load(path, axes, listed),
        )


def _load(path: Path, axes: int, listed: bool) -> Generator[np.ndarray, None, None]:
    """Each time point; SimpleITK reads them all at once."""
    with _quiet() as itk:
        try:
            image = itk.ReadImage(str(path), imageIO="NrrdImageIO")
        except RuntimeError as error:
            raise UnreadableError(_reason(error)) from None
    # A view, since a copy would take the memory twice.
    values = itk.GetArrayViewFromImage(image)
    # Arrays of SimpleITK count k, j, i: time stands in front of them, values of one voxel behind.
    each = np.moveaxis(values, 3, 0) if listed else values if axes == 4 else values[None]
    yield from (one.T for one in each)


def write_nrrd(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write (I, J, K), compressed; ``path`` ends in .nrrd. UsageError where SimpleITK is not installed."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    with _quiet(missing=UsageError) as itk:
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


def _check_voxels(path: Path, fields: dict[str, str], start: int) -> None:
    """Unpack the voxels to their end, where their checksum stands, and count them; UnreadableError where they are not
    what the header promises."""
    try:
        promised = math.prod(int(size) for size in fields["sizes"].split()) * _SIZE_OF[fields["type"].lower()]
    except (KeyError, ValueError):
        raise UnreadableError("damaged NRRD: expected sizes and a type of number in its header") from None
    data = fields.get("data file", fields.get("datafile"))
    if data is not None:
        if data.upper().startswith("LIST") or "%" in data:
            raise UnreadableError("one file per slice (data file: LIST or a pattern) is not supported; use one file")
        path, start = companion(path, data), 0
    if any(fields.get(name, "0") not in ("0", "-1") for name in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise UnreadableError("voxels behind skipped lines or bytes are not supported; store them again")
    there = path.stat().st_size - start
    encoding = fields.get("encoding", "").lower()
    check_unpacked(promised, there)
    try:
        with open(path, "rb") as stream:
            stream.seek(start)
            if encoding in ("gzip", "gz"):
                with gzip.GzipFile(fileobj=stream) as packed:
                    there = check_gzip(packed, promised)
            elif encoding in ("bzip2", "bz2"):
                with bz2.BZ2File(stream) as unpacked:
                    there = 0
                    while (piece := unpacked.read(_STEP)) and there <= promised:
                        there += len(piece)
            elif encoding != "raw":
                # Numbers as text: at least one digit and one blank for each.
                there = promised if 4 * there >= promised else there
    except (OSError, EOFError) as error:
        raise UnreadableError(f"damaged NRRD: {error}") from None
    if there != promised:
        what = "truncated" if there < promised else "damaged"
        raise UnreadableError(
            f"{what} NRRD: its header promises {promised} bytes of voxels, {there} {'or more ' * (there > promised)}"
            "are there"
        )


def _states_spacing(fields: dict[str, str], listed: bool) -> bool:
    if "space directions" in fields:
        return True
    # The spacing of a list is "nan", and it stands first.
    spacings = fields.get("spacings", "").lower().split()[int(listed) :][:3]
    return bool(spacings) and "nan" not in spacings


def _said(reader: Any, key: str) -> str:
    return reader.GetMetaData(key) if reader.HasMetaDataKey(key) else ""


@contextmanager
def _quiet(missing: type[AopPoseError] = UnreadableError) -> Iterator[Any]:
    """SimpleITK, whose complaints do not reach the terminal; ``missing`` is raised where it is not installed."""
    try:
        import SimpleITK
    except ImportError:
        raise missing("NRRD volumes need SimpleITK; install it with: pip install '.[volumes]'") from None
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield SimpleITK
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


def _reason(error: RuntimeError) -> str:
    """The last thing ITK says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(f"damaged NRRD: {lines[-1].removeprefix('[nrrd] ')}")
