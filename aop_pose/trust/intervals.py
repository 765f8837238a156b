"""The calibration that an artefact stores, and the interval that follows for one number.

Split-conformal over groups: a residual |predicted - true| over a difficulty (1 where none is used) is a frame's score.
The radius of the interval of a new frame is the quantile of the scores of frames that trained nothing, times the new
frame's own difficulty.

Assumption: the groups (patients, near-duplicates) are exchangeable with that of the new frame. Frames of another
machine or another population are not, and then nothing is promised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aop_pose.core.results import Measurement
from aop_pose.errors import UsageError
from aop_pose.geometry import aop_sensitivity
from aop_pose.trust.passes import Passes

_TIE = 1e-9
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


def _propagated(passes: Passes) -> float:
    """Degrees of standard deviation where each point is off as far as its map is wide, along either axis."""
    spread = passes.first.spread
    if spread is None:
        return np.nan
    return float(np.linalg.norm(aop_sensitivity(*passes.points) * (0.01 + spread) / np.sqrt(2)))


def _field(passes: Passes) -> float:
    """The square root of the field of view in decimetres.

    A network is off by pixels, which are worth more where more of the body is shown; a reader by millimetres.
    """
    return np.nan if passes.field is None else math.sqrt(passes.field / 100)


DIFFICULTIES: dict[str, Callable[[Passes], float]] = {
    PLAIN: lambda passes: 1.0,
    "score": lambda passes: 1.05 - passes.first.score,
    "looks": _moved,
    "geometry": _slope,
    "geometry-looks": lambda passes: _slope(passes) * _moved(passes),
    "spread": _wide,
    "geometry-spread": lambda passes: _slope(passes) * _wide(passes),
    "propagated-spread": _propagated,
    "field": _field,
}
"""Every one positive, or NaN where it cannot be said."""
OF_AN_ANGLE = frozenset({"geometry", "geometry-looks", "geometry-spread", "propagated-spread"})
NEED_TWO_PASSES = frozenset({"looks", "geometry-looks"})
NEED_MAPS = frozenset({"spread", "geometry-spread", "propagated-spread"})


DEFAULT_COVERAGE = 0.9
HARDER = "harder than the frames of the calibration, so that its interval may be too narrow"


def check_coverage(coverage: float, groups: float | None = None) -> None:
    """UsageError for a coverage that is no share between 0 and 1, or too high for so many groups."""
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage: expected a share between 0 and 1, found {coverage:g}")
    if groups is not None and coverage * (groups + 1) - _TIE > groups:
        most = math.floor(1000 * groups / (groups + 1)) / 1000
        raise UsageError(
            f"--coverage: expected at most {most:g}, which is what {groups:.4g} groups of calibration can say, "
            f"found {coverage:g}"
        )


def weighted_quantile(scores: np.ndarray, weights: np.ndarray, coverage: float) -> float:
    """The least score whose weight up to it reaches ``coverage`` times (total weight + 1); infinity where none does.

    The 1 is the new group, which may lie anywhere: the idea of Lee, Barber and Willett, "Distribution-free inference
    with hierarchical data" (2023), whose groups count alike, taken over to frames that count alike. With one frame a
    group it is the rule of split conformal prediction, the ceil(coverage (n + 1))-th smallest of n scores (Vovk et al.
    2005; Lei et al. 2018). ``scores`` and ``weights`` (n,), the weights adding up to the number of groups.
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = coverage * (reached[-1] + 1) - _TIE
    place = int(np.searchsorted(reached, wanted))
    return float(scores[order][place]) if place < len(scores) else math.inf


class Scores(BaseModel):
    """Residuals over difficulties of one quantity on the frames of calibration."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    difficulty: str
    share_of: Literal["", "value", "side"] = ""
    """A residual is in the unit of the quantity, or a share of the predicted value or of the picture's longer side."""
    easiest: float = Field(default=0.0, ge=0)
    """A frame of less difficulty counts as this: no interval is narrower than that of the easiest known frames."""
    hardest: float | None = Field(default=None, gt=0)
    """A frame of more difficulty counts as this, and says so; None = there is no such limit."""
    scores: list[float] = Field(min_length=1)
    """Rising."""
    weights: list[float]
    """Of each score; they add up to the number of groups that the frames are worth."""
    measured: dict[str, Any] = Field(default_factory=dict)
    """Target and achieved coverage, and how much it scatters, for people."""

    @model_validator(mode="before")
    @classmethod
    def _read_relative(cls, given: Any) -> Any:
        """Calibrations of earlier artefacts say ``relative`` where this one says ``share_of``."""
        if isinstance(given, dict) and "relative" in given:
            kept = {name: value for name, value in given.items() if name != "relative"}
            return {**kept, "share_of": "value" if given["relative"] else ""}
        return given

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
        if not (np.diff(self.scores, prepend=0.0) >= 0).all() or min(self.weights) < 0:
            raise ValueError(
                "expected scores that rise from 0 and weights of at least 0, so that no interval is upside down"
            )
        if self.hardest is not None and self.hardest < self.easiest:
            raise ValueError(f"expected hardest from {self.easiest:g} up, found {self.hardest:g}")
        return self

    @property
    def groups(self) -> float:
        """The number of groups that the frames are worth."""
        # Weights are stored rounded.
        return round(sum(self.weights), 3)

    def radius(self, coverage: float) -> float:
        """Half width of an interval for a frame of difficulty 1; infinity where there are too few groups for that."""
        return weighted_quantile(np.array(self.scores), np.array(self.weights), coverage)

    def difficulty_of(self, passes: Passes) -> float:
        """The difficulty of a frame, kept between the easiest and the hardest; NaN where it has none."""
        return float(limited(DIFFICULTIES[self.difficulty](passes), self.easiest, self.hardest))

    def beyond(self, passes: Passes) -> bool:
        """True for a frame that is harder than the hardest."""
        return self.hardest is not None and DIFFICULTIES[self.difficulty](passes) > self.hardest


def limited(difficulty: np.ndarray | float, easiest: float, hardest: float | None) -> Any:
    """Difficulties, each kept between the easiest and the hardest; NaN stays NaN."""
    return np.clip(difficulty, easiest, math.inf if hardest is None else hardest)


class Calibration(BaseModel):
    """Conformal intervals of a network (``weighted_quantile``)."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    method: Literal["split-conformal over groups", "cross-conformal over groups"] = "cross-conformal over groups"
    """The former chose its difficulty on the frames that calibrate it."""
    data: str
    """The frames, for people; they trained nothing."""
    frames: int = Field(gt=0)
    groups: int = Field(gt=0)
    coverage: float = Field(default=DEFAULT_COVERAGE, gt=0, lt=1)
    """The share that is stated where none is asked for: less than usual where so few groups cannot say more."""
    quantities: dict[str, Scores]
    """By column, or by ``Quantity.name`` where pixels and millimetres share one; of frames that are seen once."""
    of_looks: dict[int, dict[str, Scores]] = Field(default_factory=dict)
    """Likewise, of frames that are seen so many times (``trust.passes.mean_look``)."""

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of looks that it holds for."""
        return (1, *sorted(self.of_looks))

    @property
    def facts(self) -> dict[str, Any]:
        """All but the scores."""
        told: dict[str, Any] = {name: _told(one) for name, one in self.quantities.items()}
        for looks, quantities in sorted(self.of_looks.items()):
            told[f"{looks} looks"] = {name: _told(one) for name, one in quantities.items()}
        return {"method": self.method, "data": self.data, "frames": self.frames, "groups": self.groups, **told}

    def at(self, coverage: float, looks: int = 1) -> Intervals:
        """UsageError for a coverage that is none, or too high for so few groups, and for looks it does not hold for."""
        if looks not in self.looks:
            known = " or ".join(map(str, self.looks))
            raise UsageError(f"--looks: expected {known}, which the intervals are calibrated for, found {looks}")
        quantities = self.of_looks[looks] if looks > 1 else self.quantities
        for scores in quantities.values():
            check_coverage(coverage, scores.groups)
        return Intervals(quantities, {name: scores.radius(coverage) for name, scores in quantities.items()})


def _told(scores: Scores) -> dict[str, Any]:
    return {"difficulty": scores.difficulty, **scores.measured}


@attrs.frozen(eq=False)
class Intervals:
    """The radii of one coverage."""

    quantities: Mapping[str, Scores]
    radii: Mapping[str, float]

    @property
    def needs_two_passes(self) -> bool:
        return any(scores.difficulty in NEED_TWO_PASSES for scores in self.quantities.values())

    def add_to(self, measurements: Mapping[str, Measurement], passes: Passes) -> dict[str, Measurement]:
        """The same measurements, each with its interval where one is calibrated.

        A length has one interval: where it is known in millimetres, that in pixels is the same; where it is calibrated
        in pixels alone, that in millimetres is.
        """
        found = {name: self._interval(one, passes) for name, one in measurements.items()}
        for name, one in measurements.items():
            twin = measurements.get(f"{name.removesuffix('_px')}_mm")
            in_mm = None if one.unit != "px" or twin is None else found[twin.name]
            if twin is not None and in_mm is not None:
                found[name] = in_mm[0] * one.value / twin.value, in_mm[1] * one.value / twin.value
            elif twin is not None and one.unit == "px" and one.value > 0:
                # A length of 0 does not say how large a pixel is.
                in_px = found[name]
                scale = twin.value / one.value
                found[twin.name] = in_px and (in_px[0] * scale, in_px[1] * scale)
        return {name: attrs.evolve(one, interval=found[name]) for name, one in measurements.items()}

    def doubt(self, measurements: Mapping[str, Measurement], passes: Passes) -> str:
        """The reason to doubt an interval: it is as wide as they get. Empty where there is none."""
        known = {self._known(one) for one in measurements.values()} - {""}
        return HARDER if any(self.quantities[name].beyond(passes) for name in known) else ""

    def _known(self, measurement: Measurement) -> str:
        """Its name among the quantities, "" where none is calibrated."""
        names = (measurement.name, measurement.name.removesuffix(f"_{measurement.unit}"))
        return next((name for name in names if name in self.quantities), "")

    def _interval(self, measurement: Measurement, passes: Passes) -> tuple[float, float] | None:
        known, value = self._known(measurement), measurement.value
        if not known:
            return None
        scores = self.quantities[known]
        unit = {"": 1.0, "value": value, "side": passes.side}[scores.share_of]
        radius = self.radii[known] * scores.difficulty_of(passes) * unit
        if not math.isfinite(radius):
            return None
        middle = _unfolded(measurement, passes)
        # An angle goes on to a whole turn and no further.
        return max(0.0, middle - radius), min(360.0 if measurement.unit == "deg" else math.inf, middle + radius)


def _unfolded(measurement: Measurement, passes: Passes) -> float:
    """The value on the scale of the interval: a turn above 180 degrees is measured as what is left to 360."""
    points = passes.measured.found
    schema = points.schema
    quantity = next((one for one in schema.quantities if one.column == measurement.name), None)
    if quantity is None or quantity.unfolded is None:
        return measurement.value
    # Points in pixels say on which side of the fold it is; the value may be that of millimetres.
    return 360 - measurement.value if schema.unfolded(quantity, points.coords) > 180 else measurement.value
