"""``train --method yolo``: labelled frames (and phantoms) -> a pose network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.errors import UsageError
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import LabelledFrame, resolve
from aop_pose.formats.masks import mask_boxes
from aop_pose.formats.split import hold_out, near_duplicate_groups
from aop_pose.io.read import read_frame
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RunFolder, fingerprint
from aop_pose.pipelines.yolo.config import DEFAULT_PRESET, PRESETS, YoloConfig
from aop_pose.schemas import AOP


def train(job: Job, val: str | None = None, boxes: Path | None = None) -> dict[str, Any]:
    """Train a pose network on labelled frames; returns what run.json says.

    Args:
        job: data, settings and run folder.
        val: label file that chooses the best epoch; without it a share of the labelled frames does, in whole groups.
        boxes: a YOLO detection folder (``pretrain`` writes one) with boxes of PS and FH on the labelled pictures. They
            are learned beside the points, as classes of their own (Li et al., equation 11).

    Raises:
        UsageError: labels, settings, start or run folder do not fit; nothing was written.
        AopPoseError: the run broke off.
    """
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    from aop_pose.pipelines.yolo.exact import carry_out
    from aop_pose.pipelines.yolo.start import find_start, transfer
    from aop_pose.pipelines.yolo.trainer import FrameTrainer, class_names

    config = load_config(YoloConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    labelled = read_iugc(resolve(job.labels, job.data), job.data)
    chosen = read_iugc(resolve(val, job.data), job.data) if val is not None else None
    training, checking = split_frames(labelled, chosen, config.holdout, job.seed)
    examples, checks = read_examples(training), read_examples(checking)
    auxiliary: dict[str, Any] = {}
    if boxes is not None:
        from aop_pose.pipelines.yolo.boxes import add_boxes

        examples = add_boxes(examples, [frame.filename for frame in labelled], boxes)
        auxiliary = {"boxes": str(boxes), "boxed_frames": sum(bool(example.classes) for example in examples)}
    start = find_start(job.init, config.model)
    moved = transfer(start, config.model, len(class_names(examples)))
    facts = {
        "seed": job.seed, "schema": AOP.name,
        "data": {
            "labels": job.labels, "val": val, "frames": len(training), "phantoms": config.phantoms,
            "checked_frames": len(checking),
            "chosen_by": "the last epoch" if not checking else "--val" if val else "held-out groups of the labels",
            "fingerprint": fingerprint(part for example in examples + checks for part in _parts(example)),
            **auxiliary,
        },
    }  # fmt: skip
    run = RunFolder.open(job.out, "yolo", config, facts, job.resume)
    job.say(f"start: {start.words}; {moved[0]} of {moved[1]} tensors transferred")
    job.say(f"frames: {len(training)} labelled, {config.phantoms} phantoms, {len(checking)} to choose the epoch")
    if auxiliary:
        others = "; on the others PS and FH count as background" if auxiliary["boxed_frames"] < len(training) else ""
        job.say(f"auxiliary boxes: on {auxiliary['boxed_frames']} of {len(training)} labelled frames{others}")
    examples += phantom_examples(config.phantoms, job.seed, boxed=bool(auxiliary))
    trainer = FrameTrainer(config, job, start, examples, checks)
    return carry_out(trainer, run, start=start.words, tensors_transferred=list(moved))


def split_frames(
    labelled: list[LabelledFrame], val: list[LabelledFrame] | None, holdout: float, seed: int
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Frames that train and frames that choose the epoch; UsageError names a frame that stands in both files."""
    if not labelled:
        raise UsageError("--labels: expected at least one labelled frame, found none")
    if val is not None:
        shared = sorted({frame.path.resolve() for frame in labelled} & {frame.path.resolve() for frame in val})
        if shared:
            raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such frames)")
        return labelled, val
    if not holdout:
        return labelled, []
    held = hold_out(near_duplicate_groups([frame.path for frame in labelled]), holdout, seed)
    kept = [frame for frame, out in zip(labelled, held, strict=True) if not out]
    return kept, [frame for frame, out in zip(labelled, held, strict=True) if out]


def read_examples(frames: Sequence[LabelledFrame]) -> list[Any]:
    """Pictures and points in memory. UsageError names a frame whose points are missing or coincide."""
    from aop_pose.pipelines.yolo.dataset import Example

    examples = []
    for frame in frames:
        points = frame.keypoints.coords
        if not frame.keypoints.complete or np.ptp(points, axis=0).max() == 0:
            raise UsageError(f"{frame.filename}: expected three different points; run `aop-pose dataset check`")
        examples.append(Example(frame.filename, read_frame(frame.path).pixels, points))
    return examples


def phantom_examples(count: int, seed: int, boxed: bool = False) -> list[Any]:
    """Made-up frames as further training examples; ``boxed`` with the boxes of their masks as auxiliary boxes."""
    if not count:
        return []
    from aop_pose.phantom import make_phantom
    from aop_pose.pipelines.yolo.dataset import Example

    made = (make_phantom(seed, index=i) for i in range(count))
    return [
        Example(f"phantom-{i}", m.frame.pixels, m.keypoints.coords, *(mask_boxes(m.mask) if boxed else ()))
        for i, m in enumerate(made)
    ]


def _parts(example: Any) -> list[bytes]:
    parts = [example.name.encode(), example.pixels.tobytes(), example.points.tobytes()]
    return parts + ([bytes(example.classes), example.boxes.tobytes()] if example.classes else [])
