"""Files -> volumes, and back: NIfTI, MetaImage, NRRD and NumPy, with their place in space."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.discover import METAIMAGE_SUFFIXES, Discovery, discover
from aop_pose.io.files import check_file, printable, refusals, replacing
from aop_pose.io.volume_files import StoredVolume
from aop_pose.io.volume_files.metaimage import open_metaimage, write_metaimage
from aop_pose.io.volume_files.nifti import open_nifti, write_nifti
from aop_pose.io.volume_files.nrrd import open_nrrd, write_nrrd
from aop_pose.io.volume_files.numpy_file import open_npy, open_npz, write_npz

NIFTI_SUFFIXES = (".nii", ".nii.gz")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *sorted(METAIMAGE_SUFFIXES), ".nrrd", ".npz", ".npy")
_WRITTEN = (*NIFTI_SUFFIXES, ".mha", ".nrrd", ".npz")


def discover_volumes(sources: Sequence[str | Path]) -> Discovery:
    """List the volumes of files, folders and patterns as ``io.discover.discover`` lists frames."""
    return discover(sources, VOLUME_SUFFIXES)


def open_volume(path: str | Path) -> StoredVolume:
    """Size, time points and place of the volumes of a file, before their voxels are read.

    UnreadableError where it is damaged, of another kind, or not supported.
    """
    path = Path(path)
    with refusals():
        check_file(path, "volume")
        return _opener(path)(path)


def read_volume(
    path: str | Path, source: str = "", index: int | None = None, spacing: Sequence[float] | None = None
) -> Volume:
    """One volume of a file.

    Args:
        path: a file with one of ``VOLUME_SUFFIXES``.
        source: what its rows are called; default: the file name.
        index: time point of a 4-D file; None: the file has to hold one volume.
        spacing: millimetres along i, j, k, used where the file states none (as .npy never does).

    Raises:
        UnreadableError: damaged or not supported, no spacing, sheared axes, voxels that are not finite; the message
            does not name the file.
        UsageError: a 4-D file without ``index``, or an ``index`` that it does not have.
    """
    path = Path(path)
    stored = open_volume(path)
    if index is None and stored.times > 1:
        raise UsageError(
            f"{path}: expected a 3-D volume, found a 4-D file of {stored.times} time points; store the one that is "
            f"meant as a file, or name its index, 0 to {stored.times - 1} (in a label file the column index)"
        )
    if index is not None and not 0 <= index < stored.times:
        raise UsageError(f"{path}: expected a time point from 0 to {stored.times - 1}, found {index}")
    with closing(_times(stored, source or printable(path.name), spacing)) as times:
        return _accepted(next(itertools.islice(times, index or 0, None)))


def read_volumes(
    path: str | Path, source: str = "", spacing: Sequence[float] | None = None
) -> Generator[Volume, None, None]:
    """Every time point of a file, in order. Arguments and errors as above.

    A later one that is damaged is an error after the earlier ones have been given.
    """
    with closing(read_times(path, source, spacing)) as times:
        for found in times:
            yield _accepted(found)


@attrs.frozen
class Refused:
    """A time point that was decoded and is no volume."""

    index: int
    reason: str


def read_times(
    path: str | Path, source: str = "", spacing: Sequence[float] | None = None
) -> Generator[Volume | Refused, None, None]:
    """As ``read_volumes``, but a time point that is refused (NaN voxels) is said and the ones after it are given."""
    path = Path(path)
    yield from _times(open_volume(path), source or printable(path.name), spacing)


def _times(
    stored: StoredVolume, source: str, spacing: Sequence[float] | None
) -> Generator[Volume | Refused, None, None]:
    affine = stored.affine(spacing)
    with refusals(), closing(stored.load()) as loaded:
        for time, voxels in enumerate(loaded):
            yield _volume(voxels, affine, source, time)


def _accepted(found: Volume | Refused) -> Volume:
    if isinstance(found, Refused):
        raise UnreadableError(found.reason)
    return found


def _volume(voxels: np.ndarray, affine: np.ndarray, source: str, time: int) -> Volume | Refused:
    try:
        return Volume(_single(voxels), affine, source, time)
    except ValueError as error:
        return Refused(time, str(error))


def _single(voxels: np.ndarray) -> np.ndarray:
    """float32 in C order; a number too large for it becomes infinite, which ``Volume`` refuses in one line."""
    if voxels.dtype == np.float32 and voxels.flags.c_contiguous and voxels.flags.owndata and type(voxels) is np.ndarray:
        return voxels
    with np.errstate(over="ignore"):
        return np.array(voxels, np.float32, order="C")


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write a volume with its place; it appears under its name only when it is complete.

    Whole numbers that fit are stored as uint8 or int16, everything else as float32: nothing is lost. ``source`` and
    ``index`` are not stored.

    UsageError where the suffix is not one of .nii, .nii.gz, .mha, .nrrd, .npz, or .nrrd needs SimpleITK, which is not
    installed.
    """
    path = Path(path)
    suffix = _suffix(path.name, _WRITTEN)
    if suffix is None:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(_WRITTEN)}")
    voxels = _smallest(volume.voxels)
    with replacing(path) as temporary:
        if suffix in NIFTI_SUFFIXES:
            write_nifti(temporary, voxels, volume.affine, packed=suffix == ".nii.gz")
        elif suffix == ".mha":
            write_metaimage(temporary, voxels, volume.affine)
        elif suffix == ".nrrd":
            write_nrrd(temporary, voxels, volume.affine)
        else:
            write_npz(temporary, voxels, volume.affine)


def write_sequence(volumes: Sequence[Volume], path: str | Path) -> None:
    """Write volumes on one grid as the time points of a 4-D NIfTI (.nii, .nii.gz), as ``write_volume`` a single one.

    UsageError for another suffix. ValueError where there is no volume, or their grids differ.
    """
    path = Path(path)
    suffix = _suffix(path.name, NIFTI_SUFFIXES)
    if suffix is None:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(NIFTI_SUFFIXES)}")
    if any(one.shape != volumes[0].shape or not np.array_equal(one.affine, volumes[0].affine) for one in volumes):
        raise ValueError("expected volumes on one grid")
    voxels = _smallest(np.stack([one.voxels for one in volumes], axis=3))
    with replacing(path) as temporary:
        write_nifti(temporary, voxels, volumes[0].affine, packed=suffix == ".nii.gz")


def _smallest(voxels: np.ndarray) -> np.ndarray:
    """The same values in the smallest of three types that holds them."""
    low, high = float(voxels.min()), float(voxels.max())
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max and np.array_equal(voxels, np.rint(voxels)):
            return voxels.astype(dtype)
    return voxels


def _suffix(name: str, known: Sequence[str]) -> str | None:
    return next((suffix for suffix in known if name.lower().endswith(suffix)), None)


def _opener(path: Path) -> Callable[[Path], StoredVolume]:
    suffix = _suffix(path.name, VOLUME_SUFFIXES)
    if suffix is None:
        raise UnreadableError(f"expected a volume ({', '.join(VOLUME_SUFFIXES)}), found another suffix")
    if suffix in NIFTI_SUFFIXES:
        return open_nifti
    return {".nrrd": open_nrrd, ".npz": open_npz, ".npy": open_npy}.get(suffix, open_metaimage)
