"""Checkpoints of this pipeline: the network with its schema and memory plan."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from aop_pose.core.schema import Schema
from aop_pose.core.schemas import FETUS
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats import registry
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.points3d import schema_of
from aop_pose.formats.split import groups_by_name, groups_of, hold_out, merge_groups, near_duplicate_groups_of
from aop_pose.inference.decode import RULES
from aop_pose.inference.grid import place_prior, turns_of
from aop_pose.inference.predictor import METADATA_KEY, open_artefact
from aop_pose.inference.volume_predictor import VolumeContract, VolumePredictor, volume_predictor_of
from aop_pose.io.files import replacing
from aop_pose.pipelines.checkpoint import Checkpoint, file_to_start, fill, read_checkpoint, read_trained, transfer
from aop_pose.pipelines.config import load_config, precision_of
from aop_pose.pipelines.export import TorchNetwork, checkpoint_of, run_of
from aop_pose.pipelines.fetusmap.config import DEFAULT_PRESET, PRESETS, FetusmapConfig
from aop_pose.pipelines.fetusmap.landmarks import Exported, FetusmapModel, LandmarkNetwork
from aop_pose.pipelines.fetusmap.planner import Planned
from aop_pose.pipelines.job import Job, gpus_of
from aop_pose.pipelines.run import RunFolder, labelled_facts
from aop_pose.provenance import sha256_of

METHOD = "fetusmap"


def trained_network(path: Path) -> tuple[LandmarkNetwork, FetusmapModel]:
    """The network of a checkpoint, in evaluation mode; UsageError where it does not fit."""
    found: Checkpoint[FetusmapModel] = read_trained(path, METHOD, FetusmapModel)
    network = LandmarkNetwork(found.config)
    fill(network, found.state, path)
    return network.eval(), found.config


def start_from(init: str, network: LandmarkNetwork) -> tuple[str, list[int]]:
    """Fill a new network from ``--init``; returns a line that says which start, and [tensors moved, tensors in all].

    ``auto`` and ``scratch`` leave it as it is. Of a checkpoint the encoder has to fit; the rest comes along where its
    shape does.

    Raises:
        UsageError: no such file, none of this pipeline, or an encoder of another shape or with other blocks reversed.
    """
    if init in ("auto", "scratch"):
        return "scratch (random weights)", [0, len(network.state_dict())]
    file = file_to_start(init)
    given = read_checkpoint(file, "--init", METHOD, FetusmapModel).state
    # A plan without reversed blocks holds the same network one level deeper.
    prefix = "body.network." if isinstance(network.body, Planned) else "body."
    renamed = {key.replace("body.network.", "body.").replace("body.", prefix): value for key, value in given.items()}
    return transfer(network, renamed, f"{prefix}down.", file)


TOLERANCE = 1e-3
"""Of a map's full height, by which an exported network may differ."""


def predictor(path: Path, device: str = "cpu") -> VolumePredictor:
    """The native network of a run folder or checkpoint, decoded as its artefact will be."""
    file, folder = checkpoint_of(path)
    network, model = trained_network(file)
    contract = contract_of(model, folder.name if path.is_dir() else file.stem, run_of(file, folder))
    return VolumePredictor(contract, TorchNetwork(network, device), f"{contract.name}@{sha256_of(file)[:8]}")


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> VolumePredictor:
    """Write a run folder's or checkpoint's network as an artefact and load it back.

    ``threshold`` and ``decode`` take the place of the run's own. The file appears under its name only when its answers
    equal the native network's.

    Raises:
        UsageError: no checkpoint, or no such rule.
        AopPoseError: the two answer differently.
    """
    if decode is not None and decode not in RULES:
        raise UsageError(f"--decode: expected {', '.join(RULES)} for head volume-heatmap, found {decode!r}")
    file, folder = checkpoint_of(path)
    network, model = trained_network(file)
    given = {key: value for key, value in {"threshold": threshold, "decode": decode}.items() if value is not None}
    contract = contract_of(model, out.stem, run_of(file, folder)).model_copy(update=given)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        _write(network, contract, part)
        noise = np.random.default_rng(0).random((1, 1, *contract.size), dtype=np.float32)
        gap = float(np.abs(open_artefact(part).network(noise) - TorchNetwork(network)(noise)).max())
        if not gap < TOLERANCE:
            raise AopPoseError(f"export: native and exported maps differ by {gap:.2g}, expected less than {TOLERANCE}")
    return volume_predictor_of(open_artefact(out))


def contract_of(model: FetusmapModel, name: str, run: dict[str, Any]) -> VolumeContract:
    """What a network of this configuration promises."""
    unsided: Literal["equation 7", "unknown"] = "equation 7" if model.points == FETUS.name else "unknown"
    return VolumeContract(
        name=name, schema=model.points, size=model.size, voxel_mm=model.voxel_mm, aim=model.aim, mode=model.mode,
        overlap=model.overlap, sigma=model.sigma, threshold=model.threshold, decode=model.decode, turns=model.turns,
        looks=model.looks, places=model.places,
        sides=unsided if model.taught_sides else "learned", stride=model.stride, training_run=run,
    )  # fmt: skip


def _write(network: LandmarkNetwork, contract: VolumeContract, file: Path) -> None:
    """With batch 1, which its normalisation is made for (``landmarks.Exported``)."""
    import onnx

    example = torch.rand(1, 1, *contract.size)
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        # It has no running statistics: that it takes those of the volume is the point.
        warnings.filterwarnings("ignore", message=".*operator 'instance_norm' is set to train")
        # It compares its own number of channels, which the input's size does not change.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.onnx.export(
            Exported(network).eval(), (example,), str(file), input_names=["gray"], output_names=["maps"],
            opset_version=17, dynamo=False,
        )  # fmt: skip
    written = onnx.load(file)
    onnx.helper.set_model_props(written, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
    onnx.save(written, file)


THUMBNAIL = (10, 10, 10)


def train(job: Job, val: str | None = None) -> dict[str, Any]:
    """Train a landmark network on labelled volumes; returns what run.json says.

    Args:
        job: data, settings and run folder. The label file is of ``formats.points3d``; its columns tell the schema.
        val: label file that chooses the best epoch; without it a share of the labelled volumes does, in whole groups.

    Raises:
        UsageError: labels, volumes, settings, start or run folder do not fit, or the memory does not hold a step;
            nothing was written.
        AopPoseError: the run broke off.
    """
    import torch

    from aop_pose.pipelines.fetusmap.training import plan_for

    pass  # FOLDED
    from aop_pose.pipelines.fetusmap.data import VolumeDataset
    from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel, LandmarkNetwork
    from aop_pose.pipelines.fetusmap.library import has_prior
    from aop_pose.pipelines.fetusmap.training import VolumeTraining
    from aop_pose.pipelines.lightning import carry_out

    config = load_config(FetusmapConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    gpus_of(job.device, config.gpus)
    config = exact_on(config, job)
    labelled, schema = read_labels(job.labels, job)
    chosen: list[Label] = []
    if val is not None:
        chosen, other = read_labels(val, job)
        if other is not schema:
            raise UsageError(f"--val: expected the points of schema {schema.name}, found those of {other.name}")
        _check_apart(labelled, chosen)
    plan, needed = plan_for(config, schema, job.device)
    examples, checks = (read_examples(volumes, schema, config, job) for volumes in (labelled, chosen))
    if val is None and config.holdout:
        held = hold_out(groups(labelled, examples, config), config.holdout, job.seed)
        checks = [example for example, out in zip(examples, held, strict=True) if out]
        examples = [example for example, out in zip(examples, held, strict=True) if not out]
    stored = len(examples) if has_prior(schema) and config.mode == "whole" else 0
    model = FetusmapModel(**config.model_dump(), points=schema.name, memory_plan=plan, poses=stored)
    if config.place_prior:
        places = [(one.points.numpy() - one.middle) * one.placement.voxel_mm for one in examples]
        prior = place_prior(places, config.place_prior, model.taught_sides)
        model = model.model_copy(update={"places": prior})
        if prior is None:
            job.say("place_prior: left out, since a point has fewer than two labels")
    torch.manual_seed(job.seed)
    network = LandmarkNetwork(model)
    words, moved = start_from(job.init, network)
    if network.poses is not None:
        # The grid of an example is right-handed and its voxels are cubes.
        network.poses.copy_(torch.stack([example.points * example.placement.voxel_mm for example in examples]))
    parts = (part for example in [*examples, *checks] for part in example.parts())
    facts = {
        "seed": job.seed, "stage": "train", "schema": schema.name,
        "memory": {"bytes_of_a_step": needed, "plan": plan.model_dump(mode="json") if plan is not None else None},
        "data": labelled_facts(job, val, len(examples), len(checks), parts, "volumes"),
    }  # fmt: skip
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    job.say(f"start: {words}; {moved[0]} of {moved[1]} tensors transferred")
    job.say(f"volumes: {len(examples)} labelled ({schema.name}), {len(checks)} to choose the epoch")
    if config.turns > 1:
        kept = len(turns_of(config.size, config.turns))
        job.say(
            f"turns: maps are averaged over the {kept} of {config.turns} that keep {'x'.join(map(str, config.size))}"
        )
    job.say(plan.table() if plan is not None else f"memory plan: none; a step takes about {needed / 2**30:.2f} GiB")
    volumes = VolumeDataset(examples, config, schema, job.seed)
    module = VolumeTraining(model, network, job.seed, volumes, VolumeDataset(checks, config, schema))
    return carry_out(module, job, run, "train", start=words, tensors_transferred=moved)


def exact_on(config: FetusmapConfig, job: Job) -> FetusmapConfig:
    """The settings, in float32 where a CPU would take bfloat16 and give wrong gradients.

    oneDNN reads memory that nobody wrote for the gradient of the weights of a 3x3x3 convolution in bfloat16 whose input
    is two voxels deep along its first axis (seen with oneDNN 3.13): they are NaN, or finite and wrong.

    Raises:
        UsageError: bfloat16 was asked for.
    """
    if job.device != "cpu" or config.size[0] > 2 * config.stride or precision_of(config.precision, "cpu") == "fp32":
        return config
    said = f"size {config.size[0]} along the first axis is {config.size[0] // config.stride} at the deepest level"
    if config.precision == "bf16":
        raise UsageError(
            f"precision bf16: {said}, where a CPU's gradients in bfloat16 are wrong; take fp32, a larger size or fewer "
            "widths"
        )
    job.say(f"precision: fp32, since {said}, where a CPU's gradients in bfloat16 are wrong")
    return config.model_copy(update={"precision": "fp32"})


def pretrain(job: Job) -> dict[str, Any]:
    """FetusMapV2 has no pre-training: UsageError."""
    raise UsageError("pretrain --method fetusmap: the paper trains from scratch; use aop-pose train --method fetusmap")


def read_labels(file: str, job: Job) -> tuple[list[Label], Schema]:
    """The labelled volumes of a file, and the schema that its columns tell.

    UsageError where there is no row, or the points are those of no schema.
    """
    path = resolve(file, job.data)
    labelled = registry.read_labels(path, job.data, schema=None, say=job.say)
    if not labelled:
        raise UsageError(f"{path}: expected at least one labelled volume, found none")
    try:
        return labelled, schema_of(labelled[0].schema.points)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def read_examples(volumes: Sequence[Label], schema: Schema, config: FetusmapConfig, job: Job) -> list[Any]:
    """Volumes and points in memory, resampled; what is said to the user of a volume is said once.

    UsageError names a volume that cannot be read, holds one value only, or has a point outside.
    """
    from aop_pose.pipelines.fetusmap.data import prepare

    examples, padded, shrunk = [], [], []
    for one in volumes:
        try:
            volume = one.volume()
        except UnreadableError as error:
            raise UsageError(f"{one.name}: {error}") from None
        example = prepare(volume, one.points_of(schema), config)
        examples.append(example)
        if min(example.placement.extent) < config.stride:
            padded.append(one.name)
        if config.voxel_mm is not None and example.placement.voxel_mm > config.voxel_mm * 1.001:
            shrunk.append(one.name)
    for names, what in ((padded, f"padded to the network's stride of {config.stride}"), (shrunk, "shrunk to fit size")):
        if names:
            job.say(f"{len(names)} of {len(volumes)} volumes {what}, the first {names[0]}")
    return examples


def groups(volumes: Sequence[Label], examples: Sequence[Any], config: FetusmapConfig) -> np.ndarray:
    """A group id per volume.

    Near-duplicates, a patient's volumes, time points of a file and equal values of ``group`` stay together.
    """
    import torch
    from torch.nn import functional

    small = [functional.interpolate(e.gray.float()[None, None], THUMBNAIL, mode="area").flatten() for e in examples]
    vectors = [vector - vector.mean() for vector in small]
    found = near_duplicate_groups_of([(vector / torch.linalg.norm(vector)).numpy() for vector in vectors])
    if config.patient is not None:
        found = merge_groups(found, groups_by_name([volume.name for volume in volumes], config.patient))
    # The time points of a file show one fetus.
    found = merge_groups(found, groups_of([volume.name for volume in volumes]))
    if config.group is not None:
        if config.group not in volumes[0].extras:
            known = ", ".join(volumes[0].extras) or "none besides the points"
            raise UsageError(f"group: expected a column of the label file ({known}), found {config.group!r}")
        found = merge_groups(found, groups_of([volume.extras[config.group] for volume in volumes]))
    return found


def _check_apart(labelled: Sequence[Label], chosen: Sequence[Label]) -> None:
    shared = sorted({volume.path.resolve() for volume in labelled} & {volume.path.resolve() for volume in chosen})
    if shared:
        raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such volumes)")
