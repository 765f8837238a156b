"""How well an artefact outlines symphysis and head, and what HSD follows: Markdown, against masks of labelled frames.

Dice of each mask, and HSD (`geometry.head_symphysis_distance`) from the network's PS1 to its contour of the head
against that from the labelled PS1 to the mask's, in pixels of a longer side of 512. Frames are measured without the
gate, so that none is left out; intervals are by bootstrap over groups of near-duplicates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.results import Result
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import CLASSES, Label, resolve
from aop_pose.formats.masks import with_masks
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups_of, thumbnail
from aop_pose.geometry import head_symphysis_distance, largest_contour
from aop_pose.inference.predictor import load
from aop_pose.measuring.measurer import Measurer
from lib.means import group_bootstrap

SIDE = 512
"""Pixels of the longer side in which distances are told."""


@attrs.frozen
class Outlined:
    """One frame: Dice of each structure (0 where none was outlined), true HSD and the measured one in pixels."""

    dice: tuple[float, ...]
    true: float
    found: float


def outlined(result: Result, label: Label, mask: np.ndarray) -> Outlined:
    """The figures of a frame; NaN for a distance that does not exist."""
    dice = [_dice((result.outlines or {}).get(name), mask == number + 1) for number, name in enumerate(CLASSES)]
    scale = SIDE / max(mask.shape)
    head = largest_contour(mask == CLASSES.index("FH") + 1)
    true = head_symphysis_distance(label.points[0], head) * scale
    found = result.measurements["hsd_px"].value * scale if "hsd_px" in result.measurements else float("nan")
    return Outlined(tuple(dice), true, found)


def _dice(contour: np.ndarray | None, true: np.ndarray) -> float:
    if contour is None:
        return 0.0
    drawn = np.zeros(true.shape, np.uint8)
    cv2.fillPoly(drawn, [np.rint(contour).astype(np.int32)], 1)
    return float(2 * (drawn.astype(bool) & true).sum() / (drawn.sum() + true.sum()))


def table(frames: Sequence[Outlined], groups: np.ndarray) -> str:
    """The figures over all frames."""
    lines = ["| | value [95 %] | frames |", "| --- | --- | ---: |"]
    for number, name in enumerate(CLASSES):
        lines.append(f"| Dice {name} | {_mean([one.dice[number] for one in frames], groups, 3)} | {len(frames)} |")
    errors = np.array([one.found - one.true for one in frames])
    known = np.isfinite(errors)
    if known.any():
        both = np.array([[one.found, one.true] for one in frames])[known]
        lines += [
            f"| HSD error, px of {SIDE} | {_mean(np.abs(errors[known]), groups[known], 2)} | {known.sum()} |",
            f"| HSD bias, px of {SIDE} | {_mean(errors[known], groups[known], 2)} | {known.sum()} |",
            f"| HSD correlation | {np.corrcoef(both.T)[0, 1]:.3f} | {known.sum()} |",
        ]
    lost = [not np.isfinite(one.found) and np.isfinite(one.true) for one in frames]
    return "\n".join([*lines, f"| HSD missing though there is one | | {sum(lost)} |"])


def _mean(values: Sequence[float] | np.ndarray, groups: np.ndarray, digits: int) -> str:
    found = group_bootstrap(np.asarray(values), groups)
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def run(given: argparse.Namespace) -> None:
    predictor = load(given.artefact)
    if not predictor.contract.outlines:
        raise UsageError(f"expected an artefact with outlines, found none in {predictor.model_id}")
    labels = with_masks(read_labels(resolve(given.labels, given.data), given.data, AOP, keep=True), given.data)
    measurer = Measurer(predictor, gate=False)
    frames = [Frame(label.gray(), source=label.name) for label in labels]
    results = [result for start in range(0, len(frames), 8) for result in measurer.results(frames[start : start + 8])]
    groups = near_duplicate_groups_of([thumbnail(frame.pixels) for frame in frames])
    masks = [label.mask.read() for label in labels if label.mask is not None]
    print(f"{predictor.model_id}, {len(frames)} frames of {Path(given.labels).name}\n")
    print(table([outlined(*one) for one in zip(results, labels, masks, strict=True)], groups))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/outline_table.py aop-fast.onnx --data psfhs --labels val.csv",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="images/, masks/ and the labels")
    parser.add_argument("--labels", default="val.csv", metavar="FILE")
    try:
        run(parser.parse_args())
    except AopPoseError as error:
        print(f"outline_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
