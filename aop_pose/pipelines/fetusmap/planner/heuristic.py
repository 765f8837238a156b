"""The heuristic of section 3.1: Kusumoto's partition of the network, of that with the largest passes reversed, and of
both with convolutions in slabs; each improved by the true peak."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import attrs
import torch
from torch import Tensor, fx, nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.planner.costs import unit_costs
from aop_pose.pipelines.fetusmap.planner.execution import Action, Pass, Planned, convert, passes, units_of
from aop_pose.pipelines.fetusmap.planner.graph import build, members, only_readers, trace
from aop_pose.pipelines.fetusmap.planner.memory import Loss, dry_peak, like_meta, mean_square, on_meta, step_peak
from aop_pose.pipelines.fetusmap.planner.partition import Partitioner, Segment, SegmentCosts, neighbours, recomputed
from aop_pose.pipelines.fetusmap.planner.parts import concatenations
from aop_pose.pipelines.fetusmap.planner.plan import InputForm, Method, Plan, SegmentPlan

FEWEST_TRIED, UNITS_TRIED = 24, 800
"""Partitions near the recurrence's whose true peak is counted, and units in all of them where those are few."""
LEAST_SHARE = 1 / 40
"""Of the plain network's peak; reversing or cutting what is less is not tried."""
MOST_WORSE = 2
"""Rows of passes that may be reversed in vain before no more are tried."""
METHODS = ("plain", "gcp", "rev", "gcp+rev")


def plan_memory(
    module: nn.Module,
    inputs: Sequence[Tensor],
    method: Method = "gcp+rev",
    max_slowdown: float = 1.3,
    leaves: tuple[type[nn.Module], ...] = (),
    graph: fx.Graph | None = None,
    loss: Loss = mean_square,
    parts: bool | None = None,
) -> Plan:
    """A plan for training the module with inputs of these shapes; the module is not changed, nothing is computed.

    Args:
        inputs: tensors of the shapes to plan for; ``device="meta"`` will do.
        method: "plain", "gcp" (checkpoints), "rev" (reversible blocks) or "gcp+rev", the paper's.
        max_slowdown: the longest a step may take, as a multiple of the plain one (estimated).
        leaves: module classes to take as one unit, not to be looked into.
        graph: a declared graph of a module that cannot be traced.
        loss: of the network's outputs; counts towards the peak.
        parts: whether convolutions of concatenations may be computed in slabs (``parts``); None = with "gcp+rev", so
            that "gcp" alone changes no bit.

    Raises:
        UsageError: the module cannot be traced, a unit does not give one tensor, or the numbers make no sense.
    """
    if method not in METHODS:
        raise UsageError(f"memory planner: expected a method of {', '.join(METHODS)}, found {method!r}")
    if max_slowdown < 1:
        raise UsageError(f"memory planner: expected max_slowdown of at least 1, found {max_slowdown}")
    planning = _Planning(module, inputs, max_slowdown, graph or trace(module, leaves), loss)
    return planning.plan(method, method == "gcp+rev" if parts is None else parts)


@attrs.frozen(eq=False)
class _Choice:
    """Segments of one rewritten graph, with its true peak and slowdown."""

    rewritten: _Rewritten
    segments: tuple[Segment, ...]
    peak: int
    slowdown: float


class _Rewritten:
    """The network with some passes reversed and some convolutions in slabs, and what its units cost."""

    def __init__(self, planning: _Planning, reversed_passes: Sequence[Pass], slabs: Sequence[tuple[str, ...]]) -> None:
        self.planning = planning
        self.reversed_passes, self.slabs = tuple(reversed_passes), tuple(slabs)
        root, traced = convert(planning.root, planning.traced, reversed_passes, slabs)
        self.graph = build(root, traced, planning.inputs)
        self.costs = unit_costs(self.graph, planning.inputs)
        self.own = sum(cost.seconds + cost.back for cost in self.costs)

    def kept(self) -> _Choice:
        """Nothing is recomputed but what reversed passes and slabs do by themselves."""
        return self.priced([Segment(1 << label, False) for label in members(self.graph.whole)])

    def partitioned(self) -> _Choice:
        """The partition with the least memory in the time that is left."""
        left = max(0.0, self.planning.allowed - self.own)
        return self.priced(Partitioner(self.graph, self.costs, left).best().segments)

    def priced(self, segments: Sequence[Segment]) -> _Choice:
        """The choice with its peak, by a step without data, and its slowdown."""
        peak = step_peak(self._planned(segments), like_meta(self.planning.inputs), self.planning.loss)
        return _Choice(self, tuple(segments), peak, self._slowdown(segments))

    def _planned(self, segments: Sequence[Segment]) -> Planned:
        actions: list[tuple[Action, list[int]]] = [
            ("recompute" if segment.recompute else "keep", members(segment.units)) for segment in segments
        ]
        return Planned(self.graph, actions)

    def _slowdown(self, segments: Sequence[Segment]) -> float:
        again = sum(recomputed(self.costs, segment.units) for segment in segments if segment.recompute)
        return (self.own + again) / self.planning.step

    def improved(self, choice: _Choice) -> _Choice:
        """The nearest minimum of the true peak: boundaries moved, segments split, joined, kept or recomputed instead.

        The recurrence charges every boundary as kept and knows nothing of the loss.
        """
        tried = {choice.segments}
        most = max(FEWEST_TRIED, UNITS_TRIED // len(self.graph.units))
        costs = SegmentCosts(self.graph, self.costs)
        better: _Choice | None = choice
        while better is not None and len(tried) < most:
            choice, better = better, None
            for segments in neighbours(self.graph, choice.segments, costs.loads(choice.segments)):
                if segments in tried or self._slowdown(segments) > self.planning.max_slowdown:
                    continue
                tried.add(segments)
                offered = self.priced(segments)
                if offered.peak < choice.peak:
                    better = offered
                if better is not None or len(tried) >= most:
                    break
        return better or choice


class _Planning:
    def __init__(
        self, module: nn.Module, inputs: Sequence[Tensor], max_slowdown: float, traced: fx.Graph, loss: Loss
    ) -> None:
        self.root = on_meta(module)
        self.inputs = inputs
        self.max_slowdown = max_slowdown
        self.traced = traced
        self.loss = loss
        self.plain = _Rewritten(self, (), ())
        self.step = self.plain.own
        self.allowed = max_slowdown * self.step

    def plan(self, method: Method, parts: bool) -> Plan:
        """The plan with the lowest peak; of equal ones the fastest, then the first."""
        plain = self.plain.kept()
        choices = [plain]
        slabs = [names for names in concatenations(self.traced, self.root) if parts and self._matters(names, plain)]
        partitioned = method in ("gcp", "gcp+rev")
        for chosen in [[], slabs] if slabs else [[]]:
            if partitioned or chosen:
                choices.append(self._offered((), chosen, partitioned))
            if method in ("rev", "gcp+rev"):
                choices += self._reversed(chosen, partitioned, plain)
        fitting = [choice for choice in choices if choice.slowdown <= self.max_slowdown]
        if partitioned:
            # So that the way with reversed passes, which the recurrence may overrate, is never worse than that without.
            without = [choice for choice in fitting if not choice.rewritten.reversed_passes]
            best_two = dict.fromkeys(min(some, key=lambda choice: choice.peak) for some in (without, fitting))
            fitting = [choice.rewritten.improved(choice) for choice in best_two]
        return self._plan(method, min(fitting, key=lambda choice: (choice.peak, choice.slowdown)), plain.peak)

    def _offered(self, passes: Sequence[Pass], slabs: Sequence[tuple[str, ...]], partitioned: bool) -> _Choice:
        rewritten = _Rewritten(self, passes, slabs) if passes or slabs else self.plain
        return rewritten.partitioned() if partitioned else rewritten.kept()

    def _matters(self, names: Iterable[str], plain: _Choice) -> bool:
        """True where the values of these nodes are a part of the plain network's peak to speak of."""
        return self._bytes(names) >= LEAST_SHARE * plain.peak

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self.plain.costs[label].made for label in members(units_of(self.plain.graph, tuple(names))))

    def _reversed(self, slabs: Sequence[tuple[str, ...]], partitioned: bool, plain: _Choice) -> Iterator[_Choice]:
        """Rows of passes reversed together, those with the largest values first, as long as one more saves."""
        rows = self._rows()
        names = {id(row): [name for one in row for name in one] for row in rows}
        largest = sorted(rows, key=lambda row: self._bytes(names[id(row)]), reverse=True)
        largest = [row for row in largest if self._matters(names[id(row)], plain)]
        least, worse = math.inf, 0
        for count in range(1, len(largest) + 1):
            chosen = [one for row in rows if row in largest[:count] for one in row]
            choice = self._offered(chosen, slabs, partitioned)
            yield choice
            worse = 0 if choice.peak < least else worse + 1
            least = min(least, choice.peak)
            if worse == MOST_WORSE or choice.slowdown > self.max_slowdown:
                break

    def _rows(self) -> list[list[Pass]]:
        """Rows of passes, each alone reading what the one before it made."""
        nodes = {node.name: node for node in self.traced.nodes}
        rows: list[list[Pass]] = []
        for names in passes(self.plain.graph):
            if rows and only_readers(nodes[rows[-1][-1][2]], 1) == [nodes[names[0]]]:
                rows[-1].append(names)
            else:
                rows.append([names])
        return rows

    def _plan(self, method: Method, choice: _Choice, plain: int) -> Plan:
        graph = choice.rewritten.graph
        segments = []
        for segment in choice.segments:
            names = tuple(graph.units[label].name for label in members(segment.units))
            segments.append(SegmentPlan(action="recompute" if segment.recompute else "keep", units=names))
        return Plan(
            method=method,
            inputs=tuple(InputForm.of(tensor) for tensor in self.inputs),
            units=tuple(unit.name for unit in self.plain.graph.units),
            reversed_passes=choice.rewritten.reversed_passes,
            slabs=choice.rewritten.slabs,
            segments=tuple(segments),
            plain_bytes=plain,
            planned_bytes=choice.peak,
            slowdown=choice.slowdown,
        )


def max_input_size(
    module: nn.Module,
    size: Sequence[int],
    budget_gb: float,
    stride: int = 1,
    channels: int = 1,
    method: Method = "gcp+rev",
    max_slowdown: float = 1.3,
    copies: int = 4,
    kernels: bool = False,
) -> tuple[int, ...] | None:
    """The largest input of these proportions whose training step fits; None if not even a quarter of ``size`` does.

    Planned once at ``size``; what the plan takes at other sizes is estimated by a step without data.

    Args:
        size: voxels (pixels) along each axis: the proportions, and what the plan is made for.
        budget_gb: memory in GiB, which the paper calls GB.
        stride: each axis is a multiple of it.
        channels: of the input, batch 1.
        copies: tensors of the parameters' size that training holds: 4 are weights, gradients and Adam's two moments.
        kernels: whether what a CPU's convolutions take for themselves is counted (``memory.Workspace``).

    Raises:
        UsageError: the network does not run at multiples of ``stride``.
    """
    network = on_meta(module)

    def volume(shape: Sequence[int]) -> list[Tensor]:
        return [torch.empty(1, channels, *shape, device="meta")]

    planned = plan_memory(network, volume(size), method, max_slowdown).apply(network)
    fixed = copies * sum(parameter.nbytes for parameter in planned.parameters())

    def scaled(steps: int) -> tuple[int, ...]:
        """The size whose longest axis is so many strides."""
        return tuple(max(1, round(axis * steps / max(size))) * stride for axis in size)

    def peak(steps: int) -> int | None:
        """None where the network does not run: at the deepest level one voxel is nothing to normalise."""
        try:
            return dry_peak(planned, volume(scaled(steps)), kernels=kernels)
        except (RuntimeError, ValueError):
            return None

    def fits(steps: int) -> bool:
        inputs, activations = volume(scaled(steps)), peak(steps)
        if activations is None:
            raise UsageError(
                f"max_input_size: expected a network that runs at every multiple of stride {stride}, found that it "
                f"does not at {'x'.join(map(str, scaled(steps)))}; give the stride of its deepest level"
            )
        return fixed + inputs[0].nbytes + activations <= budget_gb * 2**30

    low = math.ceil(max(size) / stride / 4)
    while low * stride < max(size) and peak(low) is None:
        low += 1
    if not fits(low):
        return None
    high = 2 * low
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return scaled(low)
