"""``train`` of ``--method hrnet-gan``: labelled frames, and a start that may be pre-trained, to a landmark network."""

from __future__ import annotations

from typing import Any

from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import resolve
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.examples import labelled_examples, phantom_examples
from aop_pose.pipelines.hrnet_gan.config import DEFAULT_PRESET, PRESETS, HrnetConfig
from aop_pose.pipelines.job import Job, gpus_of
from aop_pose.pipelines.run import RunFolder
from aop_pose.schemas import AOP


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

    from aop_pose.pipelines.fitting import carry_out
    from aop_pose.pipelines.hrnet_gan.artefact import contract_of
    from aop_pose.pipelines.hrnet_gan.checkpoint import METHOD, start_from
    from aop_pose.pipelines.hrnet_gan.module import AdversarialTraining
    from aop_pose.pipelines.hrnet_gan.network import Generator

    config = load_config(HrnetConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    frames = labelled_examples(job, val, config, lambda file: read_iugc(resolve(file, job.data), job.data))
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
