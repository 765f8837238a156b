"""The inside of a fetus as ultrasound of 11 to 15 weeks shows it: bones bright, fluid dark, situs as usual.

Places and sizes are in units of ``Body``, in the coordinate system of their part. The stomach and the tip of the heart
lie on the left, most of the liver on the right: with the face in front, they tell left from right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from aop_pose.phantom.fetus.body import (
    SHAFT,
    Capsule,
    Ellipsoid,
    Limb,
    Place,
    head_parts,
    limb_parts,
    neck_part,
    trunk_parts,
)
from aop_pose.phantom.fetus.movement import Attitude
from aop_pose.phantom.fetus.scan import FLUID_DB, Tissue, bump, clouds

_SOFT_DB, _BONE_DB, _BRAIN_DB = -34.0, 0.0, -52.0
_BONE_LOSS, _SKULL_LOSS = 10.0, 4.0
"""dB per mm, there and back."""
_AXES = np.eye(3)


def paint_fetus(tissue: Tissue, attitude: Attitude, world: Place, texture: np.ndarray) -> None:
    """Paint body and insides. world: body coordinates in scan coordinates. texture: dB of the grid's shape."""
    unit = attitude.trunk.body.unit
    parts = trunk_parts(attitude.trunk), head_parts(attitude.trunk)
    trunk, head = ({name: solid.moved(world) for name, solid in group.items()} for group in parts)
    tissue.join([*trunk.values(), neck_part(attitude.trunk).moved(world), *head.values()], 4.0 * unit)
    for kind, limb in attitude.limbs:
        tissue.join([part.moved(world) for part in limb_parts(limb, kind.radii, unit)], 1.2 * unit)
    _skin(tissue, texture)
    _chest(tissue, attitude, world, trunk["thorax"], texture)
    _belly(tissue, attitude, world, texture)
    _skull(tissue, attitude, world, head["skull"], texture)
    _face(tissue, attitude, world)
    _bones(tissue, attitude, world)


def _skin(tissue: Tissue, texture: np.ndarray) -> None:
    """Soft tissue with a bright skin where the beam meets it squarely."""
    near = tissue.outline < 3.0
    distance, facing = tissue.outline[near], tissue.facing()[near]
    inside = np.clip(0.5 - distance / max(0.8, 0.5 * tissue.grid.step), 0, 1)
    db = tissue.db[near]
    db += inside * (_SOFT_DB + texture[near] - db)
    layer = bump(distance + 0.4, max(0.7, 0.6 * tissue.grid.step))
    shine = np.where(facing < 0, 2.0 + 14.0 * facing**2, 8.0 * facing**4)
    db += layer * shine
    tissue.db[near] = db
    tissue.loss[near] = np.maximum(tissue.loss[near], 0.04 * inside)


def _at(place: Place, world: Place, unit: float, middle: tuple[float, ...], half: tuple[float, ...]) -> Ellipsoid:
    """An ellipsoid given in units along the axes of a part of the body."""
    x, y, z = (unit * value for value in middle)
    a, b, c = (unit * value for value in half)
    return Ellipsoid(place.inner(_AXES, x, y, z), (a, b, c)).moved(world)


def _bar(place: Place, world: Place, unit: float, ends: tuple[tuple[float, ...], ...], radius: float) -> Capsule:
    """A bar given in units in a part of the body."""
    start, end = (place.at(*(unit * value for value in point)) for point in ends)
    return Capsule(start, end, unit * radius, unit * radius).moved(world)


def _chest(tissue: Tissue, attitude: Attitude, world: Place, thorax: Ellipsoid, texture: np.ndarray) -> None:
    body, place = attitude.trunk.body, attitude.trunk.thorax
    unit, height = body.unit, body.thorax / body.unit
    for side in (-1, 1):
        lung = _at(place, world, unit, (side * 5.0, 6.5, 0.55 * height), (4.4, 6.5, 7.2))
        tissue.fill(lung, _SOFT_DB + 4.0, 1.5, texture)
    for middle, half in (((-1.0, 9.2, 0.5), (4.2, 3.8, 4.6)), ((-3.4, 10.6, 0.4), (2.6, 2.6, 3.0))):
        tissue.fill(_at(place, world, unit, (*middle[:2], middle[2] * height), half), -46.0, 1.2)
    block = tissue.block(thorax)
    if block is not None:
        across, front, up = thorax.local(*tissue.grid.at(block))
        # Eight ribs that slope down to the front and leave breastbone and flanks' ends open.
        rib = np.clip(1.6 * np.cos(2 * np.pi * (up + 0.35 * front) / (2.9 * unit)) - 0.5, 0, 1)
        cage = (np.abs(up) < 0.75 * thorax.half[2]) & ((np.abs(across) > 2.2 * unit) | (front < 0))
        ribs = np.zeros(tissue.grid.shape, np.float32)
        ribs[block] = rib * cage
        tissue.shell(thorax, 1.6 * unit, _BONE_DB - 6.0, 0.4 * _BONE_LOSS, ribs)


def _belly(tissue: Tissue, attitude: Attitude, world: Place, texture: np.ndarray) -> None:
    unit, place = attitude.trunk.body.unit, attitude.trunk.belly
    tissue.fill(_at(place, world, unit, (3.0, 8.0, 2.5), (9.0, 7.8, 5.5)), _SOFT_DB - 4.0, 1.5, 0.5 * texture)
    tissue.fill(_at(place, world, unit, (-6.2, 7.6, -1.2), (2.7, 2.7, 3.4)), FLUID_DB)
    tissue.fill(_at(attitude.trunk.pelvis, world, unit, (0.0, 3.4, -1.5), (2.3, 2.1, 2.3)), FLUID_DB)


def _skull(tissue: Tissue, attitude: Attitude, world: Place, skull: Ellipsoid, texture: np.ndarray) -> None:
    """A bright shell around a nearly clear brain, with the midline and the choroid plexuses of the first trimester."""
    unit = attitude.trunk.body.unit
    inner = Ellipsoid(skull.place, (skull.half[0] - 0.9 * unit, skull.half[1] - 0.9 * unit, skull.half[2] - 0.9 * unit))
    tissue.fill(inner, _BRAIN_DB, 1.0, 0.7 * texture)
    falx = Ellipsoid(skull.place.inner(_AXES, 0.0, 0.0, 0.1 * skull.half[2]), _scaled(skull, (0.05, 0.92, 0.75)))
    tissue.fill(falx, -27.0)
    for side in (-1, 1):
        plexus = skull.place.inner(_AXES, side * 4.6 * unit, -1.5 * unit, 1.5 * unit)
        tissue.fill(Ellipsoid(plexus, (2.4 * unit, 6.2 * unit, 3.2 * unit)), -23.0, 0.8, texture)
    block = tissue.block(skull)
    if block is None:
        return
    across, front, up = skull.local(*tissue.grid.at(block))
    # The fontanelle, in front of the vertex, is a gap.
    gap = bump(np.hypot(front - 0.45 * skull.half[1], across), 3.2 * unit) * (up > 0)
    bone = np.zeros(tissue.grid.shape, np.float32)
    bone[block] = 1 - 0.8 * gap
    tissue.shell(skull, 1.3 * unit, _BONE_DB - 2.0, _SKULL_LOSS, bone)


def _scaled(solid: Ellipsoid, shares: tuple[float, float, float]) -> tuple[float, float, float]:
    a, b, c = (half * share for half, share in zip(solid.half, shares, strict=True))
    return a, b, c


def _face(tissue: Tissue, attitude: Attitude, world: Place) -> None:
    unit, head = attitude.trunk.body.unit, attitude.trunk.head
    for side in (-1, 1):
        orbit = _at(head, world, unit, (side * 5.0, 14.2, 5.2), (2.5, 2.4, 2.5))
        tissue.fill(orbit, -58.0)
        tissue.shell(orbit, 0.6 * unit, -17.0, 0.0)
        jaw = ((side * 5.2, 8.0, -4.2), (side * 0.6, 15.0, -6.6))
        upper_jaw = ((side * 4.6, 12.0, -0.4), (side * 0.4, 17.0, -0.8))
        for ends in (jaw, upper_jaw):
            tissue.bone(_bar(head, world, unit, ends, 0.75), _BONE_DB - 3.0, _BONE_LOSS)
    tissue.bone(_bar(head, world, unit, ((0.0, 17.2, 7.8), (0.0, 19.2, 4.4)), 0.65), _BONE_DB, _BONE_LOSS)


def _bones(tissue: Tissue, attitude: Attitude, world: Place) -> None:
    body, trunk = attitude.trunk.body, attitude.trunk
    unit = body.unit
    for place, centre, size in _vertebrae(attitude):
        for x, y, share in ((0.0, 0.6, 1.0), (-1.9, -1.3, 0.75), (1.9, -1.3, 0.75)):
            ball = Ellipsoid(Place(place.turn, centre).inner(_AXES, x * unit, y * unit, 0.0), (size * share,) * 3)
            tissue.bone(ball.moved(world), _BONE_DB - 1.0, _BONE_LOSS)
    top = body.thorax / unit
    for side in (-1, 1):
        collar = ((side * 1.2, 12.8, top - 5.0), (side * 10.5, 5.0, top - 2.5))
        tissue.bone(_bar(trunk.thorax, world, unit, collar, 0.6), _BONE_DB - 3.0, _BONE_LOSS)
        hip = ((side * 3.0, -4.5, 3.5), (side * 7.0, 0.5, 5.0))
        tissue.bone(_bar(trunk.pelvis, world, unit, hip, 1.0), _BONE_DB - 2.0, _BONE_LOSS)
    for _, limb in attitude.limbs:
        for bar in _limb_bones(limb, unit):
            tissue.bone(bar.moved(world), _BONE_DB, _BONE_LOSS)


def _vertebrae(attitude: Attitude) -> Iterator[tuple[Place, np.ndarray, float]]:
    """Part of the trunk, centre in body coordinates and radius in mm of each vertebra from sacrum to C1."""
    trunk, body = attitude.trunk, attitude.trunk.body
    unit = body.unit
    sacrum, loin = trunk.pelvis.at(0.0, -4.0 * unit, -0.55 * body.rump), trunk.thorax.origin
    line = ((trunk.pelvis, sacrum, loin), (trunk.thorax, loin, trunk.neck.origin))
    for place, start, end in (*line, (trunk.neck, trunk.neck.origin, trunk.head.origin)):
        length = float(np.sqrt(np.sum((end - start) ** 2)))
        count = max(2, round(length / (2.3 * unit)))
        for number in range(count):
            yield place, start + (number + 0.5) / count * (end - start), 1.25 * unit


def _limb_bones(limb: Limb, unit: float) -> Iterator[Capsule]:
    """One shaft in the upper segment, two in the lower one, three rays in hand or foot; body coordinates, mm."""
    ends = (1 - SHAFT) / 2
    across = limb.end.turn @ np.array([1.0, 0.0, 0.0])
    root, middle, distal, tip = limb.joints
    shaft = middle - root
    yield Capsule(root + ends * shaft, middle - ends * shaft, 0.95 * unit, 0.95 * unit)
    shaft = distal - middle
    for side in (-0.9, 0.9):
        shift = side * unit * across
        yield Capsule(middle + ends * shaft + shift, distal - ends * shaft + shift, 0.6 * unit, 0.6 * unit)
    for side in (-1.3, 0.0, 1.3):
        shift = side * unit * across
        yield Capsule(distal + 0.25 * (tip - distal) + 0.6 * shift, tip + shift, 0.4 * unit, 0.4 * unit)


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
