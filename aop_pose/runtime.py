"""One artefact (ONNX plus its contract) -> points on frames. Needs onnxruntime only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from aop_pose.decode import decode_pose
from aop_pose.errors import UsageError
from aop_pose.keypoints import Keypoints
from aop_pose.letterbox import Letterbox, fit
from aop_pose.schemas import SCHEMAS, Schema

METADATA_KEY = "aop_pose"


class Contract(BaseModel):
    """What has to be known to use a network: stored as JSON in the artefact's metadata."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    format: Literal[1] = 1
    name: str
    schema_name: str = Field(alias="schema")
    head: Literal["pose"]
    """``pose``: input (B, 1, S, S) gray in [0, 1]; output (B, 5 + 2 n, anchors): box centre, size, score, points."""
    image_size: int = Field(gt=0, le=4096)
    letterbox_value: Literal[114] = 114
    """Gray around the picture: the one ``letterbox.fit`` paints."""
    normalisation: Literal["gray / 255"] = "gray / 255"
    threshold: float = Field(ge=0, le=1)
    """Below this best score a frame counts as showing no anatomy."""
    decode: Literal["best", "weighted"]
    """``best``: the candidate with the highest score. ``weighted``: see ``decode.decode_pose``."""
    training_run: dict[str, Any]
    calibration: dict[str, Any] | None = None
    """Conformal intervals; None = not calibrated, so no interval is printed."""
    licence: str = "AGPL-3.0-or-later"

    @field_validator("schema_name")
    @classmethod
    def _check_schema(cls, name: str) -> str:
        if name not in SCHEMAS:
            raise ValueError(f"expected one of {', '.join(SCHEMAS)}, found {name!r}")
        return name

    @property
    def schema_of_points(self) -> Schema:
        return SCHEMAS[self.schema_name]


@attrs.frozen(eq=False)
class Found:
    """Points on one frame, or None with the reason."""

    keypoints: Keypoints | None
    score: float
    reason: str = ""


class Network(Protocol):
    """Anything that maps inputs (B, 1, S, S) float32 to raw outputs."""

    def __call__(self, inputs: np.ndarray) -> np.ndarray: ...


@attrs.frozen(eq=False)
class Answer:
    """The raw output for one picture, as the contract's head describes it without the batch, and how it was fitted."""

    output: np.ndarray
    box: Letterbox


@attrs.frozen(eq=False)
class Predictor:
    """A network and its contract. ``model_id`` is what the ``model`` column of a table says."""

    contract: Contract
    network: Network
    model_id: str

    @property
    def schema(self) -> Schema:
        return self.contract.schema_of_points

    def find(self, pictures: Sequence[np.ndarray]) -> list[Found]:
        """Points on gray pictures (H, W) uint8 of any sizes, in pixels of each picture."""
        return [self.read(answer) for answer in self.answers(pictures)]

    def answers(self, pictures: Sequence[np.ndarray]) -> list[Answer]:
        """What the network says of gray pictures (H, W) uint8 of any sizes, before it is read as points."""
        if not pictures:
            return []
        fitted = [fit(picture, self.contract.image_size) for picture in pictures]
        inputs = np.stack([pixels for pixels, _ in fitted])[:, None].astype(np.float32) / 255.0
        raw = self.network(inputs)
        return [Answer(output, box) for output, (_, box) in zip(raw, fitted, strict=True)]

    def read(self, answer: Answer) -> Found:
        """The points that an answer means, in pixels of its picture."""
        points, score = decode_pose(answer.output, self.contract.decode)
        if not score >= self.contract.threshold:
            reason = f"no anatomy found (best score {score:.3f}, needed {self.contract.threshold:g})"
            return Found(None, score, reason)
        schema = self.schema
        return Found(Keypoints(schema, answer.box.backward(points), np.full(len(schema.points), score)), score)


def load(path: str | Path, device: str = "cpu", threads: int | None = None) -> Predictor:
    """Load an artefact file.

    Args:
        path: an ``.onnx`` file written by ``aop-pose export``.
        device: ``cpu`` or ``cuda`` (needs an onnxruntime with the CUDA provider).
        threads: threads within one pass; None = all cores this process may use.

    Raises:
        UsageError: the file is absent, corrupt, carries no contract of this project, or answers otherwise than
            its contract says.
    """
    import onnxruntime as ort

    path = Path(path)
    if not path.is_file():
        raise UsageError(f"weights: expected a file, found nothing at {path}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = 4
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"weights: {path} cannot be read: {error.strerror}") from None
    try:
        session = ort.InferenceSession(content, options, providers=_providers(device))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"weights: {path} is not a readable ONNX file ({type(error).__name__}); fetch or export it again"
        ) from None
    contract = _contract(session.get_modelmeta().custom_metadata_map, path)
    input_name = session.get_inputs()[0].name

    def network(inputs: np.ndarray) -> np.ndarray:
        return session.run(None, {input_name: inputs})[0]

    _check_answer(network, contract, path)
    digest = hashlib.sha256(content).hexdigest()
    return Predictor(contract, network, f"{contract.name}@{digest[:8]}")


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _providers(device: str) -> list[str]:
    import onnxruntime as ort

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise UsageError(
            "--device cuda: this onnxruntime has no CUDA provider; install onnxruntime-gpu or use --device cpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _contract(metadata: dict[str, str], path: Path) -> Contract:
    if METADATA_KEY not in metadata:
        raise UsageError(f"weights: {path} is an ONNX file without an aop-pose contract; name one of `aop-pose export`")
    try:
        return Contract.model_validate(json.loads(metadata[METADATA_KEY]))
    except (ValidationError, json.JSONDecodeError) as error:
        raise UsageError(
            f"weights: the contract in {path} does not fit this version ({_first_problem(error)})"
        ) from None


def _first_problem(error: ValidationError | json.JSONDecodeError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def _check_answer(network: Network, contract: Contract, path: Path) -> None:
    """UsageError where a black picture does not get the answer that the contract promises."""
    size, rows = contract.image_size, 5 + 2 * len(contract.schema_of_points.points)
    try:
        shape = network(np.zeros((1, 1, size, size), np.float32)).shape
    except Exception as error:
        raise UsageError(
            f"weights: the network in {path} does not take the (1, 1, {size}, {size}) that its contract says "
            f"({type(error).__name__}); export it again"
        ) from None
    if len(shape) != 3 or shape[:2] != (1, rows) or not shape[2]:
        raise UsageError(
            f"weights: {path}: expected an answer of shape (1, {rows}, candidates) for schema "
            f"{contract.schema_name}, found {shape}; export it again"
        )
