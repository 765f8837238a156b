"""One artefact (ONNX plus its contract) -> points on frames. Needs onnxruntime only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import attrs
import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.letterbox import Letterbox, fit
from aop_pose.core.schema import SCHEMAS, Schema
from aop_pose.core.stances import STANCES
from aop_pose.errors import UsageError
from aop_pose.geometry import largest_contour
from aop_pose.inference.decode import RULES, decode_pose, read_maps, spreads
from aop_pose.inference.engine import Engine, Network, Precision, onnx_network, read_network
from aop_pose.trust.gate import Gate
from aop_pose.trust.intervals import Calibration

C = TypeVar("C", bound=BaseModel)
METADATA_KEY = "aop_pose"
INSIDE = 0.5
"""Probability above which a pixel belongs to a structure."""
LEAST_CONTOUR = 3
LICENCE = "AGPL-3.0-or-later"
DECODE_RULES = {"pose": ("best", "weighted"), "heatmap": RULES, "coordinates": ("direct",)}
"""Head of a contract -> how its output may be read as points."""


class AnyContract(BaseModel):
    """The contract of any network, all that is needed to use it: stored as JSON in the artefact's metadata."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, defer_build=True)
    dimensions: ClassVar[int]
    """Axes of what its points lie in."""

    format: Literal[1] = 1
    name: str
    schema_name: str = Field(alias="schema")

    @field_validator("schema_name")
    @classmethod
    def _check_schema(cls, name: str) -> str:
        known = [schema.name for schema in SCHEMAS.values() if schema.dimensions == cls.dimensions]
        if name not in known:
            raise ValueError(f"expected one of {', '.join(known)}, found {name!r}")
        return name

    @property
    def schema_of_points(self) -> Schema:
        return SCHEMAS[self.schema_name]


class Contract(AnyContract):
    """The contract of a network that finds points on frames: all that is needed to use it."""

    dimensions = 2

    head: Literal["pose", "heatmap", "coordinates"]
    """The kind of output for an input (B, 1, S, S) of gray in [0, 1].

    ``pose``: (B, 5 + 2 n, anchors): box centre, size, score, points, in pixels of the input.
    ``heatmap``: (B, n, h, h): a map a point, whose peak is 1 where the network is as sure as it was taught to be; then
    the maps of ``outlines`` and ``stances``.
    ``coordinates``: (B, n, 2): x, y of the points in pixels of the input, and nothing that could be a score.
    """
    image_size: int = Field(gt=0, le=4096)
    letterbox_value: Literal[114] = 114
    """Gray around the picture: the one ``core.letterbox.fit`` paints."""
    normalisation: Literal["gray / 255"] = "gray / 255"
    threshold: float = Field(ge=0, le=1)
    """Below this best score a frame counts as showing no anatomy."""
    decode: Literal["best", "weighted", "argmax", "soft-argmax", "subpixel", "direct"]
    """One of ``DECODE_RULES`` of the head: see ``decode_pose`` and ``decode`` of ``inference.decode``."""
    outlines: tuple[Literal["PS", "FH"], ...] = ()
    """Head ``heatmap``: structures whose maps follow those of the points, each pixel the probability to be inside."""
    stances: bool = False
    """Head ``heatmap``: eight last maps, each everywhere the probability that the picture stands so: ``STANCES``."""
    training_run: dict[str, Any]
    calibration: Calibration | None = None
    """Conformal intervals; None = not calibrated, so no interval is printed."""
    calibrated_in: Precision = "f32"
    """The numbers that the network computed in when it was calibrated: in others it has no intervals."""
    gate: Gate | None = None
    """The rule by which numbers are withheld; None = nothing beyond ``threshold`` is asked."""
    licence: str = LICENCE

    @model_validator(mode="after")
    def _check_decode(self) -> Self:
        rules = DECODE_RULES[self.head]
        if self.decode not in rules:
            raise ValueError(f"decode: expected one of {', '.join(rules)} for head {self.head}, found {self.decode!r}")
        if (self.outlines or self.stances) and self.head != "heatmap":
            raise ValueError(f"outlines, stances: expected the head heatmap, found {self.head}")
        return self

    @property
    def maps(self) -> int:
        """Maps of a ``heatmap`` head: of the points, the outlines and the stances."""
        return len(self.schema_of_points.points) + len(self.outlines) + (len(STANCES) if self.stances else 0)


@attrs.frozen(eq=False)
class RawOutput:
    """The raw output for one picture, as the contract's head describes it without the batch, and how it was fitted."""

    output: np.ndarray
    box: Letterbox


@attrs.frozen(eq=False)
class Predictor:
    """A network and its contract. ``model_id`` is what the ``model`` column of a table says."""

    contract: Contract
    network: Network
    model_id: str
    sha256: str = ""
    """Of the artefact file; "" for a network that comes from a run folder or a checkpoint."""
    engine: Engine = Engine()  # noqa: RUF009  # frozen
    one_by_one: bool = False
    """Pictures pass the network one by one, and each is prepared and read while it is in the processor's cache."""

    @property
    def schema(self) -> Schema:
        return self.contract.schema_of_points

    def find(self, pictures: Sequence[np.ndarray]) -> list[Prediction]:
        """Points on gray pictures (H, W) uint8 of any sizes, in pixels of each picture."""
        return [self.read(raw) for raw in self._passed(pictures)]

    def raw_outputs(self, pictures: Sequence[np.ndarray]) -> list[RawOutput]:
        """The network's outputs for gray pictures (H, W) uint8 of any sizes, before they are read as points."""
        return list(self._passed(pictures))

    def _passed(self, pictures: Sequence[np.ndarray]) -> Iterator[RawOutput]:
        together = 1 if self.one_by_one else max(1, len(pictures))
        for begin in range(0, len(pictures), together):
            fitted = [fit(picture, self.contract.image_size) for picture in pictures[begin : begin + together]]
            raw = self.network(as_inputs([pixels for pixels, _ in fitted]))
            yield from (RawOutput(output, box) for output, (_, box) in zip(raw, fitted, strict=True))

    def read(self, raw: RawOutput) -> Prediction:
        """The points of a raw output, in pixels of its picture."""
        contract = self.contract
        points, scores = read_output(raw.output, contract)
        score = float(scores.min())
        stances = raw.output[-len(STANCES) :].mean(axis=(1, 2)) if contract.stances else None
        if not score >= contract.threshold:
            reason = f"no anatomy found (best score {score:.3f}, needed {contract.threshold:g})"
            return Prediction(None, score, reason, stances=stances)
        spread = spreads(raw.output[: len(points)]) if contract.head == "heatmap" else None
        outlines = read_outlines(raw, contract) if contract.outlines else None
        found = Keypoints(self.schema, raw.box.backward(points), scores)
        return Prediction(found, score, spread=spread, outlines=outlines, stances=stances)


def as_inputs(fitted: Sequence[np.ndarray]) -> np.ndarray:
    """Gray pictures (S, S) uint8 as a network takes them: (B, 1, S, S) float32 in [0, 1]."""
    return np.stack(fitted)[:, None].astype(np.float32) / 255.0


def read_outlines(raw: RawOutput, contract: Contract) -> dict[str, np.ndarray]:
    """Structure -> closed contour (m, 2) in pixels of the picture; a structure that is not seen is left out.

    The largest part of the map, brought to the input's size, that is inside with a probability above one half.
    """
    count = len(contract.schema_of_points.points)
    found: dict[str, np.ndarray] = {}
    for name, shares in zip(contract.outlines, raw.output[count:], strict=False):
        size = (contract.image_size, contract.image_size)
        fine = cv2.resize(np.ascontiguousarray(shares, np.float32), size, interpolation=cv2.INTER_LINEAR)
        contour = largest_contour(fine > INSIDE)
        if len(contour) >= LEAST_CONTOUR:
            found[name] = raw.box.backward(contour)
    return found


def read_output(output: np.ndarray, contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2) in pixels of the input and scores (n,) in [0, 1] of one raw output; NaN and 0 where there is none.

    The score of a ``pose`` head is that of its best candidate, of a ``heatmap`` head the peak of each map, of a
    ``coordinates`` head 1.
    """
    schema = contract.schema_of_points
    if contract.head == "heatmap":
        pairs = [(schema.index(first), schema.index(second)) for first, second in schema.interchangeable]
        return read_maps(output[: len(schema.points)], contract.decode, pairs, contract.image_size)
    if contract.head == "coordinates":
        points = output.astype(np.float64)
        return points, np.asarray(np.isfinite(points).all(axis=1), np.float64)
    points, score = decode_pose(output, contract.decode)
    return points, np.full(len(schema.points), score)


@attrs.frozen(eq=False)
class Opened:
    """An ONNX file: the network, and what its metadata says before that is checked."""

    path: Path
    network: Network
    metadata: dict[str, str]
    sha256: str
    one_by_one: bool = True
    """See ``Predictor``."""


def load(path: str | Path, device: str = "cpu", threads: int | None = None) -> Predictor:
    """Load an artefact file in onnxruntime.

    Args:
        path: an ``.onnx`` file written by ``aop-pose export``.
        device: ``cpu`` or ``cuda`` (needs an onnxruntime with the CUDA provider).
        threads: threads within one pass; None = all cores this process may use.

    Raises:
        UsageError: the file is absent, corrupt, carries no contract of this project, or answers otherwise than
            its contract says.
    """
    return predictor_of(open_artefact(path, device, threads))


def open_artefact(path: str | Path, device: str = "cpu", threads: int | None = None) -> Opened:
    """Open an artefact file; UsageError where it is absent or corrupt. Arguments as ``load`` takes them."""
    path = Path(path)
    content = read_network(path)
    network, metadata = onnx_network(content, path, device, threads)
    return Opened(path, network, metadata, hashlib.sha256(content).hexdigest(), device == "cpu")


def predictor_of(opened: Opened) -> Predictor:
    """The predictor of an artefact that measures frames; UsageError where its contract does not fit."""
    contract = read_contract(opened, Contract)
    _check_answer(opened, contract)
    name = f"{contract.name}@{opened.sha256[:8]}"
    return Predictor(contract, opened.network, name, opened.sha256, one_by_one=opened.one_by_one)


def read_contract(opened: Opened, kind: type[C]) -> C:
    """The contract in an artefact's metadata; UsageError where there is none, or none of that kind."""
    path, metadata = opened.path, opened.metadata
    if METADATA_KEY not in metadata:
        raise UsageError(f"weights: {path} is an ONNX file without an aop-pose contract; name one of `aop-pose export`")
    try:
        return kind.model_validate(json.loads(metadata[METADATA_KEY]))
    except (ValidationError, json.JSONDecodeError) as error:
        raise UsageError(
            f"weights: the contract in {path} does not fit this version ({_first_problem(error)})"
        ) from None


def _first_problem(error: ValidationError | json.JSONDecodeError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def shape_of_answer(opened: Opened, shape: tuple[int, ...], stage: int = 0) -> tuple[int, ...]:
    """Shape of what comes out for a black input; UsageError where the network does not take the contract's shape.

    ``stage``: of several networks of a file the one that is asked.
    """
    black = np.zeros(shape, np.float32)
    try:
        answer = opened.network(black, stage) if stage else opened.network(black)  # type: ignore[call-arg]
        return answer.shape
    except Exception as error:
        raise UsageError(
            f"weights: the network in {opened.path} does not take the {shape} that its contract says "
            f"({type(error).__name__}); export it again"
        ) from None


def _check_answer(opened: Opened, contract: Contract) -> None:
    """UsageError where a black picture does not get the answer that the contract promises."""
    size, points = contract.image_size, len(contract.schema_of_points.points)
    shape = shape_of_answer(opened, (1, 1, size, size))
    if contract.head == "heatmap":
        maps = contract.maps
        expected, kept = f"(1, {maps}, h, h)", len(shape) == 4 and shape[:2] == (1, maps) and shape[2] == shape[3]
    elif contract.head == "coordinates":
        expected, kept = f"(1, {points}, 2)", shape == (1, points, 2)
    else:
        expected, kept = f"(1, {5 + 2 * points}, candidates)", len(shape) == 3 and shape[:2] == (1, 5 + 2 * points)
    if not (kept and shape[2]):
        raise UsageError(
            f"weights: {opened.path}: expected an answer of shape {expected} for schema {contract.schema_name}, "
            f"found {shape}; export it again"
        )
