"""``pretrain --method yolo``: strokes -> regions -> boxes -> detection training (Li et al., section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aop_pose.artefacts import manifest, resolve
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import resolve as resolve_labels
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.run import RunFolder, fingerprint
from aop_pose.pipelines.yolo.config import PRESETS, YoloConfig

STAND_IN = "scribble-unet"


def pretrain(
    data: Path,
    labels: str,
    out: Path,
    *,
    segmenter: str = "auto",
    boxes: Path | None = None,
    init: str = "auto",
    preset: str,
    changes: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    say: Callable[[str], None] = print,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
    on_batch: Callable[[int, int, int, float], None] = lambda epoch, batch, batches, loss: None,
) -> dict[str, Any]:
    """Train a PS/FH detector whose weights start the pose network; returns what run.json says.

    ``out/boxes/`` holds what the segmenter gave (YOLO detection layout, masks, left_out.csv); when it is complete, a
    resumed run goes on from it. ``boxes`` takes such a folder, corrected by a person, in place of the segmenter.

    Raises:
        UsageError: labels, boxes, settings or run folder do not fit.
        AopPoseError: the run broke off.
    """
    from aop_pose.pipelines.yolo.isolation import isolate

    isolate()
    from aop_pose.pipelines.yolo.box_trainer import BoxTrainer
    from aop_pose.pipelines.yolo.boxes import read_boxes, write_boxes
    from aop_pose.pipelines.yolo.exact import best_row, precision_of
    from aop_pose.pipelines.yolo.start import find_start

    config = load_config(YoloConfig, PRESETS, preset, changes)
    frames = read_iugc(resolve_labels(labels, data), data) if boxes is None else []
    parts = (part for frame in frames for part in (frame.path.read_bytes(), frame.keypoints.coords.tobytes()))
    about = {"labels": labels, "frames": len(frames), "fingerprint": fingerprint(parts)}
    about = about if boxes is None else {"boxes": str(boxes)}
    facts = {"stage": "pretrain", "seed": seed, "schema": "boxes", "data": about}
    run = RunFolder.open(out, "yolo", config, facts, resume)
    folder = boxes if boxes is not None else out / "boxes"
    if not folder.is_dir():
        if boxes is not None:
            raise UsageError(f"--boxes: expected a YOLO detection folder, found nothing at {boxes}")
        chosen = choose_segmenter(segmenter)
        say(chosen.why)
        left_out = write_boxes(frames, chosen.segmenter, folder, config.holdout, seed)
        say(f"boxes: {len(frames) - len(left_out)} of {len(frames)} frames, {len(left_out)} left out ({folder})")
        run.save(segmenter=chosen.why, left_out=len(left_out))
    examples, checks = read_boxes(folder)
    start = find_start(init, config.model, out)
    say(f"start: {start.words}")
    trainer = BoxTrainer(
        config, examples, checks, out, start=start.model, seed=seed, device=device, resume=resume,
        on_epoch=on_epoch, on_batch=on_batch,
    )  # fmt: skip
    run.save(start=start.words, precision=precision_of(config, device), device=device)
    try:
        trainer.train()
    except RuntimeError as error:
        raise AopPoseError(f"pre-training broke off: {str(error).splitlines()[0]}") from error
    best = best_row(out, BoxTrainer.checked)
    (out / "weights" / "resume.pt").unlink(missing_ok=True)
    run.finish(best=best, boxes={"train": len(examples), "val": len(checks)})
    say(f"kept: epoch {best['epoch']:.0f} of {config.epochs}")
    return run.record


def choose_segmenter(name: str) -> Any:
    """The segmenter of a name, with the shipped stand-in at hand."""
    from aop_pose.scribbles.segmenters.choose import choose

    shipped = any(entry.name == STAND_IN for entry in manifest())
    return choose(name, resolve(STAND_IN) if shipped else None)
