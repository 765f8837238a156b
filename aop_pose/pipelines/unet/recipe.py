"""``--recipe ensemble``: networks of several seeds label together what has no label, and a student learns from both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.pipelines.data import check_halves, split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import PseudoOptions
from aop_pose.pipelines.run import RunFolder, Stages, choose, fingerprint, keep, outside, split_files
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pseudo.ensemble import Ensemble
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, unlabelled_frames

if TYPE_CHECKING:
    from aop_pose.pipelines.pipeline import LightningPipeline

ENSEMBLE, SEMI = "ensemble", "semi"
RECIPES = (ENSEMBLE, SEMI)


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
