"""Kusumoto's dynamic programme: the partition of a graph into segments, kept or recomputed, with the lowest peak."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
from torch import fx

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.planner.costs import Cost
from aop_pose.pipelines.fetusmap.planner.graph import Graph, is_valid, members


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


@attrs.frozen
class Segment:
    """Units (bit mask) that run together; recomputed in the backward pass, or kept whole."""

    units: int
    recompute: bool


class SegmentCosts:
    """Costs of segments of one graph, computed when asked for and remembered."""

    def __init__(self, graph: Graph, costs: Sequence[Cost]) -> None:
        self.graph = graph
        self.costs = costs
        self._known: dict[tuple[int, int, bool], SegmentCost] = {}
        self.lone = self._lone()

    def _lone(self) -> dict[int, int]:
        """Values that one unit alone reads, without keeping them for its backward pass -> that unit.

        Once read they are gone, unless the segment that reads them is recomputed.
        """
        views = Counter(cost.storage for cost in self.costs)
        found = {}
        for label, readers in enumerate(self.graph.successors):
            if readers.bit_count() == 1 and views[label] == 1 and label not in self.graph.outputs:
                [reader] = members(readers)
                if not self.costs[reader].saves >> label & 1:
                    found[label] = reader
        return found

    def __call__(self, before: int, after: int, recompute: bool) -> SegmentCost:
        """Cost of the segment between two lower sets."""
        key = (before, after, recompute)
        if key not in self._known:
            self._known[key] = self._cost(after & ~before, after, recompute)
        return self._known[key]

    def loads(self, segments: Sequence[Segment]) -> list[int]:
        """The most alive while each segment runs forward or backward."""
        before, kept, found = 0, 0, []
        for segment in segments:
            cost = self(before, before | segment.units, segment.recompute)
            found.append(kept + cost.peak)
            kept += cost.kept
            before |= segment.units
        return found

    def _bytes(self, storages: int) -> int:
        return sum(self.costs[label].made for label in members(storages))

    def _storages(self, units: int) -> int:
        mask = 0
        for label in members(units):
            mask |= 1 << self.costs[label].storage
        return mask

    def _cost(self, segment: int, after: int, recompute: bool) -> SegmentCost:
        labels = members(segment)
        again = run_again(self.costs, segment) if recompute else []
        leaving = self._storages(segment & self.graph.boundary(after)) & segment
        before = after & ~segment
        # Of the values that one unit reads, those that come in, those that only pass, and those that stay.
        coming = sum(1 << made for made, reader in self.lone.items() if before >> made & 1 and segment >> reader & 1)
        passing = sum(1 << made for made, reader in self.lone.items() if before >> made & 1 and not after >> reader & 1)
        staying = leaving & ~sum(1 << made for made in self.lone)
        held = self._bytes(coming) if recompute else 0
        saved = 0
        for label in labels:
            saved |= self.costs[label].saves
        saved &= segment  # what stands outside is kept by the segment that made it
        internal = sum(self.costs[label].internal for label in labels)
        whole = self._bytes(saved | staying) + internal
        forward = self._forward_peak(labels, saved if not recompute else 0, leaving, coming, recompute)
        # Every value of the lower set that is read later has got its gradient by now.
        pending = self._storages(self._with_gradient(self.graph.boundary(after)))
        second = self._forward_peak(again, saved, 0, 0, False) + self._bytes(pending) + held
        backward = self._backward_peak(labels, saved, internal, pending) + held
        return SegmentCost(
            kept=self._bytes(staying) + held if recompute else whole,
            peak=max(forward + self._bytes(passing), second, backward),
            seconds=sum(self.costs[label].seconds for label in again),
        )

    def _with_gradient(self, units: int) -> int:
        return sum(1 << label for label in members(units) if self.costs[label].differentiable)

    def _forward_peak(self, labels: Sequence[int], saved: int, leaving: int, coming: int, held: bool) -> int:
        """The most alive while the units run in order and what is not saved or leaving goes after its last reader.

        Args:
            coming: values that go after theirs as well, unless ``held``.
        """
        subset = sum(1 << label for label in labels)
        alive, internal, peak = coming, 0, 0
        for label in labels:
            cost = self.costs[label]
            peak = max(peak, self._bytes(alive) + internal + cost.forward)
            if saved:
                internal += cost.internal
            alive |= 1 << cost.storage & subset
            later = subset & ~((2 << label) - 1)
            read = sum(1 << unit for unit in members(subset & ~later) if self.graph.successors[unit] & later)
            waiting = sum(1 << made for made in members(coming) if held or later >> self.lone[made] & 1)
            alive &= saved | leaving | waiting | self._storages(read)
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


def run_again(costs: Sequence[Cost], segment: int) -> list[int]:
    """Units of a recomputed segment that run again: up to the last that a backward pass needs something of."""
    again = members(segment)
    while again and not costs[again[-1]].reruns:
        again.pop()
    return again


def recomputed(costs: Sequence[Cost], segment: int) -> float:
    """Seconds of recomputing it."""
    return sum(costs[label].seconds for label in run_again(costs, segment))


# Recomputation is counted in this many parts of the time allowed for it.
STEPS = 100
MOST_LOWER_SETS = 2000


@attrs.frozen
class Partition:
    """Segments in the order in which they run, and the peak that the recurrence gives them, the loss's left out."""

    segments: tuple[Segment, ...]
    peak: int


def neighbours(graph: Graph, segments: Sequence[Segment], loads: Sequence[int]) -> Iterator[tuple[Segment, ...]]:
    """Partitions that differ in one thing: a segment recomputed or kept instead, two joined, one split, or one unit
    moved over a boundary; those that change the segment with the largest load first."""
    listed = list(segments)

    def instead(start: int, stop: int, *others: Segment) -> Iterator[tuple[Segment, ...]]:
        if all(is_valid(graph, other.units) for other in others):
            yield (*listed[:start], *others, *listed[stop:])

    for place in sorted(range(len(listed)), key=lambda place: -loads[place]):
        segment = listed[place]
        yield from instead(place, place + 1, Segment(segment.units, not segment.recompute))
        labels = members(segment.units)
        if place + 1 < len(listed):
            after = listed[place + 1]
            for recompute in (True, False):
                yield from instead(place, place + 2, Segment(segment.units | after.units, recompute))
            for moved, taken in ((labels[-1], segment), (members(after.units)[0], after)):
                if taken.units != 1 << moved:
                    one, other = segment.units ^ 1 << moved, after.units ^ 1 << moved
                    yield from instead(
                        place, place + 2, Segment(one, segment.recompute), Segment(other, after.recompute)
                    )
        for count in range(1, len(labels)):
            first = sum(1 << label for label in labels[:count])
            for one, other in itertools.product((True, False), repeat=2):
                yield from instead(place, place + 1, Segment(first, one), Segment(segment.units ^ first, other))


def keeps_order(graph: Graph, costs: Sequence[Cost]) -> bool:
    """True where units must run in the order they were traced in for results to stay the same to the last bit.

    So where numbers are drawn at random, where three or more gradients are added up, and where buffers (running
    statistics) are written more than once.
    """
    calls = Counter(node.target for node in graph.graph.nodes if node.op in ("call_module", "get_attr"))
    modules = dict(graph.root.named_modules(remove_duplicate=False))
    again = [modules[str(name)] for name, count in calls.items() if count > 1 and str(name) in modules]
    return (
        any(cost.random for cost in costs)
        or any(count > 2 for count in _reads(graph).values())
        or any(True for module in again for _ in module.buffers())
        or any(count > 2 for count in calls.values())
    )


def _reads(graph: Graph) -> Counter[fx.Node]:
    """Number of reads of each value: twice by an operation that takes it twice."""
    counts: Counter[fx.Node] = Counter()
    for node in graph.graph.nodes:
        fx.node.map_arg((node.args, node.kwargs), lambda operand: counts.update([operand]))
    return counts


def lower_sets(graph: Graph, ordered: bool, every: bool = False) -> list[int]:
    """Lower sets to build partitions from, from the empty one to the whole graph.

    Kusumoto's pruned family: each unit with all it depends on; and the beginnings of the traced order.

    Args:
        ordered: only the beginnings.
        every: all lower sets, for small graphs.

    Raises:
        UsageError: more than 2000 of them were asked for.
    """
    beginnings = {(1 << count) - 1 for count in range(len(graph.units) + 1)}
    if ordered:
        family = beginnings
    elif not every:
        family = beginnings | set(graph.ancestors)
    else:
        family = {0}
        for closure in graph.ancestors:
            family |= {known | closure for known in family}
            if len(family) > MOST_LOWER_SETS:
                raise UsageError(f"memory planner: expected at most {MOST_LOWER_SETS} lower sets, found more")
    return sorted(family, key=lambda mask: (mask.bit_count(), mask))


class Partitioner:
    """The recurrence over one family of lower sets.

    ``cached[L][t]`` is the least memory kept when the lower set L has run and t parts of the allowed time are spent
    on recomputation; a step from L to L' is taken where what is kept and the segment's own peak stay in the budget.
    Everything kept adds up, so for a budget the recurrence is exact; the least budget is found by halving.

    Args:
        allowed: seconds of recomputation.
    """

    def __init__(self, graph: Graph, costs: Sequence[Cost], allowed: float, every: bool = False) -> None:
        self.segment_cost = SegmentCosts(graph, costs)
        self.family = lower_sets(graph, keeps_order(graph, costs), every)
        self.part = max(allowed, 1e-9) / STEPS
        self.moves: list[list[tuple[int, bool, int, int, int]]] = [[] for _ in self.family]
        for j, after in enumerate(self.family):
            for i, before in enumerate(self.family[:j]):
                if before & ~after or not is_valid(graph, after & ~before):
                    continue
                for recompute in (False, True):
                    cost = self.segment_cost(before, after, recompute)
                    parts = self.parts(cost.seconds)
                    if parts <= STEPS:
                        self.moves[j].append((i, recompute, cost.kept, cost.peak, parts))

    def parts(self, seconds: float) -> int:
        """Parts of the allowed time, rounded up."""
        return math.ceil(seconds / self.part - 1e-9)

    def within(self, budget: float) -> Partition | None:
        """The partition with the least recomputation whose peak is within the budget, None if there is none."""
        cached = np.full((len(self.family), STEPS + 1), np.inf)
        cached[0, 0] = 0
        came: list[list[tuple[int, bool, int] | None]] = [[None] * (STEPS + 1) for _ in self.family]
        for j, moves in enumerate(self.moves):
            for i, recompute, kept, peak, parts in moves:
                reached = cached[i, : STEPS + 1 - parts]
                offered = np.where(reached + peak <= budget, reached + kept, np.inf)
                better = np.flatnonzero(offered < cached[j, parts:])
                cached[j, parts + better] = offered[better]
                for index in better:
                    came[j][parts + index] = (i, recompute, parts)
        spent = np.flatnonzero(np.isfinite(cached[-1]))
        return self._trace_back(came, int(spent[0])) if len(spent) else None

    def _trace_back(self, came: list[list[tuple[int, bool, int] | None]], time: int) -> Partition:
        segments: list[Segment] = []
        lower_set = len(self.family) - 1
        while (step := came[lower_set][time]) is not None:
            before, recompute, parts = step
            segments.append(Segment(self.family[lower_set] & ~self.family[before], recompute))
            lower_set, time = before, time - parts
        return self.priced(segments[::-1])

    def priced(self, segments: Sequence[Segment]) -> Partition:
        """The partition with its peak by the recurrence."""
        return Partition(tuple(segments), max(self.segment_cost.loads(segments)))

    def best(self) -> Partition:
        """The partition with the lowest peak within the time allowed."""
        whole = self.priced([Segment(1 << label, False) for label in members(self.family[-1])])
        best = self.within(whole.peak) or whole
        low, high = 0, best.peak
        while low < high:
            middle = (low + high) // 2
            found = self.within(middle)
            if found is None:
                low = middle + 1
            else:
                best, high = found, min(middle, found.peak)
        return best
