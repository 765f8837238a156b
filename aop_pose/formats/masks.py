"""The ``masks`` format: ``images/`` and ``masks/`` with the same stems; 0 background, 1 PS, 2 FH."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import UnreadableError
from aop_pose.formats.label import CLASSES, BoxedFrame, LabelledFrame, MaskedFrame, Skipped
from aop_pose.formats.pictures import picture_size, place_picture, unique_stems, write_gray
from aop_pose.geometry import landmarks_from_masks, largest_contour
from aop_pose.io.discover import KNOWN_SUFFIXES, files_below


def read_masks(folder: Path) -> Iterator[MaskedFrame | Skipped]:
    """Every picture of ``images/`` with its mask, in order of name."""
    return pair_folders(folder / "images", folder / "masks")


def pair_folders(images: Path, masks: Path) -> Iterator[MaskedFrame | Skipped]:
    """Pictures and masks with the same path below their folders, whatever their suffixes."""
    found = {path.relative_to(masks).with_suffix(""): path for path in pictures_in(masks)}
    for path in pictures_in(images):
        name = path.relative_to(images)
        mask = found.get(name.with_suffix(""))
        if mask is None:
            yield Skipped(name.as_posix(), f"no mask {name.with_suffix('').as_posix()} in {masks.name}/")
        else:
            yield MaskedFrame(name.as_posix(), path, mask)


def pictures_in(folder: Path) -> list[Path]:
    """Files below a folder whose suffix is that of a picture, in order of name."""
    return [path for path in files_below(folder) if path.suffix.lower() in KNOWN_SUFFIXES]


def write_masks(frames: Iterable[MaskedFrame], dst: Path) -> Iterator[str | Skipped]:
    """Write ``dst/images`` and ``dst/masks``; yields the stem of each frame, or why it was left out."""
    frames = list(frames)
    for kind in ("images", "masks"):
        (dst / kind).mkdir(parents=True, exist_ok=True)
    for frame, stem in zip(frames, unique_stems(frame.filename for frame in frames), strict=True):
        try:
            mask = fitting_mask(frame)
            place_picture(frame.path, dst / "images", stem, frame.index)
        except UnreadableError as error:
            yield Skipped(frame.filename, str(error))
            continue
        write_gray(dst / "masks" / f"{stem}.png", mask)
        yield stem


def fitting_mask(frame: MaskedFrame) -> np.ndarray:
    """The mask of a frame; UnreadableError where its size is not that of the picture."""
    mask = frame.mask()
    width, height = picture_size(frame.path)
    if mask.shape != (height, width):
        found = f"{mask.shape[1]}x{mask.shape[0]}"
        raise UnreadableError(f"{frame.mask_path}: expected {width}x{height} as its picture, found {found}")
    return mask


def points_from_mask(frame: MaskedFrame) -> LabelledFrame | Skipped:
    """The points the data set gives, else those of ``geometry.landmarks_from_masks``."""
    try:
        mask = fitting_mask(frame)
    except UnreadableError as error:
        return Skipped(frame.filename, str(error))
    coords = frame.points
    if coords is None:
        coords, reason = landmarks_from_masks(mask)
        if reason:
            return Skipped(frame.filename, reason)
    height, width = mask.shape
    return LabelledFrame(frame.filename, frame.path, width, height, Keypoints.from_points(AOP, coords), frame.index)


def boxes_from_mask(frame: MaskedFrame) -> BoxedFrame | Skipped:
    """The boxes of a frame's mask; Skipped where it has none or cannot be read."""
    try:
        mask = fitting_mask(frame)
    except UnreadableError as error:
        return Skipped(frame.filename, str(error))
    classes, boxes = mask_boxes(mask)
    if not classes:
        return Skipped(frame.filename, "empty mask: neither PS nor FH")
    height, width = mask.shape
    return BoxedFrame(frame.filename, frame.path, width, height, classes, boxes, frame.index)


def mask_boxes(mask: np.ndarray) -> tuple[tuple[int, ...], np.ndarray]:
    """Classes and boxes (n, 4) around the largest part of each structure of a mask (H, W).

    A box ends at the outer edges of the outermost pixels.
    """
    classes, boxes = [], []
    for number in range(len(CLASSES)):
        contour = largest_contour((mask == number + 1).astype(np.uint8))
        if len(contour):
            classes.append(number)
            boxes.append(np.concatenate([contour.min(axis=0) - 0.5, contour.max(axis=0) + 0.5]))
    return tuple(classes), np.array(boxes).reshape(-1, 4)
