"""From a run folder or checkpoint to a predictor: native, or exported. Of both networks only the generator."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from aop_pose.pipelines import native
from aop_pose.pipelines.hrnet_gan.checkpoint import trained_network
from aop_pose.pipelines.hrnet_gan.config import HrnetConfig
from aop_pose.runtime import Contract, Predictor
from aop_pose.schemas import AOP


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
