"""Numbers that say whether a frame looks like a scan, computed the same way on phantoms and on real frames.

They need nothing but the pixels: no device, no dynamic range, no outline is known for a real frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

ASSUMED_DYNAMIC_RANGE_DB = 60.0
"""Gray values are read back as an envelope with this range: unknown for real frames, so the same for all."""
LIT = 4
"""A gray value above this is an echo; below is black, noise of a compressed file included."""
PATCH = 10
"""Side of the patches, in pixels, in which speckle is taken as homogeneous."""


def frame_statistics(pixels: np.ndarray) -> dict[str, float]:
    """Sector geometry, gray histogram and speckle of one uint8 frame (H, W); NaN where there is no value.

    opening_deg: angle between the two straight sides. coverage: share of the frame inside the sector's hull.
    dark_share: share of the sector at or below gray 10. gray_p50, gray_p90, gray_p99: percentiles in the
    sector. speckle_snr: median over flat patches of mean over spread of the envelope. grain_x, grain_y:
    correlation of neighbouring pixels in these patches.
    """
    hull = sector_hull(pixels)
    sector = np.zeros(pixels.shape, np.uint8)
    cv2.fillConvexPoly(sector, hull, 1)
    inside = pixels[sector > 0]
    p50, p90, p99 = np.percentile(inside, (50, 90, 99))
    snr, grain_x, grain_y = _speckle(pixels, sector)
    return {
        "opening_deg": _opening(hull, pixels.shape[1]),
        "coverage": float(sector.mean()),
        "dark_share": float((inside <= 10).mean()),
        "gray_p50": float(p50),
        "gray_p90": float(p90),
        "gray_p99": float(p99),
        "speckle_snr": snr,
        "grain_x": grain_x,
        "grain_y": grain_y,
    }


def sector_hull(pixels: np.ndarray) -> np.ndarray:
    """Convex hull of the largest lit region, int32 (n, 1, 2): the fan without marks around it."""
    lit = (np.asarray(cv2.medianBlur(pixels, 5)) > LIT).astype(np.uint8)
    opened = cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    if count < 2:
        return np.zeros((1, 1, 2), np.int32)
    # Parts cut off by a shadow belong to the fan; marks are small.
    area = stats[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(area >= min(0.01 * pixels.size, area.max()))
    points = cv2.findNonZero(np.isin(labels, large).astype(np.uint8))
    return cv2.convexHull(points)


def ranges(table: Sequence[dict[str, float]], low: float = 2.5, high: float = 97.5) -> dict[str, tuple[float, ...]]:
    """Per statistic: low percentile, median, high percentile over frames, frames without a value left out."""
    names = list(table[0])
    columns = {name: np.array([row[name] for row in table]) for name in names}
    return {name: tuple(float(v) for v in np.nanpercentile(c, (low, 50, high))) for name, c in columns.items()}


def _opening(hull: np.ndarray, width: int) -> float:
    """Angle between the directions in which most of the hull's left and right sides run."""
    points = hull[:, 0].astype(float)
    edge = np.roll(points, -1, axis=0) - points
    length = np.hypot(*edge.T)
    # Angle of each edge from the vertical; sides lean outwards by 10 to 60 degrees.
    lean = np.degrees(np.arctan2(np.abs(edge[:, 0]), np.abs(edge[:, 1]) + 1e-9))
    middle = (points + edge / 2)[:, 0] - width / 2
    candidates = np.arange(10.0, 60.0, 0.5)
    sides = []
    for side in (-1, 1):
        # A left side runs up to the right, a right side down to the right.
        outward = (np.sign(middle) == side) & (np.sign(edge[:, 0] * edge[:, 1]) == side)
        if not outward.any():
            return float("nan")
        votes = np.exp(-np.square((candidates[:, None] - lean[outward]) / 1.5)) @ length[outward]
        sides.append(float(candidates[np.argmax(votes)]))
    return sum(sides)


def _speckle(pixels: np.ndarray, sector: np.ndarray) -> tuple[float, float, float]:
    """Mean over spread, correlation of horizontal and of vertical neighbours: medians over flat patches."""
    margin = cv2.erode(sector, np.ones((9, 9), np.uint8), borderValue=0)
    rows, columns = (length // PATCH for length in pixels.shape)

    def patches(picture: np.ndarray) -> np.ndarray:
        cut = picture[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
        return cut.swapaxes(1, 2).reshape(-1, PATCH, PATCH)

    gray, inside = patches(pixels.astype(np.float64)), patches(margin).all(axis=(1, 2))
    mean = gray.mean(axis=(1, 2))
    # Neither clipped: a patch near black or white has lost part of its speckle.
    usable = inside & (mean > 25) & (mean < 190) & (gray.min(axis=(1, 2)) > 0) & (gray.max(axis=(1, 2)) < 255)
    if usable.sum() < 8:
        return float("nan"), float("nan"), float("nan")
    amplitude = 10 ** ((gray[usable] / 255 - 1) * ASSUMED_DYNAMIC_RANGE_DB / 20)
    amplitude /= amplitude.mean(axis=(1, 2), keepdims=True)
    place = np.arange(PATCH) - (PATCH - 1) / 2
    power = np.square(place).sum() * PATCH
    slope_x = (amplitude * place).sum(axis=(1, 2)) / power
    slope_y = (amplitude * place[:, None]).sum(axis=(1, 2)) / power
    # A patch across an interface is not homogeneous: keep the half with the least slope, take the slope out.
    slope = np.hypot(slope_x, slope_y)
    flat = slope <= np.median(slope)
    residual = amplitude[flat] - 1
    residual = residual - slope_x[flat, None, None] * place - slope_y[flat, None, None] * place[:, None]
    variance = np.square(residual).mean(axis=(1, 2))
    beside = (residual[:, :, 1:] * residual[:, :, :-1]).mean(axis=(1, 2)) / variance
    below = (residual[:, 1:] * residual[:, :-1]).mean(axis=(1, 2)) / variance
    return float(np.median(1 / np.sqrt(variance))), float(np.median(beside)), float(np.median(below))
