"""The facts of a run: versions, artefact and calibration."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from aop_pose.errors import RESEARCH_USE
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.provenance import measuring_versions

NOT_CALIBRATED = "none"
"""Stands where the calibration would: no interval is printed."""


def run_facts(predictor: AnyPredictor, device: str = "cpu") -> dict[str, Any]:
    """Versions, artefact and calibration; no names of people or machines."""
    common = {
        "notice": RESEARCH_USE,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **measuring_versions(),
        "device": device,
        "artefact_sha256": predictor.sha256 or None,
        "schema": predictor.contract.schema_name,
        "decode": predictor.contract.decode,
        "threshold": predictor.contract.threshold,
        "training_run": predictor.contract.training_run.get("name"),
    }
    if isinstance(predictor, VolumePredictor):
        of_volumes = predictor.contract
        return {
            **common,
            "size": list(of_volumes.size),
            "voxel_mm": of_volumes.voxel_mm,
            "aim": of_volumes.aim,
            "mode": of_volumes.mode,
            "sides": of_volumes.sides,
            **predictor.further_facts,
        }
    contract = predictor.contract
    return {
        **common,
        "image_size": contract.image_size,
        "calibration": NOT_CALIBRATED if contract.calibration is None else contract.calibration.facts,
        "gate": NOT_CALIBRATED if contract.gate is None else contract.gate.facts,
    }
