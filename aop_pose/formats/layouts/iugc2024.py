"""IUGC 2024: videos with masks and landmarks of some frames.

``{train,val,test}/videos/VIDEO.avi``, ``seg/seg_info.csv`` (which frames), ``seg/landmark.json`` (points as
``[y, x]``), masks as ``seg/VIDEO/mask/VIDEO_N_6.png`` (train), ``seg/VIDEO_N.png`` (val), ``seg/VIDEO.png``
(test).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import read_rows
from aop_pose.formats.format import FolderFormat, left_out, nested
from aop_pose.formats.label import Label, LabelError, Mask, Skipped

_LOOKS_FOR = "train/, val/ or test/ with videos/ and seg/seg_info.csv"
_SPLITS = ("train", "val", "test")
_INDEX_COLUMNS = ("labeled_index", "labeled_frame_index")
# Masks taken over from JNU-IFM keep its 7 and 8; the others have 1 and 2.
VALUES = {0: 0, 1: 1, 2: 2, 7: 1, 8: 2}


def _parts(folder: Path) -> list[Path]:
    return [folder / split for split in _SPLITS if (folder / split / "seg" / "seg_info.csv").is_file()]


def _holds(folder: Path) -> bool:
    return bool(_parts(folder))


def _read(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds)
    if base is None:
        raise UsageError(f"{folder}: expected {_LOOKS_FOR}, found none")
    for part in _parts(base):
        yield from _read_part(part)


def _read_part(part: Path) -> Iterator[Label | Skipped]:
    landmarks = _landmarks(part / "seg" / "landmark.json")
    for row in read_rows(part / "seg" / "seg_info.csv", ("filename",)):
        stem = Path(row.cells.get("filename", "")).stem
        if row.problem or not stem:
            yield Skipped(f"{part.name}/seg/seg_info.csv:{row.line}", row.problem or "no video named")
            continue
        video = _video(part / "videos", stem)
        for index in _indices(row.cells):
            name = f"{part.name}/{stem}_{index}.png"
            mask = _mask(part / "seg", stem, index)
            if video is None:
                yield Skipped(name, f"no video {stem}.avi in {part.name}/videos/")
            elif mask is None:
                yield Skipped(name, f"no mask of frame {index} of {stem} in {part.name}/seg/")
            else:
                points = _points(landmarks.get(mask.name))
                keypoints = None if points is None else Keypoints.from_points(AOP, points)
                try:
                    yield Label(name, video, keypoints=keypoints, mask=Mask(mask, VALUES), index=index)
                except LabelError as error:
                    yield left_out(error)


def _video(videos: Path, stem: str) -> Path | None:
    # Many training videos stand in the published archive under their name twice, joined by two underscores.
    for name in (f"{stem}.avi", f"{stem}__{stem}.avi"):
        if (videos / name).is_file():
            return videos / name
    return None


def _mask(seg: Path, stem: str, index: int) -> Path | None:
    for mask in (
        seg / stem / "mask" / f"{stem}_{index}_6.png",
        seg / f"{stem}_{index}.png",
        seg / f"{stem}.png",
    ):
        if mask.is_file():
            return mask
    return None


def _indices(cells: dict[str, str]) -> list[int]:
    text = next((cells[column] for column in _INDEX_COLUMNS if cells.get(column)), "")
    return sorted({int(float(part)) for part in text.strip("[]").split(",") if part.strip().isdigit()})


def _landmarks(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{file}: expected JSON, found {error}") from error


def _points(entry: Any) -> np.ndarray | None:
    """PS1 (the right one), PS2, FH1 as x, y; None where there is no such entry, so that the mask decides."""
    try:
        ends = np.array(entry["ps_points"], dtype=np.float64)[:, ::-1]
        tangent = np.array(entry["aop_tangency"], dtype=np.float64)[::-1]
    except (TypeError, KeyError, ValueError, IndexError):
        return None
    points = np.vstack([ends[np.argsort(-ends[:, 0])], tangent])
    return points if points.shape == (3, 2) else None


IUGC2024 = FolderFormat("iugc2024", "masks", _LOOKS_FOR, lambda folder: nested(folder, _holds) is not None, _read)
