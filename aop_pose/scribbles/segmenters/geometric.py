"""``geometry``: no picture at all, only the landmarks. The floor that every other segmenter must beat.

The shapes that the landmarks suggest are also the start of ``classical``.
"""

from __future__ import annotations

import attrs
import numpy as np

NAME = "geometry"

# From the masks of the 300 labelled PSFHS frames; tools/box_table.py measures on other frames.
WIDTH_OF_SYMPHYSIS = 0.5
"""Short over long axis of the symphysis: the median of its area over that of the circle on PS1-PS2."""
HEAD_FROM_FH1 = (-0.396, -0.107, 0.041, 0.453)
"""Left, top, right, bottom of the head's box as seen from FH1, in longer sides of the frame: medians."""
HEAD_OF_SYMPHYSIS = 2.0
"""Diameter of the head over the distance PS1-PS2: the best of 1.6, 1.8, 2.0 and 2.2 for a disc at FH1."""


@attrs.frozen
class Geometric:
    """See :class:`interface.Segmenter`: 1 inside an ellipse on PS1-PS2 or in a head's median box, 0 outside."""

    origin: str = "rules, no picture; medians of 300 labelled PSFHS masks"
    name: str = NAME

    def __call__(
        self,
        picture: np.ndarray,
        positive: np.ndarray,
        negative: np.ndarray,
        *,
        structure: str,
        points: np.ndarray,
    ) -> np.ndarray:
        if structure == "PS":
            level = symphysis_level(points, *picture.shape)
        else:
            level = _median_head_level(points, *picture.shape)
        return (level <= 1).astype(np.float32)


def symphysis_level(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width): 0 in the middle of the ellipse on PS1-PS2, 1 on it, growing outside."""
    ps1, ps2, _ = points
    along = (ps2 - ps1) / 2
    return ellipse_level((ps1 + ps2) / 2, along, WIDTH_OF_SYMPHYSIS * _turned(along), height, width)


def head_disc_level(points: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """float64 of the shape of ``positive``: 0 in the middle of a disc that touches PS1-FH1 in FH1, 1 on its edge.

    The disc lies on the side of the strokes ``positive`` (H, W) inside the head.
    """
    ps1, ps2, fh1 = points
    tangent = (fh1 - ps1) / np.hypot(*(fh1 - ps1))
    inward = _turned(tangent) * side_of_strokes(points, positive)
    radius = HEAD_OF_SYMPHYSIS * float(np.hypot(*(ps2 - ps1))) / 2
    return ellipse_level(fh1 + radius * inward, radius * tangent, radius * inward, *positive.shape)


def side_of_strokes(points: np.ndarray, positive: np.ndarray) -> float:
    """1 where the strokes lie to the right of the way PS1 -> FH1 (as seen, y down), -1 where to the left."""
    ps1, _, fh1 = points
    across = _turned(fh1 - ps1)
    middle = np.argwhere(positive)[:, ::-1].mean(axis=0)
    return 1.0 if float((middle - ps1) @ across) >= 0 else -1.0


def ellipse_level(centre: np.ndarray, along: np.ndarray, across: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 (height, width): distance from the centre in half axes; the two half axes stand at right angles."""
    y, x = np.mgrid[:height, :width]
    dx, dy = x - centre[0], y - centre[1]
    parts = ((dx * axis[0] + dy * axis[1]) / max(float(axis @ axis), 1e-9) for axis in (along, across))
    return np.hypot(*parts)


def _median_head_level(points: np.ndarray, height: int, width: int) -> np.ndarray:
    ps1, ps2, fh1 = points
    left, top, right, bottom = np.array(HEAD_FROM_FH1) * max(height, width)
    # In a mirrored frame PS1 is left of PS2 and the head lies right of FH1.
    side = -1.0 if ps1[0] < ps2[0] else 1.0
    centre = fh1 + np.array([side * (left + right) / 2, (top + bottom) / 2])
    return ellipse_level(centre, np.array([(right - left) / 2, 0]), np.array([0, (bottom - top) / 2]), height, width)


def _turned(vector: np.ndarray) -> np.ndarray:
    """By a quarter, from right to down."""
    return np.array([-vector[1], vector[0]])
