"""Fetal head biometry: the axes of an ellipse, their lengths and the circumference."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

_MISSING = np.full(2, np.nan)
# A conic has five unknowns.
_FEWEST_ELLIPSE_POINTS = 5
# Narrower than this part of its length, an outline is a straight line to OpenCV's single precision.
_FLAT = 1e-6


def point_distance(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Distance between two points, in their unit: OFD or BPD from the ends of the axis.

    Points of shape (..., 2), result of shape (...); NaN where a point is missing.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    length = np.hypot(difference[..., 0], difference[..., 1])
    return np.where(np.isfinite(difference).all(axis=-1), length, np.nan)[()]


def head_circumference(bpd: ArrayLike, ofd: ArrayLike) -> np.ndarray:
    """Head circumference pi (BPD + OFD) / 2, the usual approximation, in the unit of BPD and OFD."""
    return np.pi * (np.asarray(bpd, np.float64) + np.asarray(ofd, np.float64)) / 2


def ramanujan_perimeter(bpd: ArrayLike, ofd: ArrayLike) -> np.ndarray:
    """Perimeter of the ellipse with the axes BPD and OFD (full lengths), in their unit; NaN where both are 0.

    Ramanujan's second approximation ("Modular equations and approximations to pi", 1914), whose relative
    error is below 1e-9 for an axis ratio above 0.5.
    """
    bpd, ofd = np.asarray(bpd, np.float64), np.asarray(ofd, np.float64)
    with np.errstate(invalid="ignore"):
        h = ((ofd - bpd) / (ofd + bpd)) ** 2
    return np.pi * (ofd + bpd) / 2 * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))


def ellipse_axes(contour: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ends of the axes of the ellipse fitted to an outline: OFD1, OFD2 (long axis), BPD1, BPD2 (short axis).

    ``contour`` has shape (points, 2) or OpenCV's (points, 1, 2); the fit is OpenCV's least-squares
    ``fitEllipse``. OFD1 is the end with the smaller x and BPD1 the end with the smaller y; an upright OFD
    starts at its upper end and a level BPD at its left end. Four points of NaN where there are fewer than
    five distinct points, where all lie on a line, where one is not finite, or where the fit has no finite
    axes.
    """
    points = np.unique(np.asarray(contour, np.float64).reshape(-1, 2), axis=0)
    if len(points) < _FEWEST_ELLIPSE_POINTS or not np.isfinite(points).all() or _is_flat(points):
        return _MISSING.copy(), _MISSING.copy(), _MISSING.copy(), _MISSING.copy()
    # Fitted about the mean, so that single precision is spent on the shape and not on its place.
    middle = points.mean(axis=0)
    centre, lengths, tilt = cv2.fitEllipse((points - middle).astype(np.float32))
    angles = np.radians([tilt, tilt + 90.0])
    half_axes = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * np.asarray(lengths)[:, None] / 2
    if not np.isfinite(half_axes).all() or not np.isfinite(centre).all() or min(lengths) <= 0:
        return _MISSING.copy(), _MISSING.copy(), _MISSING.copy(), _MISSING.copy()
    ofd, bpd = half_axes[np.argsort(lengths, kind="stable")[::-1]]
    ofd = ofd if tuple(ofd) > (0.0, 0.0) else -ofd
    bpd = bpd if tuple(bpd[::-1]) > (0.0, 0.0) else -bpd
    centre = middle + centre
    return centre - ofd, centre + ofd, centre - bpd, centre + bpd


def _is_flat(points: np.ndarray) -> bool:
    """True where all points lie on one straight line."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] <= _FLAT * spread[0])
