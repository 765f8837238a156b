"""MoCo v2 on feature maps (Krishna and Khan 2025, section 2.1): every position of the last map is one query.

He et al. shuffle batch normalisation between GPUs, so that the statistics that a frame's two views share do not give it
away. On one device there is nothing to shuffle with, and the authors do not: the check for collapse, which normalises
by running means, sees whether more than that was learned.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn import functional

from aop_pose.errors import UsageError


class Projector(nn.Module):
    """Encoder and spatial projection head: 1 x 1 convolution, ReLU, 1 x 1 convolution (equations 1 and 2).

    Gray (B, 1, S, S) -> embeddings (B, features, h, w) float32, of length 1 along the channels.
    """

    def __init__(self, encoder: nn.Module, channels: int, hidden: int = 256, features: int = 128):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, features, 1))

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return functional.normalize(self.head(self.encoder(gray)).float(), dim=1)


def flat(maps: torch.Tensor) -> torch.Tensor:
    """(B, D, h, w) -> (B h w, D): frame by frame, row by row (equation 3)."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def momentum_copy(query: nn.Module) -> nn.Module:
    """The key encoder at its start: the query encoder's weights, without gradients."""
    return copy.deepcopy(query).requires_grad_(False)


@torch.no_grad()
def follow(key: nn.Module, query: nn.Module, momentum: float) -> None:
    """Equation 5. Running means of batch normalisation are the key encoder's own, from its own batches."""
    for mine, theirs in zip(key.parameters(), query.parameters(), strict=True):
        mine.mul_(momentum).add_(theirs, alpha=1 - momentum)


def info_nce(queries: torch.Tensor, keys: torch.Tensor, negatives: torch.Tensor, temperature: float) -> torch.Tensor:
    """Equation 4, mean over the queries.

    Args:
        queries: (N, D), of length 1.
        keys: (N, D), of length 1: the positive of each query.
        negatives: (K, D), of length 1, shared by all queries.
        temperature: tau.

    In float32 under autocast too: at tau = 0.2 rounding to bfloat16 would cost a hundredth of a nat.
    """
    with torch.autocast(queries.device.type, enabled=False):
        positive = (queries * keys).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, queries @ negatives.T], dim=1) / temperature
        return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def partners(keys: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys at the places that show what the queries show.

    Args:
        keys: (B, D, h, w) embeddings of the key views.
        places: (B, h, w, 2): for each position of the query's map where its centre lies in the key view, as (x, y) in
            [-1, 1] between the outer edges of the picture; outside of that it is not seen there.

    Returns:
        (B h w, D) of length 1, bilinear between positions, and (B h w,) bool: whether there is a partner at all.
    """
    found = functional.grid_sample(keys, places.to(keys.dtype), padding_mode="border", align_corners=False)
    return functional.normalize(flat(found), dim=1), (places.abs() <= 1).all(dim=3).flatten()


def rate_factor(epoch: int, epochs: int) -> float:
    """Learning rate of an epoch (from 0) over the first one: cosine over all epochs (section 3.2)."""
    return (1 + math.cos(math.pi * epoch / epochs)) / 2


class NegativeQueue(nn.Module):
    """The latest ``size`` keys. A buffer: it stands in the state dict, and so survives a resume."""

    vectors: torch.Tensor
    """(size, features) float32, of length 1; random at the start, as in the authors' code and He et al.'s."""
    position: torch.Tensor
    """() int64: the row that the next key replaces."""

    def __init__(self, size: int, features: int):
        super().__init__()
        self.register_buffer("vectors", functional.normalize(torch.randn(size, features), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: torch.Tensor) -> None:
        """Replace the oldest rows by keys (n, features). ``n`` divides the size (see ``check_size``).

        On several GPUs the keys of all of them enter, in the same order everywhere, so that the queues stay equal.
        """
        if torch.distributed.is_initialized():
            shares = [torch.empty_like(keys) for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather(shares, keys.contiguous())
            keys = torch.cat(shares)
        begin = int(self.position)
        self.vectors[begin : begin + len(keys)] = keys
        self.position.fill_((begin + len(keys)) % len(self.vectors))


def check_size(size: int, enqueued: int) -> None:
    """UsageError, with the nearest size that fits, where ``enqueued`` keys a step do not fill a queue evenly."""
    if size % enqueued:
        fitting = max(1, round(size / enqueued)) * enqueued
        raise UsageError(
            f"moco_queue: expected a multiple of the {enqueued} keys of a step (frames x positions of the last map), "
            f"found {size}; {fitting} fits"
        )
