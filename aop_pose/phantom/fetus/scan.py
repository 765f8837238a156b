"""The pyramid that a swept convex probe insonifies, and its beams.

Scan coordinates in mm: the origin is the apex where the beams would meet, x runs along the long side of the volume, y
away from the probe, z across; right-handed. Beams are even in the tangents x / y and z / y.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs
import cv2
import numpy as np

from aop_pose.phantom.fetus.body import Capsule, Solid

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
        """True for the points (..., 3) in scan coordinates that are seen, at least ``margin`` mm from every border."""
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


AXIAL_MM = 0.45
"""Standard deviation of the pulse along the beam, or half a sample where that is more."""
LATERAL, ELEVATION = 0.009, 0.013
"""Standard deviation of the pulse across, in tangents of the angle (0.5 and 0.7 degrees), or half a beam."""


def pulse(grid: BeamGrid) -> tuple[float, float, float]:
    """Standard deviations of the pulse in samples and beams."""
    across_u, across_v = (float(axis[1] - axis[0]) for axis in (grid.u, grid.v))
    return max(AXIAL_MM / grid.step, 0.5), max(LATERAL / across_u, 0.5), max(ELEVATION / across_v, 0.5)


def envelope(rng: np.random.Generator, strength: np.ndarray, sigmas: tuple[float, float, float]) -> np.ndarray:
    """Amplitude of the echoes, same shape as ``strength`` (samples, beams, beams), float32.

    strength: root mean square amplitude of the scatterers. sigmas: ``pulse``. The mean square of the result is that of
    an even ``strength``.
    """
    total = np.zeros(strength.shape, np.float32)
    # A Gaussian blur of white noise leaves 1 / (2 sqrt(pi) sigma) of its power per axis; kernels are discrete.
    left = np.prod([float(np.sum(kernel(sigma) ** 2)) for sigma in sigmas])
    for _ in range(2):
        field = rng.standard_normal(strength.shape, dtype=np.float32)
        field *= strength
        total += np.square(blurred(field, sigmas))
    return np.sqrt(total * np.float32(0.5 / left))


def kernel(sigma: float) -> np.ndarray:
    """A Gaussian of unit sum, odd length, cut at three standard deviations."""
    place = np.arange(-max(1, int(np.ceil(3 * sigma))), max(1, int(np.ceil(3 * sigma))) + 1)
    weights = np.exp(-0.5 * (place / sigma) ** 2)
    return weights / weights.sum()


def blurred(field: np.ndarray, sigmas: tuple[float, float, float]) -> np.ndarray:
    """A (samples, beams, beams) field after a Gaussian blur along each axis, sigmas in samples and beams."""
    down, across_u, across_v = (kernel(sigma) for sigma in sigmas)
    one, border = np.ones(1), cv2.BORDER_REFLECT
    flat = cv2.sepFilter2D(field.reshape(field.shape[0], -1), -1, one, down, borderType=border)
    slices = flat.reshape(field.shape)
    return np.stack([cv2.sepFilter2D(slice_, -1, across_v, across_u, borderType=border) for slice_ in slices])


def gray(amplitude: np.ndarray, top_db: float, range_db: float) -> np.ndarray:
    """Gray values 0 to 255 after log compression: ``top_db`` and above is white, ``range_db`` below it black."""
    db = 20 * np.log10(np.maximum(amplitude, np.float32(1e-6)))
    return np.float32(255) * np.clip(1 + (db - top_db) / range_db, 0, 1) ** np.float32(1.2)


def clouds(rng: np.random.Generator, shape: Shape3, cells: Shape3) -> np.ndarray:
    """Smooth noise of about unit spread, float32 of ``shape``, with about ``cells`` blobs along each axis."""
    field = rng.standard_normal([count + 1 for count in cells], dtype=np.float32)
    for axis, (count, size) in enumerate(zip(cells, shape, strict=True)):
        place = np.linspace(0, count, size, dtype=np.float32)
        first = np.minimum(place.astype(np.int32), count - 1)
        share = (place - first).reshape([-1 if n == axis else 1 for n in range(3)])
        field = np.take(field, first, axis) * (1 - share) + np.take(field, first + 1, axis) * share
    return field * np.float32(1.6)


FLUID_DB = -72.0
_FAR = np.float32(50.0)


@attrs.frozen(eq=False)
class Tissue:
    """A scene being painted; arrays of the grid's shape, float32, changed in place."""

    grid: BeamGrid
    db: np.ndarray
    """Strength of scattering, 0 is the brightest bone."""
    loss: np.ndarray
    """dB that the pulse loses per mm, there and back, beyond what depth compensation restores."""
    outline: np.ndarray
    """mm to the skin of the fetus, negative inside; 50 is far."""

    @classmethod
    def empty(cls, grid: BeamGrid) -> Tissue:
        zero = np.zeros(grid.shape, np.float32)
        return cls(grid, np.full_like(zero, FLUID_DB), zero, np.full_like(zero, _FAR))

    def block(self, solid: Solid, beyond: float = 0.0) -> Block | None:
        """The part of the grid where a solid and ``beyond`` mm around it lie; None where it is not seen."""
        return self.grid.around(solid.middle, solid.reach + beyond + self.grid.step)

    def join(self, solids: Iterable[Solid], softness: float) -> None:
        """Add solids to the outline of the fetus; where two meet, the crease is filled over ``softness`` mm."""
        for solid in solids:
            block = self.block(solid, 6.0)
            if block is not None:
                near, new = self.outline[block], solid.distance(*self.grid.at(block))
                crease = np.maximum(softness - np.abs(near - new), 0) / softness
                self.outline[block] = np.minimum(near, new) - np.square(crease) * np.float32(softness / 4)

    def fill(self, solid: Solid, db: float, soft: float = 0.6, texture: np.ndarray | None = None) -> None:
        """Replace the tissue within a solid, over a border of ``soft`` mm."""
        block = self.block(solid)
        if block is None:
            return
        inside = np.clip(0.5 - solid.distance(*self.grid.at(block)) / max(soft, self.grid.step / 2), 0, 1)
        level = np.float32(db) if texture is None else db + texture[block]
        self.db[block] += inside * (level - self.db[block])

    def shell(self, solid: Solid, thickness: float, db: float, loss: float, part: np.ndarray | None = None) -> None:
        """A bright layer under the surface of a solid that takes ``loss`` dB per mm; ``part`` (grid) weakens it."""
        block = self.block(solid)
        if block is None:
            return
        wide = max(thickness, 0.55 * self.grid.step)
        layer = bump(solid.distance(*self.grid.at(block)) + thickness / 2, wide)
        if part is not None:
            layer = layer * part[block]
        self._harden(block, layer, db, loss * thickness / wide)

    def bone(self, solid: Solid, db: float, loss: float) -> None:
        """A solid bone."""
        block = self.block(solid)
        if block is None:
            return
        size = min(solid.first, solid.last) if isinstance(solid, Capsule) else min(solid.half)
        blur = max(0.3, 0.5 * self.grid.step)
        depth = np.clip(0.5 - solid.distance(*self.grid.at(block)) / blur / 2, 0, 1)
        # A bar thinner than a sample is widened by the grid: it must not cast a deeper shadow for that.
        self._harden(block, depth, db, loss * min(1.0, size / blur))

    def _harden(self, block: Block, layer: np.ndarray, db: float, loss: float) -> None:
        self.db[block] += layer * np.maximum(db - self.db[block], 0)
        self.loss[block] = np.maximum(self.loss[block], layer * np.float32(loss))

    def facing(self) -> np.ndarray:
        """Cosine between beam and skin's normal: -1 where the beam enters the fetus squarely, 1 where it leaves."""
        return np.clip(np.gradient(self.outline, self.grid.step, axis=0), -1, 1).astype(np.float32)

    def lost(self) -> np.ndarray:
        """dB lost on the way to each place and back, behind it: shadows with soft sides."""
        total = np.cumsum(self.loss, axis=0, dtype=np.float32) * np.float32(self.grid.step)
        total -= self.loss * np.float32(self.grid.step)
        return blurred(total, (0.4, 0.8, 0.8))


def bump(distance: np.ndarray, width: float) -> np.ndarray:
    """exp(-(distance / width)^2)."""
    return np.exp(-np.square(distance / np.float32(width)))


SPECKS = 0.004
"""Share of the samples in fluid that hold a speck (vernix, hair) at a difficulty of 1."""
_SKIN_MM = 25.0
"""Depth by which half of what reverberates between probe and skin is gone, in dB."""


def spoil(tissue: Tissue, rng: np.random.Generator, difficulty: float) -> None:
    """Make a volume harder to read, in place: more of everything as ``difficulty`` goes from 0 to 1.

    Specks and a haze in the fluid, echoes between probe and skin, parts of the probe without contact or behind ribs,
    and tissue that takes more of the pulse.
    """
    if not difficulty:
        return
    share, shape = np.float32(difficulty), tissue.grid.shape
    fluid = tissue.db < FLUID_DB + 6
    haze = FLUID_DB + 20 * share + 4 * clouds(rng, shape, (10, 8, 8))
    specks = rng.random(shape, dtype=np.float32) < SPECKS * share
    haze = np.where(specks, rng.uniform(-30, -12, shape).astype(np.float32), haze)
    tissue.db[fluid] = np.maximum(tissue.db, haze)[fluid]
    depth = (tissue.grid.radius - tissue.grid.radius[0]).astype(np.float32)[:, None, None]
    clutter = -58 + 26 * share - depth * np.float32(30 / _SKIN_MM) + 3 * clouds(rng, shape, (6, 5, 5))
    tissue.db[:] = 10 * np.log10(10 ** (tissue.db / 10) + 10 ** (clutter / 10))
    without = np.clip(clouds(rng, (1, *shape[1:]), (1, 5, 5)) - 1.2, 0, 1)
    # All of it is lost within the first millimetres.
    tissue.loss[:] += without * share * 25 * (depth < 4) / 4 + 0.12 * share
