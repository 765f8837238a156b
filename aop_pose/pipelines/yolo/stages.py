"""The two trainings of YOLO: boxes of PS and FH, and points on labelled, made-up and pseudo-labelled frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.masks import mask_boxes
from aop_pose.formats.registry import read_labels
from aop_pose.inference.weights import manifest
from aop_pose.inference.weights import resolve as resolve_artefact
from aop_pose.pipelines.data import check_halves, label_spreads, split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RunFolder, fingerprint, labelled_facts
from aop_pose.pipelines.yolo.config import METHOD, YoloConfig
from aop_pose.pseudo.chosen import PseudoSet, find_pseudo

if TYPE_CHECKING:
    from aop_pose.pipelines.yolo.trainers import Confidence


def train_pose(
    job: Job,
    config: YoloConfig,
    *,
    val: str | None = None,
    boxes: Path | None = None,
    pseudo: str | Path | None = None,
    dynamic: bool = False,
    frames: str | Path | None = None,
) -> dict[str, Any]:
    """Train a pose network on labelled frames; returns what run.json says.

    Args:
        job: data and run folder.
        config: the settings.
        val: label file that chooses the best epoch; without it a share of the labelled frames does, in whole groups.
        boxes: a YOLO detection folder (``pretrain`` writes one) with boxes of PS and FH on the labelled pictures. They
            are learned beside the points, as classes of their own (Li et al., equation 11).
        pseudo: a ``pseudo.csv``, as given or below ``job.data``: its kept frames fill half of each batch, their loss
            times their weight (equation 13). An epoch is one pass over the labelled frames and phantoms.
        dynamic: weights of pseudo-labels are computed anew each epoch, instead of those in the file.
        frames: a list, as given or below ``job.data``: only these of the pseudo-labelled frames.

    Raises:
        UsageError: labels, settings, start or run folder do not fit; nothing was written.
        AopPoseError: the run broke off.
    """
    from aop_pose.pipelines.isolation import isolate

    isolate()
    from aop_pose.pipelines.start import find_start
    from aop_pose.pipelines.yolo.network import transfer
    from aop_pose.pipelines.yolo.resumable import fit
    from aop_pose.pipelines.yolo.trainers import FrameTrainer, WeightedTrainer, class_names

    labelled = labels_of(job, job.labels)
    chosen = labels_of(job, val) if val is not None else None
    training, checking = split_frames(labelled, chosen, config.holdout, job.seed)
    examples, checks = read_examples(training), read_examples(checking)
    auxiliary: dict[str, Any] = {}
    if boxes is not None:
        from aop_pose.pipelines.yolo.boxes import add_boxes

        examples = add_boxes(examples, [frame.name for frame in labelled], boxes)
        auxiliary = {"boxes": str(boxes), "boxed_frames": sum(bool(example.classes) for example in examples)}
    trusted: list[Any] = []
    confidence: Confidence | None = None
    about: dict[str, Any] = {}
    if pseudo is not None:
        taken = {"--labels": labelled, "--val": chosen or []}
        trusted, confidence, about = read_trusted(find_pseudo(pseudo, job.data, frames, taken), config, job, dynamic)
    start = find_start(job.init, config.model)
    moved = transfer(start, config.model, len(class_names(examples)))
    parts = (part for example in examples + trusted + checks for part in _parts(example))
    data = labelled_facts(job, val, len(training), len(checking), parts, phantoms=config.phantoms)
    facts = {"seed": job.seed, "stage": "train", "schema": AOP.name, "data": {**data, **auxiliary, **about}}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    job.say(f"start: {start.words}; {moved[0]} of {moved[1]} tensors transferred")
    if label_spreads(labelled) is not None:
        job.say("the labels state how uncertain they are (POINT_sd_px): yolo does not use it, unet and hrnet-gan do")
    job.say(f"frames: {len(training)} labelled, {config.phantoms} phantoms, {len(checking)} to choose the epoch")
    if trusted:
        how = f"by {confidence.rule} anew each epoch" if confidence else "as the file gives them"
        job.say(f"pseudo-labels: {len(trusted)} frames, half of each batch; weights {how}")
    if auxiliary:
        others = (
            "; on the others PS and FH count as background"
            if auxiliary["boxed_frames"] < len(training + trusted)
            else ""
        )
        job.say(f"auxiliary boxes: on {auxiliary['boxed_frames']} of {len(training)} labelled frames{others}")
    examples += phantom_examples(config.phantoms, job.seed, boxed=bool(auxiliary))
    if trusted:
        trainer = WeightedTrainer(config, job, start, examples + trusted, checks, confidence)
    else:
        trainer = FrameTrainer(config, job, start, examples, checks)
    return fit(trainer, run, start=start.words, tensors_transferred=list(moved))


def read_trusted(
    found: PseudoSet, config: YoloConfig, job: Job, dynamic: bool
) -> tuple[list[Any], Confidence | None, dict[str, Any]]:
    """Pseudo-labelled examples, the rule that weighs them anew or None, and what run.json says of them."""
    from aop_pose.pipelines.yolo.trainers import Confidence

    check_halves(config.batch)
    examples = read_examples([one.frame for one in found.frames])
    trusted = [attrs.evolve(example, weight=one.weight) for example, one in zip(examples, found.frames, strict=True)]
    confidence = Confidence.of(found.origin, config, job.seed) if dynamic else None
    return trusted, confidence, {"pseudo": found.facts(None if confidence is None else confidence.facts)}


def labels_of(job: Job, file: str) -> list[Label]:
    """The labelled frames of a file, decoded; what is left out is said."""
    return read_labels(resolve(file, job.data, own=True), job.data, keep=True, say=job.say)


def read_examples(frames: Sequence[Label]) -> list[Any]:
    """Pictures and points in memory."""
    from aop_pose.pipelines.yolo.data import Example

    return [Example(frame.name, frame.gray(), frame.points) for frame in frames]


def phantom_examples(count: int, seed: int, boxed: bool = False) -> list[Any]:
    """Made-up frames as further training examples; ``boxed`` with the boxes of their masks as auxiliary boxes."""
    if not count:
        return []
    from aop_pose.phantom import make_phantom
    from aop_pose.pipelines.yolo.data import Example

    examples = []
    for i in range(count):
        made = make_phantom(seed, index=i)
        example = Example(f"phantom-{i}", made.frame.pixels, made.keypoints.coords)
        if boxed:
            boxes = mask_boxes(made.mask)
            example = attrs.evolve(example, classes=boxes.classes, boxes=boxes.corners)
        examples.append(example)
    return examples


def _parts(example: Any) -> list[bytes]:
    parts = [example.name.encode(), example.pixels.tobytes(), example.points.tobytes()]
    parts += [bytes(example.classes), example.boxes.tobytes()] if example.classes else []
    return parts + ([struct.pack("<d", example.weight)] if example.weight is not None else [])


STAND_IN = "scribble-unet"


def train_boxes(job: Job, config: YoloConfig, *, segmenter: str = "auto", boxes: Path | None = None) -> dict[str, Any]:
    """Train a PS/FH detector whose weights start the pose network; returns what run.json says.

    ``boxes/`` in the run folder holds what the segmenter gave (YOLO detection layout, masks, left_out.csv); when it is
    complete, a resumed run goes on from it.

    Args:
        job: data and run folder.
        config: the settings.
        segmenter: a name of ``scribbles.segmenters``.
        boxes: a folder of that layout, corrected by a person, in place of labels and segmenter.

    Raises:
        UsageError: labels, boxes, settings or run folder do not fit.
        AopPoseError: the run broke off.
    """
    from aop_pose.pipelines.isolation import isolate

    isolate()
    from aop_pose.pipelines.start import find_start
    from aop_pose.pipelines.yolo.boxes import box_parts, read_boxes, write_boxes
    from aop_pose.pipelines.yolo.resumable import fit
    from aop_pose.pipelines.yolo.trainers import BoxTrainer

    frames, chosen, given = [], None, None
    about: dict[str, Any]
    if boxes is None:
        frames = labels_of(job, job.labels)
        if not frames:
            raise UsageError("--labels: expected at least one labelled frame, found none")
        parts = (part for frame in frames for part in (frame.path.read_bytes(), frame.points.tobytes()))
        chosen = choose_segmenter(segmenter)
        about = {"labels": job.labels, "frames": len(frames), "segmenter": segmenter, "fingerprint": fingerprint(parts)}
    elif boxes.is_dir():
        given = read_boxes(boxes)
        about = {"boxes": str(boxes), "fingerprint": fingerprint(box_parts(*given))}
    else:
        raise UsageError(f"--boxes: expected a YOLO detection folder, found nothing at {boxes}")
    start = find_start(job.init, config.model)
    facts = {"seed": job.seed, "stage": "pretrain", "schema": "boxes", "data": about}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    folder = job.out / "boxes"
    if chosen is not None and not folder.is_dir():
        job.say(chosen.why)
        left_out = write_boxes(frames, chosen.segmenter, folder, config.holdout, job.seed)
        job.say(f"boxes: {len(frames) - len(left_out)} of {len(frames)} frames, {len(left_out)} left out ({folder})")
        run.save(segmenter=chosen.why, left_out=len(left_out))
    examples, checks = given or read_boxes(folder)
    job.say(f"start: {start.words}")
    trainer = BoxTrainer(config, job, start, examples, checks)
    return fit(trainer, run, start=start.words, boxes={"train": len(examples), "val": len(checks)})


def choose_segmenter(name: str) -> Any:
    """The segmenter of a name, with the shipped stand-in at hand."""
    from aop_pose.scribbles.segmenters import choose

    shipped = any(entry.name == STAND_IN for entry in manifest())
    return choose(name, resolve_artefact(STAND_IN) if shipped else None)
