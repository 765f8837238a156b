"""Augmentation of labelled frames: picture and points by one draw."""

from __future__ import annotations

import math

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from aop_pose.keypoints import to_centres, to_edges
from aop_pose.letterbox import PAD_VALUE
from aop_pose.pipelines.unet.config import UnetConfig

BLURRED = 0.25
"""Share of the frames that are blurred, where any is."""


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
