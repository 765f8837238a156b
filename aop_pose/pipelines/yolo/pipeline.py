"""YOLO pose networks, trained by Ultralytics: once, in rounds of pseudo-labels, or by the whole recipe of Li et al."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

import attrs

from aop_pose.errors import UsageError
from aop_pose.formats.label import LABELS
from aop_pose.inference.weights import AnyPredictor
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import LabelledOptions, Options, Pipeline, Stage
from aop_pose.pipelines.yolo.config import METHOD, YoloConfig


@attrs.frozen(kw_only=True)
class PoseOptions(LabelledOptions):
    """The options of ``train``; ``stages.train_pose`` and ``recipe`` say what each means."""

    boxes: Path | None = None
    pseudo: str | Path | None = None
    dynamic: bool = False
    frames: str | Path | None = None
    recipe: str | None = None
    rounds: int | None = None
    segmenter: str | None = None
    confidence: str | None = None

    def check(self, job: Job) -> None:
        if self.rounds is not None and self.rounds < 1:
            raise UsageError(f"--rounds: expected at least 1, found {self.rounds}")
        if self.recipe is not None:
            for option, given in (("--pseudo", self.pseudo), ("--boxes", self.boxes)):
                if given is not None:
                    raise UsageError(f"{option}: expected it without --recipe, which makes its own; leave one out")
            return
        if self.segmenter is not None:
            raise UsageError(
                "--segmenter: expected --recipe beside it; with boxes of its own, run aop-pose pretrain first"
            )
        if self.rounds is not None and self.pseudo is None:
            raise UsageError("--rounds: expected --pseudo FILE or --recipe progressive beside it")
        if self.confidence is not None and (self.rounds or 1) == 1:
            raise UsageError(
                "--confidence: expected --recipe, or --pseudo with --rounds of at least 2, beside it; one round takes "
                "the weights of the file"
            )
        for option, typed in (("--dynamic", self.dynamic), ("--list", self.frames is not None)):
            if typed and self.pseudo is None:
                raise UsageError(f"{option}: expected --pseudo beside it, whose frames it is about")


@attrs.frozen(kw_only=True)
class BoxOptions(Options):
    """The options of ``pretrain``; ``stages.train_boxes`` says what each means."""

    segmenter: str | None = None
    boxes: Path | None = None

    def check(self, job: Job) -> None:
        for option, typed in (("--segmenter", self.segmenter is not None), ("--labels", job.labels != LABELS)):
            if self.boxes is not None and typed:
                raise UsageError(f"{option}: expected it without --boxes, which stand in its place; leave one out")


class Yolo(Pipeline):
    """Learns PS1, PS2 and FH1 on frames; ``pretrain`` learns the boxes of PS and FH that strokes give."""

    name = METHOD
    packages = ("torch", "ultralytics")
    config = YoloConfig
    stages: ClassVar = {"train": Stage(PoseOptions), "pretrain": Stage(BoxOptions)}
    foreign_checkpoints = True

    def reads(self, stage: str, options: Any) -> Collection[str]:
        """A recipe trains boxes too."""
        return ("pretrain", "train") if getattr(options, "recipe", None) is not None else (stage,)

    def fit(self, stage: str, job: Job, config: YoloConfig, options: Any) -> dict[str, Any]:
        from aop_pose.pipelines.yolo import recipe, stages

        if "," in job.device:
            raise UsageError(
                f"--device: expected one CUDA device with --method {self.name}, found {job.device}: Ultralytics starts "
                "its further processes from a file of its own, which cannot hold frames in memory"
            )
        if stage == "pretrain":
            return stages.train_boxes(job, config, segmenter=options.segmenter or "auto", boxes=options.boxes)
        given = attrs.asdict(options, recurse=False)
        name, rounds, segmenter = given.pop("recipe"), given.pop("rounds") or 1, given.pop("segmenter") or "auto"
        confidence = given.pop("confidence")
        if name is not None:
            shared = {key: given[key] for key in ("val", "frames", "dynamic")}
            return recipe.train_by_recipe(
                job, config, recipe=name, segmenter=segmenter, confidence=confidence, rounds=rounds, **shared
            )
        if rounds > 1:
            return recipe.train_in_rounds(job, config, confidence=confidence, rounds=rounds, **given)
        return stages.train_pose(job, config, **given)

    def trained_predictor(self, path: Path, device: str) -> AnyPredictor:
        from aop_pose.pipelines.isolation import isolate

        isolate()
        from aop_pose.pipelines.yolo.network import predictor

        return predictor(path, device)

    def export(self, path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> AnyPredictor:
        from aop_pose.pipelines.isolation import isolate

        isolate()
        from aop_pose.pipelines.yolo.network import export

        return export(path, out, threshold, decode)
