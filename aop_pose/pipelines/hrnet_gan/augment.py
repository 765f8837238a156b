"""Table 1 of Krishna and Khan (IUGC 2025): one draw, applied to the picture and to its points.

``draw`` only draws; what it returns changes any number of pictures and points, always alike. The warp is that of
albumentations' ElasticTransform, which the authors use: an affine map given by three corners that move, then an elastic
displacement, with black coming in from outside. Both are one map here, so the picture is interpolated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import attrs
import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from aop_pose.core.letterbox import fit
from aop_pose.pipelines.data import Example
from aop_pose.pipelines.hrnet_gan.config import AugmentSettings

_FINE = 2.5
"""Pixels of the grid that smooth noise is drawn on, per its sigma."""
_ROUNDS = 50
_CLOSE = 1e-4
"""Pixels that a point moves in the last round of inverting the displacement."""


@attrs.define(eq=False, slots=False)
class Draw:
    """One augmentation of pictures of one size, ready to be replayed. None = this kind was not drawn."""

    shape: tuple[int, int]
    """Height and width."""
    affine: np.ndarray | None = None
    """(2, 3): where a pixel (x, y, 1) of the given picture lies before the elastic displacement."""
    displacement: np.ndarray | None = None
    """(H, W, 2) float32: the new picture shows at p what the affine picture shows at p + displacement(p)."""
    tone: tuple[float, float] | None = None
    """Factor, and what is added to grays in [0, 1]."""
    kernel: int | None = None
    """Width of the Gaussian blur in pixels."""
    speckle: np.ndarray | None = None
    """(H, W) float32: what is added, as a share of the gray."""

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Gray (H, W) uint8 -> (H, W) float32 in [0, 1]."""
        gray: np.ndarray = picture.astype(np.float32) / 255
        if self.affine is not None:
            gray = _read(gray, self.back, cv2.BORDER_CONSTANT)
        if self.tone is not None:
            factor, added = self.tone
            gray = np.clip(gray * np.float32(factor) + np.float32(added), 0, 1)
        if self.kernel is not None:
            gray = np.asarray(cv2.GaussianBlur(gray, (self.kernel, self.kernel), 0))
        if self.speckle is not None:
            gray = np.clip(gray + gray * self.speckle, 0, 1)
        return gray

    @cached_property
    def back(self) -> np.ndarray:
        """(H, W, 2) float32: where in the given picture each pixel of the new one comes from, as (x, y)."""
        height, width = self.shape
        places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
        return self.backward(places)

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the given picture -> where the new one shows them; outside it where it does not."""
        if self.affine is None:
            return np.array(points)
        target = _mapped(self.affine, np.asarray(points))
        if self.displacement is None:
            return target
        moved = target
        for _ in range(_ROUNDS):
            # p + displacement(p) = target, solved by repetition: the displacement is smooth (see the settings).
            before, moved = moved, target - self._displaced(moved)
            if not moved.size or np.abs(moved - before).max() < _CLOSE:
                break
        return moved

    def backward(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the new picture -> where they lie in the given one; the inverse of ``forward``."""
        if self.affine is None:
            return np.array(points)
        points = np.asarray(points)
        if self.displacement is not None:
            points = points + self._displaced(points)
        return _mapped(cv2.invertAffineTransform(self.affine), points)

    def _displaced(self, points: np.ndarray) -> np.ndarray:
        """The displacement at points (..., 2), between pixels too."""
        assert self.displacement is not None
        if points.shape == self.displacement.shape:
            # The pixels themselves.
            return self.displacement
        places = points.reshape(-1, 1, 2).astype(np.float32)
        return _read(self.displacement, places, cv2.BORDER_REPLICATE).reshape(points.shape)


@attrs.frozen(eq=False)
class Augmented:
    """The outcome of ``augment``."""

    picture: np.ndarray
    """(H, W) float32 in [0, 1]."""
    points: np.ndarray
    """(n, 2) in its pixels; outside it where the warp moved a point out."""
    back: np.ndarray
    """(H, W, 2) float32: see ``Draw.back``."""


def augment(picture: np.ndarray, points: np.ndarray, rng: np.random.Generator, settings: AugmentSettings) -> Augmented:
    """Draw once and apply to gray (H, W) uint8 and to points (n, 2) in its pixels."""
    drawn = draw(rng, (picture.shape[0], picture.shape[1]), settings)
    return Augmented(drawn.apply(picture), drawn.forward(points), drawn.back)


def draw(rng: np.random.Generator, shape: tuple[int, int], settings: AugmentSettings) -> Draw:
    """Draw an augmentation for pictures of (height, width)."""
    drawn = Draw(shape)
    if rng.random() < settings.aug_elastic_p:
        drawn.affine = _affine(rng, shape, settings.aug_affine)
        if settings.aug_alpha:
            drawn.displacement = settings.aug_alpha * _smooth_noise(rng, shape, settings.aug_sigma)
    if rng.random() < settings.aug_tone_p:
        limits = np.array([settings.aug_contrast, settings.aug_brightness])
        contrast, brightness = rng.uniform(-limits, limits).tolist()
        drawn.tone = (1 + contrast, brightness)
    if rng.random() < settings.aug_blur_p:
        drawn.kernel = int(rng.choice(np.arange(settings.aug_blur_least, settings.aug_blur_most + 1, 2)))
    if rng.random() < settings.aug_speckle_p:
        drawn.speckle = rng.standard_normal(shape, dtype=np.float32) * np.float32(settings.aug_speckle)
    return drawn


def _affine(rng: np.random.Generator, shape: tuple[int, int], limit: float) -> np.ndarray:
    """The map that moves three corners of a centred square by up to ``limit`` along x and y."""
    height, width = shape
    centre, half = np.array([(width - 1) / 2, (height - 1) / 2]), min(shape) / 3
    corners = centre + half * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + rng.uniform(-limit, limit, corners.shape)
    return cv2.getAffineTransform(corners.astype(np.float32), moved.astype(np.float32))


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """(H, W, 2) float32: uniform noise in [-1, 1] smoothed by ``sigma``.

    Drawn on a grid of ``sigma / _FINE`` pixels: what is that smooth shows no more of it, and one pixel of the grid
    stands for the mean of as many draws as it covers.
    """
    step = max(1, int(sigma / _FINE))
    height, width = (-(-side // step) for side in shape)
    noise = (rng.random((height, width, 2), dtype=np.float32) * 2 - 1) / step
    smooth = cv2.GaussianBlur(noise, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
    large = cv2.resize(smooth, (width * step, height * step), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(large[: shape[0], : shape[1]])


def _read(picture: np.ndarray, places: np.ndarray, border: int) -> np.ndarray:
    """The picture at places (H, W, 2) float32, bilinear; black outside where the border is constant."""
    # An empty array in the place of None is not none to OpenCV: it is read beyond its end.
    return cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=border, borderValue=0)  # type: ignore[call-overload]


def _mapped(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) by a (2, 3) map, in the precision that they came in."""
    affine = affine.astype(np.result_type(points, np.float32))
    return points @ affine[:, :2].T + affine[:, 2]


class ViewDataset(Dataset):
    """(query (1, S, S), key (1, S, S), places (side, side, 2), index) of each frame, float32.

    The views are two augmentations of the letterboxed picture. Every draw follows from (seed, epoch, index) alone; the
    checks keep ``epoch`` at 0, so that they see the same views every time. ``places`` is for ``moco.partners``.
    """

    def __init__(self, examples: Sequence[Example], size: int, side: int, settings: AugmentSettings, seed: int):
        self.examples = examples
        self.pictures = [fit(example.pixels, size)[0] for example in examples]
        self.size, self.side, self.settings, self.seed = size, side, settings, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        picture = self.pictures[index]
        draws = [draw(rng, (self.size, self.size), self.settings) for _ in range(2)]
        query, key = (torch.from_numpy(one.apply(picture))[None] for one in draws)
        return query, key, torch.from_numpy(places_in(draws[0], draws[1], self.side)), index


def places_in(query: Draw, key: Draw, side: int) -> np.ndarray:
    """(side, side, 2) float32: where the key view shows the centre of each position of the query's map.

    Through the picture that both were made of: back by the query's warp, forward by the key's. As (x, y) from -1 to 1
    between the outer edges of the view.
    """
    size = query.shape[0]
    centres = (np.arange(side) + 0.5) * size / side - 0.5
    grid = np.stack(np.meshgrid(centres, centres), axis=2)
    shown = key.forward(query.backward(grid))
    return (2 * (shown + 0.5) / size - 1).astype(np.float32)
