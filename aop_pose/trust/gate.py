"""The gate: a few signals, one score, one threshold. Stored in an artefact, so that measuring needs numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import attrs
import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.letterbox import fit
from aop_pose.geometry import opposite, outline_normals
from aop_pose.trust.passes import extent, logit, sharpness, steadiness

Structure = Literal["symphysis", "head"]
STRUCTURES: tuple[Structure, ...] = ("symphysis", "head")

SIDE = 256
"""Pixels of the square in which every frame is looked at, whatever the network's input is."""
_HALF = SIDE // 2
_GRIDS: dict[str, tuple[int, int, float, float]] = {"symphysis": (8, 6, 1.0, 0.7), "head": (10, 10, 72.0, 72.0)}
"""Columns, rows, half width and half height: in lengths of the symphysis, and in pixels of ``SIDE``."""
_LEAST_LENGTH = 6.0
_BLUR = 3.0
"""Pixels of ``SIDE`` over which darkness is judged."""
_DARK = 4.0
"""Gray values; darker places, in the mean over some pixels, hold no ultrasound."""
_ORIENTED = (6, 9)
"""Maps that hold cos 2t of an orientation t; sin 2t is the next one."""
_ALONG: dict[Structure, tuple[int, tuple[float, ...]]] = {
    "symphysis": (16, (-6, 0, 6)),
    "head": (24, (-24, -10, -3, 3, 10)),
}
"""Places along an outline, and at each the distances outwards in pixels of ``SIDE``."""
_PLAIN = 5
"""So many maps, the first, hold no direction."""


def appearances(maps: np.ndarray, points: np.ndarray) -> dict[Structure, np.ndarray]:
    """A vector for each structure, from the maps of a square picture and PS1, PS2, FH1 (3, 2) on it.

    The symphysis' grid is centred between its ends, along PS1 to PS2, and grows with their distance; the head's is
    centred on FH1, along the tangent, of one size. Eleven numbers a node: brightness against the grid's mean; roughness
    at four scales (1, 2, 4, 8 pixels) against local brightness; strength and direction of streaks at two scales.
    """
    ps1, ps2, fh1 = points
    length = max(float(np.linalg.norm(ps2 - ps1)), _LEAST_LENGTH)
    return {
        "symphysis": _sample(maps, (ps1 + ps2) / 2, ps2 - ps1, length, "symphysis"),
        "head": _sample(maps, fh1, fh1 - ps1, 1.0, "head"),
    }


def rims(maps: np.ndarray, points: np.ndarray, outlines: Mapping[str, np.ndarray]) -> dict[Structure, np.ndarray]:
    """A vector for each structure that is outlined: brightness and roughness to both sides of its outline.

    A network outlines what it does not see where all around it tells that it must be there. The picture shows no rim
    there. It is followed from PS1 or FH1 on; outlines (m, 2) are on the square picture.
    """
    told: dict[Structure, np.ndarray] = {}
    for name, (count, distances) in _ALONG.items():
        if (outline := outlines.get(OUTLINE_OF[name])) is not None:
            places, outward = outline_normals(outline, points[POINTS_OF[name]][0], count)
            nodes = places[:, None] + np.array(distances)[:, None] * outward[:, None]
            told[name] = _values(maps[:_PLAIN], nodes).ravel().astype(np.float64)
    return told


def dark_share(square: np.ndarray, points: np.ndarray) -> float:
    """Share of the symphysis' grid that lies outside the picture or where there is no ultrasound, in [0, 1]."""
    ps1, ps2, _ = points
    length = max(float(np.linalg.norm(ps2 - ps1)), _LEAST_LENGTH)
    places = _places((ps1 + ps2) / 2, _axis(ps2 - ps1), length, "symphysis")
    mean = np.zeros(square.shape, np.float32)
    around = _around(places, mean.shape)
    if mean[around].size:
        mean[around] = cv2.GaussianBlur(square[around].astype(np.float32), (0, 0), _BLUR)
    levels = cv2.remap(mean, *_as_maps(places), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return float((levels < _DARK).mean())


def _maps(square: np.ndarray) -> np.ndarray:
    """Eleven maps (11, H, W) at half size."""
    half = cv2.resize(square, (_HALF, _HALF), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = [half, *(_blur(half, scale) for scale in (1, 2, 4, 8))]
    base = blurred[4] + 4
    maps = [np.log(blurred[4] + 2)]
    for fine, coarse in pairwise(blurred):
        maps.append(0.5 * np.log(_blur(((fine - coarse) / base) ** 2, 2.5) + 1e-4))
    for scale, source in ((1.5, blurred[1]), (4.0, blurred[2])):
        along_x = cv2.Sobel(source, cv2.CV_32F, 1, 0) / base
        along_y = cv2.Sobel(source, cv2.CV_32F, 0, 1) / base
        xx, yy, xy = (_blur(product, scale) for product in (along_x**2, along_y**2, along_x * along_y))
        # The structure tensor's double-angle form; the constant keeps flat places at 0.
        energy = xx + yy + 0.003
        maps += [np.sqrt((xx - yy) ** 2 + 4 * xy**2) / energy, (xx - yy) / energy, 2 * xy / energy]
    return np.stack(maps)


def _blur(picture: np.ndarray, scale: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), scale))


def _sample(maps: np.ndarray, origin: np.ndarray, along: np.ndarray, unit: float, structure: Structure) -> np.ndarray:
    axis = _axis(along)
    values = _values(maps, _places(origin, axis, unit, structure))
    cosine, sine = axis[0] ** 2 - axis[1] ** 2, 2 * axis[0] * axis[1]
    for k in _ORIENTED:
        values[k], values[k + 1] = (
            cosine * values[k] + sine * values[k + 1],
            cosine * values[k + 1] - sine * values[k],
        )
    return values.ravel().astype(np.float64)


def _values(maps: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of each map its values at places (rows, columns, 2) of the square, the first against their mean."""
    at = _as_maps((places - 0.5) / 2)
    values = np.stack([cv2.remap(one, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in maps])
    values[0] -= values[0].mean()
    return values


def _axis(along: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(along))
    return along / length if length > 0 else np.array([1.0, 0.0])


def _places(origin: np.ndarray, axis: np.ndarray, unit: float, structure: Structure) -> np.ndarray:
    """Nodes of a grid, (rows, columns, 2)."""
    columns, rows, wide, high = _GRIDS[structure]
    u, v = np.meshgrid(np.linspace(-wide, wide, columns), np.linspace(-high, high, rows))
    across = np.array([-axis[1], axis[0]])
    return np.asarray(origin + unit * (u[..., None] * axis + v[..., None] * across))


def _around(places: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of a picture of which a blur at nodes (rows, columns, 2) is made, rows and columns.

    Columns begin and end at multiples of 16, so that each is rounded as it is in the whole picture.
    """
    reach = math.ceil(4 * _BLUR) + 1
    (left, top), (right, bottom) = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    ends = [(top - reach, bottom + reach + 2), ((left - reach) // 16 * 16, (right + reach + 17) // 16 * 16)]
    rows, columns = (
        slice(*(min(max(math.floor(end), 0), length) for end in pair)) for pair, length in zip(ends, shape, strict=True)
    )
    return rows, columns


def _as_maps(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return places[..., 0].astype(np.float32), places[..., 1].astype(np.float32)


POINTS_OF: dict[Structure, slice] = {"symphysis": slice(0, 2), "head": slice(2, 3)}
"""Positions of the points of each structure among PS1, PS2, FH1."""
SIGNALS = (
    "symphysis", "head",
    "symphysis_score", "head_score", "second_symphysis_score", "second_head_score",
    "symphysis_sharpness", "head_sharpness", "second_symphysis_sharpness", "second_head_sharpness",
    "symphysis_steadiness", "head_steadiness", "symphysis_outline", "head_outline",
    "symphysis_rim", "head_rim", "shape", "dark",
)  # fmt: skip
"""In this order wherever signals stand in an array; of each the higher, the better, but for ``dark``."""
_LATER = (("symphysis_rim", "head_rim"), ("symphysis_outline", "head_outline"))
"""Signals that came later, the latest first: older gates are without."""
_NO_RIM = -1.0
"""That of a structure that is not outlined: what the rim of one that is not there is fitted to."""
OUTLINE_OF: dict[Structure, str] = {"symphysis": "PS", "head": "FH"}


@attrs.frozen(eq=False)
class Evidence:
    """Of one frame, before anything learned is asked. Lengths are pixels of the square of ``SIDE``."""

    appearance: dict[Structure, np.ndarray]
    shape: np.ndarray
    """(6,): PS2 and FH1 seen from PS1, and the logarithms of their distances."""
    passes: tuple[Prediction, Prediction]
    moved: np.ndarray
    """(3,) distance between the two looks' places of each point."""
    dark: float
    areas: dict[Structure, float] = attrs.field(factory=dict)
    """Square pixels of ``SIDE`` that both looks outline at least; empty of a network without outlines."""
    rims: dict[Structure, np.ndarray] = attrs.field(factory=dict)
    """Of the structures that the first look outlines."""

    def of_passes(self) -> list[float]:
        """The signals ``SIGNALS[2:14]``: of each structure that of its worst point, and of its outline."""
        told: list[float] = []
        for one in self.passes:
            told += [logit(float(one.found.scores[part].min())) for part in POINTS_OF.values()]
        for one in self.passes:
            told += [sharpness(None if one.spread is None else one.spread[part]) for part in POINTS_OF.values()]
        told += [steadiness(float(self.moved[part].max())) for part in POINTS_OF.values()]
        return told + [extent(self.areas[name] / SIDE**2 if self.areas else None) for name in STRUCTURES]


def gather(pixels: np.ndarray, first: Prediction, second: Prediction) -> Evidence:
    """Evidence on a gray picture (H, W) uint8 with PS1, PS2, FH1 found twice; all points finite."""
    square, box = fit(pixels, SIDE)
    points, again = box.forward(first.found.coords), box.forward(second.found.coords)
    maps = _maps(square)
    rays = points[1:] - points[0]
    lengths = np.maximum(np.linalg.norm(rays, axis=1), 1.0)
    return Evidence(
        appearance=appearances(maps, points),
        shape=np.concatenate([rays.ravel() / SIDE, np.log(lengths / SIDE)]),
        passes=(first, second),
        moved=np.linalg.norm(points - again, axis=1),
        dark=dark_share(square, points),
        areas=outlined_areas(pixels.shape, first, second),
        rims=rims(maps, points, {name: box.forward(outline) for name, outline in (first.outlines or {}).items()}),
    )


def outlined_areas(shape: tuple[int, ...], first: Prediction, second: Prediction) -> dict[Structure, float]:
    """Square pixels of ``SIDE`` inside the outline of each structure, the lesser of two looks at a picture (H, W)."""
    if first.outlines is None or second.outlines is None:
        return {}
    unit = (SIDE / max(shape)) ** 2
    return {
        name: min(_area(one.outlines or {}, OUTLINE_OF[name]) * unit for one in (first, second)) for name in STRUCTURES
    }


def _area(outlines: Mapping[str, np.ndarray], name: str) -> float:
    return float(cv2.contourArea(outlines[name].astype(np.float32))) if name in outlines else 0.0


_SAYS = {
    "symphysis": "one structure missing: no symphysis is seen where PS1 and PS2 lie",
    "head": "one structure missing: no fetal head is seen where FH1 lies",
    "symphysis_score": "no symphysis found with confidence",
    "head_score": "no fetal head found with confidence",
    "second_symphysis_score": "disagreement between passes: the symphysis is not found again on a second look",
    "second_head_score": "disagreement between passes: the fetal head is not found again on a second look",
    "symphysis_sharpness": "no symphysis found with confidence: PS1 or PS2 may lie in several places",
    "head_sharpness": "no fetal head found with confidence: FH1 may lie in several places",
    "second_symphysis_sharpness": "no symphysis found with confidence: on a second look it may lie in several places",
    "second_head_sharpness": "no fetal head found with confidence: on a second look FH1 may lie in several places",
    "symphysis_steadiness": "disagreement between passes: a second look finds PS1 or PS2 elsewhere",
    "head_steadiness": "disagreement between passes: a second look finds FH1 elsewhere",
    "symphysis_outline": "one structure missing: no symphysis can be outlined",
    "head_outline": "one structure missing: no fetal head can be outlined",
    "symphysis_rim": "one structure missing: the picture shows no edge where a symphysis is outlined",
    "head_rim": "one structure missing: the picture shows no edge where a fetal head is outlined",
    "shape": "implausible geometry: the three points lie as they do in no known frame",
    "dark": "the sector is cut at the symphysis",
}
FARTHEST = 20.0
"""Standard deviations beyond which a signal says no more."""
KNOTS = (0.0, -1.0, -2.0)
"""Standard deviations below which a signal has a further coefficient.

One that is as in most frames says little, whether more or less so; one far below them says much. With one coefficient
a signal, a structure that is plainly seen makes up for another that is not there.
"""
_NEITHER = "not the standard plane: neither symphysis nor head is seen where the points lie"


@attrs.frozen
class Verdict:
    """The answer of a gate: a number may be given, or the reason it may not."""

    trust: float
    """In [0, 1]."""
    reason: str
    """Empty where it may."""


class Linear(BaseModel):
    """A weighted sum of an appearance vector."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    weights: list[float]
    offset: float

    def of(self, vector: np.ndarray) -> float:
        return float(vector @ self._weights) + self.offset

    @cached_property
    def _weights(self) -> np.ndarray:
        return np.array(self.weights)


class Gate(BaseModel):
    """Logistic regression on standardised signals, each bent at ``KNOTS``; ``trust`` below ``threshold`` withholds."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    appearance: dict[Structure, Linear]
    rim: dict[Structure, Linear] = Field(default_factory=dict)
    """Empty where no outline took part in the fit."""
    shape_mean: list[float]
    shape_precision: list[list[float]]
    """Inverse covariance of the shape vectors of frames that may be measured."""
    means: dict[str, float]
    """Of each signal over frames that may be measured."""
    scales: dict[str, float]
    coefficients: dict[str, list[float]]
    """Of each signal: along its whole range, and added below each of ``KNOTS``."""
    intercept: float
    threshold: float = Field(ge=0, le=1)
    risk: float = Field(gt=0, lt=1)
    """Share of frames of the fitted kinds that get through, as measured by cross-validation; each kind counts alike."""
    fitted: dict[str, Any]
    """On what, and how it did; for people."""

    @model_validator(mode="after")
    def _check_names(self) -> Gate:
        known = [set(SIGNALS)]
        for later in _LATER:
            known.append(known[-1] - set(later))
        for name in ("means", "scales", "coefficients"):
            if set(getattr(self, name)) not in known:
                raise ValueError(f"{name}: expected {', '.join(SIGNALS)}, found {', '.join(getattr(self, name))}")
        if not set(self.means) == set(self.scales) == set(self.coefficients):
            raise ValueError("coefficients: expected those of the signals of means and scales")
        for name, values in self.coefficients.items():
            if len(values) != 1 + len(KNOTS):
                raise ValueError(f"coefficients: expected {1 + len(KNOTS)} of {name}, found {len(values)}")
        if set(self.appearance) != set(STRUCTURES):
            raise ValueError(f"appearance: expected {', '.join(STRUCTURES)}, found {', '.join(self.appearance)}")
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """All but the appearance."""
        return {"threshold": self.threshold, "risk": self.risk, "coefficients": self.coefficients, **self.fitted}

    def signals(self, evidence: Evidence) -> np.ndarray:
        """In the order of ``SIGNALS``."""
        shape = plausibility(evidence.shape, self.shape_mean, self.shape_precision)
        return signals_of(evidence, self.appearance, self.rim, shape)

    def judge(self, evidence: Evidence) -> Verdict:
        """The score of a frame, and where it is too low the signal that speaks most against it."""
        values = dict(zip(SIGNALS, self.signals(evidence).tolist(), strict=True))
        standard = [self._standard(name, values[name]) for name in self._names]
        # Each by itself: a product of all at a time would round otherwise.
        parts = {
            name: float(row @ coefficients)
            for name, row, coefficients in zip(self._names, bent(np.array(standard)), self._coefficients, strict=True)
        }
        trust = sigmoid(self.intercept + sum(parts.values()))
        if trust >= self.threshold:
            return Verdict(trust, "")
        worst = min(parts, key=lambda name: parts[name])
        appear = [parts[name] for name in STRUCTURES]
        says = _NEITHER if worst in STRUCTURES and max(appear) < 0.5 * min(appear) else _SAYS[worst]
        return Verdict(trust, f"withheld: {says} (trust {trust:.3f}, needed {self.threshold:.3f})")

    @cached_property
    def _names(self) -> list[str]:
        """Of the signals that this gate was fitted on, in the order of ``SIGNALS``."""
        return [name for name in SIGNALS if name in self.coefficients]

    @cached_property
    def _coefficients(self) -> np.ndarray:
        """Of each of ``_names`` a row."""
        return np.array([self.coefficients[name] for name in self._names])

    def _standard(self, name: str, value: float) -> float:
        return min(max((value - self.means[name]) / self.scales[name], -FARTHEST), FARTHEST)


def bent(standard: float | np.ndarray) -> np.ndarray:
    """A standardised signal (...) and how far it is below each of ``KNOTS``, as columns (..., 4)."""
    return np.stack([np.asarray(standard), *(np.minimum(np.asarray(standard) - knot, 0) for knot in KNOTS)], axis=-1)


def signals_of(
    evidence: Evidence, appearance: Mapping[Structure, Linear], rim: Mapping[Structure, Linear], shape: float
) -> np.ndarray:
    """The signals of a frame, in the order of ``SIGNALS``, once its shape is told as a number."""
    seen = [appearance[name].of(evidence.appearance[name]) for name in STRUCTURES]
    edges = [_edge(evidence, rim, name) for name in STRUCTURES]
    return np.array([*seen, *evidence.of_passes(), *edges, shape, evidence.dark])


def _edge(evidence: Evidence, rim: Mapping[Structure, Linear], name: Structure) -> float:
    """The rim along an outline as a number; 0 where there are no outlines, so that nothing is learned from it."""
    if name not in rim or not evidence.areas:
        return 0.0
    return rim[name].of(evidence.rims[name]) if name in evidence.rims else _NO_RIM


def plausibility(shape: np.ndarray, mean: object, precision: object) -> float:
    """-log(1 + Mahalanobis distance squared)."""
    gap = np.asarray(shape) - np.asarray(mean)
    return -math.log1p(max(0.0, float(gap @ np.asarray(precision) @ gap)))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -500.0), 500.0)))


LARGEST_MM = 1000.0
"""Longest side of a volume; one that states more states it in other units."""


class VolumeGate(BaseModel):
    """Least peaks of the maps of a volume, and distances of its points: what is not so is withheld."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    least: dict[str, float]
    """Point -> the peak of its map below which it is not believed."""
    together: float = Field(default=0.0, ge=0)
    """Least geometric mean of these peaks (``mean_peak``): a volume without the structure may have each of them, not
    all."""
    within_mm: list[tuple[str, str, float, float]] = Field(default_factory=list)
    """Pairs of points, their least and their greatest distance."""
    clear_mm: dict[str, float] = Field(default_factory=dict)
    """Point -> its least distance from the edge of the volume: nearer to it what the point is the middle of is cut. The
    place opposite of it, beyond the other points, has the same: what is cut off there would be seen on this side."""
    rival: float = Field(default=1.0, ge=0)
    """Share of the score from which another place makes a measurement ambiguous (``Prediction.rival``)."""
    risk: float = Field(gt=0, lt=1)
    """Share of volumes that show something else of which a number is given, as measured."""
    fitted: dict[str, Any]
    """On what, and how it did; for people."""

    @property
    def facts(self) -> dict[str, Any]:
        return self.model_dump(exclude={"fitted"}) | self.fitted

    def unfit(self, volume: Volume) -> str:
        """Why a volume cannot show points that lie ``within_mm`` of each other; empty where it can.

        A spacing that is wrong by ten is told here, before the network has looked.
        """
        sides, voxel = np.array(volume.shape) * volume.spacing, float(volume.spacing.max())
        least = min((low for _, _, low, _ in self.within_mm), default=math.inf)
        most = max((high for _, _, _, high in self.within_mm), default=0.0)
        size, voxels = (" x ".join(f"{side:.4g}" for side in some) for some in (sides, volume.spacing))
        if voxel > least:
            why = f"voxels of {voxels} mm are coarser than the distance of two points may be ({least:.0f} mm)"
        elif sides.max() < most:
            why = f"the whole volume is {size} mm, smaller than the distance of two points may be ({most:.0f} mm)"
        elif sides.max() > LARGEST_MM:
            why = f"the whole volume is {size} mm, larger than any scan"
        else:
            return ""
        return f"withheld: {why}; check the spacing that its file states"

    def judge(self, found: Prediction, volume: Volume) -> str:
        """Why no number may be given of points in a volume, empty where it may."""
        keypoints = found.found
        if why := self._unsure(keypoints, volume):
            return why
        for name, least in self.clear_mm.items():
            middle = keypoints.schema.index(name)
            both = np.stack([keypoints.coords[middle], opposite(keypoints.coords, middle)])
            for room, words in zip(volume.edges_mm(both), ("lies", "or what may be it lies"), strict=True):
                if room < least:
                    said = f"{name.replace('_', ' ')} {words} {math.floor(room)} mm from the edge of the volume"
                    return f"withheld: {said}, {least:.0f} are needed; take a volume that shows all of it"
        # What would be measured if it were alone is a second one, however much surer the first is.
        if found.rival >= self.rival or (found.beside is not None and not self._unsure(found.beside, volume)):
            said = f"two places look alike (the second scores {found.rival:.2f} of the first)"
            return f"withheld: {said}; look at the pictures and cut the volume to one"
        return ""

    def _unsure(self, keypoints: Keypoints, volume: Volume) -> str:
        """Why points are not believed, wherever they lie; empty where they are."""
        points_mm, check = volume.to_mm(keypoints.coords), "check that the volume shows all of it, and its spacing"
        for name, least in self.least.items():
            score = float(keypoints.scores[keypoints.schema.index(name)])
            if not score >= least:
                said = f"{name.replace('_', ' ')} not found with confidence ({score:.3f}, needed {least:.3f})"
                return f"withheld: {said}; {check}"
        mean = mean_peak(keypoints.scores[list(keypoints.schema.indices(tuple(self.least)))])
        if not mean >= self.together:
            names = ", ".join(name.replace("_", " ") for name in self.least)
            said = f"{names} not found with confidence together ({mean:.3f}, needed {self.together:.3f})"
            return f"withheld: {said}; {check}"
        for one, other, low, high in self.within_mm:
            far = float(np.linalg.norm(np.diff(points_mm[list(keypoints.schema.indices((one, other)))], axis=0)))
            if not low <= far <= high:
                return (
                    f"withheld: implausible geometry: {one.replace('_', ' ')} and {other.replace('_', ' ')} lie "
                    f"{far:.0f} mm apart, in no known volume less than {low:.0f} or more than {high:.0f}"
                )
        return ""


def mean_peak(peaks: np.ndarray) -> float:
    """Geometric mean of the peaks (n,) of several points."""
    return float(np.exp(np.log(np.maximum(peaks, 1e-9)).mean()))
