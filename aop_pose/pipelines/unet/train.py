"""``train`` and ``pretrain`` of ``--method unet``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from aop_pose.errors import UsageError
from aop_pose.formats.head import read_head
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import LabelledFrame, resolve
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.examples import labelled_examples, phantom_examples, unlabelled_examples
from aop_pose.pipelines.job import LABELS, Job, gpus_of
from aop_pose.pipelines.run import RunFolder
from aop_pose.pipelines.unet.config import DEFAULT_PRESET, PRESETS, UnetConfig


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

    from aop_pose.pipelines.fitting import carry_out
    from aop_pose.pipelines.unet.artefact import contract_of
    from aop_pose.pipelines.unet.checkpoint import start_from
    from aop_pose.pipelines.unet.module import LandmarkTraining, network_for

    config = load_config(UnetConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    frames = labelled_examples(job, val, config, partial(read_labels, config, data=job.data))
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

    from aop_pose.pipelines.fitting import carry_out
    from aop_pose.pipelines.unet.checkpoint import start_from
    from aop_pose.pipelines.unet.module import MaskedTraining, network_for

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


def read_labels(config: UnetConfig, file: str, data: Path) -> list[LabelledFrame]:
    """The labelled frames of the configuration's schema."""
    path = resolve(file, data)
    return read_iugc(path, data) if config.points == "aop" else [head.frame for head in read_head(path, data)]
