"""Volumes without a fetal head: other parts of scans, scans whose head was cut out, noise, emptiness, adult heads, a
womb without a head; and volumes whose head must not be measured as if it stood there whole, alone and to scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.inference.grid import random_rotation
from lib.fetal_head import fetal_head

AWAY_MM = 75.0
"""Distance of a part of a scan from the middle of the head: no fetal head reaches so far."""
SIDES_MM = (100.0, 180.0)
"""Of such a part, least and greatest."""
_LEAST_VOXELS = 24
NEAR_MM, AROUND_MM = 90.0, 110.0
"""Half the side of a box around a head, and around the place where one was."""


def elsewhere(volume: Volume, head_mm: np.ndarray, draw: np.random.Generator) -> Volume | None:
    """A box of a scan that the head, (3,) mm in patient coordinates, does not reach; None where none was found."""
    head, spacing = volume.from_mm(head_mm), volume.spacing
    for _ in range(200):
        size = np.minimum(np.maximum(draw.uniform(*SIDES_MM, 3) / spacing, _LEAST_VOXELS), volume.shape).astype(int)
        start = np.array([int(draw.integers(0, n - m + 1)) for n, m in zip(volume.shape, size, strict=True)])
        nearest = np.clip(head, start, start + size - 1)
        i, j, k = (slice(a, a + n) for a, n in zip(start, size, strict=True))
        part = volume.voxels[i, j, k]
        # Most of it has to show something.
        shows = (part > 0.1 * np.percentile(volume.voxels, 99)).mean() > 0.4
        if np.linalg.norm((nearest - head) * spacing) > AWAY_MM and shows:
            affine = volume.affine.copy()
            affine[:3, 3] = volume.to_mm(start.astype(np.float64))
            return Volume(np.ascontiguousarray(part), affine, volume.source)
    return None


def cut_out(volume: Volume, head_mm: np.ndarray, draw: np.random.Generator, filled: bool) -> Volume:
    """A scan whose head is black, or filled with what lies opposite in the scan where that shows nothing of it."""
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"), axis=-1)
    head = volume.from_mm(head_mm)
    off = (axes - head) * volume.spacing
    inside = np.linalg.norm(off, axis=-1) < AWAY_MM
    voxels = volume.voxels.copy()
    half = np.array(volume.shape) // 2
    if draw.random() < 0.5:
        other, far = voxels[::-1, ::-1], (np.array(volume.shape) - 1 - 2 * head) * (1, 1, 0)
    else:
        other, far = np.roll(voxels, half, (0, 1, 2)), half
    # What lies opposite may be the head itself, where that lies near the middle of the scan.
    filled = filled and np.linalg.norm(far * volume.spacing) > 2 * AWAY_MM
    voxels[inside] = other[inside] if filled else 0.0
    return Volume(voxels, volume.affine, volume.source)


def noise(draw: np.random.Generator, shape: tuple[int, int, int] = (56, 56, 48)) -> Volume:
    """Noise of some grain, evenly or in a ball."""
    values = np.abs(draw.standard_normal(shape)).astype(np.float32)
    spread = np.exp(-2 * (np.pi * draw.uniform(0, 4)) ** 2 * sum(
        f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    ))  # fmt: skip
    values = np.fft.ifftn(np.fft.fftn(values) * spread).real.astype(np.float32)
    if draw.random() < 0.5:
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        values = values * (sum(axis**2 for axis in axes) < 0.8)
    return Volume((values - values.min()).astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]), "noise")


def empty(draw: np.random.Generator, shape: tuple[int, int, int] = (56, 56, 48)) -> Volume:
    """One value everywhere, but for the scanner's hum or a corner."""
    values = np.zeros(shape, np.float32)
    if draw.random() < 0.5:
        values += draw.random(shape, dtype=np.float32)
    else:
        values[:3, :3, :3] = 100
    return Volume(values, np.diag([3.0, 3.0, 3.0, 1.0]), "empty")


def adult_head(draw: np.random.Generator, shape: tuple[int, int, int] = (90, 90, 90)) -> Volume:
    """An adult head as T2-weighted MRI shows it, crudely: skin, dark skull, brain with folds, ventricles, eyes 64 mm
    apart, in any direction, 3 mm voxels."""
    middle = (np.array(shape) - 1) / 2
    axes = (np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) - middle) * 3.0
    places = (axes + draw.uniform(-15, 15, 3)) @ random_rotation(draw)
    size = draw.uniform(0.92, 1.08)

    def ball(centre: tuple[float, float, float], half: tuple[float, float, float]) -> np.ndarray:
        return ((((places / size - centre) / half) ** 2).sum(axis=-1)) < 1

    folds = 0.5 + 0.12 * np.sin(places[..., 0] / 4) * np.sin(places[..., 1] / 5) * np.sin(places[..., 2] / 4.5)
    values = np.zeros(shape)
    values[ball((0, 0, -10), (80, 102, 115))] = draw.uniform(0.35, 0.6)
    values[ball((0, 0, 0), (74, 95, 78))] = 0.05
    brain = ball((0, 0, 0), (68, 86, 70))
    values[brain] = folds[brain]
    for side in (-1, 1):
        values[ball((side * 14, 5, 8), (6, 30, 9))] = 0.95
        eye = ball((side * 32, 82, -28), (12.5, 12.5, 12.5))
        values[eye] = 0.95
    values = values + draw.normal(0, 0.03, shape)
    return Volume(np.clip(values, 0, None).astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]), "adult")


def womb(draw: np.random.Generator, shape: tuple[int, int, int] = (80, 80, 60)) -> Volume:
    """The made-up fetus of ``lib.fetal_head`` without its head: a mother's tissue, water and a trunk."""
    volume, _ = fetal_head(int(draw.integers(1 << 30)), shape=shape, head=False)
    return volume


def made_up(count: int, seed: int) -> Iterator[tuple[str, Volume]]:
    """Kind and volume: noise, adult, empty ones and wombs in turn."""
    draw = np.random.default_rng([seed, 1])
    makers = {"noise": noise, "adult": adult_head, "empty": empty, "womb": womb}
    for number in range(count):
        kind = ("noise", "adult", "adult", "empty", "womb")[number % 5]
        yield kind, makers[kind](draw)


def around(volume: Volume, middle_mm: np.ndarray, half_mm: float) -> tuple[Volume, np.ndarray]:
    """The box of a scan that reaches so far from a place, as far as the scan does, and the voxel at which it begins."""
    middle, room = volume.from_mm(middle_mm), half_mm / volume.spacing
    start = np.maximum(np.floor(middle - room), 0).astype(int)
    end = np.minimum(np.ceil(middle + room) + 1, volume.shape).astype(int)
    return part_of(volume, start, end), start


def part_of(volume: Volume, start: np.ndarray, end: np.ndarray) -> Volume:
    """The voxels of a scan from one corner to before another, where they were."""
    i, j, k = (slice(a, b) for a, b in zip(start, end, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_mm(start.astype(np.float64))
    return Volume(np.ascontiguousarray(volume.voxels[i, j, k]), affine, volume.source)


def cut_through(volume: Volume, head_mm: np.ndarray, draw: np.random.Generator) -> Volume:
    """The surroundings of a head that end at the middle of its brain, or up to 20 mm to either side of it."""
    box, _ = around(volume, head_mm, NEAR_MM)
    axis, edge = int(draw.integers(3)), box.from_mm(head_mm)
    edge = edge + draw.uniform(-20, 20, 3) / box.spacing
    start, end = np.zeros(3, int), np.array(box.shape)
    side = start if draw.random() < 0.5 else end
    side[axis] = int(np.clip(np.rint(edge[axis]), 4, box.shape[axis] - 4))
    return part_of(box, start, end)


def wrong_size(volume: Volume, head_mm: np.ndarray, draw: np.random.Generator) -> Volume:
    """A head two to three times too large or too small, as a wrong spacing makes it."""
    box, _ = around(volume, head_mm, NEAR_MM)
    scale = float(draw.uniform(2, 3)) ** (1 if draw.random() < 0.5 else -1)
    return Volume(box.voxels, box.affine @ np.diag([scale, scale, scale, 1.0]), volume.source)


def side_by_side(one: Volume, one_mm: np.ndarray, other: Volume, other_mm: np.ndarray) -> Volume:
    """Two heads in one volume, as twins lie: boxes around them beside each other, in the voxels of the first."""
    boxes = [around(volume, middle, NEAR_MM)[0] for volume, middle in ((one, one_mm), (other, other_mm))]
    low = np.min([box.shape for box in boxes], axis=0)
    parts = [box.voxels[:, : low[1], : low[2]] / max(float(np.percentile(box.voxels, 99)), 1e-6) for box in boxes]
    return Volume(np.concatenate(parts).astype(np.float32), boxes[0].affine, one.source)


def of_scan(volume: Volume, head_mm: np.ndarray, count: int, seed: tuple[int, ...]) -> Iterator[tuple[str, Volume]]:
    """Kind and volume: other parts of a scan, and the surroundings of its head without it."""
    draw = np.random.default_rng(list(seed))
    for number in range(count):
        if number % 2 == 0 and (part := elsewhere(volume, head_mm, draw)) is not None:
            yield "other part", part
        else:
            filled = bool(draw.random() < 0.5)
            box, _ = around(cut_out(volume, head_mm, draw, filled), head_mm, AROUND_MM)
            yield "head filled in" if filled else "head cut out", box
