"""The module that Lightning pre-trains: a query encoder, its slow copy, and the queue."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from aop_pose.pipelines.checkpoint import fill, read_checkpoint
from aop_pose.pipelines.data import Example, order_of
from aop_pose.pipelines.hrnet_gan.augment import ViewDataset
from aop_pose.pipelines.hrnet_gan.config import REDUCTION, HrnetConfig
from aop_pose.pipelines.hrnet_gan.moco import (
    NegativeQueue,
    Projector,
    flat,
    follow,
    info_nce,
    momentum_copy,
    partners,
    rate_factor,
)
from aop_pose.pipelines.hrnet_gan.network import encoder_of
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.lightning import CHECK_BATCH, Schedule, Training
from aop_pose.pipelines.run import WEIGHTS

LEAST_SPREAD = 0.005
"""Below this embeddings count as one point. One answer to everything has 0 (1e-6 in float32); networks with random
weights were measured at 0.01 to 0.4, trained ones at 0.5 and more."""
ENOUGH = 20
"""Frames from which on retrieval is judged: of fewer, a hit or two is luck."""


@attrs.frozen
class Collapse:
    """The check of a pre-training, on two views of each of a few frames."""

    spread: float
    retrieval: float
    """Share of the frames whose query view is nearest to their own key view (see ``retrieval``)."""
    frames: int

    @property
    def chance(self) -> float:
        """The value of ``retrieval`` by guessing."""
        return 1 / self.frames

    @property
    def reason(self) -> str | None:
        """Why this counts as a collapse; None where it does not."""
        if not self.spread >= LEAST_SPREAD:
            return f"expected embeddings that spread by {LEAST_SPREAD} or more, found {self.spread:.4f}"
        if self.frames >= ENOUGH and not self.retrieval > self.chance:
            return f"expected a frame's other view to be found more often than by chance, found {self._found}"
        return None

    @property
    def _found(self) -> str:
        return f"{self.retrieval:.1%} of {self.frames} frames (chance {self.chance:.1%})"

    def __str__(self) -> str:
        few = f"; too few to judge: {ENOUGH} would do" if self.frames < ENOUGH else ""
        return f"spread of embeddings: {self.spread:.2f} (1 is ideal); other view retrieved: {self._found}{few}"

    def facts(self) -> dict[str, float | int | str | None]:
        """For run.json."""
        numbers = {"spread": self.spread, "retrieval": self.retrieval, "chance": self.chance}
        return {**{key: round(value, 4) for key, value in numbers.items()}, "frames": self.frames, "why": self.reason}


def check(query: torch.Tensor, key: torch.Tensor) -> Collapse:
    """The check from embeddings (n, positions, D) of the two views of n frames, each of length 1."""
    return Collapse(spread(torch.cat([query, key])), retrieval(query, key), len(query))


def spread(embeddings: torch.Tensor) -> float:
    """Standard deviation of each dimension of (..., D), mean over the dimensions, times sqrt(D).

    1 where vectors of length 1 lie evenly on the sphere, 0 where they are one vector (Chen and He 2021, section 4.1).
    """
    flat = embeddings.flatten(0, -2)
    return float(flat.std(dim=0, correction=0).mean()) * math.sqrt(flat.shape[1])


def retrieval(query: torch.Tensor, key: torch.Tensor) -> float:
    """Share of n frames (n, positions, D) whose query view is nearer to their own key view than to any other frame's.

    Nearness is the mean over positions of the cosine. A tie is no hit: equal embeddings find nothing.
    """
    nearness = query.flatten(1) @ key.flatten(1).T
    own = nearness.diagonal()
    others = nearness.masked_fill(torch.eye(len(own), dtype=torch.bool, device=own.device), -math.inf)
    return float((own > others.max(dim=1).values).float().mean())


def held_loss(query: torch.Tensor, key: torch.Tensor, temperature: float) -> float:
    """InfoNCE of each position of n frames (n, positions, D) against its own and all positions of the other frames.

    The same frames, views and negatives every time, so that epochs can be compared: the queue's loss cannot be, as its
    negatives are at first random vectors and then the slow copy's.
    """
    losses = []
    for number, (queries, keys) in enumerate(zip(query, key, strict=True)):
        others = torch.cat([key[:number], key[number + 1 :]]).flatten(0, 1)
        logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ others.T], dim=1) / temperature
        losses.append(functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=key.device)))
    return float(torch.stack(losses).mean())


@torch.no_grad()
def embed(network: nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (n, positions, D) of the query and key views of batches (query, key, ...), in evaluation mode."""
    network.eval()
    found = [[network(view).flatten(2).transpose(1, 2) for view in batch[:2]] for batch in batches]
    query, key = (torch.cat([pair[which] for pair in found]) for which in (0, 1))
    return query, key


CHECKED_WITHOUT = 64
"""Training frames that are checked for collapse where none are held out."""


class ContrastiveTraining(Training):
    """Learns to find a position of a frame's one view in its other one, among the positions of earlier frames."""

    method = "hrnet-gan"
    checked = ("val/loss", "val/spread", "val/retrieval")
    # Of HRNet's last exchange between resolutions only what ends in the last map is learned.
    leaves_out = True
    network: Projector

    def __init__(
        self, config: HrnetConfig, network: Projector, seed: int, examples: Sequence[Example],
        checks: Sequence[Example],
    ):  # fmt: skip
        schedule = Schedule(
            config.moco_epochs, config.moco_batch, save_every=config.save_every, precision=config.precision,
            gpus=config.gpus, workers=config.workers,
        )  # fmt: skip
        size = size_of(config)
        frames, checked = (ViewDataset(given, size, size // REDUCTION, config, seed) for given in (examples, checks))
        super().__init__(config, schedule, network, seed, frames, checked)  # type: ignore[arg-type]
        self.config = config
        self.key = momentum_copy(self.network)
        self.queue = NegativeQueue(config.moco_queue, config.moco_features)
        self.embedded: list[tuple[torch.Tensor, torch.Tensor]] = []

    def train_dataloader(self) -> DataLoader:
        self.frames.epoch = self.current_epoch
        order = order_of(len(self.frames), self.seed, self.current_epoch, *self.processes)
        return self.loader(order, drop_last=True)

    @property
    def checked_here(self) -> list[int]:
        """All: each is compared with all others."""
        return list(range(len(self.checks)))

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        query_views, key_views, places, indices = batch
        follow(self.key, self.network, self.config.moco_momentum)
        query_maps = self.network(query_views.contiguous(memory_format=self.memory_format))
        with torch.no_grad():
            key_maps = self.key(key_views.contiguous(memory_format=self.memory_format))
        queries, keys = flat(query_maps), flat(key_maps)
        positives = keys
        if self.config.moco_pairs == "matched":
            positives, seen = partners(key_maps, places)
            queries, positives = queries[seen], positives[seen]
        # A copy: the keys enter the queue before the backward pass asks for its negatives.
        loss = info_nce(queries, positives, self.queue.vectors.clone(), self.config.moco_temperature)
        self.demand_finite(loss, indices)
        self.queue.enqueue(keys)
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch: Any, number: int) -> None:
        self.embedded.append(embed(self.network, [batch]))

    def on_validation_epoch_end(self) -> None:
        query, key = (torch.cat([pair[which] for pair in self.embedded]) for which in (0, 1))
        self.embedded.clear()
        found = check(query, key)
        for name, value in zip(
            self.checked, (held_loss(query, key, self.config.moco_temperature), found.spread, found.retrieval),
            strict=True,
        ):  # fmt: skip
            self.share(name, value, len(query))

    def conclude(self, job: Job) -> dict[str, Any]:
        """The check for collapse, of the weights that are kept."""
        best = job.out / WEIGHTS / "best.pt"
        fill(self.network, read_checkpoint(best, "best.pt", self.method, HrnetConfig).state, best)
        collapse = self.check_for_collapse()
        job.say(str(collapse))
        return {"collapse": collapse.facts()}

    @torch.no_grad()
    def check_for_collapse(self) -> Collapse:
        """The check on the frames that were held out, else on some of those that trained."""
        frames: Any = self.checks
        if not len(frames):
            frames = torch.utils.data.Subset(self.frames, range(min(CHECKED_WITHOUT, len(self.frames))))
        network = self.network.to("cpu")
        return check(*embed(network, DataLoader(frames, CHECK_BATCH)))

    def rate(self, epoch: int) -> float:
        return self.config.moco_lr_stage4 * rate_factor(epoch, self.config.moco_epochs)

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.Adam(groups(self.network, config), weight_decay=config.moco_weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: rate_factor(epoch, config.moco_epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def size_of(config: HrnetConfig) -> int:
    """Side of the input while pre-training."""
    return config.moco_image_size or config.image_size


def projector_of(config: HrnetConfig) -> Projector:
    """The query network, with random weights."""
    encoder = encoder_of(config, size_of(config))
    return Projector(encoder, encoder.channels, config.moco_hidden, config.moco_features)


def groups(network: Projector, config: HrnetConfig) -> list[dict[str, Any]]:
    """Section 3.2's learning rates: stage 4, stage 3, the rest of the encoder, the projection head."""
    named = list(network.encoder.named_parameters())
    stages = [_stage_of(name) for name, _ in named]
    if 4 not in stages:
        stages = [4] * len(named)
    made = [
        {"params": [value for (_, value), mine in zip(named, stages, strict=True) if mine == stage], "lr": rate}
        for stage, rate in ((4, config.moco_lr_stage4), (3, config.moco_lr_stage3), (None, config.moco_lr_rest))
    ]
    return [*made, {"params": list(network.head.parameters()), "lr": config.moco_lr_head}]


def _stage_of(name: str) -> int | None:
    """4 or 3 of a parameter of these stages, by the names that timm gives them; None of any other."""
    parts = set(name.split("."))
    found = (stage for stage in (4, 3) if parts & {f"stage{stage}", f"layer{stage}", f"stages_{stage - 1}"})
    return next(found, None)
