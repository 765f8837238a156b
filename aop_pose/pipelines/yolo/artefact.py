"""From a run folder or checkpoint to a predictor: native, or exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from aop_pose.artefacts import sha256_of
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.pipelines.config import validate
from aop_pose.pipelines.run import read_record
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.runtime import METADATA_KEY, Contract, Predictor, load
from aop_pose.schemas import AOP


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be."""
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    from aop_pose.pipelines.yolo.network import TorchNetwork, load_checkpoint

    file, contract = _contract(path)
    model = load_checkpoint(file)
    return Predictor(contract, TorchNetwork(model, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """Write a run folder's or checkpoint's network as an artefact and load it back.

    ``threshold`` and ``decode`` take the place of the run's own: neither changes the network. The file appears under
    its name only when its answers equal the native network's.
    """
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    import onnx

    from aop_pose.pipelines.yolo.network import export_onnx, load_checkpoint

    file, contract = _contract(path)
    given = {key: value for key, value in {"threshold": threshold, "decode": decode}.items() if value is not None}
    contract = contract.model_copy(update={"name": out.stem, **given})
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        export_onnx(load_checkpoint(file), contract.image_size, part)
        network = onnx.load(part)
        onnx.helper.set_model_props(network, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
        onnx.save(network, part)
        _same_answers(predictor(path), load(part), contract.image_size)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return load(out)


def _same_answers(native: Predictor, exported: Predictor, size: int, tolerance: float = 0.05) -> None:
    """AopPoseError where the two differ by ``tolerance`` pixels of the input or more, on a fixed noise picture."""
    noise = np.random.default_rng(0).random((1, 1, size, size), dtype=np.float32)
    gap = float(np.abs(native.network(noise)[:, 5:] - exported.network(noise)[:, 5:]).max())
    if not gap < tolerance:
        raise AopPoseError(f"export: native and exported points differ by {gap:.3f} px, expected less than {tolerance}")


def _contract(path: Path) -> tuple[Path, Contract]:
    """Checkpoint file and contract of a run folder, of a checkpoint within one, or of a lone checkpoint."""
    folder = path if path.is_dir() else path.parent.parent
    file = path / "weights" / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"weights: expected a trained checkpoint, found nothing at {file}")
    if (folder / "run.json").is_file():
        record = read_record(folder)
        config = validate(YoloConfig, record["config"], str(folder / "run.json"))
        kept = (
            "method",
            "seed",
            "data",
            "start",
            "started",
            "git_commit",
            "versions",
            "best",
            "finished",
            "precision",
        )
        run = {"name": folder.name, **{key: record.get(key) for key in kept}, "config": record["config"]}
    else:
        config, run = YoloConfig(), {"name": file.name, "note": "a checkpoint without its run folder"}
    return file, Contract(
        name=folder.name if path.is_dir() else file.stem, schema=AOP.name, head="pose", image_size=config.image_size,
        threshold=config.threshold, decode=config.decode, training_run=json.loads(json.dumps(run)),
    )  # fmt: skip
