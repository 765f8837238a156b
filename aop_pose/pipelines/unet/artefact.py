"""From a run folder or checkpoint to a predictor: native, or exported."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from aop_pose.pipelines import native
from aop_pose.pipelines.unet.checkpoint import trained_network
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.runtime import Contract, Predictor


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """See ``native.predictor``."""
    return native.predictor(path, device, _trained)


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """See ``native.export``."""
    return native.export(path, out, threshold, decode, _trained)


def contract_of(config: UnetConfig, name: str, run: dict[str, Any]) -> Contract:
    """What a network of this configuration promises. A coordinate head has no score, so that it never abstains."""
    rule = config.decode if config.head == "heatmap" else "direct"
    return Contract(
        name=name, schema=config.points, head=config.head, image_size=config.image_size,
        threshold=config.threshold, decode=rule, training_run=run,
    )  # fmt: skip


def _trained(file: Path) -> native.Trained:
    network, config = trained_network(file)
    return native.Trained(network, partial(contract_of, config))
