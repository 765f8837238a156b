"""Ellipsoids and tapered capsules with their distance functions: what a made-up fetus is built of.

Distances are signed (negative inside) and of first order: exact on the surface, a little off further away.
"""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.phantom.fetus.skeleton import Place


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
