"""Training on labelled and pseudo-labelled frames together, half a batch each (Li et al., section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ultralytics.data.build import InfiniteDataLoader, seed_worker
from ultralytics.utils.torch_utils import unwrap_model

from aop_pose.pipelines.job import Job
from aop_pose.pipelines.start import Start
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pipelines.yolo.dataset import Example
from aop_pose.pipelines.yolo.network import TorchNetwork
from aop_pose.pipelines.yolo.pseudo import Confidence
from aop_pose.pipelines.yolo.sampler import HalfSampler
from aop_pose.pipelines.yolo.trainer import FrameTrainer, frame_weight
from aop_pose.runtime import usable_cores


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
