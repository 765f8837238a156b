"""Labelled frames in memory, letterboxed once, and their augmentation: picture and points by one draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from aop_pose.keypoints import to_centres, to_edges
from aop_pose.letterbox import PAD_VALUE, Letterbox, fit
from aop_pose.pipelines.unet.config import UnetConfig

BLURRED = 0.25
"""Share of the frames that are blurred, where any is."""


@attrs.frozen(eq=False)
class Example:
    """One frame: gray pixels (H, W) uint8 and points (n, 2) in its pixels; without labels, points (0, 2)."""

    name: str
    pixels: np.ndarray
    points: np.ndarray

    def parts(self) -> list[bytes]:
        """What a fingerprint of the data is made of."""
        return [self.name.encode(), self.pixels.tobytes(), self.points.tobytes()]


class Augmentation:
    """Draws one change of picture and points; every kind is off at 0.

    torchvision's affine map counts a key point from the picture's edge and its mirrors count it from the centre of the
    first pixel, so that points change over between the two here.
    """

    def __init__(self, config: UnetConfig):
        self.config = config
        moves = config.degrees or config.translate or config.scale or config.shear
        self.affines = [
            v2.RandomAffine(
                config.degrees,
                translate=(config.translate, config.translate),
                scale=(1 - config.scale, 1 + config.scale),
                shear=config.shear or None,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=fill,
            )
            # What comes in from outside is black as around the sector, or gray as around a letterboxed picture.
            for fill in (0.0, PAD_VALUE / 255)
        ] if moves else []  # fmt: skip
        self.mirrors = [
            mirror(probability)
            for mirror, probability in (
                (v2.RandomHorizontalFlip, config.flip), (v2.RandomVerticalFlip, config.flip_vertical),
            ) if probability
        ]  # fmt: skip
        changes = config.brightness or config.contrast
        blur = v2.GaussianBlur(2 * math.ceil(2 * config.blur) + 1, (0.3, max(0.3, config.blur)))
        self.blur = v2.RandomApply([blur], p=BLURRED) if config.blur else None
        self.jitter = v2.ColorJitter(config.brightness, config.contrast) if changes else None

    def __call__(self, gray: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gray (1, S, S) in [0, 1] and points (n, 2) in its pixels -> the same, changed."""
        size = (gray.shape[-2], gray.shape[-1])
        picture, places = tv_tensors.Image(gray), tv_tensors.KeyPoints(points, canvas_size=size)
        for mirror in self.mirrors:
            picture, places = mirror(picture, places)
        if self.affines:
            edges = tv_tensors.KeyPoints(to_edges(places.numpy()), canvas_size=size)
            picture, edges = self.affines[int(torch.randint(2, ()))](picture, edges)
            places = torch.from_numpy(to_centres(edges.numpy()))
        if self.jitter is not None:
            picture = self.jitter(picture)
        if self.blur is not None:
            picture = self.blur(picture)
        return self._varied(picture.as_subclass(torch.Tensor)), places.as_subclass(torch.Tensor)

    def _varied(self, gray: torch.Tensor) -> torch.Tensor:
        if self.config.gamma:
            limit = np.log1p(self.config.gamma)
            gray = gray ** torch.empty(1).uniform_(-limit, limit).exp()
        if self.config.speckle:
            strength = torch.empty(1).uniform_(0, self.config.speckle)
            gray = (gray * (1 + strength * torch.randn_like(gray))).clamp(0, 1)
        return gray


class FrameDataset(Dataset):
    """(gray (1, S, S) float32 in [0, 1], points (n, 2) float32 in its pixels, index) of each example.

    With ``epoch`` the frames are augmented, and every draw follows from (seed, epoch, index) alone: not from the order,
    the number of workers, or what was drawn before.
    """

    def __init__(self, examples: Sequence[Example], config: UnetConfig, seed: int = 0, epoch: int | None = None):
        self.examples, self.seed, self.epoch = examples, seed, epoch
        self.augmentation = Augmentation(config)
        fitted = [fit(example.pixels, config.image_size) for example in examples]
        self.pictures = [torch.from_numpy(pixels) for pixels, _ in fitted]
        self.boxes: list[Letterbox] = [box for _, box in fitted]
        self.points = [
            torch.from_numpy(box.forward(example.points)) for example, box in zip(examples, self.boxes, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        gray, points = self.pictures[index][None].float() / 255, self.points[index]
        if self.epoch is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(number_of(self.seed, self.epoch, index))
                gray, points = self.augmentation(gray, points)
        return gray, points.float(), index


def number_of(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def order_of(count: int, seed: int, epoch: int) -> list[int]:
    """The order of an epoch's frames: it follows from (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count).tolist()


def inside(points: torch.Tensor, size: int) -> torch.Tensor:
    """1.0 for each point (B, n, 2) within the input, 0.0 for one that augmentation has moved out of it: (B, n)."""
    return ((points >= -0.5) & (points <= size - 0.5)).all(dim=2).float()
