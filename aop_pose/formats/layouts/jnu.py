"""The sets of Jinan University: PSFHS and FH-PS-AOP, pairs of ``.mha`` files, and JNU-IFM, frames of videos.

PSFHS and FH-PS-AOP: ``image_mha/NNNNN.mha`` and ``label_mha/NNNNN.mha``; 0 background, 1 PS, 2 FH. Images are stored as
three equal planes (3, 256, 256), masks as (256, 256). JNU-IFM: per video a folder with ``image/VIDEO_N.png`` and
``mask/VIDEO_N_mask.png``; 7 PS, 8 FH.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aop_pose.errors import UsageError
from aop_pose.formats.format import FolderFormat, nested
from aop_pose.formats.label import Label, Mask, Skipped
from aop_pose.formats.masks import pair_folders, pictures_in

_PAIRS = "image_mha/ and label_mha/"
_VIDEOS = "folders of videos, each with image/ and mask/"
VALUES = {0: 0, 7: 1, 8: 2}
"""Of a mask of JNU-IFM -> of this house."""


def _holds_pairs(folder: Path) -> bool:
    return (folder / "image_mha").is_dir() and (folder / "label_mha").is_dir()


def _read_pairs(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds_pairs)
    if base is None:
        raise UsageError(f"{folder}: expected {_PAIRS}, found neither there nor in a folder below")
    return pair_folders(base / "image_mha", base / "label_mha")


def _videos(folder: Path) -> list[Path]:
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    return [child for child in children if (child / "image").is_dir() and (child / "mask").is_dir()]


def _holds_videos(folder: Path) -> bool:
    return bool(_videos(folder))


def _read_videos(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds_videos)
    if base is None:
        raise UsageError(f"{folder}: expected {_VIDEOS}, found none")
    for video in _videos(base):
        for path in pictures_in(video / "image"):
            name = f"{video.name}/{path.name}"
            mask = video / "mask" / f"{path.stem}_mask.png"
            if mask.is_file():
                yield Label(name, path, mask=Mask(mask, VALUES))
            else:
                yield Skipped(name, f"no mask {mask.name} in {video.name}/mask/")


PSFHS = FolderFormat("psfhs", "masks", _PAIRS, lambda folder: nested(folder, _holds_pairs) is not None, _read_pairs)
FH_PS_AOP = FolderFormat("fh-ps-aop", "masks", _PAIRS, PSFHS.fits, _read_pairs)
JNU_IFM = FolderFormat(
    "jnu-ifm", "masks", _VIDEOS, lambda folder: nested(folder, _holds_videos) is not None, _read_videos
)
