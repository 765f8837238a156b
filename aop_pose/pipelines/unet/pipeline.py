"""Checkpoints of the U-Net: what is read back, and where a training starts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from aop_pose.core.schema import SCHEMAS
from aop_pose.errors import UsageError
from aop_pose.formats import registry
from aop_pose.formats.label import Label, resolve
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.pipelines import export as native
from aop_pose.pipelines.checkpoint import Checkpoint, file_to_start, fill, read_trained, transfer
from aop_pose.pipelines.checkpoint import read_checkpoint as read_any
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.data import labelled_examples, phantom_examples, unlabelled_examples
from aop_pose.pipelines.job import LABELS, Job, gpus_of
from aop_pose.pipelines.run import RunFolder
from aop_pose.pipelines.start import find_start
from aop_pose.pipelines.unet.config import DEFAULT_PRESET, PRESETS, UnetConfig
from aop_pose.pipelines.unet.network import CoordinateNetwork, HeatmapNetwork, YoloBody, build

METHOD = "unet"


def read_checkpoint(path: Path, what: str) -> Checkpoint[UnetConfig]:
    """UsageError that begins with ``what`` where the file is no checkpoint of this pipeline."""
    return read_any(path, what, METHOD, UnetConfig)


def trained_network(path: Path) -> tuple[HeatmapNetwork | CoordinateNetwork, UnetConfig]:
    """The landmark network of a checkpoint; UsageError where it is of another stage or does not fit."""
    found = read_trained(path, METHOD, UnetConfig)
    network = build(found.config)
    fill(network, found.state, path)
    return network.eval(), found.config


def start_from(init: str, network: nn.Module) -> tuple[str, list[int]]:
    """Fill a new network from ``--init``; returns a line that says which start, and [tensors moved, tensors in all].

    ``auto`` and ``scratch`` leave it as it is. Of a checkpoint the whole body has to fit; the last layers come along
    where their shapes do.

    Raises:
        UsageError: no such file, none of this pipeline, or a body of another shape (each mismatch is listed).
    """
    count = len(network.state_dict())
    body = getattr(network, "body", None)
    if isinstance(body, YoloBody) and (init == "auto" or _is_ultralytics(init)):
        start = find_start(init, body.name)
        return start.words, [body.fill(start) if start.model is not None else 0, count]
    if init in ("auto", "scratch"):
        return "scratch (random weights)", [0, count]
    file = file_to_start(init)
    return transfer(network, read_checkpoint(file, "--init").state, "body.", file)


def _is_ultralytics(init: str) -> bool:
    """Whether a file is a pickled network, which Ultralytics' checkpoints are and this pipeline's never."""
    if not Path(init).is_file():
        return False
    try:
        read_checkpoint(Path(init), "--init")
    except UsageError:
        return True
    return False


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """See ``native.predictor``."""
    return native.predictor(path, device, _trained)


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """See ``native.export``."""
    return native.export(path, out, threshold, decode, _trained)


def contract_of(config: UnetConfig, name: str, run: dict[str, Any]) -> Contract:
    """What a network of this configuration promises. A coordinate head has no score, so that it never abstains."""
    rule = config.decode if config.head == "heatmap" else "direct"
    return Contract(
        name=name, schema=config.points, head=config.head, image_size=config.image_size,
        threshold=config.threshold, decode=rule, training_run=run,
    )  # fmt: skip


def _trained(file: Path) -> native.Trained:
    network, config = trained_network(file)
    return native.Trained(network, partial(contract_of, config))


def train(job: Job, val: str | None = None) -> dict[str, Any]:
    """Train a landmark network on labelled frames; returns what run.json says.

    Args:
        job: data, settings and run folder. The label file is ``iugc`` for points aop, ``head-csv`` for points head.
        val: label file that chooses the best epoch; without it a share of the labelled frames does, in whole groups.

    Raises:
        UsageError: labels, settings, start or run folder do not fit; nothing was written.
        AopPoseError: the run broke off.
    """
    import torch

    from aop_pose.pipelines.lightning import carry_out

    pass  # FOLDED
    pass  # FOLDED
    from aop_pose.pipelines.unet.training import LandmarkTraining, network_for

    config = load_config(UnetConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    frames = labelled_examples(job, val, config, partial(read_labels, config, job))
    torch.manual_seed(job.seed)
    network = network_for(config, "train")
    words, moved = start_from(job.init, network)
    facts = {"seed": job.seed, "stage": "train", "schema": config.points, "data": frames.facts}
    run = RunFolder.open(job.out, "unet", config, facts, job.resume)
    job.say(f"start: {words}; {moved[0]} of {moved[1]} tensors transferred")
    count, checked = len(frames.training), len(frames.checking)
    job.say(f"frames: {count} labelled, {config.phantoms} phantoms, {checked} to choose the epoch")
    examples = frames.training + phantom_examples(config.phantoms, job.seed)
    contract = contract_of(config, job.out.name, {"name": job.out.name})
    module = LandmarkTraining(config, network, job.seed, examples, frames.checking, contract)
    return carry_out(module, job, run, "train", start=words, tensors_transferred=moved)


def pretrain(job: Job, frames: str | Path | None = None) -> dict[str, Any]:
    """Masked autoencoding on frames without labels, to start ``train`` from; returns what run.json says.

    Args:
        job: pictures, settings and run folder; no label is read.
        frames: a list of file names (one a line); without it every picture below ``job.data``.

    Raises:
        UsageError: frames, settings, start or run folder do not fit; nothing was written.
        AopPoseError: the run broke off.
    """
    import torch

    from aop_pose.pipelines.lightning import carry_out

    pass  # FOLDED
    from aop_pose.pipelines.unet.training import MaskedTraining, network_for

    config = load_config(UnetConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    if job.labels != LABELS:
        raise UsageError("--labels: pretrain --method unet reads no labels; name the frames with --list")
    if config.phantoms:
        raise UsageError("phantoms: pretrain takes frames as they are; set it to 0")
    if config.encoder != "unet":
        raise UsageError(f"encoder: pretrain fills in pictures by the U-Net; {config.encoder} starts from --init FILE")
    found = unlabelled_examples(job.data, frames, config.holdout, job.seed)
    torch.manual_seed(job.seed)
    network = network_for(config, "pretrain")
    words, moved = start_from(job.init, network)
    facts = {"seed": job.seed, "stage": "pretrain", "schema": "none", "data": found.facts}
    run = RunFolder.open(job.out, "unet", config, facts, job.resume)
    job.say(f"start: {words}; frames: {len(found.training)} without labels, {len(found.checking)} to choose the epoch")
    module = MaskedTraining(config, network, job.seed, found.training, found.checking)  # type: ignore[arg-type]
    return carry_out(module, job, run, "pretrain", start=words, tensors_transferred=moved)


def read_labels(config: UnetConfig, job: Job, file: str) -> list[Label]:
    """The labelled frames of the configuration's schema, decoded."""
    schema = SCHEMAS[config.points]
    return registry.read_labels(resolve(file, job.data), job.data, schema, keep=True, say=job.say)
