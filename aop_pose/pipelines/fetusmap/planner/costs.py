"""Costs of each unit of a graph, what it keeps and makes, by running it alone without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, fx

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.planner.graph import Graph
from aop_pose.pipelines.fetusmap.planner.memory import LiveBytes, like_meta, on_meta

# Seconds are arithmetic plus traffic: a device does about this many operations in the time it moves one byte.
OPERATIONS_PER_BYTE = 20


@attrs.frozen
class Cost:
    """One unit's needs, in bytes beyond parameters.

    Attributes:
        made: its value; 0 if that is a view of ``storage``'s.
        storage: label of the unit whose storage the value has, itself unless it is a view.
        saves: bit mask of the units whose storages autograd keeps for its backward pass.
        internal: what autograd keeps that is no unit's value (masks, indices, statistics).
        forward, backward: alive at the worst moment beside what stood before; backward, with gradients of inputs.
        seconds: of the forward pass, in the operations that would take as long.
        back: of the backward pass, with what that runs again by itself (reversible blocks, slabs).
        reruns: whether its backward pass needs something that only running it makes.
        differentiable: whether a gradient passes it.
        random: whether it draws random numbers.
    """

    made: int
    storage: int
    saves: int
    internal: int
    forward: int
    backward: int
    seconds: float
    back: float
    reruns: bool
    differentiable: bool
    random: bool


def unit_costs(graph: Graph, inputs: Sequence[Tensor]) -> list[Cost]:
    """Costs of all units for inputs of these shapes."""
    root = on_meta(graph.root)
    values: dict[fx.Node, Any] = {}
    interpreter = fx.Interpreter(root, garbage_collect_values=False, graph=graph.graph)
    interpreter.args_iter = iter(like_meta(inputs))
    interpreter.env = values
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "get_attr") or node in graph.prologue:
            values[node] = interpreter.run_node(node)
    owner: dict[int, int] = {}  # storage -> the unit that made it
    costs = []
    for label, unit in enumerate(graph.units):
        costs.append(_cost(graph, label, interpreter, owner))
        owner.setdefault(id(values[unit.value].untyped_storage()), label)
    return costs


def _run(interpreter: fx.Interpreter, node: fx.Node) -> Any:
    try:
        return interpreter.run_node(node)
    except RuntimeError as error:
        raise UsageError(
            f"memory planner: expected operations that can run one by one, found {node.name} ({node.target}): "
            f"{str(error).splitlines()[0].rstrip('.')}; write into no part of another value, or name the module in "
            "leaves=(ItsClass,)"
        ) from None


def _cost(graph: Graph, label: int, interpreter: fx.Interpreter, owner: dict[int, int]) -> Cost:
    unit = graph.units[label]
    values = interpreter.env
    # Each unit starts from leaves, so that its backward pass is its own.
    read = [graph.units[before].value for before in unit.inputs]
    for node in read:
        values[node] = values[node].detach().requires_grad_(values[node].requires_grad)
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[id(tensor.untyped_storage())] = tensor.untyped_storage()
        return tensor

    with LiveBytes() as count:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            for node in unit.nodes:
                values[node] = _run(interpreter, node)
        forward, seconds = count.peak, _seconds(count)
        value = values[unit.value]
        storage = owner.get(id(value.untyped_storage()), label)
        made = count.size_of(value)
        fresh = {key: held for key, held in saved.items() if key in count.counted and key not in owner}
        internal = sum(held.nbytes() for key, held in fresh.items() if key != id(value.untyped_storage()))
        saves = sum(1 << owner[key] for key in saved if key in owner)
        if id(value.untyped_storage()) in fresh:
            saves |= 1 << label
        parts = [values[node] for node in read] + list(interpreter.module.parameters())
        backward = _backward(value, parts, count) if value.requires_grad else 0
    differentiable = value.requires_grad
    values[unit.value] = value.detach().requires_grad_(differentiable)
    return Cost(
        made=made,
        storage=storage,
        saves=saves,
        internal=internal,
        forward=forward,
        backward=backward,
        seconds=seconds,
        back=_seconds(count) - seconds,
        reruns=bool(fresh),
        differentiable=differentiable,
        random=count.random,
    )


def _seconds(count: LiveBytes) -> float:
    return count.operations + OPERATIONS_PER_BYTE * count.traffic


class _Source(torch.autograd.Function):
    """A loss whose gradient nobody holds but the backward pass of what it is of, as in a network."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.form = value.new_empty(0), value.shape, value.stride()
        return value.new_empty(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        like, shape, stride = ctx.form
        return like.new_empty_strided(shape, stride)


def _backward(value: Tensor, parts: Sequence[Tensor], count: LiveBytes) -> int:
    """Bytes alive at the worst moment of the unit's backward pass, beyond what its forward pass left and the gradient
    of its value.

    Args:
        parts: inputs of the unit and its parameters, whose gradients are dropped again.
    """
    loss = _Source.apply(value)
    before = count.live + value.nbytes
    count.peak = before
    loss.backward()
    for tensor in parts:
        tensor.grad = None
    return count.peak - before
