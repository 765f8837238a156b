"""``aop-pose train`` and ``aop-pose pretrain``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[Path, typer.Option("--data", help="Folder with the pictures.", exists=True, file_okay=False)]
Out = Annotated[Path, typer.Option("--out", help="Run folder to write.")]
Method = Annotated[str, typer.Option("--method", help="Pipeline.")]
Labels = Annotated[str, typer.Option("--labels", help="Label file, as given or below --data.")]
Init = Annotated[str, typer.Option("--init", help="auto, scratch, a checkpoint or a run folder.")]
Preset = Annotated[str | None, typer.Option("--preset", help="paper, fast, or a YAML file.")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or the number of a CUDA device.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]


def train(
    data: Data,
    out: Out,
    method: Method = "yolo",
    labels: Labels = "labels.csv",
    val: Annotated[
        str | None,
        typer.Option("--val", help="Label file that chooses the best epoch; else a tenth of --labels, by group."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="YOLO detection folder: PS and FH boxes that are learned beside the points."),
    ] = None,
    init: Init = "auto",
    preset: Preset = None,
    changes: Changes = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
) -> None:
    """Train a network that finds PS1, PS2 and FH1.

    Example: aop-pose train --method yolo --data psfhs --labels labelled.csv --preset fast --out runs/first
    """
    settings: dict[str, Any] = {"labels": labels, "init": init, "preset": preset, "changes": changes or []}
    settings |= {"seed": seed, "device": device, "resume": resume}
    _run(method, "train", data, out, settings, val=val, boxes=boxes)
    typer.echo(f"export it with: {shlex.join(['aop-pose', 'export', str(out), '--out', f'{out.name}.onnx'])}")


def pretrain(
    data: Data,
    out: Out,
    method: Method = "yolo",
    labels: Labels = "labels.csv",
    segmenter: Annotated[
        str, typer.Option("--segmenter", help="auto, scribbleprompt, scribble-unet, classical or geometry.")
    ] = "auto",
    boxes: Annotated[
        Path | None, typer.Option("--boxes", help="YOLO detection folder with corrected boxes; no segmenter then.")
    ] = None,
    init: Init = "auto",
    preset: Preset = None,
    changes: Changes = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
) -> None:
    """Teach a detector where symphysis and head are, from strokes that the landmarks give.

    The run folder's boxes/ can be corrected by hand and given back with --boxes. Train from the result with
    aop-pose train --init RUN.

    Example: aop-pose pretrain --data psfhs --labels labelled.csv --out runs/boxes
    """
    settings: dict[str, Any] = {"labels": labels, "init": init, "preset": preset, "changes": changes or []}
    settings |= {"seed": seed, "device": device, "resume": resume}
    _run(method, "pretrain", data, out, settings, segmenter=segmenter, boxes=boxes)
    again = ["aop-pose", "train", "--data", str(data), "--labels", labels, "--init", str(out), "--out", "RUN"]
    typer.echo(f"train from it with: {shlex.join(again)}")


def _run(method: str, verb: str, data: Path, out: Path, settings: dict[str, Any], **options: Any) -> None:
    from aop_pose.cli.progress import EpochProgress
    from aop_pose.pipelines import pipeline
    from aop_pose.pipelines.job import Job

    work: Callable[..., dict[str, Any]] = getattr(pipeline(method), verb)
    with EpochProgress() as bar:
        job = Job(data, out, say=bar.say, on_epoch=bar.epoch, on_batch=bar.batch, **settings)
        record = work(job, **options)
    typer.echo(f"{out}: finished in {record['wall_seconds'] / 60:.1f} min")
