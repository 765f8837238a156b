"""From a run folder or checkpoint to a predictor of volumes: native, or exported."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.heatmaps import RULES
from aop_pose.io.atomic import replacing
from aop_pose.io.hashing import sha256_of
from aop_pose.pipelines.artefact import checkpoint_of
from aop_pose.pipelines.fetusmap.checkpoint import trained_network
from aop_pose.pipelines.fetusmap.landmarks import Exported, FetusmapModel, LandmarkNetwork
from aop_pose.pipelines.native import TorchNetwork, run_of
from aop_pose.runtime import METADATA_KEY, open_artefact
from aop_pose.runtime_volume import VolumeContract, VolumePredictor, volume_predictor_of
from aop_pose.schemas import FETUS

TOLERANCE = 1e-3
"""Of a map's full height, by which an exported network may differ."""


def predictor(path: Path, device: str = "cpu") -> VolumePredictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be."""
    file, folder = checkpoint_of(path)
    network, model = trained_network(file)
    contract = contract_of(model, folder.name if path.is_dir() else file.stem, run_of(file, folder))
    return VolumePredictor(contract, TorchNetwork(network, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> VolumePredictor:
    """Write a run folder's or checkpoint's network as an artefact and load it back.

    ``threshold`` and ``decode`` take the place of the run's own. The file appears under its name only when its answers
    equal the native network's.

    Raises:
        UsageError: no checkpoint, or no such rule.
        AopPoseError: the two answer differently.
    """
    if decode is not None and decode not in RULES:
        raise UsageError(f"--decode: expected {', '.join(RULES)} for head volume-heatmap, found {decode!r}")
    file, folder = checkpoint_of(path)
    network, model = trained_network(file)
    given = {key: value for key, value in {"threshold": threshold, "decode": decode}.items() if value is not None}
    contract = contract_of(model, out.stem, run_of(file, folder)).model_copy(update=given)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        _write(network, contract, part)
        noise = np.random.default_rng(0).random((1, 1, *contract.size), dtype=np.float32)
        gap = float(np.abs(open_artefact(part).network(noise) - TorchNetwork(network)(noise)).max())
        if not gap < TOLERANCE:
            raise AopPoseError(f"export: native and exported maps differ by {gap:.2g}, expected less than {TOLERANCE}")
    return volume_predictor_of(open_artefact(out))


def contract_of(model: FetusmapModel, name: str, run: dict[str, Any]) -> VolumeContract:
    """What a network of this configuration promises."""
    unsided: Literal["equation 7", "unknown"] = "equation 7" if model.points == FETUS.name else "unknown"
    return VolumeContract(
        name=name, schema=model.points, size=model.size, voxel_mm=model.voxel_mm, aim=model.aim, mode=model.mode,
        overlap=model.overlap, sigma=model.sigma, threshold=model.threshold, decode=model.decode, turns=model.turns,
        looks=model.looks, places=model.places,
        sides=unsided if model.taught_sides else "learned", stride=model.stride, training_run=run,
    )  # fmt: skip


def _write(network: LandmarkNetwork, contract: VolumeContract, file: Path) -> None:
    """With batch 1, which its normalisation is made for (``landmarks.Exported``)."""
    import onnx

    example = torch.rand(1, 1, *contract.size)
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        # It has no running statistics: that it takes those of the volume is the point.
        warnings.filterwarnings("ignore", message=".*operator 'instance_norm' is set to train")
        # It compares its own number of channels, which the input's size does not change.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.onnx.export(
            Exported(network).eval(), (example,), str(file), input_names=["gray"], output_names=["maps"],
            opset_version=17, dynamo=False,
        )  # fmt: skip
    written = onnx.load(file)
    onnx.helper.set_model_props(written, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
    onnx.save(written, file)
