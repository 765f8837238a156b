"""Schema ``fetal_face``: the middle of the brain and both eyes, in a volume, and how the head lies."""

from __future__ import annotations

import numpy as np

from aop_pose.core.schema import Quantity, Schema, length
from aop_pose.geometry import Plane, axis_angle

_PATIENT = {"right": 0, "front": 1, "head": 2}
"""Axes of patient coordinates (RAS), by where they point."""


def head_axes(points: np.ndarray) -> np.ndarray:
    """The axes of a head (..., 3 axes, 3), of length 1: where it looks, along the eyes, and from chin to crown.

    The eyes are not told apart, so that the second and third axis have no direction, and the third says nothing of
    which end is the crown. NaN where a point is missing or the three lie on one line.

    Args:
        points: (..., 3, 3), brain and both eyes, x, y, z in mm.
    """
    brain, one, other = np.moveaxis(np.asarray(points, np.float64), -2, 0)
    eyes = other - one
    look = (one + other) / 2 - brain
    crown = np.cross(look, eyes)
    # Of the look what is square to the line of the eyes: a head is a right-angled thing, its labels are not quite.
    look = np.cross(eyes, crown)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([axis / np.linalg.norm(axis, axis=-1, keepdims=True) for axis in (look, eyes, crown)], axis=-2)


def midsagittal_plane(points: np.ndarray) -> Plane:
    """The plane between the eyes of a head, through the middle of its brain as nearly as it is square to their line.

    Args:
        points: (3, 3), brain and both eyes, x, y, z in mm; NaN throughout where one is missing.
    """
    axes = head_axes(points)
    return Plane((points[0] + points[1:].mean(axis=0)) / 2 + 0 * axes[1], axes[1])


def _look(towards: str) -> Quantity:
    def formula(brain: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        axes = head_axes(np.stack([brain, one, other], axis=-2))
        return axis_angle(axes[..., 0, :], np.eye(3)[_PATIENT[towards]])

    return Quantity(
        f"look_{towards}", "deg", f"look to {towards}", formula, _POINTS, missing=180.0, headline=False,
        how=f"angle of the direction from the brain to midway between the eyes with the patient's axis to {towards}",
    )  # fmt: skip


def _eyes(towards: str) -> Quantity:
    def formula(brain: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        axes = head_axes(np.stack([brain, one, other], axis=-2))
        return axis_angle(axes[..., 1, :], np.eye(3)[_PATIENT[towards]], directed=False)

    return Quantity(
        f"eyes_{towards}", "deg", f"eyes to {towards}", formula, _POINTS, missing=90.0, headline=False,
        how=f"angle of the line through the eyes with the patient's axis to {towards}",
    )  # fmt: skip


_POINTS = ("brain", "left_eye", "right_eye")
FETAL_FACE = Schema(
    name="fetal_face",
    points=_POINTS,
    lines=(("brain", "left_eye"), ("brain", "right_eye"), ("left_eye", "right_eye")),
    quantities=(
        # Between the middles of the eyes. Biometry measures between the inner edges (interocular) and the outer edges
        # (binocular) of the orbits, which no point here shows.
        Quantity("eye_distance", "mm", "distance of the eyes", length, ("left_eye", "right_eye"), main=True,
                 interval="eye_distance"),
        *(_look(towards) for towards in _PATIENT),
        *(_eyes(towards) for towards in _PATIENT),
    ),
    dimensions=3,
    interchangeable=(("left_eye", "right_eye"),),
    groups=(("brain", ("brain",)), ("eyes", ("left_eye", "right_eye"))),
    midsagittal=midsagittal_plane,
    axes=head_axes,
    axis_names=("look", "eyes", "crown"),
)  # fmt: skip
