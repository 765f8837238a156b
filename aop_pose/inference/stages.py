"""Looks at a volume one after the other: each finer than the last, where that one found something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from aop_pose.core.frame import Volume
from aop_pose.inference.decode import decode, decode_two, highest_peaks, peaks
from aop_pose.inference.grid import TURNS, Placement, Turn, place, resample, rotated_maps, rotations, turned_maps

FARTHEST_MM = 1000.0
"""Greatest distance of two points of one map where nothing else is known."""
GLANCES = TURNS[::4]
"""Turns in which each place is seen; the surest ones are then seen in all rotations of their stage."""
CLOSER = 3
"""Places that are seen in all rotations, to choose one of them."""
DARK = 0.06
"""Mean gray below which a part of a volume shows nothing."""
MOST_PLACES = 1000


class StageContract(BaseModel):
    """A look after the first one: what its network takes and gives."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    maps: tuple[tuple[str, ...], ...]
    """The points that each map shows: one, or two that are not told apart."""
    around: str
    """The point, found by the look before, that comes into the middle of the input."""
    size: tuple[int, int, int]
    """Voxels of the input along i, j, k."""
    voxel_mm: float = Field(gt=0)
    sigma: float = Field(gt=0)
    """Of the maps that were taught, in voxels of the input."""
    rotations: int = Field(default=1, ge=1, le=64)
    """The maps are the mean of those in so many rotations (``grid.rotations``)."""
    stride: int = Field(default=1, ge=1)


@attrs.frozen(eq=False)
class Found:
    """Points of a schema in a volume, in its voxels, NaN where there is none, and the peaks of their maps."""

    points: np.ndarray
    scores: np.ndarray


class StagedNetwork(Protocol):
    """Networks by the number of their look, each (1, 1, *size) float32 -> maps (1, maps, *size)."""

    def __call__(self, inputs: np.ndarray, stage: int) -> np.ndarray: ...


def read_units(
    maps: np.ndarray,
    units: Sequence[Sequence[str]],
    names: Sequence[str],
    rule: str,
    placement: Placement,
    apart_mm: tuple[float, float],
    around: str = "",
    away_mm: tuple[float, float] = (0.0, FARTHEST_MM),
) -> Found:
    """The points of a schema that maps (n, I, J, K) of a grid show, in voxels of its volume.

    Args:
        units: the points of each map.
        names: of all points of the schema, in its order; those of no map are NaN, with a score of NaN.
        rule: see ``inference.decode.decode``.
        apart_mm: least and greatest distance of two points of one map.
        around: a point of an earlier map, from which both lie ``away_mm``, where it is found.
    """
    part = placement.covered
    start = np.array([along.start for along in part])
    points, scores = np.full((len(names), 3), np.nan), np.full(len(names), np.nan)
    for values, unit in zip(maps[(slice(None), *part)], units, strict=True):
        indices = [names.index(name) for name in unit]
        if len(unit) == 1:
            found, height = decode(values[None], rule, dimensions=3), peaks(values[None], dimensions=3)
        else:
            least, most = (end / placement.voxel_mm for end in apart_mm)
            where = None
            if around and np.isfinite(points[names.index(around)]).all():
                axes = np.ogrid[tuple(slice(count) for count in values.shape)]
                middle = placement.forward(points[names.index(around)]) - start
                off = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(axes, middle, strict=True)))
                where = (off >= away_mm[0] / placement.voxel_mm) & (off <= away_mm[1] / placement.voxel_mm)
            found, height = decode_two(values, rule, least, most, where)
        points[indices], scores[indices] = placement.backward(found[:, ::-1] + start), height
    return Found(points, scores)


def places_of(maps: np.ndarray, unit: int, placement: Placement, count: int, apart_mm: float) -> list[np.ndarray]:
    """Voxels (3,) of the volume at which a map of a grid is highest, at least so far apart, the highest first."""
    part = placement.covered
    start = np.array([along.start for along in part])
    highest = highest_peaks(maps[(unit, *part)], count, apart_mm / placement.voxel_mm)
    return [placement.backward(place + start) for place in highest.astype(np.float64)]


@attrs.frozen(eq=False)
class Finer:
    """A look at one place of a volume."""

    stage: StageContract
    names: Sequence[str]
    rule: str
    apart_mm: tuple[float, float]
    away_mm: tuple[float, float]
    network: Callable[[np.ndarray], np.ndarray]

    @property
    def indices(self) -> list[int]:
        """Of the points that it finds, among all of the schema."""
        return [self.names.index(name) for unit in self.stage.maps for name in unit]

    def score(self, found: Found) -> float:
        """The sureness of a place: the least peak, times the cube root of that of the middle.

        Tissue that looks like a brain, with an eye beside it, is not rare; a second eye at the right distance is.
        """
        peaks = np.nan_to_num(found.scores)
        return float(peaks[self.indices].min() * np.cbrt(peaks[self.around]))

    @property
    def around(self) -> int:
        """Of the point in the middle of its input, among all of the schema."""
        return self.names.index(self.stage.around)

    @property
    def reach(self) -> float:
        """Half of the shortest side of its input, in mm."""
        return min(self.stage.size) * self.stage.voxel_mm / 2

    def glance(self, volume: Volume, gray: np.ndarray, middle: np.ndarray, turns: Sequence[Turn] = GLANCES) -> Found:
        """The points around a voxel (3,) of a volume in few right-angled turns, to compare places."""
        grid = place(volume.shape, volume.affine, self.stage.voxel_mm, self.stage.size, shrink=False, aim=middle)
        kept = [turn for turn in turns if turn.keeps(grid.size)][: self.stage.rotations]
        return self._read(turned_maps(self.network, resample(gray, grid), kept), grid)

    def search(
        self, volume: Volume, gray: np.ndarray, plain: np.ndarray, step_mm: float, count: int
    ) -> list[np.ndarray]:
        """Voxels (3,) at which it finds its middle most surely, the surest first, looked for all over a volume.

        Unturned, about every ``step_mm`` mm along each axis where ``plain`` gray shows something; a volume that would
        have more places than ``MOST_PLACES`` is gone over in larger steps.
        """
        lengths = np.array(volume.shape) * volume.spacing
        step_mm = max(step_mm, float(np.cbrt(lengths.prod() / MOST_PLACES)))
        counts = np.maximum(1, np.round(lengths / step_mm)).astype(int)
        ends = [np.linspace(0, length, n + 1).astype(int) for length, n in zip(volume.shape, counts, strict=True)]
        looked: list[Found] = []
        for corner in np.ndindex(*counts):
            block = tuple(slice(along[at], along[at + 1]) for along, at in zip(ends, corner, strict=True))
            if plain[block].mean() > DARK:
                middle = np.array([(part.start + part.stop - 1) / 2 for part in block])
                looked.append(self.glance(volume, gray, middle, TURNS[:1]))
        looked.sort(key=self.score, reverse=True)
        return [found.points[self.around] for found in self._apart(looked, volume, count, self.reach / 4)]

    def _apart(self, looked: Iterable[Found], volume: Volume, count: int, mm: float) -> list[Found]:
        """The first so many of what was found whose middles lie so far apart."""
        kept: list[Found] = []
        for found in looked:
            middle = found.points[self.around]
            far = [np.linalg.norm((one.points[self.around] - middle) * volume.spacing) for one in kept]
            if len(kept) < count and np.isfinite(middle).all() and min(far, default=np.inf) > mm:
                kept.append(found)
        return kept

    def at(self, volume: Volume, gray: np.ndarray, middle: np.ndarray) -> Found:
        """The points around a voxel (3,) of a volume, in all rotations; ``gray``: as the network is to see it."""
        stage = self.stage
        # As large as the input in any rotation, so that a volume of any size and spacing takes the same memory.
        reach = int(np.ceil(np.linalg.norm(stage.size))) + 2
        box = place(volume.shape, volume.affine, stage.voxel_mm, (reach,) * 3, shrink=False, aim=middle)
        centre = box.forward(middle)
        maps = rotated_maps(self.network, resample(gray, box), centre, stage.size, rotations(stage.rotations))
        # The input, unturned, in the same voxels as its box.
        shift = box.shift - centre + (np.array(stage.size) - 1) / 2
        return self._read(maps, attrs.evolve(box, shift=shift, size=stage.size))

    def _read(self, maps: np.ndarray, grid: Placement) -> Found:
        stage = self.stage
        return read_units(maps, stage.maps, self.names, self.rule, grid, self.apart_mm, stage.around, self.away_mm)

    def choose(
        self, volume: Volume, gray: np.ndarray, places: Sequence[np.ndarray]
    ) -> tuple[Found, float, Found | None]:
        """The points at the best of some places, the score of the next best that is another one, as a share of the
        best's, and what was found at the surest one that has no point in common with the best.

        All are glanced at, and the surest ones looked at once more, in every rotation, with what was found in the
        middle; both looks count. A place is another one where what is found there in the middle lies nearer to the edge
        of the best's input than to its middle, or outside: the same two eyes may have a brain on either side. The
        surest place without a point in common is looked at as closely, however much surer others are: a second head.
        """
        glanced = sorted((self.glance(volume, gray, one) for one in places), key=self.score, reverse=True)
        closer = self._apart(glanced, volume, CLOSER, self.reach / 16)
        if not closer:
            return glanced[0], 0.0, None
        looked = [self.at(volume, gray, one.points[self.around]) for one in closer]
        scores = [np.sqrt(self.score(one) * self.score(two)) for one, two in zip(closer, looked, strict=True)]
        best, highest = looked[int(np.argmax(scores))], max(*scores, 1e-9)
        if not any(self._is_second(one, best, volume) for one in looked):
            other = next((one for one in glanced if self._is_second(one, best, volume)), None)
            if other is not None:
                looked.append(self.at(volume, gray, other.points[self.around]))
                scores.append(np.sqrt(self.score(other) * self.score(looked[-1])))
        far = [self._apart_mm(one, best, volume)[0] > self.reach / 2 for one in looked]
        rival = max((score for score, is_far in zip(scores, far, strict=True) if is_far), default=0.0)
        order = np.argsort(scores)[::-1]
        second = next((looked[at] for at in order if self._is_second(looked[at], best, volume)), None)
        return best, float(rival / highest), second

    def _apart_mm(self, one: Found, other: Found, volume: Volume) -> tuple[float, float]:
        """Between what was found in two places: of their middles, and of the two nearest points."""
        here, there = (found.points[self.indices] * volume.spacing for found in (one, other))
        every = np.linalg.norm(here[:, None] - there, axis=2)
        middle = self.indices.index(self.around)
        return float(every[middle, middle]), float(every.min()) if np.isfinite(every).all() else 0.0

    def _is_second(self, one: Found, best: Found, volume: Volume) -> bool:
        """True where all points were found and none of them is one of the best place's."""
        middles, nearest = self._apart_mm(one, best, volume)
        return middles > self.reach / 2 and nearest > max(self.apart_mm[0] / 2, self.stage.voxel_mm)
