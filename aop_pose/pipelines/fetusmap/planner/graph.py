"""The graph of a module: one unit for each operation that makes a tensor, sorted and labelled (the seed's Fig. 5b)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.planner.memory import like_meta, on_meta
from aop_pose.pipelines.fetusmap.planner.reversible import ReversibleBlock


@attrs.frozen
class Unit:
    """A unit that is run or recomputed as one: the operation that makes a tensor, and what only it may be run with.

    Attributes:
        name: that of the node whose value the unit is.
        nodes: in order; operations that write in place into the value, and sizes read off it, ride along.
        inputs: labels of the units whose values are read.
    """

    name: str
    nodes: tuple[fx.Node, ...]
    inputs: tuple[int, ...]

    @property
    def value(self) -> fx.Node:
        return next(node for node in self.nodes if node.name == self.name)


@attrs.frozen(slots=False)
class Graph:
    """A directed graph in topological order, as bit masks: bit i stands for unit i.

    Attributes:
        root: the module whose parts the nodes name.
        prologue: nodes that depend on no unit (sizes of the inputs).
        outputs: labels of the units that the network returns.
    """

    root: nn.Module
    graph: fx.Graph
    units: tuple[Unit, ...]
    prologue: tuple[fx.Node, ...]
    outputs: frozenset[int]

    @property
    def whole(self) -> int:
        return (1 << len(self.units)) - 1

    @functools.cached_property
    def successors(self) -> tuple[int, ...]:
        """For each unit those that read its value."""
        masks = [0] * len(self.units)
        for label, unit in enumerate(self.units):
            for before in unit.inputs:
                masks[before] |= 1 << label
        return tuple(masks)

    @functools.cached_property
    def ancestors(self) -> tuple[int, ...]:
        """For each unit itself and all that it depends on: the smallest lower set that holds it."""
        masks: list[int] = []
        for label, unit in enumerate(self.units):
            masks.append(functools.reduce(operator.or_, (masks[before] for before in unit.inputs), 1 << label))
        return tuple(masks)

    def boundary(self, lower_set: int) -> int:
        """Units of a lower set that are read outside it or returned."""
        return sum(
            1 << label for label in members(lower_set) if label in self.outputs or self.successors[label] & ~lower_set
        )


class _Tracer(fx.Tracer):
    # Else what the forward writes into a buffer would be written while it is traced, and never again.
    proxy_buffer_attributes = True

    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (ReversibleBlock, *self.leaves)) or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module, leaves: tuple[type[nn.Module], ...] = ()) -> fx.Graph:
    """The module's operations by symbolic tracing.

    Raises:
        UsageError: its forward depends on values of tensors or cannot be traced; one line that says what to declare.
    """
    try:
        return _Tracer(leaves).trace(module)
    except Exception as error:  # fx lets whatever the forward raised through: TypeError, TraceError, and others
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"memory planner: expected a forward that torch.fx can trace, found {type(module).__name__}: {reason}; "
            "name the part with control flow in leaves=(ItsClass,) or declare the graph in graph="
        ) from None


def build(root: nn.Module, graph: fx.Graph, inputs: Sequence[Tensor]) -> Graph:
    """Units of a traced or declared graph, told apart by running it once without data on inputs of these shapes.

    Raises:
        UsageError: a node gives several tensors or something else, writes into a tensor that others read or into an
            input, or does not run on the shapes.
    """
    run = _Run(on_meta(root), graph, like_meta(inputs))
    run.run()
    return Graph(root, graph, tuple(run.finished()), tuple(run.prologue), frozenset(run.outputs()))


class _Run(fx.Interpreter):
    """Runs the graph on meta tensors and sorts its nodes into units."""

    def __init__(self, root: nn.Module, graph: fx.Graph, inputs: Sequence[Tensor]) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        self.extra_traceback = False  # errors are one line
        self.inputs = inputs
        self.parts: list[list[fx.Node]] = []  # nodes of each unit
        self.values: list[fx.Node] = []  # the node whose value the unit is
        self.owner: dict[fx.Node, int] = {}  # node -> its unit; nodes of the prologue have none
        self.prologue: list[fx.Node] = []

    def run(self, *_: Any, **__: Any) -> Any:
        wanted = sum(node.op == "placeholder" and not node.args for node in self.graph.nodes)
        if len(self.inputs) < wanted:
            raise UsageError(f"memory planner: expected {wanted} input tensors, found {len(self.inputs)}")
        return super().run(*self.inputs)

    def run_node(self, n: fx.Node) -> Any:
        operands = [node for node in n.all_input_nodes if isinstance(self.env[node], Tensor)]
        versions = [self.env[node]._version for node in operands]
        try:
            result = super().run_node(n)
        except UsageError:
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(
                f"memory planner: {n.name} does not run on inputs of shape "
                f"{', '.join(str(tuple(tensor.shape)) for tensor in self.inputs)}: {reason}"
            ) from None
        if n.op == "output":
            self._check_output(result)
        elif n.op not in ("placeholder", "get_attr"):
            written = [
                node for node, version in zip(operands, versions, strict=True) if self.env[node]._version != version
            ]
            self._sort(n, result, written)
        return result

    def _sort(self, node: fx.Node, result: Any, written: list[fx.Node]) -> None:
        if written:
            self._ride_along(node, written[0])
        elif isinstance(result, Tensor):
            self.owner[node] = len(self.parts)
            self.parts.append([node])
            self.values.append(node)
        elif all(isinstance(leaf, (int, float, str, torch.dtype, torch.device)) for leaf in tree_leaves(result)):
            before = [self.owner[operand] for operand in node.all_input_nodes if operand in self.owner]
            if before:
                self.owner[node] = max(before)
                self.parts[max(before)].append(node)
            else:
                self.prologue.append(node)
        else:
            raise UsageError(
                f"memory planner: expected one tensor from {self._called(node)}, found {type(result).__name__}; "
                "wrap it in a module that returns one tensor and name that in leaves="
            )

    def _ride_along(self, node: fx.Node, target: fx.Node) -> None:
        """A node that writes into another's value is part of that unit, whose value it then is."""
        others = [user.name for user in target.users if user is not node and self._reads_data(user)]
        if target not in self.owner or others:
            whose = f"which {others[0]} reads too" if others else "an input of the network"
            raise UsageError(
                f"memory planner: {self._called(node)} writes in place into {target.name}, {whose}; "
                "make it inplace=False"
            )
        self.owner[node] = self.owner[target]
        self.parts[self.owner[target]].append(node)
        self.values[self.owner[target]] = node

    def _reads_data(self, user: fx.Node) -> bool:
        return user not in self.env or isinstance(self.env[user], Tensor)

    def _called(self, node: fx.Node) -> str:
        kind = f" ({type(self.module.get_submodule(str(node.target))).__name__})" if node.op == "call_module" else ""
        return f"{node.name}{kind}"

    def _check_output(self, result: Any) -> None:
        for leaf in tree_leaves(result):
            if not isinstance(leaf, Tensor):
                raise UsageError(
                    f"memory planner: expected a network that returns tensors, found {type(leaf).__name__} in what it "
                    "returns; return tensors only"
                )

    def finished(self) -> list[Unit]:
        units = []
        for label, (parts, value) in enumerate(zip(self.parts, self.values, strict=True)):
            read = {self.owner[operand] for node in parts for operand in node.all_input_nodes if operand in self.owner}
            tensors = {
                self.owner[operand]
                for node in parts
                for operand in node.all_input_nodes
                if operand in self.owner and isinstance(self.env[operand], Tensor)
            }
            units.append(Unit(value.name, tuple(parts), tuple(sorted((read & tensors) - {label}))))
        return units

    def outputs(self) -> list[int]:
        [end] = [node for node in self.graph.nodes if node.op == "output"]
        return [self.owner[node] for node in end.all_input_nodes if node in self.owner]


def only_readers(node: fx.Node, most: int) -> list[fx.Node]:
    """The calls in a row that each alone read what is before, and nothing else, up to so many."""
    if not most or len(node.users) != 1:
        return []
    [user] = node.users
    if user.op == "output" or user.all_input_nodes != [node]:
        return []
    return [user, *only_readers(user, most - 1)]


def members(subset: int) -> list[int]:
    """Labels in a bit mask, ascending."""
    return [label for label in range(subset.bit_length()) if subset >> label & 1]


def is_valid(graph: Graph, subset: int) -> bool:
    """True where no edge leaves the subset but from its output node, the one with the largest label (section 3.1).

    What the network returns leaves the subset too.
    """
    return subset != 0 and all(
        label not in graph.outputs and not graph.successors[label] & ~subset for label in members(subset)[:-1]
    )
