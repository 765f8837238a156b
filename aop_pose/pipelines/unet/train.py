"""``train`` and ``pretrain`` of ``--method unet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aop_pose.errors import UsageError
from aop_pose.formats.head import read_head
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import LabelledFrame, resolve
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.examples import phantom_examples, read_examples, unlabelled_examples
from aop_pose.pipelines.frames import split_frames
from aop_pose.pipelines.job import LABELS, Job, gpus_of
from aop_pose.pipelines.run import RunFolder, fingerprint
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
    labelled = read_labels(config, job.labels, job.data)
    chosen = read_labels(config, val, job.data) if val is not None else None
    training, checking = split_frames(labelled, chosen, config.holdout, job.seed, config.patient)
    examples, checks = read_examples(training), read_examples(checking)
    torch.manual_seed(job.seed)
    network = network_for(config, "train")
    words, moved = start_from(job.init, network)
    facts = {
        "seed": job.seed, "stage": "train", "schema": config.points,
        "data": {
            "labels": job.labels, "val": val, "frames": len(training), "phantoms": config.phantoms,
            "checked_frames": len(checking),
            "chosen_by": "the last epoch" if not checking else "--val" if val else "held-out groups of the labels",
            "fingerprint": fingerprint(part for example in examples + checks for part in example.parts()),
        },
    }  # fmt: skip
    run = RunFolder.open(job.out, "unet", config, facts, job.resume)
    job.say(f"start: {words}; {moved[0]} of {moved[1]} tensors transferred")
    job.say(f"frames: {len(training)} labelled, {config.phantoms} phantoms, {len(checking)} to choose the epoch")
    examples += phantom_examples(config.phantoms, job.seed)
    contract = contract_of(config, job.out.name, {"name": job.out.name})
    module = LandmarkTraining(config, network, job.seed, examples, checks, contract)
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
    examples, held = unlabelled_examples(job.data, frames, config.holdout, job.seed)
    checks = [example for example, out in zip(examples, held, strict=True) if out]
    training = [example for example, out in zip(examples, held, strict=True) if not out]
    torch.manual_seed(job.seed)
    network = network_for(config, "pretrain")
    words, moved = start_from(job.init, network)
    facts = {
        "seed": job.seed, "stage": "pretrain", "schema": "none",
        "data": {
            "list": str(frames) if frames is not None else None, "frames": len(training),
            "checked_frames": len(checks),
            "fingerprint": fingerprint(part for example in examples for part in example.parts()),
        },
    }  # fmt: skip
    run = RunFolder.open(job.out, "unet", config, facts, job.resume)
    job.say(f"start: {words}; frames: {len(training)} without labels, {len(checks)} to choose the epoch")
    module = MaskedTraining(config, network, job.seed, training, checks)  # type: ignore[arg-type]
    return carry_out(module, job, run, "pretrain", start=words, tensors_transferred=moved)


def read_labels(config: UnetConfig, file: str, data: Path) -> list[LabelledFrame]:
    """The labelled frames of the configuration's schema."""
    path = resolve(file, data)
    return read_iugc(path, data) if config.points == "aop" else [head.frame for head in read_head(path, data)]
