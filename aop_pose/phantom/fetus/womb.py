"""Around the fetus: a fluid-filled cavity, the uterine wall, the placenta on one side of it, and the cord."""

from __future__ import annotations

import itertools

import numpy as np

from aop_pose.phantom.fetus.skeleton import Place
from aop_pose.phantom.fetus.solids import Capsule, Ellipsoid
from aop_pose.phantom.fetus.speckle import clouds
from aop_pose.phantom.fetus.tissue import FLUID_DB, Tissue, bump

_WALL_DB, _PLACENTA_DB, _CORD_DB = -32.0, -26.0, -31.0
_ROOM = 3.0
"""mm of fluid that is left between the fetus and the wall at least."""
_BENDS = 18


def paint_womb(tissue: Tissue, rng: np.random.Generator, cavity: Ellipsoid, belly: Place) -> None:
    """Paint wall, placenta, fluid and cord; the outline of the fetus must be painted already.

    belly: the system of the fetus's belly in scan coordinates, its origin where the cord leaves.
    """
    grid = tissue.grid
    coarse = clouds(rng, grid.shape, (3, 4, 3))
    distance = cavity.distance(grid.x, grid.y, grid.z) + 2.5 * coarse
    room = tissue.outline - np.float32(_ROOM + 2.0)
    # The wall bulges where the fetus would touch it.
    edge = np.minimum(distance, room) - np.float32(1.5) * bump(distance - room, 3.0)
    side = rng.standard_normal(3)
    side /= np.sqrt(np.sum(side**2))
    dx, dy, dz = (
        axis - np.float32(middle) for axis, middle in zip((grid.x, grid.y, grid.z), cavity.middle, strict=True)
    )
    towards = (side[0] * dx + side[1] * dy + side[2] * dz) / np.sqrt(dx * dx + dy * dy + dz * dz + 1)
    thick = rng.uniform(8, 15)
    placenta = np.clip((towards - 0.35) * 5, 0, 1) * np.clip((thick - edge) / 2, 0, 1)
    layers = 3.0 * clouds(rng, grid.shape, (14, 5, 5)) + 3.0 * coarse
    wall = _WALL_DB + rng.uniform(-4, 3) + layers
    wall += placenta.astype(np.float32) * (_PLACENTA_DB - wall + 1.5 * clouds(rng, grid.shape, (12, 14, 12)))
    outside = np.clip(0.5 + edge / max(1.2, 0.6 * grid.step), 0, 1) * (tissue.outline > 0)
    facing = np.gradient(edge, grid.step, axis=0)
    wall += bump(edge - 0.6, 1.2) * (2 + 12 * np.square(facing).astype(np.float32))
    tissue.db[:] += outside * (wall - tissue.db)
    tissue.loss[:] = np.maximum(tissue.loss, 0.05 * outside)
    _cord(tissue, rng, belly, cavity)


def _cord(tissue: Tissue, rng: np.random.Generator, belly: Place, cavity: Ellipsoid) -> None:
    """A coiled cord with dark vessels from the belly to the wall in front of it, where fluid leaves it room."""
    share = np.linspace(0, 1, _BENDS + 1)[:, None]
    front = belly.turn @ np.array([0.0, 1.0, 0.0])
    away = front + 0.6 * rng.standard_normal(3)
    away /= np.sqrt(np.sum(away**2))
    bend, wall = belly.origin + 15.0 * front + rng.uniform(-6, 6, 3), belly.origin + away * max(cavity.half)
    line = (1 - share) ** 2 * belly.origin + 2 * share * (1 - share) * bend + share**2 * wall
    turns = np.array([17.0, 14.0, 19.0])
    line = line + 2.5 * np.sin(np.pi * share) * np.sin(share * turns + rng.uniform(0, 6, 3))
    for start, end in itertools.pairwise(line):
        bar = Capsule(start, end, 1.7, 1.7)
        block = tissue.block(bar)
        if block is None:
            continue
        distance = bar.distance(*tissue.grid.at(block))
        free = np.clip(0.5 - distance / 0.8, 0, 1) * (tissue.outline[block] > 0.8) * (tissue.db[block] < FLUID_DB + 25)
        tissue.db[block] += free * (_CORD_DB - 14 * bump(distance + 1.7, 0.6) - tissue.db[block])
