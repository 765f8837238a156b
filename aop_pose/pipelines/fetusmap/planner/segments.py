"""What a segment of the graph costs when it is kept whole or recomputed: the terms of Kusumoto's recurrence.

Kusumoto et al. 2019 charge a segment its values and their gradients twice over; here its backward pass is gone through
unit by unit, with what autograd keeps for each, so that the sum is near what a training step takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from aop_pose.pipelines.fetusmap.planner.costs import Cost
from aop_pose.pipelines.fetusmap.planner.graph import Graph, members


@attrs.frozen
class SegmentCost:
    """Bytes and time of one segment, given what stands before it.

    Attributes:
        kept: what stays until the backward pass gets there.
        peak: the most alive at once in its own forward and backward pass, beyond what earlier segments keep.
        seconds: of the second forward pass.
    """

    kept: int
    peak: int
    seconds: float


class SegmentCosts:
    """Costs of segments of one graph, computed when asked for and remembered."""

    def __init__(self, graph: Graph, costs: Sequence[Cost]) -> None:
        self.graph = graph
        self.costs = costs
        self._known: dict[tuple[int, int, bool], SegmentCost] = {}

    def __call__(self, before: int, after: int, recompute: bool) -> SegmentCost:
        """Cost of the segment between two lower sets."""
        key = (before, after, recompute)
        if key not in self._known:
            self._known[key] = self._cost(after & ~before, after, recompute)
        return self._known[key]

    def _bytes(self, storages: int) -> int:
        return sum(self.costs[label].made for label in members(storages))

    def _storages(self, units: int) -> int:
        mask = 0
        for label in members(units):
            mask |= 1 << self.costs[label].storage
        return mask

    def _cost(self, segment: int, after: int, recompute: bool) -> SegmentCost:
        labels = members(segment)
        if recompute:
            again = list(labels)
            while again and not self.costs[again[-1]].reruns:
                again.pop()  # recomputation ends as soon as the last tensor that a backward pass needs is made
        else:
            again = []
        leaving = self._storages(segment & self.graph.boundary(after)) & segment
        saved = 0
        for label in labels:
            saved |= self.costs[label].saves
        saved &= segment  # what stands outside is kept by the segment that made it
        internal = sum(self.costs[label].internal for label in labels)
        whole = self._bytes(saved | leaving) + internal
        forward = self._forward_peak(labels, saved if not recompute else 0, leaving)
        # Every value of the lower set that is read later has got its gradient by now.
        pending = self._storages(self._with_gradient(self.graph.boundary(after)))
        second = self._forward_peak(again, saved, 0) + self._bytes(pending)
        backward = self._backward_peak(labels, saved, internal, pending)
        return SegmentCost(
            kept=self._bytes(leaving) if recompute else whole,
            peak=max(forward, second, backward),
            seconds=sum(self.costs[label].seconds for label in again),
        )

    def _with_gradient(self, units: int) -> int:
        return sum(1 << label for label in members(units) if self.costs[label].differentiable)

    def _forward_peak(self, labels: Sequence[int], saved: int, leaving: int) -> int:
        """The most alive while the units run in order and what is not saved or leaving goes after its last reader."""
        subset = sum(1 << label for label in labels)
        alive, internal, peak = 0, 0, 0
        for label in labels:
            cost = self.costs[label]
            peak = max(peak, self._bytes(alive) + internal + cost.forward)
            if saved:
                internal += cost.internal
            alive |= 1 << cost.storage & subset
            later = subset & ~((2 << label) - 1)
            read = sum(1 << unit for unit in members(subset & ~later) if self.graph.successors[unit] & later)
            alive &= saved | leaving | self._storages(read)
        return peak

    def _backward_peak(self, labels: Sequence[int], saved: int, internal: int, pending: int) -> int:
        """The most alive while the units' backward passes run in reverse order."""
        gradients, peak = pending, 0
        for position in range(len(labels) - 1, -1, -1):
            label = labels[position]
            cost = self.costs[label]
            if cost.differentiable:
                peak = max(peak, self._bytes(saved) + internal + self._bytes(gradients) + cost.backward)
                gradients &= ~(1 << label)
                gradients |= self._storages(self._with_gradient(sum(1 << i for i in self.graph.units[label].inputs)))
            internal -= cost.internal
            earlier = 0
            for unit in labels[:position]:
                earlier |= self.costs[unit].saves
            saved &= earlier
        return peak
