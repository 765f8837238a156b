"""A fetus somewhere in the field of view of a probe, turned any way."""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.phantom.fetus.attitude import Attitude, draw_attitude
from aop_pose.phantom.fetus.beams import Probe, Shape3
from aop_pose.phantom.fetus.biometry import crown_rump_length, draw_body
from aop_pose.phantom.fetus.skeleton import Place
from aop_pose.phantom.fetus.solids import Ellipsoid
from aop_pose.schemas import FETUS

Spacing3 = tuple[float, float, float]
MARGIN_MM = 4.0
"""Every point lies at least so far from the border of what is seen."""
_PLACES, _GROWTH, _DRAWS = 256, 1.05, 40


@attrs.frozen(eq=False)
class Scene:
    """What a volume shows and from where; scan coordinates are those of ``beams``."""

    attitude: Attitude
    world: Place
    """Body coordinates in scan coordinates: a rotation and a shift in mm."""
    probe: Probe
    spacing: Spacing3
    """mm between voxels along i, j, k, which run along x, y, z of the scan."""
    cavity: Ellipsoid
    """The fluid around the fetus, in scan coordinates, before the wall is bent."""

    @property
    def points(self) -> np.ndarray:
        """The points of the schema ``fetus`` in its order, (22, 3) mm in scan coordinates."""
        points = self.attitude.points
        return np.stack([self.world.at(*points[name]) for name in FETUS.points])

    @property
    def voxels(self) -> np.ndarray:
        """The same as voxel indices i, j, k, (22, 3)."""
        across, _, up = self.probe.box
        return (self.points + np.array([across / 2, -self.probe.near, up / 2])) / self.spacing - 0.5


def draw_scene(rng: np.random.Generator, shape: Shape3, spacing: Spacing3 | None) -> Scene:
    """A scene for a volume of a shape.

    spacing: mm along i, j, k; None takes the same along all three, so that the field of view suits the fetus, as a
    sonographer sets the depth. UsageError where a given spacing leaves no room for any fetus.
    """
    return _fitted(rng, shape) if spacing is None else _within(rng, shape, spacing)


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation drawn evenly from all, (3, 3): a normalised quaternion (Shoemake, Graphics Gems III, 1992)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.sqrt(np.sum(q**2))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _probe(box: tuple[float, float, float], opening: float) -> Probe:
    """A probe that fits a box in mm; ``opening`` is the breadth of the pyramid half way down over that of the box."""
    near = 0.45 * box[1]
    middle = near + box[1] / 2
    wide, tall = (min(opening * side / 2 / middle, 0.95) for side in (box[0], box[2]))
    return Probe(box, near, wide, tall)


def _fitted(rng: np.random.Generator, shape: Shape3) -> Scene:
    fetus = _Draw.of(rng)
    longest = 1.8 * crown_rump_length(fetus.attitude.trunk.body.age_days) * rng.uniform(1.0, 1.2)
    while True:
        spacing = longest / max(shape)
        scene = fetus.placed(shape, (spacing, spacing, spacing))
        if scene is not None:
            return scene
        longest *= _GROWTH


def _within(rng: np.random.Generator, shape: Shape3, spacing: Spacing3) -> Scene:
    for _ in range(_DRAWS):
        scene = _Draw.of(rng).placed(shape, spacing)
        if scene is not None:
            return scene
    box = " x ".join(f"{count * size:.0f}" for count, size in zip(shape, spacing, strict=True))
    raise UsageError(
        f"phantom: expected a volume with room for a fetus of 11 to 15 weeks, about 140 x 90 x 90 mm, found {box} mm; "
        "give more voxels or a wider spacing"
    )


@attrs.frozen(eq=False)
class _Draw:
    """All that is random about a scene but the size of its field of view."""

    attitude: Attitude
    turn: np.ndarray
    opening: float
    shifts: np.ndarray
    """(n, 3): places to try, shares of the box from its middle."""
    room: np.ndarray
    """(3,): half axes of the cavity over what the fetus needs."""

    @classmethod
    def of(cls, rng: np.random.Generator) -> _Draw:
        attitude, turn = draw_attitude(rng, draw_body(rng)), rotation(rng)
        opening, shifts = rng.uniform(0.85, 1.05), rng.uniform(-0.5, 0.5, (_PLACES, 3))
        return cls(attitude, turn, opening, shifts, rng.uniform(1.05, 1.3, 3))

    def placed(self, shape: Shape3, spacing: Spacing3) -> Scene | None:
        """The fetus at the first of the places at which all its points are seen, or None."""
        i, j, k = (count * size for count, size in zip(shape, spacing, strict=True))
        probe = _probe((i, j, k), self.opening)
        points = np.stack([self.turn @ point for point in self.attitude.points.values()])
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        centres = self.shifts * [i, j, k] + [0.0, probe.near + j / 2, 0.0]
        seen = probe.contains(points - middle + centres[:, None], MARGIN_MM).all(axis=1)
        if not seen.any():
            return None
        world = Place(self.turn, centres[int(np.argmax(seen))] - middle)
        return Scene(self.attitude, world, probe, spacing, self._cavity(world))

    def _cavity(self, world: Place) -> Ellipsoid:
        """An ellipsoid that holds the box of all parts nearly whole and some fluid."""
        solids = [solid.moved(world) for solid in self.attitude.solids]
        low = np.min([solid.middle - solid.reach for solid in solids], axis=0)
        high = np.max([solid.middle + solid.reach for solid in solids], axis=0)
        a, b, c = ((high - low) / 2 * self.room + 3.0).tolist()
        return Ellipsoid(Place(np.eye(3), (low + high) / 2), (a, b, c))
