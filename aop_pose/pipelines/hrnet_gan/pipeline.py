"""The verbs of the adversarially fine-tuned network (see ``pipelines.Pipeline``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import resolve
from aop_pose.formats.registry import read_labels
from aop_pose.inference.predictor import Predictor
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.data import labelled_examples, phantom_examples, unlabelled_examples
from aop_pose.pipelines.hrnet_gan.config import DEFAULT_PRESET, PRESETS, REDUCTION, HrnetConfig
from aop_pose.pipelines.job import LABELS, Job, gpus_of
from aop_pose.pipelines.run import WEIGHTS, RunFolder


def pretrain(job: Job, frames: str | Path | None = None) -> dict[str, Any]:
    """Contrastive pre-training; returns what run.json says, the check for collapse among it.

    ``best.pt`` is the epoch with the least ``val/loss`` of the held-out frames, or the last where none are held out
    (the paper names no choice).

    Args:
        job: pictures, settings and run folder; no label is read. Weights are random unless ``init`` names a checkpoint.
        frames: a list of file names (one a line); without it every picture below ``job.data``.

    Raises:
        UsageError: frames, settings, start or run folder do not fit; nothing was written.
        AopPoseError: the run broke off, or it came to its end and the embeddings collapsed.
    """
    import torch

    from aop_pose.pipelines.checkpoint import fill
    from aop_pose.pipelines.hrnet_gan.checkpoint import METHOD, read_checkpoint, start_from
    from aop_pose.pipelines.hrnet_gan.moco import check_size
    from aop_pose.pipelines.hrnet_gan.pretraining import ContrastiveTraining, projector_of, size_of
    from aop_pose.pipelines.lightning import carry_out

    config = load_config(HrnetConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    if job.labels != LABELS:
        raise UsageError(f"--labels: pretrain --method {METHOD} reads no labels; name the frames with --list")
    check_size(config.moco_queue, config.gpus * config.moco_batch * (size_of(config) // REDUCTION) ** 2)
    found = unlabelled_examples(job.data, frames, config.moco_holdout, job.seed)
    training, checks = found.training, found.checking
    if len(training) < config.gpus * config.moco_batch:
        raise UsageError(
            f"expected at least {config.gpus * config.moco_batch} frames to train on (moco_batch), found "
            f"{len(training)} and {len(checks)} held out; name more frames, or lower moco_batch or moco_holdout"
        )
    torch.manual_seed(job.seed)
    network = projector_of(config)
    words, moved = start_from(job.init, network)
    facts = {"seed": job.seed, "stage": "pretrain", "schema": "none", "data": found.facts}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    job.say(f"start: {words}; {moved[0]} of {moved[1]} tensors transferred")
    job.say(f"frames: {len(training)} without labels, {len(checks)} to choose the epoch and to check for collapse")
    module = ContrastiveTraining(config, network, job.seed, training, checks)

    def concluding() -> dict[str, Any]:
        best = job.out / WEIGHTS / "best.pt"
        fill(network, read_checkpoint(best, "best.pt").state, best)
        collapse = module.check_for_collapse()
        job.say(str(collapse))
        return {"collapse": collapse.facts()}

    record = carry_out(module, job, run, "pretrain", concluding, start=words, tensors_transferred=moved)
    if reason := record["collapse"]["why"]:
        raise AopPoseError(f"pre-training collapsed: {reason}; the run is kept in {job.out}; do not train from it")
    return record


def train(job: Job, val: str | None = None) -> dict[str, Any]:
    """Train generator and discriminator on labelled frames; returns what run.json says.

    Args:
        job: data, settings and run folder. ``init`` may name a run of ``pretrain``: its encoder is taken over.
        val: label file that chooses the best epoch; without it a share of the labelled frames does, in whole groups.

    Raises:
        UsageError: labels, settings, start or run folder do not fit; nothing was written.
        AopPoseError: the run broke off.
    """
    import torch

    from aop_pose.pipelines.hrnet_gan.checkpoint import METHOD, contract_of, start_from
    from aop_pose.pipelines.hrnet_gan.network import Generator
    from aop_pose.pipelines.hrnet_gan.training import AdversarialTraining
    from aop_pose.pipelines.lightning import carry_out

    config = load_config(HrnetConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    frames = labelled_examples(
        job, val, config, lambda file: read_labels(resolve(file, job.data), job.data, keep=True, say=job.say)
    )
    torch.manual_seed(job.seed)
    network = Generator(config)
    words, moved = start_from(job.init, network)
    learned = frames.training + phantom_examples(config.phantoms, job.seed)
    contract = contract_of(config, job.out.name, {"name": job.out.name})
    module = AdversarialTraining(config, network, job.seed, learned, frames.checking, contract)
    facts = {"seed": job.seed, "stage": "train", "schema": AOP.name, "data": frames.facts}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    job.say(f"start: {words}; {moved[0]} of {moved[1]} tensors transferred")
    if config.frozen and not moved[0]:
        job.say(
            "warning: the encoder is frozen at random weights; name a pre-training with --init, or set frozen=false"
        )
    count, checked = len(frames.training), len(frames.checking)
    job.say(f"frames: {count} labelled, {config.phantoms} phantoms, {checked} to choose the epoch")
    return carry_out(module, job, run, "train", start=words, tensors_transferred=moved)


__all__ = ["export", "predictor", "pretrain", "train"]


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> Predictor:
    """See ``artefact.export``."""
    from aop_pose.pipelines.hrnet_gan import checkpoint as artefact

    return artefact.export(path, out, threshold, decode)


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """See ``artefact.predictor``."""
    from aop_pose.pipelines.hrnet_gan import checkpoint as artefact

    return artefact.predictor(path, device)
