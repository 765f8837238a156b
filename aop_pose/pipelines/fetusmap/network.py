"""The 3-D U-Net of the paper: double convolutions, trilinear upsampling, concatenated skips, one map a landmark."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.config import PAPER_WIDTHS

LANDMARKS = 22


SLOW = 20480
"""Values of a plane of channels, first and second axis below which torch takes a slow kernel on a CPU (one volume)."""


class Convolution(nn.Conv3d):
    """3x3x3, padded by 1, without bias: the weights and the result of ``nn.Conv3d`` (see ``in_planes``).

    On a CPU, where torch would take its own kernel, three neighbouring planes are laid side by side as channels and a
    2-D convolution of oneDNN runs over them, which is faster.
    """

    def forward(self, volume: Tensor) -> Tensor:
        """(N, inputs, D, H, W) -> (N, outputs, D, H, W)."""
        if torch.jit.is_tracing() or torch.compiler.is_compiling() or not _is_slow(volume):
            return super().forward(volume)
        planes = functional.pad(volume[0].permute(1, 0, 2, 3), (0, 0, 0, 0, 0, 0, 1, 1))
        beside = torch.cat([planes[:-2], planes[1:-1], planes[2:]], dim=1)
        weight = self.weight.permute(0, 2, 1, 3, 4).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        found = functional.conv2d(beside.contiguous(memory_format=torch.channels_last), weight, padding=1)
        return found.permute(1, 0, 2, 3)[None]


def in_planes(network: nn.Module) -> nn.Module:
    """The network, its 3x3x3 convolutions as ``Convolution``. Not for one that a memory plan is to trace."""
    for module in network.modules():
        if type(module) is nn.Conv3d and module.kernel_size == (3, 3, 3) and module.stride == (1, 1, 1):
            module.__class__ = Convolution
    return network


def _is_slow(volume: Tensor) -> bool:
    """True for a volume whose convolution on this CPU torch does not leave to oneDNN."""
    return (
        volume.device.type == "cpu"
        and volume.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and len(volume) == 1
        and min(volume.shape[2:]) > 3
        and volume[0, :, :, :, 0].numel() <= SLOW
        and torch.backends.mkldnn.is_available()
    )


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
