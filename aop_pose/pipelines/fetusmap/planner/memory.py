"""Peak memory of a training step: an allocator count on any device, and the allocator's own figure on a GPU."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Loss = Callable[[Any], Tensor]


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make while the mode is on, until each is freed.

    Memory that stood before (parameters, inputs) is not counted, and neither are buffers inside a kernel, which no
    tensor shows. Works on meta tensors, where a full-size step costs neither memory nor arithmetic.

    Attributes:
        live: bytes alive now; peak: the most alive at once.
        random: whether an operation drew random numbers.
        counted: the storages alive, by ``id``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self.random = False
        self.counted: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        known = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            # A result that shares the storage of an argument is a view or was written in place: nothing new.
            if id(storage) not in known and id(storage) not in self.counted:
                self._count(storage)
        return result

    def size_of(self, tensor: Tensor) -> int:
        """Bytes of the tensor's storage if it was made under the mode, else 0."""
        storage = tensor.untyped_storage()
        return storage.nbytes() if id(storage) in self.counted else 0

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()

        def freed(_: weakref.ref) -> None:
            del self.counted[key]
            self.live -= size

        self.counted[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)


def _tensors(tree: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def mean_square(output: Any) -> Tensor:
    """The loss that stands for one where none is given: it keeps the output and sends back a gradient of its size."""
    return torch.stack([tensor.square().mean() for tensor in _tensors(output)]).sum()


def on_meta(module: nn.Module) -> nn.Module:
    """A copy without data: shared modules and parameters stay shared, nothing of their size is allocated."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    copied = copy.deepcopy(module, memo)
    for part in copied.modules():
        # Without a momentum a normalisation asks how many batches it has seen, which has no value here.
        if getattr(part, "momentum", 0.0) is None:
            cast(Any, part).momentum = 0.1
    return copied


def like_meta(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs without their data."""
    return [torch.empty_like(tensor, device="meta", requires_grad=tensor.requires_grad) for tensor in inputs]


def step_peak(module: nn.Module, inputs: Sequence[Tensor], loss: Loss = mean_square) -> int:
    """Peak bytes over one forward and backward pass beyond parameters, their gradients and the inputs.

    Saved, recomputed and gradient tensors alive together, counted by ``LiveBytes``. On a GPU the allocator's own peak
    (``torch.cuda.max_memory_allocated``), which also sees the kernels' buffers. Gradients of the parameters are
    left zeroed.
    """
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    device = inputs[0].device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        loss(module(*inputs)).backward()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) - before
    else:
        with LiveBytes() as count:
            loss(module(*inputs)).backward()
        peak = count.peak
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    return peak


def dry_peak(module: nn.Module, inputs: Sequence[Tensor], loss: Loss = mean_square) -> int:
    """``step_peak`` of the same step without data: the estimate of M for a network and a size."""
    return step_peak(on_meta(module), like_meta(inputs), loss)
