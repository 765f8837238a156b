"""From a run folder to a contract, and from a native network to an artefact that answers as it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.pipelines.run import RECORD, WEIGHTS, read_record
from aop_pose.runtime import DECODE_RULES, METADATA_KEY, Contract, Predictor, load

TOLERANCE = 0.05
KEPT = (
    "method", "stage", "seed", "data", "start", "started", "git_commit", "versions", "best", "finished", "precision",
)  # fmt: skip
"""What of run.json goes into the contract."""


def checkpoint_of(path: Path) -> tuple[Path, Path]:
    """The checkpoint and the run folder of a run folder, or of a checkpoint within one.

    UsageError where there is no checkpoint; the folder need not hold a run.
    """
    folder = path if path.is_dir() else path.parent.parent
    file = path / WEIGHTS / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"weights: expected a trained checkpoint, found nothing at {file}")
    return file, folder


def run_facts(folder: Path) -> dict[str, Any] | None:
    """What a contract says of its training run; None where the folder holds none."""
    if not (folder / RECORD).is_file():
        return None
    record = read_record(folder)
    run = {"name": folder.name, **{key: record.get(key) for key in KEPT}, "config": record["config"]}
    run["data"] = without_folders(run["data"])
    facts: dict[str, Any] = json.loads(json.dumps(run))
    return facts


def without_folders(value: Any) -> Any:
    """Absolute paths cut to names: an artefact is handed on, and says what it was made from, not where that lay."""
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def decoded_by(contract: Contract, threshold: float | None, decode: str | None) -> Contract:
    """The contract with another threshold or rule where one is given; UsageError where the head has no such rule."""
    rules = DECODE_RULES[contract.head]
    if decode is not None and decode not in rules:
        raise UsageError(f"--decode: expected {' or '.join(rules)} for head {contract.head}, found {decode!r}")
    given = {key: value for key, value in {"threshold": threshold, "decode": decode}.items() if value is not None}
    return contract.model_copy(update=given)


def write_artefact(out: Path, contract: Contract, write_onnx: Callable[[Path], None], native: Predictor) -> Predictor:
    """Write a network with its contract and load it back.

    The file appears under its name only when its answers equal the native network's.

    Args:
        out: the ``.onnx`` file.
        contract: what the artefact will say of itself.
        write_onnx: writes the bare network to the given path.
        native: the network as it was trained, decoded as the artefact will be.

    Raises:
        AopPoseError: the two answer differently.
    """
    import onnx

    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_onnx(part)
        network = onnx.load(part)
        onnx.helper.set_model_props(network, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
        onnx.save(network, part)
        _same_answers(native, load(part), contract)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return load(out)


def _same_answers(native: Predictor, exported: Predictor, contract: Contract) -> None:
    """AopPoseError where the two differ on a fixed noise picture.

    By ``TOLERANCE`` pixels of the input or more where the answer is points, by as much of a map's full height where it
    is maps.
    """
    size = contract.image_size
    noise = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    one, other = native.network(noise), exported.network(noise)
    if contract.head == "pose":
        one, other = one[:, 5:], other[:, 5:]
    gap = float(np.abs(one - other).max())
    if not gap < TOLERANCE:
        what = "maps" if contract.head == "heatmap" else "points (px)"
        raise AopPoseError(f"export: native and exported {what} differ by {gap:.3f}, expected less than {TOLERANCE}")
