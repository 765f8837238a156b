"""The verbs of FetusMapV2 (see ``pipelines.Pipeline``)."""

from __future__ import annotations

from pathlib import Path

from aop_pose.pipelines.fetusmap.train import pretrain, train
from aop_pose.runtime_volume import VolumePredictor

__all__ = ["export", "predictor", "pretrain", "train"]


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> VolumePredictor:
    """See ``artefact.export``."""
    from aop_pose.pipelines.fetusmap import artefact

    return artefact.export(path, out, threshold, decode)


def predictor(path: Path, device: str = "cpu") -> VolumePredictor:
    """See ``artefact.predictor``."""
    from aop_pose.pipelines.fetusmap import artefact

    return artefact.predictor(path, device)
