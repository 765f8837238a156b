"""The heuristic of section 3.1: Kusumoto's partition first, then reversible blocks where they save memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor, fx, nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.planner.costs import unit_costs
from aop_pose.pipelines.fetusmap.planner.execution import Action, Planned, convert, passes, units_of
from aop_pose.pipelines.fetusmap.planner.graph import Graph, build, is_valid, members, trace
from aop_pose.pipelines.fetusmap.planner.memory import Loss, dry_peak, mean_square, on_meta
from aop_pose.pipelines.fetusmap.planner.partition import Partitioner
from aop_pose.pipelines.fetusmap.planner.plan import InputForm, Method, Plan, SegmentPlan

# A backward pass takes about twice the arithmetic of the forward pass.
STEP_OVER_FORWARD = 3.0
METHODS = ("plain", "gcp", "rev", "gcp+rev")


def plan_memory(
    module: nn.Module,
    inputs: Sequence[Tensor],
    method: Method = "gcp+rev",
    max_slowdown: float = 1.3,
    leaves: tuple[type[nn.Module], ...] = (),
    graph: fx.Graph | None = None,
    loss: Loss = mean_square,
) -> Plan:
    """A plan for training the module with inputs of these shapes; the module is not changed, nothing is computed.

    Args:
        inputs: tensors of the shapes to plan for; ``device="meta"`` will do.
        method: "plain", "gcp" (checkpoints), "rev" (reversible blocks) or "gcp+rev", the paper's.
        max_slowdown: the longest a step may take, as a multiple of the plain one (estimated).
        leaves: module classes to take as one unit, not to be looked into.
        graph: a declared graph of a module that cannot be traced.
        loss: of the network's outputs; counts towards the peak.

    Raises:
        UsageError: the module cannot be traced, a unit does not give one tensor, or the numbers make no sense.
    """
    if method not in METHODS:
        raise UsageError(f"memory planner: expected a method of {', '.join(METHODS)}, found {method!r}")
    if max_slowdown < 1:
        raise UsageError(f"memory planner: expected max_slowdown of at least 1, found {max_slowdown}")
    return _Planning(module, inputs, max_slowdown, graph or trace(module, leaves), loss).plan(method)


@attrs.frozen
class _Choice:
    """Segments of the original graph as (action, bit mask), the passes among them that are reversed, and estimates."""

    segments: tuple[tuple[Action, int], ...]
    reversed_passes: tuple[tuple[str, str, str], ...]
    peak: int
    slowdown: float


class _Planning:
    def __init__(
        self, module: nn.Module, inputs: Sequence[Tensor], max_slowdown: float, traced: fx.Graph, loss: Loss
    ) -> None:
        self.root = on_meta(module)
        self.inputs = inputs
        self.max_slowdown = max_slowdown
        self.graph: Graph = build(self.root, traced, inputs)
        self.loss = loss
        self.costs = unit_costs(self.graph, inputs)
        self.step = STEP_OVER_FORWARD * sum(cost.seconds for cost in self.costs)
        self.partitioner = Partitioner(self.graph, self.costs, (max_slowdown - 1) * self.step)

    def plan(self, method: Method) -> Plan:
        # By the graph, since a module whose graph is declared may not run without data.
        plain = dry_peak(Planned(self.graph, [("keep", members(self.graph.whole))]), self.inputs, self.loss)
        choices = [_Choice(tuple(("keep", 1 << label) for label in members(self.graph.whole)), (), plain, 1.0)]
        if method in ("gcp", "gcp+rev"):
            choices.append(self._checkpointed())
        if method in ("rev", "gcp+rev"):
            # Of passes in a row only the last output is kept, which a partition found without them leaves no room for.
            starts = choices if self._has_rows() else choices[-1:]
            choices += [self._reversed(start) for start in starts]
        return self._plan(method, min(choices, key=lambda choice: choice.peak), plain)

    def _has_rows(self) -> bool:
        blocks = [units_of(self.graph, names) for names in passes(self.graph)]
        return any(
            self._alone(block) and any(other >> members(block)[0] - 1 & 1 for other in blocks) for block in blocks
        )

    def _checkpointed(self) -> _Choice:
        """Step 1: the partition with the least memory in the time allowed."""
        best = self.partitioner.best()
        segments: list[tuple[Action, int]] = [
            ("recompute" if segment.recompute else "keep", segment.units) for segment in best.segments
        ]
        return self._priced(segments, ())

    def _reversed(self, choice: _Choice) -> _Choice:
        """Steps 2 and 3: every pass is reversed where what is left is valid and the peak falls."""
        for candidate in passes(self.graph):
            units = units_of(self.graph, candidate)
            rest = [(action, mask & ~units) for action, mask in choice.segments if mask & ~units]
            if not all(is_valid(self.graph, mask) for _, mask in rest):
                continue
            ordered = list(self._in_order([*rest, ("reverse", units)]))
            if len(ordered) == len(rest) + 1:
                offered = self._priced(ordered, (*choice.reversed_passes, candidate))
                if offered.peak < choice.peak and offered.slowdown <= self.max_slowdown:
                    choice = offered
        return choice

    def _in_order(self, segments: Sequence[tuple[Action, int]]) -> Iterator[tuple[Action, int]]:
        """Segments so that each runs after what it reads, lowest label first; those in a circle are left out."""
        waiting = sorted(segments, key=lambda segment: segment[1] & -segment[1])
        done = 0
        while waiting:
            ready = next((one for one in waiting if not self._reads(one[1]) & ~(done | one[1])), None)
            if ready is None:
                return
            waiting.remove(ready)
            done |= ready[1]
            yield ready

    def _reads(self, units: int) -> int:
        return sum({1 << before for label in members(units) for before in self.graph.units[label].inputs})

    def _priced(
        self, segments: Sequence[tuple[Action, int]], reversed_passes: tuple[tuple[str, str, str], ...]
    ) -> _Choice:
        """The choice with its peak, by a step without data, and its slowdown."""
        done, again = 0, 0.0
        for action, mask in segments:
            if action == "reverse":
                again += sum(self.costs[label].seconds for label in members(mask))
            else:
                again += self.partitioner.segment_cost(done, done | mask, action == "recompute").seconds
            done |= mask
        choice = _Choice(tuple(segments), reversed_passes, 0, 1 + again / self.step)
        draft = self._plan("plain", choice, 0)
        root, graph = convert(self.root, self.graph.graph, reversed_passes)
        return attrs.evolve(choice, peak=dry_peak(draft.run_on(root, graph, self.inputs), self.inputs, self.loss))

    def _plan(self, method: Method, choice: _Choice, plain: int) -> Plan:
        segments: list[SegmentPlan] = []
        blocks = {units_of(self.graph, names): names[0] for names in choice.reversed_passes}
        for action, mask in choice.segments:
            if action != "reverse":
                names = tuple(self.graph.units[label].name for label in members(mask))
                segments.append(SegmentPlan(action=action, units=names))
            elif segments and segments[-1].action == "reverse" and self._alone(mask):
                segments[-1] = SegmentPlan(action=action, units=(*segments[-1].units, blocks[mask]))
            else:
                segments.append(SegmentPlan(action=action, units=(blocks[mask],)))
        return Plan(
            method=method,
            inputs=tuple(InputForm.of(tensor) for tensor in self.inputs),
            units=tuple(unit.name for unit in self.graph.units),
            reversed_passes=choice.reversed_passes,
            segments=tuple(segments),
            plain_bytes=plain,
            planned_bytes=choice.peak,
            slowdown=choice.slowdown,
        )

    def _alone(self, block: int) -> bool:
        """True where the block alone reads what the block right before it made: the two run as one."""
        first = members(block)[0]
        [before] = self.graph.units[first].inputs
        return before == first - 1 and self.graph.successors[before] == 1 << first and before not in self.graph.outputs


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
