"""Landmarks become strokes: lines inside a structure (foreground) or outside it (background), clipped to the frame."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import numpy as np
import shapely
from shapely import LineString, Polygon

from aop_pose.geometry import angle_of_progression
from aop_pose.scribbles.lines import NAMES, cross, lines
from aop_pose.scribbles.settings import DEFAULT, StrokeSettings

__all__ = ["NAMES", "Stroke", "StrokeSettings", "Strokes", "strokes_for"]

# Shorter than this, in pixels, a line marks nothing.
_SHORTEST = 1.0
# FH1 nearer to the symphysis than this share of its length is no tangent point (the least of 300 frames is 0.4).
_LEAST_HEAD_DISTANCE = 0.1
# Degrees from PS1-PS2 through the depth of the picture to PS1-FH1, the angle of progression counted beyond 180. The
# largest of 300 frames is 178; far beyond it FH1 was set on something else.
_LARGEST_ANGLE = 220.0


@attrs.frozen(eq=False)
class Stroke:
    """One line and what it says of a structure."""

    name: str
    structure: str
    """``PS`` (pubic symphysis) or ``FH`` (fetal head)."""
    positive: bool
    """True: inside the structure. False: outside it."""
    line: LineString
    """Two points in pixels of the frame; the centre of the top-left pixel is (0, 0)."""


@attrs.frozen(eq=False)
class Strokes:
    """The strokes of one frame."""

    strokes: list[Stroke]
    left_out: dict[str, str]
    """Name of a stroke that is not drawn -> why."""
    reason: str = ""
    """Why the landmarks give no strokes at all; empty where they do."""


def strokes_for(
    points: np.ndarray,
    width: int,
    height: int,
    sector: Polygon | None = None,
    settings: StrokeSettings = DEFAULT,
    without: Collection[str] = (),
) -> Strokes:
    """Strokes of the landmarks PS1, PS2, FH1, shape (3, 2) in pixels, in a frame of width x height pixels.

    ``sector`` is the part of the frame that shows ultrasound (``sector.find_sector``); ``without`` names strokes to
    switch off. A mirrored frame (PS1 left of PS2) gets the mirrored strokes under the same names. Landmarks that give
    no strokes are told in ``reason``; ValueError where ``without`` has a name that is none of ``NAMES``.
    """
    unknown = sorted(set(without) - set(NAMES))
    if unknown:
        raise ValueError(f"without: expected names out of {', '.join(NAMES)}; found {', '.join(unknown)}")
    points = np.asarray(points, np.float64)
    reason = _degenerate(points, width, height)
    if reason:
        return Strokes([], {}, reason)
    turn = np.array([-1.0 if _is_mirrored(points) else 1.0, 1.0])
    region = _region(points, width, height, sector)
    strokes, left_out = [], {name: "switched off" for name in NAMES if name in without}
    # Twice the frame, as an extension may begin past its far corner.
    for line in lines(points * turn, 2.0 * (width + height), settings):
        if line.name in left_out:
            continue
        clipped = _longest(LineString(line.ends * turn).intersection(region))
        if line.reason:
            left_out[line.name] = line.reason
        elif clipped is None:
            left_out[line.name] = "outside the frame or the ultrasound sector"
        else:
            strokes.append(Stroke(line.name, line.structure, line.positive, clipped))
    return Strokes(strokes, left_out)


def _degenerate(points: np.ndarray, width: int, height: int) -> str:
    for name, (x, y) in zip(("PS1", "PS2", "FH1"), points, strict=True):
        if not (np.isfinite(x) and np.isfinite(y)):
            return f"{name} is missing"
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            return f"{name} ({x:g}, {y:g}) is outside the frame of {width} x {height} pixels"
    ps1, ps2, fh1 = points
    length = float(np.hypot(*(ps2 - ps1)))
    if length < _SHORTEST:
        return "PS1 and PS2 coincide"
    apart = float(LineString([ps1, ps2]).distance(shapely.Point(fh1)))
    if apart < max(_SHORTEST, _LEAST_HEAD_DISTANCE * length):
        return f"FH1 lies on the symphysis, {apart:.1f} px from the line PS1-PS2"
    above = cross(ps2 - ps1, fh1 - ps1) * (-1 if _is_mirrored(points) else 1) > 0
    angle = 360 - float(angle_of_progression(ps1, ps2, fh1))
    if above and angle > _LARGEST_ANGLE:
        return f"FH1 stands above the symphysis: expected an angle of at most {_LARGEST_ANGLE:g}, found {angle:.0f}"
    return ""


def _is_mirrored(points: np.ndarray) -> bool:
    """PS1 left of PS2; where one stands above the other, the side of the head decides."""
    ps1, ps2, fh1 = points
    return bool(ps1[0] < ps2[0] or (ps1[0] == ps2[0] and cross(ps2 - ps1, fh1 - ps1) > 0))


def _region(points: np.ndarray, width: int, height: int, sector: Polygon | None) -> Polygon:
    """The frame, cut to the sector; where that misses a landmark it is widened, as the label knows better."""
    frame = shapely.box(0, 0, width - 1, height - 1)
    if sector is None:
        return frame
    return sector.union(shapely.MultiPoint(points)).convex_hull.intersection(frame)


def _longest(shape: shapely.Geometry) -> LineString | None:
    """The longest piece of a clipped line; None where nothing of note is left."""
    pieces = [part for part in shapely.get_parts(shape) if part.geom_type == "LineString"]
    longest = max(pieces, key=lambda part: part.length, default=None)
    return longest if longest is not None and longest.length >= _SHORTEST else None
