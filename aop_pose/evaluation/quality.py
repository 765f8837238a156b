"""How much a picture shows, as one stated number."""

from __future__ import annotations

import cv2
import numpy as np

QUALITY_WORDS = "contrast: standard deviation of the gray values (0-255) of all pixels brighter than 8"
_BLACK = 8
"""Gray values up to this are the background around the sector, also after JPEG compression."""


def contrast(pixels: np.ndarray) -> float:
    """The score in ``QUALITY_WORDS`` of uint8 (H, W); 0 for a picture without a bright pixel."""
    shown = (pixels > _BLACK).astype(np.uint8)
    # Not ndarray.std, which takes eight bytes a pixel.
    return float(cv2.meanStdDev(pixels, mask=shown)[1][0, 0])
