"""aop-pose: the angle of progression from transperineal ultrasound frames. Research use only.

The public names are imported on first use, so that importing the package is free. A new one stands twice below: as
an import, which type checkers and editors read, and in the table of the rooms they come from.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from aop_pose.telemetry import turn_off

turn_off()

if TYPE_CHECKING:
    from aop_pose.core.frame import Frame as Frame
    from aop_pose.core.frame import Volume as Volume
    from aop_pose.core.keypoints import Keypoints as Keypoints
    from aop_pose.core.keypoints import Prediction as Prediction
    from aop_pose.core.region import Region as Region
    from aop_pose.core.results import Measurement as Measurement
    from aop_pose.core.results import Result as Result
    from aop_pose.core.schema import Quantity as Quantity
    from aop_pose.core.schema import Schema as Schema
    from aop_pose.core.schemas import AOP as AOP
    from aop_pose.core.schemas import FETAL_FACE as FETAL_FACE
    from aop_pose.core.schemas import FETUS as FETUS
    from aop_pose.core.schemas import HEAD as HEAD
    from aop_pose.evaluation.comparison import evaluate as evaluate
    from aop_pose.geometry import angle_of_progression as angle_of_progression
    from aop_pose.inference.weights import load as load
    from aop_pose.measuring.folder import predict as predict
    from aop_pose.measuring.measurer import measure_array as measure_array

__version__ = "0.1.0"

_PUBLIC = {
    "AOP": "core.schemas",
    "FETAL_FACE": "core.schemas",
    "FETUS": "core.schemas",
    "HEAD": "core.schemas",
    "Frame": "core.frame",
    "Keypoints": "core.keypoints",
    "Measurement": "core.results",
    "Prediction": "core.keypoints",
    "Quantity": "core.schema",
    "Region": "core.region",
    "Result": "core.results",
    "Schema": "core.schema",
    "Volume": "core.frame",
    "angle_of_progression": "geometry",
    "evaluate": "evaluation.comparison",
    "load": "inference.weights",
    "measure_array": "measuring.measurer",
    "predict": "measuring.folder",
}

# Type checkers read the imports above: seeing this, they would take any name for a public one.
if not TYPE_CHECKING:
    __all__ = ["__version__", *_PUBLIC]

    def __getattr__(name: str) -> object:
        if name in _PUBLIC:
            return getattr(import_module(f"aop_pose.{_PUBLIC[name]}"), name)
        raise AttributeError(f"module 'aop_pose' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PUBLIC})
