"""The first-in-first-out memory of negatives (Krishna and Khan 2025, section 2.1; He et al. 2020, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from aop_pose.errors import UsageError


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
