"""A convolution of a concatenation, slab by slab: neither the concatenation, nor what is enlarged for it, nor the
gradients of either are ever there whole. The convolution itself is not run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import interpolate, pad

from aop_pose.pipelines.fetusmap.planner.graph import only_readers
from aop_pose.pipelines.fetusmap.planner.reversible import CONVOLUTIONS

MOST_SLABS = 8
FEWEST_ROWS = 4
"""Of a slab; fewer would be mostly halo."""
MODES = ("nearest", "linear", "bilinear", "trilinear")


@attrs.frozen
class Growth:
    """The enlargement of an operand of the concatenation: ``nn.Upsample`` by whole numbers, corners not aligned."""

    factors: tuple[int, ...]
    mode: str

    @classmethod
    def of(cls, module: nn.Module) -> Growth | None:
        """Of the module; None for what is no such enlargement."""
        if not isinstance(module, nn.Upsample) or module.mode not in MODES or module.align_corners:
            return None
        scale = module.scale_factor
        if module.size is not None or scale is None:
            return None
        factors = scale if isinstance(scale, tuple) else (scale,)
        whole = tuple(int(factor) for factor in factors)
        return cls(whole, module.mode) if whole == tuple(factors) and min(whole) > 0 else None

    def rows(self, start: int, stop: int, whole: int) -> tuple[int, int]:
        """Rows of the operand, of so many, that rows ``start`` to ``stop`` of the enlarged one are made from."""
        factor, halved = self.factors[0], (self.factors[0] - 1) / 2
        return max(0, int((start - halved) // factor)), min(whole, int((stop - 1 - halved) // factor) + 2)

    def grown(self, operand: Tensor, first: int, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the enlarged one from rows ``first`` and on of the operand."""
        corners = None if self.mode == "nearest" else False
        scale = [float(factor) for factor in self._factors(operand.dim() - 2)]
        made = interpolate(operand, scale_factor=scale, mode=self.mode, align_corners=corners)
        return made[:, :, start - first * self.factors[0] : stop - first * self.factors[0]]

    def _factors(self, axes: int) -> tuple[int, ...]:
        return self.factors if len(self.factors) == axes else self.factors * axes


@attrs.frozen
class Slabs:
    """The convolution's form: stride 1, zeros around.

    Attributes:
        growths: of each operand; None where it is concatenated as it is.
    """

    growths: tuple[Growth | None, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def length(self, operands: Sequence[Tensor]) -> int:
        """Rows of the concatenation."""
        growth = self.growths[0]
        return operands[0].shape[2] * (growth.factors[0] if growth else 1)

    def __call__(self, rows: int, reach: int) -> Iterator[tuple[int, int, int, int]]:
        """For each slab first and last row of the result and of what they are made from, the latter clipped.

        Args:
            rows: of the concatenation; reach: of the kernel, less one.
        """
        whole = rows + 2 * self.padding[0] - reach
        step = max(-(-whole // MOST_SLABS), FEWEST_ROWS)
        for start in range(0, whole, step):
            stop = min(start + step, whole)
            yield start, stop, max(0, start - self.padding[0]), min(rows, stop - self.padding[0] + reach)

    def zeros(self, dimensions: int, rows: int, reach: int, start: int, stop: int) -> list[int]:
        """Rows of zeros before and after the slab, as ``pad`` takes them; the other axes are the convolution's."""
        before = max(0, self.padding[0] - start)
        return [0, 0] * (dimensions - 3) + [before, max(0, stop - self.padding[0] + reach - rows)]

    def pieces(self, operands: Sequence[Tensor], start: int, stop: int) -> list[tuple[Tensor, int, int]]:
        """Of each operand the rows that rows ``start`` to ``stop`` of the concatenation need, and which."""
        found = []
        for operand, growth in zip(operands, self.growths, strict=True):
            first, last = (start, stop) if growth is None else growth.rows(start, stop, operand.shape[2])
            found.append((operand[:, :, first:last], first, last))
        return found

    def window(self, pieces: Sequence[tuple[Tensor, int, int]], start: int, stop: int) -> list[Tensor]:
        """Rows of the operands as they are concatenated."""
        return [
            piece if growth is None else growth.grown(piece, first, start, stop)
            for (piece, first, _), growth in zip(pieces, self.growths, strict=True)
        ]

    def convolved(self, features: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
        ones, none = [1] * len(padding), [0] * len(padding)
        return torch.ops.aten.convolution(
            features, weight, bias, ones, list(padding), list(self.dilation), False, none, self.groups
        )


class _Slabbed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: Slabs, weight: Tensor, bias: Tensor | None, *operands: Tensor) -> Tensor:
        ctx.form, ctx.biased = form, bias is not None
        ctx.save_for_backward(weight, *operands)
        device = operands[0].device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # A convolution in autocast is one in its precision.
            kind = torch.get_autocast_dtype(device)
            weight, bias = weight.to(kind), None if bias is None else bias.to(kind)
        rows, reach = form.length(operands), form.dilation[0] * (weight.shape[2] - 1)
        result: Tensor | None = None
        for start, stop, first, last in form(rows, reach):
            made = _concatenated(form, operands, weight, rows, reach, (start, stop, first, last))
            made = form.convolved(made, weight, bias, (0, *form.padding[1:]))
            if result is None:
                result = _whole(made, rows + 2 * form.padding[0] - reach)
            result[:, :, start:stop] = made
            del made
        assert result is not None
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        weight, *operands = ctx.saved_tensors
        form: Slabs = ctx.form
        _, for_weight, for_bias, *wanted = ctx.needs_input_grad
        rows, reach = form.length(operands), form.dilation[0] * (weight.shape[2] - 1)
        kernel = weight.to(gradient.dtype)
        to_weight = torch.zeros_like(weight) if for_weight else None
        to_operands = [
            torch.zeros_like(operand) if want else None for operand, want in zip(operands, wanted, strict=True)
        ]
        ones, none = [1] * len(form.padding), [0] * len(form.padding)
        for slab in form(rows, reach):
            start, stop, first, last = slab
            through, to_kernel, _ = torch.ops.aten.convolution_backward(
                gradient[:, :, start:stop], _concatenated(form, operands, kernel, rows, reach, slab), kernel, None,
                ones, [0, *form.padding[1:]], list(form.dilation), False, none, form.groups,
                [any(wanted), for_weight, False],
            )  # fmt: skip
            if to_weight is not None:
                to_weight += to_kernel
            if through is not None:
                before = max(0, form.padding[0] - start)
                _share(form, operands, to_operands, through[:, :, before : before + last - first], first, last)
            del through
        axes = [axis for axis in range(gradient.dim()) if axis != 1]
        to_bias = gradient.sum(axes).to(weight.dtype) if ctx.biased and for_bias else None
        return None, to_weight, to_bias, *to_operands


def _concatenated(
    form: Slabs, operands: Sequence[Tensor], weight: Tensor, rows: int, reach: int, slab: tuple[int, int, int, int]
) -> Tensor:
    """The rows that the slab is convolved from, in the weight's precision, zeros around it along the first axis."""
    start, stop, first, last = slab
    made = torch.cat(form.window(form.pieces(operands, first, last), first, last), dim=1).to(weight.dtype)
    zeros = form.zeros(made.dim(), rows, reach, start, stop)
    return pad(made, zeros) if any(zeros) else made


def _share(
    form: Slabs, operands: Sequence[Tensor], totals: Sequence[Tensor | None], through: Tensor, first: int, last: int
) -> None:
    """Adds to the gradients of the operands what rows ``first`` to ``last`` of the concatenation send them."""
    channel = 0
    for operand, total, growth in zip(operands, totals, form.growths, strict=True):
        part = through[:, channel : channel + operand.shape[1]].to(operand.dtype)
        channel += operand.shape[1]
        if total is None:
            continue
        if growth is None:
            total[:, :, first:last] += part
            continue
        begin, end = growth.rows(first, last, operand.shape[2])
        with torch.enable_grad():
            piece = operand[:, :, begin:end].detach().requires_grad_()
            [sent] = torch.autograd.grad(growth.grown(piece, begin, first, last), piece, part)
        total[:, :, begin:end] += sent


def _whole(slab: Tensor, rows: int) -> Tensor:
    """An empty tensor of so many rows in the slab's memory format."""
    shape = [*slab.shape]
    shape[2] = rows
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(slab.dim(), torch.contiguous_format)
    form = torch.contiguous_format if slab.is_contiguous() or not slab.is_contiguous(memory_format=last) else last
    return torch.empty(shape, dtype=slab.dtype, device=slab.device, memory_format=form)


def slabbed(
    growths: Sequence[tuple[tuple[int, ...], str] | None],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    weight: Tensor,
    bias: Tensor | None,
    *operands: Tensor,
) -> Tensor:
    """The convolution of the operands' concatenation, each enlarged as told; gradients equal but for rounding.

    Gradients of the weight are added up slab by slab, in another order than that of one kernel. Second derivatives
    are refused.
    """
    form = Slabs(tuple(growth and Growth(*growth) for growth in growths), padding, dilation, groups)
    if torch.jit.is_tracing():  # what is exported knows nothing of slabs
        rows = form.length(operands)
        whole = torch.cat(form.window([(one, 0, one.shape[2]) for one in operands], 0, rows), dim=1)
        return form.convolved(whole, weight, bias, padding)
    return _Slabbed.apply(form, weight, bias, *operands)


def concatenations(graph: fx.Graph, root: nn.Module) -> list[tuple[str, ...]]:
    """Node names (convolution, concatenation, enlargements) of every convolution that may be computed in slabs.

    It keeps the grid (stride 1, zeros around) and alone reads a concatenation of channels, which alone reads what is
    enlarged for it.
    """
    modules = dict(root.named_modules(remove_duplicate=False))
    found = []
    for node in graph.nodes:
        if node.op != "call_function" or node.target not in (torch.cat, torch.concat, torch.concatenate):
            continue
        reader = next(iter(only_readers(node, 1)), None)
        axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        operands = node.args[0] if node.args else node.kwargs.get("tensors")
        if reader is None or axis != 1 or not isinstance(operands, (list, tuple)) or len(set(operands)) < 2:
            continue
        if _of_whole_grid(modules[str(reader.target)]):
            grown = [one.name for one in operands if _growth(one, modules) is not None]
            found.append((reader.name, node.name, *grown))
    return found


def _of_whole_grid(convolution: Any) -> bool:
    if type(convolution) not in CONVOLUTIONS or isinstance(convolution.padding, str):
        return False
    return convolution.padding_mode == "zeros" and all(step == 1 for step in convolution.stride)


def _growth(node: fx.Node, modules: dict[str, nn.Module]) -> Growth | None:
    if node.op != "call_module" or len(node.users) != 1 or len(node.all_input_nodes) != 1:
        return None
    return Growth.of(modules[str(node.target)])


def put_in_slabs(graph: fx.Graph, root: nn.Module, names: tuple[str, ...]) -> None:
    """Replaces those nodes of the graph by one of ``slabbed``, under the convolution's name."""
    modules = dict(root.named_modules(remove_duplicate=False))
    nodes = {node.name: node for node in graph.nodes}
    convolution, joined, *grown = (nodes[name] for name in names)
    module: Any = modules[str(convolution.target)]
    operands: Any = joined.args[0] if joined.args else joined.kwargs["tensors"]
    growths = [_growth(one, modules) if one in grown else None for one in operands]
    read = [one.all_input_nodes[0] if growth else one for one, growth in zip(operands, growths, strict=True)]
    with graph.inserting_before(convolution):
        weight = graph.get_attr(f"{convolution.target}.weight")
        bias = graph.get_attr(f"{convolution.target}.bias") if module.bias is not None else None
        told = tuple((growth.factors, growth.mode) if growth else None for growth in growths)
        settings = (told, tuple(module.padding), tuple(module.dilation), module.groups)
        made = graph.call_function(slabbed, (*settings, weight, bias, *read))
    convolution.replace_all_uses_with(made)
    for node in (convolution, joined, *grown):
        graph.erase_node(node)
    made.name = names[0]
