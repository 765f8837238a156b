"""What every results file says of the run that made it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from aop_pose.cli.common import RESEARCH_USE
from aop_pose.runtime import Predictor
from aop_pose.versions import measuring_versions

NOT_CALIBRATED = "none"
"""Stands where the calibration would: no interval is printed."""


def run_facts(predictor: Predictor, device: str) -> dict[str, Any]:
    """Versions, artefact and calibration; no names of people or machines."""
    contract = predictor.contract
    return {
        "notice": RESEARCH_USE,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **measuring_versions(),
        "device": device,
        "artefact_sha256": predictor.sha256 or None,
        "schema": contract.schema_name,
        "image_size": contract.image_size,
        "decode": contract.decode,
        "threshold": contract.threshold,
        "calibration": NOT_CALIBRATED if contract.calibration is None else contract.calibration.facts,
        "gate": NOT_CALIBRATED if contract.gate is None else contract.gate.facts,
        "training_run": contract.training_run.get("name"),
    }
