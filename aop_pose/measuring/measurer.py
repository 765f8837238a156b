"""Images -> results: points, whether they may be measured at all, the numbers and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from aop_pose.core.frame import Frame, Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.letterbox import on_black
from aop_pose.core.measure import measure_in
from aop_pose.core.region import AUTO, WHOLE, Region, Wanted, wanted_region
from aop_pose.core.results import Result
from aop_pose.core.stances import UPRIGHT, Stance
from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.region import find_region
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.trust.gate import Gate, VolumeGate, gather
from aop_pose.trust.intervals import DEFAULT_COVERAGE, Calibration, Intervals, check_coverage
from aop_pose.trust.passes import MOST_LOOKS, TURNS, Passes, mean_look, sure_stance, turn, widen


def two_passes(predictor: Predictor, pictures: Sequence[np.ndarray], second: bool = True) -> list[Passes]:
    """Predictions on gray pictures (H, W) uint8, and where something is found those of a second pass.

    A picture of which the network is sure that it is mirrored or turned is turned back and looked at again.
    """
    first = predictor.find(pictures)
    stances = [sure_stance(prediction) for prediction in first]
    turned = [i for i, stance in enumerate(stances) if stance is not UPRIGHT]
    pictures = [stance.undo(picture) for stance, picture in zip(stances, pictures, strict=True)]
    for i, found in zip(turned, predictor.find([pictures[i] for i in turned]), strict=True):
        first[i] = found
    again = [i for i, prediction in enumerate(first) if second and prediction.keypoints is not None]
    widened = [widen(pictures[i]) for i in again]
    seconds: dict[int, Prediction] = {}
    # Whatever its score: that is a signal itself.
    lenient = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"threshold": 0.0}))
    for i, found, (_, origin) in zip(again, lenient.find([pixels for pixels, _ in widened]), widened, strict=True):
        if found.keypoints is not None:
            shifted = attrs.evolve(found.keypoints, coords=found.keypoints.coords - origin)
            seconds[i] = attrs.evolve(found, keypoints=shifted)
    return [
        Passes(prediction, seconds.get(i), max(picture.shape), stance=stance)
        for i, (prediction, picture, stance) in enumerate(zip(first, pictures, stances, strict=True))
    ]


def looks_at(predictor: Predictor, pictures: Sequence[np.ndarray], looks: int, second: bool = True) -> list[Passes]:
    """Passes over gray pictures (H, W) uint8 whose numbers are taken from the mean of so many looks.

    The first two looks are those of ``two_passes``, each further one sees the picture turned (``trust.passes.TURNS``).
    """
    passes = two_passes(predictor, pictures, second or looks > 1)
    pictures = [one.stance.undo(picture) for one, picture in zip(passes, pictures, strict=True)]
    found = [i for i, one in enumerate(passes) if one.first.keypoints is not None]
    seen = {i: [passes[i].first] for i in found}
    for i in found if looks > 1 else ():
        again = passes[i].second
        # A look that an artefact would not believe alone does not count.
        if again is not None and again.score >= predictor.contract.threshold:
            seen[i].append(again)
    for degrees, scale in TURNS[: max(0, looks - 2)]:
        turned = [turn(pictures[i], degrees, scale) for i in found]
        answers = predictor.find([pixels for pixels, _ in turned])
        for i, one, (_, back) in zip(found, answers, turned, strict=True):
            if one.keypoints is not None:
                coords = one.keypoints.coords @ back[:, :2].T + back[:, 2]
                seen[i].append(attrs.evolve(one, keypoints=attrs.evolve(one.keypoints, coords=coords)))
    return [
        attrs.evolve(one, measured=mean_look(seen[i])) if looks > 1 and i in seen else one
        for i, one in enumerate(passes)
    ]


@attrs.frozen(eq=False)
class View:
    """The part of an image that is measured, as an image of its own."""

    image: Frame | Volume
    """As it was given; rows are of it."""
    seen: Frame | Volume | None
    """The image itself, or its region on black; None = nothing may be measured, ``reason`` says why."""
    region: Region | None = None
    """The place of ``seen`` in a frame; None in a volume, which is measured whole, and where none is known."""
    reason: str = ""
    """Why nothing may be measured, or what a reader of the row should know."""
    stance: Stance = UPRIGHT
    """The way the part was given; ``seen`` is turned back."""
    origin: np.ndarray | None = None
    """(2,) place in ``image`` of the first pixel of ``seen`` as it was given, where that is another image; x, y."""

    def turned_back(self, stance: Stance) -> View:
        """The same view of a part that was given turned."""
        if stance is UPRIGHT or not isinstance(self.seen, Frame):
            return self
        told = "; ".join(filter(None, (self.reason, f"the picture is {stance.words}")))
        return attrs.evolve(self, seen=self.seen.turned_back(stance), reason=told, stance=stance)

    def in_image(self, prediction: Prediction) -> Prediction:
        """A prediction on ``seen``, in pixels of the image as it was given."""
        if (self.stance is UPRIGHT and self.origin is None) or prediction.keypoints is None:
            return prediction
        moved = attrs.evolve(prediction.keypoints, coords=self._to_image(prediction.keypoints.coords))
        outlines = prediction.outlines
        if outlines is not None:
            outlines = {name: self._to_image(contour) for name, contour in outlines.items()}
        return attrs.evolve(prediction, keypoints=moved, outlines=outlines)

    def _to_image(self, points: np.ndarray) -> np.ndarray:
        if self.origin is None or self.region is None:
            return self.stance.points_back(points, self.image.shape[::-1])
        side = max(self.region.width, self.region.height)
        return self.stance.points_back(points, (side, side)) + self.origin

    def outside(self, keypoints: Keypoints) -> str:
        """Why points in pixels of the image as it was given are not measured: some lie outside what was looked at."""
        if self.region is None or self.origin is None:
            what, names = "picture", keypoints.outside(*self.image.shape)
        else:
            inside = attrs.evolve(keypoints, coords=self.region.to_region(keypoints.coords))
            what, names = "region", inside.outside(self.region.width, self.region.height)
        return f"outside the {what}: {', '.join(names)}; what cannot be seen is not measured" if names else ""


_DOUBTFUL = "the picture may be mirrored or turned"
_WORDS = {2: "two", 3: "three", 4: "four"}


def the_one(results: Sequence[Result]) -> Result:
    """Of the results in several regions of one frame the measured one; abstained where several are, or none is."""
    if len(results) == 1:
        return results[0]
    measured = [result for result in results if result.status == "ok"]
    if not measured:
        return max(results, key=lambda result: result.score or 0.0)
    if len(measured) == 1:
        told = f"{_WORDS.get(len(results), len(results))} images: the one at {measured[0].region} is measured"
        return attrs.evolve(measured[0], reason="; ".join(filter(None, (told, measured[0].reason))))
    boxes = " or ".join(str(result.region) for result in measured)
    many = _WORDS.get(len(measured), len(measured))
    reason = f"{many} images, give --region: {boxes} could each be measured"
    return attrs.evolve(
        measured[0], status="abstained", reason=reason, keypoints=None, score=None, measurements={}, region=None,
        spacing=None, mirrored=None,
    )  # fmt: skip


@attrs.frozen(eq=False)
class Measurer:
    """A predictor of frames or of volumes, where it looks, and how its numbers are guarded.

    UsageError where something is asked for that the artefact cannot honour: an interval without a calibration or
    beyond what it can say, a gate that is not there, a region of volumes.
    """

    predictor: AnyPredictor
    coverage: float | None = None
    """Share of intervals that hold the true value; None = as the artefact's calibration says, mostly 0.9, else no
    interval."""
    gate: bool | None = None
    """True: the artefact's gate withholds numbers; False: it does not; None: it does where there is one."""
    region: Wanted | None = attrs.field(default=None, converter=attrs.converters.optional(wanted_region))
    """The part of each frame that is looked at (``core.region.wanted_region``); None = ``auto``."""
    looks: int = 1
    """Numbers are taken from the mean of so many looks at a frame; the gate judges the first two, as ever."""
    intervals: Intervals | None = attrs.field(init=False, default=None)
    """Of the coverage and the looks that are asked for; None = no intervals."""

    def __attrs_post_init__(self) -> None:
        name = self.predictor.model_id
        if self.region is not None and isinstance(self.predictor, VolumePredictor):
            raise UsageError("--region: volumes are measured whole; leave it out")
        if not 1 <= self.looks <= MOST_LOOKS:
            raise UsageError(f"--looks: expected a number from 1 to {MOST_LOOKS}, found {self.looks}")
        if self.looks > 1 and isinstance(self.predictor, VolumePredictor):
            raise UsageError("--looks: volumes are seen once; leave it out")
        if self.gate and self._gate is None:
            raise UsageError(f"--gate: {name} has no gate; leave it out, or take weights with one (weights list)")
        if self.coverage is not None:
            check_coverage(self.coverage)
            if self.calibration is None:
                raise UsageError(f"--coverage: {name} is not calibrated, so it states no intervals; leave it out")
        if self.calibration is not None:
            # Refuses what the calibration does not hold for.
            object.__setattr__(self, "intervals", self.calibration.at(self._coverage, self.looks))

    @property
    def calibration(self) -> Calibration | None:
        """Of the artefact; None = no intervals."""
        return getattr(self.predictor.contract, "calibration", None)

    @property
    def _gate(self) -> Gate | VolumeGate | None:
        return getattr(self.predictor.contract, "gate", None)

    @property
    def _coverage(self) -> float:
        if self.coverage is not None:
            return self.coverage
        return DEFAULT_COVERAGE if self.calibration is None else self.calibration.coverage

    @property
    def _judges(self) -> bool:
        return self._gate is not None and self.gate is not False

    @property
    def facts(self) -> dict[str, Any]:
        """Settings that rows depend on beside the network."""
        guarded = {"coverage": None if self.calibration is None else self._coverage, "gate": self._judges}
        of_frames = not isinstance(self.predictor, VolumePredictor)
        return {**guarded, **({"region": str(self.region or AUTO), "looks": self.looks} if of_frames else {})}

    def results(self, images: Sequence[Frame | Volume]) -> list[Result]:
        """A result per image, ``ok`` or ``abstained`` with its reason."""
        second = self._judges or (self.intervals is not None and self.intervals.needs_two_passes)
        several = [self.views(image) for image in images]
        found = iter(self._measured([view for each in several for view in each], second))
        return [the_one([next(found)[0] for _ in each]) for each in several]

    def _in_regions(self, image: Frame) -> Sequence[Frame]:
        """The image as it is looked at, once for each region that its file names; of these the one that was asked for.

        The file's millimetres are those of its region: what lies beyond it has none.
        """
        if (self.region or AUTO) == AUTO:
            return image.choices or (image,)
        named = [one for one in image.choices or (image,) if one.region is not None and one.region.how == "file"]
        if not named:
            return (image,)
        asked = self.region if isinstance(self.region, Region) else Region.whole(*image.shape)
        around = [one for one in named if one.region is not None and one.region.holds(asked)]
        return (around[0] if around else attrs.evolve(image, spacing=None, choices=()),)

    def seen(self, images: Sequence[Frame | Volume], second: bool = True) -> list[tuple[Result, Passes]]:
        """A result per image, and the passes over it; ``second``: two at least, else as many as ``looks``.

        Of several regions of a frame the first one is looked at.
        """
        return self._measured([self.views(image)[0] for image in images], second)

    def _measured(self, views: Sequence[View], second: bool) -> list[tuple[Result, Passes]]:
        passes = iter(self._passes([view.seen for view in views if view.seen is not None], second))
        nothing = [Passes(Prediction(None, 0.0, view.reason), None, max(view.image.shape)) if view.seen is None
                   else next(passes) for view in views]  # fmt: skip
        return [(self._result(view, each), each) for view, each in zip(views, nothing, strict=True)]

    def views(self, image: Frame | Volume) -> list[View]:
        """The parts of an image that may be measured, or one that says why none is."""
        if reason := image.unfit_reason():
            return [View(image, None, None, reason)]
        if not isinstance(image, Frame):
            reason = self._gate.unfit(image) if self._judges and isinstance(self._gate, VolumeGate) else ""
            return [View(image, None if reason else image, None, reason)]
        return [view for frame in self._in_regions(image) for view in self._views_of(frame)]

    def _views_of(self, frame: Frame) -> list[View]:
        if isinstance(self.region, Region):
            if self.region.lies_in(*frame.shape):
                return [_view(frame, self.region)]
            size = f"{frame.width} x {frame.height} pixels"
            reason = f"the region {self.region} (x, y, width, height) does not lie inside the frame of {size}"
            return [View(frame, None, None, reason)]
        if frame.region is not None and self.region != WHOLE:
            return [_view(frame, frame.region)]
        if self.region == WHOLE or not self.predictor.schema.finds_region:
            return [_view(frame, Region.whole(*frame.shape))]
        found = find_region(frame.pixels)
        return [_view(frame, region, found.reason) for region in found.regions] or [
            View(frame, None, None, found.reason)
        ]

    def _passes(self, images: Sequence[Frame | Volume], second: bool) -> list[Passes]:
        if isinstance(self.predictor, VolumePredictor):
            volumes = [image for image in images if isinstance(image, Volume)]
            return [Passes(self.predictor.find(volume), None, max(volume.shape)) for volume in volumes]
        frames = [image for image in images if isinstance(image, Frame)]
        passes = looks_at(self.predictor, [frame.pixels for frame in frames], self.looks, second)
        return [attrs.evolve(one, field=_field_of(frame)) for one, frame in zip(passes, frames, strict=True)]

    def _result(self, view: View, passes: Passes) -> Result:
        image, model = view.image, self.predictor.model_id
        view = view.turned_back(passes.stance)
        prediction = view.in_image(passes.measured)
        keypoints = prediction.keypoints
        row: dict[str, Any] = {
            "source": image.source, "index": image.index, "keypoints": keypoints, "model": model,
            "score": None if keypoints is None else prediction.score, "region": view.region,
        }  # fmt: skip
        if isinstance(image, Frame):
            row |= {"width": image.width, "height": image.height}
            row |= {"spacing": image.spacing, "time_s": image.time_s, "sop": image.sop}
            row["mirrored"] = None if passes.first.stances is None else passes.stance.mirrored
        if view.seen is None or keypoints is None:
            reason = _or_turned(prediction.reason) if passes.doubtful else prediction.reason
            return Result(status="abstained", reason=reason, **row)
        if reason := self._why_withheld(view, passes, keypoints):
            return Result(status="abstained", reason=reason, **row)
        measured = measure_in(view.seen, passes.measured, produced_by=model)
        if measured.reason:
            return Result(status="abstained", reason=measured.reason, **row)
        measurements, intervals, doubt = measured.measurements, self.intervals, ""
        if intervals is not None:
            doubt = intervals.doubt(measurements, passes)
            measurements = intervals.add_to(measurements, passes)
        # A gate withholds a picture that is doubtful; without one it is measured, and the row says so.
        stands = _DOUBTFUL if passes.doubtful else ""
        told = "; ".join(filter(None, (view.reason, prediction.reason, stands, doubt)))
        return Result(status="ok", reason=told, measurements=measurements, outlines=prediction.outlines, **row)

    def _why_withheld(self, view: View, passes: Passes, placed: Keypoints) -> str:
        """``placed``: the points in pixels of the image as it was given."""
        if reason := view.outside(placed):
            return reason
        gate, seen = self._gate, view.seen
        if not self._judges or not placed.complete:
            return ""
        if isinstance(gate, VolumeGate) and isinstance(seen, Volume):
            return gate.judge(passes.first, seen)
        if not isinstance(gate, Gate) or not isinstance(seen, Frame):
            return ""
        if passes.second is None or not passes.second.found.complete:
            reason = "withheld: disagreement between passes: nothing is found on a second look"
        else:
            reason = gate.judge(gather(seen.pixels, passes.first, passes.second)).reason
        if not passes.doubtful:
            return reason
        turn_it = f"withheld: {_DOUBTFUL}; turn it as it should stand and measure again"
        return _or_turned(reason) if reason else turn_it


def _or_turned(reason: str) -> str:
    """Why a picture of which nobody knows how it stands shows nothing."""
    return f"{reason}; or the picture is mirrored or turned"


def _view(frame: Frame, region: Region, reason: str = "") -> View:
    """A region of a frame on black, or why it must not be measured."""
    cut = frame.cut_to(region)
    if cut is frame:
        return View(frame, frame, region, reason)
    if unfit := cut.unfit_reason():
        return View(frame, None, region, f"{unfit} (region {region})")
    square, place = on_black(cut.pixels)
    return View(frame, attrs.evolve(cut, pixels=square), region, reason, origin=region.to_frame(-place))


def _field_of(frame: Frame) -> float | None:
    """Millimetres of the longer side; None where the size of a pixel is not known."""
    return None if frame.spacing is None else max(frame.height * frame.spacing[0], frame.width * frame.spacing[1])


def measure_array(
    model: AnyPredictor,
    gray: np.ndarray,
    spacing: Sequence[float] | None = None,
    *,
    coverage: float | None = None,
    gate: bool | None = None,
    region: str | Sequence[int] | None = None,
    looks: int = 1,
) -> Result:
    """Points and measurements on one gray picture, or on one volume where the model finds points in volumes.

    Args:
        model: of ``aop_pose.load``; it may measure many arrays, in several threads at a time.
        gray: (H, W) uint8, or a volume (I, J, K) of any real numbers. It is not changed.
        spacing: millimetres per pixel (row, column), or per voxel along i, j, k, which a volume needs.
        coverage: share of the stated intervals that hold the true value; None = as the artefact is calibrated.
        gate: False: no number is withheld by the artefact's gate.
        region: the part that is ultrasound: ``auto`` (default) finds it, ``whole``, or ``X,Y,W,H`` in pixels. Points
            are in pixels of the whole picture all the same.
        looks: the mean of so many looks at the picture is measured, turned and scaled a little in each.

    Raises:
        ValueError: the array is of another shape or kind, or the spacing is not positive numbers.
        UsageError: coverage, gate, region or looks cannot be honoured by the artefact, or the region is none.

    Example:
        >>> import numpy as np
        >>> import aop_pose
        >>> model = aop_pose.load("aop-fast")
        >>> aop_pose.measure_array(model, np.zeros((256, 256), np.uint8)).status
        'abstained'
    """
    return Measurer(model, coverage, gate, region, looks).results([_image(model, np.asarray(gray), spacing)])[0]


def _image(model: AnyPredictor, array: np.ndarray, spacing: Sequence[float] | None) -> Frame | Volume:
    numbers = None if spacing is None else tuple(float(number) for number in spacing)
    if isinstance(model, VolumePredictor):
        if array.ndim != 3 or array.dtype.kind not in "uif":
            raise ValueError(f"gray: expected a volume (I, J, K) of real numbers, found {array.dtype} {array.shape}")
        if numbers is None or len(numbers) != 3 or not all(math.isfinite(one) and one > 0 for one in numbers):
            raise ValueError(f"spacing: expected three positive numbers, mm along i, j, k, found {spacing}")
        return Volume(array.astype(np.float32), np.diag([*numbers, 1.0]), source="array")
    if array.ndim == 3 and array.shape[2] in (3, 4):
        raise ValueError(f"gray: expected gray values (H, W) uint8, found colour {array.shape}; convert it to gray")
    return Frame(np.ascontiguousarray(array), spacing=numbers, source="array")  # type: ignore[arg-type]
