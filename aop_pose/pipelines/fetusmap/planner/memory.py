"""Peak memory of a training step: an allocator count on any device, and the allocator's own figure on a GPU."""

from __future__ import annotations

import contextlib
import copy
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from aop_pose.provenance import memory_gib, set_malloc

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

Loss = Callable[[Any], Tensor]
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make while the mode is on, until each is freed.

    Memory that stood before (parameters, inputs) is not counted. Works on meta tensors, where a full-size step costs
    neither memory nor arithmetic.

    Args:
        kernels: count, too, what a CPU's convolutions in 3-D take for themselves while they run (``Workspace``), which
            no tensor shows.

    Attributes:
        live: bytes alive now; peak: the most alive at once.
        random: whether an operation drew random numbers.
        operations: of convolutions and products of matrices, as ``torch.utils.flop_counter`` counts them, channels in
            whole blocks of 16 as a CPU's kernels take them.
        traffic: bytes that operations read and wrote.
        counted: the storages alive, by ``id``.
    """

    def __init__(self, kernels: bool = False) -> None:
        super().__init__()
        self.kernels = kernels
        self.live = 0
        self.peak = 0
        self.random = False
        self.operations = 0.0
        self.traffic = 0
        self.counted: dict[int, weakref.ref] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        known = {id(tensor.untyped_storage()) for tensor in _of_operation((args, kwargs))}
        result = _answer(func, args, kwargs or {})
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=result) * _padding(func, args)
        if not func.is_view:
            self.traffic += sum(tensor.nbytes for tensor in _of_operation((args, kwargs, result)))
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        taken = 0
        if self.kernels and (workspace := Workspace.of(func, args, result)) is not None:
            result, taken = workspace.formatted(result), workspace.nbytes
        for tensor in _of_operation(result):
            storage = tensor.untyped_storage()
            # A result that shares the storage of an argument is a view or was written in place: nothing new.
            if id(storage) not in known and id(storage) not in self.counted:
                self._count(storage)
        self.peak = max(self.peak, self.live + taken)
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


_KNOWN: dict[Any, tuple | None] = {}
"""Results of operations on tensors without data, as ``_told`` says them; None where they may share memory with what the
operation was given."""
_MOST_KNOWN = 20_000


def _answer(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """``func(*args, **kwargs)``; the same operation on tensors without data is worked out once.

    Torch works many of them out in Python, a batch norm by some twenty small operations, and a plan is found by running
    hundreds of steps of the same network.
    """
    given = [*_of_operation(args), *_of_operation(kwargs)]
    if func.is_view or func._schema.is_mutable or not given or not all(tensor.is_meta for tensor in given):
        return func(*args, **kwargs)
    key = func, _told(args), _told(kwargs)
    if key not in _KNOWN:
        result = _enlarged(func, args)
        if result is None:
            result = func(*args, **kwargs)
        if len(_KNOWN) == _MOST_KNOWN:
            _KNOWN.clear()
        made = [tensor.untyped_storage()._cdata for tensor in _of_operation(result)]
        fresh = len({*made}) == len(made) and {*made}.isdisjoint(one.untyped_storage()._cdata for one in given)
        _KNOWN[key] = _told(result) if fresh else None
        return result
    known = _KNOWN[key]
    return func(*args, **kwargs) if known is None else _made(known)


def _told(tree: Any) -> Any:
    """Arguments or results of an operation; in the place of each tensor its type, size and stride."""
    if isinstance(tree, Tensor):
        return tree.dtype, tree.shape, tree.stride()
    if isinstance(tree, tuple | list):
        return type(tree), *map(_told, tree)
    if isinstance(tree, dict):
        return dict, *((name, _told(value)) for name, value in tree.items())
    return type(tree), tree


def _made(told: tuple) -> Any:
    """Results from what ``_told`` says of them, without data."""
    kind, *rest = told
    if isinstance(kind, torch.dtype):
        return torch.empty_strided(*rest, dtype=kind, device="meta")
    if kind in (tuple, list):
        return kind(map(_made, rest))
    return rest[0]


def _of_operation(tree: Any) -> Iterator[Tensor]:
    """The tensors among the arguments or results of an operation."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple | list):
        for one in tree:
            yield from _of_operation(one)
    elif isinstance(tree, dict):
        yield from _of_operation([*tree.values()])


def _enlarged(func: Any, args: tuple) -> Tensor | None:
    """An empty result of trilinear interpolation without data, or of its backward pass; None for all else.

    Torch works it out in Python, a hundred small operations each time: half the time of a step without data.
    """
    if func is TRILINEAR and args[0].is_meta:
        shape = [*args[0].shape[:2], *args[1]]
    elif func is TRILINEAR_BACKWARD and args[0].is_meta:
        shape = args[2]
    else:
        return None
    form = LAST if _is_last(args[0]) else torch.contiguous_format
    return torch.empty(shape, dtype=args[0].dtype, device="meta", memory_format=form)


def _tensors(tree: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


BLOCK = 16
"""Channels that oneDNN keeps together on a CPU with AVX-512; with AVX2 it is 8, and less is padded."""
LAST = torch.channels_last_3d
TRILINEAR = torch.ops.aten.upsample_trilinear3d.default
TRILINEAR_BACKWARD = torch.ops.aten.upsample_trilinear3d_backward.default
BACKWARD = torch.ops.aten.convolution_backward.default
FORWARD = torch.ops.aten.convolution.default


@attrs.frozen
class Workspace:
    """Bytes that a convolution in 3-D takes on a CPU while it runs, beside its operands and results.

    By kind of kernel, as counted with a hook of malloc (torch 2.14, oneDNN 3.12, float32):

    - torch's own (small inputs, float64, 1x1x1 with one thread): the matrix of all windows, and contiguous copies.
    - oneDNN with channels last: the weights in its own order, and copies of what is not channels last.
    - oneDNN else: copies of all operands in blocks of 16 channels.

    Attributes:
        last: whether results have channels last.
    """

    nbytes: int
    last: bool

    @classmethod
    def of(cls, func: Any, args: tuple, result: Any) -> Workspace | None:
        """Of the operation ``func(*args)``, which gave ``result``; None for what is no convolution in 3-D."""
        if func not in (FORWARD, BACKWARD):
            return None
        gradient, features, weight, bias, *settings = args if func is BACKWARD else (None, *args)
        if features.dim() != 5:
            return None
        after = result if gradient is None else gradient
        operands = [features] if gradient is None else [features, gradient]
        if "Mkldnn" not in _backend(features, weight, None if gradient is not None else bias, settings[:6]):
            copies = sum(tensor.nbytes for tensor in operands if not tensor.is_contiguous())
            kernel = math.prod(weight.shape[2:])
            windows = kernel * features.shape[1] * _channel(after) if gradient is not None or kernel > 1 else 0
            return cls(copies + windows, False)
        if _is_last(features) or _is_last(weight):
            copies = sum(tensor.nbytes for tensor in operands if not tensor.is_contiguous(memory_format=LAST))
            return cls(copies + 2 * weight.nbytes, True)
        ahead, behind = (_blocked(tensor.shape[1]) * _channel(tensor) for tensor in (features, after))
        # Forward, first both operands in blocks, then the result in blocks and as it is given.
        taken = ahead + behind if gradient is not None else max(ahead + behind - after.nbytes, behind)
        return cls(taken + weight.nbytes, False)

    def formatted(self, result: Any) -> Any:
        """The results in the format that the kernel leaves them in, which no run without data shows."""
        form = LAST if self.last else torch.contiguous_format

        def kept(tensor: Any) -> Any:
            wanted = isinstance(tensor, Tensor) and tensor.is_meta and tensor.dim() == 5
            return torch.empty_like(tensor, memory_format=form) if wanted else tensor

        return tree_map(kept, result)


def _is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=LAST) and not tensor.is_contiguous()


def _blocked(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _padding(func: Any, args: tuple) -> float:
    """The factor of whole blocks of channels in a convolution's arithmetic: 24 channels take what 32 would."""
    if func not in (FORWARD, BACKWARD):
        return 1.0
    weight = args[2] if func is BACKWARD else args[1]
    return math.prod(_blocked(count) / count for count in weight.shape[:2] if count > BLOCK)


def _channel(tensor: Tensor) -> int:
    """Bytes of one channel."""
    return tensor.nbytes // tensor.shape[1]


def _backend(features: Tensor, weight: Tensor, bias: Tensor | None, settings: Sequence[Any]) -> str:
    """The name that torch has for the kernel, chosen for tensors of these shapes on a CPU."""

    def like(tensor: Tensor) -> Tensor:
        return torch.empty(1, dtype=tensor.dtype).expand(tensor.shape)

    given = None if bias is None else like(bias)
    return str(torch._C._select_conv_backend(like(features), like(weight), given, *settings, None))


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


def step_peak(module: nn.Module, inputs: Sequence[Tensor], loss: Loss = mean_square, kernels: bool = False) -> int:
    """Peak bytes over one forward and backward pass beyond parameters, their gradients and the inputs.

    Saved, recomputed and gradient tensors alive together, counted by ``LiveBytes(kernels)``. On a GPU the allocator's
    own peak (``torch.cuda.max_memory_allocated``), which also sees the kernels' buffers. Gradients of the parameters
    are left zeroed.
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
        with LiveBytes(kernels) as count:
            loss(module(*inputs)).backward()
        peak = count.peak
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()
    return peak


def dry_peak(module: nn.Module, inputs: Sequence[Tensor], loss: Loss = mean_square, kernels: bool = False) -> int:
    """``step_peak`` of the same step without data: the estimate of M for a network and a size."""
    return step_peak(on_meta(module), like_meta(inputs), loss, kernels)


MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of glibc's ``mallopt``."""
LARGE = 2**20


def give_back_large_blocks() -> None:
    """Has the C library give blocks of 1 MiB and more back as soon as they are freed; without glibc nothing changes.

    As it comes it keeps them, and what lies between smaller ones is lost: of a step whose tensors take 0.46 GiB the
    process took 0.60.
    """
    set_malloc(MMAP_THRESHOLD, LARGE)


def free_bytes(device: str = "cpu") -> int | None:
    """Bytes that this process may still take on ``cpu`` or the CUDA device of that number; None where nobody says.

    On a CPU the least of what the machine has available, what the limits of its control groups leave (version 1 and 2),
    and what ``ulimit -v`` leaves; on a GPU what the driver says, with what this process holds in reserve.
    """
    if device != "cpu":
        index = int(device)
        reserve = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
        return int(torch.cuda.mem_get_info(index)[0]) + reserve
    left = [*_available(), *_left_by_groups(), *_left_by_limit()]
    return max(0, min(left)) if left else None


def _numbers(path: Path) -> dict[str, int]:
    """First word of each line -> the number after it, or the only number of the file as ``""``; empty without one."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            *words, number = line.removesuffix(" kB").split() or [""]
            if number.isdecimal():
                found[words[0].rstrip(":") if words else ""] = int(number) * (1024 if line.endswith(" kB") else 1)
    return found


def _available() -> Iterable[int]:
    if "MemAvailable" in (meminfo := _numbers(PROC / "meminfo")):
        yield meminfo["MemAvailable"]
    elif (whole := memory_gib()) is not None:
        yield int(whole * 2**30)


def _left_by_groups() -> Iterable[int]:
    """Bytes left by the limit of each control group above this process, its cache of files counted as free."""
    with contextlib.suppress(OSError):
        for line in (PROC / "self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, own = line.split(":", 2)
            if kinds not in ("", "memory"):
                continue
            root = GROUPS if not kinds else GROUPS / "memory"
            names = ("memory.max", "memory.current", "inactive_file")
            if kinds:
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            place = root / own.lstrip("/")
            # In a container the own path may lead nowhere, and the group stands at the root.
            for folder in (root, *(above for above in (place, *place.parents) if above.is_relative_to(root))):
                limit, used = _numbers(folder / names[0]), _numbers(folder / names[1])
                if "" in limit and "" in used:
                    yield limit[""] - used[""] + _numbers(folder / "memory.stat").get(names[2], 0)


def _left_by_limit() -> Iterable[int]:
    if resource is not None and (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        yield limit - _numbers(PROC / "self/status").get("VmSize", 0)
