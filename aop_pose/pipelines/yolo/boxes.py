"""Landmarks -> strokes -> regions -> a YOLO detection folder on disk, which a person may correct."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import attrs
import cv2
import numpy as np

from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats.label import CLASSES, Boxes, Label, Skipped
from aop_pose.formats.pictures import unique_stems
from aop_pose.formats.split import hold_out, near_duplicate_groups_of, thumbnail
from aop_pose.formats.yolo import boxes_of, read_yolo_detect, write_yolo_detect
from aop_pose.pipelines.yolo.data import BoxExample, Example
from aop_pose.scribbles.boxes import FrameBoxes, boxes_for
from aop_pose.scribbles.segmenters.base import Segmenter
from aop_pose.scribbles.sheet import stroke_rows, write_left_out, write_strokes_table


def write_boxes(
    frames: Sequence[Label],
    segmenter: Segmenter,
    dst: Path,
    holdout: float,
    seed: int,
    on_frame: Callable[[int], None] = lambda done: None,
) -> list[Skipped]:
    """Make ``dst``: data.yaml, images/, labels/, masks/ (0, 1 PS, 2 FH), strokes.csv and left_out.csv.

    It appears complete or not at all. There must be frames. One that lacks either structure's box is left out: taught
    with one box, the other structure would count as background. ``holdout`` of the frames, in whole groups, become
    ``val``. Returns what was left out; AopPoseError where that is every frame.
    """
    part = dst.with_name(f".{dst.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "masks").mkdir(parents=True)
    boxed: list[Label] = []
    left_out: list[Skipped] = []
    strokes: list[tuple[str, ...]] = []
    stems = unique_stems(frame.name for frame in frames)
    for done, (frame, stem) in enumerate(zip(frames, stems, strict=True), start=1):
        on_frame(done)
        try:
            found = boxes_for(frame.gray(), frame.points, segmenter)
        except UnreadableError as error:
            left_out.append(Skipped(frame.name, str(error)))
            continue
        strokes += stroke_rows(frame.name, found.strokes)
        if found.reasons:
            each = "; ".join(f"{structure}: {why}" for structure, why in found.reasons.items())
            left_out.append(Skipped(frame.name, found.strokes.reason or each))
            continue
        cv2.imwrite(str(part / "masks" / f"{stem}.png"), _mask(found))
        corners = np.stack([found.boxes[name] for name in CLASSES])
        classes = tuple(range(len(CLASSES)))
        # Named by its stem: among fewer frames, or in another order, equal names would be told apart otherwise.
        boxed.append(attrs.evolve(frame, name=f"{stem}.png", boxes=Boxes(classes, corners)))
    if not boxed:
        shutil.rmtree(part)
        raise AopPoseError(f"expected boxes on at least one frame, found none (first: {left_out[0].reason})")
    held = np.zeros(len(boxed), dtype=bool)
    if holdout:
        held = hold_out(near_duplicate_groups_of([thumbnail(frame.gray()) for frame in boxed]), holdout, seed)
    write_yolo_detect(
        [frame for frame, out in zip(boxed, held, strict=True) if not out],
        [frame for frame, out in zip(boxed, held, strict=True) if out],
        part,
    )
    write_strokes_table(part, strokes)
    write_left_out(part, left_out)
    os.replace(part, dst)
    return left_out


def _mask(found: FrameBoxes) -> np.ndarray:
    mask = np.zeros(next(iter(found.regions.values())).shape, dtype=np.uint8)
    for value, name in enumerate(CLASSES, start=1):
        mask[found.regions[name] > 0] = value
    return mask


def read_boxes(folder: Path) -> tuple[list[BoxExample], list[BoxExample]]:
    """Training and checking examples of a YOLO detection folder, made here or corrected by a person."""
    examples: dict[str, list[BoxExample]] = {"train": [], "val": []}
    for frame in read_yolo_detect(folder):
        split = frame.name.split("/")[0]
        boxes = boxes_of(frame)
        examples[split].append(BoxExample(frame.name, frame.gray(), boxes.classes, boxes.corners))
    if not any(example.classes for example in examples["train"]):
        raise UsageError(f"--boxes: expected training pictures with boxes in {folder}, found none")
    return examples["train"], examples["val"]


def box_parts(*splits: Sequence[BoxExample]) -> Iterator[bytes]:
    """The bytes that a fingerprint of box examples is made of."""
    for example in chain(*splits):
        yield from (example.name.encode(), example.pixels.tobytes(), bytes(example.classes), example.boxes.tobytes())


def add_boxes(examples: Sequence[Example], filenames: Sequence[str], folder: Path) -> list[Example]:
    """The examples with the boxes of their pictures in a YOLO detection folder, as auxiliary boxes.

    A picture is found by its stem, which ``write_boxes`` makes different among ``filenames``, those of the whole label
    file. An example whose picture is not there stays as it is. UsageError where none is, or where one has another size.
    """
    stems = dict(zip(filenames, unique_stems(filenames), strict=True))
    frames = read_yolo_detect(folder)
    found = {frame.path.stem: frame for frame in frames}
    if len(found) < len(frames):
        raise UsageError(f"--boxes: expected every picture in {folder} under another name, found one twice")
    boxed = []
    for example in examples:
        frame = found.get(stems[example.name])
        if frame is None:
            boxed.append(example)
            continue
        height, width = example.pixels.shape
        if (frame.width, frame.height) != (width, height):
            size = f"{frame.width}x{frame.height}"
            raise UsageError(f"--boxes: {frame.path}: expected {width}x{height} as {example.name}, found {size}")
        boxes = boxes_of(frame)
        boxed.append(attrs.evolve(example, classes=boxes.classes, boxes=boxes.corners))
    if not any(example.classes for example in boxed):
        raise UsageError(f"--boxes: expected boxes on pictures named as the labelled ones in {folder}, found none")
    return boxed
