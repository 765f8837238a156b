"""Other engines and precisions than onnxruntime in float32, and how far their points lie from its points."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Prediction
from aop_pose.core.letterbox import fit
from aop_pose.errors import UsageError
from aop_pose.inference.engine import (
    Engine,
    Network,
    in_int8,
    is_installed,
    onnx_network,
    openvino_network,
    read_network,
    usable_cores,
)
from aop_pose.inference.fetch import cache_folder
from aop_pose.inference.predictor import as_inputs
from aop_pose.inference.volume_predictor import AnyPredictor, VolumePredictor
from aop_pose.io.files import replacing
from aop_pose.provenance import installed

Seen = Sequence[np.ndarray]

NEAR = 0.01
"""Pixels, or voxels: an engine whose points lie within it of onnxruntime's may be taken by ``auto``."""
MOST_DEGREES = 1.0
"""An angle that a precision moves by more, on any image, is too much."""
_SAMPLED = 3
"""Rounds of which ``auto`` takes the fastest."""
_CHOICES = "engines.json"
"""In the cache: what ``auto`` chose for an artefact, so that a run that is taken up again has the same engine."""


@attrs.frozen
class Change:
    """The farthest that points and angles lie apart on any image, between two predictors of one contract."""

    images: int
    """On which the first found something."""
    px: float
    """Of any point; voxels in a volume."""
    degrees: float
    """Of any angle; 0 where the schema has none."""
    lost: int
    """Images on which the second found nothing, or not all."""

    @property
    def facts(self) -> dict[str, Any]:
        """For people, and for ``results.json``."""
        return {
            "images": self.images,
            "worst_px": round(self.px, 4),
            "worst_deg": round(self.degrees, 4),
            "lost": self.lost,
        }


def change(before: AnyPredictor, after: AnyPredictor, images: Seen) -> Change:
    """Between two predictors on gray pictures (H, W) uint8, or on volumes (I, J, K) of 1 mm."""
    seen, px, degrees, lost = 0, 0.0, 0.0, 0
    for one, other in zip(_found(before, images), _found(after, images), strict=True):
        if one.keypoints is None:
            continue
        seen += 1
        if other.keypoints is None:
            lost += 1
            continue
        coords, moved = one.keypoints.coords, other.keypoints.coords
        apart = np.linalg.norm(coords - moved, axis=1)
        lost += int((np.isfinite(coords).all(axis=1) & ~np.isfinite(moved).all(axis=1)).any())
        px = max(px, float(np.nanmax(apart, initial=0.0)))
        degrees = max(degrees, _turned(before, coords, moved))
    return Change(seen, px, degrees, lost)


def _turned(predictor: AnyPredictor, coords: np.ndarray, moved: np.ndarray) -> float:
    schema = predictor.schema
    angles = [one for one in schema.quantities if one.unit == "deg"]
    apart = [float(abs(schema.values(one, coords) - schema.values(one, moved))) for one in angles]
    return max((one for one in apart if np.isfinite(one)), default=0.0)


def _found(predictor: AnyPredictor, images: Seen) -> list[Prediction]:
    if isinstance(predictor, VolumePredictor):
        return [predictor.find(Volume(image, np.eye(4), "made")) for image in images]
    return predictor.find(images)


def with_engine(
    plain: AnyPredictor, path: Path, device: str, threads: int | None, engine: str, precision: str, images: Seen
) -> AnyPredictor:
    """The predictor of an artefact in another engine or precision.

    Args:
        plain: of the artefact in onnxruntime, float32.
        path: its file.
        device, threads: as ``weights.load`` takes them.
        engine, precision: as ``engine.check_engine`` lets them through.
        images: gray pictures, or volumes, on which the two are compared; ``auto`` and int8 look at nothing else.

    Raises:
        UsageError: the engine has no such device or precision; or a precision moves an angle by more than
            ``MOST_DEGREES``, or loses an image.
    """
    if isinstance(plain, VolumePredictor) and plain.contract.stages:
        if engine == "auto" or (engine == "onnx" and precision == "f32"):
            return plain
        raise UsageError(
            f"--engine {engine}, --precision {precision}: {plain.model_id} holds several networks, which onnxruntime "
            "runs in f32 alone; leave both out"
        )
    if engine == "auto":
        return _fastest(plain, path, device, threads, images)
    content = read_network(path)
    if precision == "int8":
        if isinstance(plain, VolumePredictor):
            raise UsageError("--precision int8: it is for frames; leave it out for volumes")
        shown = [as_inputs([fit(picture, plain.contract.image_size)[0]]) for picture in images]
        content = in_int8(content, shown)
    if engine == "openvino":
        network: Network = openvino_network(content, _shape(plain), device, threads, precision, _streams(threads))
    else:
        network = onnx_network(content, path, device, threads)[0]
    made = attrs.evolve(plain, network=network, engine=Engine(engine, precision))
    return made if precision == "f32" else _checked(plain, made, images)


def _streams(threads: int | None) -> int:
    """Passes at a time: whoever gives each pass one thread makes several at a time."""
    return usable_cores() if threads == 1 else 1


def _shape(predictor: AnyPredictor) -> tuple[int, ...]:
    if isinstance(predictor, VolumePredictor):
        return (1, 1, *predictor.contract.size)
    size = predictor.contract.image_size
    return (1, 1, size, size)


def _checked(plain: AnyPredictor, made: AnyPredictor, images: Seen) -> AnyPredictor:
    """A predictor of less precision, with what it changes told."""
    found, precision = change(plain, made, images), made.engine.precision
    if not found.images:
        raise UsageError(
            f"--precision {precision}: nothing is found on {len(images)} images, so nobody knows what it moves"
        )
    if found.lost or found.degrees > MOST_DEGREES:
        raise UsageError(
            f"--precision {precision}: of {found.images} images it moves one by {found.degrees:.2f}° and "
            f"{found.px:.2f} px and loses {found.lost}; at most {MOST_DEGREES:g}° and none is allowed: leave it out"
        )
    return attrs.evolve(made, engine=attrs.evolve(made.engine, told={"change against f32": found.facts}))


def _fastest(plain: AnyPredictor, path: Path, device: str, threads: int | None, images: Seen) -> AnyPredictor:
    """The fastest engine that is installed and gives onnxruntime's points; its choice is kept in the cache."""
    if not is_installed("openvino") or device != "cpu":
        why = "openvino is not installed" if device == "cpu" else f"the only engine for {device}"
        return attrs.evolve(plain, engine=Engine(told={"auto": why}))
    versions = installed({"onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "openvino": ("openvino",)})
    machine = (threads, usable_cores(), platform.machine(), platform.processor())
    key = " ".join(map(str, (plain.sha256, *machine, *versions.values())))
    known = _choices()
    about = known.get(key)
    if not (isinstance(about, dict) and about.get("engine") in ("onnx", "openvino")):
        about = _compared(plain, path, device, threads, images)
        _keep({**known, key: about})
    told = Engine(about["engine"], told={"auto": about})
    if about["engine"] == "onnx":
        return attrs.evolve(plain, engine=told)
    return attrs.evolve(with_engine(plain, path, device, threads, "openvino", "f32", images), engine=told)


def _compared(plain: AnyPredictor, path: Path, device: str, threads: int | None, images: Seen) -> dict[str, Any]:
    try:
        other = with_engine(plain, path, device, threads, "openvino", "f32", images)
    except UsageError as error:
        return {"engine": "onnx", "why": str(error)}
    except Exception as error:
        # An operator that it does not know, a processor that it does not run on.
        return {"engine": "onnx", "why": f"OpenVINO does not open it ({type(error).__name__})"}
    # Whatever the score: points are compared, and not whether they are shown.
    moved = change(_lenient(plain), _lenient(other), images)
    agrees = moved.images > 0 and not moved.lost and moved.px <= NEAR
    ours, theirs = (_milliseconds(one, images) for one in (plain, other))
    return {
        "engine": "openvino" if agrees and theirs < ours else "onnx",
        "worst_px": round(moved.px, 5),
        "ms_onnx": round(ours, 2),
        "ms_openvino": round(theirs, 2),
    }


def _lenient(predictor: AnyPredictor) -> AnyPredictor:
    contract: Any = predictor.contract
    return attrs.evolve(predictor, contract=contract.model_copy(update={"threshold": 0.0}))


def _milliseconds(predictor: AnyPredictor, images: Seen) -> float:
    """Of one pass, at its fastest."""
    shown = np.zeros(_shape(predictor), np.float32)
    taken = []
    for _ in range(_SAMPLED * len(images)):
        begin = time.perf_counter()
        predictor.network(shown)
        taken.append(time.perf_counter() - begin)
    return 1000 * min(taken)


def _choices() -> dict[str, Any]:
    try:
        known = json.loads((cache_folder() / _CHOICES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _keep(choices: dict[str, Any]) -> None:
    # Without a cache it is measured each time.
    with suppress(OSError):
        file = cache_folder() / _CHOICES
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            part.write_text(json.dumps(choices, indent=1), encoding="utf-8")
