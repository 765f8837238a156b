"""Checkpoints of this pipeline: the network with its schema and memory plan."""

from __future__ import annotations

from pathlib import Path

from aop_pose.pipelines.checkpoint import Checkpoint, file_to_start, fill, read_checkpoint, read_trained, transfer
from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel, LandmarkNetwork
from aop_pose.pipelines.fetusmap.planner import Planned

METHOD = "fetusmap"


def trained_network(path: Path) -> tuple[LandmarkNetwork, FetusmapModel]:
    """The network of a checkpoint, in evaluation mode; UsageError where it does not fit."""
    found: Checkpoint[FetusmapModel] = read_trained(path, METHOD, FetusmapModel)
    network = LandmarkNetwork(found.config)
    fill(network, found.state, path)
    return network.eval(), found.config


def start_from(init: str, network: LandmarkNetwork) -> tuple[str, list[int]]:
    """Fill a new network from ``--init``; returns a line that says which start, and [tensors moved, tensors in all].

    ``auto`` and ``scratch`` leave it as it is. Of a checkpoint the encoder has to fit; the rest comes along where its
    shape does.

    Raises:
        UsageError: no such file, none of this pipeline, or an encoder of another shape or with other blocks reversed.
    """
    if init in ("auto", "scratch"):
        return "scratch (random weights)", [0, len(network.state_dict())]
    file = file_to_start(init)
    given = read_checkpoint(file, "--init", METHOD, FetusmapModel).state
    # A plan without reversed blocks holds the same network one level deeper.
    prefix = "body.network." if isinstance(network.body, Planned) else "body."
    renamed = {key.replace("body.network.", "body.").replace("body.", prefix): value for key, value in given.items()}
    return transfer(network, renamed, f"{prefix}down.", file)
