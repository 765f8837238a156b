"""Does a second angle, of the head's outline, tell which pseudo-labels are wrong, or mend them? A table as Markdown.

The points of a pseudo-label give strokes, these prompt a segmenter, and its head gives the tangent from PS1 and with it
a second angle. Told are the errors of both angles and of their mean, the points with FH1 moved onto the tangent, and
whether a difference of the two goes with a wrong angle (Spearman). "Free" leaves out the strokes that the tangent of
the label itself draws, which hold the outline to it. The answers are used for measuring only. Pictures have 256 pixels
a side at most, as the segmenters take them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.errors import frame_errors
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups_of, thumbnail
from aop_pose.geometry.angles import angle_of_progression
from aop_pose.geometry.outlines import largest_contour, tangent_point
from aop_pose.inference import weights as artefacts
from aop_pose.pseudo.run import PseudoFrame, read_pseudo
from aop_pose.scribbles.boxes import DEFAULT, WORKING_SIDE, find_sector
from aop_pose.scribbles.segmenters import NAMES, choose
from aop_pose.scribbles.segmenters.base import Segmenter
from aop_pose.scribbles.strokes import masks, strokes_for
from lib.means import group_bootstrap
from lib.ranking import spearman_over_groups

SCALE = 512
PROMPTS = {"all strokes": (), "free": ("fh_parallel", "fh_tangent", "fh_beyond_fh1", "fh_beyond_ps1")}
"""Name -> strokes that are left out."""


@attrs.frozen(eq=False)
class Compared:
    """Pseudo-labels that a segmenter found a head for."""

    points: np.ndarray
    """(n, 3, 2) PS1, PS2, FH1 of the pseudo-labels, pixels."""
    tangents: np.ndarray
    """(n, 2) where the tangent from PS1 touches the outline."""
    truth: np.ndarray
    """(n, 3, 2)."""
    sizes: np.ndarray
    """(n, 2) width and height."""
    groups: np.ndarray
    lost: int
    """Pseudo-labels without an outline or a tangent."""


def head_of(pixels: np.ndarray, points: np.ndarray, segmenter: Segmenter, without: Sequence[str]) -> np.ndarray:
    """Outline (k, 2) of the head that the strokes of points (3, 2) prompt; without a point where there is none."""
    height, width = pixels.shape
    strokes = strokes_for(points, width, height, find_sector(pixels), without=without).strokes
    side = max(height, width)
    positive, negative = masks(strokes, "FH", side, side)
    if not positive.any():
        return np.empty((0, 2))
    square = np.zeros((side, side), np.uint8)
    square[:height, :width] = pixels
    level = segmenter(square, positive, negative, structure="FH", points=points)[:height, :width]
    return largest_contour(level >= DEFAULT.threshold["FH"])


def compare(labels: Sequence[PseudoFrame], truth: dict[str, np.ndarray], segmenter: Segmenter, prompt: str) -> Compared:
    points, tangents, true, sizes, thumbnails = [], [], [], [], []
    for label in labels:
        pixels, coords = read_gray(label.frame.path), label.frame.keypoints.coords
        if max(pixels.shape) > WORKING_SIDE:
            raise UsageError(f"{label.frame.path}: expected at most {WORKING_SIDE} pixels a side, found {pixels.shape}")
        touching = tangent_point(coords[0], coords[1], head_of(pixels, coords, segmenter, PROMPTS[prompt]))
        if np.isfinite(touching).all():
            points.append(coords)
            tangents.append(touching)
            true.append(truth[label.frame.name])
            sizes.append(pixels.shape[::-1])
            thumbnails.append(thumbnail(pixels))
    if not points:
        raise UsageError("expected a head with a tangent in some frame, found none")
    groups = near_duplicate_groups_of(thumbnails)
    return Compared(
        *(np.array(one, np.float64) for one in (points, tangents, true, sizes)), groups, len(labels) - len(points)
    )


def moved_onto(tangents: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (n, 3, 2) with FH1 as far from PS1 as before, on the ray from PS1 through the tangent point (n, 2)."""
    moved = points.copy()
    rays = tangents - points[:, 0]
    reach = np.linalg.norm(points[:, 2] - points[:, 0], axis=1) / np.linalg.norm(rays, axis=1)
    moved[:, 2] = points[:, 0] + rays * reach[:, None]
    return moved


def rows(compared: Compared) -> list[str]:
    """Markdown: errors of the angles and of the points, and the correlation."""
    halfway = (moved_onto(compared.tangents, compared.points) + compared.points) / 2
    told = {
        "pseudo-label": compared.points,
        "FH1 moved onto the tangent": moved_onto(compared.tangents, compared.points),
        "FH1 half as far": halfway,
        "tangent point as FH1": np.concatenate([compared.points[:, :2], compared.tangents[:, None]], axis=1),
    }
    lines = ["| points | MRE, px | FH1, px | AoP error, deg |", "| --- | --- | --- | --- |"]
    for words, points in told.items():
        errors = frame_errors(points, compared.truth, compared.sizes, scale=SCALE)
        cells = (errors.distances.mean(axis=1), errors.distances[:, 2], np.abs(errors.differences["aop"]))
        lines.append(f"| {words} | {' | '.join(str(group_bootstrap(one, compared.groups)) for one in cells)} |")
    before = frame_errors(compared.points, compared.truth, compared.sizes, scale=SCALE)
    wrong = np.abs(before.differences["aop"])
    apart = np.abs(_angles(told["tangent point as FH1"]) - _angles(compared.points))
    found = spearman_over_groups(apart, wrong, compared.groups)
    within = "" if found.interval is None else f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
    near = apart <= np.median(apart)
    halves = (group_bootstrap(wrong[mask], compared.groups[mask]) for mask in (near, ~near))
    return [
        *lines, "",
        f"The two angles lie {np.median(apart):.1f} degrees apart in the median. Spearman of that with the error of "
        f"the pseudo-angle {found.value:+.2f}{within}; the half that agrees errs by {next(halves)} degrees, the other "
        f"by {next(halves)}.",
    ]  # fmt: skip


def _angles(points: np.ndarray) -> np.ndarray:
    return np.array([angle_of_progression(*one) for one in points])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/tangent_table.py --data psfhs --pseudo together.csv",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--pseudo", type=Path, required=True, metavar="FILE", help="table of aop-pose pseudo-label")
    parser.add_argument("--answers", default="unlabelled_answers.csv", metavar="FILE", help="true points, iugc")
    parser.add_argument("--segmenter", default="scribble-unet", choices=NAMES)
    given = parser.parse_args()
    try:
        truth = {frame.name: frame.keypoints.coords for frame in read_labels(given.data / given.answers, given.data)}
        labels = [one for one in read_pseudo(given.pseudo, given.data) if one.frame.name in truth]
        if not labels:
            raise UsageError(f"{given.answers}: expected true points of frames of {given.pseudo}, found none")
        chosen = choose(given.segmenter, artefacts.resolve("scribble-unet"))
        print(chosen.why)
        for prompt in PROMPTS:
            compared = compare(labels, truth, chosen.segmenter, prompt)
            print(f"\n{prompt}: {len(compared.points)} frames with a tangent, {compared.lost} without\n")
            print("\n".join(rows(compared)))
    except AopPoseError as error:
        print(f"tangent_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
