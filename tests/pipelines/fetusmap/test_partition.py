"""The recurrence against all partitions, and its terms against steps that are run."""

import itertools

import pytest
import torch
from torch import nn

from aop_pose.pipelines.fetusmap.planner import heuristic, plan_memory, step_peak
from aop_pose.pipelines.fetusmap.planner.costs import unit_costs
from aop_pose.pipelines.fetusmap.planner.execution import Planned
from aop_pose.pipelines.fetusmap.planner.graph import build, is_valid, members, trace
from aop_pose.pipelines.fetusmap.planner.memory import like_meta, on_meta
from aop_pose.pipelines.fetusmap.planner.partition import STEPS, Partitioner, Segment, lower_sets, recomputed
from tests.pipelines.fetusmap.networks import NETWORKS, picture


class Chain(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.Sigmoid(), nn.Conv2d(8, 1, 1)
        )


class Branches(nn.Module):
    """Two branches and a skip: lower sets that are no beginnings of the traced order."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(1, 6, 3, padding=1)
        self.d, self.e = nn.Conv2d(8, 1, 3, padding=1), nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, picture):
        left, right = torch.tanh(self.a(picture)), torch.sigmoid(self.b(picture))
        return self.d(left) * self.e(right)


SMALL = {"chain": Chain, "branches": Branches}


def partitioner(module, slowdown, every=True):
    inputs = [picture(16, 1)]
    root = on_meta(module)
    graph = build(root, trace(root), inputs)
    costs = unit_costs(graph, inputs)
    return Partitioner(graph, costs, 3 * sum(cost.seconds for cost in costs) * (slowdown - 1), every), graph


def sequences(graph, family, before=0):
    """Every way to fill up the graph with valid segments that end in lower sets of the family: slow reference."""
    if before == graph.whole:
        yield []
    for after in family:
        if after != before and before & ~after == 0 and is_valid(graph, after & ~before):
            for rest in sequences(graph, family, after):
                yield [after & ~before, *rest]


def all_lower_sets(graph):
    """Subsets that hold all their units depend on, by trying every subset."""
    subsets = range(graph.whole + 1)
    return [s for s in subsets if all(s >> b & 1 for label in members(s) for b in graph.units[label].inputs)]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("slowdown", [1.05, 1.35])
@pytest.mark.parametrize("every", [True, False])
def test_the_recurrence_finds_the_best_of_all_partitions(name, slowdown, every):
    planner, graph = partitioner(SMALL[name](), slowdown, every)
    best = None
    for masks in sequences(graph, planner.family):
        for actions in itertools.product((False, True), repeat=len(masks)):
            segments = [Segment(mask, action) for mask, action in zip(masks, actions, strict=True)]
            before, parts = 0, 0
            for segment in segments:
                cost = planner.segment_cost(before, before | segment.units, segment.recompute)
                parts += planner.parts(cost.seconds)
                before |= segment.units
            if parts <= STEPS:
                peak = planner.priced(segments).peak
                best = peak if best is None else min(best, peak)
    assert planner.best().peak == best


@pytest.mark.parametrize("name", SMALL)
def test_lower_sets_are_those_found_by_trying_every_subset(name):
    _, graph = partitioner(SMALL[name](), 1.2)
    assert set(lower_sets(graph, ordered=False, every=True)) == set(all_lower_sets(graph))
    assert set(lower_sets(graph, ordered=False)) <= set(all_lower_sets(graph))


def test_the_pruned_family_has_lower_sets_out_of_order():
    planner, graph = partitioner(Branches(), 1.2, every=False)
    beginnings = {(1 << count) - 1 for count in range(len(graph.units) + 1)}
    assert set(planner.family) > beginnings


@pytest.mark.parametrize("name", ["dropout", "shared modules"])
def test_random_numbers_and_running_statistics_keep_the_traced_order(name):
    planner, graph = partitioner(NETWORKS[name](), 1.2, every=False)
    assert planner.family == [(1 << count) - 1 for count in range(len(graph.units) + 1)]


class Unequal(nn.Sequential):
    """A chain whose values differ much in size, normalised and pooled."""

    def __init__(self):
        super().__init__(
            nn.Conv3d(1, 2, 3, padding=1), nn.Sigmoid(), nn.Conv3d(2, 12, 3, padding=1), nn.AvgPool3d(2), nn.Tanh(),
            nn.Conv3d(12, 3, 1),
        )  # fmt: skip


@pytest.mark.parametrize(("make", "size"), [(Chain, (16, 16)), (Branches, (16, 16)), (Unequal, (8, 8, 8))])
@pytest.mark.parametrize("slowdown", [1.15, 1.35])
def test_the_plan_is_within_5_percent_of_the_best_by_steps_that_are_run(make, size, slowdown):
    """Not only by the recurrence's own sums: every partition is run, without data, and its peak counted."""
    module, inputs = make(), [torch.zeros(1, 1, *size)]
    root = on_meta(module)
    graph = build(root, trace(root), inputs)
    costs = unit_costs(graph, inputs)
    step = sum(cost.seconds + cost.back for cost in costs)
    peaks = []
    for masks in sequences(graph, lower_sets(graph, ordered=True)):
        for actions in itertools.product((False, True), repeat=len(masks)):
            chosen = list(zip(masks, actions, strict=True))
            if sum(recomputed(costs, mask) for mask, action in chosen if action) <= (slowdown - 1) * step:
                planned = Planned(
                    graph, [("recompute" if action else "keep", members(mask)) for mask, action in chosen]
                )
                peaks.append(step_peak(planned, like_meta(inputs)))
    plan = plan_memory(module, inputs, "gcp", slowdown)
    assert plan.planned_bytes <= 1.05 * min(peaks)
    assert plan.slowdown <= slowdown


def test_validity_by_hand():
    """Of a -> b -> c with a skip a -> c, {a, b} lets an edge leave from a; {b, c} and {a} do not."""

    class Skip(nn.Module):
        def forward(self, x):
            a = torch.tanh(x)
            return a * torch.sigmoid(a)

    graph = build(Skip(), trace(Skip()), [picture(4, 1)])
    assert [unit.inputs for unit in graph.units] == [(), (0,), (0, 1)]
    assert [is_valid(graph, mask) for mask in (0b011, 0b110, 0b001, 0b111, 0)] == [False, True, True, True, False]


class Offered:
    """A choice of the planner; the search around it finds it itself."""

    def __init__(self, peak, slowdown, reversed_passes=()):
        self.peak, self.slowdown, self.reversed_passes = peak, slowdown, reversed_passes
        self.rewritten = self

    def kept(self):
        return self

    def improved(self, choice):
        # What the search finds takes as little for both.
        return Offered(5, choice.slowdown, choice.reversed_passes)


def test_of_plans_that_take_as_little_the_fastest_is_taken(monkeypatch):
    """By its address in memory either came first once."""
    monkeypatch.setattr(heuristic, "concatenations", lambda traced, root: [])
    planning = object.__new__(heuristic._Planning)
    planning.plain, planning.traced, planning.root, planning.max_slowdown = Offered(9, 1.0), None, None, 2.0
    planning._offered = lambda passes, slabs, partitioned: Offered(7, 1.4)
    planning._reversed = lambda slabs, partitioned, plain: [Offered(6, 1.8, ("a",))]
    planning._plan = lambda method, choice, plain: (choice.peak, choice.slowdown, choice.reversed_passes)
    assert planning.plan("gcp+rev", parts=False) == (5, 1.4, ())
