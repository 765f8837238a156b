"""Frames -> results: points, whether they may be measured at all, the numbers and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.measure import measure
from aop_pose.core.results import Result
from aop_pose.inference.predictor import Found, Predictor
from aop_pose.stats.conformal import check_coverage
from aop_pose.trust.gate import Look, gather, widen
from aop_pose.trust.intervals import DEFAULT_COVERAGE, Case

MIN_SIDE = 32
"""Pixels; below it three points cannot be told apart."""
MAX_ELONGATION = 8.0
"""Longer side over shorter side; beyond it a letterboxed frame is a thread."""
BLANK_RANGE = 16
"""Gray values; a frame whose brightest and darkest pixel lie closer is blank."""
BLANK_DEVIATION = 3.0
"""Gray values; a frame whose standard deviation is below is blank. 1058 real PSFHS frames have 21 or more."""
MIN_NEIGHBOUR_CORRELATION = 0.5
"""Of the gray values of neighbouring pixels: the 1058 real PSFHS frames have 0.88 or more, white noise has 0."""
_SAMPLED_LINES = 256


def is_blank(frame: Frame) -> bool:
    """True for a black, constant or nearly constant frame."""
    darkest, brightest, _, _ = cv2.minMaxLoc(frame.pixels)
    # Not ndarray.std, which takes eight bytes a pixel.
    return brightest - darkest < BLANK_RANGE or float(cv2.meanStdDev(frame.pixels)[1][0, 0]) < BLANK_DEVIATION


def is_noise(frame: Frame) -> bool:
    """True where a pixel says nothing of the next one, neither along the rows nor along the columns."""
    for lines in (frame.pixels, frame.pixels.T):
        sampled = lines[:: max(1, len(lines) // _SAMPLED_LINES)].astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.corrcoef(sampled[:, :-1].ravel(), sampled[:, 1:].ravel())[0, 1]
        if not correlation < MIN_NEIGHBOUR_CORRELATION:
            return False
    return True


def unfit_reason(frame: Frame) -> str:
    """Why a frame must not be measured, "" where it may be."""
    width, height = frame.width, frame.height
    shorter, longer = sorted((width, height))
    if shorter < MIN_SIDE:
        return f"too small to measure: {width} x {height} pixels, {MIN_SIDE} are needed on the shorter side"
    if longer > MAX_ELONGATION * shorter:
        return f"too narrow to measure: {width} x {height} pixels, at most {MAX_ELONGATION:g}:1 is measured"
    if is_blank(frame):
        return "blank: a black or constant frame shows nothing to measure"
    if is_noise(frame):
        return "noise: neighbouring pixels have nothing in common, which no picture shows"
    return ""


@attrs.frozen(eq=False)
class Seen:
    """Both looks at one picture, in its pixels."""

    found: Found
    second: Look | None
    """None where nothing was found at the first look, or only one was asked for."""

    def case(self, side: int) -> Case:
        """What is known of the difficulty; ``side``: the picture's longer one. Something must have been found."""
        assert self.found.keypoints is not None
        again = None if self.second is None else self.second.points / side
        return Case(self.found.keypoints.coords / side, again, self.found.score, self.found.spread)

    @property
    def first(self) -> Look:
        """The first look; something must have been found."""
        assert self.found.keypoints is not None
        return Look(self.found.keypoints.coords, self.found.keypoints.scores, self.found.spread)


def look(predictor: Predictor, pictures: Sequence[np.ndarray], second: bool = True) -> list[Seen]:
    """Look at gray pictures (H, W) uint8, and where something is found look a second time."""
    first = predictor.find(pictures)
    again = [i for i, found in enumerate(first) if second and found.keypoints is not None]
    widened = [widen(pictures[i]) for i in again]
    looks: dict[int, Look] = {}
    # Whatever its score: that is a signal itself.
    lenient = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"threshold": 0.0}))
    for i, found, (_, origin) in zip(again, lenient.find([pixels for pixels, _ in widened]), widened, strict=True):
        if found.keypoints is not None:
            looks[i] = Look(found.keypoints.coords - origin, found.keypoints.scores, found.spread)
    return [Seen(found, looks.get(i)) for i, found in enumerate(first)]


@attrs.frozen(eq=False)
class Measurer:
    """A predictor and how its numbers are guarded.

    UsageError where ``coverage`` is none, or is more than the artefact's calibration can say.
    """

    predictor: Predictor
    coverage: float = DEFAULT_COVERAGE
    """Share of intervals that hold the true value; without a calibration in the artefact there are none."""
    gate: bool = True
    """Whether the artefact's gate, where it has one, withholds numbers."""

    def __attrs_post_init__(self) -> None:
        check_coverage(self.coverage)
        if self.predictor.contract.calibration is not None:
            self.predictor.contract.calibration.at(self.coverage)

    @property
    def facts(self) -> dict[str, Any]:
        """What rows depend on beside the network."""
        contract = self.predictor.contract
        return {
            "coverage": None if contract.calibration is None else self.coverage,
            "gate": self.gate and contract.gate is not None,
        }

    def results(self, frames: Sequence[Frame]) -> list[Result]:
        """A result per frame, ``ok`` or ``abstained`` with its reason."""
        contract = self.predictor.contract
        two = (self.gate and contract.gate is not None) or (
            contract.calibration is not None and contract.calibration.needs_two_looks
        )
        unfit = [unfit_reason(frame) for frame in frames]
        fit = [frame.pixels for frame, reason in zip(frames, unfit, strict=True) if not reason]
        seen = iter(look(self.predictor, fit, second=two))
        return [
            self._result(frame, Seen(Found(None, 0.0, reason), None) if reason else next(seen))
            for frame, reason in zip(frames, unfit, strict=True)
        ]

    def _result(self, frame: Frame, seen: Seen) -> Result:
        found, contract = seen.found, self.predictor.contract
        row: dict[str, Any] = {
            "source": frame.source, "index": frame.index, "width": frame.width, "height": frame.height,
            "keypoints": found.keypoints, "model": self.predictor.model_id,
            "score": found.score if found.keypoints is not None else None,
        }  # fmt: skip
        reason = found.reason if found.keypoints is None else self._why_withheld(frame, seen)
        if reason or found.keypoints is None:
            return Result(status="abstained", reason=reason, **row)
        measured = measure(found.keypoints, frame.spacing, frame.aspect, produced_by=self.predictor.model_id)
        if measured.reason:
            return Result(status="abstained", reason=measured.reason, **row)
        measurements = measured.measurements
        if contract.calibration is not None:
            intervals = contract.calibration.at(self.coverage)
            measurements = intervals.add_to(measurements, seen.case(max(frame.width, frame.height)))
        return Result(status="ok", measurements=measurements, **row)

    def _why_withheld(self, frame: Frame, seen: Seen) -> str:
        keypoints, gate = seen.found.keypoints, self.predictor.contract.gate
        assert keypoints is not None
        outside = keypoints.outside(frame.width, frame.height)
        if outside:
            return f"outside the picture: {', '.join(outside)}; what cannot be seen is not measured"
        if gate is None or not self.gate or not keypoints.complete:
            return ""
        if seen.second is None or not np.isfinite(seen.second.points).all():
            return "withheld: disagreement between passes: nothing is found on a second look"
        return gate.judge(gather(frame.pixels, seen.first, seen.second)).reason


def measure_array(
    predictor: Predictor,
    picture: np.ndarray,
    spacing: tuple[float, float] | None = None,
    *,
    coverage: float = DEFAULT_COVERAGE,
    gate: bool = True,
) -> Result:
    """Points and measurements on one gray picture (H, W) uint8; ``spacing`` in mm per pixel, rows first.

    ``coverage`` and ``gate`` as ``Measurer`` takes them.
    """
    frame = Frame(picture, spacing=spacing, source="array")
    return Measurer(predictor, coverage, gate).results([frame])[0]
