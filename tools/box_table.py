"""Box IoU of every segmenter against the masks' boxes, over all frames of a label file, as a Markdown table.

A frame that a segmenter leaves out counts 0. The boxes of the masks are those of ``dataset convert --to yolo-detect``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import CLASSES, Label, Mask, box_iou, resolve
from aop_pose.formats.masks import boxes_from_mask
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.inference import weights as artefacts
from aop_pose.scribbles.boxes import STRUCTURES, boxes_for
from aop_pose.scribbles.segmenters import NAMES, SCRIBBLEPROMPT_NAME, choose, networks, why_not_scribbleprompt
from aop_pose.scribbles.segmenters.base import Segmenter


@attrs.frozen(eq=False)
class Row:
    """Figures of one segmenter."""

    origin: str
    iou: dict[str, np.ndarray]
    """Structure -> (frames,), 0 where there is no box."""
    reasons: Counter[str]
    seconds: float


def true_boxes(frame: Label, data: Path) -> dict[str, np.ndarray]:
    """Structure -> box of its mask; UsageError where the mask is missing or lacks a structure."""
    mask = data / "masks" / frame.name
    found = boxes_from_mask(Label(frame.name, frame.path, mask=Mask(mask)))
    if not isinstance(found, Label) or len(found.boxes.classes) != len(CLASSES):
        raise UsageError(f"{mask}: expected a mask with {' and '.join(CLASSES)}, found another one")
    return {CLASSES[number]: box for number, box in zip(found.boxes.classes, found.boxes.corners, strict=True)}


def measure(segmenter: Segmenter, frames: list[Label], data: Path) -> Row:
    """Every frame through strokes, segmenter and boxes."""
    iou: dict[str, list[float]] = {structure: [] for structure in STRUCTURES}
    reasons: Counter[str] = Counter()
    seconds = 0.0
    for frame in frames:
        truth, began = true_boxes(frame, data), time.perf_counter()
        found = boxes_for(read_gray(frame.path), frame.keypoints.coords, segmenter)
        seconds += time.perf_counter() - began
        for structure in STRUCTURES:
            box = found.boxes.get(structure)
            iou[structure].append(0.0 if box is None else box_iou(box, truth[structure]))
        reasons.update(f"{frame.name} {structure}: {reason}" for structure, reason in found.reasons.items())
    return Row(segmenter.origin, {name: np.array(values) for name, values in iou.items()}, reasons, seconds)


def table(rows: dict[str, Row | str], frames: int) -> str:
    """Markdown; a segmenter that could not be measured has its reason in place of figures."""
    lines = [
        f"Box IoU against the masks' boxes, mean over all {frames} frames (a left-out frame counts 0).",
        "",
        "| segmenter | PS IoU | FH IoU | PS < 0.5 | FH < 0.5 | PS left out | FH left out | s / 300 frames |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        if isinstance(row, str):
            lines.append(f"| `{name}` | {row} | | | | | | |")
            continue
        means = [f"{row.iou[one].mean():.3f}" for one in STRUCTURES]
        poor = [str(int((row.iou[one] < 0.5).sum())) for one in STRUCTURES]
        left_out = [str(int((row.iou[one] == 0).sum())) for one in STRUCTURES]
        lines.append(f"| `{name}` | {' | '.join([*means, *poor, *left_out])} | {300 * row.seconds / frames:.0f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/box_table.py --data psfhs --labels val.csv",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds images/ and masks/")
    parser.add_argument("--labels", default="val.csv", metavar="FILE", help="iugc file (default: val.csv)")
    parser.add_argument("--segmenter", action="append", choices=NAMES, help="may be repeated (default: all)")
    parser.add_argument("--unet", type=Path, metavar="FILE.onnx", help="another stand-in than the shipped one")
    parser.add_argument("--reasons", action="store_true", help="list every left-out frame below the table")
    given = parser.parse_args()
    rows: dict[str, Row | str] = {}
    try:
        frames = read_labels(resolve(given.labels, given.data), given.data)
        for name in given.segmenter or NAMES:
            missing = why_not_scribbleprompt() if name == SCRIBBLEPROMPT_NAME else ""
            if missing:
                rows[name] = missing
                continue
            stand_in = None
            if name == networks.STAND_IN:
                stand_in = given.unet or artefacts.resolve(networks.STAND_IN)
            rows[name] = measure(choose(name, stand_in).segmenter, frames, given.data)
    except AopPoseError as error:
        print(f"box_table: error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(rows, len(frames)))
    for name, row in rows.items():
        if isinstance(row, Row):
            print(f"\n`{name}`: {row.origin}")
            if given.reasons:
                print("\n".join(f"- {reason}" for reason in row.reasons))
    return 0


if __name__ == "__main__":
    sys.exit(main())
