"""The pyramid that a swept convex probe insonifies, and its beams.

Scan coordinates in mm: the origin is the apex where the beams would meet, x runs along the long side of the volume, y
away from the probe, z across; right-handed. Beams are even in the tangents x / y and z / y.
"""

from __future__ import annotations

import math

import attrs
import numpy as np

Block = tuple[slice, slice, slice]
Shape3 = tuple[int, int, int]


@attrs.frozen
class Probe:
    """Field of view of one volume; lengths in mm."""

    box: tuple[float, float, float]
    """Sides of the volume along x, y, z; the skin touches the middle of its first face in y."""
    near: float
    """Distance from the apex to the skin."""
    wide: float
    """Tangent of half the opening in x."""
    tall: float
    """Tangent of half the opening in z."""

    @property
    def far(self) -> float:
        """Distance from the apex to the deepest echo."""
        return self.near + self.box[1]

    def contains(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Whether points (..., 3) in scan coordinates are seen, at least ``margin`` mm from every border."""
        x, y, z = np.moveaxis(points, -1, 0)
        radius = np.sqrt(x * x + y * y + z * z)
        seen = (radius >= self.near + margin) & (radius <= self.far - margin)
        seen &= np.abs(x) <= self.wide * y - margin * math.hypot(1, self.wide)
        seen &= np.abs(z) <= self.tall * y - margin * math.hypot(1, self.tall)
        seen &= (np.abs(x) <= self.box[0] / 2 - margin) & (np.abs(z) <= self.box[2] / 2 - margin)
        return seen & (np.abs(y - self.near - self.box[1] / 2) <= self.box[1] / 2 - margin)


@attrs.frozen(eq=False)
class BeamGrid:
    """Samples along beams: arrays are (samples, beams across x, beams across z), float32."""

    probe: Probe
    step: float
    """mm between samples of a beam."""
    radius: np.ndarray
    """(samples,) mm from the apex."""
    u: np.ndarray
    """(beams,) tangent x / y."""
    v: np.ndarray
    """(beams,) tangent z / y."""
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    @classmethod
    def of(cls, probe: Probe, step: float) -> BeamGrid:
        """A grid whose samples lie ``step`` mm apart along the beam, and across it half way down."""
        middle = (probe.near + probe.far) / 2
        radius = np.linspace(probe.near, probe.far, max(8, math.ceil(probe.box[1] / step) + 1))
        u = _tangents(probe.wide, middle, step)
        v = _tangents(probe.tall, middle, step)
        slant = np.sqrt(1 + u[:, None] ** 2 + v[None, :] ** 2)
        y = (radius[:, None, None] / slant).astype(np.float32)
        x, z = y * u.astype(np.float32)[:, None], y * v.astype(np.float32)
        return cls(probe, float(radius[1] - radius[0]), radius, u, v, x, y, z)

    @property
    def shape(self) -> Shape3:
        return self.radius.size, self.u.size, self.v.size

    def around(self, middle: np.ndarray, reach: float) -> Block | None:
        """The part of the grid that holds a sphere of ``reach`` mm; None where the sphere is not seen."""
        x, y, z = middle
        depths = max(y - reach, 1e-3), y + reach
        across, up = ([(place + side * reach) / depth for side in (-1, 1) for depth in depths] for place in (x, z))
        distance = float(np.sqrt(np.sum(np.square(middle))))
        spans = ((distance - reach, distance + reach), (min(across), max(across)), (min(up), max(up)))
        block = []
        for (low, high), axis in zip(spans, (self.radius, self.u, self.v), strict=True):
            first, last = int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high, side="right"))
            if last <= first:
                return None
            block.append(slice(first, last))
        return block[0], block[1], block[2]

    def at(self, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y, z of a part of the grid."""
        return self.x[block], self.y[block], self.z[block]


def _tangents(half: float, middle: float, step: float) -> np.ndarray:
    return np.linspace(-half, half, max(8, math.ceil(2 * half * middle / step) + 1))


def scan_convert(grid: BeamGrid, values: np.ndarray, shape: Shape3) -> np.ndarray:
    """Samples of beams -> voxels (I, J, K) along x, y, z by linear interpolation, float32; 0 where no beam goes."""
    probe = grid.probe
    i, j, k = (
        ((np.arange(count) + 0.5) * (side / count)).astype(np.float32)
        for count, side in zip(shape, probe.box, strict=True)
    )
    x = (i - probe.box[0] / 2)[:, None, None]
    y = (j + probe.near)[None, :, None]
    z = (k - probe.box[2] / 2)[None, None, :]
    places = []
    for value, axis in ((np.sqrt(x * x + y * y + z * z), grid.radius), (x / y, grid.u), (z / y, grid.v)):
        place = (value - axis[0]) * ((axis.size - 1) / (axis[-1] - axis[0]))
        places.append(np.broadcast_to(place, shape))
    sizes = grid.shape
    seen = np.logical_and.reduce([(p >= 0) & (p <= size - 1) for p, size in zip(places, sizes, strict=True)])
    volume = np.zeros(shape, np.float32)
    volume[seen] = _interpolated(values, [place[seen] for place in places])
    return volume


def _interpolated(values: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Trilinear interpolation at fractional indices, each (n,)."""
    _, beams_u, beams_v = values.shape
    whole = [np.minimum(place.astype(np.int32), size - 2) for place, size in zip(places, values.shape, strict=True)]
    a, b, c = (place - index for place, index in zip(places, whole, strict=True))
    first = (whole[0] * beams_u + whole[1]) * beams_v + whole[2]
    flat = values.ravel()
    sides = []
    for down in (0, beams_u * beams_v):
        rows = [
            flat[first + (down + across)] * (1 - c) + flat[first + (down + across + 1)] * c for across in (0, beams_v)
        ]
        sides.append(rows[0] * (1 - b) + rows[1] * b)
    return sides[0] * (1 - a) + sides[1] * a
