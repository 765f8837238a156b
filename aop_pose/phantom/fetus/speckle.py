"""Speckle of a coherent pulse, and the gray map.

The envelope is the modulus of a complex Gaussian field, white scatterers of the given strength blurred by the pulse:
Rayleigh where the strength is even (Wagner et al., IEEE Trans Son Ultrason 1983), and correlated over the size of the
pulse. A blur by s mm correlates the field by exp(-(d / 2s)^2) at a distance of d mm, and its squared modulus by the
square of that.
"""

from __future__ import annotations

import cv2
import numpy as np

from aop_pose.phantom.fetus.beams import BeamGrid, Shape3

AXIAL_MM = 0.45
"""Standard deviation of the pulse along the beam, or half a sample where that is more."""
LATERAL, ELEVATION = 0.009, 0.013
"""Standard deviation of the pulse across, in tangents of the angle (0.5 and 0.7 degrees), or half a beam."""


def pulse(grid: BeamGrid) -> tuple[float, float, float]:
    """Standard deviations of the pulse in samples and beams."""
    across_u, across_v = (float(axis[1] - axis[0]) for axis in (grid.u, grid.v))
    return max(AXIAL_MM / grid.step, 0.5), max(LATERAL / across_u, 0.5), max(ELEVATION / across_v, 0.5)


def envelope(rng: np.random.Generator, strength: np.ndarray, sigmas: tuple[float, float, float]) -> np.ndarray:
    """Amplitude of the echoes, same shape as ``strength`` (samples, beams, beams), float32.

    strength: root mean square amplitude of the scatterers. sigmas: ``pulse``. The mean square of the result is that of
    an even ``strength``.
    """
    total = np.zeros(strength.shape, np.float32)
    # A Gaussian blur of white noise leaves 1 / (2 sqrt(pi) sigma) of its power per axis; kernels are discrete.
    left = np.prod([float(np.sum(kernel(sigma) ** 2)) for sigma in sigmas])
    for _ in range(2):
        field = rng.standard_normal(strength.shape, dtype=np.float32)
        field *= strength
        total += np.square(blurred(field, sigmas))
    return np.sqrt(total * np.float32(0.5 / left))


def kernel(sigma: float) -> np.ndarray:
    """A Gaussian of unit sum, odd length, cut at three standard deviations."""
    place = np.arange(-max(1, int(np.ceil(3 * sigma))), max(1, int(np.ceil(3 * sigma))) + 1)
    weights = np.exp(-0.5 * (place / sigma) ** 2)
    return weights / weights.sum()


def blurred(field: np.ndarray, sigmas: tuple[float, float, float]) -> np.ndarray:
    """A (samples, beams, beams) field after a Gaussian blur along each axis, sigmas in samples and beams."""
    down, across_u, across_v = (kernel(sigma) for sigma in sigmas)
    one, border = np.ones(1), cv2.BORDER_REFLECT
    flat = cv2.sepFilter2D(field.reshape(field.shape[0], -1), -1, one, down, borderType=border)
    slices = flat.reshape(field.shape)
    return np.stack([cv2.sepFilter2D(slice_, -1, across_v, across_u, borderType=border) for slice_ in slices])


def gray(amplitude: np.ndarray, top_db: float, range_db: float) -> np.ndarray:
    """Gray values 0 to 255 after log compression: ``top_db`` and above is white, ``range_db`` below it black."""
    db = 20 * np.log10(np.maximum(amplitude, np.float32(1e-6)))
    return np.float32(255) * np.clip(1 + (db - top_db) / range_db, 0, 1) ** np.float32(1.2)


def clouds(rng: np.random.Generator, shape: Shape3, cells: Shape3) -> np.ndarray:
    """Smooth noise of about unit spread, float32 of ``shape``, with about ``cells`` blobs along each axis."""
    field = rng.standard_normal([count + 1 for count in cells], dtype=np.float32)
    for axis, (count, size) in enumerate(zip(cells, shape, strict=True)):
        place = np.linspace(0, count, size, dtype=np.float32)
        first = np.minimum(place.astype(np.int32), count - 1)
        share = (place - first).reshape([-1 if n == axis else 1 for n in range(3)])
        field = np.take(field, first, axis) * (1 - share) + np.take(field, first + 1, axis) * share
    return field * np.float32(1.6)
