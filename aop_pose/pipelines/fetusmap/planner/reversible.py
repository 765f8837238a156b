"""Reversible blocks (the seed's equation 1): the input is computed from the output, so neither it nor anything inside
is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        layers.append(type(activation)(inplace=True))
    return nn.Sequential(*layers).to(convolution.weight.device, convolution.weight.dtype).train(norm.training)


class ReversibleBlock(nn.Module):
    """y1 = x1 + F(x2), y2 = x2 + G(y1), on halves of the channels; C channels in, C out, any size.

    Called alone it keeps what autograd keeps; ``reverse`` runs it, or several in a row, without keeping the input.
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

    def undo(self, output: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Input, its gradient and those of the trained parameters, in their order, from the output and its gradient.

        Statistics and random state are left as they are.
        """
        first, second = (half.detach() for half in output.chunk(2, dim=1))
        to_first, to_second = gradient.chunk(2, dim=1)
        second, through, to_g = self._undo_half(self.g, first, second, to_second)
        to_first = to_first + through
        first, through, to_f = self._undo_half(self.f, second, first, to_first)
        to_second = to_second + through
        return torch.cat([first, second], dim=1), torch.cat([to_first, to_second], dim=1), to_f + to_g

    @staticmethod
    def _undo_half(
        function: nn.Module, known: Tensor, total: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """total - function(known), and the gradients that ``gradient`` sends through the function."""
        parameters = [parameter for parameter in function.parameters() if parameter.requires_grad]
        with torch.enable_grad(), unchanged_buffers(list(function.modules())):
            known = known.requires_grad_()
            added = function(known)
        other = total - added.detach()
        through, *to_parameters = torch.autograd.grad(added, [known, *parameters], gradient)
        return other, through, to_parameters


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, blocks: Sequence[ReversibleBlock], *_: Tensor) -> Tensor:
        ctx.blocks = blocks
        device = features.device.type
        ctx.autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        ctx.precision = torch.get_autocast_dtype(device) if ctx.autocast else None
        for block in blocks:
            features = block(features)
        ctx.save_for_backward(features)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        [features] = ctx.saved_tensors
        to_parameters: list[Tensor] = []
        again = torch.autocast(features.device.type, ctx.precision) if ctx.autocast else contextlib.nullcontext()
        with again:
            for block in reversed(ctx.blocks):
                features, gradient, to_block = block.undo(features, gradient)
                to_parameters = to_block + to_parameters
        return gradient, None, *to_parameters


def reverse(features: Tensor, blocks: Sequence[ReversibleBlock]) -> Tensor:
    """Runs the blocks one after the other; only the last output is kept for the backward pass.

    Gradients equal those of calling the blocks up to rounding: inputs are computed back from outputs. Second
    derivatives are refused.
    """
    parameters = [parameter for block in blocks for parameter in block.parameters() if parameter.requires_grad]
    return _Reverse.apply(features, tuple(blocks), *parameters)
