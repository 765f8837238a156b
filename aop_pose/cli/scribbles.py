"""``aop-pose scribbles``: the strokes that three landmarks give, drawn over their frames."""

from __future__ import annotations

from pathlib import Path

import typer

from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE


def scribbles(
    data: Path = typer.Argument(help="Folder of the pictures: DATA/Filename, else DATA/images/Filename."),
    out: Path = typer.Option(..., "--out", help="Folder for the pictures and tables."),
    labels: str = typer.Option(
        "labels.csv", "--labels", help="Label file Filename,PS1,PS2,FH1[,AoP], as given, else below DATA."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace what an earlier run left in --out."),
) -> None:
    """Draw the strokes that PS1, PS2 and FH1 give for the symphysis (PS) and the head (FH).

    Writes pictures/, strokes.csv (the ends of every stroke in pixels) and left_out.csv (frames without strokes, and
    why). Blue and yellow strokes lie inside PS and FH, orange and pink ones outside.

    Example: aop-pose scribbles data/ --labels labelled.csv --out strokes/
    """
    from aop_pose.errors import UsageError
    from aop_pose.formats.label import resolve
    from aop_pose.formats.registry import sorted_labels
    from aop_pose.io.folders import appearing
    from aop_pose.scribbles.sheet import WRITTEN, write_strokes

    file = resolve(labels, data)
    frames, left_out = sorted_labels(file, data)
    if not frames and not left_out:
        raise UsageError(f"{file}: expected at least one labelled frame, found none")
    with appearing(out, overwrite, data, WRITTEN) as folder:
        sheet = write_strokes(frames, folder, left_out)
    for left in sheet.left_out:
        speech.note(f"left out {left.name}: {left.reason}")
    count = len(frames) + len(left_out)
    speech.say(f"{sheet.drawn} of {count} frames drawn, {len(sheet.left_out)} left out: {out}. {RESEARCH_USE}")
    if sheet.unreadable:
        raise typer.Exit(3)
