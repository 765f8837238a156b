"""Landmarks become strokes: lines inside a structure (foreground) or outside it (background), clipped to the frame."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator

import attrs
import numpy as np
import shapely
from shapely import LineString, Polygon

from aop_pose.geometry import angle_of_progression

CONVEXITY = ("parallel", "horizontal")

_SHARE = [attrs.validators.ge(0.0), attrs.validators.lt(0.5)]
_POSITIVE = attrs.validators.gt(0.0)


@attrs.frozen
class StrokeSettings:
    """The ends of the strokes of a frame. ValueError where a number is out of its range."""

    convexity: str = attrs.field(default="parallel", validator=attrs.validators.in_(CONVEXITY))
    """Direction of the two strokes above and below PS1-PS2: along it, or horizontal as the paper's text says.

    At the offset and length below 0.991 (above) and 0.998 (below) of the parallel pixels lie in the symphysis, 0.985
    and 0.975 of the horizontal ones: the symphysis is tilted by 13 degrees in the median frame.
    """
    convexity_offset: float = attrs.field(default=0.1, validator=_SHARE)
    """Distance from PS1-PS2 in symphysis lengths: 0.08 gives 0.998, 0.1 0.991, 0.12 0.976, 0.15 0.924 (above)."""
    convexity_length: float = attrs.field(default=0.5, validator=_POSITIVE)
    """In symphysis lengths, about the middle: 0.4 gives 0.994, 0.5 0.991, 0.6 0.985, 0.7 0.973 (above)."""
    ps_inset: float = attrs.field(default=0.04, validator=_SHARE)
    """The gap of PS1-PS2 at either end, in its lengths, as the ends are on the rim: 0 gives 0.967, 0.02 0.9997."""
    ps_gap: float = attrs.field(default=0.05, validator=_SHARE)
    """Distance of the extensions from PS1 and PS2 in symphysis lengths: 0 gives 0.964, 0.03 and more 1.000."""
    fh_inset: float = attrs.field(default=0.03, validator=_SHARE)
    """Depth below the tangent where a stroke of the head begins, symphysis lengths: 0 gives 0.977, from 0.02 0.990."""
    fh_reach: float = attrs.field(default=1.4, validator=_POSITIVE)
    """Distance from FH1 to where a head stroke ends: symphysis lengths times the sine of its angle with the tangent.

    That is the chord of a circle that touches the tangent in FH1, its diameter taken as 1.4 symphysis lengths. The true
    chords are 1.6 to 1.8 in the median frame and above 1.2 in 19 of 20. 1.1 gives 0.996, 1.25 0.994, 1.4 0.990, 1.6
    0.975. At 1.4 the longest stroke of a frame has 0.59 head diameters in the median, 0.28 at the least.
    """
    least_angle: float = attrs.field(default=20.0, validator=_POSITIVE)
    """Degrees between a stroke of the head and the tangent; at less it would run along the rim and is not drawn.

    15 gives 0.988, 20 0.990, 25 0.991, 30 0.993.
    """
    fh_gap: float = attrs.field(default=0.15, validator=_SHARE)
    """The gap of the tangent on both sides of FH1, in its lengths: 0.05 gives 0.979, 0.1 0.989, 0.15 0.994."""

    def __attrs_post_init__(self) -> None:
        # Otherwise a stroke could begin behind its end.
        share = math.sin(math.radians(self.least_angle)) ** 2
        if not (self.least_angle <= 90 and self.fh_inset / self.fh_reach < share):
            raise ValueError(
                f"least_angle: expected at most 90 with a squared sine above fh_inset / fh_reach = "
                f"{self.fh_inset / self.fh_reach:.4f}, found {self.least_angle} ({share:.4f})"
            )


DEFAULT = StrokeSettings()


# Degrees by which a ray is turned from FH1 -> H towards the depth of the picture (equations 5 and 6).
RAYS = {"fh_level": 0.0, "fh_up10": -10.0, "fh_down10": 10.0, "fh_up30": -30.0, "fh_down30": 30.0}

NAMES = (
    "ps_axis", "ps_above", "ps_below", "ps_beyond_ps1", "ps_beyond_ps2",
    *RAYS, "fh_parallel", "fh_tangent", "fh_beyond_fh1", "fh_beyond_ps1",
)  # fmt: skip
"""Every stroke there is, in the order in which they are drawn."""

WRONG_SIDE = "leaves FH1 along the tangent PS1-FH1 or on its wrong side"


@attrs.frozen(eq=False)
class Line:
    """A stroke before it is clipped."""

    name: str
    structure: str
    positive: bool
    ends: np.ndarray
    """(2, 2) in pixels; both ends alike where ``reason`` says why there is no line."""
    reason: str = ""


def cross(a: np.ndarray, b: np.ndarray) -> float:
    """Positive where b is reached from a by a turn from right to down."""
    return float(a[0] * b[1] - a[1] * b[0])


def lines(points: np.ndarray, far: float, settings: StrokeSettings) -> Iterator[Line]:
    """Every line of ``NAMES`` for PS1, PS2, FH1, shape (3, 2); ``far`` is a length that leaves any frame."""
    ps1, ps2, fh1 = points
    yield from _symphysis(ps1, ps2, far, settings)
    yield from _head(ps1, ps2, fh1, settings)
    yield from _tangent(ps1, fh1, far, settings)


def head_directions(ps1: np.ndarray, ps2: np.ndarray, fh1: np.ndarray) -> dict[str, np.ndarray]:
    """Unit vectors from FH1: towards H, turned from there by 10 and 30 degrees, and parallel to PS1 -> PS2."""
    # With FH1 straight below PS2, H is FH1 itself; the side on which PS2 stands of PS1 is then meant.
    towards_h = 1.0 if fh1[0] < ps2[0] else -1.0
    turns = np.radians(list(RAYS.values()))
    directions = dict(zip(RAYS, np.stack([towards_h * np.cos(turns), np.sin(turns)], axis=1), strict=True))
    directions["fh_parallel"] = (ps2 - ps1) / np.hypot(*(ps2 - ps1))
    return directions


def _symphysis(ps1: np.ndarray, ps2: np.ndarray, far: float, settings: StrokeSettings) -> Iterator[Line]:
    axis = ps2 - ps1
    length = float(np.hypot(*axis))
    along = axis / length
    inset = settings.ps_inset * axis
    yield Line("ps_axis", "PS", True, np.stack([ps1 + inset, ps2 - inset]))
    direction = along if settings.convexity == "parallel" else np.array([-1.0, 0.0])
    half = direction * settings.convexity_length * length / 2
    deeper = np.array([along[1], -along[0]]) * settings.convexity_offset * length
    for name, middle in (("ps_above", (ps1 + ps2) / 2 - deeper), ("ps_below", (ps1 + ps2) / 2 + deeper)):
        yield Line(name, "PS", True, np.stack([middle - half, middle + half]))
    gap = settings.ps_gap * length
    for name, end, outward in (("ps_beyond_ps1", ps1, -along), ("ps_beyond_ps2", ps2, along)):
        yield Line(name, "PS", False, np.stack([end + gap * outward, end + far * outward]))


def _head(ps1: np.ndarray, ps2: np.ndarray, fh1: np.ndarray, settings: StrokeSettings) -> Iterator[Line]:
    length, tangent = float(np.hypot(*(ps2 - ps1))), fh1 - ps1
    for name, direction in head_directions(ps1, ps2, fh1).items():
        sine = cross(tangent, direction) / float(np.hypot(*tangent))
        # Equations 5 and 6 are lines through FH1, so one half of each is on the head's side; FH1 -> H has one end only.
        if sine < 0 and name != "fh_level":
            sine, direction = -sine, -direction
        if sine < np.sin(np.radians(settings.least_angle)):
            yield Line(name, "FH", True, np.stack([fh1, fh1]), WRONG_SIDE)
            continue
        # From a depth below the tangent to the end of a chord: see fh_inset and fh_reach.
        begin, end = settings.fh_inset * length / sine, settings.fh_reach * length * sine
        yield Line(name, "FH", True, np.stack([fh1 + begin * direction, fh1 + end * direction]))


def _tangent(ps1: np.ndarray, fh1: np.ndarray, far: float, settings: StrokeSettings) -> Iterator[Line]:
    along = (fh1 - ps1) / np.hypot(*(fh1 - ps1))
    gap = settings.fh_gap * (fh1 - ps1)
    yield Line("fh_tangent", "FH", False, np.stack([ps1, fh1 - gap]))
    yield Line("fh_beyond_fh1", "FH", False, np.stack([fh1 + gap, fh1 + gap + far * along]))
    yield Line("fh_beyond_ps1", "FH", False, np.stack([ps1, ps1 - far * along]))


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
    """The reason that the landmarks give no strokes at all; empty where they do."""


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


THICKNESS = 2.0
"""Pixels of a 256-pixel frame: one pixel of the 128-pixel grid that the prompted networks see."""


def masks(
    strokes: Iterable[Stroke],
    structure: str,
    height: int,
    width: int,
    thickness: float = THICKNESS,
    foreign: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and background pixels of a structure (``PS`` or ``FH``), two uint8 (height, width) of 0 and 1.

    ``foreign`` adds the foreground of the other structure to the background. A pixel that both claim is foreground.
    """
    positive, negative = (np.zeros((height, width), np.uint8) for _ in range(2))
    for stroke in strokes:
        if stroke.structure == structure:
            paint(positive if stroke.positive else negative, stroke.line, thickness)
        elif foreign and stroke.positive:
            paint(negative, stroke.line, thickness)
    negative[positive == 1] = 0
    return positive, negative


def paint(mask: np.ndarray, line: LineString, thickness: float = THICKNESS) -> None:
    """Set the pixels of ``mask``, (H, W), whose centres lie within half a thickness of a two-point line, to 1.

    By distance rather than by OpenCV's line, whose pixels are not those of the mirrored line. A thickness of at least 1
    leaves no holes.
    """
    (ax, ay), (bx, by) = line.coords
    # The small excess makes centres at exactly half a thickness count on both sides alike.
    reach = thickness / 2 + 1e-6
    rows, columns = (_near(*pair, reach, size) for pair, size in zip(((ay, by), (ax, bx)), mask.shape, strict=True))
    y, x = np.arange(rows.start, rows.stop)[:, None], np.arange(columns.start, columns.stop)
    dx, dy = bx - ax, by - ay
    share = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    near = np.hypot(x - ax - share * dx, y - ay - share * dy) <= reach
    mask[rows, columns][near] = 1


def _near(a: float, b: float, reach: float, size: int) -> slice:
    """The pixels of an axis that can lie within reach of a line from a to b; none where it is off the picture."""
    first, last = np.floor(min(a, b) - reach), np.ceil(max(a, b) + reach)
    return slice(int(np.clip(first, 0, size)), int(np.clip(last + 1, 0, size)))
