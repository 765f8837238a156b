"""PSFHS and FH-PS-AOP: ``image_mha/NNNNN.mha`` and ``label_mha/NNNNN.mha``; 0 background, 1 PS, 2 FH.

Images are stored as three equal planes (3, 256, 256), masks as (256, 256).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aop_pose.errors import UsageError
from aop_pose.formats.format import FolderFormat, nested
from aop_pose.formats.label import Label, Skipped
from aop_pose.formats.masks import pair_folders

_LOOKS_FOR = "image_mha/ and label_mha/"


def _holds(folder: Path) -> bool:
    return (folder / "image_mha").is_dir() and (folder / "label_mha").is_dir()


def _read(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds)
    if base is None:
        raise UsageError(f"{folder}: expected {_LOOKS_FOR}, found neither there nor in a folder below")
    return pair_folders(base / "image_mha", base / "label_mha")


PSFHS = FolderFormat("psfhs", "masks", _LOOKS_FOR, lambda folder: nested(folder, _holds) is not None, _read)
FH_PS_AOP = FolderFormat("fh-ps-aop", "masks", _LOOKS_FOR, PSFHS.fits, _read)
