"""Pictures that must not be measured: frames without what is measured, and pictures that are no frames."""

from __future__ import annotations

import cv2
import numpy as np

_LETTERS = list("abcdefghijklmnopqrstuvwxyz    ")


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
