"""Strokes become pixels."""

from __future__ import annotations

from collections.abc import Iterable

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
    rows, columns = (_near(*pair, reach, size) for pair, size in zip(((ay, by), (ax, bx)), mask.shape, strict=True))
    y, x = np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
    dx, dy = bx - ax, by - ay
    share = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    near = np.hypot(x - ax - share * dx, y - ay - share * dy) <= reach
    mask[rows, columns][near] = 1


def _near(a: float, b: float, reach: float, size: int) -> slice:
    """The pixels of an axis that can lie within reach of a line from a to b; none where it is off the picture."""
    first, last = np.floor(min(a, b) - reach), np.ceil(max(a, b) + reach)
    return slice(int(np.clip(first, 0, size)), int(np.clip(last + 1, 0, size)))
