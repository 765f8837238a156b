"""One more look at a frame: the same picture, smaller and elsewhere in the network's input."""

from __future__ import annotations

import cv2
import numpy as np

MARGINS = (0.02, 0.10, 0.10, 0.02)
"""Black added above, below, to the left and to the right, as shares of the longer side.

The picture comes out a ninth smaller and moved: what is really there is found again in the same place.
"""


def widen(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gray (H, W) uint8 with its margins, and the place (2,) of its old origin: x, y in pixels."""
    top, bottom, left, right = (round(share * max(pixels.shape)) for share in MARGINS)
    return cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT), np.array([left, top], np.float64)
