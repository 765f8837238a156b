"""Fit a picture into a network's input without stretching it, and take points there and back.

A resize aligns the outer edges of the pictures, so a point whose coordinates are pixel centres moves by half a
pixel as well: ``x' = (x + 0.5) * scale - 0.5 + pad``. Both directions are exact inverses of each other.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

PAD_VALUE = 114


@attrs.frozen
class Letterbox:
    """The fit of one picture: scale along x and y (they differ by rounding only) and padding before it."""

    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) from pixels of the frame to pixels of the input."""
        scale, pad = np.array([self.scale_x, self.scale_y]), np.array([self.pad_x, self.pad_y])
        return (np.asarray(points, dtype=np.float64) + 0.5) * scale - 0.5 + pad

    def backward(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) from pixels of the input to pixels of the frame."""
        scale, pad = np.array([self.scale_x, self.scale_y]), np.array([self.pad_x, self.pad_y])
        return (np.asarray(points, dtype=np.float64) - pad + 0.5) / scale - 0.5


def fit(pixels: np.ndarray, size: int) -> tuple[np.ndarray, Letterbox]:
    """Gray picture (H, W) uint8 -> (size, size) uint8, centred on gray 114, with the mapping of its points.

    Shrinking averages over areas (no aliasing of speckle); enlarging is bilinear.
    """
    height, width = pixels.shape
    scale = min(size / height, size / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    pad_x, pad_y = (size - new_width) // 2, (size - new_height) // 2
    box = Letterbox(new_width / width, new_height / height, pad_x, pad_y)
    if (new_height, new_width) != (height, width):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (new_width, new_height), interpolation=method)
    if (new_height, new_width) == (size, size):
        return np.ascontiguousarray(pixels), box
    canvas = np.full((size, size), PAD_VALUE, dtype=np.uint8)
    canvas[pad_y : pad_y + new_height, pad_x : pad_x + new_width] = pixels
    return canvas, box


def on_black(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gray (H, W) uint8 made square with black, and the place (2,) of its old origin in it: x, y in pixels.

    A fan is cut to its edges, and frames that networks were trained on show it below the upper edge of a black square:
    so black is added at both sides, or below.
    """
    height, width = pixels.shape
    left, below = max(0, height - width) // 2, max(0, width - height)
    right = max(0, height - width) - left
    square = cv2.copyMakeBorder(pixels, 0, below, left, right, cv2.BORDER_CONSTANT)
    return square, np.array([left, 0], np.float64)
