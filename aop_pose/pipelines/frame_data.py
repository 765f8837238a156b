"""Examples as tensors: letterboxed once, augmented by draws that follow from seed, epoch and index alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from aop_pose.letterbox import Letterbox, fit
from aop_pose.pipelines.examples import Example

Change = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Gray (1, S, S) in [0, 1] and points (n, 2) in its pixels -> the same, changed; drawn by torch's own generator."""


class FrameDataset(Dataset):
    """(gray (1, S, S) float32 in [0, 1], points (n, 2) float32 in its pixels, index) of each example.

    With ``epoch`` the frames are augmented, and every draw follows from (seed, epoch, index) alone: not from the order,
    the number of workers, or what was drawn before.
    """

    def __init__(
        self, examples: Sequence[Example], size: int, augmentation: Change, seed: int = 0, epoch: int | None = None
    ):
        self.examples, self.augmentation, self.seed, self.epoch = examples, augmentation, seed, epoch
        fitted = [fit(example.pixels, size) for example in examples]
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
