"""aop-pose: the angle of progression from transperineal ultrasound frames. Research use only."""

from importlib import import_module
from typing import Any

from aop_pose.telemetry import turn_off

turn_off()

__version__ = "0.1.0"

# The public names, each with the room it lives in; loaded on first use, so that importing the package is free.
_PUBLIC = {
    "Frame": "core.frame",
    "Keypoints": "core.keypoints",
    "Schema": "core.schema",
    "AOP": "core.schema",
    "HEAD": "core.schema",
    "FETUS": "core.schema",
    "FETAL_FACE": "core.schema",
    "Volume": "core.frame",
    "Result": "core.results",
    "Measurement": "core.results",
    "angle_of_progression": "geometry",
    "load": "inference.weights",
    "measure_array": "measuring.measurer",
    "predict_folder": "measuring.folder",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"aop_pose.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'aop_pose' has no attribute {name!r}")
