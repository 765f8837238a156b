"""The 3-D U-Net of the paper: double convolutions, trilinear upsampling, concatenated skips, one map a landmark."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.config import PAPER_WIDTHS

LANDMARKS = 22


def convolution(inputs: int, outputs: int, kernel: int = 3, step: int = 1) -> list[nn.Module]:
    """A convolution, normalised by the statistics of its own batch (section 4.1) and rectified."""
    return [
        nn.Conv3d(inputs, outputs, kernel, stride=step, padding=1, bias=False),
        nn.BatchNorm3d(outputs, track_running_stats=False),
        nn.ReLU(inplace=True),
    ]


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Two of 3x3x3 voxels."""
    return nn.Sequential(*convolution(inputs, outputs), *convolution(outputs, outputs))


class UNet3d(nn.Module):
    """Volume -> one heatmap a landmark, at the size of the volume.

    Args:
        inputs: channels of the volume.
        outputs: maps, one a landmark.
        widths: channels of each level from the first down; a level halves each axis.
        stem: 2 = a strided convolution halves the volume before the first level, and the maps are enlarged again. Not
            the paper's: what a CPU needs to see fine detail in a large volume.

    Raises:
        UsageError: fewer than two widths, one below 1, or another stem.
    """

    def __init__(
        self, inputs: int = 1, outputs: int = LANDMARKS, widths: Sequence[int] = PAPER_WIDTHS, stem: int = 1
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise UsageError(f"widths: expected two or more positive numbers, found {tuple(widths)}")
        if stem not in (1, 2):
            raise UsageError(f"stem: expected 1 or 2, found {stem}")
        self.stride = stem * 2 ** (len(widths) - 1)
        # Of 4 voxels, so that the middle of each step is that of the voxels it makes one of.
        self.stem = nn.Sequential(*convolution(inputs, widths[0], 4, 2)) if stem > 1 else None
        self.pool = nn.MaxPool3d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.down = nn.ModuleList(
            double_convolution(before, after)
            for before, after in zip((inputs if self.stem is None else widths[0], *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(
            double_convolution(deep + skip, skip) for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv3d(widths[0], outputs, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """Maps (N, outputs, D, H, W) of volumes (N, inputs, D, H, W); each axis a multiple of ``stride``."""
        skips: list[Tensor] = []
        features = volume if self.stem is None else self.stem(volume)
        for level, block in enumerate(self.down):
            features = block(self.pool(features) if level else features)
            skips.append(features)
        skips.pop()
        for block in self.up:
            features = block(torch.cat([skips.pop(), self.grow(features)], dim=1))
        maps = self.head(features)
        return maps if self.stem is None else self.grow(maps)
