"""Labelled volumes: read, put into groups, resampled once, and augmented: volume and points by one affine map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Dataset

from aop_pose.core.frame import Volume
from aop_pose.core.schema import Schema
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats import registry
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.points3d import schema_of
from aop_pose.formats.split import groups_by_name, groups_of, merge_groups, near_duplicate_groups_of
from aop_pose.inference.grid import TURNS, Placement, brightest, levelled, normalised, place, random_rotation, resample
from aop_pose.inference.stages import FARTHEST_MM
from aop_pose.pipelines.fetusmap.config import FetusmapConfig, FinerConfig
from aop_pose.pipelines.fetusmap.landmarks import Look, looks_of
from aop_pose.pipelines.job import Job

THUMBNAIL = (10, 10, 10)
"""Size at which volumes are compared to find near-duplicates."""


@attrs.frozen(eq=False)
class Example:
    """One volume, resampled to the grid's voxels, and its points."""

    name: str
    gray: torch.Tensor
    """(i, j, k) float16 in [0, 1], without the padding of the grid, where that can be added later."""
    points: torch.Tensor
    """(n, 3) float64, in voxels of ``gray``."""
    placement: Placement
    """The place of the volume in ``gray``."""
    middle: np.ndarray
    """(3,) what of ``gray`` comes into the middle of the input, in its voxels."""
    finer: tuple[Example, ...] = ()
    """The same volume in the voxels of each further look."""

    def parts(self) -> list[bytes]:
        """The bytes that a fingerprint of the data is made of."""
        own = [self.name.encode(), self.gray.numpy().tobytes(), self.points.numpy().tobytes()]
        return own + [part for look in self.finer for part in look.parts()]


def prepare(volume: Volume, points: np.ndarray, config: FetusmapConfig, names: Sequence[str] = ()) -> Example:
    """An example of a volume with points (n, 3) in its voxel indices; a missing one is NaN.

    ``names``: of the points, which the further looks need.

    Raises:
        UsageError: the volume has one value only, or a point lies outside it, or none is given.
    """
    gray = normalised(volume.voxels)
    if gray is None:
        raise UsageError(f"{volume.source}: expected gray values, found one value in the whole volume; leave it out")
    if not np.isfinite(points).any():
        raise UsageError(f"{volume.source}: expected at least one labelled point, found none; leave it out")
    outside = (points < -0.5).any(axis=1) | (points > np.array(volume.shape) - 0.5).any(axis=1)
    if outside.any():
        raise UsageError(
            f"{volume.source}: expected points within {volume.shape} voxels, found "
            f"{np.round(points[outside][0], 1).tolist()}; run `aop-pose dataset check`"
        )
    aim = brightest(gray) if config.aim == "brightness" else None
    gray = levelled(gray, volume.spacing, config.level_mm)
    size = (0, 0, 0) if config.mode == "patch" else config.size
    whole = place(volume.shape, volume.affine, config.voxel_mm, size, shrink=aim is None, aim=aim)
    # Without the grid's padding, and odd where the grid is odd: laid into its middle, no voxel falls between two.
    covered = np.ceil(np.array(volume.shape) * np.abs(whole.scale) - 1e-9).astype(int)
    bare = place(volume.shape, volume.affine, whole.voxel_mm, covered + (covered - whole.size) % 2, shrink=False)
    values = torch.from_numpy(resample(gray, bare)).half()
    middle = (np.array(whole.size) - 1) / 2 - whole.shift + bare.shift
    finer = tuple(_finer(volume, gray, points, stage, names.index(stage.around)) for stage in config.stages)
    return Example(volume.source, values, torch.from_numpy(bare.forward(points)), bare, middle, finer)


def _finer(volume: Volume, gray: np.ndarray, points: np.ndarray, stage: FinerConfig, around: int) -> Example:
    bare = place(volume.shape, volume.affine, stage.voxel_mm, (0, 0, 0), shrink=False)
    inside = bare.forward(points)
    # Without a label of the point in the middle the others' mean is there.
    middle = inside[around] if np.isfinite(inside[around]).all() else np.nanmean(inside, axis=0)
    values = torch.from_numpy(resample(gray, bare)).half()
    return Example(volume.source, values, torch.from_numpy(inside), bare, middle)


def read_labels(file: str, job: Job) -> tuple[list[Label], Schema]:
    """The labelled volumes of a file, and the schema that its columns tell.

    UsageError where there is no row, or the points are those of no schema.
    """
    path = resolve(file, job.data, own=True)
    labelled = registry.read_labels(path, job.data, schema=None, say=job.say)
    if not labelled:
        raise UsageError(f"{path}: expected at least one labelled volume, found none")
    try:
        return labelled, schema_of(labelled[0].schema.points)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def check_looks(config: FetusmapConfig, schema: Schema) -> None:
    """UsageError where the looks name points that the schema does not have, or none finds some point of it."""
    try:
        looks = looks_of(config, schema)
    except ValueError as error:
        raise UsageError(f"finds: {error}") from None
    found: set[str] = set()
    for number, look in enumerate(looks):
        if number and (around := config.stages[number - 1].around) not in found:
            raise UsageError(f"stages: expected around a point that an earlier look finds, found {around!r}")
        found |= {schema.points[index] for index in look.points}
    if left := [point for point in schema.points if point not in found]:
        raise UsageError(f"finds: expected every point of schema {schema.name}, found no look for {', '.join(left)}")


APART = (0.8, 1.1)
"""Distances go from this share of the least labelled one to this share of the greatest."""


def distances_mm(examples: Sequence[Example], schema: Schema, config: FetusmapConfig) -> dict[str, Any]:
    """``apart_mm`` and ``away_mm`` of ``FetusmapModel``: least and greatest distance of the two points of an
    interchangeable pair, and of either from the point that a look which finds them is around."""
    pairs = [schema.indices(pair) for pair in schema.interchangeable]
    finds = [(schema.index(stage.around), stage.finds or schema.points) for stage in config.stages]
    from_middle = [
        (middle, end)
        for middle, found in finds
        for pair in pairs
        for end in pair
        if middle not in pair and schema.points[end] in found
    ]
    return {"apart_mm": _range_of(examples, pairs), "away_mm": _range_of(examples, from_middle)}


def _range_of(examples: Sequence[Example], pairs: Sequence[tuple[int, ...]]) -> tuple[float, float]:
    distances = [
        float(np.linalg.norm(np.diff(one.points.numpy()[list(pair)], axis=0))) * one.placement.voxel_mm
        for one in examples
        for pair in pairs
    ]
    known = [distance for distance in distances if math.isfinite(distance)]
    return (round(APART[0] * min(known), 1), round(APART[1] * max(known), 1)) if known else (0.0, FARTHEST_MM)


def read_examples(volumes: Sequence[Label], schema: Schema, config: FetusmapConfig, job: Job) -> list[Example]:
    """Volumes and points in memory, resampled; what is said to the user of a volume is said once.

    UsageError names a volume that cannot be read, holds one value only, or has a point outside.
    """
    examples, padded, shrunk = [], [], []
    for one in volumes:
        try:
            volume = one.volume()
        except UnreadableError as error:
            raise UsageError(f"{one.name}: {error}") from None
        example = prepare(volume, one.points_of(schema), config, schema.points)
        examples.append(example)
        if min(example.placement.extent) < config.stride:
            padded.append(one.name)
        if config.voxel_mm is not None and example.placement.voxel_mm > config.voxel_mm * 1.001:
            shrunk.append(one.name)
    for names, what in ((padded, f"padded to the network's stride of {config.stride}"), (shrunk, "shrunk to fit size")):
        if names:
            job.say(f"{len(names)} of {len(volumes)} volumes {what}, the first {names[0]}")
    return examples


def groups(volumes: Sequence[Label], examples: Sequence[Example], config: FetusmapConfig) -> np.ndarray:
    """A group id per volume.

    Near-duplicates, a patient's volumes, time points of a file and equal values of ``group`` stay together.
    """
    small = [functional.interpolate(e.gray.float()[None, None], THUMBNAIL, mode="area").flatten() for e in examples]
    vectors = [vector - vector.mean() for vector in small]
    found = near_duplicate_groups_of([(vector / torch.linalg.norm(vector)).numpy() for vector in vectors])
    if config.patient is not None:
        found = merge_groups(found, groups_by_name([volume.name for volume in volumes], config.patient))
    # The time points of a file show one fetus.
    found = merge_groups(found, groups_of([volume.name for volume in volumes]))
    if config.group is not None:
        if config.group not in volumes[0].extras:
            known = ", ".join(volumes[0].extras) or "none besides the points"
            raise UsageError(f"group: expected a column of the label file ({known}), found {config.group!r}")
        found = merge_groups(found, groups_of([volume.extras[config.group] for volume in volumes]))
    return found


def check_apart(labelled: Sequence[Label], chosen: Sequence[Label]) -> None:
    """UsageError where a volume stands in both."""
    shared = sorted({volume.path.resolve() for volume in labelled} & {volume.path.resolve() for volume in chosen})
    if shared:
        raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such volumes)")


def rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """(3, 3) by so many degrees about an axis (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


class VolumeDataset(Dataset):
    """(grays, points, index) of each example, with a gray and points for each look.

    A gray is (1, *size) float32 in [0, 1], points are (n, 3) float32 in its voxels: NaN for those that the look does
    not find or that have no label, infinity for those that the input does not show. The gray of a look that rests
    in this epoch is empty.

    With ``epoch`` the volumes are augmented, and every draw follows from (seed, epoch, index) alone.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        config: FetusmapConfig,
        schema: Schema,
        seed: int = 0,
        epoch: int | None = None,
    ):
        self.examples, self.config, self.seed, self.epoch = examples, config, seed, epoch
        self.looks = looks_of(config, schema)
        self.mirrored = list(range(len(schema.points)))
        for left, right in schema.symmetric:
            i, j = schema.indices((left, right))
            self.mirrored[i], self.mirrored[j] = j, i

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], int]:
        example = self.examples[index]
        shown = [
            self._shown(one, number, look, index)
            for number, (one, look) in enumerate(zip((example, *example.finer), self.looks, strict=True))
        ]
        return tuple(gray[None] for gray, _ in shown), tuple(points for _, points in shown), index

    def _shown(self, example: Example, number: int, look: Look, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The gray that a look sees of an example, and the points that it finds there."""
        if self.epoch is None:
            gray, points = moved(example, np.eye(3), np.zeros(3), look.size)
            return gray, _found_by(look, points)
        if not number and (self.epoch + index) % self.config.first_every:
            return torch.zeros(0), torch.full(example.points.shape, torch.nan)
        # The draws of the first look do not depend on whether there are others.
        draw = np.random.default_rng([self.seed, self.epoch, index, *([number] if number else [])])
        matrix, mirror = self._matrix(draw)
        absent = self._absent(number)
        if absent and draw.random() < absent:
            gray, points = without_anatomy(example, matrix, look, draw)
        elif number:
            far = self.config.stages[number - 1].jitter_mm / example.placement.voxel_mm
            gray, points = moved(example, matrix, matrix @ draw.uniform(-far, far, 3), look.size)
        else:
            gray, points = moved(example, matrix, self._shift(draw, example, matrix), look.size)
        if mirror:
            points = points[self.mirrored]
        return self._varied(gray, draw), _found_by(look, points)

    def _absent(self, number: int) -> float:
        """Share of the inputs of a look that show no anatomy."""
        own = self.config.stages[number - 1].absent if number else None
        return self.config.absent if own is None else own

    def _matrix(self, draw: np.random.Generator) -> tuple[np.ndarray, bool]:
        """The turn and scale of the volume about its middle, mirrored or not."""
        config, matrix = self.config, np.eye(3)
        if config.rotations == "any":
            matrix = random_rotation(draw)
        elif config.rotations:
            matrix = TURNS[int(draw.integers(len(TURNS)))].matrix
        if config.degrees:
            matrix = rotation(draw.normal(size=3), draw.uniform(-config.degrees, config.degrees)) @ matrix
        if config.scale:
            matrix = matrix * math.exp(draw.uniform(-1, 1) * math.log1p(config.scale))
        mirror = bool(config.flip and draw.random() < config.flip)
        return (np.diag([-1.0, 1.0, 1.0]) @ matrix if mirror else matrix), mirror

    def _shift(self, draw: np.random.Generator, example: Example, matrix: np.ndarray) -> np.ndarray:
        """The shift of the volume: at random, then just enough that the grid holds its points.

        A window of patch mode is moved anywhere over the volume; every other one holds a point drawn at random.
        """
        size = np.array(self.config.size)
        points = (example.points.numpy()[list(self.looks[0].points)] - example.middle) @ matrix.T
        points = points[np.isfinite(points).all(axis=1)]
        if not len(points):
            return np.zeros(3)
        if self.config.mode == "patch":
            if draw.random() < 0.5:
                return np.asarray(draw.uniform(-0.4, 0.4, 3) * size - points[draw.integers(len(points))])
            room = np.abs(matrix @ np.diag(np.array(example.gray.shape) / 2)).sum(axis=1) - size / 2
            return np.asarray(draw.uniform(-1, 1, 3) * np.clip(room, 0, None))
        shift = draw.uniform(-1, 1, 3) * self.config.translate * size
        # Where the points span more than the grid their middle stays in the middle.
        edge = (size - 1) / 2 - 1
        least, most = -edge - points.min(axis=0), edge - points.max(axis=0)
        return np.where(least <= most, np.clip(shift, least, most), (least + most) / 2)

    def _varied(self, gray: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        config = self.config
        if config.contrast:
            gray = gray ** float(np.exp(draw.uniform(-1, 1) * np.log1p(config.contrast)))
        if config.brightness:
            gray = gray * (1 + draw.uniform(-1, 1) * config.brightness)
        if config.shading:
            places = torch.from_numpy(draw.normal(0, config.shading, (1, 1, 4, 4, 4)).astype(np.float32))
            gray = gray * functional.interpolate(places, gray.shape, mode="trilinear", align_corners=True)[0, 0].exp()
        if config.noise:
            values = draw.standard_normal(gray.shape, dtype=np.float32) * draw.uniform(0, config.noise)
            # As speckle does, it grows with the signal: what is padded stays empty.
            gray = gray * (1 + torch.from_numpy(values))
        return gray.clamp(0, 1)


def _found_by(look: Look, points: torch.Tensor) -> torch.Tensor:
    """Points (n, 3) float32, NaN where a look does not find them."""
    found = torch.full(points.shape, torch.nan)
    chosen = list(look.points)
    found[chosen] = points[chosen].float()
    return found


MISSIZED = ((0.2, 0.4), (2.2, 6.0))
"""Scales at which anatomy is none: a head of half a metre or of three centimetres, as a wrong spacing makes it."""
_TRIES = 20


def without_anatomy(
    example: Example, matrix: np.ndarray, look: Look, draw: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """An input without anatomy, as ``moved`` gives it: mostly another place, else a wrong size or something made up."""
    kind, size = draw.random(), np.array(look.size)
    nowhere = torch.full(example.points.shape, torch.inf, dtype=torch.float64)
    if kind < 0.1:
        return made_up(look.size, draw), nowhere
    if kind < 0.25:
        scale = draw.uniform(*MISSIZED[int(draw.integers(2))])
        return moved(example, matrix * scale, draw.uniform(-0.1, 0.1, 3) * size, look.size)[0], nowhere
    known = example.points.numpy()[list(look.points)]
    known = known[np.isfinite(known).all(axis=1)]
    for _ in range(_TRIES):
        there = draw.uniform(0, 1, 3) * (np.array(example.gray.shape) - 1)
        far = np.linalg.norm(there - known, axis=1).min(initial=np.inf) > 0.45 * size.min()
        if far and float(example.gray[tuple(np.rint(there).astype(int))]) > _DARK:
            return moved(attrs.evolve(example, middle=there), matrix, np.zeros(3), look.size)
    return made_up(look.size, draw), nowhere


_DARK = 0.08
"""Gray below which nothing is shown."""


def made_up(size: Sequence[int], draw: np.random.Generator) -> torch.Tensor:
    """A volume (*size) in [0, 1] of nothing that lives: noise, clouds, or balls of all sizes and brightnesses."""
    kind = draw.integers(4)
    if kind == 0:
        values = np.abs(draw.standard_normal(tuple(size))) * draw.uniform(0.05, 0.6)
    elif kind == 1:
        count = int(draw.integers(3, 13))
        places = torch.from_numpy(draw.random((1, 1, count, count, count)).astype(np.float32))
        clouds = functional.interpolate(places, tuple(size), mode="trilinear", align_corners=True)[0, 0]
        values = clouds.numpy() ** draw.uniform(0.5, 3)
    else:
        axes = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"), axis=-1)
        values = np.full(tuple(size), draw.uniform(0, 0.3)) + draw.normal(0, 0.03, tuple(size))
        for _ in range(int(draw.integers(1, 7))):
            off = (axes - draw.uniform(-0.4, 0.4, 3) * size) @ random_rotation(draw)
            values[((off / (draw.uniform(0.05, 0.45, 3) * size)) ** 2).sum(axis=-1) < 1] = draw.random()
    return torch.from_numpy(np.clip(values, 0, 1).astype(np.float32))


def moved(
    example: Example, matrix: np.ndarray, shift: np.ndarray, size: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The volume mapped about its ``middle`` into that of a grid: gray (*size), points (n, 3) in the grid.

    A point p of the volume goes to ``matrix @ (p - middle) + shift + middle of the grid``.
    """
    shape = np.array(example.gray.shape)
    points = (example.points.numpy() - example.middle) @ matrix.T + shift + (np.array(size) - 1) / 2
    gray = example.gray.float()
    back = np.linalg.inv(matrix)
    # torch counts from -1 to 1 between the outer edges (align_corners=False), its last coordinate along the first axis.
    scale_out, scale_in = 2 / shape, np.array(size) / 2
    linear = np.diag(scale_out) @ back @ np.diag(scale_in)
    offset = scale_out * (example.middle - (shape - 1) / 2 - back @ shift)
    theta = np.concatenate([linear[::-1, ::-1], offset[::-1, None]], axis=1)
    grid = functional.affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *size], align_corners=False)
    sampled = functional.grid_sample(gray[None, None], grid, align_corners=False, padding_mode="zeros")
    return sampled[0, 0], torch.from_numpy(points)
