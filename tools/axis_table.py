"""Second opinions about the axis of the symphysis: what each does to points and angle on labelled frames; Markdown.

The axis PS1-PS2 makes most large errors of the angle. Compared with the points as the network finds them: the axis of
its outline of the symphysis (the ends that lie farthest apart, or the long axis of the area), half of each, and the
points found in a cut-out of the symphysis that the same network sees enlarged, alone and in the mean with the first
ones. Paired tests are by flipping signs of whole groups of near-duplicates. The last table says how far each opinion's
disagreement with the points tells their error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np

from aop_pose.core.keypoints import Prediction
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import resolve
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups_of, thumbnail
from aop_pose.geometry import angle_of_progression, symphysis_ends
from aop_pose.inference.predictor import Predictor, load
from aop_pose.stats.bootstrap import sign_flip_test
from lib.means import group_bootstrap
from lib.ranking import spearman

SIDE = 512
"""Pixels of the longer side in which distances are told."""
FAR_OFF = 10.0
"""Degrees; an error above it is a large one."""
CUT_OUT = 2.6
"""Side of the cut-out, in lengths of the symphysis."""


@attrs.frozen(eq=False)
class Case:
    """One frame: its picture, the true points, and what the network finds."""

    pixels: np.ndarray
    true: np.ndarray
    found: Prediction

    @property
    def points(self) -> np.ndarray:
        """(3, 2)."""
        return self.found.found.coords

    @property
    def symphysis(self) -> np.ndarray:
        """Contour (m, 2); empty where none is seen."""
        return (self.found.outlines or {}).get("PS", np.zeros((0, 2)))


def as_found(case: Case) -> np.ndarray:
    return case.points


def _along(case: Case, direction: np.ndarray) -> np.ndarray:
    """The points with PS2 turned about PS1 into a direction (2,), to the side on which it lies."""
    points = case.points.copy()
    ray = points[1] - points[0]
    length = np.linalg.norm(direction)
    if not (np.isfinite(direction).all() and length > 0):
        return points
    unit = direction / length * (1 if direction @ ray >= 0 else -1)
    points[1] = points[0] + np.linalg.norm(ray) * unit
    return points


def ends_of_outline(case: Case) -> np.ndarray:
    ends = symphysis_ends(case.symphysis)
    return _along(case, ends[1] - ends[0])


def long_axis_of_outline(case: Case) -> np.ndarray:
    if len(case.symphysis) < 3:
        return case.points
    moments = cv2.moments(case.symphysis.astype(np.float32).reshape(-1, 1, 2))
    turn = 0.5 * np.arctan2(2 * moments["mu11"], moments["mu20"] - moments["mu02"])
    return _along(case, np.array([np.cos(turn), np.sin(turn)]))


def mean_with(opinion: Callable[[Case], np.ndarray]) -> Callable[[Case], np.ndarray]:
    """Half of an opinion and half of the points as found."""
    return lambda case: (case.points + opinion(case)) / 2


def cut_outs(predictor: Predictor, cases: Sequence[Case]) -> list[np.ndarray]:
    """The points with PS1 and PS2 as they are found in an enlarged cut-out about the symphysis."""
    places, pictures = [], []
    for case in cases:
        ends = case.points[:2]
        side = max(32, round(CUT_OUT * float(np.linalg.norm(ends[1] - ends[0]))))
        # A little below the middle, so that the head's edge is in it.
        left, top = np.round(ends.mean(axis=0) - (side / 2, side * 0.4)).astype(int).tolist()
        padded = cv2.copyMakeBorder(case.pixels, side, side, side, side, cv2.BORDER_CONSTANT)
        pictures.append(np.ascontiguousarray(padded[top + side : top + 2 * side, left + side : left + 2 * side]))
        places.append(np.array([left, top]))
    lenient = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"threshold": 0.0}))
    again = []
    for case, place, found in zip(cases, places, lenient.find(pictures), strict=True):
        points = case.points.copy()
        points[:2] = found.found.coords[:2] + place
        again.append(points)
    return again


def degrees_of_axis(points: np.ndarray, true: np.ndarray) -> float:
    """Angle between two axes PS1-PS2."""
    one, other = (np.arctan2(*(each[1] - each[0])[::-1]) for each in (points, true))
    return float(abs(np.degrees((one - other + np.pi) % (2 * np.pi) - np.pi)))


def table(cases: Sequence[Case], opinions: dict[str, list[np.ndarray]], groups: np.ndarray) -> str:
    """Markdown: a row an opinion, the first that of the points as found."""
    lines = [
        f"| axis from | AoP error [95 %] | change | p | over {FAR_OFF:g} degrees | axis error | PS2, px of {SIDE} |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    before: np.ndarray | None = None
    for name, given in opinions.items():
        errors = np.array([_aop_error(points, case) for points, case in zip(given, cases, strict=True)])
        axis = np.mean([degrees_of_axis(points, case.true) for points, case in zip(given, cases, strict=True)])
        scale = [SIDE / max(case.pixels.shape) for case in cases]
        ends = [np.linalg.norm(points[1] - case.true[1]) for points, case in zip(given, cases, strict=True)]
        change = "" if before is None else f"{(errors - before).mean():+.2f}"
        p = "" if before is None else f"{sign_flip_test(errors - before, groups):.3f}"
        off = f"{(errors > FAR_OFF).sum()} | {axis:.2f} | {np.mean(np.array(ends) * scale):.1f}"
        lines.append(f"| {name} | {group_bootstrap(errors, groups)} | {change} | {p} | {off} |")
        before = errors if before is None else before
    assert before is not None
    lines += ["", "| disagreement with the points | Spearman with their AoP error |", "| --- | ---: |"]
    for name, given in opinions.items():
        apart = np.array([degrees_of_axis(points, case.points) for points, case in zip(given, cases, strict=True)])
        if apart.any() and not name.startswith("half"):
            lines.append(f"| {name} | {spearman(apart, before):+.3f} |")
    return "\n".join(lines)


def _aop_error(points: np.ndarray, case: Case) -> float:
    return float(abs(angle_of_progression(*points) - angle_of_progression(*case.true)))


def run(given: argparse.Namespace) -> None:
    predictor = load(given.artefact)
    if predictor.schema is not AOP or "PS" not in predictor.contract.outlines:
        raise UsageError(f"expected an artefact that outlines the symphysis, found {predictor.model_id}")
    labels = read_labels(resolve(given.labels, given.data), given.data, AOP, keep=True)
    pixels = [label.gray() for label in labels]
    found = [one for start in range(0, len(pixels), 8) for one in predictor.find(pixels[start : start + 8])]
    cases = [
        Case(each, label.points, one)
        for each, label, one in zip(pixels, labels, found, strict=True) if one.keypoints is not None
    ]  # fmt: skip
    groups = near_duplicate_groups_of([thumbnail(case.pixels) for case in cases])
    ways: dict[str, Callable[[Case], np.ndarray]] = {
        "points": as_found,
        "outline, ends": ends_of_outline, "half points, half ends of outline": mean_with(ends_of_outline),
        "outline, long axis": long_axis_of_outline,
        "half points, half long axis of outline": mean_with(long_axis_of_outline),
    }  # fmt: skip
    opinions = {name: [way(case) for case in cases] for name, way in ways.items()}
    enlarged = cut_outs(predictor, cases)
    opinions["cut-out, enlarged"] = enlarged
    opinions["half points, half cut-out"] = [(one + case.points) / 2 for one, case in zip(enlarged, cases, strict=True)]
    print(f"{predictor.model_id}, {len(cases)} of {len(labels)} frames of {Path(given.labels).name}\n")
    print(table(cases, opinions, groups))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/axis_table.py aop-fast.onnx --data psfhs --labels val.csv",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--labels", default="val.csv", metavar="FILE")
    try:
        run(parser.parse_args())
    except AopPoseError as error:
        print(f"axis_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
