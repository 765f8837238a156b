"""The YOLO pipeline's verbs: pretrain, train, export, predict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.artefacts import sha256_of
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import LabelledFrame, resolve
from aop_pose.formats.split import hold_out, near_duplicate_groups
from aop_pose.io.read import read_frame
from aop_pose.pipelines.config import load_config, validate
from aop_pose.pipelines.run import RunFolder, fingerprint, read_record
from aop_pose.pipelines.yolo.config import PRESETS, YoloConfig
from aop_pose.pipelines.yolo.pretrain import pretrain
from aop_pose.runtime import METADATA_KEY, Contract, Predictor, load
from aop_pose.schemas import AOP

__all__ = ["DEFAULT_PRESET", "PRESETS", "export", "predictor", "pretrain", "train"]

DEFAULT_PRESET = "fast"


def train(
    data: Path,
    labels: str,
    out: Path,
    *,
    val: str | None = None,
    init: str = "auto",
    preset: str = DEFAULT_PRESET,
    changes: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    say: Callable[[str], None] = print,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    on_batch: Callable[[int, int, int, float], None] = lambda epoch, batch, batches, loss: None,
) -> dict[str, Any]:
    """Train a pose network on labelled frames; returns what run.json says.

    Args:
        data: folder with the pictures.
        labels: iugc label file, as given or below ``data``.
        out: run folder.
        val: label file that chooses the best epoch; without it a share of the labelled frames does, in whole groups.
        init: see ``start.find_start``.
        preset, changes: see ``config.load_config``.

    Raises:
        UsageError: labels, settings, start or run folder do not fit; nothing was trained.
        AopPoseError: the run broke off.
    """
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    import torch

    from aop_pose.pipelines.yolo.exact import best_row, precision_of
    from aop_pose.pipelines.yolo.start import find_start, transfer
    from aop_pose.pipelines.yolo.trainer import CHECKED, FrameTrainer

    config = load_config(YoloConfig, PRESETS, preset, changes)
    labelled = read_iugc(resolve(labels, data), data)
    chosen = read_iugc(resolve(val, data), data) if val is not None else None
    training, checking = split_frames(labelled, chosen, config.holdout, seed)
    examples, checks = read_examples(training), read_examples(checking)
    facts = {
        "seed": seed, "schema": AOP.name,
        "data": {
            "labels": labels, "val": val, "frames": len(training), "phantoms": config.phantoms,
            "checked_frames": len(checking),
            "chosen_by": "the last epoch" if not checking else "--val" if val else "held-out groups of the labels",
            "fingerprint": fingerprint(part for example in examples + checks for part in _parts(example)),
        },
    }  # fmt: skip
    run = RunFolder.open(out, "yolo", config, facts, resume)
    start = find_start(init, config.model, out)
    examples = examples + phantom_examples(config, seed)
    moved = transfer(start, config.model)
    say(f"start: {start.words}; {moved[0]} of {moved[1]} tensors transferred")
    say(f"frames: {len(training)} labelled, {config.phantoms} phantoms, {len(checking)} to choose the epoch")
    trainer = FrameTrainer(
        config, examples, checks, out, start=start.model, seed=seed, device=device, resume=resume,
        on_epoch=on_epoch, on_batch=on_batch,
    )  # fmt: skip
    run.save(start=start.words, precision=precision_of(config, device), device=device)
    try:
        trainer.train()
    except RuntimeError as error:
        raise AopPoseError(f"training broke off: {str(error).splitlines()[0]}") from error
    best = best_row(out, CHECKED)
    (out / "weights" / "resume.pt").unlink(missing_ok=True)
    run.finish(tensors_transferred=list(moved), best=best, torch_threads=torch.get_num_threads())
    say(f"kept: epoch {best['epoch']:.0f} of {config.epochs}")
    return run.record


def split_frames(
    labelled: list[LabelledFrame], val: list[LabelledFrame] | None, holdout: float, seed: int
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Frames that train and frames that choose the epoch; UsageError names a frame that stands in both files."""
    if not labelled:
        raise UsageError("--labels: expected at least one labelled frame, found none")
    if val is not None:
        shared = sorted({frame.path.resolve() for frame in labelled} & {frame.path.resolve() for frame in val})
        if shared:
            raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such frames)")
        return labelled, val
    if not holdout:
        return labelled, []
    held = hold_out(near_duplicate_groups([frame.path for frame in labelled]), holdout, seed)
    kept = [frame for frame, out in zip(labelled, held, strict=True) if not out]
    return kept, [frame for frame, out in zip(labelled, held, strict=True) if out]


def read_examples(frames: Sequence[LabelledFrame]) -> list[Any]:
    """Pictures and points in memory. UsageError names a frame whose points are missing or coincide."""
    from aop_pose.pipelines.yolo.dataset import Example

    examples = []
    for frame in frames:
        points = frame.keypoints.coords
        if not frame.keypoints.complete or np.ptp(points, axis=0).max() == 0:
            raise UsageError(f"{frame.filename}: expected three different points; run `aop-pose dataset check`")
        examples.append(Example(frame.filename, read_frame(frame.path).pixels, points))
    return examples


def phantom_examples(config: YoloConfig, seed: int) -> list[Any]:
    """Made-up frames as further training examples."""
    if not config.phantoms:
        return []
    from aop_pose.phantom import make_phantom
    from aop_pose.pipelines.yolo.dataset import Example

    made = (make_phantom(seed, index=i) for i in range(config.phantoms))
    return [Example(f"phantom-{i}", m.frame.pixels, m.keypoints.coords) for i, m in enumerate(made)]


def _parts(example: Any) -> list[bytes]:
    return [example.name.encode(), example.pixels.tobytes(), example.points.tobytes()]


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be."""
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    from aop_pose.pipelines.yolo.network import TorchNetwork, load_checkpoint

    file, contract = _contract(path)
    model = load_checkpoint(file)
    return Predictor(contract, TorchNetwork(model, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(path: Path, out: Path) -> Predictor:
    """Write a run folder's or checkpoint's network as an artefact and load it back.

    The file appears under its name only when its answers equal the native network's.
    """
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    import onnx

    from aop_pose.pipelines.yolo.network import export_onnx, load_checkpoint

    file, contract = _contract(path)
    contract = contract.model_copy(update={"name": out.stem})
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        export_onnx(load_checkpoint(file), contract.image_size, part)
        network = onnx.load(part)
        onnx.helper.set_model_props(network, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
        onnx.save(network, part)
        _same_answers(predictor(path), load(part))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return load(out)


def _same_answers(native: Predictor, exported: Predictor, tolerance: float = 0.05) -> None:
    """AopPoseError where the two differ by ``tolerance`` pixels of the input or more, on a fixed noise picture."""
    size = native.contract.image_size
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
