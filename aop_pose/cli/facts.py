"""What every results file says of the run that made it."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import aop_pose
from aop_pose.cli.common import RESEARCH_USE
from aop_pose.runtime import Predictor


def run_facts(predictor: Predictor, device: str) -> dict[str, Any]:
    """Versions, artefact and calibration; no names of people or machines."""
    contract = predictor.contract
    return {
        "notice": RESEARCH_USE,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "aop_pose": aop_pose.__version__,
        "onnxruntime": version("onnxruntime"),
        "python": platform.python_version(),
        "device": device,
        "schema": contract.schema_name,
        "image_size": contract.image_size,
        "decode": contract.decode,
        "threshold": contract.threshold,
        "calibration": contract.calibration,
        "training_run": contract.training_run.get("name"),
    }
