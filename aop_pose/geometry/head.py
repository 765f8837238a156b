"""Fetal head biometry: the axes of an ellipse, their lengths, the circumference, and what four points can mean."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

_MISSING = np.full(2, np.nan)
# A conic has five unknowns.
_FEWEST_ELLIPSE_POINTS = 5
# Narrower than this part of its length, an outline is a straight line to OpenCV's single precision.
_FLAT = 1e-6
LEAST_CEPHALIC_INDEX = 0.5
"""BPD / OFD. Heads lie between about 0.65 and 0.98 (HC18: 0.66 to 0.96): below this, one axis is not a head's."""
LEAST_AXES_ANGLE = 60.0
"""Degrees between the lines of OFD and BPD, which are at right angles on an ellipse."""
LEAST_LONGER = 1.05
"""Long over short axis of an ellipse; below it neither is the longest that one would recognise."""
MOST_OFF_ELLIPSE = 0.1
"""Share by which the area of an outline may differ from that of the ellipse fitted to it."""
_CROSSING = 0.25
"""The axes of an ellipse halve each other: they must at least cross in the middle half of each."""


def point_distance(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Distance between two points, in their unit: OFD or BPD from the ends of the axis.

    Points of shape (..., axes), 2 or 3 of them, result of shape (...); NaN where a point is missing.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    length = np.hypot.reduce(difference, axis=-1)
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


def head_direction(ps1: ArrayLike, ps2: ArrayLike, contour: ArrayLike) -> float:
    """Angle in degrees between the longest axis of the fetal head and the long axis of the pubic symphysis.

    The axis of the symphysis is followed from PS2 to PS1, that of the head (``ellipse_axes``) to the same side, so that
    the angle lies between -90 and 90; it is positive where the head's axis turns away from the side of the symphysis'
    line on which the head lies ("head up"). So that a mirrored or turned picture gives the same.

    NaN where no ellipse fits: where the axes of the ellipse differ by less than ``LEAST_LONGER``, so that none is the
    longest, or the outline is not one (their areas differ by more than ``MOST_OFF_ELLIPSE``); and where a point is
    missing or both are one.
    """
    start, end = np.asarray(ps2, np.float64).reshape(2), np.asarray(ps1, np.float64).reshape(2)
    ofd1, ofd2, bpd1, bpd2 = ellipse_axes(contour)
    along, long, short = end - start, ofd2 - ofd1, bpd2 - bpd1
    if not (np.isfinite(along).all() and np.isfinite(long).all() and along.any()):
        return float("nan")
    area = np.pi / 4 * np.hypot(*long) * np.hypot(*short)
    drawn = abs(cv2.contourArea(np.asarray(contour, np.float32).reshape(-1, 1, 2)))
    longer = np.hypot(*long) / np.hypot(*short)
    if longer < LEAST_LONGER or not abs(drawn / area - 1) <= MOST_OFF_ELLIPSE:
        return float("nan")
    long = long if along @ long >= 0 else -long
    head_side = np.sign(_cross(along, (ofd1 + ofd2) / 2 - end)) or 1.0
    return float(-head_side * np.degrees(np.arctan2(_cross(along, long), along @ long)))


def _is_flat(points: np.ndarray) -> bool:
    """True where all points lie on one straight line."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return bool(spread[1] <= _FLAT * spread[0])


def regularise_axes(points: ArrayLike) -> np.ndarray:
    """The axes of an ellipse nearest to four points: one centre, at right angles.

    ``points`` has shape (..., 4, 2): OFD1, OFD2, BPD1, BPD2 in pixels (x right, y down) or millimetres; so has
    the result, ends in the same order. Nearest is by the sum of the squared distances of the four points, of
    which this is the exact minimum: the centre is their mean; with the half axes a of OFD and b of BPD, b'
    being b turned back by 90 degrees, the direction of OFD is the first principal axis of {a, b'}, and each
    half axis is projected onto its direction. No axis gets longer. NaN for all four where one is missing, and
    where no direction is nearest (a and b parallel and equally long).
    """
    points = np.asarray(points, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        centre = points.mean(axis=-2, keepdims=True)
        ofd, bpd = ((points[..., end + 1, :] - points[..., end, :]) / 2 for end in (0, 2))
        turned = np.stack([bpd[..., 1], -bpd[..., 0]], axis=-1)
        # Twice the angle of a principal axis: sum of the squares of the vectors as complex numbers.
        cosine = (ofd[..., 0] ** 2 - ofd[..., 1] ** 2) + (turned[..., 0] ** 2 - turned[..., 1] ** 2)
        sine = 2 * (ofd.prod(axis=-1) + turned.prod(axis=-1))
        undefined = ~np.isfinite(points).all(axis=(-2, -1)) | ((cosine == 0) & (sine == 0))
        angle = np.arctan2(sine, cosine) / 2
        along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        ofd, turned = (along * (half * along).sum(axis=-1, keepdims=True) for half in (ofd, turned))
        bpd = np.stack([-turned[..., 1], turned[..., 0]], axis=-1)
        fitted = centre + np.stack([-ofd, ofd, -bpd, bpd], axis=-2)
    return np.where(undefined[..., None, None], np.nan, fitted)


def implausible_axes(points: ArrayLike) -> str:
    """Why four points are not the axes of one head, empty where they may be or where one is missing.

    ``points`` (4, 2) are OFD1, OFD2, BPD1, BPD2 on square pixels or in millimetres. The axes must enclose at
    least ``LEAST_AXES_ANGLE`` degrees, cross in the middle half of each, and BPD must be at least
    ``LEAST_CEPHALIC_INDEX`` of OFD and not longer than it. Longer, the names of the axes were mistaken or one
    of them is wrong: they are not exchanged here, because nothing says which.
    """
    points = np.asarray(points, np.float64)
    with np.errstate(all="ignore"):
        ofd, bpd, between = points[1] - points[0], points[3] - points[2], points[2] - points[0]
        lengths = np.hypot(ofd[0], ofd[1]), np.hypot(bpd[0], bpd[1])
        ratio, crossed = lengths[1] / lengths[0], _cross(ofd, bpd)
        angle = np.degrees(np.arctan2(abs(crossed), abs(ofd @ bpd)))
        places = np.array([_cross(between, bpd), _cross(between, ofd)]) / crossed
    if not (np.isfinite([ratio, crossed]).all() and ratio > 0):
        return ""
    if angle < LEAST_AXES_ANGLE:
        return f"OFD and BPD enclose {angle:.0f} degrees, expected at least {LEAST_AXES_ANGLE:.0f}"
    if not (np.abs(places - 0.5) <= 0.5 - _CROSSING).all():
        return "OFD and BPD do not cross in the middle half of each"
    if ratio > 1:
        return f"BPD is longer than OFD ({ratio:.3f} times)"
    if ratio < LEAST_CEPHALIC_INDEX:
        return f"BPD is {ratio:.3f} of OFD, expected at least {LEAST_CEPHALIC_INDEX:g}"
    return ""


def _cross(a: np.ndarray, b: np.ndarray) -> np.float64:
    return a[0] * b[1] - a[1] * b[0]
