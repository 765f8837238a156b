"""A module run by a plan: rewritten with reversible blocks and slabs, then segment by segment, some recomputed."""

from __future__ import annotations

import contextlib
import copy
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from aop_pose.pipelines.fetusmap.planner.graph import Graph, only_readers
from aop_pose.pipelines.fetusmap.planner.parts import put_in_slabs
from aop_pose.pipelines.fetusmap.planner.reversible import CONVOLUTIONS, ReversibleBlock, reverse, unchanged_buffers

Action = Literal["keep", "recompute", "reverse"]


@attrs.frozen
class Stage:
    """A segment ready to run.

    Attributes:
        labels: its units in order.
        reads: units before it whose values it reads.
        gives: units in it whose values are read later or returned.
        last: units before it whose values nothing after it reads.
        again: units it reads that one earlier segment alone has read: skips.
        modules: those it calls that hold buffers.
    """

    action: Action
    labels: tuple[int, ...]
    reads: tuple[int, ...]
    gives: tuple[int, ...]
    last: tuple[int, ...]
    again: frozenset[int]
    modules: tuple[nn.Module, ...]


class Planned(nn.Module):
    """Runs a network as planned; results and gradients are those of the network itself.

    Recomputation draws the same random numbers and leaves running statistics alone. ``network`` is the network
    itself: its state dictionary is the one to store.

    Args:
        graph: the network's graph, reversible blocks in place.
        segments: action and labels of each segment, in the order in which they run.
    """

    def __init__(self, graph: Graph, segments: Sequence[tuple[Action, Sequence[int]]]) -> None:
        super().__init__()
        self.network = graph.root
        self.graph = graph
        self.stages = [_stage(graph, segments, position) for position in range(len(segments))]

    def forward(self, *inputs: Tensor) -> Any:
        """The network's outputs."""
        call = _Call(self.graph, inputs)
        values: dict[int, Tensor] = {}
        for stage in self.stages:
            read = [_skip(values[label]) if label in stage.again else values[label] for label in stage.reads]
            given = self._run(stage, call, read)
            for label in stage.last:
                del values[label]
            values.update(zip(stage.gives, given, strict=True))
            del given, read
        return call.output(values)

    def _run(self, stage: Stage, call: _Call, read: list[Tensor]) -> Sequence[Tensor]:
        def segment(*tensors: Tensor) -> list[Tensor]:
            return call.run(stage, tensors)

        if stage.action != "recompute" or not torch.is_grad_enabled():
            return segment(*read)
        return checkpoint(segment, *read, use_reentrant=False, context_fn=_contexts(stage.modules))

    def __deepcopy__(self, memo: dict[int, Any]) -> Planned:
        """A planned copy of the network; the graph, which holds no data, is shared."""
        segments = [(stage.action, stage.labels) for stage in self.stages]
        copied = Planned(attrs.evolve(self.graph, root=copy.deepcopy(self.network, memo)), segments)
        copied.training = self.training
        return copied


class _Call:
    """One forward pass: the inputs, and the sizes read off tensors, which recomputation needs again."""

    def __init__(self, graph: Graph, inputs: Sequence[Tensor]) -> None:
        self.graph = graph
        self.modules = dict(graph.root.named_modules(remove_duplicate=False))
        self.constants: dict[fx.Node, Any] = {}
        supplied = iter(inputs)
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                self.constants[node] = next(supplied, *node.args)
        for node in graph.prologue:
            self.constants[node] = self._evaluate(node, {})

    def run(self, stage: Stage, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Values the stage gives, from those it reads."""
        values = {self.graph.units[label].value: tensor for label, tensor in zip(stage.reads, tensors, strict=True)}
        inside = set(stage.labels)
        for position, label in enumerate(stage.labels):
            unit = self.graph.units[label]
            for node in unit.nodes:
                result = self._evaluate(node, values)
                (values if isinstance(result, Tensor) else self.constants)[node] = result
                del result
            for node in unit.nodes:
                if node is not unit.value:
                    values.pop(node, None)
            for before in unit.inputs:
                later = any(before in self.graph.units[other].inputs for other in stage.labels[position + 1 :])
                if before in inside and before not in stage.gives and not later:
                    del values[self.graph.units[before].value]
        return [values[self.graph.units[label].value] for label in stage.gives]

    def _evaluate(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        def find(operand: fx.Node) -> Any:
            if operand in values:
                return values[operand]
            if operand in self.constants:
                return self.constants[operand]
            return _attribute(self.graph.root, str(operand.target))  # get_attr: a parameter or a buffer

        args = fx.node.map_arg(node.args, find)
        kwargs = fx.node.map_arg(node.kwargs, find)
        if node.op == "call_module":
            return self.modules[str(node.target)](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def output(self, values: dict[int, Tensor]) -> Any:
        found = {self.graph.units[label].value: tensor for label, tensor in values.items()}
        [end] = [node for node in self.graph.graph.nodes if node.op == "output"]
        return fx.node.map_arg(
            end.args[0], lambda node: found[node] if node in found else self._evaluate_output(node, found)
        )

    def _evaluate_output(self, node: fx.Node, found: dict[fx.Node, Tensor]) -> Any:
        return self.constants[node] if node in self.constants else _attribute(self.graph.root, str(node.target))


def _skip(value: Tensor) -> Tensor:
    """The value, its gradient freed from the one of the whole concatenation that it is a view of.

    A skip's gradient waits until the backward pass reaches the encoder; as a view it would keep the gradient of the
    decoder's part alive until then.
    """
    if not value.requires_grad:
        return value
    alias = value.view_as(value)
    alias.register_hook(_own_storage)
    return alias


def _own_storage(gradient: Tensor) -> Tensor:
    return gradient.clone() if gradient.untyped_storage().nbytes() > gradient.nbytes else gradient


def _attribute(root: nn.Module, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


def _stage(graph: Graph, segments: Sequence[tuple[Action, Sequence[int]]], position: int) -> Stage:
    action, labels = segments[position]
    earlier = {before for _, others in segments[:position] for label in others for before in graph.units[label].inputs}
    later = {label for _, others in segments[position + 1 :] for label in others}
    read_later = {before for label in later for before in graph.units[label].inputs} | graph.outputs
    reads = sorted({before for label in labels for before in graph.units[label].inputs} - set(labels))
    called = {
        graph.root.get_submodule(str(node.target))
        for label in labels
        for node in graph.units[label].nodes
        if node.op == "call_module"
    }
    # Buffers that an operation is given, as F.batch_norm is, belong to a module as well; reversible blocks are given.
    called |= {
        _holder(graph.root, str(operand.target))
        for label in labels
        for node in graph.units[label].nodes
        for operand in node.all_input_nodes
        if operand.op == "get_attr"
    }
    modules = {part for module in called for part in module.modules() if part._buffers}
    return Stage(
        action,
        tuple(labels),
        tuple(reads),
        gives=tuple(label for label in labels if label in read_later),
        last=tuple(label for label in reads if label not in read_later),
        # Only where two units in all read it: of three gradients the order in which they are added would change.
        again=frozenset(label for label in reads if label in earlier and graph.successors[label].bit_count() == 2),
        modules=tuple(modules),
    )


def _holder(root: nn.Module, path: str) -> nn.Module:
    """The module at the path, or that of what else is there."""
    found = _attribute(root, path)
    return found if isinstance(found, nn.Module) else root.get_submodule(path.rpartition(".")[0])


def _contexts(modules: Sequence[nn.Module]) -> Callable[[], tuple[Any, Any]]:
    """Contexts of the first run and of the recomputation, which starts from the buffers the first began with."""

    def make() -> tuple[Any, Any]:
        changing = [module for module in modules if module.training]
        start = {
            id(buffer): buffer.detach().clone()
            for module in changing
            for buffer in module._buffers.values()
            if buffer is not None
        }
        return contextlib.nullcontext(), unchanged_buffers(changing, start)

    return make


Pass = tuple[str, str, str]
"""Node names: convolution, norm, activation."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
GIVEN = ("placeholder", "get_attr")
"""Kinds of nodes that read an input or a parameter: no unit, whose value could be computed backwards."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU)
FUNCTIONS: dict[Any, type[nn.Module]] = {
    functional.relu: nn.ReLU, functional.relu_: nn.ReLU, torch.relu: nn.ReLU, torch.relu_: nn.ReLU,
    "relu": nn.ReLU, "relu_": nn.ReLU, functional.relu6: nn.ReLU6, functional.silu: nn.SiLU,
    functional.leaky_relu: nn.LeakyReLU, functional.leaky_relu_: nn.LeakyReLU, functional.elu: nn.ELU,
    functional.elu_: nn.ELU,
}  # fmt: skip
"""Activations called as functions, and as methods of tensors, by what a node's target is."""


NEW = (torch.cat, torch.add, torch.mul, operator.add, operator.mul, operator.sub, functional.interpolate)
NEW_OF_MODULES = (
    *CONVOLUTIONS, *NORMS, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.MaxPool1d, nn.MaxPool2d,
    nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.Upsample, nn.Linear,
)  # fmt: skip
"""Functions and modules whose results share no memory with what they read."""


def passes(graph: Graph) -> list[Pass]:
    """Every pass that a reversible block may replace, in order.

    The convolution keeps channels (even) and size and its modules are called once; nothing else reads what is between,
    nothing writes into its output, which is not returned.
    """
    modules = dict(graph.root.named_modules(remove_duplicate=False))
    calls = Counter(id(modules[str(node.target)]) for node in graph.graph.nodes if node.op == "call_module")
    values = {unit.value for unit in graph.units}
    found = []
    for unit in graph.units:
        first = unit.nodes[0]
        if first.op != "call_module" or not isinstance(modules[str(first.target)], CONVOLUTIONS):
            continue
        chain = [first, *only_readers(first, 2)]
        if len(chain) < 3 or chain[1].op != "call_module" or chain[2] not in values or _returned(chain[2], modules):
            continue
        kinds = [modules[str(node.target)] for node in chain[:2]]
        if isinstance(kinds[1], NORMS) and _activation(chain[2], modules) is not None:
            once = calls[id(kinds[0])] == calls[id(kinds[1])] == 1
            if once and _keeps_form(kinds[0]) and next(iter(first.all_input_nodes)).op not in GIVEN:
                found.append((chain[0].name, chain[1].name, chain[2].name))
    return found


def _returned(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """True where the network may return what shares the node's memory: itself, or what is no new tensor for certain."""

    def is_new(user: fx.Node) -> bool:
        called = modules[str(user.target)] if user.op == "call_module" else None
        return user.target in NEW or isinstance(called, NEW_OF_MODULES)

    return any(user.op == "output" or (not is_new(user) and _returned(user, modules)) for user in node.users)


def _activation(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    """The node's activation as a module; None if it is none."""
    if node.op == "call_module":
        module = modules[str(node.target)]
        return module if isinstance(module, ACTIVATIONS) else None
    kind = FUNCTIONS.get(node.target)
    if kind is None:
        return None
    slopes: list[Any] = [
        *node.args[1:2],
        *(value for key, value in node.kwargs.items() if key in ("negative_slope", "alpha")),
    ]
    if kind not in (nn.LeakyReLU, nn.ELU):
        return kind()
    return kind(*slopes) if all(isinstance(slope, (int, float)) for slope in slopes) else None


def _keeps_form(convolution: Any) -> bool:
    """True where input and output have the same even channels and the same size."""
    even = convolution.in_channels == convolution.out_channels and convolution.in_channels % 2 == 0
    if not even or convolution.groups != 1 or any(step != 1 for step in convolution.stride):
        return False
    if isinstance(convolution.padding, str):
        return convolution.padding == "same"
    sides = zip(convolution.kernel_size, convolution.dilation, convolution.padding, strict=True)
    return all(2 * padding == dilation * (kernel - 1) for kernel, dilation, padding in sides)


def convert(
    root: nn.Module, graph: fx.Graph, chosen: Sequence[Pass], slabs: Sequence[tuple[str, ...]] = ()
) -> tuple[nn.Module, fx.Graph]:
    """A copy of the network and its graph with those passes reversed, those in a row as one unit under the name of its
    first convolution, and those convolutions in slabs.

    The blocks' weights are new. Without passes to reverse the network is not copied.
    """
    if not chosen and not slabs:
        return root, graph
    edited = fx.Graph()
    edited.output(edited.graph_copy(graph, {}))
    for names in slabs:
        put_in_slabs(edited, root, names)
    if not chosen:
        return root, edited
    root = copy.deepcopy(root)
    modules = dict(root.named_modules(remove_duplicate=False))
    nodes = {node.name: node for node in edited.nodes}
    rows: list[list[fx.Node]] = []
    for names in chosen:
        convolution, norm, activation = (nodes[name] for name in names)
        kind = _activation(activation, modules)
        assert kind is not None
        block = ReversibleBlock(modules[str(convolution.target)], modules[str(norm.target)], kind)
        root.set_submodule(str(convolution.target), block)
        root.set_submodule(str(norm.target), nn.Identity())
        if rows and only_readers(rows[-1][-1], 1) == [convolution]:
            rows[-1] += [convolution, norm, activation]
        else:
            rows.append([convolution, norm, activation])
    for row in rows:
        name = row[0].name
        with edited.inserting_before(row[0]):
            blocks = [edited.get_attr(str(convolution.target)) for convolution in row[::3]]
            made = edited.call_function(reverse, (row[0].all_input_nodes[0], *blocks))
        row[-1].replace_all_uses_with(made)
        for node in reversed(row):
            edited.erase_node(node)
        made.name = name
    return root, edited


def units_of(graph: Graph, names: Sequence[str]) -> int:
    """Bit mask of the units that hold these nodes."""
    return sum(1 << label for label, unit in enumerate(graph.units) if any(node.name in names for node in unit.nodes))
