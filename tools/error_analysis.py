"""What the remaining error is made of, as Markdown: label noise, landmarks, kinds of frames, groups, bias.

Pixels are on the 512 scale, intervals are 95 % by bootstrap over near-duplicate groups. The labels are used for
measuring only; nothing here changes a network.

Label noise: pictures that stand in the data twice and were annotated apart. Of two annotations with independent
Gaussian errors of one size, a perfect reader is 1 / sqrt(2) of their difference away from either, on average; where
the reader's own error is independent of theirs, the squares add. Neighbours are the same with pictures that hardly
differ: what the error changes between them is noise of the labels and of the network together.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import attrs
import numpy as np
from error_parts import axis_errors, own_part, share_between

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.errors import Errors, frame_errors
from aop_pose.evaluation.grouping import QUALITY_WORDS, contrast
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups_of, thumbnail
from aop_pose.geometry import angle_of_progression
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor
from aop_pose.io.images import read_frame
from aop_pose.measuring.ahead import in_order
from aop_pose.pipelines import load_weights
from lib.means import group_bootstrap

SCALE = 512
NEIGHBOURS = 0.99
"""Correlation of 32 x 32 thumbnails from which two pictures hardly differ."""
WORST = 8


@attrs.frozen(eq=False)
class Read:
    """A label file with what the network says of its frames; the arrays hold the frames with a prediction."""

    words: str
    names: list[str]
    truth: np.ndarray
    """(n, 3, 2) pixels of the frames."""
    found: np.ndarray
    """(n, 3, 2) pixels of the frames."""
    factor: np.ndarray
    """(n,) pixels of the frame -> the 512 scale."""
    errors: Errors
    groups: np.ndarray
    thumbnails: np.ndarray
    contrast: np.ndarray
    missing: int

    @property
    def mre(self) -> np.ndarray:
        return self.errors.distances.mean(axis=1)

    @property
    def aop(self) -> np.ndarray:
        """Signed, degrees: predicted minus true."""
        return self.errors.differences["aop"]


def read(predictor: Predictor, file: Path, data: Path) -> Read:
    """Predict every frame of a label file."""
    frames = read_labels(file, data)
    if not frames:
        raise UsageError(f"{file}: expected frames with true points, found none")

    def one(frame: Label) -> tuple[np.ndarray, np.ndarray, float]:
        pixels = read_frame(frame.path).pixels
        keypoints = predictor.find([pixels])[0].keypoints
        points = np.full((len(AOP.points), 2), np.nan) if keypoints is None else keypoints.coords
        return points, thumbnail(pixels), contrast(pixels)

    points, thumbnails, contrasts = (
        np.array(part) for part in zip(*in_order(one, frames, usable_cores()), strict=True)
    )
    truth = np.stack([frame.keypoints.coords for frame in frames])
    sizes = np.array([(frame.width, frame.height) for frame in frames])
    known = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(angle_of_progression(*points.transpose(1, 0, 2)))
    if not known.any():
        raise UsageError(f"{file}: the network finds nothing on any of its {len(frames)} frames")
    return Read(
        file.name, [frame.name for frame, is_known in zip(frames, known, strict=True) if is_known],
        truth[known], points[known], SCALE / sizes[known].max(axis=1),
        frame_errors(points[known], truth[known], sizes[known], scale=SCALE),
        near_duplicate_groups_of(list(thumbnails))[known], thumbnails[known], contrasts[known], int((~known).sum()),
    )  # fmt: skip


def overview(reads: Sequence[Read]) -> list[str]:
    """One row a label file, with the bias and what it costs."""
    lines = [
        "| frames | n | missing | MRE, px | AoP error, deg | bias, deg | less its bias | predicted per true degree |",
        "| --- | ---: | ---: | --- | --- | --- | ---: | ---: |",
    ]
    for one in reads:
        slope = np.polyfit(one.errors.true_values["aop"], one.errors.true_values["aop"] + one.aop, 1)[0]
        cells = [str(group_bootstrap(values, one.groups)) for values in (one.mre, np.abs(one.aop), one.aop)]
        unbiased = np.abs(one.aop - one.aop.mean()).mean()
        lines.append(
            f"| {one.words} | {len(one.mre)} | {one.missing} | {' | '.join(cells)} | {unbiased:.2f} | {slope:.2f} |"
        )
    return lines


def identical_frames(files: Sequence[Path], data: Path, reads: Sequence[Read]) -> list[str]:
    """Pictures of equal pixels: how far their annotations lie apart, and what is left beside a perfect reader."""
    by_pixels: dict[bytes, list[Label]] = {}
    for frame in (frame for file in files for frame in read_labels(file, data)):
        pixels = read_frame(frame.path).pixels
        by_pixels.setdefault(hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest(), []).append(frame)
    pairs = [pair for same in by_pixels.values() for pair in combinations(same, 2)]
    apart = [(one, two) for one, two in pairs if (one.keypoints.coords != two.keypoints.coords).any()]
    counted = f"{len(pairs)} pairs of pictures are identical, {len(apart)} of them with different points."
    if not apart:
        return [counted]
    lines = [
        counted,
        "",
        "| pair | PS1 | PS2 | FH1 | mean, px | AoP, deg |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    table = np.array([_disagreement(one, two) for one, two in apart])
    for (one, two), row in zip(apart, table, strict=True):
        lines.append(f"| {one.name}, {two.name} | {_cells(row)} |")
    perfect = table.mean(axis=0) / 2**0.5
    lines.append(f"| mean | {_cells(table.mean(axis=0))} |")
    lines.append(f"| mean / sqrt(2): a perfect reader against one label | {_cells(perfect)} |")
    for one in reads:
        ours = np.array([*one.errors.distances.mean(axis=0), one.mre.mean(), np.abs(one.aop).mean()])
        lines.append(f"| network on {one.words} | {_cells(ours)} |")
        lines.append(f"| - its own part, the squares subtracted | {_cells(own_part(ours, perfect))} |")
    return lines


def _disagreement(one: Label, two: Label) -> np.ndarray:
    first, second = one.keypoints.coords, two.keypoints.coords
    pixels = np.linalg.norm(first - second, axis=1) * SCALE / max(one.width, one.height)
    return np.array([*pixels, pixels.mean(), abs(angle_of_progression(*first) - angle_of_progression(*second))])


def _cells(values: Iterable[float]) -> str:
    return " | ".join(f"{value:.1f}" for value in values)


def neighbours(reads: Sequence[Read]) -> list[str]:
    """Pictures that hardly differ: how far labels, predictions and errors move from one to the other."""
    lines = [
        "| frames | pairs | labels move, px | predictions move, px | errors differ / sqrt(2), px "
        "| labels move, deg | predictions move, deg | errors differ / sqrt(2), deg |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in reads:
        first, second = np.nonzero(np.triu(one.thumbnails @ one.thumbnails.T > NEIGHBOURS, 1))
        if not len(first):
            continue
        true_angle = one.errors.true_values["aop"]
        cells = []
        for points in (one.truth, one.found, one.found - one.truth):
            moved = np.linalg.norm(points[first] - points[second], axis=2) * one.factor[first, None]
            cells.append(float(moved.mean()))
        for angle in (true_angle, true_angle + one.aop, one.aop):
            cells.append(float(np.abs(angle[first] - angle[second]).mean()))
        cells[2], cells[5] = cells[2] / 2**0.5, cells[5] / 2**0.5
        lines.append(f"| {one.words} | {len(first)} | {_cells(cells)} |")
    return lines


def landmarks(one: Read) -> list[str]:
    """Errors along and across the true PS axis, and those of FH1 along and across its own ray."""
    lines = [
        "| landmark, axis | error, px | along: mean | along: mean size | across: mean | across: mean size |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    shown = [(name, i, 1, "PS1 to PS2") for i, name in enumerate(AOP.points)] + [("FH1", 2, 2, "PS1 to FH1")]
    for name, i, to, words in shown:
        along, across = (part[:, i] for part in axis_errors(one.found, one.truth, one.factor, to))
        sizes = (one.errors.distances[:, i].mean(), along.mean(), np.abs(along).mean(), across.mean())
        lines.append(f"| {name}, {words} | {_cells([*sizes, np.abs(across).mean()])} |")
    return lines


def degrees_lost(one: Read) -> list[str]:
    """AoP error with one landmark from the label, and with all but one."""
    lines = [
        "| landmark | AoP error with it true, deg | what it takes away | AoP error with the two others true, deg |",
        "| --- | --- | --- | --- |",
    ]
    whole = np.abs(one.aop)
    for i, name in enumerate(AOP.points):
        with_it, alone = one.found.copy(), one.truth.copy()
        with_it[:, i], alone[:, i] = one.truth[:, i], one.found[:, i]
        errors = [np.abs(angle_of_progression(*points.transpose(1, 0, 2)) - one.errors.true_values["aop"])
                  for points in (with_it, alone)]  # fmt: skip
        shown = [group_bootstrap(values, one.groups) for values in (errors[0], whole - errors[0], errors[1])]
        lines.append(f"| {name} | {' | '.join(map(str, shown))} |")
    return [*lines, f"| none | {group_bootstrap(whole, one.groups)} | | |"]


def by_thirds(one: Read, values: np.ndarray, words: str, unit: str) -> list[str]:
    """Errors in the lowest, middle and highest third of ``values`` (n,)."""
    lines = [f"| {words} | n | MRE, px | AoP error, deg | bias, deg |", "| --- | ---: | --- | --- | --- |"]
    edges = np.quantile(values, [0, 1 / 3, 2 / 3, 1])
    third = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, 2)
    for i in range(3):
        mask = third == i
        if mask.any():
            cells = [str(group_bootstrap(v[mask], one.groups[mask])) for v in (one.mre, np.abs(one.aop), one.aop)]
            lines.append(f"| {edges[i]:.0f} to {edges[i + 1]:.0f}{unit} | {mask.sum()} | {' | '.join(cells)} |")
    return lines


def worst_groups(one: Read) -> list[str]:
    """The near-duplicate groups with the largest part of the whole AoP error."""
    whole = np.abs(one.aop)
    sums = np.bincount(one.groups, whole)
    groups = f"near-duplicate groups ({len(np.unique(one.groups))} of {len(whole)} frames)"
    share = share_between(one.aop, one.groups)
    said = f"{share:.0%} of the variance of the signed AoP error lies between {groups}, the rest within them."
    lines = [
        f"Too few {groups} to divide the variance." if np.isnan(share) else said,
        "", "| group's first frame | frames | MRE, px | AoP error, deg | bias, deg | share of all AoP error |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for group in np.argsort(-sums)[:WORST]:
        members = np.flatnonzero(one.groups == group)
        lines.append(
            f"| {one.names[members[0]]} | {len(members)} | {one.mre[members].mean():.1f} | {whole[members].mean():.1f} "
            f"| {one.aop[members].mean():+.1f} | {sums[group] / whole.sum():.0%} |"
        )
    return lines


def page(predictor: Predictor, reads: Sequence[Read], files: Sequence[Path], data: Path) -> str:
    lines = [
        f"Model {predictor.model_id}. Not a medical device; research use only.", "",
        "## Whole", "", *overview(reads), "",
        "## Label noise: identical pictures", "", *identical_frames(files, data, reads), "",
        f"## Label noise: neighbours (thumbnails correlate above {NEIGHBOURS})", "", *neighbours(reads),
    ]  # fmt: skip
    for one in reads:
        lines += [
            "", f"## {one.words}", "",
            "Along a true ray (positive away from PS1) and across it (positive to the side of the third landmark):",
            "", *landmarks(one), "", "Degrees lost by each landmark:", "", *degrees_lost(one), "",
            *by_thirds(one, one.errors.true_values["aop"], "true AoP", " deg"), "",
            *by_thirds(one, one.contrast, QUALITY_WORDS, ""), "", *worst_groups(one),
        ]  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/error_analysis.py --data psfhs --weights aop-fast",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--weights", metavar="W", help="artefact, its name, run folder or checkpoint")
    parser.add_argument("--labels", nargs="+", default=["val.csv", "unlabelled_answers.csv"], metavar="FILE")
    parser.add_argument(
        "--pairs", nargs="+", default=["labelled.csv", "val.csv", "unlabelled_answers.csv"], metavar="FILE",
        help="label files that are searched for identical pictures",
    )  # fmt: skip
    given = parser.parse_args()
    try:
        predictor = load_weights(given.weights, "aop", threads=1)
        reads = [read(predictor, resolve(file, given.data), given.data) for file in given.labels]
        print(page(predictor, reads, [resolve(file, given.data) for file in given.pairs], given.data))
    except AopPoseError as error:
        print(f"error_analysis: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
