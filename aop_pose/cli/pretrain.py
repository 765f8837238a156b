"""``aop-pose pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    data: Annotated[Path, typer.Option("--data", help="Folder with the pictures.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    method: Annotated[str, typer.Option("--method", help="Pipeline.")] = "yolo",
    labels: Annotated[str, typer.Option("--labels", help="Label file, as given or below --data.")] = "labels.csv",
    segmenter: Annotated[
        str, typer.Option("--segmenter", help="auto, scribbleprompt, scribble-unet, classical or geometric.")
    ] = "auto",
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="YOLO detection folder with corrected boxes; no segmenter then."),
    ] = None,
    init: Annotated[str, typer.Option("--init", help="auto, scratch, a checkpoint or a run folder.")] = "auto",
    preset: Annotated[str | None, typer.Option("--preset", help="paper, fast, or a YAML file.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, or cuda device such as 0.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Teach a detector where symphysis and head are, from strokes that the landmarks give.

    The run folder's boxes/ can be corrected by hand and given back with --boxes. Train from the result with
    aop-pose train --init RUN.

    Example: aop-pose pretrain --data psfhs --labels labelled.csv --out runs/boxes
    """
    from aop_pose.cli.common import require_train
    from aop_pose.cli.progress import EpochProgress
    from aop_pose.pipelines import pipeline

    require_train()
    chosen = pipeline(method)
    with EpochProgress() as progress:
        record = chosen.pretrain(
            data,
            labels,
            out,
            segmenter=segmenter,
            boxes=boxes,
            init=init,
            preset=preset or chosen.DEFAULT_PRESET,
            changes=changes or [],
            seed=seed,
            device=device,
            resume=resume,
            say=progress.say,
            on_epoch=progress.epoch,
            on_batch=progress.batch,
        )
    typer.echo(f"{out}: finished in {record['wall_seconds'] / 60:.1f} min; train with: aop-pose train --init {out} ...")
