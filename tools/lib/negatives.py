"""Pictures that must not be measured: frames without what is measured, and pictures that are no frames."""

from __future__ import annotations

import cv2
import numpy as np

_GROW = 5
"""Pixels by which a structure is grown before it is painted out, so that its bright rim goes too."""
_LETTERS = list("abcdefghijklmnopqrstuvwxyz    ")


def paint_out(pixels: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frame (H, W) uint8 with a region (H, W) bool filled like its surroundings.

    The brightness runs on from outside; its speckle is drawn anew, copied from elsewhere in the frame, or left away,
    at random, so that nothing can be learned from one way of filling.
    """
    size = 2 * _GROW + 1
    hole = cv2.dilate(region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    if not hole.any() or hole.all():
        return pixels.copy()
    base = _continued(pixels, hole)
    way = rng.integers(0, 4)
    if way == 0:
        texture = _copied_texture(pixels, hole, rng)
    else:
        grain = np.asarray(cv2.GaussianBlur(_noise(rng, pixels.shape), (0, 0), float(rng.uniform(0.7, 2.2))))
        strength = _roughness(pixels, hole) if way < 3 else 0.03
        texture = 1 + strength * grain / grain.std()
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), float(rng.uniform(0.8, 2.5)))
    return np.clip(pixels * (1 - soft) + base * texture * soft, 0, 255).astype(np.uint8)


def _continued(pixels: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Brightness without texture: outside that of the frame, inside that of the nearest known places."""
    keep = (~hole).astype(np.float32)
    small = (max(8, hole.shape[1] // 4), max(8, hole.shape[0] // 4))
    known = cv2.resize(pixels * keep, small, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(keep, small, interpolation=cv2.INTER_AREA)
    filled, reached = np.zeros_like(known), np.zeros_like(weight)
    for scale in (1, 2, 4, 8, 16, 32):
        near = np.asarray(cv2.GaussianBlur(weight, (0, 0), scale))
        mean = np.asarray(cv2.GaussianBlur(known, (0, 0), scale)) / np.maximum(near, 1e-4)
        filled = np.where(reached > 0.1, filled, mean)
        reached = np.maximum(reached, near)
    smooth = cv2.GaussianBlur(filled, (0, 0), 1)
    return np.asarray(cv2.resize(smooth, hole.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _ratio(pixels: np.ndarray) -> np.ndarray:
    """Each pixel over the mean around it."""
    return np.asarray((pixels + 1.0) / (cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 4) + 1.0))


def _roughness(pixels: np.ndarray, hole: np.ndarray) -> float:
    ring = (cv2.dilate(hole.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0) & ~hole
    return float(np.clip(_ratio(pixels)[ring].std(), 0.05, 0.6)) if ring.any() else 0.2


def _copied_texture(pixels: np.ndarray, hole: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The texture of the frame moved sideways or downwards by about the size of the hole."""
    rows, columns = np.nonzero(hole)
    down, right = np.ptp(rows) + 4, np.ptp(columns) + 4
    turn = (int(rng.choice([-1, 0, 1])) * down, int(rng.choice([-1, 1])) * right)
    return np.clip(np.roll(_ratio(pixels), turn, axis=(0, 1)), 0.2, 2.5)


def cut_sector(pixels: np.ndarray, symphysis: np.ndarray) -> np.ndarray:
    """The frame moved to the left until half of its symphysis, with ends (2, 2) in pixels, is outside."""
    left = int(np.clip(np.ceil(symphysis[:, 0].mean()), 0, pixels.shape[1] - 1))
    moved = np.zeros_like(pixels)
    moved[:, : pixels.shape[1] - left] = pixels[:, left:]
    return moved


def noise(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """Grain of any coarseness, uint8 (size, size)."""
    grain = np.asarray(cv2.GaussianBlur(_noise(rng, (size, size)), (0, 0), float(rng.uniform(0.8, 6))))
    grain = grain / grain.std()
    if rng.random() < 0.5:
        grain = np.abs(grain) * 1.2 - 1
    return np.clip(rng.uniform(40, 128) + rng.uniform(15, 60) * grain, 0, 255).astype(np.uint8)


def everyday(rng: np.random.Generator, size: int = 256) -> np.ndarray:
    """Something like a picture of everyday: a gradient, shapes, writing, clouds or waves; uint8 (size, size)."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    turn = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(turn) * (x - 0.5) + np.sin(turn) * (y - 0.5)
    makers = (
        lambda: 128 + rng.uniform(40, 120) * ramp,
        lambda: _shapes(rng, 128 + rng.uniform(0, 120) * ramp),
        lambda: _writing(rng, size),
        lambda: _clouds(rng, size),
        lambda: 128 + 100 * np.sin(rng.uniform(20, 190) * ramp + 3 * np.sin(rng.uniform(3, 9) * y)),
    )
    picture = np.asarray(makers[rng.integers(len(makers))](), np.float32)
    if rng.random() < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 3))))
    return np.clip(picture + rng.uniform(0, 12) * _noise(rng, picture.shape), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _shapes(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    size = len(ground)
    picture = np.ascontiguousarray(ground, np.float32)
    for _ in range(int(rng.integers(3, 20))):
        gray, radius = float(rng.integers(0, 256)), int(rng.integers(5, size // 3))
        x, y = (int(place) for place in rng.integers(0, size, 2))
        match int(rng.integers(3)):
            case 0:
                cv2.circle(picture, (x, y), radius, gray, -1)
            case 1:
                cv2.rectangle(picture, (x, y), (x + radius, y + int(rng.integers(5, size // 3))), gray, -1)
            case _:
                angle, width = float(rng.uniform(0, 180)), int(rng.choice([-1, 2, 5]))
                cv2.ellipse(picture, (x, y), (radius, max(3, radius // 2)), angle, 0, 360, gray, width)
    return picture


def _writing(rng: np.random.Generator, size: int) -> np.ndarray:
    paper = int(rng.choice([20, 235]))
    picture = np.full((size, size), paper, np.uint8)
    for line in range(18, size, int(rng.integers(14, 26))):
        text = "".join(rng.choice(_LETTERS, 40))
        cv2.putText(picture, text, (4, line), cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.3, 0.7)), 255 - paper, 1)
    return picture


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    picture = np.zeros((size, size), np.float32)
    for octave in range(1, 7):
        cells = 2**octave + 1
        coarse = _noise(rng, (cells, cells))
        picture += np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)) / octave
    return 128 + 40 * picture
