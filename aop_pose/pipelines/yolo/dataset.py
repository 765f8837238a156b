"""Labelled frames as Ultralytics' training set, held in memory: no files, no label caches, no resizing by others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from ultralytics.data.dataset import YOLODataset

from aop_pose.formats.boxes import pose_box
from aop_pose.letterbox import fit
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.schemas import AOP


@attrs.frozen(eq=False)
class Example:
    """One training frame: gray pixels (H, W) uint8 and points (3, 2) in its pixels."""

    name: str
    pixels: np.ndarray
    points: np.ndarray


class FrameDataset(YOLODataset):
    """Ultralytics' dataset over ``Example`` objects, letterboxed by this project's own rule.

    Pictures stand at the network's size already, so a label's coordinates are pixel centres of the input: the same
    convention as OpenCV's warps inside Ultralytics' augmentations and as ``letterbox.Letterbox``.
    """

    def __init__(self, examples: Sequence[Example], config: YoloConfig, **arguments: Any):
        self.examples = examples
        self.config = config
        self.fitted = [fit(example.pixels, config.image_size) for example in examples]
        super().__init__(img_path="", imgsz=config.image_size, task="pose", cache=False, **arguments)

    def get_img_files(self, img_path: object) -> list[str]:
        return [example.name for example in self.examples]

    def get_labels(self) -> list[dict[str, Any]]:
        size = self.config.image_size
        labels = []
        for example, (_, box) in zip(self.examples, self.fitted, strict=True):
            points = box.forward(example.points)
            left, top, right, bottom = pose_box(points, self.config.box_margin, size, size)
            keypoints = np.ones((1, len(AOP.points), 3), dtype=np.float32)
            keypoints[0, :, :2] = points / size
            centre = np.array([[(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]])
            labels.append(
                {
                    "im_file": example.name,
                    "shape": (size, size),
                    "cls": np.zeros((1, 1), dtype=np.float32),
                    "bboxes": (centre / size).astype(np.float32),
                    "segments": [],
                    "keypoints": keypoints,
                    "normalized": True,
                    "bbox_format": "xywh",
                }
            )
        return labels

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> tuple[np.ndarray, Any, Any]:
        pixels, _ = self.fitted[i]
        if self.augment:
            pixels = vary_gray(pixels, self.config)
        size = (self.config.image_size, self.config.image_size)
        return np.repeat(pixels[..., None], 3, axis=2), size, size


def vary_gray(pixels: np.ndarray, config: YoloConfig) -> np.ndarray:
    """Random gamma and multiplicative noise, drawn from numpy's global generator as Ultralytics' own draws are."""
    if not config.gamma and not config.speckle:
        return pixels
    values = pixels.astype(np.float32) / 255.0
    if config.gamma:
        limit = np.log1p(config.gamma)
        values = values ** np.exp(np.random.uniform(-limit, limit))
    if config.speckle:
        values = values * (1 + np.random.uniform(0, config.speckle) * np.random.standard_normal(values.shape))
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
