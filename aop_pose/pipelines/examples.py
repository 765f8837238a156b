"""Frames in memory, as every pipeline that is written here learns them: labelled, unlabelled, made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.formats.labels import LabelledFrame
from aop_pose.formats.split import hold_out, near_duplicate_groups
from aop_pose.io.read import read_frame
from aop_pose.pipelines.frames import split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import fingerprint, labelled_facts
from aop_pose.pipelines.training_config import FrameTrainingConfig
from aop_pose.pseudo.frames import unlabelled_frames


@attrs.frozen(eq=False)
class Example:
    """One frame: gray pixels (H, W) uint8 and points (n, 2) in its pixels; without labels, points (0, 2)."""

    name: str
    pixels: np.ndarray
    points: np.ndarray

    def parts(self) -> list[bytes]:
        """What a fingerprint of the data is made of."""
        return [self.name.encode(), self.pixels.tobytes(), self.points.tobytes()]


@attrs.frozen(eq=False)
class TrainingFrames:
    """Frames that train and frames that choose the epoch."""

    training: list[Example]
    checking: list[Example]
    facts: dict[str, Any]
    """What run.json says of them."""


def read_examples(frames: Sequence[LabelledFrame]) -> list[Example]:
    """Pictures and points in memory. UsageError names a frame whose points are missing or coincide."""
    examples = []
    for frame in frames:
        points = frame.keypoints.coords
        if not frame.keypoints.complete or len(np.unique(points, axis=0)) < len(points):
            raise UsageError(f"{frame.filename}: expected {len(points)} different points; run `aop-pose dataset check`")
        examples.append(Example(frame.filename, read_frame(frame.path).pixels, points))
    return examples


def phantom_examples(count: int, seed: int) -> list[Example]:
    """Made-up frames as further training examples."""
    if not count:
        return []
    from aop_pose.phantom import make_phantom

    made = (make_phantom(seed, index=i) for i in range(count))
    return [Example(f"phantom-{i}", m.frame.pixels, m.keypoints.coords) for i, m in enumerate(made)]


def labelled_examples(
    job: Job, val: str | None, config: FrameTrainingConfig, read: Callable[[str], list[LabelledFrame]]
) -> TrainingFrames:
    """Labelled frames; ``read`` gives those of a label file.

    Raises:
        UsageError: as ``split_frames`` and ``read_examples`` do.
    """
    labelled = read(job.labels)
    chosen = read(val) if val is not None else None
    split = split_frames(labelled, chosen, config.holdout, job.seed, config.patient)
    training, checking = (read_examples(frames) for frames in split)
    facts = labelled_facts(
        job, val, len(training), len(checking), _parts(training + checking), phantoms=config.phantoms
    )
    return TrainingFrames(training, checking, facts)


def unlabelled_examples(data: Path, frames: str | Path | None, holdout: float, seed: int) -> TrainingFrames:
    """Frames without labels.

    Args:
        data: folder with the pictures.
        frames: a list of file names (one a line); None = every picture below ``data``.
        holdout: share that is held out, in whole groups of near-duplicates.
        seed: of that choice.

    Raises:
        UsageError: no such list or frame, or nothing in the folder.
    """
    entries = unlabelled_frames(data, frames, ()).entries
    nothing = np.zeros((0, 2))
    examples = [Example(entry.source, read_frame(entry.path).pixels, nothing) for entry in entries]
    held = np.zeros(len(examples), bool)
    if holdout and len(examples) > 1:
        held = hold_out(near_duplicate_groups([entry.path for entry in entries]), holdout, seed)
    training = [example for example, out in zip(examples, held, strict=True) if not out]
    checking = [example for example, out in zip(examples, held, strict=True) if out]
    facts = {
        "list": str(frames) if frames is not None else None, "frames": len(training), "checked_frames": len(checking),
        "fingerprint": fingerprint(_parts(examples)),
    }  # fmt: skip
    return TrainingFrames(training, checking, facts)


def _parts(examples: Sequence[Example]) -> Iterator[bytes]:
    return (part for example in examples for part in example.parts())
