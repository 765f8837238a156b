"""A fetus that moves: volumes of one scene over time, for 4-D."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.phantom.fetus.attitude import TOUCH, Attitude
from aop_pose.phantom.fetus.beams import Shape3
from aop_pose.phantom.fetus.fetus import SHAPE, FetusPhantom, Stream, check_fetus, generator, shown
from aop_pose.phantom.fetus.joints import ARM, LEG, NECK, SPINE, Pose
from aop_pose.phantom.fetus.scene import Scene, Spacing3, draw_scene
from aop_pose.phantom.fetus.skeleton import Place, turned

PERIOD = 24
"""Frames from one end of the movement to the other and back."""
_CHECKED = 13
"""Stages of the movement at which nothing may cross: those that are shown."""
_REACH_DEG = {"spine": 12.0, "neck": 20.0, "arms": 35.0, "legs": 35.0}
_MARGIN_MM = 1.0
_SHARES = (1.0, 0.6, 0.35, 0.2)


@attrs.frozen(eq=False)
class Motion:
    """Where a scene moves to, by way of smooth starts and stops."""

    scene: Scene
    target: Pose
    roll: np.ndarray
    """(3,) degrees about x, y and z of the scan, around the middle of the fetus."""
    drift: np.ndarray
    """(3,) mm."""

    def at(self, share: float) -> Scene:
        """The scene at ``share`` of the way, 0 to 1."""
        start = self.scene
        pose = start.attitude.pose.between(self.target, share)
        middle = start.points.mean(axis=0)
        turn = turned(0, share * self.roll[0]) @ turned(1, share * self.roll[1]) @ turned(2, share * self.roll[2])
        origin = middle + turn @ (start.world.origin - middle) + share * self.drift
        attitude = Attitude.of(start.attitude.trunk.body, pose)
        return attrs.evolve(start, attitude=attitude, world=Place(turn @ start.world.turn, origin))

    def possible(self) -> bool:
        """True where on the whole way no part presses deeper into another than touching, and all points are seen."""
        for share in np.linspace(0, 1, _CHECKED):
            scene = self.at(float(share))
            if scene.attitude.deepest() > TOUCH * scene.attitude.trunk.body.unit + 1e-6:
                return False
            if not scene.probe.contains(scene.points, _MARGIN_MM).all():
                return False
        return True


def make_fetus_sequence(
    seed: int, index: int = 0, frames: int = 12, shape: Shape3 = SHAPE, spacing: Spacing3 | None = None
) -> Iterator[FetusPhantom]:
    """The fetus of ``make_fetus`` moving smoothly: joints, and a slow roll and drift of the whole; one frame at a time.

    The first frame is the volume of ``make_fetus``; after ``PERIOD`` frames the movement is back there. A longer
    sequence begins with the same frames. Errors as there, and UsageError for fewer than one frame.
    """
    check_fetus(seed, index, shape, spacing)
    if frames < 1:
        raise UsageError(f"phantom: expected at least 1 frame, found {frames}")
    scene = draw_scene(generator(seed, index, Stream.SCENE), shape, spacing)
    motion = draw_motion(generator(seed, index, Stream.MOTION), scene)
    return _frames(motion, seed, index, frames, shape)


def _frames(motion: Motion, seed: int, index: int, frames: int, shape: Shape3) -> Iterator[FetusPhantom]:
    for frame in range(frames):
        share = (1 - np.cos(2 * np.pi * frame / PERIOD)) / 2
        yield shown(motion.at(float(share)), seed, index, shape, frame)


def draw_motion(rng: np.random.Generator, scene: Scene) -> Motion:
    """A possible movement: each part goes as far of its drawn way as it can without crossing another."""
    here = scene.attitude.pose
    motion = Motion(scene, here, np.zeros(3), np.zeros(3))
    for name, limits in (("spine", SPINE), ("neck", NECK), ("legs", LEG), ("arms", ARM)):
        angles = getattr(here, name)
        low, _, high = np.array(limits).T
        target = np.clip(angles + rng.normal(0, _REACH_DEG[name], angles.shape), low, high)
        # Each limb on its own: one that is held must not hold the others.
        for row in range(1 if angles.ndim == 1 else 2):
            chosen = slice(None) if angles.ndim == 1 else row
            motion = _as_far_as_possible(motion, name, chosen, target)
    roll, drift = rng.normal(0, 5, 3), rng.normal(0, 2, 3)
    tried = (attrs.evolve(motion, roll=share * roll, drift=share * drift) for share in _SHARES)
    return next((trial for trial in tried if trial.possible()), motion)


def _as_far_as_possible(motion: Motion, name: str, chosen: slice | int, target: np.ndarray) -> Motion:
    for share in _SHARES:
        angles = np.array(getattr(motion.target, name))
        angles[chosen] += share * (target[chosen] - angles[chosen])
        trial = attrs.evolve(motion, target=attrs.evolve(motion.target, **{name: angles}))
        if trial.possible():
            return trial
    return motion
