"""Checkpoints of the U-Net: what is read back, and where a training starts."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.checkpoint import Checkpoint, file_to_start, fill, read_trained, transfer
from aop_pose.pipelines.checkpoint import read_checkpoint as read_any
from aop_pose.pipelines.start import find_start
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.network import CoordinateNetwork, HeatmapNetwork, build
from aop_pose.pipelines.unet.yolo_body import YoloBody

METHOD = "unet"


def read_checkpoint(path: Path, what: str) -> Checkpoint[UnetConfig]:
    """UsageError that begins with ``what`` where the file is no checkpoint of this pipeline."""
    return read_any(path, what, METHOD, UnetConfig)


def trained_network(path: Path) -> tuple[HeatmapNetwork | CoordinateNetwork, UnetConfig]:
    """The landmark network of a checkpoint; UsageError where it is of another stage or does not fit."""
    found = read_trained(path, METHOD, UnetConfig)
    network = build(found.config)
    fill(network, found.state, path)
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
    file = file_to_start(init)
    return transfer(network, read_checkpoint(file, "--init").state, "body.", file)


def _is_ultralytics(init: str) -> bool:
    """Whether a file is a pickled network, which Ultralytics' checkpoints are and this pipeline's never."""
    if not Path(init).is_file():
        return False
    try:
        read_checkpoint(Path(init), "--init")
    except UsageError:
        return True
    return False
