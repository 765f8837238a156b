"""The YOLO pipeline's verbs (see ``pipelines.Pipeline``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aop_pose.errors import UsageError
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.yolo.recipe import check_rounds, train_by_recipe, train_in_rounds
from aop_pose.pipelines.yolo.train import export, predictor, pretrain
from aop_pose.pipelines.yolo.train import train as train_once

__all__ = ["export", "predictor", "pretrain", "train"]


def train(
    job: Job,
    val: str | None = None,
    boxes: Path | None = None,
    pseudo: str | Path | None = None,
    dynamic: bool = False,
    frames: str | Path | None = None,
    recipe: str | None = None,
    rounds: int | None = None,
    segmenter: str | None = None,
    confidence: str | None = None,
) -> dict[str, Any]:
    """Train once, in ``rounds`` of pseudo-labels, or by a ``recipe``; see there for what each argument means.

    UsageError where an argument says nothing to the way that was asked for.
    """
    rounds_given, rounds = rounds is not None, 1 if rounds is None else rounds
    check_rounds(rounds)
    if recipe is not None:
        for option, given in (("--pseudo", pseudo), ("--boxes", boxes)):
            if given is not None:
                raise UsageError(f"{option}: expected it without --recipe, which makes its own; leave one out")
        return train_by_recipe(job, recipe, val, frames, segmenter or "auto", confidence, rounds, dynamic)
    if segmenter is not None:
        raise UsageError("--segmenter: expected --recipe beside it; with boxes of its own, run aop-pose pretrain first")
    if rounds_given and pseudo is None:
        raise UsageError("--rounds: expected --pseudo FILE or --recipe progressive beside it")
    if confidence is not None and rounds == 1:
        raise UsageError(
            "--confidence: expected --recipe, or --pseudo with --rounds of at least 2, beside it; one round takes the "
            "weights of the file"
        )
    if pseudo is not None and rounds > 1:
        return train_in_rounds(job, pseudo, val, boxes, dynamic, frames, confidence, rounds)
    return train_once(job, val, boxes, pseudo, dynamic, frames)
