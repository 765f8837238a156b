"""From a run folder or checkpoint to a predictor: native, or exported."""

from __future__ import annotations

from pathlib import Path

from aop_pose.artefacts import sha256_of
from aop_pose.pipelines.artefact import checkpoint_of, decoded_by, run_facts, write_artefact
from aop_pose.pipelines.config import validate
from aop_pose.pipelines.run import RECORD
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.runtime import Contract, Predictor
from aop_pose.schemas import AOP


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be."""
    from aop_pose.pipelines.isolation import isolate

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
    from aop_pose.pipelines.isolation import isolate

    isolate()
    from aop_pose.pipelines.yolo.network import export_onnx, load_checkpoint

    file, contract = _contract(path)
    contract = decoded_by(contract.model_copy(update={"name": out.stem}), threshold, decode)
    model = load_checkpoint(file)
    return write_artefact(out, contract, lambda part: export_onnx(model, contract.image_size, part), predictor(path))


def _contract(path: Path) -> tuple[Path, Contract]:
    """Checkpoint file and contract of a run folder, of a checkpoint within one, or of a lone checkpoint."""
    file, folder = checkpoint_of(path)
    run = run_facts(folder)
    if run is None:
        config, run = YoloConfig(), {"name": file.name, "note": "a checkpoint without its run folder"}
    else:
        config = validate(YoloConfig, run["config"], str(folder / RECORD))
    return file, Contract(
        name=folder.name if path.is_dir() else file.stem, schema=AOP.name, head="pose", image_size=config.image_size,
        threshold=config.threshold, decode=config.decode, training_run=run,
    )  # fmt: skip
