"""Labelled volumes: read, put into groups, resampled once, and augmented: volume and points by one affine map."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from aop_pose.inference.grid import TURNS, Placement, brightest, normalised, place, resample
from aop_pose.pipelines.fetusmap.config import FetusmapConfig
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

    def parts(self) -> list[bytes]:
        """The bytes that a fingerprint of the data is made of."""
        return [self.name.encode(), self.gray.numpy().tobytes(), self.points.numpy().tobytes()]


def prepare(volume: Volume, points: np.ndarray, config: FetusmapConfig) -> Example:
    """An example of a volume with points (n, 3) in its voxel indices; a missing one is NaN.

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
    size = (0, 0, 0) if config.mode == "patch" else config.size
    whole = place(volume.shape, volume.affine, config.voxel_mm, size, shrink=aim is None, aim=aim)
    # Without the grid's padding, and odd where the grid is odd: laid into its middle, no voxel falls between two.
    covered = np.ceil(np.array(volume.shape) * np.abs(whole.scale) - 1e-9).astype(int)
    bare = place(volume.shape, volume.affine, whole.voxel_mm, covered + (covered - whole.size) % 2, shrink=False)
    values = torch.from_numpy(resample(gray, bare)).half()
    middle = (np.array(whole.size) - 1) / 2 - whole.shift + bare.shift
    return Example(volume.source, values, torch.from_numpy(bare.forward(points)), bare, middle)


def read_labels(file: str, job: Job) -> tuple[list[Label], Schema]:
    """The labelled volumes of a file, and the schema that its columns tell.

    UsageError where there is no row, or the points are those of no schema.
    """
    path = resolve(file, job.data)
    labelled = registry.read_labels(path, job.data, schema=None, say=job.say)
    if not labelled:
        raise UsageError(f"{path}: expected at least one labelled volume, found none")
    try:
        return labelled, schema_of(labelled[0].schema.points)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


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
        example = prepare(volume, one.points_of(schema), config)
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
    """(gray (1, *size) float32 in [0, 1], points (n, 3) float32 in its voxels, index) of each example.

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
        self.mirrored = list(range(len(schema.points)))
        for left, right in schema.symmetric:
            i, j = schema.indices((left, right))
            self.mirrored[i], self.mirrored[j] = j, i

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        example = self.examples[index]
        if self.epoch is None:
            gray, points = moved(example, np.eye(3), np.zeros(3), self.config.size)
            return gray[None], points.float(), index
        draw = np.random.default_rng([self.seed, self.epoch, index])
        matrix, mirror = self._matrix(draw)
        gray, points = moved(example, matrix, self._shift(draw, example, matrix), self.config.size)
        if mirror:
            points = points[self.mirrored]
        return self._varied(gray, draw)[None], points.float(), index

    def _matrix(self, draw: np.random.Generator) -> tuple[np.ndarray, bool]:
        """The turn and scale of the volume about its middle, mirrored or not."""
        config, matrix = self.config, np.eye(3)
        if config.rotations:
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
        points = (example.points.numpy() - example.middle) @ matrix.T
        points = points[np.isfinite(points).all(axis=1)]
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
