"""From a run folder or checkpoint of a network written here to a predictor: native, or exported."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import torch
from torch import nn

from aop_pose.io.hashing import sha256_of
from aop_pose.pipelines.artefact import checkpoint_of, decoded_by, run_facts, write_artefact
from aop_pose.runtime import Contract, Predictor

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
