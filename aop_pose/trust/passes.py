"""Two passes over one picture: the second sees it smaller and elsewhere in the network's input."""

from __future__ import annotations

import attrs
import cv2
import numpy as np

from aop_pose.core.keypoints import Prediction

MARGINS = (0.02, 0.10, 0.10, 0.02)
"""Black added above, below, to the left and to the right, as shares of the longer side.

The picture comes out a ninth smaller and moved: what is really there is found again in the same place.
"""


@attrs.frozen(eq=False)
class Passes:
    """Both predictions on one picture, in its pixels."""

    first: Prediction
    second: Prediction | None
    """None where only one was asked for, or where either found nothing."""
    side: float
    """The longer side of the picture in pixels."""

    @property
    def points(self) -> np.ndarray:
        """(points, 2) of the first pass in shares of the longer side; ValueError where nothing was found."""
        return self.first.found.coords / self.side

    @property
    def points_again(self) -> np.ndarray | None:
        """(points, 2) of the second pass in shares of the longer side."""
        return None if self.second is None else self.second.found.coords / self.side


def widen(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gray (H, W) uint8 with its margins, and the place (2,) of its old origin: x, y in pixels."""
    top, bottom, left, right = (round(share * max(pixels.shape)) for share in MARGINS)
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT), np.array([left, top], np.float64)
