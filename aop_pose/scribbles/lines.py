"""The lines of Li et al., section 3.2, equations 1-6, before they are clipped to a frame.

Everything here is in coordinates where PS1 is right of PS2, x to the right, y down; a mirrored frame is turned before
and after. The head then lies on that side of the ray PS1 -> FH1 which a turn from PS1 -> PS2 reaches through the depth
of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from aop_pose.scribbles.settings import StrokeSettings

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
