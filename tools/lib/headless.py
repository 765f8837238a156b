"""Volumes without a fetal head: other parts of scans, scans whose head was cut out, noise, emptiness, adult heads."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.inference.grid import random_rotation

AWAY_MM = 75.0
"""Distance of a part of a scan from the middle of the head: no fetal head reaches so far."""
_LEAST_VOXELS = 24


def elsewhere(volume: Volume, head_mm: np.ndarray, draw: np.random.Generator) -> Volume | None:
    """A box of a scan that the head, (3,) mm in patient coordinates, does not reach; None where none was found."""
    head, spacing = volume.from_mm(head_mm), volume.spacing
    for _ in range(200):
        size = np.minimum(np.maximum(draw.uniform(110, 260, 3) / spacing, _LEAST_VOXELS), volume.shape).astype(int)
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
    """A scan whose head is black, or filled with what lies opposite in the scan."""
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"), axis=-1)
    off = (axes - volume.from_mm(head_mm)) * volume.spacing
    inside = np.linalg.norm(off, axis=-1) < AWAY_MM
    voxels = volume.voxels.copy()
    other = voxels[::-1, ::-1] if draw.random() < 0.5 else np.roll(voxels, [n // 2 for n in voxels.shape], (0, 1, 2))
    voxels[inside] = other[inside] if filled else 0.0
    return Volume(voxels, volume.affine, volume.source)


def noise(draw: np.random.Generator, shape: tuple[int, int, int] = (100, 100, 60)) -> Volume:
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


def empty(draw: np.random.Generator, shape: tuple[int, int, int] = (100, 100, 60)) -> Volume:
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


def made_up(count: int, seed: int) -> Iterator[tuple[str, Volume]]:
    """Kind and volume: noise, empty and adult ones in turn."""
    draw = np.random.default_rng([seed, 1])
    for number in range(count):
        kind = ("noise", "adult", "adult", "empty")[number % 4]
        yield kind, {"noise": noise, "adult": adult_head, "empty": empty}[kind](draw)


def of_scan(volume: Volume, head_mm: np.ndarray, count: int, seed: tuple[int, ...]) -> Iterator[tuple[str, Volume]]:
    """Kind and volume: other parts of a scan, and the scan without its head."""
    draw = np.random.default_rng(list(seed))
    for number in range(count):
        if number % 2 == 0 and (part := elsewhere(volume, head_mm, draw)) is not None:
            yield "other part", part
        else:
            filled = bool(draw.random() < 0.5)
            yield "head filled in" if filled else "head cut out", cut_out(volume, head_mm, draw, filled)
