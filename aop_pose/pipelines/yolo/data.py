"""Labelled or boxed frames as Ultralytics' training set, in memory: no files, no label caches, one rule of resizing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
from torch.utils.data import Sampler
from ultralytics.data.dataset import YOLODataset

from aop_pose.core.letterbox import Letterbox, fit
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
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


_LABELLED, _PSEUDO = 0, 1


def check_halves(batch: int, world: int = 1) -> None:
    """UsageError where a batch cannot be halved for each of ``world`` processes."""
    if batch % (2 * world):
        raise UsageError(f"batch: expected a multiple of {2 * world}, one half labelled each, found {batch}")


class HalfSampler(Sampler[int]):
    """Indices of a dataset that holds its labelled examples first, in an order that a plain batching cuts in halves.

    An epoch is one pass over the labelled examples in a new order, and takes as many pseudo-labelled ones. Those come
    from a cycle through all of them that goes on from epoch to epoch, each round in a new order. Where there are at
    least one and a half batches of them, no batch holds one twice. The last batch of an epoch may be smaller and is
    halved too. Everything follows from (seed, epoch).

    Of several processes each takes its share of both halves of every batch, ``batch / world`` examples. For each to
    have as many, an epoch begins anew on the labelled examples where they do not divide: fewer than ``world`` of them
    come twice in its last batch.
    """

    def __init__(self, labelled: int, pseudo: int, batch: int, seed: int, rank: int = 0, world: int = 1):
        """``batch``: examples of all processes together; UsageError as ``check_halves`` raises it."""
        check_halves(batch, world)
        self.labelled, self.pseudo, self.half = labelled, pseudo, batch // 2
        self.seed, self.rank, self.world = seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """From 0; the next iteration is of that epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Examples that one process takes in an epoch."""
        return 2 * math.ceil(self.labelled / self.world)

    def __iter__(self) -> Iterator[int]:
        halves = self.labelled_of_epoch(), self.labelled + self.pseudo_of_epoch()
        for begin in range(0, len(halves[0]), self.half):
            for order in halves:
                yield from order[begin : begin + self.half][self.rank :: self.world].tolist()

    def labelled_of_epoch(self) -> np.ndarray:
        """Of all processes, in order."""
        order = self._shuffled(self.labelled, _LABELLED, self.epoch)
        return np.resize(order, math.ceil(self.labelled / self.world) * self.world)

    def pseudo_of_epoch(self) -> np.ndarray:
        """Of all processes, in order, counted from the first pseudo-labelled example."""
        count = math.ceil(self.labelled / self.world) * self.world
        begin, end = self.epoch * count, (self.epoch + 1) * count
        first, last = begin // self.pseudo, (end - 1) // self.pseudo
        rounds = np.concatenate([self._round(number) for number in range(first, last + 1)])
        return rounds[begin - first * self.pseudo :][:count]

    def _round(self, number: int) -> np.ndarray:
        """One round of the cycle, its head free of what half a batch before it may hold, its tail as drawn."""
        order, reach = self._shuffled(self.pseudo, _PSEUDO, number), self.half - 1
        if not number or not reach or self.pseudo < 3 * reach:
            return order
        before = self._shuffled(self.pseudo, _PSEUDO, number - 1)[-reach:]
        head, tail = order[:-reach], order[-reach:]
        return np.concatenate([head[np.argsort(np.isin(head, before), kind="stable")], tail])

    def _shuffled(self, count: int, kind: int, number: int) -> np.ndarray:
        return np.random.default_rng([self.seed, kind, number]).permutation(count)
