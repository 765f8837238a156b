"""The same frames read by several networks, side by side: truth green, prediction red.

Made-up frames (phantoms) by default, whose answers are exact and which may be shown to anyone. With --data frames of a
label file are drawn; such pictures belong to patients and are written below a folder named ``runs`` only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.draw.frame import NOTE, contact_sheet, write_overlay
from aop_pose.draw.marks import put_text, text_size
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import resolve
from aop_pose.formats.registry import read_labels
from aop_pose.geometry import angle_of_progression
from aop_pose.inference.predictor import Predictor
from aop_pose.io.images import read_frame
from aop_pose.phantom import make_phantom
from aop_pose.pipelines import load_weights

GREEN, RED, WHITE, GROUND = (70, 230, 70), (70, 70, 255), (255, 255, 255), (24, 24, 24)
TILE = 360
BAND = 26
SCALE = 512
SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""


@attrs.frozen(eq=False)
class Shown:
    """A frame to draw."""

    name: str
    pixels: np.ndarray
    truth: np.ndarray
    """(3, 2) pixels of the frame."""


def tile(frame: Shown, word: str, predictor: Predictor) -> np.ndarray:
    """The frame with both sets of points, uint8 BGR, and the errors written below."""
    side = max(frame.pixels.shape)
    factor = TILE / side
    picture = cv2.resize(frame.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    found = predictor.find([frame.pixels])[0].keypoints
    draw(picture, (frame.truth + 0.5) * factor - 0.5, GREEN)
    text = f"{word}: nothing found"
    if found is not None:
        draw(picture, (found.coords + 0.5) * factor - 0.5, RED)
        radial = np.linalg.norm(found.coords - frame.truth, axis=1).mean() * SCALE / side
        angle = float(angle_of_progression(*found.coords) - angle_of_progression(*frame.truth))
        text = f"{word}: {radial:.1f} px, {angle:+.1f}\N{DEGREE SIGN}"
    return np.vstack([picture, band(picture.shape[1], [(text, WHITE)])])


def draw(picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Lines and marks of the schema, black-edged, on a BGR picture; points (3, 2) in its pixels."""
    fixed = np.round(np.clip(points, -30000, 30000) * (1 << SHIFT)).astype(np.int32)
    for edge, ink in ((3, (0, 0, 0)), (1, colour)):
        for first, second in AOP.lines:
            pair = fixed[[AOP.index(first), AOP.index(second)]][:, None]
            cv2.polylines(picture, [pair], False, ink, edge, cv2.LINE_AA, SHIFT)
    for x, y in fixed.tolist():
        cv2.circle(picture, (x, y), 5 << SHIFT, (0, 0, 0), cv2.FILLED, cv2.LINE_AA, SHIFT)
        cv2.circle(picture, (x, y), 4 << SHIFT, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def band(width: int, texts: Sequence[tuple[str, tuple[int, int, int]]]) -> np.ndarray:
    """A dark strip with texts one after the other."""
    strip, left = np.full((BAND, width, 3), GROUND, np.uint8), 8
    for text, colour in texts:
        put_text(strip, text, left, BAND - 8, 0.5, colour)
        left += text_size(text, 0.5)[0] + 16
    return strip


def sheet(frames: Sequence[Shown], models: Sequence[tuple[str, Predictor]], what: str) -> np.ndarray:
    """A row a frame, a column a network."""
    tiles = [tile(frame, word, predictor) for frame in frames for word, predictor in models]
    whole = contact_sheet(tiles, columns=len(models), tile=TILE + BAND)
    words = [(what, WHITE), ("truth", GREEN), ("prediction", RED), (f"errors on the 512 scale; {NOTE}", WHITE)]
    return np.vstack([band(whole.shape[1], words), whole])


def phantoms(count: int, seed: int) -> Iterator[Shown]:
    for index in range(count):
        made = make_phantom(seed, index)
        yield Shown(made.frame.source, made.frame.pixels, made.keypoints.coords)


def real_frames(labels: Path, data: Path, count: int, names: Sequence[str]) -> Iterator[Shown]:
    """The named frames of a label file, else ``count`` of them evenly through it."""
    frames = {frame.name: frame for frame in read_labels(labels, data)}
    if unknown := [name for name in names if name not in frames]:
        raise UsageError(f"--frames: expected frames of {labels}, found {unknown[0]}")
    every = list(frames)
    chosen = names or [every[i] for i in np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)]
    for name in chosen:
        yield Shown(name, read_frame(frames[name].path).pixels, frames[name].keypoints.coords)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/compare_picture.py A=runs/a/pose B=runs/b/pose C=runs/c/pose --out abc.png",
    )
    parser.add_argument("models", nargs="+", metavar="NAME=W", help="artefact, run folder or checkpoint, and its name")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.add_argument("--count", type=int, default=3, help="frames to draw")
    parser.add_argument("--seed", type=int, default=7, help="of the phantoms")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of real frames, in place of phantoms")
    parser.add_argument("--labels", default="val.csv", metavar="FILE", help="label file of the real frames")
    parser.add_argument("--frames", nargs="+", default=[], metavar="NAME", help="which of them")
    given = parser.parse_args()
    try:
        if bad := [model for model in given.models if "=" not in model]:
            raise UsageError(f"models: expected NAME=WEIGHTS, found {bad[0]!r}")
        if given.data is not None and "runs" not in given.out.resolve().parts:
            raise UsageError(f"--out: patients' frames are written below a folder named runs only, found {given.out}")
        models = [
            (word, load_weights(path, "aop")) for word, _, path in (model.partition("=") for model in given.models)
        ]
        if given.data is None:
            frames, what = list(phantoms(given.count, given.seed)), "made-up frames (phantoms)"
        else:
            labels = resolve(given.labels, given.data)
            frames, what = list(real_frames(labels, given.data, given.count, given.frames)), labels.name
        write_overlay(given.out, sheet(frames, models, what))
    except AopPoseError as error:
        print(f"compare_picture: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
