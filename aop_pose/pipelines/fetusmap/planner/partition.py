"""Kusumoto's dynamic programme: the partition of a graph into segments, kept or recomputed, with the lowest peak."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import attrs
import numpy as np
from torch import fx

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.planner.costs import Cost
from aop_pose.pipelines.fetusmap.planner.graph import Graph, is_valid, members
from aop_pose.pipelines.fetusmap.planner.segments import SegmentCosts

# Recomputation is counted in this many parts of the time allowed for it.
STEPS = 100
MOST_LOWER_SETS = 2000


@attrs.frozen
class Segment:
    """Units (bit mask) that run together; recomputed in the backward pass, or kept whole."""

    units: int
    recompute: bool


@attrs.frozen
class Partition:
    """Segments in the order in which they run, and the peak that the recurrence gives them, the loss's left out."""

    segments: tuple[Segment, ...]
    peak: int


def keeps_order(graph: Graph, costs: Sequence[Cost]) -> bool:
    """Whether units must run in the order they were traced in for results to stay the same to the last bit.

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
    """How often each value is read: twice by an operation that takes it twice."""
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
        before, kept, peak = 0, 0, 0
        for segment in segments:
            cost = self.segment_cost(before, before | segment.units, segment.recompute)
            peak = max(peak, kept + cost.peak)
            kept += cost.kept
            before |= segment.units
        return Partition(tuple(segments), peak)

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
