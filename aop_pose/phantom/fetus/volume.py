"""A made-up ultrasound volume of a fetus with its exact 22 points."""

from __future__ import annotations

import csv
import enum
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.io.folders import appearing
from aop_pose.io.volumes import write_sequence, write_volume
from aop_pose.phantom.fetus.body import (
    ARM,
    LEG,
    NECK,
    SPINE,
    Ellipsoid,
    Place,
    Pose,
    crown_rump_length,
    draw_body,
    turned,
)
from aop_pose.phantom.fetus.movement import TOUCH, Attitude, draw_attitude
from aop_pose.phantom.fetus.organs import paint_fetus, paint_womb
from aop_pose.phantom.fetus.scan import (
    BeamGrid,
    Probe,
    Shape3,
    Tissue,
    clouds,
    envelope,
    gray,
    pulse,
    scan_convert,
    spoil,
)

Spacing3 = tuple[float, float, float]
MARGIN_MM = 4.0
"""Every point lies at least so far from the border of what is seen."""
_PLACES, _GROWTH, _DRAWS = 256, 1.05, 40


@attrs.frozen(eq=False)
class Scene:
    """The content of a volume and the probe it is seen from; scan coordinates are those of ``beams``."""

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
    SPOILT = 4


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


def make_fetus(
    seed: int, index: int = 0, shape: Shape3 = SHAPE, spacing: Spacing3 | None = None, difficulty: float = 0.0
) -> FetusPhantom:
    """The fetus number ``index`` of a seed; the same arguments give the same voxels.

    Another build of NumPy or OpenCV may round a gray value differently here and there; the points stay.
    seed, index: 0 or more. shape: voxels along i, j, k, each 16 to 320. spacing: mm along i, j, k, or None for a field
    of view that suits the fetus; two shapes of the same proportions then show the same scene, one finer. difficulty: 0
    to 1, more of what spoils a volume (``scan.spoil``) around the same fetus. Errors: UsageError for anything else, and
    for a volume too small to hold a fetus.
    """
    check_fetus(seed, index, shape, spacing, difficulty)
    scene = draw_scene(generator(seed, index, Stream.SCENE), shape, spacing)
    return shown(scene, seed, index, shape, difficulty=difficulty)


def check_fetus(seed: int, index: int, shape: Shape3, spacing: Spacing3 | None = None, difficulty: float = 0.0) -> None:
    """UsageError where a phantom cannot be made of these."""
    if not 0 <= difficulty <= 1:
        raise UsageError(f"phantom: expected a difficulty of 0 to 1, found {difficulty:g}")
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


def shown(scene: Scene, seed: int, index: int, shape: Shape3, frame: int = 0, difficulty: float = 0.0) -> FetusPhantom:
    """A scene as a probe shows it. Textures belong to seed and index; each frame has speckle of its own."""
    textures, speckle = generator(seed, index, Stream.TEXTURE), generator(seed, index, Stream.SPECKLE, frame)
    spoilt = generator(seed, index, Stream.SPOILT)
    voxels = np.rint(_scan(scene, shape, textures, speckle, spoilt, difficulty))
    affine = np.diag([*scene.spacing, 1.0])
    affine[:3, 3] = [-(count - 1) / 2 * size for count, size in zip(shape, scene.spacing, strict=True)]
    return FetusPhantom(
        volume=Volume(voxels, affine, f"fetus-{seed}-{index}", frame),
        keypoints=Keypoints.from_points(FETUS, scene.voxels),
        scene=scene,
    )


def _scan(
    scene: Scene,
    shape: Shape3,
    rng: np.random.Generator,
    speckle: np.random.Generator,
    spoilt: np.random.Generator,
    difficulty: float,
) -> np.ndarray:
    grid = BeamGrid.of(scene.probe, _SAMPLING * min(scene.spacing))
    tissue = Tissue.empty(grid)
    trunk, world = scene.attitude.trunk, scene.world
    paint_fetus(tissue, scene.attitude, world, 2.5 * clouds(rng, grid.shape, (24, 22, 18)))
    belly = Place(world.turn @ trunk.belly.turn, world.at(*scene.attitude.points["cord_insertion"]))
    paint_womb(tissue, rng, scene.cavity, belly)
    spoil(tissue, spoilt, difficulty)
    depth = (grid.radius - grid.radius[0]).astype(np.float32)[:, None, None]
    db = tissue.db - tissue.lost() - np.float32(rng.uniform(-0.02, 0.12)) * depth
    noise_db = rng.uniform(-72, -62) + np.float32(rng.uniform(0, 0.08)) * depth
    strength = np.sqrt(10 ** (db / 10) + 10 ** (noise_db / 10)).astype(np.float32)
    amplitude = envelope(speckle, strength, pulse(grid))
    levels = gray(amplitude, rng.uniform(-9, -4), rng.uniform(52, 62))
    return scan_convert(grid, levels, shape)


PERIOD = 24
"""Frames from one end of the movement to the other and back."""
_CHECKED = 13
"""Stages of the movement at which nothing may cross: those that are shown."""
_REACH_DEG = {"spine": 12.0, "neck": 20.0, "arms": 35.0, "legs": 35.0}
_MARGIN_MM = 1.0
_SHARES = (1.0, 0.6, 0.35, 0.2)


@attrs.frozen(eq=False)
class Motion:
    """The end of a movement of a scene, with smooth starts and stops."""

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
    seed: int,
    index: int = 0,
    frames: int = 12,
    shape: Shape3 = SHAPE,
    spacing: Spacing3 | None = None,
    difficulty: float = 0.0,
) -> Iterator[FetusPhantom]:
    """The fetus of ``make_fetus`` moving smoothly: joints, and a slow roll and drift of the whole; one frame at a time.

    The first frame is the volume of ``make_fetus``; after ``PERIOD`` frames the movement is back there. A longer
    sequence begins with the same frames. Errors as there, and UsageError for fewer than one frame.
    """
    check_fetus(seed, index, shape, spacing, difficulty)
    if frames < 1:
        raise UsageError(f"phantom: expected at least 1 frame, found {frames}")
    scene = draw_scene(generator(seed, index, Stream.SCENE), shape, spacing)
    motion = draw_motion(generator(seed, index, Stream.MOTION), scene)
    return _frames(motion, seed, index, frames, shape, difficulty)


def _frames(
    motion: Motion, seed: int, index: int, frames: int, shape: Shape3, difficulty: float
) -> Iterator[FetusPhantom]:
    for frame in range(frames):
        share = (1 - np.cos(2 * np.pi * frame / PERIOD)) / 2
        yield shown(motion.at(float(share)), seed, index, shape, frame, difficulty)


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


SIZES = (32, 256)
"""Fewest and most voxels along the longest side."""
MAX_TIMES = 100
"""Most time points of a file: all of them are in memory at once."""


def shape_of(size: int) -> Shape3:
    """The default's proportions with ``size`` voxels along the longest side; UsageError beyond ``SIZES``."""
    smallest, largest = SIZES
    if not smallest <= size <= largest:
        raise UsageError(f"phantom: expected a size of {smallest} to {largest} voxels for fetus, found {size}")
    i, j, k = (round(size * side / SHAPE[0]) for side in SHAPE)
    return i, j, k


def write_fetus_phantoms(
    out: str | Path,
    count: int,
    seed: int,
    size: int = SHAPE[0],
    times: int | None = None,
    difficulty: float = 0.0,
    overwrite: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Path:
    """Write ``OUT/volumes/*.nii.gz`` and ``OUT/labels.csv``; returns OUT.

    The table has Filename, age_days and the 22 points in voxel indices (3 decimals), as ``formats.points3d`` reads
    them. With ``times`` each file is 4-D and shows a moving fetus (``make_fetus_sequence``), and the table has a row a
    time point, told apart by its column ``index``; the first is the volume of the same fetus without ``times``.
    ``difficulty`` as ``make_fetus`` has it. The
    folder appears under its name when everything is in it; the same arguments give the same bytes. ``advance`` is
    called with the number of files done. UsageError where OUT holds something and ``overwrite`` is not given, where it
    holds more than a data set, and for a count below 1, a negative seed, a size beyond ``SIZES`` or times beyond 1 to
    ``MAX_TIMES``; nothing is written then.
    """
    if count < 1:
        raise UsageError(f"phantom: expected a count of at least 1, found {count}")
    if times is not None and not 1 <= times <= MAX_TIMES:
        raise UsageError(f"phantom: expected 1 to {MAX_TIMES} time points, found {times}")
    shape = shape_of(size)
    check_fetus(seed, 0, shape, difficulty=difficulty)
    out = Path(out)
    with appearing(out, overwrite) as folder:
        (folder / "volumes").mkdir()
        with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            time = ["index"] if times is not None else []
            table.writerow(["Filename", *time, "age_days", *FETUS.coordinate_columns])
            for index in range(count):
                name = f"{index:0{max(4, len(str(count - 1)))}d}.nii.gz"
                if times is None:
                    shown = [make_fetus(seed, index, shape, difficulty=difficulty)]
                    write_volume(shown[0].volume, folder / "volumes" / name)
                else:
                    shown = list(make_fetus_sequence(seed, index, times, shape, difficulty=difficulty))
                    write_sequence([one.volume for one in shown], folder / "volumes" / name)
                table.writerows([name, *([point] if time else []), *_cells(one)] for point, one in enumerate(shown))
                advance(index + 1)
    return out


def _cells(phantom: FetusPhantom) -> list[str]:
    age = phantom.scene.attitude.trunk.body.age_days
    return [f"{age:.1f}", *(f"{value:.3f}" for value in phantom.keypoints.coords.ravel())]
