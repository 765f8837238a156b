"""aop-pose: the angle of progression from transperineal ultrasound frames. Research use only."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# The public names, each with the room it lives in; loaded on first use, so that importing the package is free.
_PUBLIC = {
    "Frame": "frame",
    "Keypoints": "keypoints",
    "Schema": "schemas",
    "AOP": "schemas",
    "HEAD": "schemas",
    "FETUS": "schemas",
    "FETAL_FACE": "schemas",
    "Volume": "volume",
    "Result": "results",
    "Measurement": "results",
    "angle_of_progression": "geometry",
    "load": "artefacts",
    "measure_array": "measuring",
    "predict_folder": "predict",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"aop_pose.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'aop_pose' has no attribute {name!r}")
