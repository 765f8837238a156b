"""The way of a volume into a network: gray values, handedness, resampling, padding, windows, and points there and back.

The network's grid has cubic voxels and a fixed size. The volume lies in its middle; what it does not reach is 0. The
axes stay in the file's order, except that the third is turned over where the file counts left-handed: the grid is
always right-handed, so that a left arm looks like a left arm whatever the file. Voxel indices count from the centre of
the first voxel.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aop_pose.geometry import handedness, voxel_spacing

LOW, HIGH = 1.0, 99.5
"""Percentiles of the voxels that become 0 and 1 (see ``normalised``)."""


@attrs.frozen(eq=False)
class Placement:
    """The place of a volume in a grid: one affine map, axis by axis, the inverse of itself to rounding."""

    scale: np.ndarray
    """(3,) grid voxels per voxel of the volume; negative where an axis is turned over."""
    shift: np.ndarray
    """(3,) grid index of the volume's voxel 0, 0, 0."""
    size: tuple[int, int, int]
    """Voxels of the grid."""
    voxel_mm: float
    """Edge of a voxel of the grid."""
    shape: tuple[int, int, int]
    """Voxels of the volume."""

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3) of the volume -> indices in the grid."""
        return np.asarray(points, np.float64) * self.scale + self.shift

    def backward(self, points: np.ndarray) -> np.ndarray:
        """Indices (..., 3) in the grid -> voxel indices of the volume, exactly."""
        return (np.asarray(points, np.float64) - self.shift) / self.scale

    @property
    def extent(self) -> tuple[int, int, int]:
        """Grid voxels that the volume covers along each axis, rounded; the rest of the grid is padding."""
        i, j, k = (max(1, round(float(n * abs(scale)))) for n, scale in zip(self.shape, self.scale, strict=True))
        return i, j, k

    @property
    def covered(self) -> tuple[slice, slice, slice]:
        """The part of the grid that the volume covers: voxels whose centres lie within its edges, one at least."""
        parts = []
        for scale, shift, count, length in zip(self.scale, self.shift, self.shape, self.size, strict=True):
            ends = np.sort(np.array([-0.5, count - 0.5]) * scale + shift)
            middle = int(np.clip(np.round(ends.mean()), 0, length - 1))
            first, last = max(0, int(np.ceil(ends[0]))), min(length - 1, int(np.floor(ends[1])))
            parts.append(slice(min(first, middle), max(last, middle) + 1))
        return parts[0], parts[1], parts[2]

    def within(self, points: np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3) of the volume, moved to its outer edges where they lie beyond them."""
        return np.clip(points, -0.5, np.asarray(self.shape) - 0.5)


def place(
    shape: Sequence[int],
    affine: np.ndarray,
    voxel_mm: float | None,
    size: Sequence[int] | np.ndarray,
    shrink: bool = True,
    aim: np.ndarray | None = None,
) -> Placement:
    """Put a volume into the middle of a grid.

    Args:
        shape: voxels of the volume.
        affine: (4, 4) voxel indices -> mm in patient coordinates; any right-handed ones will do.
        voxel_mm: edge of the grid's voxels; None = as small as the whole volume fits with.
        size: voxels of the grid; 0 along an axis = as many as the volume needs.
        shrink: whether a volume that would not fit gets larger voxels, so that nothing is cut off.
        aim: (3,) voxel index of the volume that comes into the middle in place of its own, to half a voxel of the grid.

    Raises:
        ValueError: ``voxel_mm`` is None and ``size`` has a 0.
    """
    spacing = voxel_spacing(affine)
    lengths = np.asarray(shape) * spacing
    given = np.asarray(size)
    if voxel_mm is None and not given.all():
        raise ValueError("a grid without voxel_mm needs a size along each axis")
    needed = max((length / n for length, n in zip(lengths, given, strict=True) if n), default=0.0)
    # A hair of room: what fits exactly must not become larger by rounding.
    edge = needed if voxel_mm is None else max(voxel_mm, needed * (1 - 1e-9)) if shrink else voxel_mm
    full = [int(n) or int(np.ceil(length / edge - 1e-9)) for n, length in zip(given, lengths, strict=True)]
    scale = spacing / edge
    if handedness(affine) < 0:
        scale[2] = -scale[2]
    shift = (np.array(full) - 1) / 2 - scale * (np.asarray(shape) - 1) / 2
    if aim is not None:
        # By whole voxels, so that every grid around a volume has its voxels in the same places.
        shift = shift - np.round(np.asarray(aim) * scale + shift - (np.array(full) - 1) / 2)
    i, j, k = full
    di, dj, dk = (int(n) for n in shape)
    return Placement(scale, shift, (i, j, k), float(edge), (di, dj, dk))


def itself(size: Sequence[int], voxel_mm: float) -> Placement:
    """A grid of that size as the place of a volume that is the grid."""
    i, j, k = size
    return Placement(np.ones(3), np.zeros(3), (i, j, k), voxel_mm, (i, j, k))


def resample(voxels: np.ndarray, placement: Placement) -> np.ndarray:
    """The volume (I, J, K) in its grid, float32; 0 beyond its outer edges.

    Linear along each axis; where the grid is coarser, by a triangle as wide as its voxels, so that nothing is skipped.
    """
    values = np.asarray(voxels, np.float32)
    for axis in range(3):
        weights = _weights(values.shape[axis], placement, axis)
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def _weights(count: int, placement: Placement, axis: int) -> np.ndarray:
    """(grid voxels, volume voxels) along an axis; rows sum to 1 within the volume and to 0 beyond it."""
    scale, shift = placement.scale[axis], placement.shift[axis]
    centres = (np.arange(placement.size[axis]) - shift) / scale
    width = max(1.0, 1 / abs(float(scale)))
    weights = np.clip(1 - np.abs(centres[:, None] - np.arange(count)) / width, 0, None)
    inside = (centres >= -0.5) & (centres <= count - 0.5)
    sums = weights.sum(axis=1, keepdims=True)
    return np.where(inside[:, None], weights / np.where(sums > 0, sums, 1), 0).astype(np.float32)


def normalised(voxels: np.ndarray) -> np.ndarray | None:
    """Gray values with percentile ``LOW`` of the voxels at 0 and ``HIGH`` at 1, cut there: float32 (I, J, K).

    Where the two are the same, the least and the greatest value take their place; None for a volume of one value.
    """
    low, high = np.percentile(voxels, [LOW, HIGH])
    if not high > low:
        low, high = float(voxels.min()), float(voxels.max())
    if not high > low:
        return None
    return np.clip((voxels.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)


_LEVEL, _LEAST_MEAN = 0.4, 0.04


def levelled(gray: np.ndarray, spacing: np.ndarray, mm: float | None) -> np.ndarray:
    """Gray values (I, J, K) as bright everywhere: what a receive coil near one side adds is taken away.

    Each is divided by the mean around it, weighted by a Gaussian of standard deviation ``mm``, plus 0.04, so that the
    noise of dark parts stays dark; the mean becomes 0.4, and what is above 1 is cut. ``mm`` None changes nothing.
    """
    if mm is None:
        return gray
    mean = gray
    for axis, (count, step) in enumerate(zip(gray.shape, spacing, strict=True)):
        places = np.arange(count) * step
        weights = np.exp(-((places[:, None] - places) ** 2) / (2 * mm**2))
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        mean = np.moveaxis(np.tensordot(weights, mean, axes=(1, axis)), 0, axis)
    return np.clip(gray * np.float32(_LEVEL) / (mean + np.float32(_LEAST_MEAN)), 0, 1)


def brightest(gray: np.ndarray) -> np.ndarray:
    """Mean position (3,) of gray values (I, J, K) that are not negative, in voxel indices: the middle of what is seen.

    In MRI of a pregnancy that is the uterus, whose water is bright, wherever it lies in the scan.
    """
    total = float(gray.sum(dtype=np.float64))
    sides = [gray.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.float64) for axis in range(3)]
    return np.array([np.arange(len(side)) @ side / total for side in sides])


def windows(shape: Sequence[int], size: Sequence[int], overlap: float) -> Iterator[tuple[slice, slice, slice]]:
    """Windows of ``size`` that cover a grid of ``shape``, which is no smaller; neighbours share ``overlap`` or more."""
    starts = []
    for length, side in zip(shape, size, strict=True):
        room = length - side
        steps = int(np.ceil(room / max(1.0, side * (1 - overlap)))) if room > 0 else 0
        starts.append([round(room * step / steps) for step in range(steps + 1)] if steps else [0])
    for i in starts[0]:
        for j in starts[1]:
            for k in starts[2]:
                yield slice(i, i + size[0]), slice(j, j + size[1]), slice(k, k + size[2])


def window_weights(size: Sequence[int]) -> np.ndarray:
    """The weight of each voxel of a window where windows overlap: most in its middle, something at its edges."""
    sides = [1 - np.abs(np.arange(n) - (n - 1) / 2) / ((n + 1) / 2) for n in size]
    return np.asarray(sides[0][:, None, None] * sides[1][:, None] * sides[2], np.float32)


Sides = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Channels of the left and of the right points of each pair of sides."""


@attrs.frozen
class Turn:
    """A signed permutation of the axes, about the middle of a grid."""

    axes: tuple[int, ...]
    """The axis that comes to stand first, second, third."""
    reversed: tuple[int, ...]
    """The new axes that then run the other way."""

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3): position from the middle before -> after."""
        signs = [-1.0 if axis in self.reversed else 1.0 for axis in range(3)]
        return np.eye(3)[list(self.axes)] * np.array(signs)[:, None]

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Values (I, J, K) turned."""
        return np.flip(values.transpose(self.axes), self.reversed)

    def backward(self, maps: np.ndarray) -> np.ndarray:
        """Maps (n, I, J, K) of turned values, turned back."""
        back = np.flip(maps, tuple(axis + 1 for axis in self.reversed))
        return back.transpose(0, *(1 + np.argsort(self.axes)))

    def keeps(self, shape: Sequence[int]) -> bool:
        """True where a grid of this shape has the same one after the turn."""
        return [shape[axis] for axis in self.axes] == list(shape)


def _turns() -> list[Turn]:
    every = (
        Turn(axes, tuple(axis for axis, sign in enumerate(signs) if sign))
        for axes in itertools.permutations(range(3))
        for signs in itertools.product((0, 1), repeat=3)
    )
    return [turn for turn in every if np.linalg.det(turn.matrix) > 0]


TURNS = _turns()
"""The 24 rotations of a cube, the one that moves nothing first."""


def turns_of(shape: Sequence[int], count: int) -> list[Turn]:
    """The turns a grid is shown in: all that keep its shape, or with a ``count`` of 1 the first.

    A cube has 24, a box with two equal sides 8, one with three different sides 4.
    """
    return [turn for turn in TURNS if turn.keeps(shape)] if count > 1 else TURNS[:1]


def turned_maps(
    network: Callable[[np.ndarray], np.ndarray], values: np.ndarray, turns: Sequence[Turn], unsided: Sides = ()
) -> np.ndarray:
    """Mean of the maps (n, I, J, K) that a network has of values (I, J, K) in each turn, turned back.

    One copy is shown at a time, so that the memory stays that of one.

    Args:
        network: (1, 1, I, J, K) -> (1, n, I, J, K).
        unsided: pairs of sides whose names the network was not taught. It may name them otherwise in each turn; the
            maps of a pair change places where they fit those before better so.
    """
    total = np.zeros(0, np.float32)
    for turn in turns:
        maps = turn.backward(network(np.ascontiguousarray(turn.forward(values))[None, None])[0])
        total = total + _named_alike(maps, total, unsided) if total.size else maps.astype(np.float32)
    return total / len(turns)


def _named_alike(maps: np.ndarray, others: np.ndarray, unsided: Sides) -> np.ndarray:
    """The maps, with the sides of each pair exchanged where their product with the others is greater so."""
    order = list(range(len(maps)))
    for left, right in unsided:
        both, exchanged = [*left, *right], [*right, *left]
        straight, crossed = (float(np.vdot(others[both], maps[some])) for some in (both, exchanged))
        if crossed > straight:
            for place, channel in zip(both, exchanged, strict=True):
                order[place] = channel
    return maps[order]


def sample(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Values (..., I, J, K) at voxel indices (*places, 3) by trilinear interpolation; 0 where one is outside.

    Returns (..., *places), float64.
    """
    shape = np.array(values.shape[-3:])
    last = shape - 1
    inside = np.asarray(((indices >= 0) & (indices <= last)).all(axis=-1))
    safe = np.where(inside[..., None], indices, 0)
    # The upper corner of a voxel cell must exist on the outermost plane too.
    low = np.minimum(safe.astype(int), np.maximum(last - 1, 0))
    share = safe - low
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    first, steps = low @ strides, np.where(last > 0, strides, 0)
    flat = values.reshape(*values.shape[:-3], -1)
    along = [(1 - share[..., axis], share[..., axis]) for axis in range(3)]
    total = np.zeros((*values.shape[:-3], *inside.shape))
    for i, j, k in np.ndindex(2, 2, 2):
        total += along[0][i] * along[1][j] * along[2][k] * flat[..., first + (i, j, k) @ steps]
    return np.where(inside, total, 0)


def rotations(count: int) -> list[np.ndarray]:
    """As many rotations (3, 3), the first of which turns nothing, the others drawn evenly from all there are.

    The same ones each time. Source of the quaternions: Shoemake, Graphics Gems III (1992), 124-132.
    """
    draw = np.random.default_rng(0)
    return [np.eye(3), *(random_rotation(draw) for _ in range(count - 1))]


def random_rotation(draw: np.random.Generator) -> np.ndarray:
    """(3, 3), each as likely as any other: a quaternion drawn evenly from the unit sphere."""
    quaternion = draw.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotated_maps(
    network: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    centre: np.ndarray,
    size: Sequence[int],
    turns: Sequence[np.ndarray],
) -> np.ndarray:
    """Mean of the maps (n, *size) that a network has of what lies around a place, in each rotation, turned back.

    A voxel counts over the rotations in which the network saw it.

    Args:
        network: (1, 1, *size) -> (1, n, *size).
        values: (I, J, K) that hold the input in every rotation; 0 is seen beyond.
        centre: (3,) index of ``values`` that comes into the middle of the input.
        turns: rotations (3, 3): a place p off the centre comes to ``turn @ p`` off the middle.
    """
    middle = (np.array(size) - 1) / 2
    places = np.stack(np.meshgrid(*(np.arange(count) for count in size), indexing="ij"), axis=-1) - middle
    total, counted = np.zeros(0, np.float32), np.zeros(tuple(size), np.float32)
    for turn in turns:
        seen = sample(values, places @ turn + centre).astype(np.float32)
        maps = network(seen[None, None])[0]
        back = places @ turn.T + middle
        inside = ((back >= 0) & (back <= 2 * middle)).all(axis=-1)
        turned = sample(maps, back).astype(np.float32)
        total = total + turned if total.size else turned
        counted += inside
    return np.asarray(total / np.maximum(counted, 1), np.float32)


LEAST_MM = 10.0
"""Added to the spread along each axis: few volumes show less than there is."""
Triple = tuple[float, float, float]


class PlacePrior(BaseModel):
    """A normal distribution of place for each map, in mm from the middle of the grid, along its axes.

    Where the network looks twice, from the middle of the first grid.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    strength: float = Field(gt=0, le=1)
    """The power to which the density is raised."""
    means: list[Triple]
    covariances: list[tuple[Triple, Triple, Triple]]
    """Of each map, in mm squared."""

    def weigh(self, maps: np.ndarray, voxel_mm: float, middle: np.ndarray) -> np.ndarray:
        """Maps (n, I, J, K) times the densities to the power of ``strength``, whose highest value is 1.

        ``middle``: (3,) the index from which places are counted; it may lie anywhere.
        """
        axes = [(np.arange(count) - start) * voxel_mm for count, start in zip(maps.shape[1:], middle, strict=True)]
        from_middle = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        weighed = np.empty_like(maps)
        for values, mean, covariance, out in zip(maps, self.means, self.covariances, weighed, strict=True):
            off = from_middle - mean
            squared = np.einsum("...i,ij,...j", off, np.linalg.inv(covariance), off)
            out[:] = values * np.exp(-0.5 * self.strength * (squared - squared.min()))
        return weighed


def place_prior(
    points_mm: Sequence[np.ndarray], strength: float, unsided: Sides = (), units: Sequence[Sequence[int]] | None = None
) -> PlacePrior | None:
    """The prior of labelled points; None where some point has fewer than two labels.

    Args:
        points_mm: (n, 3) of each volume, in mm from the middle of the grid; NaN for a point without a label.
        unsided: pairs of sides that have no names; both sides then have one distribution.
        units: the points of each map; None = each point has one.
    """
    points = np.asarray(points_mm, np.float64)
    pooled = [[index] for index in range(points.shape[1])] if units is None else [list(unit) for unit in units]
    for left, right in unsided:
        for one, other in zip(left, right, strict=True):
            pooled[one] = pooled[other] = [one, other]
    means: list[Triple] = []
    covariances: list[tuple[Triple, Triple, Triple]] = []
    for together in pooled:
        found = points[:, together].reshape(-1, 3)
        found = found[np.isfinite(found).all(axis=1)]
        if len(found) < 2:
            return None
        means.append(_triple(found.mean(axis=0)))
        first, second, third = np.cov(found.T) + np.eye(3) * LEAST_MM**2
        covariances.append((_triple(first), _triple(second), _triple(third)))
    return PlacePrior(strength=strength, means=means, covariances=covariances)


def _triple(values: np.ndarray) -> Triple:
    first, second, third = (round(float(value), 2) for value in values)
    return first, second, third
