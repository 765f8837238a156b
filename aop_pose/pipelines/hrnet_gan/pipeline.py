"""The verbs of the adversarially fine-tuned network (see ``pipelines.Pipeline``)."""

from __future__ import annotations

from pathlib import Path

from aop_pose.pipelines.hrnet_gan.pretrain import pretrain
from aop_pose.pipelines.hrnet_gan.train import train
from aop_pose.runtime import Predictor

__all__ = ["export", "predictor", "pretrain", "train"]


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """See ``artefact.export``."""
    from aop_pose.pipelines.hrnet_gan import artefact

    return artefact.export(path, out, threshold, decode)


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """See ``artefact.predictor``."""
    from aop_pose.pipelines.hrnet_gan import artefact

    return artefact.predictor(path, device)
