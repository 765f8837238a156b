"""What the head-symphysis distance may be measured to: each way's error on labelled frames with masks, as Markdown.

The true distance is that of the labelled PS1 to the mask's contour of the head. Ways: the contour of the network's map
(shipped); the ellipse fitted to it; half of each; and both looks of the gate, the second one on the widened picture.
The last rows say which end is off: the true PS1 to the network's contour, the network's PS1 to the true contour.
Differences are paired, intervals by bootstrap over groups of near-duplicates.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.keypoints import Prediction
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import resolve
from aop_pose.formats.masks import with_masks
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups_of, thumbnail
from aop_pose.geometry import FETAL_HEAD, ellipse_axes, head_symphysis_distance, largest_contour
from aop_pose.inference.predictor import Predictor, load
from aop_pose.measuring.measurer import two_passes
from aop_pose.trust.passes import widen
from lib.means import group_bootstrap

SIDE = 512
"""Pixels of the longer side in which distances are told."""


@attrs.frozen(eq=False)
class Case:
    """One frame: the labelled PS1 and head, and both looks at it; all in its pixels."""

    ps1: np.ndarray
    head: np.ndarray
    looks: tuple[Prediction, Prediction]
    scale: float

    def place(self, look: int = 0) -> np.ndarray:
        """PS1 (2,) of a look."""
        return self.looks[look].found["PS1"]

    def contour(self, look: int = 0) -> np.ndarray:
        """Contour (m, 2) of the head in a look; empty where none is seen."""
        return (self.looks[look].outlines or {}).get("FH", np.zeros((0, 2)))


def ellipse(contour: np.ndarray) -> np.ndarray:
    """Points (360, 2) of the ellipse fitted to a contour; the contour where none fits."""
    ofd1, ofd2, bpd1, bpd2 = ellipse_axes(contour)
    if not np.isfinite(ofd1).all():
        return contour
    turns = np.radians(np.arange(360.0))[:, None]
    return np.asarray((ofd1 + ofd2) / 2 + (np.cos(turns) * (ofd2 - ofd1) + np.sin(turns) * (bpd2 - bpd1)) / 2)


def _plain(case: Case) -> float:
    return head_symphysis_distance(case.place(), case.contour())


def _fitted(case: Case) -> float:
    return head_symphysis_distance(case.place(), ellipse(case.contour()))


def _second(case: Case) -> float:
    return head_symphysis_distance(case.place(1), case.contour(1))


def _fitted_to_both(case: Case) -> float:
    return head_symphysis_distance(case.place(), ellipse(np.vstack([case.contour(), case.contour(1)])))


WAYS: dict[str, Callable[[Case], float]] = {
    "contour (shipped)": _plain,
    "ellipse fitted to the contour": _fitted,
    "half contour, half ellipse": lambda case: (_plain(case) + _fitted(case)) / 2,
    "ellipse fitted to both looks' contours": _fitted_to_both,
    "mean of both looks": lambda case: (_plain(case) + _second(case)) / 2,
    "true PS1, contour": lambda case: head_symphysis_distance(case.ps1, case.contour()),
    "PS1, true contour": lambda case: head_symphysis_distance(case.place(), case.head),
}
"""In the frame's pixels; a way that has no answer (PS1 within the ellipse) gives that of the first."""


def cases(predictor: Predictor, file: Path, data: Path) -> tuple[list[Case], np.ndarray]:
    """The frames with masks of a label file on which both looks find something, and their groups."""
    found, small = [], []
    for label in with_masks(read_labels(file, data, AOP, keep=True), data):
        pixels = label.gray()
        passes = two_passes(predictor, [pixels])[0]
        if label.mask is None or passes.first.keypoints is None or passes.second is None:
            continue
        (_, origin), second = widen(pixels), passes.second
        shifted = {name: contour - origin for name, contour in (second.outlines or {}).items()}
        head = largest_contour(label.mask.read() == FETAL_HEAD)
        looks = (passes.first, attrs.evolve(second, outlines=shifted))
        found.append(Case(label.points[0], head, looks, SIDE / max(pixels.shape)))
        small.append(thumbnail(pixels))
    return found, np.asarray(near_duplicate_groups_of(small))


def table(found: list[Case], groups: np.ndarray) -> str:
    """A row a way: mean absolute error, bias and the paired difference from the first."""
    true = np.array([head_symphysis_distance(case.ps1, case.head) * case.scale for case in found])
    lines = ["| distance | error, px of 512 [95 %] | bias | difference |", "| --- | --- | ---: | --- |"]
    base = np.array([_plain(case) * case.scale for case in found])
    known = np.isfinite(true) & np.isfinite(base)
    for name, way in WAYS.items():
        told = np.array([way(case) * case.scale for case in found])
        errors = np.where(np.isfinite(told), told, base) - true
        own = group_bootstrap(np.abs(errors)[known], groups[known])
        gain = group_bootstrap((np.abs(errors) - np.abs(base - true))[known], groups[known])
        change = "" if way is _plain else f"{gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
        lines.append(
            f"| {name} | {own.value:.2f} [{own.low:.2f}, {own.high:.2f}] | {errors[known].mean():+.2f} | {change} |"
        )
    return "\n".join(lines)


def run(given: argparse.Namespace) -> None:
    predictor = load(given.artefact, threads=1)
    if "FH" not in predictor.contract.outlines:
        raise UsageError(f"expected an artefact that outlines the head, found {predictor.model_id}")
    found, groups = cases(predictor, resolve(given.labels, given.data), given.data)
    if not found:
        raise UsageError(f"expected frames with masks on which both looks find something, found none in {given.labels}")
    print(f"{predictor.model_id}, {len(found)} frames of {Path(given.labels).name}\n")
    print(table(found, groups))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/hsd_table.py half.onnx --data psfhs --labels runs/halves/val.csv",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="images/, masks/ and the labels")
    parser.add_argument("--labels", default="val.csv", metavar="FILE")
    try:
        run(parser.parse_args())
    except AopPoseError as error:
        print(f"hsd_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
