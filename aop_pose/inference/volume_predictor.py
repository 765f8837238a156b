"""One artefact (ONNX plus its contract) -> points in volumes. Needs onnxruntime only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import attrs
import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schema import Schema
from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.geometry import first_is_left
from aop_pose.inference.decode import decode, peaks
from aop_pose.inference.engine import Engine, Network
from aop_pose.inference.grid import (
    Placement,
    PlacePrior,
    Sides,
    Turn,
    brightest,
    levelled,
    normalised,
    place,
    resample,
    turned_maps,
    turns_of,
    window_weights,
    windows,
)
from aop_pose.inference.predictor import (
    LICENCE,
    METADATA_KEY,
    AnyContract,
    Opened,
    Predictor,
    read_contract,
    shape_of_answer,
)
from aop_pose.inference.stages import FARTHEST_MM, Finer, Found, StageContract, places_of, read_units
from aop_pose.trust.gate import VolumeGate
from aop_pose.trust.intervals import Calibration

SEEN_FROM = FETUS.indices(("cranial_crest", "nasal_bone", "hind_neck"))
"""Points 1, 4 and 6 of the paper, whose plane tells left from right."""


def sides_order(points: np.ndarray, pairs: Sequence[tuple[Sequence[int], Sequence[int]]] = FETUS.sides) -> list[int]:
    """The order in which the points stand where each pair of sides is named by equation 7 on its first points.

    A side moves as a whole: its points belong together, whichever side it is (section 3.2).

    Args:
        points: (22, 3), x, y, z in mm, right-handed. Where one that is needed is missing the names stay.
        pairs: positions of the left and of the right points of each pair.
    """
    order = list(range(len(points)))
    for left, right in pairs:
        here = _needed(points, left, right)
        if not np.isnan(here).any() and not first_is_left(*here):
            for one, other in zip(left, right, strict=True):
                order[one], order[other] = other, one
    return order


def sides_unknown(points: np.ndarray, pairs: Sequence[tuple[Sequence[int], Sequence[int]]] = FETUS.sides) -> list[int]:
    """Positions of the points whose side equation 7 cannot tell, because one that it needs is missing."""
    unknown = [(*left, *right) for left, right in pairs if np.isnan(_needed(points, left, right)).any()]
    return [index for side in unknown for index in side]


def _needed(points: np.ndarray, left: Sequence[int], right: Sequence[int]) -> np.ndarray:
    return points[[*SEEN_FROM, left[0], right[0]]]


HEAD = "volume-heatmap"
MOST_CANDIDATES = 8
PLACES_APART = 0.3
"""Of the side of the second look's input: nearer places of the first look are one."""


class VolumeContract(AnyContract):
    """The contract of a network that finds points in volumes: all that is needed to use it."""

    dimensions = 3

    head: Literal["volume-heatmap"] = "volume-heatmap"
    """An input (1, 1, *size) of gray in [0, 1] gives (1, n, *size): a map a point, whose peak is 1 where the network
    is as sure as it was taught to be."""
    size: tuple[int, int, int]
    """Voxels of the input along i, j, k."""
    voxel_mm: float | None = Field(default=None, gt=0)
    """Edge of its cubic voxels; None = as small as the whole volume fits with (``grid.place``)."""
    aim: Literal["middle", "brightness"] = "middle"
    """The part of the volume that comes into the middle of the input; ``brightness``: ``grid.brightest``, and what lies
    beyond the input then is cut off."""
    mode: Literal["whole", "patch"] = "whole"
    """``patch``: the input is a window; windows cover the volume and their maps are averaged."""
    overlap: float = Field(default=0.5, ge=0, lt=1)
    handedness: Literal["right; the third axis turned over where the file's is left"] = (
        "right; the third axis turned over where the file's is left"
    )
    padding: Literal[0] = 0
    """Gray around the volume, which lies in the middle."""
    normalisation: Literal["percentiles 1 and 99.5 to 0 and 1"] = "percentiles 1 and 99.5 to 0 and 1"
    level_mm: float | None = Field(default=None, gt=0)
    """Standard deviation of the Gaussian over which gray is levelled (``grid.levelled``); None = it is not."""
    sigma: float = Field(gt=0)
    """Of the maps that were taught, in voxels of the input."""
    threshold: float = Field(ge=0, le=1)
    """Below this peak a point counts as not found."""
    decode: Literal["argmax", "soft-argmax", "subpixel"]
    """See ``inference.decode.decode``."""
    sides: Literal["learned", "equation 7", "unknown"] = "learned"
    """Source of the names left and right: the network, the rule of ``sides_order``, or nobody."""
    turns: Literal[1, 24] = 1
    """24: the maps are the mean of those of the input in each right-angled turn that keeps its shape
    (``grid.turns_of``), which takes as many times as long."""
    looks: Literal[1, 2] = 1
    """2: the network looks again, with the mean of the points that it found in the middle of its input."""
    places: PlacePrior | None = None
    """By which the maps are weighed before they are read (``grid.PlacePrior``)."""
    maps: tuple[tuple[str, ...], ...] | None = None
    """The points that each map shows: one, or two that are not told apart; None = each point of the schema has one."""
    apart_mm: tuple[float, float] = (0.0, FARTHEST_MM)
    """Least and greatest distance of two points that one map shows."""
    away_mm: tuple[float, float] = (0.0, FARTHEST_MM)
    """Likewise from the point that their look is around."""
    candidates: int = Field(default=1, ge=1, le=MOST_CANDIDATES)
    """Places of the first look at which the second one looks; the one with the surest answer counts."""
    search_mm: float | None = Field(default=None, gt=0)
    """Distance of places all over the volume at which the second look is taken besides, once each; as many of the
    surest are candidates too. None = at those of the first look alone."""
    stages: tuple[StageContract, ...] = ()
    """Finer looks after the first: the same file holds their networks. A point is where the last look that has it found
    it."""
    stride: int = Field(default=1, ge=1)
    """Voxels of the input that the deepest level of the network makes one of."""
    training_run: dict[str, Any]
    calibration: Calibration | None = None
    """Conformal intervals; None = not calibrated, so no interval is printed."""
    gate: VolumeGate | None = None
    """The rule by which numbers are withheld; None = nothing beyond ``threshold`` is asked."""
    licence: str = LICENCE

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        names = self.schema_of_points.points
        before = {name for unit in self.units for name in unit}
        for unit in (*self.units, *(unit for stage in self.stages for unit in stage.maps)):
            if len(unit) not in (1, 2) or set(unit) - set(names):
                raise ValueError(f"maps: expected one or two of {', '.join(names)} each, found {list(unit)}")
        for stage in self.stages:
            if stage.around not in before:
                raise ValueError(f"stages: expected around a point that was found before, found {stage.around!r}")
            before |= {name for unit in stage.maps for name in unit}
        if set(names) - before:
            raise ValueError(f"maps: expected every point, found none of {', '.join(sorted(set(names) - before))}")
        return self

    @property
    def units(self) -> tuple[tuple[str, ...], ...]:
        """The points of each map of the first look."""
        return tuple((name,) for name in self.schema_of_points.points) if self.maps is None else self.maps


@attrs.frozen(eq=False)
class VolumeMaps:
    """The network's maps of one volume, (n, i, j, k), in its grid."""

    maps: np.ndarray
    placement: Placement
    note: str = ""
    """A remark for a reader of the points."""


@attrs.frozen(eq=False)
class VolumePredictor:
    """A network and its contract. ``model_id`` is what the ``model`` column of a table says."""

    contract: VolumeContract
    network: Network
    """Maps inputs (1, 1, *size) float32 to maps (1, n, *size)."""
    model_id: str
    sha256: str = ""
    """Of the artefact file; "" for a network that comes from a run folder or a checkpoint."""
    engine: Engine = Engine()  # noqa: RUF009  # frozen

    @property
    def schema(self) -> Schema:
        return self.contract.schema_of_points

    @property
    def further_facts(self) -> dict[str, Any]:
        """Facts of the run beside the contract, for its results file."""
        return {"turns": len(self.turns)} if self.contract.turns > 1 else {}

    @property
    def turns(self) -> list[Turn]:
        """In which the network sees each input."""
        return turns_of(self.contract.size, self.contract.turns)

    @property
    def unsided(self) -> Sides:
        """Pairs of sides that the network was not taught to name."""
        return self.schema.sides if self.contract.sides != "learned" else ()

    def find(self, volume: Volume) -> Prediction:
        """Points in a volume of any size and spacing, in its voxel indices."""
        maps = self.maps(volume)
        if maps is None:
            return Prediction(None, 0.0, "nothing to see: the whole volume has one value")
        return self.finer(maps, volume) if self.contract.stages else self.read(maps, volume)

    def finer(self, first: VolumeMaps, volume: Volume) -> Prediction:
        """The points of the looks after the first, each around what the one before found."""
        contract, names, plain = self.contract, self.schema.points, normalised(volume.voxels)
        assert plain is not None
        gray = levelled(plain, volume.spacing, contract.level_mm)
        found = self._read(first)
        rival, beside = 0.0, None
        for number, stage in enumerate(contract.stages, start=1):
            answer = partial(self._answer, stage=number)
            look = Finer(stage, names, contract.decode, contract.apart_mm, contract.away_mm, answer)
            places = [found.points[names.index(stage.around)]]
            if number == 1:
                unit = next(i for i, unit in enumerate(contract.units) if stage.around in unit)
                apart = min(stage.size) * stage.voxel_mm * PLACES_APART
                places = places_of(first.maps, unit, first.placement, contract.candidates, apart)
                if contract.search_mm is not None:
                    places += look.search(volume, gray, plain, contract.search_mm, contract.candidates)
            if not places or not np.isfinite(places).all():
                break
            seen, other, second = look.choose(volume, gray, places)
            rival = max(rival, other)
            if second is not None:
                beside = Keypoints(self.schema, second.points, second.scores)
            new = look.indices
            found.points[new], found.scores[new] = seen.points[new], seen.scores[new]
        return attrs.evolve(self._prediction(found, first, volume), rival=rival, beside=beside)

    def _answer(self, inputs: np.ndarray, stage: int) -> np.ndarray:
        return self.network(inputs, stage)  # type: ignore[call-arg]

    def _read(self, maps: VolumeMaps) -> Found:
        contract = self.contract
        return read_units(
            maps.maps, contract.units, self.schema.points, contract.decode, maps.placement, contract.apart_mm
        )

    def maps(self, volume: Volume) -> VolumeMaps | None:
        """The network's maps of a volume, weighed by place; None for one that has the same value everywhere."""
        gray = normalised(volume.voxels)
        if gray is None:
            return None
        first = self.place(volume, gray)
        gray = levelled(gray, volume.spacing, self.contract.level_mm)
        found = self._weighed(gray, first, first)
        for _ in range(1, self.contract.looks):
            points = self._read(found).points
            points = points[np.isfinite(points).all(axis=1)]
            if len(points):
                found = self._weighed(gray, self._around(volume, points.mean(axis=0), first.voxel_mm), first)
        return found

    def _weighed(self, gray: np.ndarray, placement: Placement, first: Placement) -> VolumeMaps:
        """The maps in one placement, weighed by places that are counted from the middle of the first."""
        found = self.answer(resample(gray, placement), placement)
        if self.contract.places is None:
            return found
        middle = placement.forward(first.backward((np.array(first.size) - 1) / 2))
        return attrs.evolve(found, maps=self.contract.places.weigh(found.maps, placement.voxel_mm, middle))

    def answer(self, values: np.ndarray, placement: Placement) -> VolumeMaps:
        """The network's maps of a volume in its grid (i, j, k)."""
        whole = self.contract.mode == "whole"
        return VolumeMaps(self._shown(values) if whole else self._windowed(values), placement)

    def _shown(self, values: np.ndarray) -> np.ndarray:
        """Maps (n, *size) of one input (*size)."""
        return turned_maps(self.network, values, self.turns, self.unsided)

    def place(self, volume: Volume, gray: np.ndarray) -> Placement:
        """The placement of a volume in the network's grid; ``gray``: its voxels, ``normalised``."""
        contract = self.contract
        if contract.aim == "brightness":
            return self._around(volume, brightest(gray), contract.voxel_mm)
        if contract.mode == "whole":
            return place(volume.shape, volume.affine, contract.voxel_mm, contract.size)
        bare = place(volume.shape, volume.affine, contract.voxel_mm, (0, 0, 0))
        return place(volume.shape, volume.affine, contract.voxel_mm, np.maximum(bare.size, contract.size), shrink=False)

    def _around(self, volume: Volume, aim: np.ndarray, voxel_mm: float | None) -> Placement:
        """With a voxel (3,) of the volume in the middle."""
        return place(volume.shape, volume.affine, voxel_mm, self.contract.size, shrink=False, aim=aim)

    def read(self, found: VolumeMaps, volume: Volume) -> Prediction:
        """The points that maps mean, in voxel indices of their volume, their sides named as the contract says."""
        return self._prediction(self._read(found), found, volume)

    def _prediction(self, read: Found, maps: VolumeMaps, volume: Volume) -> Prediction:
        """``maps``: of the first look."""
        points, scores = read.points, np.nan_to_num(read.scores)
        seen = np.isfinite(points).all(axis=1) & (scores >= self.contract.threshold)
        if not seen.any():
            best = float(scores.max())
            return Prediction(
                None,
                best,
                f"no anatomy found (best score {best:.3f}, needed {self.contract.threshold:g}); check what the volume "
                "shows, and its spacing",
            )
        points = np.where(seen[:, None], maps.placement.within(points), np.nan)
        score, unsided = float(scores[seen].min()), []
        if self.contract.sides == "equation 7":
            unsided = [index for index in sides_unknown(volume.to_mm(points)) if seen[index]]
            order = sides_order(volume.to_mm(points))
            points, scores, seen = points[order], scores[order], seen[order]
            points[unsided], scores[unsided] = np.nan, np.nan
        return Prediction(Keypoints(self.schema, points, scores), score, self._said(maps, seen, unsided))

    def _said(self, found: VolumeMaps, seen: np.ndarray, unsided: list[int]) -> str:
        notes = [found.note] if found.note else []
        if missing := [name for name, there in zip(self.schema.points, seen, strict=True) if not there]:
            notes.append(f"not found: {', '.join(missing)}")
        if unsided:
            notes.append(f"left and right not told apart: {', '.join(self.schema.points[index] for index in unsided)}")
        extent, stride = found.placement.extent, self.contract.stride
        if min(*extent, *found.placement.shape) < stride:
            notes.append(
                f"padded: the volume has {'x'.join(map(str, found.placement.shape))} voxels, in the network's grid "
                f"{'x'.join(map(str, extent))} of {found.placement.voxel_mm:.3g} mm; its stride is {stride}"
            )
        return "; ".join(notes)

    def _windowed(self, values: np.ndarray) -> np.ndarray:
        """Maps of a grid larger than the input: windows of it, averaged by how near a voxel is to their middles."""
        weights = window_weights(self.contract.size)
        total = np.zeros((len(self.contract.units), *values.shape), np.float32)
        counted = np.zeros(values.shape, np.float32)
        for window in windows(values.shape, self.contract.size, self.contract.overlap):
            total[(slice(None), *window)] += self._shown(values[window]) * weights
            counted[window] += weights
        return total / counted


def read_maps(maps: np.ndarray, rule: str, placement: Placement | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3), i, j, k in voxels of the grid, NaN without a peak, and scores (n,) of maps (n, i, j, k).

    With a placement only the part of the grid that the volume covers is looked at: what a network sees in the padding
    is no anatomy.
    """
    part, start = maps, np.zeros(3)
    if placement is not None:
        part = maps[(slice(None), *placement.covered)]
        start = np.array([along.start for along in placement.covered])
    # ``inference.decode`` names the last axis of a map first, as pictures do.
    return decode(part, rule, dimensions=3)[:, ::-1] + start, peaks(part, dimensions=3)


AnyPredictor = Predictor | VolumePredictor


def measures_volumes(opened: Opened) -> bool:
    """True for an artefact that finds points in volumes."""
    try:
        contract = json.loads(opened.metadata.get(METADATA_KEY, "null"))
    except json.JSONDecodeError:
        return False
    return isinstance(contract, dict) and contract.get("head") == HEAD


def volume_predictor_of(opened: Opened) -> VolumePredictor:
    """The predictor of an artefact that measures volumes; UsageError where its contract does not fit."""
    contract = read_contract(opened, VolumeContract)
    looks = [(contract.units, contract.size), *((stage.maps, stage.size) for stage in contract.stages)]
    for number, (units, size) in enumerate(looks):
        expected = (1, len(units), *size)
        shape = shape_of_answer(opened, (1, 1, *size), number)
        if shape != expected:
            raise UsageError(
                f"weights: {opened.path}: expected an answer of shape {expected}, found {shape}; export again"
            )
    return VolumePredictor(contract, opened.network, f"{contract.name}@{opened.sha256[:8]}", opened.sha256)
