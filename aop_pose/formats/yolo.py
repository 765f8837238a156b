"""YOLO folders out: ``data.yaml``, ``images/{train,val}``, ``labels/{train,val}``, opened by Ultralytics.

Key points are written as x / width, y / height, as COCO's converters and Ultralytics' own tools do, so that what
Ultralytics predicts in pixels compares with a label of ours as it is. Boxes around regions are written by their outer
edges (``keypoints.to_edges``), which is what annotation tools mean by a box of whole pixels.

``data.yaml`` has no ``path`` on purpose: Ultralytics then takes the folder of the file itself, wherever it is
moved. A relative ``path`` would be looked up in the working directory first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from aop_pose.errors import UsageError
from aop_pose.formats.boxes import pose_box
from aop_pose.formats.labels import CLASSES, BoxedFrame, LabelledFrame
from aop_pose.formats.pictures import place_picture, unique_stems
from aop_pose.keypoints import to_edges
from aop_pose.schemas import AOP

SPLITS = ("train", "val")
BOX_MARGIN = 0.15
OKS_SIGMA = 0.05
_DECIMALS = 9


def write_yolo_pose(
    train: Sequence[LabelledFrame],
    val: Sequence[LabelledFrame],
    dst: Path,
    *,
    box_margin: float = BOX_MARGIN,
    oks_sigma: float = OKS_SIGMA,
) -> Path:
    """Write a pose data set of one class (``aop``) with copies of the pictures; returns its ``data.yaml``.

    The box is that of the three points grown by ``box_margin`` times its longer side. ``oks_sigma`` stands in
    ``kpt_oks_sigmas`` for every point: Ultralytics' default of 1/3 for three points makes the gradient of
    small errors vanish. Without ``val`` frames ``val`` names the training frames, and the file says so.
    UsageError where a point is missing or lies outside its picture, since Ultralytics drops such frames
    without an error.
    """
    points = len(AOP.points)
    keys: dict[str, object] = {
        "names": {0: AOP.name},
        "kpt_shape": [points, 2],
        "kpt_names": {0: list(AOP.points)},
        "flip_idx": list(range(points)),
        "kpt_oks_sigmas": [oks_sigma] * points,
    }
    # Every label is made before the first file is written: a bad frame leaves nothing behind.
    labels = [pose_label(frame, box_margin) for frame in (*train, *val)]
    return _write([*train, *val], labels, len(train), Path(dst), keys)


def write_yolo_detect(train: Sequence[BoxedFrame], val: Sequence[BoxedFrame], dst: Path) -> Path:
    """Write a detection data set of classes 0 PS, 1 FH with copies of the pictures; returns ``data.yaml``."""
    labels = [detect_label(frame) for frame in (*train, *val)]
    return _write([*train, *val], labels, len(train), Path(dst), {"names": dict(enumerate(CLASSES))})


def pose_label(frame: LabelledFrame, box_margin: float) -> str:
    """One line: class, box centre and size, then x y of each point, all as shares of width and height."""
    coords = frame.keypoints.coords
    size = _size(frame)
    if not frame.inside:
        found = ", ".join(f"({x:g}, {y:g})" for x, y in coords)
        raise UsageError(
            f"{frame.filename}: expected every point inside the {frame.width}x{frame.height} picture, "
            f"found {found}; `aop-pose dataset check` lists all such rows"
        )
    box = pose_box(coords, box_margin, frame.width, frame.height)
    if not (box[2:] > box[:2]).all():
        raise UsageError(f"{frame.filename}: expected a box with an area, found points on one line and no margin")
    return _line(0, box, size, np.clip(coords / size, 0, 1))


def detect_label(frame: BoxedFrame) -> str:
    """One line per box: class, box centre and size as shares of width and height."""
    size = _size(frame)
    boxes = np.clip(to_edges(frame.boxes), 0, np.tile(size, 2))
    lines = [_line(number, box, size, np.zeros(0)) for number, box in zip(frame.classes, boxes, strict=True)]
    return "\n".join(lines)


def _size(frame: LabelledFrame | BoxedFrame) -> np.ndarray:
    return np.array([frame.width, frame.height], dtype=np.float64)


def _line(number: int, box: np.ndarray, size: np.ndarray, shares: np.ndarray) -> str:
    centre, extent = (box[:2] + box[2:]) / 2 / size, (box[2:] - box[:2]) / size
    values = np.concatenate([centre, extent, shares.ravel()])
    return " ".join([str(number), *(f"{value:.{_DECIMALS}f}" for value in values)])


def _write(
    frames: Sequence[LabelledFrame | BoxedFrame],
    labels: Sequence[str],
    train: int,
    dst: Path,
    keys: dict[str, object],
) -> Path:
    """The first ``train`` frames go to train, the others to val."""
    val = len(frames) - train
    splits = [SPLITS[0]] * train + [SPLITS[1]] * val
    for split in sorted(set(splits)):
        for kind in ("images", "labels"):
            (dst / kind / split).mkdir(parents=True, exist_ok=True)
    stems = unique_stems(frame.filename for frame in frames)
    for frame, stem, text, split in zip(frames, stems, labels, splits, strict=True):
        place_picture(frame.path, dst / "images" / split, stem, frame.index)
        (dst / "labels" / split / f"{stem}.txt").write_text(text + "\n" if text else "", encoding="utf-8")
    places = {"train": "images/train", "val": "images/val" if val else "images/train"}
    note = "" if val else "# No frame was held out: val repeats train, so figures on it mean nothing.\n"
    path = dst / "data.yaml"
    path.write_text(note + yaml.safe_dump({**places, **keys}, sort_keys=False), encoding="utf-8")
    return path
