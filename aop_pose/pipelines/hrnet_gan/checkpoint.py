"""Checkpoints of this pipeline: what is read back, and where a training starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from aop_pose.core.schemas import AOP
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.pipelines import export as native
from aop_pose.pipelines.checkpoint import Checkpoint, file_to_start, fill, read_trained, transfer
from aop_pose.pipelines.checkpoint import read_checkpoint as read_any
from aop_pose.pipelines.hrnet_gan.config import HrnetConfig
from aop_pose.pipelines.hrnet_gan.network import Generator

METHOD = "hrnet-gan"


def read_checkpoint(path: Path, what: str) -> Checkpoint[HrnetConfig]:
    """UsageError that begins with ``what`` where the file is no checkpoint of this pipeline."""
    return read_any(path, what, METHOD, HrnetConfig)


def trained_network(path: Path) -> tuple[Generator, HrnetConfig]:
    """The generator of a checkpoint; UsageError where it is of another stage or does not fit."""
    found = read_trained(path, METHOD, HrnetConfig)
    network = Generator(found.config)
    fill(network, found.state, path)
    return network.eval(), found.config


def start_from(init: str, network: nn.Module) -> tuple[str, list[int]]:
    """Fill a new network from ``--init``; returns a line that says which start, and [tensors moved, tensors in all].

    ``auto`` and ``scratch`` leave it as it is: nothing is downloaded. Of a checkpoint of either stage the whole encoder
    has to fit; the other layers come along where their names and shapes do.

    Raises:
        UsageError: no such file, none of this pipeline, or an encoder of another shape (each mismatch is listed).
    """
    if init in ("auto", "scratch"):
        return "scratch (random weights)", [0, len(network.state_dict())]
    file = file_to_start(init)
    return transfer(network, read_checkpoint(file, "--init").state, "encoder.", file)


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """See ``native.predictor``."""
    return native.predictor(path, device, _trained)


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """See ``native.export``."""
    return native.export(path, out, threshold, decode, _trained)


def contract_of(config: HrnetConfig, name: str, run: dict[str, Any]) -> Contract:
    """What a generator of this configuration promises. Coordinates have no score, so that they never abstain."""
    maps = config.output == "heatmaps"
    return Contract(
        name=name, schema=AOP.name, head="heatmap" if maps else "coordinates", image_size=config.image_size,
        threshold=config.threshold, decode=config.decode if maps else "direct", training_run=run,
    )  # fmt: skip


def _trained(file: Path) -> native.Trained:
    network, config = trained_network(file)
    return native.Trained(network, partial(contract_of, config))
