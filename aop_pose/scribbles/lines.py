"""The lines of Li et al., section 3.2, equations 1-6, before they are clipped to a frame.

Everything here is in coordinates where PS1 is right of PS2, x to the right, y down; a mirrored frame is turned
before and after. The head then lies on that side of the ray PS1 -> FH1 which a turn from PS2 reaches through the
depth of the picture.
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
    """(2, 2), in pixels."""
    reason: str = ""
    """Why it is not drawn; empty where it is."""


def cross(a: np.ndarray, b: np.ndarray) -> float:
    """Positive where b is reached from a by turning right to down (clockwise as seen)."""
    return float(a[0] * b[1] - a[1] * b[0])


def lines(points: np.ndarray, far: float, settings: StrokeSettings) -> Iterator[Line]:
    """Every line of the landmarks PS1, PS2, FH1, shape (3, 2); ``far`` is a length that leaves any frame."""
    ps1, ps2, fh1 = points
    yield from _symphysis(ps1, ps2, far, settings)
    yield from _head(ps1, ps2, fh1, settings)
    yield from _tangent(ps1, fh1, far, settings)


def _symphysis(ps1: np.ndarray, ps2: np.ndarray, far: float, settings: StrokeSettings) -> Iterator[Line]:
    axis = ps2 - ps1
    length = float(np.hypot(*axis))
    along = axis / length
    yield Line("ps_axis", "PS", True, np.stack([ps1 + share * axis for share in settings.ps_span]))
    direction = along if settings.convexity == "parallel" else np.array([-1.0, 0.0])
    half = direction * settings.convexity_length * length / 2
    # Turned by a quarter from PS1 -> PS2: towards the depth of the picture.
    deeper = np.array([along[1], -along[0]]) * settings.convexity_offset * length
    for name, side in (("ps_above", -deeper), ("ps_below", deeper)):
        middle = (ps1 + ps2) / 2 + side
        yield Line(name, "PS", True, np.stack([middle - half, middle + half]))
    gap = settings.ps_gap * length
    for name, end, outward in (("ps_beyond_ps1", ps1, -along), ("ps_beyond_ps2", ps2, along)):
        yield Line(name, "PS", False, np.stack([end + gap * outward, end + far * outward]))


def _head(ps1: np.ndarray, ps2: np.ndarray, fh1: np.ndarray, settings: StrokeSettings) -> Iterator[Line]:
    axis, tangent = ps2 - ps1, fh1 - ps1
    towards_h = np.sign(ps2[0] - fh1[0])
    turns = np.radians(list(RAYS.values()))
    directions = dict(zip(RAYS, np.stack([towards_h * np.cos(turns), np.sin(turns)], axis=1), strict=True))
    directions["fh_parallel"] = axis / np.hypot(*axis)
    head = settings.head_per_symphysis * float(np.hypot(*axis))
    for name, direction in directions.items():
        # A circle of diameter d that touches the tangent in FH1 is crossed at this angle over d sin(angle).
        sine = cross(tangent, direction) / float(np.hypot(*tangent))
        wrong = sine < np.sin(np.radians(settings.least_angle)) or not direction.any()
        chord = head * sine * direction
        ends = np.stack([fh1 + share * chord for share in settings.fh_span])
        yield Line(name, "FH", True, ends, WRONG_SIDE if wrong else "")


def _tangent(ps1: np.ndarray, fh1: np.ndarray, far: float, settings: StrokeSettings) -> Iterator[Line]:
    length = float(np.hypot(*(fh1 - ps1)))
    along = (fh1 - ps1) / length
    gap = min(settings.fh_gap, 0.5) * length
    yield Line("fh_tangent", "FH", False, np.stack([ps1, fh1 - gap * along]))
    yield Line("fh_beyond_fh1", "FH", False, np.stack([fh1 + gap * along, fh1 + far * along]))
    yield Line("fh_beyond_ps1", "FH", False, np.stack([ps1, ps1 - far * along]))
