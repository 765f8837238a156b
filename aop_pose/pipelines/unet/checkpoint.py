"""Checkpoints: a state dict plus its configuration, read without running anything they hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from aop_pose.errors import UsageError
from aop_pose.io.hashing import sha256_of
from aop_pose.pipelines.config import validate
from aop_pose.pipelines.run import WEIGHTS
from aop_pose.pipelines.start import find_start
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.network import CoordinateNetwork, HeatmapNetwork, build
from aop_pose.pipelines.unet.yolo_body import YoloBody

STARTS = "auto, scratch, a checkpoint or a run folder"


@attrs.frozen(eq=False)
class Checkpoint:
    """What a ``.pt`` file of this pipeline holds."""

    stage: str
    config: UnetConfig
    state: dict[str, torch.Tensor]


def read_checkpoint(path: Path, what: str) -> Checkpoint:
    """UsageError that begins with ``what`` where the file is no checkpoint of this pipeline."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError, KeyError) as error:
        raise UsageError(f"{what}: {path} is not a checkpoint of --method unet ({type(error).__name__})") from None
    expected = {"method", "stage", "config", "state"}
    if not (isinstance(content, dict) and expected <= content.keys() and content["method"] == "unet"):
        raise UsageError(f"{what}: {path}: expected a checkpoint of --method unet, found another file")
    config = validate(UnetConfig, dict(content["config"]), str(path))
    return Checkpoint(content["stage"], config, content["state"])


def trained_network(path: Path) -> tuple[HeatmapNetwork | CoordinateNetwork, UnetConfig]:
    """The landmark network of a checkpoint; UsageError where it is of another stage or does not fit."""
    found = read_checkpoint(path, "weights")
    if found.stage != "train":
        raise UsageError(f"weights: {path}: expected the stage train, found {found.stage}; train from it with --init")
    network = build(found.config)
    if wrong := misfits(network, found.state):
        raise UsageError(f"weights: {path} does not fit its own configuration: {wrong[0]} (and {len(wrong) - 1} more)")
    network.load_state_dict(found.state)
    return network.eval(), found.config


def start_from(init: str, network: nn.Module) -> tuple[str, list[int]]:
    """Fill a new network from ``--init``; returns a line that says which start, and [tensors moved, tensors in all].

    ``auto`` and ``scratch`` leave it as it is. Of a checkpoint the whole body has to fit; the last layers come along
    where their shapes do.

    Raises:
        UsageError: no such file, none of this pipeline, or a body of another shape (each mismatch is listed).
    """
    count = len(network.state_dict())
    body = getattr(network, "body", None)
    if isinstance(body, YoloBody) and (init == "auto" or _is_ultralytics(init)):
        start = find_start(init, body.name)
        return start.words, [body.fill(start) if start.model is not None else 0, count]
    if init in ("auto", "scratch"):
        return "scratch (random weights)", [0, count]
    path = Path(init)
    file = path / WEIGHTS / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"--init: expected {STARTS}, found nothing at {file}")
    given = read_checkpoint(file, "--init").state
    wrong = misfits(network, {key: value for key, value in given.items() if key.startswith("body.")}, "body.")
    if wrong:
        raise UsageError(f"--init: {file} does not fit: {'; '.join(wrong[:4])}{' ...' if len(wrong) > 4 else ''}")
    mine = network.state_dict()
    fitting = {key: value for key, value in given.items() if key in mine and mine[key].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    return f"{file.name} (sha256 {sha256_of(file)[:12]})", [len(fitting), count]


def _is_ultralytics(init: str) -> bool:
    """Whether a file is a pickled network, which Ultralytics' checkpoints are and this pipeline's never."""
    if not Path(init).is_file():
        return False
    try:
        read_checkpoint(Path(init), "--init")
    except UsageError:
        return True
    return False


def misfits(network: nn.Module, given: dict[str, Any], prefix: str = "") -> list[str]:
    """``name: shape in file -> shape in network`` of each tensor below ``prefix`` that the file lacks or has otherwise.

    A file may hold more than the network needs: a decoder is of no use to a head without one.
    """
    wrong = []
    for key, value in network.state_dict().items():
        if key.startswith(prefix) and (key not in given or given[key].shape != value.shape):
            found = tuple(given[key].shape) if key in given else "nothing"
            wrong.append(f"{key}: {found} -> {tuple(value.shape)}")
    return wrong
