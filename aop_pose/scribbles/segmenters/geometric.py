"""``geometry``: no picture at all, only the landmarks. The floor that every other segmenter must beat."""

from __future__ import annotations

import attrs
import numpy as np

NAME = "geometry"

# From the masks of the 300 labelled PSFHS frames (tools/box_table.py measures on other frames).
WIDTH_OF_SYMPHYSIS = 0.5
"""Short over long axis of the symphysis: the median of its area over that of the circle on PS1-PS2."""
HEAD_FROM_FH1 = (-0.396, -0.107, 0.041, 0.453)
"""Left, top, right, bottom of the head's box as seen from FH1, in longer sides of the frame: medians."""


@attrs.frozen
class Geometric:
    """See :class:`interface.Segmenter`: 1 inside an ellipse, 0 outside."""

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
        height, width = picture.shape
        ps1, ps2, fh1 = points
        if structure == "PS":
            along = (ps2 - ps1) / 2
            across = WIDTH_OF_SYMPHYSIS * np.array([-along[1], along[0]])
            return _ellipse((ps1 + ps2) / 2, along, across, height, width)
        left, top, right, bottom = np.array(HEAD_FROM_FH1) * max(height, width)
        # In a mirrored frame PS1 is left of PS2 and the head lies right of FH1.
        side = -1.0 if ps1[0] < ps2[0] else 1.0
        centre = fh1 + [side * (left + right) / 2, (top + bottom) / 2]
        half = np.array([(right - left) / 2, 0.0]), np.array([0.0, (bottom - top) / 2])
        return _ellipse(centre, *half, height, width)


def _ellipse(centre: np.ndarray, along: np.ndarray, across: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 (height, width): 1 within the ellipse of two half axes at right angles."""
    y, x = np.mgrid[:height, :width]
    dx, dy = x - centre[0], y - centre[1]
    level = sum(((dx * axis[0] + dy * axis[1]) / max(float(axis @ axis), 1e-9)) ** 2 for axis in (along, across))
    return (level <= 1).astype(np.float32)
