"""From a run folder or checkpoint of a network written here to a predictor: native, or exported."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from torch import nn

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import DECODE_RULES, METADATA_KEY, Contract, Predictor, load
from aop_pose.pipelines.run import RECORD, WEIGHTS, read_record
from aop_pose.provenance import sha256_of

TOLERANCE = 0.05
KEPT = (
    "method", "stage", "seed", "data", "start", "started", "git_commit", "versions", "best", "finished", "precision",
)  # fmt: skip
"""What of run.json goes into the contract."""


def checkpoint_of(path: Path) -> tuple[Path, Path]:
    """The checkpoint and the run folder of a run folder, or of a checkpoint within one.

    UsageError where there is no checkpoint; the folder need not hold a run.
    """
    folder = path if path.is_dir() else path.parent.parent
    file = path / WEIGHTS / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"weights: expected a trained checkpoint, found nothing at {file}")
    return file, folder


def run_facts(folder: Path) -> dict[str, Any] | None:
    """What a contract says of its training run; None where the folder holds none."""
    if not (folder / RECORD).is_file():
        return None
    record = read_record(folder)
    run = {"name": folder.name, **{key: record.get(key) for key in KEPT}, "config": record["config"]}
    run["data"] = without_folders(run["data"])
    facts: dict[str, Any] = json.loads(json.dumps(run))
    return facts


def without_folders(value: Any) -> Any:
    """Absolute paths cut to names: an artefact is handed on, and says what it was made from, not where that lay."""
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def decoded_by(contract: Contract, threshold: float | None, decode: str | None) -> Contract:
    """The contract with another threshold or rule where one is given; UsageError where the head has no such rule."""
    rules = DECODE_RULES[contract.head]
    if decode is not None and decode not in rules:
        raise UsageError(f"--decode: expected {' or '.join(rules)} for head {contract.head}, found {decode!r}")
    given = {key: value for key, value in {"threshold": threshold, "decode": decode}.items() if value is not None}
    return contract.model_copy(update=given)


def write_artefact(out: Path, contract: Contract, write_onnx: Callable[[Path], None], native: Predictor) -> Predictor:
    """Write a network with its contract and load it back.

    The file appears under its name only when its answers equal the native network's.

    Args:
        out: the ``.onnx`` file.
        contract: what the artefact will say of itself.
        write_onnx: writes the bare network to the given path.
        native: the network as it was trained, decoded as the artefact will be.

    Raises:
        AopPoseError: the two answer differently.
    """
    import onnx

    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_onnx(part)
        network = onnx.load(part)
        onnx.helper.set_model_props(network, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
        onnx.save(network, part)
        _same_answers(native, load(part), contract)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return load(out)


def _same_answers(native: Predictor, exported: Predictor, contract: Contract) -> None:
    """AopPoseError where the two differ on a fixed noise picture.

    By ``TOLERANCE`` pixels of the input or more where the answer is points, by as much of a map's full height where it
    is maps.
    """
    size = contract.image_size
    noise = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    one, other = native.network(noise), exported.network(noise)
    if contract.head == "pose":
        one, other = one[:, 5:], other[:, 5:]
    gap = float(np.abs(one - other).max())
    if not gap < TOLERANCE:
        what = "maps" if contract.head == "heatmap" else "points (px)"
        raise AopPoseError(f"export: native and exported {what} differ by {gap:.3f}, expected less than {TOLERANCE}")


OUTPUTS = {"heatmap": "maps", "coordinates": "points"}
"""Head of a contract -> name of the output in the ONNX file."""


class Landmarks(Protocol):
    """A network that finds points. ``answer`` gives what the contract's head promises."""

    def answer(self, gray: torch.Tensor) -> torch.Tensor: ...


@attrs.frozen(eq=False)
class Trained:
    """A network from a checkpoint, in evaluation mode, and what it promises under a name and after a run."""

    network: nn.Module
    contract: Callable[[str, dict[str, Any]], Contract]


class TorchNetwork:
    """The network as it was trained; callable as ``runtime.Network``."""

    def __init__(self, network: Any, device: torch.device | str = "cpu"):
        self.network, self.device = network.eval().to(device), device

    @torch.no_grad()
    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return self.network.answer(torch.from_numpy(inputs).to(self.device)).cpu().numpy()


class Answering(nn.Module):
    """A network whose forward pass is its answer, as the exporter wants it."""

    def __init__(self, network: Any):
        super().__init__()
        self.network: Any = network

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.network.answer(gray)


def predictor(path: Path, device: str, read: Callable[[Path], Trained]) -> Predictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be.

    ``read`` makes the network from the checkpoint's file; UsageError where it is none of that pipeline.
    """
    file, folder = checkpoint_of(path)
    trained = read(file)
    contract = trained.contract(folder.name if path.is_dir() else file.stem, run_of(file, folder))
    return Predictor(contract, TorchNetwork(trained.network, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(
    path: Path, out: Path, threshold: float | None, decode: str | None, read: Callable[[Path], Trained]
) -> Predictor:
    """Write a run folder's or checkpoint's network as an artefact and load it back.

    ``threshold`` and ``decode`` take the place of the run's own: neither changes the network. The file appears under
    its name only when its answers equal the native network's.
    """
    file, folder = checkpoint_of(path)
    trained = read(file)
    contract = decoded_by(trained.contract(out.stem, run_of(file, folder)), threshold, decode)
    native = predictor(path, "cpu", read)
    return write_artefact(out, contract, lambda part: _write_onnx(trained.network, contract, part), native)


def run_of(file: Path, folder: Path) -> dict[str, Any]:
    """What an artefact says of the run that its checkpoint stands in."""
    return run_facts(folder) or {"name": file.name, "note": "a checkpoint without its run folder"}


def _write_onnx(network: nn.Module, contract: Contract, file: Path) -> None:
    """With a free batch size; batch normalisation is folded into the convolutions by the exporter."""
    head = OUTPUTS[contract.head]
    example = torch.zeros(2, 1, contract.image_size, contract.image_size)
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Answering(network).eval(), (example,), str(file), input_names=["gray"], output_names=[head],
            dynamic_axes={"gray": {0: "batch"}, head: {0: "batch"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
