"""From any source of labels to any format, into a folder that appears complete or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.head import HeadFrame, write_head
from aop_pose.formats.iugc import write_iugc
from aop_pose.formats.label import BoxedFrame, Kind, LabelledFrame, Layout, MaskedFrame, Skipped
from aop_pose.formats.masks import boxes_from_mask, points_from_mask, write_masks
from aop_pose.formats.pictures import place_picture, read_gray, unique_stems
from aop_pose.formats.points3d import LabelledVolume, write_points3d
from aop_pose.formats.registry import LABELS, fitting_layouts
from aop_pose.formats.split import hold_out, near_duplicate_groups_of, thumbnail
from aop_pose.formats.yolo import write_yolo_detect, write_yolo_pose
from aop_pose.io.folders import appearing
from aop_pose.io.volumes import write_volume


@attrs.frozen
class Conversion:
    """What a conversion did."""

    source_format: str
    written: int
    skipped: list[Skipped]
    held_out: int | None = None
    """Frames in val; None for formats without a split."""


@attrs.frozen
class Holdout:
    """How YOLO folders are split where the source has no split of its own."""

    fraction: float = 0.1
    seed: int = 0


@attrs.frozen
class Target:
    """A format that can be written: what it needs, and how."""

    kind: Kind
    write: Callable[[list[Any], Path, Holdout], tuple[int, list[Skipped], int | None]]


def convert(
    source: Path,
    dst: Path,
    to: str,
    source_format: str = "",
    holdout: Holdout | None = None,
    overwrite: bool = False,
    data: Path | None = None,
) -> Conversion:
    """Convert ``source`` into the folder ``dst``; pictures of a label file are below ``data`` (default: its folder).

    Frames that cannot be converted (empty mask, missing picture, point outside) are left out and returned
    with the reason. UsageError where nothing can be converted, the formats do not fit, or ``dst`` is not
    free; then nothing is written. Pictures are stored under their bare names where these are unique, else
    with their folders folded in.
    """
    source, dst = Path(source), Path(dst)
    if to not in TARGETS:
        raise UsageError(f"--to: expected one of {', '.join(TARGETS)}, found {to!r}")
    layout, cast = _choose(fitting_layouts(source, source_format), to)
    with appearing(dst, overwrite, source) as folder:
        found = layout.read(source) if data is None else _read_with(layout, source, data)
        items = [item if isinstance(item, Skipped) else cast(item) for item in found]
        skipped = [item for item in items if isinstance(item, Skipped)]
        frames = [item for item in items if not isinstance(item, Skipped)]
        written, late, held_out = TARGETS[to].write(frames, folder, holdout or Holdout())
        skipped += late
        if not written:
            example = f"; the first: {skipped[0].filename}: {skipped[0].reason}" if skipped else ""
            raise UsageError(f"{source}: no frame of {len(skipped)} could be converted to {to}{example}")
    return Conversion(layout.name, written, skipped, held_out)


def _choose(layouts: Sequence[Layout], to: str) -> tuple[Layout, Callable[[Any], Any]]:
    """The first layout that carries what the target needs, and what makes its frames the target's."""
    needed = TARGETS[to].kind
    for layout in layouts:
        if layout.kind == needed:
            return layout, lambda frame: frame
        if (layout.kind, needed) in _CASTS:
            return layout, _CASTS[layout.kind, needed]
    found = layouts[0]
    possible = [
        name for name, target in TARGETS.items() if target.kind == found.kind or (found.kind, target.kind) in _CASTS
    ]
    raise UsageError(f"--to {to} needs {needed}, {found.name} has {found.kind}; possible: {', '.join(possible)}")


def _read_with(layout: Layout, source: Path, data: Path) -> Iterable[Any]:
    if layout.read_with is None:
        raise UsageError(f"--data: {layout.name} holds its own pictures; leave --data out")
    return layout.read_with(source, data)


_CASTS: dict[tuple[Kind, Kind], Callable[[Any], Any]] = {
    ("masks", "points"): points_from_mask,
    ("masks", "boxes"): boxes_from_mask,
}


def _to_iugc(frames: list[LabelledFrame], dst: Path, holdout: Holdout) -> tuple[int, list[Skipped], None]:
    placed, skipped = _place(frames, dst)
    write_iugc([attrs.evolve(frame, filename=name) for frame, name in placed], dst / LABELS)
    return len(placed), skipped, None


def _to_head(heads: list[HeadFrame], dst: Path, holdout: Holdout) -> tuple[int, list[Skipped], None]:
    by_frame = {id(head.frame): head for head in heads}
    placed, skipped = _place([head.frame for head in heads], dst)
    named = [attrs.evolve(by_frame[id(frame)], frame=attrs.evolve(frame, filename=name)) for frame, name in placed]
    write_head(named, dst / LABELS)
    return len(placed), skipped, None


def _place(frames: Sequence[LabelledFrame], dst: Path) -> tuple[list[tuple[LabelledFrame, str]], list[Skipped]]:
    """Copy pictures to ``dst/images``; pairs of frame and new name, and what could not be read."""
    (dst / "images").mkdir()
    placed, skipped = [], []
    for frame, stem in zip(frames, unique_stems(frame.filename for frame in frames), strict=True):
        try:
            placed.append((frame, place_picture(frame.path, dst / "images", stem, frame.index).name))
        except UnreadableError as error:
            skipped.append(Skipped(frame.filename, str(error)))
    return placed, skipped


def _to_masks(frames: list[MaskedFrame], dst: Path, holdout: Holdout) -> tuple[int, list[Skipped], None]:
    results = list(write_masks(frames, dst))
    skipped = [result for result in results if isinstance(result, Skipped)]
    return len(results) - len(skipped), skipped, None


def _to_volumes(volumes: list[LabelledVolume], dst: Path, holdout: Holdout) -> tuple[int, list[Skipped], None]:
    placed: list[LabelledVolume] = []
    skipped: list[Skipped] = []
    (dst / "volumes").mkdir()
    for volume in volumes:
        try:
            placed.append(attrs.evolve(volume, filename=_place_volume(volume, dst / "volumes")))
        except UnreadableError as error:
            skipped.append(Skipped(volume.filename, str(error)))
    if placed:
        write_points3d(placed, dst / LABELS)
    return len(placed), skipped, None


def _place_volume(volume: LabelledVolume, folder: Path) -> str:
    """Copy a volume and return its new name; a header whose voxels lie beside it becomes one file."""
    name = Path(volume.filename).name
    if name.lower().endswith(".mhd"):
        if volume.index is not None:
            raise UnreadableError("expected a 4-D file in one piece, found a .mhd header; store it as .nii.gz or .mha")
        name = f"{name[:-4]}.mha"
        write_volume(volume.read(), folder / name)
    else:
        shutil.copyfile(volume.path, folder / name)
    return name


def _to_yolo(write: Callable[..., Path]) -> Callable[..., tuple[int, list[Skipped], int]]:
    def to_yolo(
        frames: list[LabelledFrame] | list[BoxedFrame], dst: Path, holdout: Holdout
    ) -> tuple[int, list[Skipped], int]:
        readable, pixels, skipped = _readable(frames)
        held = _held_out(readable, pixels, holdout)
        train = [frame for frame, out in zip(readable, held, strict=True) if not out]
        val = [frame for frame, out in zip(readable, held, strict=True) if out]
        if readable:
            write(train, val, dst)
        return len(readable), skipped, len(val)

    return to_yolo


def _readable(frames: Iterable[Any]) -> tuple[list[Any], list[np.ndarray], list[Skipped]]:
    """Frames to learn from, a thumbnail of each, and the rest: unreadable, or with a point outside."""
    readable, thumbnails, skipped = [], [], []
    for frame in frames:
        try:
            if isinstance(frame, LabelledFrame) and not frame.inside:
                raise UnreadableError(f"expected every point inside the {frame.width}x{frame.height} picture")
            thumbnails.append(thumbnail(read_gray(frame.path, frame.index)))
            readable.append(frame)
        except UnreadableError as error:
            skipped.append(Skipped(frame.filename, str(error)))
    return readable, thumbnails, skipped


def _held_out(frames: Sequence[Any], thumbnails: Sequence[np.ndarray], holdout: Holdout) -> np.ndarray:
    """True for val: what the source itself keeps from train, else whole near-duplicate groups."""
    own = {Path(frame.filename).parts[0] for frame in frames}
    if "train" in own and own - {"train"} and own <= {"train", "val", "test"}:
        return np.array([Path(frame.filename).parts[0] != "train" for frame in frames])
    groups = near_duplicate_groups_of(thumbnails)
    if holdout.fraction == 0 or len(np.unique(groups)) < 2:
        return np.zeros(len(frames), dtype=bool)
    return hold_out(groups, holdout.fraction, holdout.seed)


TARGETS: dict[str, Target] = {
    "iugc": Target("points", _to_iugc),
    "masks": Target("masks", _to_masks),
    "yolo-pose": Target("points", _to_yolo(write_yolo_pose)),
    "yolo-detect": Target("boxes", _to_yolo(write_yolo_detect)),
    "head-csv": Target("head", _to_head),
    "points-3d": Target("volumes", _to_volumes),
}
