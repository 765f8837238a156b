"""``aop-pose train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    data: Annotated[Path, typer.Option("--data", help="Folder with the pictures.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    method: Annotated[str, typer.Option("--method", help="Pipeline.")] = "yolo",
    labels: Annotated[str, typer.Option("--labels", help="Label file, as given or below --data.")] = "labels.csv",
    val: Annotated[
        str | None,
        typer.Option("--val", help="Label file that chooses the best epoch; else a tenth of --labels, by group."),
    ] = None,
    init: Annotated[str, typer.Option("--init", help="auto, scratch, a checkpoint or a run folder.")] = "auto",
    preset: Annotated[str | None, typer.Option("--preset", help="paper, fast, or a YAML file.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, or cuda device such as 0.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Train a network that finds PS1, PS2 and FH1.

    Example: aop-pose train --method yolo --data psfhs --labels labelled.csv --preset fast --out runs/first
    """
    from aop_pose.cli.common import require_train
    from aop_pose.cli.progress import EpochProgress
    from aop_pose.pipelines import pipeline

    require_train()
    chosen = pipeline(method)
    with EpochProgress() as progress:
        record = chosen.train(
            data,
            labels,
            out,
            val=val,
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
    typer.echo(f"{out}: finished in {record['wall_seconds'] / 60:.1f} min; export it with: aop-pose export {out}")
