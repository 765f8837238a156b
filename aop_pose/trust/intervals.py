"""The calibration that an artefact stores, and the interval that follows for one number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aop_pose.core.results import Measurement
from aop_pose.geometry import aop_sensitivity
from aop_pose.stats.conformal import check_coverage, weighted_quantile
from aop_pose.trust.passes import Passes

PLAIN = "plain"


def _slope(passes: Passes) -> float:
    """Degrees that the angle moves where all three points are off by a hundredth of the longer side."""
    return float(np.linalg.norm(aop_sensitivity(*passes.points))) / 100


def _moved(passes: Passes) -> float:
    again = passes.points_again
    return np.nan if again is None else 0.01 + float(np.linalg.norm(passes.points - again, axis=1).mean())


def _wide(passes: Passes) -> float:
    spread = passes.first.spread
    return np.nan if spread is None else 0.01 + float(spread.mean())


DIFFICULTIES: dict[str, Callable[[Passes], float]] = {
    PLAIN: lambda passes: 1.0,
    "score": lambda passes: 1.05 - passes.first.score,
    "looks": _moved,
    "geometry": _slope,
    "geometry-looks": lambda passes: _slope(passes) * _moved(passes),
    "spread": _wide,
    "geometry-spread": lambda passes: _slope(passes) * _wide(passes),
}
"""Every one positive; ``geometry`` is defined for three points only."""
NEED_TWO_PASSES = frozenset({"looks", "geometry-looks"})
NEED_MAPS = frozenset({"spread", "geometry-spread"})


DEFAULT_COVERAGE = 0.9


class Scores(BaseModel):
    """Residuals over difficulties of one quantity on the frames of calibration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    difficulty: str
    relative: bool
    """True: a residual is a share of the predicted value (lengths), so that it holds in pixels and in millimetres."""
    scores: list[float] = Field(min_length=1)
    """Rising."""
    weights: list[float]
    """Of each score; they add up to the number of groups."""
    measured: dict[str, Any] = Field(default_factory=dict)
    """Target and achieved coverage, for people."""

    @field_validator("difficulty")
    @classmethod
    def _check_difficulty(cls, name: str) -> str:
        if name not in DIFFICULTIES:
            raise ValueError(f"expected one of {', '.join(DIFFICULTIES)}, found {name!r}")
        return name

    @model_validator(mode="after")
    def _check_lengths(self) -> Scores:
        if len(self.scores) != len(self.weights):
            raise ValueError(f"expected a weight for each of {len(self.scores)} scores, found {len(self.weights)}")
        return self

    def radius(self, coverage: float) -> float:
        """Half width of an interval for a frame of difficulty 1; infinity where there are too few groups for that."""
        return weighted_quantile(np.array(self.scores), np.array(self.weights), coverage)


class Calibration(BaseModel):
    """Conformal intervals of a network (``stats.conformal``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["split-conformal over groups"] = "split-conformal over groups"
    data: str
    """The frames, for people; they trained nothing."""
    frames: int = Field(gt=0)
    groups: int = Field(gt=0)
    quantities: dict[str, Scores]
    """By ``Quantity.calibration``."""

    @property
    def needs_two_passes(self) -> bool:
        return any(scores.difficulty in NEED_TWO_PASSES for scores in self.quantities.values())

    @property
    def facts(self) -> dict[str, Any]:
        """All but the scores."""
        told: dict[str, Any] = {}
        for name, one in self.quantities.items():
            told[name] = {"difficulty": one.difficulty, **one.measured}
        return {"method": self.method, "data": self.data, "frames": self.frames, "groups": self.groups, **told}

    def at(self, coverage: float) -> Intervals:
        """UsageError for a coverage that is none, or too high for so few groups."""
        check_coverage(coverage, self.groups)
        radii: dict[str, float] = {}
        for name, scores in self.quantities.items():
            radii[name] = scores.radius(coverage)
        return Intervals(self, radii)


@attrs.frozen(eq=False)
class Intervals:
    """The radii of one coverage."""

    calibration: Calibration
    radii: Mapping[str, float]

    def add_to(self, measurements: Mapping[str, Measurement], passes: Passes) -> dict[str, Measurement]:
        """The same measurements, each with its interval where one is calibrated."""
        return {name: attrs.evolve(one, interval=self._interval(one, passes)) for name, one in measurements.items()}

    def _interval(self, measurement: Measurement, passes: Passes) -> tuple[float, float] | None:
        name, value = measurement.name, measurement.value
        known = name if name in self.radii else name.removesuffix(f"_{measurement.unit}")
        if known not in self.radii:
            return None
        scores = self.calibration.quantities[known]
        radius = self.radii[known] * DIFFICULTIES[scores.difficulty](passes) * (value if scores.relative else 1.0)
        if not math.isfinite(radius):
            return None
        middle = _unfolded(measurement, passes)
        return max(0.0, middle - radius), middle + radius


def _unfolded(measurement: Measurement, passes: Passes) -> float:
    """The value on the scale of the interval: a turn above 180 degrees is measured as what is left to 360."""
    schema = passes.first.found.schema
    quantity = next((one for one in schema.quantities if one.column == measurement.name), None)
    if quantity is None or quantity.unfolded is None:
        return measurement.value
    # Points in pixels say on which side of the fold it is; the value may be that of millimetres.
    return 360 - measurement.value if schema.unfolded(quantity, passes.points) > 180 else measurement.value
