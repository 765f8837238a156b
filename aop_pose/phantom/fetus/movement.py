"""A random attitude of a fetus whose parts touch at most: drawn joint by joint, what would cross is drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np

from aop_pose.errors import AopPoseError
from aop_pose.phantom.fetus.body import (
    ARM,
    ARM_RADII,
    LEFT,
    LEG,
    LEG_RADII,
    NECK,
    RIGHT,
    SPINE,
    Body,
    Ellipsoid,
    Limb,
    Pose,
    Range,
    Solid,
    Trunk,
    arm,
    draw,
    head_parts,
    landmarks,
    leg,
    limb_parts,
    neck_part,
    trunk_parts,
)

TOUCH = 0.8
"""Surfaces may press this deep into each other, in units: skin yields."""
_CANDIDATES, _BATCHES, _TRUNKS = 48, 4, 60
_STEPS = 10
"""Places along a segment where its distance from the rest is taken."""


@attrs.frozen
class Kind:
    """The common traits of arms, or of legs."""

    ranges: tuple[Range, ...]
    radii: tuple[float, ...]
    """At the joints from root to tip, in units."""
    root: float
    """Share of the first segment that lies within the trunk's outline, as shoulder and hip do."""
    place: Callable[[Trunk, int, np.ndarray], Limb]


ARMS, LEGS = Kind(ARM, ARM_RADII, 0.4, arm), Kind(LEG, LEG_RADII, 0.6, leg)


@attrs.frozen(eq=False)
class Attitude:
    """A posed body; limbs left first."""

    pose: Pose
    trunk: Trunk
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]

    @classmethod
    def of(cls, body: Body, pose: Pose) -> Attitude:
        trunk = Trunk.of(body, pose)
        left, right = (arm(trunk, side, pose.arms[side]) for side in (LEFT, RIGHT))
        one, other = (leg(trunk, side, pose.legs[side]) for side in (LEFT, RIGHT))
        return cls(pose, trunk, (left, right), (one, other))

    @property
    def points(self) -> dict[str, np.ndarray]:
        """The points of the schema ``fetus`` by name, (3,) mm in body coordinates."""
        return landmarks(self.trunk, self.arms, self.legs)

    @property
    def solids(self) -> list[Solid]:
        """All soft parts in body coordinates."""
        unit = self.trunk.body.unit
        parts = [part for kind, limb in self.limbs for part in limb_parts(limb, kind.radii, unit)]
        return [*torso(self.trunk), *parts]

    @property
    def limbs(self) -> tuple[tuple[Kind, Limb], ...]:
        """Legs, then arms, left first."""
        return (*((LEGS, limb) for limb in self.legs), *((ARMS, limb) for limb in self.arms))

    def deepest(self) -> float:
        """mm by which any part that may only touch another presses into it; negative where all are apart."""
        obstacles = torso(self.trunk)
        depth = -_chin_clearance(self.trunk)
        for kind, limb in self.limbs:
            depth = max(depth, -float(_clearance(limb, kind, self.trunk.body.unit, obstacles)))
            obstacles += limb_parts(limb, kind.radii, self.trunk.body.unit)
        return depth


def draw_attitude(rng: np.random.Generator, body: Body) -> Attitude:
    """A pose within the ranges of ``joints`` in which no part presses deeper than ``TOUCH`` into another."""
    for _ in range(_TRUNKS):
        spine, neck = draw(rng, SPINE, 1)[0], draw(rng, NECK, 1)[0]
        still = np.zeros((2, 5))
        trunk = Trunk.of(body, Pose(spine, neck, still, still))
        if _chin_clearance(trunk) < -TOUCH * body.unit:
            continue
        limbs = _draw_limbs(rng, trunk)
        if limbs is not None:
            return Attitude.of(body, Pose(spine, neck, legs=limbs[:2], arms=limbs[2:]))
    raise AopPoseError(f"phantom: found no attitude without crossing limbs in {_TRUNKS} tries; take another seed")


def torso(trunk: Trunk) -> list[Solid]:
    """The solids that limbs must stay out of, in body coordinates."""
    return [*trunk_parts(trunk).values(), *head_parts(trunk).values(), neck_part(trunk)]


def _draw_limbs(rng: np.random.Generator, trunk: Trunk) -> np.ndarray | None:
    """Angles of left leg, right leg, left arm, right arm, (4, 5), each clear of those before; None where one is not."""
    obstacles, drawn = torso(trunk), []
    for kind, side in ((LEGS, LEFT), (LEGS, RIGHT), (ARMS, LEFT), (ARMS, RIGHT)):
        angles = _free(rng, trunk, kind, side, obstacles)
        if angles is None:
            return None
        drawn.append(angles)
        obstacles += limb_parts(kind.place(trunk, side, angles), kind.radii, trunk.body.unit)
    return np.stack(drawn)


def _free(
    rng: np.random.Generator, trunk: Trunk, kind: Kind, side: int, obstacles: Sequence[Solid]
) -> np.ndarray | None:
    """The first drawn angles of a limb, (5,), with which it crosses nothing; None where there are none."""
    for _ in range(_BATCHES):
        angles = draw(rng, kind.ranges, _CANDIDATES)
        clearance = _clearance(kind.place(trunk, side, angles), kind, trunk.body.unit, obstacles)
        free = clearance >= -TOUCH * trunk.body.unit
        if free.any():
            return angles[int(np.argmax(free))]
    return None


def _clearance(limb: Limb, kind: Kind, unit: float, obstacles: Sequence[Solid]) -> np.ndarray:
    """mm between a limb beyond its root and the nearest obstacle, (...) of the batch; negative where they cross."""
    share = np.concatenate([np.linspace(kind.root, 1, _STEPS), *(np.linspace(0.1, 1, _STEPS) + n for n in (1, 2))])
    segment = np.minimum(share.astype(int), 2)
    part = (share - segment)[:, None]
    places = limb.joints[..., segment, :] * (1 - part) + limb.joints[..., segment + 1, :] * part
    radius = np.interp(share, np.arange(4), np.array(kind.radii) * unit)
    x, y, z = np.moveaxis(places, -1, 0)
    nearest = [(solid.distance(x, y, z) - radius).min(axis=-1) for solid in obstacles]
    return np.min(nearest, axis=0)


def _chin_clearance(trunk: Trunk) -> float:
    """mm between the outline of the face and the chest; negative where they cross."""
    thorax = trunk_parts(trunk)["thorax"]
    parts = head_parts(trunk)
    return min(_outline_clearance(parts[name], thorax) for name in ("chin", "face"))


def _outline_clearance(part: Ellipsoid, other: Ellipsoid) -> float:
    around, up = np.meshgrid(np.linspace(0, 2 * np.pi, 12, endpoint=False), np.linspace(-1, 1, 7))
    ring = np.sqrt(1 - up**2)
    outline = np.stack([ring * np.cos(around), ring * np.sin(around), up], axis=-1).reshape(-1, 3) * part.half
    x, y, z = (part.place.turn @ outline.T) + part.place.origin[:, None]
    return float(other.distance(x, y, z).min())
