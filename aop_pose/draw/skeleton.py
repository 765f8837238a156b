"""The skeleton of points in space from one direction, without perspective (FetusMapV2, figure 9)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.core.schema import Schema
from aop_pose.draw.marks import Box, Colour, around, dot, name_point, pale, polyline, put_text, text_size

_SCALE = 0.4
_DOT = 4
_EDGE = 34
"""Pixels around the skeleton, where names and the bar have room."""
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_WHITE = (255, 255, 255)
AXIS_MM = 60.0
"""Length at which an axis is drawn."""
_PARALLEL = 0.999
"""Cosine from which a line of the skeleton shows an axis."""
_SHORTEST = 12.0
"""Pixels; an axis that points at the eye is left out."""


@attrs.frozen(eq=False)
class Direction:
    """The directions that run right and up in a picture; the eye looks along their cross product, backwards."""

    right: np.ndarray
    """(3,), of length 1."""
    up: np.ndarray
    """(3,), of length 1, at a right angle to ``right``."""
    words: str

    def flat(self, points: np.ndarray) -> np.ndarray:
        """Millimetres (..., 2), right and up, of points (..., 3)."""
        return points @ np.stack([self.right, self.up], axis=1)


def directions(points: np.ndarray, schema: Schema) -> tuple[Direction, ...]:
    """From the side and from the front of a fetus whose midsagittal plane is known, else along two axes of the patient.

    Where a schema has axes of its own, before those along the third of them: the first two lie in the picture then.

    Args:
        points: (points, 3) mm, NaN where missing.
    """
    if (side := from_the_side(points, schema)) is not None and np.isfinite(upward(points, schema)).all():
        return side, Direction(np.cross(side.right, side.up), side.up, "from the front")
    x, y, z = np.eye(3)
    of_patient = Direction(x, z, "with x right, z up"), Direction(y, z, "with y right, z up")
    if schema.axes is not None and np.isfinite(axes := schema.axes(points)).all():
        first, second, _ = axes
        second = second if second[0] >= 0 else -second
        words = f"along the axis {schema.axis_names[2]}, {schema.axis_names[0]} up"
        return Direction(second, first, words), *of_patient
    return of_patient


def from_the_side(points: np.ndarray, schema: Schema) -> Direction | None:
    """As the midsagittal plane is looked at: a body from its left, the crown up; axes with the first to the right, and
    the end of the third up that lies nearer to the patient's head. None where neither is known.

    Args:
        points: (points, 3) mm, NaN where missing.
    """
    normal = midsagittal(points, schema).normal
    up = upward(points, schema)
    if np.isfinite(normal).all() and np.isfinite(up).all():
        up = up - (up @ normal) * normal
        length = np.linalg.norm(up)
        if length > 0:
            up = up / length
            return Direction(np.cross(up, _to_the_left(points, schema, normal)), up, "from its left")
    if schema.axes is not None and np.isfinite(axes := schema.axes(points)).all():
        look, _, up = axes
        return Direction(look, up if up[2] >= 0 else -up, "from the side")
    return None


def midsagittal(points: np.ndarray, schema: Schema) -> geometry.Plane:
    """The plane between left and right of points (points, 3) mm; NaN where there is none or points are missing."""
    return geometry.fit_plane(points[:0]) if schema.midsagittal is None else schema.midsagittal(points)


def upward(points: np.ndarray, schema: Schema) -> np.ndarray:
    """From rump to crown, (3,) mm; NaN where a schema has no such points or one is missing."""
    if not {"cranial_crest", "rump"} <= set(schema.points):
        return np.full(3, np.nan)
    return points[schema.index("cranial_crest")] - points[schema.index("rump")]


def _to_the_left(points: np.ndarray, schema: Schema, normal: np.ndarray) -> np.ndarray:
    """The normal that points to the left side, as the points are named."""
    left, right = (list(schema.indices(names)) for names in zip(*schema.symmetric, strict=True))
    across = points[left] - points[right]
    known = across[np.isfinite(across).all(axis=1)]
    return -normal if len(known) and known.sum(axis=0) @ normal < 0 else normal


@attrs.frozen(eq=False)
class Skeleton:
    """Points of one kind and how they are drawn."""

    points: np.ndarray
    """(points, 3) mm."""
    colour: Colour


def draw_view(
    picture: np.ndarray,
    skeletons: Sequence[Skeleton],
    schema: Schema,
    direction: Direction,
    names: Sequence[str],
    half_mm: float,
) -> None:
    """Draw skeletons into a picture (H, W, 3), the last one on top and with its names where they have room.

    ``half_mm``: half of what the picture shows along its shorter side, about the middle of all points.
    """
    height, width = picture.shape[:2]
    flat = [direction.flat(skeleton.points) for skeleton in skeletons]
    known = _shown(skeletons, schema, direction)
    middle = (known.min(axis=0) + known.max(axis=0)) / 2
    per_mm = (min(height, width) / 2 - _EDGE) / half_mm
    places = [np.array([width, height]) / 2 + (points - middle) * per_mm * (1, -1) for points in flat]
    named: list[tuple[str, np.ndarray]] = []
    for skeleton, spots in zip(skeletons, places, strict=True):
        named.clear()
        for name, ends in axis_lines(skeleton.points, schema).items():
            line = np.array([width, height]) / 2 + (direction.flat(ends) - middle) * per_mm * (1, -1)
            if np.linalg.norm(line[1] - line[0]) > _SHORTEST:
                polyline(picture, line, pale(skeleton.colour))
                named.append((name, line[1]))
        for first, second in schema.lines:
            ends = spots[[schema.index(first), schema.index(second)]]
            if np.isfinite(ends).all():
                polyline(picture, ends, skeleton.colour, 2)
        for spot in spots:
            if np.isfinite(spot).all():
                dot(picture, spot, _DOT, skeleton.colour)
    occupied = [around(spot, _DOT) for spots in places for spot in spots if np.isfinite(spot).all()]
    occupied.append(_bar(picture, per_mm))
    for name, spot in named:
        name_point(picture, name, spot, pale(skeletons[-1].colour), occupied, _SCALE, always=False)
    for name, spot in zip(names, places[-1], strict=True):
        if np.isfinite(spot).all():
            name_point(picture, name, spot, _WHITE, occupied, _SCALE, always=False)


def axis_lines(points: np.ndarray, schema: Schema) -> dict[str, np.ndarray]:
    """The axes of a schema that no line of its own shows, by name: both ends (2, 3) mm, about the middle of the points.

    The first has a direction and is drawn from there on, the others run to both sides.
    """
    if schema.axes is None or not np.isfinite(axes := schema.axes(points)).all():
        return {}
    middle = points.mean(axis=0)
    lines = [points[schema.index(second)] - points[schema.index(first)] for first, second in schema.lines]
    shown = np.max([np.abs(axes @ line) / np.linalg.norm(line) for line in lines], axis=0, initial=0)
    return {
        name: middle + AXIS_MM * np.outer((0, 1) if not number else (-0.5, 0.5), axis)
        for number, (name, axis) in enumerate(zip(schema.axis_names, axes, strict=True))
        if shown[number] < _PARALLEL
    }


def half_extent(skeletons: Sequence[Skeleton], views: Sequence[Direction], schema: Schema) -> float:
    """Half of the longest side in mm that any of the views has to show, so that all have one scale."""
    longest = 0.0
    for view in views:
        longest = max(longest, float(np.ptp(_shown(skeletons, schema, view), axis=0).max()))
    return max(longest / 2, 1.0)


def _shown(skeletons: Sequence[Skeleton], schema: Schema, view: Direction) -> np.ndarray:
    """Millimetres (n, 2) of all known points and ends of axes in a view."""
    several = [points for one in skeletons for points in (one.points, *axis_lines(one.points, schema).values())]
    flat = view.flat(np.concatenate(several))
    return flat[np.isfinite(flat).all(axis=1)]


def _bar(picture: np.ndarray, per_mm: float) -> Box:
    """A bar of a round length in the lower left corner, at most a third of the width."""
    width, base = picture.shape[1], picture.shape[0] - 10
    length = max((bar for bar in _BARS_MM if bar * per_mm <= width / 3), default=_BARS_MM[0])
    right = 10 + length * per_mm
    polyline(picture, np.array([[10, base], [right, base]], float), _WHITE, 2)
    text = f"{length} mm"
    put_text(picture, text, 10, base - 7, _SCALE, _WHITE)
    across, capitals = text_size(text, _SCALE)
    return 0, base - 12 - capitals, round(max(right, 10 + across)) + 4, picture.shape[0]
