"""``pretrain --method yolo``: strokes -> regions -> boxes -> detection training (Li et al., section 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aop_pose.artefacts import manifest, resolve
from aop_pose.errors import UsageError
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import resolve as resolve_labels
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RunFolder, fingerprint
from aop_pose.pipelines.yolo.config import DEFAULT_PRESET, PRESETS, YoloConfig

STAND_IN = "scribble-unet"


def pretrain(job: Job, segmenter: str = "auto", boxes: Path | None = None) -> dict[str, Any]:
    """Train a PS/FH detector whose weights start the pose network; returns what run.json says.

    ``boxes/`` in the run folder holds what the segmenter gave (YOLO detection layout, masks, left_out.csv); when it is
    complete, a resumed run goes on from it.

    Args:
        job: data, settings and run folder.
        segmenter: a name of ``scribbles.segmenters.choose``.
        boxes: a folder of that layout, corrected by a person, in place of labels and segmenter.

    Raises:
        UsageError: labels, boxes, settings or run folder do not fit.
        AopPoseError: the run broke off.
    """
    from aop_pose.pipelines.isolation import isolate

    isolate()
    from aop_pose.pipelines.start import find_start
    from aop_pose.pipelines.yolo.box_trainer import BoxTrainer
    from aop_pose.pipelines.yolo.boxes import box_parts, read_boxes, write_boxes
    from aop_pose.pipelines.yolo.exact import carry_out

    config = load_config(YoloConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    frames, chosen, given = [], None, None
    about: dict[str, Any]
    if boxes is None:
        frames = read_iugc(resolve_labels(job.labels, job.data), job.data)
        if not frames:
            raise UsageError("--labels: expected at least one labelled frame, found none")
        parts = (part for frame in frames for part in (frame.path.read_bytes(), frame.keypoints.coords.tobytes()))
        chosen = choose_segmenter(segmenter)
        about = {"labels": job.labels, "frames": len(frames), "segmenter": segmenter, "fingerprint": fingerprint(parts)}
    elif boxes.is_dir():
        given = read_boxes(boxes)
        about = {"boxes": str(boxes), "fingerprint": fingerprint(box_parts(*given))}
    else:
        raise UsageError(f"--boxes: expected a YOLO detection folder, found nothing at {boxes}")
    start = find_start(job.init, config.model)
    facts = {"seed": job.seed, "stage": "pretrain", "schema": "boxes", "data": about}
    run = RunFolder.open(job.out, "yolo", config, facts, job.resume)
    folder = job.out / "boxes"
    if chosen is not None and not folder.is_dir():
        job.say(chosen.why)
        left_out = write_boxes(frames, chosen.segmenter, folder, config.holdout, job.seed)
        job.say(f"boxes: {len(frames) - len(left_out)} of {len(frames)} frames, {len(left_out)} left out ({folder})")
        run.save(segmenter=chosen.why, left_out=len(left_out))
    examples, checks = given or read_boxes(folder)
    job.say(f"start: {start.words}")
    trainer = BoxTrainer(config, job, start, examples, checks)
    return carry_out(trainer, run, start=start.words, boxes={"train": len(examples), "val": len(checks)})


def choose_segmenter(name: str) -> Any:
    """The segmenter of a name, with the shipped stand-in at hand."""
    from aop_pose.scribbles.segmenters.choose import choose

    shipped = any(entry.name == STAND_IN for entry in manifest())
    return choose(name, resolve(STAND_IN) if shipped else None)
