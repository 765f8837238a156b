"""From a run folder or checkpoint to a predictor: native, or exported."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from aop_pose.artefacts import sha256_of
from aop_pose.pipelines.artefact import checkpoint_of, decoded_by, run_facts, write_artefact
from aop_pose.pipelines.unet.checkpoint import trained_network
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.network import CoordinateNetwork, HeatmapNetwork
from aop_pose.runtime import Contract, Predictor

Landmarks = HeatmapNetwork | CoordinateNetwork


class TorchNetwork:
    """The network as it was trained; callable as ``runtime.Network``."""

    def __init__(self, network: Landmarks, device: torch.device | str = "cpu"):
        self.network, self.device = network.eval().to(device), device

    @torch.no_grad()
    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return self.network.answer(torch.from_numpy(inputs).to(self.device)).cpu().numpy()


class Answering(nn.Module):
    """A network whose forward pass is its answer, as the exporter wants it."""

    def __init__(self, network: Landmarks):
        super().__init__()
        self.network: Landmarks = network

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.network.answer(gray)


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be."""
    file, folder = checkpoint_of(path)
    network, config = trained_network(file)
    contract = contract_of(config, folder.name if path.is_dir() else file.stem, _run_of(file, folder))
    return Predictor(contract, TorchNetwork(network, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """Write a run folder's or checkpoint's network as an artefact and load it back.

    ``threshold`` and ``decode`` take the place of the run's own: neither changes the network. The file appears under
    its name only when its answers equal the native network's.
    """
    file, folder = checkpoint_of(path)
    network, config = trained_network(file)
    contract = decoded_by(contract_of(config, out.stem, _run_of(file, folder)), threshold, decode)
    return write_artefact(out, contract, lambda part: _write_onnx(network, config, part), predictor(path))


def contract_of(config: UnetConfig, name: str, run: dict[str, Any]) -> Contract:
    """What a network of this configuration promises. A coordinate head has no score, so that it never abstains."""
    rule = config.decode if config.head == "heatmap" else "direct"
    return Contract(
        name=name, schema=config.points, head=config.head, image_size=config.image_size,
        threshold=config.threshold, decode=rule, training_run=run,
    )  # fmt: skip


def _run_of(file: Path, folder: Path) -> dict[str, Any]:
    return run_facts(folder) or {"name": file.name, "note": "a checkpoint without its run folder"}


def _write_onnx(network: Landmarks, config: UnetConfig, file: Path) -> None:
    """With a free batch size; batch normalisation is folded into the convolutions by the exporter."""
    head = "maps" if config.head == "heatmap" else "points"
    example = torch.zeros(2, 1, config.image_size, config.image_size)
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Answering(network).eval(), (example,), str(file), input_names=["gray"], output_names=[head],
            dynamic_axes={"gray": {0: "batch"}, head: {0: "batch"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
