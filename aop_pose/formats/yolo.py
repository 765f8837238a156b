"""YOLO folders: ``data.yaml``, ``images/{train,val}``, ``labels/{train,val}``; opened by Ultralytics as they are.

Numbers in a label are shares of width and height counted from the picture's edges, so points shift by half a pixel
on the way out and back (``keypoints.to_edges``, ``to_centres``). Ultralytics keeps this frame through letterboxing
and prediction: a native prediction in pixels needs ``to_centres`` before it is compared with a label of ours.

``data.yaml`` has no ``path`` on purpose: Ultralytics then takes the folder of the file itself, wherever it is moved.
A relative ``path`` would be looked up in the working directory first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from aop_pose.errors import UsageError
from aop_pose.formats.labels import LabelledFrame, place_picture, unique_stems
from aop_pose.keypoints import to_edges
from aop_pose.schemas import AOP

SPLITS = ("train", "val")
_DECIMALS = 9


def pose_box(points: np.ndarray, width: int, height: int, margin: float) -> np.ndarray:
    """The box of the pose stage: that of the points grown on all sides, clipped to the picture.

    Parameters: points (n, 2) in pixels from the edge; margin as a share of the longer side of the points' box, so
    that three points on a line still get a box with an area. Returns x1, y1, x2, y2 in pixels from the edge.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    grow = margin * max(float((high - low).max()), 1.0)
    limit = np.array([width, height], dtype=np.float64)
    return np.concatenate([np.clip(low - grow, 0, limit), np.clip(high + grow, 0, limit)])


def write_yolo_pose(
    train: Sequence[LabelledFrame],
    val: Sequence[LabelledFrame],
    dst: Path,
    *,
    box_margin: float = 0.15,
    oks_sigma: float = 0.05,
) -> Path:
    """Write a pose data set of one class (``aop``) with copies of the pictures; returns the path of ``data.yaml``.

    ``oks_sigma`` stands in ``kpt_oks_sigmas`` for every point: Ultralytics' default of 1/3 for three points makes
    the gradient of small errors vanish. Without ``val`` frames the training frames serve as both, and the file says
    so. UsageError where a frame has a missing point or one outside the picture, since Ultralytics drops such frames.
    """
    dst = Path(dst)
    stems = unique_stems([frame.filename for frame in (*train, *val)])
    labels = [pose_label(frame, box_margin) for frame in (*train, *val)]
    where = ["train"] * len(train) + ["val"] * len(val)
    _make_folders(dst, bool(val))
    for frame, stem, label, split in zip((*train, *val), stems, labels, where, strict=True):
        place_picture(frame.path, dst / "images" / split, stem)
        (dst / "labels" / split / f"{stem}.txt").write_text(label + "\n", encoding="utf-8")
    points = len(AOP.points)
    keys = {
        "names": {0: AOP.name},
        "kpt_shape": [points, 2],
        "kpt_names": {0: list(AOP.points)},
        "flip_idx": list(range(points)),
        "kpt_oks_sigmas": [oks_sigma] * points,
    }
    return _write_yaml(dst, keys, bool(val))


def pose_label(frame: LabelledFrame, box_margin: float) -> str:
    """One line: class, box centre and size, then x y of each point, all as shares of width and height."""
    points = to_edges(frame.keypoints.coords)
    size = np.array([frame.width, frame.height], dtype=np.float64)
    if not (np.isfinite(points).all() and (points >= 0).all() and (points <= size).all()):
        found = ", ".join(f"({x:g}, {y:g})" for x, y in frame.keypoints.coords)
        raise UsageError(
            f"{frame.filename}: expected every point inside the {frame.width}x{frame.height} picture, found {found}; "
            "run `aop-pose dataset check`"
        )
    box = pose_box(points, frame.width, frame.height, box_margin)
    return _line(0, box, size, points / size)


def _line(number: int, box: np.ndarray, size: np.ndarray, shares: np.ndarray) -> str:
    centre, extent = (box[:2] + box[2:]) / 2 / size, (box[2:] - box[:2]) / size
    values = np.concatenate([centre, extent, shares.ravel()])
    return " ".join([str(number), *(f"{value:.{_DECIMALS}f}" for value in values)])


def _make_folders(dst: Path, with_val: bool) -> None:
    for split in SPLITS if with_val else SPLITS[:1]:
        for kind in ("images", "labels"):
            (dst / kind / split).mkdir(parents=True, exist_ok=True)


def _write_yaml(dst: Path, keys: dict[str, object], with_val: bool) -> Path:
    """The file is written last: a folder with a ``data.yaml`` is complete."""
    places = {"train": "images/train", "val": "images/val" if with_val else "images/train"}
    note = "" if with_val else "# No frame was held out: val repeats train, so figures on it mean nothing.\n"
    path = dst / "data.yaml"
    path.write_text(note + yaml.safe_dump({**places, **keys}, sort_keys=False), encoding="utf-8")
    return path
