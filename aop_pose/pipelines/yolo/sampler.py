"""Batches of which one half is labelled and the other pseudo-labelled."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from aop_pose.errors import UsageError

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
