"""Backbone and neck of a YOLO11 network in the place of the U-Net's encoder and decoder: it can start from COCO."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from aop_pose.errors import UsageError
from aop_pose.pipelines.isolation import isolate
from aop_pose.pipelines.start import Start

FINE = 2
"""Ultralytics' number of the backbone's last layer at 4 input pixels per pixel."""


class YoloBody(nn.Module):
    """Gray (B, 1, S, S) -> features of the coarsest scale, and features (B, width, S / 4, S / 4) for the maps.

    The neck's three scales (8, 16 and 32 input pixels per pixel) and the backbone's layer of 4 are brought to one width
    by 1 x 1 convolutions, enlarged and added; two 3 x 3 convolutions follow.
    """

    def __init__(self, name: str, width: int):
        super().__init__()
        self.name = name
        isolate()
        from ultralytics.nn.tasks import DetectionModel

        whole = DetectionModel(f"{name}.yaml", verbose=False)
        self.layers = whole.model[:-1]
        self.scales: list[int] = list(whole.model[-1].f)
        self.kept = {*whole.save, FINE, *self.scales}
        self.width = width
        with torch.no_grad():
            outputs = self._outputs(torch.zeros(1, 1, 64, 64))
        self.lateral = nn.ModuleList(nn.Conv2d(output.shape[1], width, 1) for output in outputs)
        self.refine = nn.Sequential(
            nn.BatchNorm2d(width), nn.SiLU(inplace=True), *_convolution(width), *_convolution(width)
        )

    def _outputs(self, gray: torch.Tensor) -> list[torch.Tensor]:
        """The backbone's fine layer and the neck's scales, finest first."""
        features: list[torch.Tensor] = []
        value = gray.expand(-1, 3, -1, -1)
        for layer in self.layers:
            if isinstance(layer.f, list):
                value = layer([value if source == -1 else features[source] for source in layer.f])
            else:
                value = layer(value if layer.f == -1 else features[layer.f])
            features.append(value if layer.i in self.kept else value[:0])
        return [features[number] for number in (FINE, *self.scales)]

    def forward(self, gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine, *scales = self._outputs(gray)
        near, *far = [lateral(scale) for lateral, scale in zip(self.lateral[1:], scales, strict=True)]
        for factor, features in zip((2.0, 4.0), far, strict=True):
            near = near + functional.interpolate(features, scale_factor=factor, mode="nearest")
        near = functional.interpolate(near, scale_factor=2.0, mode="bilinear", align_corners=False)
        return scales[-1], self.refine(near + self.lateral[0](fine))

    def fill(self, start: Start) -> int:
        """Take backbone and neck from a network of Ultralytics; returns how many tensors that were.

        UsageError where one of them does not fit.
        """
        assert start.model is not None
        body: Any = start.model.float().model
        mine, given = self.layers.state_dict(), body[:-1].state_dict()
        wrong = [key for key, value in mine.items() if key not in given or given[key].shape != value.shape]
        if wrong:
            raise UsageError(
                f"--init: expected all {len(mine)} backbone and neck tensors, found {len(mine) - len(wrong)} in "
                f"{start.words} (first that does not fit: {wrong[0]})"
            )
        self.layers.load_state_dict(given)
        return len(mine)


def _convolution(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU(inplace=True)]
