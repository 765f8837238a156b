"""The angle of progression and how far it moves when a landmark moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def angle_of_progression(ps1: ArrayLike, ps2: ArrayLike, fh1: ArrayLike) -> np.ndarray:
    """Angle at PS1 between the rays to PS2 and to FH1, in degrees, 0 to 180.

    The three arguments are points of shape (..., 2) that broadcast against each other; the result has shape
    (...). The points must lie on square pixels or in millimetres, otherwise the angle is wrong. NaN where a
    point is missing (not finite) or where PS2 or FH1 coincides with PS1.

    The arc tangent of cross over dot product keeps its precision near 0 and 180 degrees, where the arc cosine
    of the dot product alone loses half of its digits.
    """
    cross, dot, undefined = _cross_and_dot(*_rays(ps1, ps2, fh1))
    return np.where(undefined, np.nan, np.degrees(np.arctan2(np.abs(cross), dot)))[()]


LARGEST_TURN = 225.0
"""Degrees. No head reaches it (the largest of 1058 annotated PSFHS frames is 210): a larger turn is that of a picture
whose symphysis points the other way, and is counted from the other side."""


def turn_of_progression(ps1: ArrayLike, ps2: ArrayLike, fh1: ArrayLike, like: ArrayLike | None = None) -> np.ndarray:
    """The turn at PS1 from the ray to PS2, through the depth of the picture, to the ray to FH1, in degrees.

    Up to 180 it is ``angle_of_progression``. A head so low that its tangent lies above the prolonged symphysis has a
    turn above 180, up to ``LARGEST_TURN``, and an angle of progression of 360 minus it: on this scale two readings
    differ by what lies between their rays. Depth is where y grows; on an upright symphysis it is where FH1 lies.

    Args:
        ps1, ps2, fh1: points (..., 2) that broadcast against each other, as ``angle_of_progression`` has them.
        like: another reading of the same picture, (..., 3, 2) in that order. Then the turn is counted from the side
            that is deep in that reading, and is the one within 180 degrees of its own (it may lie outside 0 to 225).

    Returns:
        Shape (...), NaN where either reading has no angle.
    """
    if like is None:
        return _turn_and_side(ps1, ps2, fh1)[0][()]
    other = np.asarray(like, np.float64)
    theirs, side = _turn_and_side(other[..., 0, :], other[..., 1, :], other[..., 2, :])
    cross, dot, undefined = _cross_and_dot(*_rays(ps1, ps2, fh1))
    turn = np.degrees(np.arctan2(side * cross, dot))
    return np.where(undefined, np.nan, theirs + (turn - theirs + 180) % 360 - 180)[()]


def _turn_and_side(ps1: ArrayLike, ps2: ArrayLike, fh1: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The turn (...), and the sign (...) of the cross products of turns below 180 degrees on its side."""
    to_symphysis, to_head = _rays(ps1, ps2, fh1)
    cross, dot, undefined = _cross_and_dot(to_symphysis, to_head)
    # The cross product of a ray and "down", (0, 1), is its x.
    side = np.where(to_symphysis[..., 0] == 0, np.sign(cross), np.sign(to_symphysis[..., 0]))
    turn = np.degrees(np.arctan2(side * cross, dot)) % 360
    beyond = turn > LARGEST_TURN
    turn, side = np.where(beyond, 360 - turn, turn), np.where(beyond, -side, side)
    return np.where(undefined, np.nan, turn), side


def turn_difference(points: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """The turn of ``points`` minus that of ``reference``, both (..., 3, 2) in the order PS1, PS2, FH1: degrees (...).

    The error of an angle of progression: what lies between the two readings, also across 180 degrees.
    """
    ps1, ps2, fh1 = np.moveaxis(np.asarray(points, np.float64), -2, 0)
    theirs = turn_of_progression(*np.moveaxis(np.asarray(reference, np.float64), -2, 0))
    return turn_of_progression(ps1, ps2, fh1, like=reference) - theirs


def angle_of_turn(turn: ArrayLike) -> np.ndarray:
    """The angle of progression, 0 to 180, of a turn in degrees, any shape: 360 minus a turn above 180."""
    return np.abs((np.asarray(turn, np.float64) + 180) % 360 - 180)[()]


def aop_sensitivity(ps1: ArrayLike, ps2: ArrayLike, fh1: ArrayLike) -> np.ndarray:
    """Degrees of AoP per pixel of displacement of PS1, PS2 and FH1: the first order of error propagation.

    Points of shape (..., 2); the result has shape (..., 3), one gradient norm per landmark in the order PS1,
    PS2, FH1. It is the slope for the worst direction of displacement: where the errors of the points are
    independent and isotropic with the standard deviation s_i along each axis, the variance of the AoP is the
    sum of (sensitivity_i * s_i)**2. At exactly 0 or 180 degrees, where the angle folds, it is the slope on
    either side. NaN where the AoP is NaN.

    With the rays a = PS2 - PS1 and b = FH1 - PS1 the norms are |a - b| / (|a| |b|), 1 / |a| and 1 / |b|.
    """
    return np.linalg.norm(aop_gradient(ps1, ps2, fh1), axis=-1)


def aop_gradient(ps1: ArrayLike, ps2: ArrayLike, fh1: ArrayLike) -> np.ndarray:
    """Degrees of AoP per pixel that PS1, PS2 and FH1 move along x and y.

    Points of shape (..., 2); the result has shape (..., 3, 2), landmarks in the order PS1, PS2, FH1. At exactly 0 or
    180 degrees, where the angle folds, it is the gradient on the side of growing turn. NaN where the AoP is NaN.

    A ray turns by 1 / its length per pixel across it; what both rays share, PS1, turns them both, the other way.
    """
    to_symphysis, to_head = _rays(ps1, ps2, fh1)
    cross, _, undefined = _cross_and_dot(to_symphysis, to_head)
    side = np.where(cross < 0, -1.0, 1.0)[..., None]
    with np.errstate(all="ignore"):
        of_ps2, of_fh1 = (
            sign * side * _across(ray) / np.hypot(ray[..., 0], ray[..., 1])[..., None]
            for sign, ray in ((-1, to_symphysis), (1, to_head))
        )
        gradient = np.stack([-of_ps2 - of_fh1, of_ps2, of_fh1], axis=-2)
    return np.where(undefined[..., None, None], np.nan, np.degrees(gradient))


def _across(ray: np.ndarray) -> np.ndarray:
    """The unit vector at a right angle to a ray (..., 2), a quarter turn from x towards y."""
    turned = np.stack([-ray[..., 1], ray[..., 0]], axis=-1)
    return turned / np.hypot(ray[..., 0], ray[..., 1])[..., None]


def _rays(ps1: ArrayLike, ps2: ArrayLike, fh1: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The vectors PS1 to PS2 and PS1 to FH1, broadcast to one shape (..., 2)."""
    vertex, symphysis, head = np.broadcast_arrays(
        np.asarray(ps1, np.float64), np.asarray(ps2, np.float64), np.asarray(fh1, np.float64)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        return symphysis - vertex, head - vertex


def _cross_and_dot(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cross product, dot product and a mask of where the two rays enclose no angle."""
    with np.errstate(all="ignore"):
        cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
        dot = a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]
    # Both vanish only when a ray has no length (or one so short that its products underflow).
    undefined = ~(np.isfinite(cross) & np.isfinite(dot)) | ((cross == 0) & (dot == 0))
    return cross, dot, undefined
