"""Reversible blocks (the seed's equation 1): the input is computed from the output, so neither it nor anything inside
is kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import get_gradient_edge

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Two convolutions of half the channels in F and two in G have the weights and the arithmetic of the one they replace
# (4 · 27 · (C/2)² = 27 · C²), which is what the sizes of Table 4 say (147.98 MB plain, 148.01 MB reversed).
DEPTH = 2


@contextlib.contextmanager
def unchanged_buffers(modules: Sequence[nn.Module], start: dict[int, Tensor] | None = None) -> Iterator[None]:
    """Lets a recomputation update copies of the modules' buffers (running statistics), thrown away afterwards.

    Args:
        start: values the copies begin with, by ``id`` of the buffer; otherwise those of now.
    """
    held = [(module._buffers, name, buffer) for module in modules for name, buffer in module._buffers.items()]
    try:
        for buffers, name, buffer in held:
            if buffer is not None:
                buffers[name] = (start or {}).get(id(buffer), buffer).clone()
        yield
    finally:
        for buffers, name, buffer in held:
            buffers[name] = buffer


def half_pass(convolution: Any, norm: Any, activation: Any) -> nn.Sequential:
    """F or G: ``DEPTH`` passes of the same kind as the one that is replaced, with half its channels."""
    channels = convolution.out_channels // 2
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        layers.append(
            type(convolution)(
                channels,
                channels,
                convolution.kernel_size,
                padding=convolution.padding,
                dilation=convolution.dilation,
                bias=convolution.bias is not None,
                padding_mode=convolution.padding_mode,
            )
        )
        layers.append(type(norm)(channels, norm.eps, norm.momentum, norm.affine, norm.track_running_stats))
        layers.append(copy.deepcopy(activation))
        layers[-1].inplace = True  # type: ignore[assignment]
    return nn.Sequential(*layers).to(convolution.weight.device, convolution.weight.dtype).train(norm.training)


class ReversibleBlock(nn.Module):
    """y1 = x1 + F(x2), y2 = x2 + G(y1), on halves of the channels; C channels in, C out, any size.

    Called it keeps what autograd keeps; ``reverse`` runs it, or several in a row, without keeping the input.
    """

    def __init__(self, convolution: nn.Module, norm: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.f = half_pass(convolution, norm, activation)
        self.g = half_pass(convolution, norm, activation)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...)."""
        first, second = features.chunk(2, dim=1)
        first = first + self.f(second)
        return torch.cat([first, second + self.g(first)], dim=1)

    def run(self, features: Tensor) -> Tensor:
        """The same without gradients, each half written where it belongs."""
        output = torch.empty_like(features)
        (first, second), (to_first, to_second) = features.chunk(2, dim=1), output.chunk(2, dim=1)
        torch.add(first, self.f(second), out=to_first)
        torch.add(second, self.g(to_first), out=to_second)
        return output

    def undo(self, features: Tensor, gradient: Tensor) -> list[Tensor]:
        """Makes of the output the input and of its gradient the input's, in place; gives those of the trained
        parameters, in their order.

        Statistics and random state are left as they are.
        """
        first, second = features.detach().chunk(2, dim=1)
        to_first, to_second = gradient.chunk(2, dim=1)
        to_g = _undo_half(self.g, first, second, to_first, to_second)
        to_f = _undo_half(self.f, second, first, to_second, to_first)
        return to_f + to_g


def _undo_half(
    function: nn.Sequential, known: Tensor, total: Tensor, to_known: Tensor, to_total: Tensor
) -> list[Tensor]:
    """Takes function(known) from ``total``, adds what ``to_total`` sends through it to ``to_known``; gives the
    gradients of its parameters.

    Pass by pass from the last: of those before it only their output is kept, then they are run again.
    """
    layers = list(function)
    size = len(layers) // DEPTH
    passes = [nn.Sequential(*layers[start : start + size]) for start in range(0, len(layers), size)]
    to_parameters: list[Tensor] = []
    starts = [known]
    with unchanged_buffers(list(function.modules())):
        with torch.no_grad():
            for part in passes[:-1]:
                starts.append(part(starts[-1]))
        through, last = to_total, True
        for part in reversed(passes):
            start = starts.pop().detach().requires_grad_()
            parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
            with torch.enable_grad():
                added = part(start)
            if last:
                total.sub_(added.detach())
            edge, through, last = get_gradient_edge(added), through.to(added.dtype), False
            del added  # so that each tensor goes as soon as the backward pass is done with it
            through, *to_part = torch.autograd.grad([edge], [start, *parameters], [through])
            to_parameters = to_part + to_parameters
    to_known.add_(through)
    return to_parameters


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, blocks: Sequence[ReversibleBlock], *_: Tensor) -> Tensor:
        ctx.blocks = blocks
        device = features.device.type
        ctx.autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        ctx.precision = torch.get_autocast_dtype(device) if ctx.autocast else None
        features = features.detach()
        for block in blocks:
            features = block.run(features)
        ctx.save_for_backward(features)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # The output is not needed by anything that is still to come, and the gradient is ``_Owned``.
        [features] = ctx.saved_tensors
        to_parameters: list[Tensor] = []
        again = torch.autocast(features.device.type, ctx.precision) if ctx.autocast else contextlib.nullcontext()
        with again:
            for block in reversed(ctx.blocks):
                to_parameters = block.undo(features, gradient) + to_parameters
        return gradient, None, *to_parameters


class _Owned(torch.autograd.Function):
    """Hands back a gradient that nobody else holds and that may be written into."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.clone()


def reverse(features: Tensor, *blocks: ReversibleBlock) -> Tensor:
    """Runs the blocks one after the other; only the last output is kept for the backward pass, which overwrites it.

    So the output is for readers whose backward passes come first: none may be returned by the network. Gradients equal
    those of calling the blocks up to rounding: inputs are computed back from outputs. Second derivatives are refused.
    """
    if not torch.is_grad_enabled() or torch.jit.is_tracing():
        for block in blocks:
            features = block(features)
        return features
    parameters = [parameter for block in blocks for parameter in block.parameters() if parameter.requires_grad]
    return _Owned.apply(_Reverse.apply(features, tuple(blocks), *parameters))
