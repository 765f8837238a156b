"""Settings that the trainings written here share, whatever they learn from, and those of trainings on frames."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from aop_pose.pipelines.config import Config
from aop_pose.pipelines.precision import Precision


class TrainingConfig(Config):
    """What a pipeline sets otherwise, it says again."""

    averaging: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is checked and kept; 0 = the weights themselves."""
    clip: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient of the network that is kept; 0 = not cut."""
    holdout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the labelled frames or volumes, in whole groups, that chooses the best epoch; 0 = the last epoch is
    kept."""
    patient: str | None = None
    """Regular expression with a bracket around the patient in a file name; his frames or volumes stay together."""
    save_every: int = Field(default=0, ge=0)
    """Epochs between the checkpoints that are kept beside best and last; 0 = none."""
    precision: Precision = "auto"
    decode: Literal["argmax", "soft-argmax", "subpixel"] = "subpixel"
    """How maps are read as points: see ``heatmaps.decode``."""

    @field_validator("patient")
    @classmethod
    def _check_patient(cls, pattern: str | None) -> str | None:
        try:
            brackets = re.compile(pattern or "()").groups
        except re.error as error:
            raise ValueError(f"expected a regular expression ({error})") from None
        if not brackets:
            raise ValueError("expected a bracket around the patient")
        return pattern


class FrameTrainingConfig(TrainingConfig):
    """Of a network that finds points on frames."""

    phantoms: int = Field(default=0, ge=0)
    """Made-up frames added to the training frames."""
    gpus: int = Field(default=1, ge=1)
    """With ``--device cuda``: how many, counted from the named one; each takes ``batch`` frames a step."""
    threshold: float = Field(default=0.1, ge=0, le=1)
    """Least peak of the maps below which a frame counts as showing no anatomy."""
