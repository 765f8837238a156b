"""``aop-pose pseudo-label``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE


def pseudo_label(
    images: Annotated[Path, typer.Option("--images", help="Folder of the frames, or one with images/ in it.")],
    out: Annotated[Path, typer.Option("--out", help="The .csv file to write; appears when complete.")],
    weights: Annotated[
        str | None, typer.Option("--weights", help="The teacher: artefact, its name, run folder or checkpoint.")
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--list", help="One file name a line, as given or below --images. Default: all.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", help="Label file whose frames get no pseudo-label; may be repeated."),
    ] = None,
    val: Annotated[
        list[str] | None, typer.Option("--val", help="Validation file whose frames get none; may be repeated.")
    ] = None,
    confidence: Annotated[
        str,
        typer.Option(
            "--confidence",
            help="Makes the weight: steady (ranks errors best), noise, entropy, score-entropy, detection, "
            "paper (equation 14 on raw coordinates), paper-centred or paper-scores.",
        ),
    ] = "steady",
    keep_above: Annotated[
        float | None, typer.Option("--keep-above", min=0, max=1, help="Drop frames of a lower weight.")
    ] = None,
    keep_quantile: Annotated[
        float | None, typer.Option("--keep-quantile", min=0, max=1, help="Drop this share of lowest weights.")
    ] = None,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Every kept frame weighs 1: the confidence only ranks and drops.")
    ] = False,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", min=0, max=1, help="Drop frames of a lower detection confidence; else the network's."
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=1, max=1000, help="Passes after noise, per frame.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it and the file's name.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
) -> None:
    """Let a network label frames, each with how far to trust it.

    Writes Filename,PS1,PS2,FH1,AoP,keep,reason,det_conf,entropy,cosine,weight; every frame has a row. Rows with
    keep 0 are left out where the file is read as labels (dataset check, dataset convert, training). A list that
    names a frame of --labels or --val is an error; in a whole folder such frames are left out. Running the same
    command again after an interruption goes on where it stopped. Exit code 0: every frame read; 3: some file was
    unreadable; 1: no frame was kept.

    Example: aop-pose pseudo-label --weights aop-fast --images psfhs --list unlabelled.txt --out pseudo.csv
    """
    from aop_pose.cli.terminal.progress import FrameProgress
    from aop_pose.errors import UsageError
    from aop_pose.measuring.facts import run_facts
    from aop_pose.pipelines import load_weights
    from aop_pose.pseudo.label import Rule
    from aop_pose.pseudo.run import Cut, unlabelled_frames
    from aop_pose.pseudo.run import pseudo_label as run
    from aop_pose.pseudo.signals import CONFIDENCES

    if confidence not in CONFIDENCES:
        raise UsageError(f"--confidence: expected one of {', '.join(CONFIDENCES)}, found {confidence!r}")
    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device: expected cpu or cuda, found {device!r}")
    rule = Rule(confidence, draws, seed, min_score)
    cut = Cut(keep_above, keep_quantile, uniform)
    frames = unlabelled_frames(images, listed, [*(labels or []), *(val or [])])
    # Frames are at work side by side, each in one thread: faster than one frame in all of them.
    predictor = load_weights(weights, "aop", device, threads=1)
    facts = {**run_facts(predictor, device), "images": str(images), "list": listed, "labels": labels, "val": val}
    with FrameProgress("labelling") as progress:
        summary = run(
            predictor, frames, out, rule=rule, cut=cut, overwrite=overwrite, facts=facts,
            on_start=progress.start, on_row=progress.row,
        )  # fmt: skip
    dropped = ", ".join(f"{count} by {why}" for why, count in summary.reasons.items()) or "none"
    weight = f", mean weight {summary.mean_weight:.2f}" if summary.kept else ""
    passed = f"; {frames.labelled} frames with labels and {frames.ignored} other files passed over"
    speech.say(
        f"{out}: {summary.kept} of {summary.rows} frames kept{weight} (dropped: {dropped})"
        f"{passed if frames.labelled or frames.ignored else ''}. {RESEARCH_USE}"
    )
    if summary.unreadable:
        raise typer.Exit(3)
