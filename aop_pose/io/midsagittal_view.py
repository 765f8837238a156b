"""The midsagittal plane of a fetus cut out of its volume, with the crown-rump length on it (FetusMapV2, figure 10)."""

from __future__ import annotations

import cv2
import numpy as np

from aop_pose import geometry
from aop_pose.io.lettering import Colour
from aop_pose.io.marks import around, dot, name_point, polyline
from aop_pose.io.skeleton_view import directions, midsagittal
from aop_pose.io.volume_slices import plane_picture
from aop_pose.schemas import Schema
from aop_pose.volume import Volume

_MARGIN_MM = 12.0
_SCALE = 0.45
_DOT = 3


def draw_midsagittal(
    volume: Volume, gray: np.ndarray, points: np.ndarray, schema: Schema, size: int, colour: Colour
) -> np.ndarray | None:
    """The plane through the points without a side, uint8 BGR (size, size, 3); None where they have no plane.

    The crown is up and the fetus is seen from its left. Points without a side are marked where they stand
    perpendicularly above the plane; the crown-rump length is that between the points themselves.

    Args:
        gray: (I, J, K) gray values of the volume.
        points: (points, 3) mm, NaN where missing.
    """
    plane, view = midsagittal(points, schema), directions(points, schema)[0]
    chosen = points[list(schema.unpaired)]
    chosen = chosen[np.isfinite(chosen).all(axis=1)]
    if not np.isfinite(plane.normal).all() or not len(chosen):
        return None
    flat = view.flat(chosen)
    middle = (flat.min(axis=0) + flat.max(axis=0)) / 2
    step = (float(np.ptp(flat, axis=0).max()) + 2 * _MARGIN_MM) / size
    # The plane's own point carries the third coordinate; the two of the view are those of the picture's middle.
    centre = plane.point + (middle - view.flat(plane.point)) @ np.stack([view.right, view.up])
    half = (size - 1) / 2
    corner = centre + step * half * (view.up - view.right)
    pixels = plane_picture(volume, gray, corner, np.stack([view.right, -view.up]) * step, (size, size))
    picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)

    def places(given: np.ndarray) -> np.ndarray:
        return np.array([half, half]) + (view.flat(given) - middle) / step * (1, -1)

    occupied = []
    for place in places(chosen):
        dot(picture, place, _DOT, colour)
        occupied.append(around(place, _DOT))
    if {"cranial_crest", "rump"} <= set(schema.points):
        ends = points[list(schema.indices(("cranial_crest", "rump")))]
        if np.isfinite(ends).all():
            line = places(ends)
            polyline(picture, line, colour, 2)
            text = f"CRL {float(geometry.point_distance(*ends)):.1f} mm"
            name_point(picture, text, line.mean(axis=0), (255, 255, 255), occupied, _SCALE)
    return picture
