"""Pixels of any kind become uint8 gray; the one place that says how many are too many."""

from __future__ import annotations

import math

import numpy as np

from aop_pose.errors import UnreadableError

MAX_PIXELS = 64_000_000
"""Largest frame that is decoded, in pixels (8000 x 8000); a larger one is refused from its header."""
MAX_BYTES = 256_000_000
"""Most bytes that the pixels of one frame may take while they are decoded (64 megapixels of four bytes)."""
FREE_BYTES = 512_000_000
"""Bytes that the frames or volumes of one file may take together, however small it is."""
MOST_PACKED = 200
"""Beyond ``FREE_BYTES``: bytes of pixels for a byte of the file; more than that no scan packs, but a trap does."""

_BLOCK = 1 << 20
# A hot pixel stands apart from the others by more than this share of their range.
_APART = 1 / 8
# One in so many pixels may be hot, and one of a small frame; below the smallest frame none is.
_ONE_HOT_IN, _SMALLEST_WITH_HOT = 10_000, 64


def check_size(width: int, height: int, pixel_bytes: int = 1) -> None:
    """Refuse a frame by what its header says, before anything is decoded; raises UnreadableError.

    ``pixel_bytes``: what a pixel takes while it is decoded.
    """
    if width < 1 or height < 1:
        raise UnreadableError(f"no pixels: its header says {width} x {height}")
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise UnreadableError(f"too large: {width} x {height} pixels, at most {limit} megapixels are read")
    if width * height * pixel_bytes > MAX_BYTES:
        raise UnreadableError(
            f"too large: {width} x {height} pixels of {pixel_bytes} bytes, at most {MAX_BYTES // 1_000_000} MB are read"
        )


def check_unpacked(unpacked: int, file_bytes: int) -> None:
    """Refuse a small file of which very much would be unpacked (both in bytes); raises UnreadableError."""
    if unpacked > max(FREE_BYTES, MOST_PACKED * file_bytes):
        raise UnreadableError(
            f"too large: {file_bytes} bytes that unpack to {unpacked / 1e6:.0f} MB and more, at most "
            f"{FREE_BYTES // 1_000_000} MB or {MOST_PACKED} times the file are read"
        )


def to_gray8(values: np.ndarray) -> np.ndarray:
    """Gray values of any number type as uint8, same shape.

    uint8 stays. Whole numbers that already lie in 0..255 and fractions in 0..255 stay (rounded), fractions in
    0..1 are multiplied by 255. Everything else is windowed from its least to its largest value onto 0..255, so that
    12 bits in 16 use all of the gray levels; whole numbers are never stretched (a window is at least 255 wide), so
    that a nearly constant 16-bit frame stays nearly constant. NaN and infinities become black.

    Hot and dead pixels do not count for all of this: of the largest values (and the least), at most one in 10 000
    pixels, those are left out that stand apart from the next by more than an eighth of the range of the others. They
    become white (black). A frame without such pixels is windowed from its least to its largest value.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    flat = values.reshape(-1)
    gray = np.zeros(flat.shape, dtype=np.uint8)
    window = _window(flat)
    if window is None:
        return gray.reshape(values.shape)
    # In blocks, since float64 takes eight times the bytes of the result.
    for start in range(0, flat.size, _BLOCK):
        gray[start : start + _BLOCK] = _windowed(flat[start : start + _BLOCK], *window)
    return gray.reshape(values.shape)


def _windowed(values: np.ndarray, low: float, high: float) -> np.ndarray:
    whole = np.issubdtype(values.dtype, np.integer)
    finite = np.isfinite(values)
    # float64 only where float32 would lose levels of the source.
    wide = np.float32 if values.dtype.itemsize <= 2 else np.float64
    shifted: np.ndarray = np.clip(np.where(finite, values, low).astype(wide), low, high)
    if not whole and low >= 0 and high <= 1:
        shifted = shifted * 255.0
    elif low < 0 or high > 255:
        width = max(high - low, 255.0) if whole else high - low
        shifted = (shifted - low) * (255.0 / width) if width > 0 else np.zeros_like(shifted)
    gray = np.rint(shifted).astype(np.uint8)
    gray[~finite] = 0
    return gray


def _window(flat: np.ndarray) -> tuple[float, float] | None:
    """The least and the largest value, hot and dead pixels left out; None where no value is finite."""
    hot = max(flat.size // _ONE_HOT_IN, int(flat.size >= _SMALLEST_WITH_HOT))
    least = largest = flat[:0]
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        block = block[np.isfinite(block)]
        least = _least(np.concatenate([least, block]), hot + 1)
        largest = _largest(np.concatenate([largest, block]), hot + 1)
    if not least.size:
        return None
    up, down = np.sort(least).astype(np.float64), np.sort(largest)[::-1].astype(np.float64)
    apart = max(down[-1] - up[-1], 0.0) * _APART
    return float(up[_left_out(np.diff(up), apart)]), float(down[_left_out(-np.diff(down), apart)])


def _left_out(gaps: np.ndarray, apart: float) -> int:
    """Number of outermost values that stand apart, by the gap between each and the next."""
    beyond = np.flatnonzero(gaps > apart)
    return int(beyond[-1]) + 1 if beyond.size else 0


def _least(values: np.ndarray, count: int) -> np.ndarray:
    return np.partition(values, count - 1)[:count] if values.size > count else values


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    return np.partition(values, values.size - count)[values.size - count :] if values.size > count else values


def rgb_to_gray(values: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 luma, shape (H, W, 3) or (n, 3) -> without the last axis, of the same type.

    Equal channels stay exactly as they are.
    """
    luma = np.empty(values.shape[:-1], values.dtype)
    # In blocks of rows, since the sums take four to eight times the bytes of the result.
    rows = max(_BLOCK // max(math.prod(values.shape[1:-1]), 1), 1)
    for start in range(0, len(values), rows):
        luma[start : start + rows] = _luma(values[start : start + rows])
    return luma


def _luma(values: np.ndarray) -> np.ndarray:
    if values.dtype in (np.uint8, np.uint16):
        weights = np.array([19595, 38470, 7471], dtype=np.uint32)
        return (values.astype(np.uint32) @ weights + 0x8000) >> 16
    red, green, blue = np.moveaxis(values.astype(np.float64), -1, 0)
    # From red outwards, so that equal channels leave it untouched.
    luma = red + (green - red) * (38470 / 65536) + (blue - red) * (7471 / 65536)
    return np.rint(luma) if np.issubdtype(values.dtype, np.integer) else luma


def over_black(gray: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 gray laid over black by its alpha; transparent = black, as the surround of a sector is.

    Alpha of another whole type is taken from 0 to the largest number of its type.
    """
    if alpha.dtype != np.uint8:
        top = np.iinfo(alpha.dtype).max if np.issubdtype(alpha.dtype, np.integer) else 1.0
        alpha = np.rint(np.clip(np.nan_to_num(alpha / top), 0, 1) * 255).astype(np.uint8)
    return ((gray.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)
