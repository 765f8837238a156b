"""``aop-pose predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.errors import UsageError


def predict(
    sources: Annotated[
        list[str], typer.Argument(help="Pictures or volumes, folders (searched through) or quoted globs.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for results.csv, results.json and overlays/.")],
    weights: Annotated[
        str | None, typer.Option("--weights", help="Artefact, its name, run folder or checkpoint.")
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option("--schema", help="aop or head: picks the shipped default; volumes need --weights."),
    ] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(
            "--pixel-size", help="mm per pixel, or a CSV with Filename,pixel_size_mm; for volumes mm per voxel."
        ),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw a picture of each frame or volume.")] = True,
    batch: Annotated[
        int,
        typer.Option("--batch", min=1, max=256, help="Frames per pass of the network; volumes go one by one."),
    ] = 8,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    coverage: Annotated[
        float,
        typer.Option("--coverage", help="Share of intervals that hold the true value, if the artefact is calibrated."),
    ] = 0.9,
    gate: Annotated[
        bool, typer.Option(help="Withhold numbers where the artefact's gate doubts that a picture can be measured.")
    ] = True,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Refine the network for each volume by poses it was trained on (fetusmap runs)."),
    ] = False,
    refine_on: Annotated[
        str | None,
        typer.Option(
            "--refine-on", help="Points --refine trusts: paper (2, 3, 5, 7, 9; default) or surest (the highest peaks)."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands in --out.")] = False,
) -> None:
    """Measure every frame or volume of files, folders and globs; one row each, whatever happens.

    Weights that find points in volumes (train --method fetusmap) take volumes: NIfTI, MetaImage, NRRD, NumPy.
    A 4-D file has a row a time point.
    Running the same command again after an interruption goes on where it stopped.
    Exit code 0: all measured or abstained; 3: some file was unreadable.

    Example: aop-pose predict frames/ --out results/
    """
    from aop_pose.cli.measuring import measure_to

    if refine_on is not None and not refine:
        raise UsageError("--refine-on goes with --refine")
    raise typer.Exit(
        measure_to(
            sources,
            out,
            weights=weights,
            schema=schema,
            pixel_size=pixel_size,
            overlay=overlay,
            batch=batch,
            device=device,
            coverage=coverage,
            gate=gate,
            refine=(refine_on or "paper") if refine else None,
            overwrite=overwrite,
        )
    )
