"""How many pixels of the strokes lie on the right side of the masks, as a Markdown table.

The strokes of ``aop_pose/scribbles`` stand beside those of the paper (Li et al., section 3.2, equations 1-6) as its
text gives them, ended by the frame alone: the lines of the head from FH1 on towards H, and on both sides of FH1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import shapely
from shapely import LineString

from aop_pose.errors import AopPoseError
from aop_pose.formats.label import Label, Mask, find_picture, resolve
from aop_pose.formats.masks import fitting_mask
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.geometry import FETAL_HEAD, SYMPHYSIS, largest_contour
from aop_pose.scribbles.boxes import find_sector
from aop_pose.scribbles.strokes import (
    CONVEXITY,
    DEFAULT,
    NAMES,
    THICKNESS,
    Stroke,
    StrokeSettings,
    head_directions,
    lines,
    paint,
    strokes_for,
)

KINDS = {
    ("PS", True): "PS inside",
    ("PS", False): "PS outside",
    ("FH", True): "FH inside",
    ("FH", False): "FH outside",
}
VALUES = {"PS": SYMPHYSIS, "FH": FETAL_HEAD}
Maker = Callable[[Label, np.ndarray], list[Stroke]]


@attrs.frozen
class Purity:
    """Share of stroke pixels on the right side."""

    pooled: float
    per_frame: float
    """Mean over the frames that have such a stroke."""
    frames: int


@attrs.frozen(eq=False)
class Measured:
    """What one way of making strokes gives over a label file."""

    purity: dict[str, Purity]
    """By kind (``KINDS``) and by name (``NAMES``)."""
    longest: np.ndarray
    """Per frame, the longest foreground stroke of the head over the head's diameter; 0 where there is none."""


def measure(frames: list[tuple[Label, np.ndarray, np.ndarray]], make: Maker, thickness: float = THICKNESS) -> Measured:
    """Purity over ``frames``: each with its pixels and its mask (1 PS, 2 FH), both uint8 (H, W)."""
    right: dict[str, list[tuple[int, int]]] = {key: [] for key in (*KINDS.values(), *NAMES)}
    longest = []
    for frame, pixels, mask in frames:
        counts: dict[str, tuple[int, int]] = {}
        reach = 0.0
        for stroke in make(frame, pixels):
            painted = np.zeros_like(mask)
            paint(painted, stroke.line, thickness)
            inside = mask[painted == 1] == VALUES[stroke.structure]
            correct = int((inside == stroke.positive).sum())
            for key in (KINDS[stroke.structure, stroke.positive], stroke.name):
                before = counts.get(key, (0, 0))
                counts[key] = (before[0] + correct, before[1] + inside.size)
            if stroke.structure == "FH" and stroke.positive:
                reach = max(reach, stroke.line.length)
        for key, count in counts.items():
            right[key].append(count)
        longest.append(reach / head_diameter(mask))
    return Measured({key: _purity(counts) for key, counts in right.items() if counts}, np.array(longest))


def head_diameter(mask: np.ndarray) -> float:
    """Largest distance of two contour points of the head (its maximum Feret diameter), in pixels."""
    contour = largest_contour((mask == FETAL_HEAD).astype(np.uint8)).reshape(-1, 2)
    return float(np.linalg.norm(contour[:, None] - contour[None], axis=-1).max())


def ours(settings: StrokeSettings = DEFAULT) -> Maker:
    """The strokes of this project, clipped to the frame and the ultrasound sector."""
    return lambda frame, pixels: (
        strokes_for(frame.keypoints.coords, frame.width, frame.height, find_sector(pixels), settings).strokes
    )


def of_the_paper(both_sides: bool) -> Maker:
    """The paper's lines, ended by the frame alone; ``both_sides``: equations 5 and 6 as whole lines through FH1.

    PS1-PS2, FH1-H and the extensions begin and end in the landmarks. The paper gives the two convexity strokes neither
    distance nor ends: they are horizontal, as far above and below as ours, from x = x_PS2 to x = x_PS1.
    """

    def make(frame: Label, pixels: np.ndarray) -> list[Stroke]:
        ps1, ps2, fh1 = points = frame.keypoints.coords
        far = 2.0 * (frame.width + frame.height)
        touching = attrs.evolve(DEFAULT, convexity="horizontal", ps_inset=0.0, ps_gap=0.0, fh_gap=0.0)
        rays = head_directions(ps1, ps2, fh1)
        region = shapely.box(0, 0, frame.width - 1, frame.height - 1)
        strokes = []
        for line in lines(points, far, touching):
            ends = line.ends
            if line.name in ("ps_above", "ps_below"):
                ends = np.stack([(ps1[0], ends[0, 1]), (ps2[0], ends[1, 1])])
            elif line.name == "fh_level":
                ends = np.stack([fh1, (ps2[0], fh1[1])])
            elif line.name in rays:
                ends = np.stack([fh1 - both_sides * far * rays[line.name], fh1 + far * rays[line.name]])
            clipped = LineString(ends).intersection(region)
            if clipped.length > 0:
                strokes.append(Stroke(line.name, line.structure, line.positive, clipped))
        return strokes

    return make


def table(results: dict[str, Measured]) -> Iterator[str]:
    """Markdown lines: a row a kind, two columns a way of making strokes."""
    yield "| | " + " | ".join(f"{title}, all pixels | mean of frames" for title in results) + " |"
    yield "| --- |" + " ---: | ---: |" * len(results)
    for kind in KINDS.values():
        cells = [measured.purity[kind] for measured in results.values()]
        yield (f"| {kind} | " + " | ".join(f"{cell.pooled:.4f} | {cell.per_frame:.4f}" for cell in cells) + " |")


def by_name(measured: Measured) -> Iterator[str]:
    """Markdown lines: a row a stroke."""
    yield "| stroke | all pixels | mean of frames | frames |"
    yield "| --- | ---: | ---: | ---: |"
    for name in NAMES:
        if name in measured.purity:
            cell = measured.purity[name]
            yield f"| {name} | {cell.pooled:.4f} | {cell.per_frame:.4f} | {cell.frames} |"


def read(data: Path, labels: str) -> list[tuple[Label, np.ndarray, np.ndarray]]:
    """Frames of a label file with their pixels and the masks of ``data/masks``; AopPoseError where one is missing."""
    frames = []
    for frame in read_labels(resolve(labels, data), data):
        masked = Label(frame.name, frame.path, mask=Mask(find_picture(data / "masks", frame.name)))
        frames.append((frame, read_gray(frame.path), fitting_mask(masked)))
    return frames


def _purity(counts: list[tuple[int, int]]) -> Purity:
    correct, pixels = np.array(counts, float).T
    return Purity(float(correct.sum() / pixels.sum()), float((correct / pixels).mean()), len(counts))


def _report(arguments: argparse.Namespace) -> Iterator[str]:
    frames = read(arguments.data, arguments.labels)
    settings = attrs.evolve(DEFAULT, convexity=arguments.convexity)
    results = {
        title: measure(frames, make, arguments.thickness)
        for title, make in (
            ("ours", ours(settings)),
            ("paper, from FH1", of_the_paper(both_sides=False)),
            ("paper, whole lines", of_the_paper(both_sides=True)),
        )
    }
    title = f"{arguments.labels}, {len(frames)} frames, strokes {arguments.thickness:g} px thick"
    yield f"Share of stroke pixels on the right side: {title}."
    yield ""
    yield from table(results)
    longest = results["ours"].longest
    yield ""
    yield (
        f"Longest FH stroke, in head diameters (maximum Feret): median {np.median(longest):.3f}, least "
        f"{longest.min():.3f}, at least 0.2 in {(longest >= 0.2).sum()} of {len(longest)} frames."
    )
    if arguments.names:
        yield ""
        yield from by_name(results["ours"])


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/stroke_purity.py --data psfhs --names",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, masks/ and the label file")
    parser.add_argument("--labels", default="val.csv", help="label file, as given or below --data (default: val.csv)")
    parser.add_argument("--thickness", type=float, default=THICKNESS, help="pixels (default: %(default)g)")
    parser.add_argument("--convexity", choices=CONVEXITY, default=DEFAULT.convexity, help="default: %(default)s")
    parser.add_argument("--names", action="store_true", help="also a table with a row a stroke")
    try:
        for line in _report(parser.parse_args(arguments)):
            print(line)
    except AopPoseError as error:
        print(f"stroke_purity: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
