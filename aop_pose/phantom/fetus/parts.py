"""The soft parts of a fetus as solids: what must not overlap, and what a picture shows as body."""

from __future__ import annotations

import numpy as np

from aop_pose.phantom.fetus.skeleton import (
    ABDOMEN_Y,
    ABDOMEN_Z,
    NECK_RADIUS,
    PELVIS_Y,
    THORAX_DEPTH,
    THORAX_Y,
    Limb,
    Place,
    Trunk,
)
from aop_pose.phantom.fetus.solids import Capsule, Ellipsoid

ARM_RADII = (3.0, 2.6, 1.9, 1.5)
"""At shoulder, elbow, wrist and finger tips, in units."""
LEG_RADII = (4.4, 3.3, 2.2, 1.7)
"""At hip, knee, ankle and toes, in units."""
_STRAIGHT = np.eye(3)


def trunk_parts(trunk: Trunk) -> dict[str, Ellipsoid]:
    """Thorax, abdomen and pelvis in body coordinates, mm."""
    body, unit = trunk.body, trunk.body.unit
    thorax = trunk.thorax.inner(_STRAIGHT, 0.0, THORAX_Y * unit, 0.5 * body.thorax)
    abdomen = trunk.belly.inner(_STRAIGHT, 0.0, ABDOMEN_Y * unit, ABDOMEN_Z * unit)
    pelvis = trunk.pelvis.inner(_STRAIGHT, 0.0, PELVIS_Y * unit, 0.0)
    return {
        "thorax": Ellipsoid(thorax, (11.5 * unit, THORAX_DEPTH * unit, 0.62 * body.thorax)),
        "abdomen": Ellipsoid(abdomen, (*body.abdomen, 13.0 * unit)),
        "pelvis": Ellipsoid(pelvis, (9.5 * unit, 8.0 * unit, body.rump)),
    }


def head_parts(trunk: Trunk) -> dict[str, Ellipsoid]:
    """Skull, face, chin and nose in body coordinates, mm."""
    unit, head = trunk.body.unit, trunk.head
    face = head.inner(_STRAIGHT, 0.0, 11.0 * unit, 2.5 * unit)
    chin = head.inner(_STRAIGHT, 0.0, 12.0 * unit, -5.5 * unit)
    nose = head.inner(_STRAIGHT, 0.0, 18.6 * unit, 3.2 * unit)
    return {
        "skull": Ellipsoid(Place(head.turn, trunk.skull), trunk.body.skull),
        "face": Ellipsoid(face, (8.8 * unit, 7.4 * unit, 9.8 * unit)),
        "chin": Ellipsoid(chin, (4.8 * unit, 4.6 * unit, 3.6 * unit)),
        "nose": Ellipsoid(nose, (1.9 * unit, 2.4 * unit, 2.0 * unit)),
    }


def neck_part(trunk: Trunk) -> Capsule:
    """The neck in body coordinates, mm."""
    radius = NECK_RADIUS * trunk.body.unit
    return Capsule(trunk.neck.origin, trunk.head.at(0.0, 3.0 * trunk.body.unit, 4.0 * trunk.body.unit), radius, radius)


def limb_parts(limb: Limb, radii: tuple[float, ...], unit: float) -> list[Capsule]:
    """The three segments of one limb in body coordinates, mm."""
    sizes = [radius * unit for radius in radii]
    return [Capsule(limb.joints[n], limb.joints[n + 1], sizes[n], sizes[n + 1]) for n in range(3)]
