"""Strokes become pixels."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np
from shapely import LineString

from aop_pose.scribbles.strokes import Stroke

THICKNESS = 2.0
"""Pixels of a 256-pixel frame: one pixel of the 128-pixel grid that the prompted networks see."""


def masks(
    strokes: Iterable[Stroke],
    structure: str,
    height: int,
    width: int,
    thickness: float = THICKNESS,
    foreign: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and background pixels of a structure (``PS`` or ``FH``), two uint8 (height, width) of 0 and 1.

    ``foreign`` adds the foreground of the other structure to the background. A pixel that both claim is foreground.
    """
    positive, negative = (np.zeros((height, width), np.uint8) for _ in range(2))
    for stroke in strokes:
        if stroke.structure == structure:
            paint(positive if stroke.positive else negative, stroke.line, thickness)
        elif foreign and stroke.positive:
            paint(negative, stroke.line, thickness)
    negative[positive == 1] = 0
    return positive, negative


def paint(mask: np.ndarray, line: LineString, thickness: float = THICKNESS) -> None:
    """Set the pixels of ``mask``, (H, W), whose centres lie within half a thickness of a two-point line, to 1.

    By distance rather than by OpenCV's line, whose pixels are not those of the mirrored line. A thickness of at least 1
    leaves no holes.
    """
    (ax, ay), (bx, by) = line.coords
    # The small excess makes centres at exactly half a thickness count on both sides alike.
    reach = thickness / 2 + 1e-6
    height, width = mask.shape
    top, bottom = max(int(np.floor(min(ay, by) - reach)), 0), min(int(np.ceil(max(ay, by) + reach)) + 1, height)
    left, right = max(int(np.floor(min(ax, bx) - reach)), 0), min(int(np.ceil(max(ax, bx) + reach)) + 1, width)
    y, x = np.mgrid[top:bottom, left:right]
    dx, dy = bx - ax, by - ay
    share = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    near = np.hypot(x - ax - share * dx, y - ay - share * dy) <= reach
    mask[top:bottom, left:right][near] = 1


def resized(strokes: Iterable[Stroke], scale_x: float, scale_y: float) -> list[Stroke]:
    """Strokes of the same picture resized by these factors; edges stay edges, so centres move by half a pixel."""
    scale = np.array([scale_x, scale_y])
    moved = []
    for stroke in strokes:
        ends = (np.asarray(stroke.line.coords) + 0.5) * scale - 0.5
        moved.append(attrs.evolve(stroke, line=LineString(ends)))
    return moved
