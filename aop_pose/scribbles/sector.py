"""The part of a frame that is ultrasound: the fan or trapezoid beside scales, marks and writing."""

from __future__ import annotations

import cv2
import numpy as np
import shapely
from shapely import Polygon

# Gray values up to this are the empty surround; JPEG rings a few levels about 0.
_DARK = 6
# Least share of the frame that a fan takes; less is a scrap of picture or writing.
_LEAST_AREA = 0.15
# The hull of a fan holds its own bright part (shadows take some) and what surrounds it is nearly black.
_LEAST_SOLIDITY = 0.55
_LARGEST_BRIGHT_OUTSIDE = 0.1
# Gaps of speckle that are closed, and widths that are no part of the sector, as shares of the frame's longer side.
_GAP, _NARROW = 1 / 64, 1 / 24
# From this share of the frame on there is no surround to be told from the fan.
_WHOLE = 0.98


def find_sector(pixels: np.ndarray) -> Polygon | None:
    """Convex outline of the ultrasound sector of uint8 (H, W), in pixels; None where none can be told.

    The largest bright region after closing gaps of speckle, its convex hull. None where the picture fills its frame,
    where the region is small or far from convex, or where much is bright outside it.
    """
    height, width = pixels.shape
    bright = (pixels > _DARK).astype(np.uint8, order="C")
    closed = cv2.morphologyEx(cv2.medianBlur(bright, 3), cv2.MORPH_CLOSE, _disc(pixels.shape, _GAP))
    # Scales and writing that the closing joined to the sector are narrow, so they fall off again.
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, _disc(pixels.shape, _NARROW))
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    largest = max(contours, key=cv2.contourArea)
    hull = cv2.convexHull(largest)
    area, frame = cv2.contourArea(hull), float(height * width)
    if not _LEAST_AREA * frame <= area <= _WHOLE * frame:
        return None
    if cv2.contourArea(largest) < _LEAST_SOLIDITY * area:
        return None
    inside = cv2.fillConvexPoly(np.zeros_like(bright), hull, 1)
    outside = inside == 0
    if bright[outside].sum() > _LARGEST_BRIGHT_OUTSIDE * bright.sum():
        return None
    return shapely.Polygon(hull[:, 0].astype(np.float64))


def _disc(shape: tuple[int, ...], share: float) -> np.ndarray:
    size = max(3, round(max(shape) * share)) | 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
