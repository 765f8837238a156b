"""Pixels of any kind become uint8 gray; the one place that says how many are too many."""

from __future__ import annotations

import numpy as np

from aop_pose.errors import UnreadableError

MAX_PIXELS = 64_000_000
"""Largest frame that is decoded, in pixels (8000 x 8000); a larger one is refused from its header."""


def check_size(width: int, height: int) -> None:
    """Refuse a frame by what its header says, before anything is decoded; raises UnreadableError."""
    if width < 1 or height < 1:
        raise UnreadableError(f"no pixels: its header says {width} x {height}")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise UnreadableError(f"too large: {width} x {height} pixels, at most {limit} megapixels are read")


def to_gray8(values: np.ndarray) -> np.ndarray:
    """Gray values of any number type as uint8, same shape.

    uint8 stays. Whole numbers that already lie in 0..255 and fractions in 0..255 stay (rounded), fractions in
    0..1 are multiplied by 255. Everything else is windowed from its least to its largest value onto 0..255;
    whole numbers are never stretched (a window is at least 255 wide), so that a nearly constant 16-bit frame
    stays nearly constant. NaN and infinities become black.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    whole = np.issubdtype(values.dtype, np.integer)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    # float64 only where float32 would lose levels of the source.
    wide = np.float32 if values.dtype.itemsize <= 2 else np.float64
    shifted: np.ndarray = np.where(finite, values, low).astype(wide)
    if not whole and low >= 0 and high <= 1:
        shifted = shifted * 255.0
    elif low < 0 or high > 255:
        width = max(high - low, 255.0) if whole else high - low
        shifted = (shifted - low) * (255.0 / width) if width > 0 else np.zeros_like(shifted)
    gray = np.rint(shifted).astype(np.uint8)
    gray[~finite] = 0
    return gray


def rgb_to_gray(values: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 luma of uint8 colours, shape (..., 3) -> (...); equal channels stay exactly as they are."""
    weights = np.array([19595, 38470, 7471], dtype=np.uint32)
    return ((values.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)


def over_black(gray: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 gray laid over black by its uint8 alpha; transparent = black, as the surround of a sector is."""
    return ((gray.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
