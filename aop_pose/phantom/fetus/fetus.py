"""A made-up ultrasound volume of a fetus with its exact 22 points."""

from __future__ import annotations

import enum

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.keypoints import Keypoints
from aop_pose.phantom.fetus.beams import BeamGrid, Shape3, scan_convert
from aop_pose.phantom.fetus.organs import paint_fetus
from aop_pose.phantom.fetus.scene import Scene, Spacing3, draw_scene
from aop_pose.phantom.fetus.skeleton import Place
from aop_pose.phantom.fetus.speckle import clouds, envelope, gray, pulse
from aop_pose.phantom.fetus.tissue import Tissue
from aop_pose.phantom.fetus.womb import paint_womb
from aop_pose.schemas import FETUS
from aop_pose.volume import Volume

SHAPE: Shape3 = (88, 56, 56)
"""Half of the paper's 176x112x112 (section 4.1)."""
SIDES = (16, 320)
"""Fewest and most voxels along a side."""
_SAMPLING = 0.65
"""mm between samples of a beam over the smallest spacing of the voxels."""


class Stream(enum.IntEnum):
    """Each kind of draw has a stream of its own, so that the same fetus can be had in any size and moving."""

    SCENE = 0
    TEXTURE = 1
    SPECKLE = 2
    MOTION = 3


@attrs.frozen(eq=False)
class FetusPhantom:
    """One volume, its points and all that made it."""

    volume: Volume
    """Whole gray values 0 to 255, 0 where no beam goes; i, j, k run along x, y, z of the scan."""
    keypoints: Keypoints
    """The 22 points in voxel indices, known from the geometry and not from the voxels."""
    scene: Scene

    @property
    def points_mm(self) -> np.ndarray:
        """The points in mm, right-handed, (22, 3)."""
        return self.volume.to_mm(self.keypoints.coords)


def make_fetus(seed: int, index: int = 0, shape: Shape3 = SHAPE, spacing: Spacing3 | None = None) -> FetusPhantom:
    """The fetus number ``index`` of a seed; the same arguments give the same voxels.

    Another build of NumPy or OpenCV may round a gray value differently here and there; the points stay.
    seed, index: 0 or more. shape: voxels along i, j, k, each 16 to 320. spacing: mm along i, j, k, or None for a field
    of view that suits the fetus; two shapes of the same proportions then show the same scene, one finer. Errors:
    UsageError for anything else, and for a volume too small to hold a fetus.
    """
    check_fetus(seed, index, shape, spacing)
    scene = draw_scene(generator(seed, index, Stream.SCENE), shape, spacing)
    return shown(scene, seed, index, shape)


def check_fetus(seed: int, index: int, shape: Shape3, spacing: Spacing3 | None) -> None:
    """UsageError where a phantom cannot be made of these."""
    if seed < 0 or index < 0:
        raise UsageError(f"phantom: expected a seed and an index of 0 or more, found {seed} and {index}")
    fewest, most = SIDES
    if len(shape) != 3 or not all(fewest <= side <= most for side in shape):
        found = "x".join(str(side) for side in shape)
        raise UsageError(f"phantom: expected three sides of {fewest} to {most} voxels, found {found}")
    if spacing is not None and not (len(spacing) == 3 and all(0 < size < 100 for size in spacing)):
        found = ", ".join(f"{size:g}" for size in spacing)
        raise UsageError(f"phantom: expected three spacings of more than 0 mm, found {found}")


def generator(*stream: int) -> np.random.Generator:
    """Draws of one kind for one phantom, independent of all others."""
    return np.random.default_rng([*stream, len(FETUS.points)])


def shown(scene: Scene, seed: int, index: int, shape: Shape3, frame: int = 0) -> FetusPhantom:
    """A scene as a probe shows it. Textures belong to seed and index; each frame has speckle of its own."""
    textures, speckle = generator(seed, index, Stream.TEXTURE), generator(seed, index, Stream.SPECKLE, frame)
    voxels = np.rint(_scan(scene, shape, textures, speckle))
    affine = np.diag([*scene.spacing, 1.0])
    affine[:3, 3] = [-(count - 1) / 2 * size for count, size in zip(shape, scene.spacing, strict=True)]
    return FetusPhantom(
        volume=Volume(voxels, affine, f"fetus-{seed}-{index}", frame),
        keypoints=Keypoints.from_points(FETUS, scene.voxels),
        scene=scene,
    )


def _scan(scene: Scene, shape: Shape3, rng: np.random.Generator, speckle: np.random.Generator) -> np.ndarray:
    grid = BeamGrid.of(scene.probe, _SAMPLING * min(scene.spacing))
    tissue = Tissue.empty(grid)
    trunk, world = scene.attitude.trunk, scene.world
    paint_fetus(tissue, scene.attitude, world, 2.5 * clouds(rng, grid.shape, (24, 22, 18)))
    belly = Place(world.turn @ trunk.belly.turn, world.at(*scene.attitude.points["cord_insertion"]))
    paint_womb(tissue, rng, scene.cavity, belly)
    depth = (grid.radius - grid.radius[0]).astype(np.float32)[:, None, None]
    db = tissue.db - tissue.lost() - np.float32(rng.uniform(-0.02, 0.12)) * depth
    noise_db = rng.uniform(-72, -62) + np.float32(rng.uniform(0, 0.08)) * depth
    strength = np.sqrt(10 ** (db / 10) + 10 ** (noise_db / 10)).astype(np.float32)
    amplitude = envelope(speckle, strength, pulse(grid))
    levels = gray(amplitude, rng.uniform(-9, -4), rng.uniform(52, 62))
    return scan_convert(grid, levels, shape)
