"""Ellipsoids and tapered capsules with their distance functions: what a made-up fetus is built of.

Distances are signed (negative inside) and of first order: exact on the surface, a little off further away.
"""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.phantom.fetus.body import (
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


@attrs.frozen(eq=False)
class Ellipsoid:
    """Half axes in mm along the axes of a place whose origin is the centre."""

    place: Place
    half: tuple[float, float, float]

    @property
    def middle(self) -> np.ndarray:
        return self.place.origin

    @property
    def reach(self) -> float:
        """Radius of a sphere around the middle that holds all of it."""
        return max(self.half)

    def local(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates along the half axes in mm, of points of any shape."""
        (ox, oy, oz), turn = self.place.origin.astype(x.dtype), self.place.turn.astype(x.dtype)
        dx, dy, dz = x - ox, y - oy, z - oz
        u, v, w = (turn[0, axis] * dx + turn[1, axis] * dy + turn[2, axis] * dz for axis in range(3))
        return u, v, w

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """mm to the surface, of points of any shape."""
        u, v, w = self.local(x, y, z)
        p, q, r = u / self.half[0], v / self.half[1], w / self.half[2]
        level = np.maximum(np.sqrt(p * p + q * q + r * r), 1e-6)
        p, q, r = p / self.half[0], q / self.half[1], r / self.half[2]
        slope = np.sqrt(p * p + q * q + r * r)
        # At the very centre every direction is as good: there the nearest surface is meant.
        return level * (level - 1) / np.maximum(slope, 1e-6 / min(self.half))

    def moved(self, world: Place) -> Ellipsoid:
        """The same solid after a rigid motion."""
        return Ellipsoid(Place(world.turn @ self.place.turn, world.at(*self.place.origin)), self.half)


@attrs.frozen(eq=False)
class Capsule:
    """A round bar from one point to another, (3,) mm each, with the radius at both ends in mm."""

    start: np.ndarray
    end: np.ndarray
    first: float
    last: float

    @property
    def middle(self) -> np.ndarray:
        return (self.start + self.end) / 2

    @property
    def reach(self) -> float:
        """Radius of a sphere around the middle that holds all of it."""
        return float(np.sqrt(np.sum((self.end - self.start) ** 2)) / 2 + max(self.first, self.last))

    def along(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of the way from start to end (0 to 1) and mm from the axis, of points of any shape."""
        (sx, sy, sz), (bx, by, bz) = self.start.astype(x.dtype), (self.end - self.start).astype(x.dtype)
        dx, dy, dz = x - sx, y - sy, z - sz
        share = np.clip((dx * bx + dy * by + dz * bz) / max(float(bx * bx + by * by + bz * bz), 1e-12), 0, 1)
        dx, dy, dz = dx - share * bx, dy - share * by, dz - share * bz
        return share, np.sqrt(dx * dx + dy * dy + dz * dz)

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """mm to the surface, of points of any shape."""
        share, off = self.along(x, y, z)
        return off - (self.first + (self.last - self.first) * share)

    def moved(self, world: Place) -> Capsule:
        """The same solid after a rigid motion."""
        return Capsule(world.at(*self.start), world.at(*self.end), self.first, self.last)


Solid = Ellipsoid | Capsule


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
