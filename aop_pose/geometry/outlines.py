"""Landmarks and distances from the outlines of symphysis and head, by the definition of the IUGC challenge.

An outline is the ordered run of points round a structure, shape (points, 2) or OpenCV's (points, 1, 2); the
last point joins the first.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike

SYMPHYSIS = 1
"""Value of the pubic symphysis in a mask."""
FETAL_HEAD = 2
"""Value of the fetal head in a mask."""

_MISSING = np.full(2, np.nan)
# No picture reaches this far; below it, no product of two coordinates overflows.
_BEYOND = 1e9
# Directions to two whole pixels less than 10^5 pixels away differ by more than this unless they are equal.
_SAME_TURN_RAD = 1e-10
# Squared distances between whole pixels are exact; this absorbs the rounding of others.
_SAME_SQUARE = 1e-12
_NO_LENGTH = 1e-9


def largest_contour(structure: ArrayLike) -> np.ndarray:
    """Outer outline of the largest region of a mask, shape (points, 2), columns x, y.

    ``structure`` has shape (H, W) and is non-zero inside; where it is zero everywhere there are no points.
    Every border pixel is a point, holes are ignored (OpenCV ``RETR_EXTERNAL``, ``CHAIN_APPROX_NONE``).
    Largest is by the area that the outline encloses, then by the number of its points; the order of the
    points is OpenCV's.
    """
    inside = (np.asarray(structure) != 0).view(np.uint8)
    if inside.size == 0:
        return np.empty((0, 2))
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.empty((0, 2))
    largest = contours[0]
    if len(contours) > 1:
        largest = max(contours, key=lambda contour: (cv2.contourArea(contour), len(contour)))
    return _points(largest)


_EVENLY = 256
_SMOOTH = 4.0
"""Of ``_EVENLY`` places: over so many an outline is smoothed before its direction is told."""


def outline_normals(contour: ArrayLike, start: ArrayLike, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (count, 2) at equal steps along a smoothed outline, and the outward unit normal of each.

    The first is the one nearest to ``start``; from there they go round clockwise as seen in a picture. NaN for an
    outline that is empty.
    """
    points = _points(contour)
    if len(points) == 0:
        return np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    points = np.concatenate([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    steps = np.linspace(0, along[-1], _EVENLY, endpoint=False)
    reach = round(3 * _SMOOTH)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SMOOTH) ** 2)
    places = np.stack([
        np.convolve(np.pad(np.interp(steps, along, column), reach, mode="wrap"), kernel / kernel.sum(), "valid")
        for column in points.T
    ], axis=1)  # fmt: skip
    x, y = places.T
    if x @ np.roll(y, -1) < y @ np.roll(x, -1):
        places = places[::-1]
    tangents = np.roll(places, -1, axis=0) - np.roll(places, 1, axis=0)
    normals = np.stack([tangents[:, 1], -tangents[:, 0]], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), _NO_LENGTH)
    first = int(np.linalg.norm(places - np.asarray(start), axis=1).argmin())
    taken = (first + np.arange(count) * _EVENLY // count) % _EVENLY
    return places[taken], normals[taken]


def symphysis_ends(contour: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """PS1 and PS2: the two points of the outline that lie farthest apart, PS1 the right one.

    Where one is above the other, PS1 is the upper one. Among pairs that are equally far apart, the one whose
    earlier point comes first in the outline is taken, then the one whose later point does. NaN for both
    without two distinct points or with a point that is not finite.
    """
    points = _points(contour)
    if len(points) == 0:
        return _MISSING.copy(), _MISSING.copy()
    _, first_visits = np.unique(points, axis=0, return_index=True)
    points = points[np.sort(first_visits)]
    # The farthest pair always lies on the hull, which has few corners: the table of distances stays small.
    hull = cv2.convexHull((points - points[0]).astype(np.float32), returnPoints=False)
    corners = points[np.sort(hull.ravel())]
    squares = ((corners[:, None] - corners[None]) ** 2).sum(axis=-1)
    if squares.max() == 0:
        return _MISSING.copy(), _MISSING.copy()
    first, second = np.argwhere(squares >= squares.max() * (1 - _SAME_SQUARE))[0]
    ends = sorted((corners[first], corners[second]), key=lambda end: (-end[0], end[1]))
    return ends[0], ends[1]


def tangent_point(ps1: ArrayLike, ps2: ArrayLike, contour: ArrayLike) -> np.ndarray:
    """FH1: the point of the head outline with the largest turn from the ray PS1 to PS2, shape (2,).

    The turn is measured over 0 to 360 degrees towards the head, that is to the side of the ray on which the
    mean of the outline lies (where the mean is on the line of the ray, from left over down to right, as in
    frames with PS1 at the right), so that a mirrored or rotated picture gives the mirrored or rotated point.
    It is followed along the outline without a cut: a head that reaches across the ray is no special case.
    Among equal turns, the point that comes first in the outline is taken. NaN where PS1 lies in or on the
    head, where PS1 and PS2 coincide, and where a point is missing or the outline empty.
    """
    ends, points = _points(np.stack([ps1, ps2])), _points(contour)
    if len(ends) == 0 or len(points) == 0 or (ends[0] == ends[1]).all():
        return _MISSING.copy()
    vertex = ends[0]
    if _encloses(points, vertex) or _distance(vertex, points) == 0:
        return _MISSING.copy()
    ray_x, ray_y = ends[1] - vertex
    mean_x, mean_y = points.mean(axis=0) - vertex
    side = 1.0 if ray_x * mean_y - ray_y * mean_x > 0 else -1.0
    turns = side * np.concatenate([[0.0], np.cumsum(_steps(points - vertex))[:-1]])
    return points[np.flatnonzero(turns >= turns.max() - _SAME_TURN_RAD)[0]]


def head_symphysis_distance(ps1: ArrayLike, contour: ArrayLike) -> float:
    """HSD: the shortest distance from PS1 to the head outline, edges included, in the unit of the points.

    0 where PS1 lies on the outline. NaN where it lies inside the head, which no distance describes, where PS1
    is missing and where the outline is empty.
    """
    vertex, points = _points(ps1), _points(contour)
    if len(points) == 0 or len(vertex) == 0:
        return float("nan")
    distance = _distance(vertex[0], points)
    return float("nan") if distance > 0 and _encloses(points, vertex[0]) else distance


def landmarks_from_masks(mask: ArrayLike) -> tuple[np.ndarray, str]:
    """PS1, PS2, FH1 of a mask of shape (H, W) with 1 = symphysis and 2 = head, and what is missing in words.

    Returns coordinates of shape (3, 2) and a reason that is empty exactly where all three points exist; a
    point that does not exist is NaN. See ``symphysis_ends`` and ``tangent_point`` for the definition.
    """
    values = np.asarray(mask)
    symphysis, head = largest_contour(values == SYMPHYSIS), largest_contour(values == FETAL_HEAD)
    ps1, ps2 = symphysis_ends(symphysis)
    fh1 = tangent_point(ps1, ps2, head)
    return np.stack([ps1, ps2, fh1]), _what_is_missing(symphysis, head, ps1, fh1)


def _what_is_missing(symphysis: np.ndarray, head: np.ndarray, ps1: np.ndarray, fh1: np.ndarray) -> str:
    absent = [
        name
        for name, points in (("pubic symphysis (value 1)", symphysis), ("fetal head (value 2)", head))
        if len(points) == 0
    ]
    if absent:
        return f"the mask has no {' and no '.join(absent)}"
    if np.isnan(ps1).any():
        return "the pubic symphysis is a single pixel, so it has no two ends"
    if np.isnan(fh1).any():
        return "PS1 lies in or on the outline of the fetal head, so there is no tangent"
    return ""


def _points(values: ArrayLike) -> np.ndarray:
    """Points as float64 of shape (points, 2); none at all where one is missing or beyond any picture."""
    points = np.asarray(values, np.float64).reshape(-1, 2)
    return points if (np.abs(points) < _BEYOND).all() else np.empty((0, 2))


def _steps(around: np.ndarray) -> np.ndarray:
    """Signed turn in radians from each vector to the next, and from the last to the first."""
    following = np.roll(around, -1, axis=0)
    cross = around[:, 0] * following[:, 1] - around[:, 1] * following[:, 0]
    return np.arctan2(cross, (around * following).sum(axis=1))


def _encloses(points: np.ndarray, place: np.ndarray) -> bool:
    """True where the outline winds round the place; works for outlines that touch or retrace themselves."""
    return bool(abs(_steps(points - place).sum()) > np.pi)


def _distance(place: np.ndarray, points: np.ndarray) -> float:
    """Shortest distance to the closed outline, which may be a single point or retrace itself."""
    along = np.roll(points, -1, axis=0) - points
    towards = place - points
    squares = (along**2).sum(axis=1)
    # Of a side without length its one point is the nearest.
    lengths = np.where(squares > 0, squares, 1.0)
    share = (towards * along).sum(axis=1) / lengths
    aside = np.abs(towards[:, 1] * along[:, 0] - towards[:, 0] * along[:, 1]) / lengths * np.sqrt(lengths)
    nearest_end = np.minimum(np.hypot(*towards.T), np.hypot(*(place - np.roll(points, -1, axis=0)).T))
    return float(np.where((share > 0) & (share < 1), aside, nearest_end).min())
