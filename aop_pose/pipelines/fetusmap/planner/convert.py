"""Conv-BN-ReLU passes with equal, even channels, and their replacement by reversible blocks."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from aop_pose.pipelines.fetusmap.planner.graph import Graph
from aop_pose.pipelines.fetusmap.planner.reversible import CONVOLUTIONS, ReversibleBlock

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
GIVEN = ("placeholder", "get_attr")
"""Kinds of nodes that read an input or a parameter: no unit, whose value could be computed backwards."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU)


def passes(graph: Graph) -> list[tuple[str, str, str]]:
    """Node names (convolution, norm, activation) of every pass that a reversible block may replace, in order.

    The convolution keeps channels (even) and size and its modules are called once; nothing else reads what is between.
    """
    modules = dict(graph.root.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in graph.graph.nodes if node.op == "call_module")
    found = []
    for unit in graph.units:
        first = unit.nodes[0]
        if first.op != "call_module" or not isinstance(modules[str(first.target)], CONVOLUTIONS):
            continue
        chain = [first, *_only_readers(first, 2)]
        kinds = [modules[str(node.target)] for node in chain]
        if len(chain) == 3 and isinstance(kinds[1], NORMS) and isinstance(kinds[2], ACTIVATIONS):
            once = calls[id(kinds[0])] == calls[id(kinds[1])] == 1
            if once and _keeps_form(kinds[0]) and next(iter(first.all_input_nodes)).op not in GIVEN:
                found.append((chain[0].name, chain[1].name, chain[2].name))
    return found


def _only_readers(node: fx.Node, most: int) -> list[fx.Node]:
    """The module calls in a row that each alone read what is before, up to so many."""
    if not most or len(node.users) != 1:
        return []
    [user] = node.users
    return [user, *_only_readers(user, most - 1)] if user.op == "call_module" else []


def _keeps_form(convolution: Any) -> bool:
    """Whether input and output have the same even channels and the same size."""
    even = convolution.in_channels == convolution.out_channels and convolution.in_channels % 2 == 0
    if not even or convolution.groups != 1 or any(step != 1 for step in convolution.stride):
        return False
    if isinstance(convolution.padding, str):
        return convolution.padding == "same"
    sides = zip(convolution.kernel_size, convolution.dilation, convolution.padding, strict=True)
    return all(2 * padding == dilation * (kernel - 1) for kernel, dilation, padding in sides)


def units_of(graph: Graph, names: Sequence[str]) -> int:
    """Bit mask of the units that hold these nodes."""
    return sum(1 << label for label, unit in enumerate(graph.units) if any(node.name in names for node in unit.nodes))


def convert(root: nn.Module, graph: fx.Graph, chosen: Sequence[tuple[str, str, str]]) -> tuple[nn.Module, fx.Graph]:
    """A copy of the network and its graph with those passes replaced; a block stands under its convolution's name.

    The blocks' weights are new. Without passes to replace nothing is copied.
    """
    if not chosen:
        return root, graph
    root = copy.deepcopy(root)
    edited = fx.Graph()
    edited.output(edited.graph_copy(graph, {}))
    nodes = {node.name: node for node in edited.nodes}
    for names in chosen:
        convolution, norm, activation = (nodes[name] for name in names)
        parts = [root.get_submodule(str(node.target)) for node in (convolution, norm, activation)]
        root.set_submodule(str(convolution.target), ReversibleBlock(*parts))
        root.set_submodule(str(norm.target), nn.Identity())
        activation.replace_all_uses_with(convolution)
        edited.erase_node(activation)
        edited.erase_node(norm)
    return root, edited
