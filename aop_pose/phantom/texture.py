"""Random textures on the beam grid: clouds, stripes along a layer, short strokes across the beam."""

from __future__ import annotations

import cv2
import numpy as np

Cells = tuple[int, int]


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: Cells, octaves: int = 1) -> np.ndarray:
    """Noise of unit spread, float32 of ``shape``, with about ``cells`` blobs down and across.

    Each further octave is twice as fine and 0.6 times as strong.
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = (max(2, cells[0] << octave), max(2, cells[1] << octave))
        coarse = rng.standard_normal(size, dtype=np.float32)
        total += np.float32(0.6**octave) * np.asarray(
            cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
        )
    return total / np.float32(max(float(total.std()), 1e-6))


def strokes(rng: np.random.Generator, shape: tuple[int, int], cells: Cells, rarity: float) -> np.ndarray:
    """Sparse short lines across the beam, 0 to 1.5: what of clouds exceeds ``rarity`` spreads."""
    return np.clip(clouds(rng, shape, cells, 2) - rarity, 0, 1.5)


def stripes(rng: np.random.Generator, across: np.ndarray, along: np.ndarray, thickness: float) -> np.ndarray:
    """Fibres of about unit spread that follow lines of constant ``across`` and break up the other way.

    across: mm, any range. along: 0 to 1 from the first to the last beam. thickness: mm.
    """
    bend = clouds(rng, across.shape, (5, 6), 2)
    texture = clouds(rng, (512, 64), (512, 22))
    row = np.mod((across + 2.0 * bend) / thickness + 128.0, 511.0)
    column = (along + 0.02 * bend) * 63.0
    return cv2.remap(
        texture,
        column.astype(np.float32),
        row.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def planes(rng: np.random.Generator, across: np.ndarray, along: np.ndarray, count: int) -> np.ndarray:
    """Thin wavy lines at ``count`` depths of ``across`` (mm), 0 to 1 each, short in ``along`` (0 to 1)."""
    lines = np.zeros(across.shape, np.float32)
    for _ in range(count):
        wave = clouds(rng, (1, across.shape[1]), (1, 5), 2)
        middle, reach = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.35)
        line = across + 1.8 * wave - rng.uniform(5.0, 38.0)
        lines += bump(line, rng.uniform(0.4, 0.9)) * bump(along - middle, reach)
    return lines


def bump(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """exp(-(distance / width)^2)."""
    return np.exp(-np.square(distance / width))
