"""Ultralytics' pose trainer on frames in memory; the kept epoch is the one with the least mean radial error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from ultralytics.data.build import InfiniteDataLoader, seed_worker
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import unwrap_model

from aop_pose.core.letterbox import fit
from aop_pose.core.schemas import AOP
from aop_pose.formats.label import CLASSES, box_iou
from aop_pose.geometry import turn_difference
from aop_pose.inference.decode import decode_pose
from aop_pose.inference.engine import Network, usable_cores
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.pipelines.data import HalfSampler
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.start import Start
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pipelines.yolo.data import BoxDataset, BoxExample, Example, FrameDataset
from aop_pose.pipelines.yolo.network import FrameWeight, TorchNetwork, VisiblePointLoss, WeightedPoseLoss
from aop_pose.pipelines.yolo.resumable import ResumableTrainer
from aop_pose.pseudo.run import Origin
from aop_pose.pseudo.signals import CONFIDENCES, Noise, judge, rng_for

CHECKED = ("val/mre_px", "val/aop_mae_deg", "val/missing")


class FrameTrainer(ResumableTrainer, PoseTrainer):
    """Trains on ``examples`` and keeps the epoch that errs least on ``checks`` (without any, the last)."""

    checked = CHECKED
    dataset_kind = FrameDataset
    network = "{model}-pose.yaml"

    def get_dataset(self) -> dict[str, Any]:
        points, names = len(AOP.points), class_names(self.examples)
        return {
            "train": "train", "val": "val", "names": names, "nc": len(names), "channels": 3,
            "kpt_shape": [points, 2], "flip_idx": list(range(points)),
            "kpt_oks_sigmas": [self.config.oks_sigma] * points,
        }  # fmt: skip

    def make_loss(self, model: Any) -> Any:
        squared = self.config.keypoint_loss == "mse"
        if squared or any(example.weight is not None for example in self.examples):
            self.table = {example.name: frame_weight(example.weight, self.config) for example in self.examples}
            return WeightedPoseLoss(model, self.table, self.config.image_size, squared)
        criterion = super().make_loss(model)
        if self.data["nc"] > 1:
            criterion.keypoint_loss = VisiblePointLoss(criterion.keypoint_loss.sigmas)
        return criterion

    def check(self, model: torch.nn.Module) -> dict[str, float]:
        return errors(model, self.checks, self.config, self.device)


def class_names(examples: Sequence[Example]) -> dict[int, str]:
    """Class 0 has the points; where examples have auxiliary boxes, classes 1 and 2 are theirs.

    That is equation 11 of Li et al. Its alpha has no number in the paper: here the boxes of all classes share
    Ultralytics' gains, alpha = 1.
    """
    return dict(enumerate((AOP.name, *CLASSES) if any(example.classes for example in examples) else (AOP.name,)))


def frame_weight(weight: float | None, config: YoloConfig) -> FrameWeight:
    """The factor of a frame's loss; ``weight`` None = labelled."""
    if weight is None:
        return FrameWeight()
    detection = {"all": weight, "points": 1.0, "points-only": 0.0}[config.weighted_terms]
    return FrameWeight(points=weight, detection=detection)


def errors(
    model: torch.nn.Module, checks: Sequence[Example], config: YoloConfig, device: torch.device
) -> dict[str, float]:
    """MRE (pixels of the frames), AoP MAE (degrees) and number of frames without a detection.

    A missing frame counts as an error of its diagonal and of 180 degrees.
    """
    if not checks:
        return dict.fromkeys(CHECKED, math.nan)
    network = TorchNetwork(model, device)
    radial, angular, missing = [], [], 0
    for begin in range(0, len(checks), 16):
        chunk = checks[begin : begin + 16]
        fitted = [fit(example.pixels, config.image_size) for example in chunk]
        raw = network(np.stack([pixels for pixels, _ in fitted])[:, None].astype(np.float32) / 255)
        for example, (_, box), output in zip(chunk, fitted, raw, strict=True):
            points, score = decode_pose(output, config.decode)
            if not score >= config.threshold:
                missing += 1
                radial.append(math.hypot(*example.pixels.shape))
                angular.append(180.0)
                continue
            points = box.backward(points)
            radial.append(float(np.linalg.norm(points - example.points, axis=1).mean()))
            angular.append(abs(float(turn_difference(points, example.points))))
    return dict(zip(CHECKED, (float(np.mean(radial)), float(np.nanmean(angular)), float(missing)), strict=True))


class BoxTrainer(ResumableTrainer):
    """Trains a two-class detector and keeps the epoch with the greatest mean IoU on ``checks``."""

    checked = ("val/box_iou", *(f"val/box_iou_{name.lower()}" for name in CLASSES))

    dataset_kind = BoxDataset
    network = "{model}.yaml"

    def get_dataset(self) -> dict[str, Any]:
        return {
            "train": "train", "val": "val", "names": dict(enumerate(CLASSES)), "nc": len(CLASSES), "channels": 3,
        }  # fmt: skip

    def make_loss(self, model: Any) -> Any:
        criterion = super().make_loss(model)
        if self.config.box_loss == "mse":
            criterion.bbox_loss = SquaredBoxLoss(criterion.reg_max).to(self.device)
        return criterion

    def check(self, model: torch.nn.Module) -> dict[str, float]:
        return dict(zip(self.checked, overlaps(model, self.checks, self.config, self.device), strict=True))


class SquaredBoxLoss(BboxLoss):
    """Equation 10 of the paper in place of the CIoU term: squared differences of centre and size.

    Differences are shares of the input's width and height, so that the term does not depend on the image size; it is
    weighted by the assigner's target scores, as Ultralytics weights its own term. The DFL term stays.
    """

    def forward(
        self, distances: Any, predicted: Any, anchors: Any, target: Any, scores: Any, total: Any, chosen: Any,
        imgsz: Any, stride: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        _, dfl = super().forward(distances, predicted, anchors, target, scores, total, chosen, imgsz, stride)
        share = stride / imgsz[[1, 0, 1, 0]]
        difference = ((centre_size(predicted) - centre_size(target)) * share)[chosen]
        return (difference.square().sum(-1) * scores[chosen].sum(-1)).sum() / total, dfl


def centre_size(corners: torch.Tensor) -> torch.Tensor:
    """(..., 4) left, top, right, bottom -> centre x, y, width, height."""
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def overlaps(
    model: torch.nn.Module, checks: Sequence[BoxExample], config: YoloConfig, device: torch.device
) -> list[float]:
    """Mean IoU of the best-scored box of each class with the example's box, over all and per class.

    A class that a frame has and the network does not find at a score of 0.05 counts 0; without examples all are NaN.
    """
    found: dict[int, list[float]] = {number: [] for number in range(len(CLASSES))}
    model = model.eval()
    for example in checks:
        pixels, box = fit(example.pixels, config.image_size)
        gray = torch.from_numpy(pixels).to(device)[None, None].float() / 255
        with torch.no_grad():
            output = model(gray.expand(-1, 3, -1, -1))
        output = output[0] if isinstance(output, (tuple, list)) else output
        rows = non_max_suppression(output, conf_thres=0.05, max_det=20)[0].cpu().numpy()
        for number, wanted in zip(example.classes, example.boxes, strict=True):
            candidates = rows[rows[:, 5] == number]
            if not len(candidates):
                found[number].append(0.0)
                continue
            best = candidates[np.argmax(candidates[:, 4]), :4]
            found[number].append(box_iou(box.backward(best.reshape(2, 2)).ravel(), wanted))
    everything = [value for values in found.values() for value in values]
    return [float(np.mean(values)) if values else float("nan") for values in (everything, *found.values())]


@attrs.frozen
class Confidence:
    """A rule by which weights are computed anew while a network trains (``--dynamic``)."""

    rule: str
    noise: Noise
    draws: int
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about it for run.json."""
        return {"confidence": self.rule, "draws": self.draws}

    @classmethod
    def of(cls, origin: Origin, config: YoloConfig, seed: int) -> Confidence:
        """The rule and the noise that made the table; those of ``pseudo-label`` where it does not say."""
        return cls(origin.rule.confidence, origin.noise, config.dynamic_draws, seed)

    def weights(self, network: Network, config: YoloConfig, pictures: Mapping[str, np.ndarray], epoch: int) -> Any:
        """Weight by name of gray pictures (H, W) uint8: the network against itself after noise, equation 14.

        Every draw follows from (seed, epoch, name). Where the network's answer is not finite the weight is 0.
        """
        contract = Contract(
            name="training", schema=AOP.name, head="pose", image_size=config.image_size, threshold=config.threshold,
            decode=config.decode, training_run={},
        )  # fmt: skip
        predictor = Predictor(contract, network, "training")
        weigh = CONFIDENCES[self.rule].weight
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        found = {}
        for name, pixels in pictures.items():
            judged = judge(predictor, pixels, rng=rng_for(seed, name), draws=self.draws, noise=self.noise)
            weight = weigh(judged.signals)
            found[name] = weight if np.isfinite(weight) else 0.0
        return found


class WeightedTrainer(FrameTrainer):
    """``examples``: first the labelled ones, then those with a weight.

    With ``confidence`` their weights are computed anew at the start of each epoch, for the frames that it draws, by
    the running average of the network that trains: the one that is checked and kept.
    """

    def __init__(
        self,
        config: YoloConfig,
        job: Job,
        start: Start,
        examples: Sequence[Example],
        checks: Sequence[Example],
        confidence: Confidence | None = None,
    ):
        super().__init__(config, job, start, examples, checks)
        self.confidence = confidence
        self.mean_weight: float | None = None

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        if mode != "train":
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        world = max(self.world_size, 1)
        labelled = sum(example.weight is None for example in self.examples)
        sampler = HalfSampler(
            labelled, len(self.examples) - labelled, batch_size * world, self.job.seed, max(rank, 0), world
        )
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        batches = -(-len(sampler) // batch_size)
        workers = min(usable_cores(), self.args.workers, batches if batches > 1 else 0)
        return InfiniteDataLoader(
            dataset=dataset, batch_size=batch_size, sampler=sampler, num_workers=workers,
            prefetch_factor=4 if workers else None, pin_memory=self.device.type == "cuda",
            collate_fn=dataset.collate_fn, worker_init_fn=seed_worker, generator=torch.Generator(),
        )  # fmt: skip

    def seed_epoch(self) -> None:
        self.train_loader.sampler.set_epoch(self.epoch)
        super().seed_epoch()
        if self.confidence is not None:
            self.weigh_again(self.confidence)

    def weigh_again(self, confidence: Confidence) -> None:
        """Weights of the frames this epoch draws, in ``table``."""
        sampler = self.train_loader.sampler
        drawn = [self.examples[sampler.labelled + i] for i in np.unique(sampler.pseudo_of_epoch())]
        network = TorchNetwork(unwrap_model(self.ema.ema), self.device)
        pictures = {example.name: example.pixels for example in drawn}
        weights = confidence.weights(network, self.config, pictures, self.epoch)
        self.table |= {name: frame_weight(weight, self.config) for name, weight in weights.items()}
        self.mean_weight = float(np.mean(list(weights.values())))

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        drawn = {} if self.mean_weight is None else {"pseudo/mean_weight": self.mean_weight}
        super().save_metrics({**metrics, **drawn})
