"""The libraries that run a network: onnxruntime, or OpenVINO where it is installed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import local
from typing import Any, Literal, Protocol, get_args

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.io.files import printable

ENGINES = ("onnx", "openvino", "auto")
"""As ``--engine`` names them; ``auto`` is resolved by ``inference.agreement``."""
Precision = Literal["f32", "bf16", "int8"]
PRECISIONS = get_args(Precision)
_INSTALL = {"openvino": "pip install 'aop-pose[openvino]'", "onnx": "pip install 'aop-pose[train]'"}

# How an ONNX file names a second file for its tensors: an entry of external_data with the key "location".
_EXTERNAL_DATA = b"\n\x08location\x12"
# What onnxruntime says of a file that it does not open.
_NEWER_FORMAT = re.compile(r"IR version: \d+, max supported IR version: \d+")
_NEWER_OPERATORS = re.compile(r"Opset \d+ is under development")
_UNKNOWN_OPERATOR = re.compile(r"(\S+) is not a registered function/op")


class Network(Protocol):
    """Anything that maps inputs (B, 1, S, S) float32 to raw outputs."""

    def __call__(self, inputs: np.ndarray) -> np.ndarray: ...


@attrs.frozen
class Engine:
    """The library that runs a network, and the numbers it computes in: rows depend on them, and so does a run."""

    name: str = "onnx"
    """``onnx``, ``openvino``, or ``torch`` for a run folder or checkpoint."""
    precision: str = "f32"
    told: Mapping[str, Any] = attrs.field(factory=dict, eq=False)
    """The reason why it was chosen and what it changes, for people."""

    @property
    def notes(self) -> tuple[str, ...]:
        """One line each: something a reader of the table should know."""
        said = {name: one for name, one in self.told.items() if name != "auto"}
        return tuple(f"{self.name} in {self.precision}: {name}: {_words(one)}" for name, one in said.items())

    @property
    def identity(self) -> dict[str, str]:
        return {"engine": self.name, "precision": self.precision}


def _words(told: Any) -> str:
    return ", ".join(f"{name} {one}" for name, one in told.items()) if isinstance(told, dict) else str(told)


TORCH = Engine("torch")


def check_engine(engine: str, precision: str, device: str = "cpu") -> None:
    """UsageError for what is no engine or precision, is not installed, or does not go together."""
    if engine not in ENGINES:
        raise UsageError(f"--engine: expected one of {', '.join(ENGINES)}, found {engine!r}")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    if engine == "openvino" and not is_installed("openvino"):
        raise UsageError(f"--engine openvino: openvino is not installed; {_INSTALL['openvino']}")
    if precision == "bf16" and engine == "onnx":
        raise UsageError("--precision bf16: onnxruntime has none on this device; add --engine openvino")
    if precision != "f32" and engine == "auto":
        raise UsageError(
            f"--precision {precision}: name the engine, --engine openvino; auto promises onnxruntime's points"
        )
    if precision == "int8" and not is_installed("onnx"):
        raise UsageError(f"--precision int8: it is made with onnx, which is not installed; {_INSTALL['onnx']}")
    cuda = cuda_numbers(device) or ()
    if len(cuda) > 1 or (device not in ("cpu", "gpu") and not cuda):
        raise UsageError(f"--device: expected cpu, cuda or gpu, found {device!r}; of several, one as cuda:1")
    if cuda and engine == "openvino":
        raise UsageError(f"--device {device}: OpenVINO has no such device; take --engine onnx, or --device gpu")
    if device == "gpu" and engine != "openvino":
        raise UsageError("--device gpu: it goes with --engine openvino; take --device cuda with onnxruntime-gpu")


def cuda_numbers(device: str) -> tuple[int, ...] | None:
    """The CUDA devices that ``--device`` names: ``cuda`` the first, ``cuda:1`` or ``1`` one, ``0,1`` several; () = cpu.

    None for any other word, and where one is named twice.
    """
    if device == "cpu":
        return ()
    if device == "cuda":
        return (0,)
    words = device.removeprefix("cuda:").split(",")
    if not all(word.isascii() and word.isdecimal() for word in words) or len({*words}) < len(words):
        return None
    return tuple(map(int, words))


def is_installed(package: str) -> bool:
    """True where a package can be imported."""
    return find_spec(package) is not None


def read_network(path: Path) -> bytes:
    """An ONNX file; UsageError where it is absent, cannot be read, or keeps weights elsewhere."""
    if not path.is_file():
        raise UsageError(f"weights: expected a file, found nothing at {path}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"weights: {path} cannot be read: {error.strerror}") from None
    if _EXTERNAL_DATA in content:
        raise UsageError(f"weights: {path} keeps weights in a second file (external data), which is refused")
    return content


def onnx_network(content: bytes, path: Path, device: str, threads: int | None) -> tuple[Network, dict[str, str]]:
    """A network in onnxruntime, and the metadata of its file; UsageError where it does not open.

    On a CPU pictures pass one by one: that takes less time and memory than several together, and gives the same bits.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(content, options, providers=_providers(device))
        names = [one.name for one in session.get_inputs()]
        metadata = dict(session.get_modelmeta().custom_metadata_map)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"weights: {path} {_why_not_opened(error)}") from None

    def run(inputs: np.ndarray, stage: int = 0) -> np.ndarray:
        # A file of several networks has the number of the one that is asked for as its second input.
        given = [inputs, np.array(stage, np.int64)]
        return session.run(None, dict(zip(names, given, strict=False)))[0]

    return one_by_one(run) if device == "cpu" else run, metadata


def one_by_one(run: Network) -> Network:
    """The same network, to which pictures are shown one at a time."""

    def network(inputs: np.ndarray, *stage: int) -> np.ndarray:
        if len(inputs) == 1:
            return run(inputs, *stage)
        return np.concatenate([run(inputs[i : i + 1], *stage) for i in range(len(inputs))])

    return network


def openvino_network(
    content: bytes, shape: Sequence[int], device: str, threads: int | None, precision: str = "f32", streams: int = 1
) -> Network:
    """A network in OpenVINO for inputs (1, …) of one shape, of which any number may be shown.

    Args:
        content: an ONNX file.
        shape: of one input, the batch of 1 in front.
        device: ``cpu`` or ``gpu``.
        threads: threads within one pass; None = all cores this process may use.
        precision: ``f32``, ``bf16``, or ``int8`` for a network that was made so (``agreement``).
        streams: passes at a time, each in a thread of the caller's.

    Raises:
        UsageError: there is no such device, or it does not have the precision. OpenVINO would choose bf16 by itself.
    """
    import openvino as ov

    core = ov.Core()
    place = device.upper()
    found = [name for name in core.available_devices if name.split(".")[0] == place]
    if not found:
        raise UsageError(f"--device {device}: OpenVINO finds {', '.join(core.available_devices) or 'none'} here")
    numbers = "bf16" if precision == "bf16" else "f32"
    can = core.get_property(place, "OPTIMIZATION_CAPABILITIES")
    if {"f32": "FP32", "bf16": "BF16"}[numbers] not in can:
        raise UsageError(f"--engine openvino: this {device} computes in {', '.join(sorted(can))}, not in {numbers}")
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": numbers, "NUM_STREAMS": streams}
    if place == "CPU":
        # Not each stream on a core of its own: what else runs there would make it wait while another core has nothing.
        settings |= {"INFERENCE_NUM_THREADS": (threads or usable_cores()) * streams, "ENABLE_CPU_PINNING": False}
    model = core.read_model(content)
    model.reshape(list(shape))
    compiled = core.compile_model(model, place, settings)
    taken = compiled.get_property("INFERENCE_PRECISION_HINT")
    if taken != {"f32": ov.Type.f32, "bf16": ov.Type.bf16}[numbers]:
        raise UsageError(f"--engine openvino: asked for {numbers}, this {device} computes in {taken.get_type_name()}")
    # A request serves one pass at a time.
    own = local()

    def run(inputs: np.ndarray) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return np.array(own.request.infer({0: inputs}, share_inputs=True)[0])

    return one_by_one(run)


def in_int8(content: bytes, inputs: Sequence[np.ndarray]) -> bytes:
    """An ONNX file whose convolutions are of eight bits, their ranges those on ``inputs``, (1, …) float32 each."""
    import logging
    import tempfile

    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load_from_string(content).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            shown = next(self.left, None)
            return None if shown is None else {name: shown}

    before = logging.root.manager.disable
    # It warns of each bias.
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        whole, made = Path(folder) / "whole.onnx", Path(folder) / "int8.onnx"
        try:
            quant_pre_process(onnx.load_from_string(content), str(whole), skip_symbolic_shape=True)
            quantize_static(
                whole, made, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        finally:
            logging.disable(before)
        return made.read_bytes()


def _why_not_opened(error: Exception) -> str:
    said = str(error)
    newer = _NEWER_FORMAT.search(said) or _NEWER_OPERATORS.search(said)
    if newer:
        return f"was written for a newer onnxruntime ({' '.join(newer[0].split())[:80]}); update onnxruntime"
    unknown = _UNKNOWN_OPERATOR.search(said)
    if unknown:
        return (
            f"has the operator {printable(unknown[1])[:60]}, which onnxruntime does not know; custom ones are refused"
        )
    return f"is not a readable ONNX file ({type(error).__name__}); fetch or export it again"


def devices() -> list[str]:
    """The devices of this machine, as ``device`` names them."""
    import onnxruntime as ort

    return ["cpu", *(["cuda"] if "CUDAExecutionProvider" in ort.get_available_providers() else [])]


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "cuda" not in devices():
        raise UsageError(
            "--device cuda: this onnxruntime has no CUDA provider; install onnxruntime-gpu or use --device cpu"
        )
    number = (cuda_numbers(device) or (0,))[0]
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may run on: those it is bound to, and no more than its control groups allow; at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = [-(-quota // period) for quota, period in _quotas(root)]
    return max(1, min([bound, *allowed]))


def _quotas(root: Path) -> list[tuple[int, int]]:
    """Quota and period in microseconds of each control group around this process that has a quota (Linux)."""
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, below = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controllers and "cpu")
        for group in [Path(below.lstrip("/")), *Path(below.lstrip("/")).parents]:
            read: Callable[[Path], str] = _version_1 if controllers else _version_2
            quota, _, period = read(top / group).partition(" ")
            if quota.isdecimal() and period.isdecimal() and int(period) > 0:
                found.append((int(quota), int(period)))
    return found


def _version_2(group: Path) -> str:
    return _text(group / "cpu.max")


def _version_1(group: Path) -> str:
    return f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
