"""The recipes of the heatmap U-Net.

``ensemble``: networks of several seeds label together what has no label, and a student learns from both. ``semi``: the
mean of the weights sees a frame as it is, the network a strong view of it, and their maps shall agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch.nn import functional

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.pipelines.data import check_halves, number_of, split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.losses import cross_entropy
from aop_pose.pipelines.pipeline import PseudoOptions
from aop_pose.pipelines.run import RunFolder, Stages, choose, fingerprint, keep, outside, split_files
from aop_pose.pipelines.unet.config import ENSEMBLE, UnetConfig
from aop_pose.pipelines.unet.training import LandmarkTraining
from aop_pose.pseudo.ensemble import Ensemble
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, unlabelled_frames

if TYPE_CHECKING:
    from aop_pose.pipelines.pipeline import LightningPipeline


def teachers_of(pipeline: LightningPipeline, runs: list[Path], device: str) -> Ensemble:
    """The networks of run folders, which label together."""
    networks = [pipeline.trained_predictor(run, device) for run in runs]
    return Ensemble(tuple(networks))  # type: ignore[arg-type]


def train_by_recipe(
    pipeline: LightningPipeline,
    job: Job,
    config: UnetConfig,
    *,
    val: str | None,
    frames: str | Path | None,
    rounds: int,
) -> dict[str, Any]:
    """``networks`` teachers, pseudo-labels by all of them in several views, and a student that starts from the first.

    The student trains without phantoms: real frames stand in their place. Before a further round there are as many
    students as teachers, each from the teacher of its seed, and they label anew. Kept is the first teacher or the last
    student, by the frames that choose epochs; without any, the student.

    Args:
        pipeline: what trains and opens networks.
        job: data and run folder; every teacher starts from ``init``.
        config: the settings of every stage.
        val: label file of the frames that choose epochs and the stage that is kept; else a share of the labels does.
        frames: list of the frames without labels; else all pictures below the data that neither file names.
        rounds: how often frames are labelled and trained on.

    Raises:
        UsageError: an argument, file or setting does not fit, and nothing was written.
        AopPoseError: a stage broke off, or kept no frame.
    """
    if config.points != AOP.name:
        raise UsageError(f"points: expected {AOP.name} with --recipe {ENSEMBLE}, found {config.points}")
    check_halves(config.batch)
    pipeline.start(job.init, pipeline.network("train", config))
    labelled = pipeline.labels(config, job, job.labels)
    given = pipeline.labels(config, job, val) if val is not None else None
    training, checking = split_frames(labelled, given, config.holdout, job.seed, config.patient)
    named = [job.labels, *([val] if val is not None else [])]
    unlabelled = outside(unlabelled_frames(job.data, frames, named), job.out)
    parts = [part for one in (*training, *checking) for part in (one.path.read_bytes(), one.points.tobytes())]
    by = "--val" if given else "held-out groups of the labels" if checking else "the last epoch and stage"
    about = {
        "recipe": ENSEMBLE, "labels": job.labels, "val": val, "list": None if frames is None else str(frames),
        "rounds": rounds, "frames": len(training), "checked_frames": len(checking),
        "unlabelled_frames": len(unlabelled.entries), "chosen_by": by,
        "fingerprint": fingerprint([*parts, *(entry.source.encode() for entry in unlabelled.entries)]),
    }  # fmt: skip
    facts = {"seed": job.seed, "stage": "train", "schema": AOP.name, "data": about}
    run = RunFolder.open(job.out, pipeline.name, config, facts, job.resume)
    stages = Stages(job, config, run)
    labels, checks = split_files(stages.folder, job.labels, val, training, checking)

    def train(name: str, number: int, init: str, changes: Mapping[str, Any], **options: Any) -> Path:
        work = partial(_stage, pipeline, job.seed + number, changes)
        return stages.train(name, work, labels, init, val=checks, **options)

    first = [train(f"teacher-{number + 1}", number, job.init, {}) for number in range(config.networks)]
    teachers, runs = first, {0: first[0]}
    changes = {"phantoms": 0, "epochs": config.student_epochs or config.epochs}
    for round_ in range(1, rounds + 1):
        teach = partial(teachers_of, pipeline, teachers, job.predicts_on)
        told = {"images": str(job.data), "list": about["list"]}
        table = stages.label(f"pseudo-{round_}.csv", teach, teachers, unlabelled, Rule(), Cut(), told)
        students = first[:1] if round_ == rounds else first
        teachers = [
            train(f"student-{round_}-{number + 1}", number, str(start), changes, pseudo=str(table))
            for number, start in enumerate(students)
        ]
        runs[round_] = teachers[0]
    choice = choose(runs)
    run.save(**keep(run, choice))
    job.say(f"kept: stage {choice.run.name} ({choice.why})")
    run.finish()
    return run.record


def _stage(
    pipeline: LightningPipeline, seed: int, changes: Mapping[str, Any], job: Job, config: UnetConfig, **options: Any
) -> dict[str, Any]:
    """One training of a recipe: its seed and settings are its own."""
    settings = config.model_copy(update=dict(changes))
    return pipeline.fit("train", attrs.evolve(job, seed=seed), settings, PseudoOptions(**options))


COARSE = 4
"""Places along a side between which an elastic displacement runs smoothly."""


class ConsistencyTraining(LandmarkTraining):
    """Labelled frames as ever; half of each batch has no label and learns what the running mean of the weights says.

    That teacher (Tarvainen and Valpola 2017) sees an unlabelled frame as the augmentation of labelled ones leaves it.
    The network sees it warped and disturbed further; the teacher's maps go through the same warp, and count by how sure
    they are, over the mean sureness of the batch. Their weight rises to ``consistency`` over ``ramp_up`` of the epochs.
    """

    further = ("train/consistency",)

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        gray, points, _ = batch
        half = len(gray) // 2
        labelled, weak = gray[:half], gray[half:]
        generator = torch.Generator().manual_seed(number_of(self.seed, self.current_epoch, number))
        warp = strong_warp(self.config, len(weak), gray.shape[-1], generator).to(gray.device)
        strong = disturbed(self.config, moved(weak, warp), generator)
        seen = torch.cat([labelled, strong]).contiguous(memory_format=self.memory_format)
        raw = self.network(seen).float()
        supervised = self.loss_of(lambda _: raw[:half], labelled, points[:half])  # type: ignore[arg-type]
        agreement = self._agreement(raw[half:], weak, warp)
        self.parts["train/consistency"].append(float(agreement.detach()))
        loss = supervised + self.config.consistency * self._share() * agreement
        self.losses.append(float(loss.detach()))
        return loss

    def _agreement(self, raw: torch.Tensor, weak: torch.Tensor, warp: torch.Tensor) -> torch.Tensor:
        """Divergence of the network's maps from the teacher's warped ones, mean over points by how sure these are."""
        count = len(self.schema.points)
        teacher = self.kept.eval()
        with torch.no_grad():
            answer = teacher.answer(weak.contiguous(memory_format=self.memory_format))[:, :count]  # type: ignore[operator]
            shares = answer / answer.sum(dim=(2, 3), keepdim=True)
            target = moved(shares, functional.interpolate(warp, size=shares.shape[-2:], mode="area"))
            # What the warp carried out of the picture cannot be seen there.
            left = target.sum(dim=(2, 3))
            sure = answer.amax(dim=(2, 3)).clamp(0, 1) * (left > 0.5)
            sure = sure / sure.mean().clamp_min(1e-6)
            own = -(target * (target / left.clamp_min(1e-6)[..., None, None]).clamp_min(1e-12).log()).sum(dim=(2, 3))
            own = own / left.clamp_min(1e-6)
        return ((cross_entropy(raw[:, :count], target) - own) * sure).mean()

    def _share(self) -> float:
        """exp(-5 (1 - t)^2), t from 0 to 1 over the first ``ramp_up`` of the epochs."""
        done = min(1.0, (self.current_epoch + 1) / max(1.0, self.config.ramp_up * self.config.epochs))
        return math.exp(-5 * (1 - done) ** 2)


def strong_warp(config: UnetConfig, frames: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """(frames, 2, size, size): from where each pixel of the strong view comes, x and y from -1 to 1 over the picture.

    A turn and a scale about the centre, and a smooth displacement, each drawn evenly within its bound.
    """

    def drawn(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(frames, *shape, generator=generator) - 1

    turn = torch.deg2rad(config.strong_degrees * drawn())
    scale = 1 + config.strong_scale * drawn()
    cos, sin, zero = scale * turn.cos(), scale * turn.sin(), torch.zeros(frames)
    affine = torch.stack([torch.stack([cos, -sin, zero], dim=1), torch.stack([sin, cos, zero], dim=1)], dim=1)
    grid = functional.affine_grid(affine, [frames, 1, size, size], align_corners=False).permute(0, 3, 1, 2)
    bend = 2 * config.elastic * drawn(2, COARSE, COARSE)
    return grid + functional.interpolate(bend, size=(size, size), mode="bicubic", align_corners=True)


def moved(pictures: torch.Tensor, warp: torch.Tensor) -> torch.Tensor:
    """Pictures or maps (B, n, S, S) seen through a warp (B, 2, S, S); what comes from outside is 0."""
    return functional.grid_sample(pictures, warp.permute(0, 2, 3, 1), align_corners=False)


def disturbed(config: UnetConfig, gray: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gray (B, 1, S, S) in [0, 1] with another gain and gamma, speckle, and bands that are cut out across it."""
    frames, _, size, _ = gray.shape

    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(frames, *shape, generator=generator).to(gray.device)

    gamma = (math.log1p(config.gamma) * (2 * drawn(1, 1, 1) - 1)).exp()
    gain = 1 + config.brightness * (2 * drawn(1, 1, 1) - 1)
    noise = torch.randn(gray.shape, generator=generator).to(gray.device)
    grain = 1 + config.speckle * drawn(1, 1, 1) * noise
    changed = (gray.clamp(0, 1) ** gamma * gain * grain).clamp(0, 1)
    # One band along rows and one along columns, each anywhere and up to its width.
    for axis in (2, 3):
        begin, width = drawn(1, 1, 1), config.bands * drawn(1, 1, 1)
        shape = [1, 1, size, 1] if axis == 2 else [1, 1, 1, size]
        places = ((torch.arange(size, device=gray.device) + 0.5) / size).view(shape)
        changed = changed * ~((places >= begin) & (places < begin + width))
    return changed
