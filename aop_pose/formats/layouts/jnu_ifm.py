"""JNU-IFM: per video a folder with ``image/VIDEO_N.png`` and ``mask/VIDEO_N_mask.png``; 7 PS, 8 FH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aop_pose.errors import UsageError
from aop_pose.formats.format import FolderFormat, nested
from aop_pose.formats.label import Label, Mask, Skipped
from aop_pose.formats.masks import pictures_in

_LOOKS_FOR = "folders of videos, each with image/ and mask/"
VALUES = {0: 0, 7: 1, 8: 2}


def _videos(folder: Path) -> list[Path]:
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    return [child for child in children if (child / "image").is_dir() and (child / "mask").is_dir()]


def _holds(folder: Path) -> bool:
    return bool(_videos(folder))


def _read(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds)
    if base is None:
        raise UsageError(f"{folder}: expected {_LOOKS_FOR}, found none")
    for video in _videos(base):
        for path in pictures_in(video / "image"):
            name = f"{video.name}/{path.name}"
            mask = video / "mask" / f"{path.stem}_mask.png"
            if mask.is_file():
                yield Label(name, path, mask=Mask(mask, VALUES))
            else:
                yield Skipped(name, f"no mask {mask.name} in {video.name}/mask/")


JNU_IFM = FolderFormat("jnu-ifm", "masks", _LOOKS_FOR, lambda folder: nested(folder, _holds) is not None, _read)
