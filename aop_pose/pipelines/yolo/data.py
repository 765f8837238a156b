"""Labelled or boxed frames as Ultralytics' training set, in memory: no files, no label caches, one rule of resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from ultralytics.data.dataset import YOLODataset

from aop_pose.core.letterbox import Letterbox, fit
from aop_pose.core.schemas import AOP
from aop_pose.formats.label import pose_box
from aop_pose.pipelines.yolo.config import YoloConfig


@attrs.frozen(eq=False)
class Example:
    """One training frame: gray pixels (H, W) uint8 and points (3, 2) in its pixels; perhaps auxiliary boxes."""

    name: str
    pixels: np.ndarray
    points: np.ndarray
    classes: tuple[int, ...] = ()
    """Index into ``CLASSES`` of each auxiliary box."""
    boxes: np.ndarray = attrs.field(factory=lambda: np.zeros((0, 4)))
    """(n, 4) left, top, right, bottom in its pixels."""
    weight: float | None = None
    """Trust in the points where they are a pseudo-label, in [0, 1]; None = they are a label."""


@attrs.frozen(eq=False)
class BoxExample:
    """One training frame: gray pixels (H, W) uint8, class of each box, boxes (n, 4) left, top, right, bottom."""

    name: str
    pixels: np.ndarray
    classes: tuple[int, ...]
    boxes: np.ndarray


class MemoryDataset(YOLODataset):
    """Ultralytics' dataset over examples in memory, letterboxed by this project's own rule.

    Pictures stand at the network's size already, so a label's coordinates are pixel centres of the input: the same
    convention as OpenCV's warps inside Ultralytics' augmentations and as ``core.letterbox.Letterbox``.
    """

    def __init__(self, examples: Sequence[Any], config: YoloConfig, **arguments: Any):
        self.examples = examples
        self.config = config
        self.fitted = [fit(example.pixels, config.image_size) for example in examples]
        super().__init__(img_path="", imgsz=config.image_size, cache=False, **arguments)

    def get_img_files(self, img_path: object) -> list[str]:
        return [example.name for example in self.examples]

    def get_labels(self) -> list[dict[str, Any]]:
        size = self.config.image_size
        common = {"shape": (size, size), "segments": [], "normalized": True, "bbox_format": "xywh"}
        return [
            {"im_file": example.name, **common, **self.label(example, box)}
            for example, (_, box) in zip(self.examples, self.fitted, strict=True)
        ]

    def label(self, example: Any, box: Letterbox) -> dict[str, Any]:
        """``cls`` (n, 1), ``bboxes`` (n, 4) as shares of the input, and what else the task needs."""
        raise AssertionError("a subclass gives it")

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> tuple[np.ndarray, Any, Any]:
        pixels, _ = self.fitted[i]
        if self.augment:
            pixels = vary_gray(pixels, self.config)
        size = (self.config.image_size, self.config.image_size)
        return np.repeat(pixels[..., None], 3, axis=2), size, size


class FrameDataset(MemoryDataset):
    """The pose box and the points of each ``Example`` as class 0; its auxiliary boxes as classes 1 PS and 2 FH.

    The points of an auxiliary box are marked invisible: nothing is known of them.
    """

    def __init__(self, examples: Sequence[Example], config: YoloConfig, **arguments: Any):
        super().__init__(examples, config, task="pose", **arguments)

    def label(self, example: Example, box: Letterbox) -> dict[str, Any]:
        size = self.config.image_size
        points = box.forward(example.points)
        keypoints = np.zeros((1 + len(example.classes), len(AOP.points), 3), dtype=np.float32)
        keypoints[0, :, :2] = points / size
        keypoints[0, :, 2] = 1
        outline = pose_box(points, self.config.box_margin, size, size)
        corners = np.concatenate([outline[None], _forward(example.boxes, box)])
        classes = np.array([0, *(1 + number for number in example.classes)], np.float32)
        return {"cls": classes[:, None], "bboxes": shares(corners, size), "keypoints": keypoints}


class BoxDataset(MemoryDataset):
    """The boxes of each ``BoxExample``."""

    def __init__(self, examples: Sequence[BoxExample], config: YoloConfig, **arguments: Any):
        super().__init__(examples, config, task="detect", **arguments)

    def label(self, example: BoxExample, box: Letterbox) -> dict[str, Any]:
        classes = np.array(example.classes, np.float32).reshape(-1, 1)
        return {"cls": classes, "bboxes": shares(_forward(example.boxes, box), self.config.image_size)}


def _forward(boxes: np.ndarray, box: Letterbox) -> np.ndarray:
    return box.forward(boxes.reshape(-1, 2, 2)).reshape(-1, 4)


def shares(corners: np.ndarray, size: int) -> np.ndarray:
    """Corners (n, 4) left, top, right, bottom in pixels -> centre and extent as shares of the input, float32."""
    low, high = corners[:, :2], corners[:, 2:]
    return (np.concatenate([(low + high) / 2, high - low], axis=1) / size).astype(np.float32)


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
