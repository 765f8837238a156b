"""NRRD (.nrrd) as a volume, read and written by SimpleITK.

SimpleITK turns every space into DICOM's axes; it takes 1 mm where a file states no spacing, so that is looked up in the
text of the header. Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.io.files import printable
from aop_pose.io.volume_files.stored import LPS_TO_RAS, StoredVolume

_LONGEST_HEADER = 1 << 20


def open_nrrd(path: Path) -> StoredVolume:
    """Header of a file of 3 axes, of 4 with time last, or of 4 with time first as a list (a sequence of 3D Slicer).

    UnreadableError where it is damaged or not supported, or SimpleITK is not installed.
    """
    fields = _fields(path)
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
            values = itk.GetArrayFromImage(itk.ReadImage(str(path), imageIO="NrrdImageIO"))
        except RuntimeError as error:
            raise UnreadableError(_reason(error)) from None
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


def _fields(path: Path) -> dict[str, str]:
    """``field: value`` lines up to the first empty one."""
    with open(path, "rb") as stream:
        head = stream.read(_LONGEST_HEADER)
    if not head.startswith(b"NRRD"):
        raise UnreadableError("expected a NRRD volume, found another file")
    text = head.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("latin-1")
    pairs = (line.partition(": ") for line in text.splitlines() if not line.startswith("#"))
    return {name.strip().lower(): value for name, colon, value in pairs if colon}


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
