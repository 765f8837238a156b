"""``aop-pose predict``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.common import NETWORKS, offering
from aop_pose.cli.terminal import speech
from aop_pose.errors import UsageError

RUNNERS = ("local", "ray")


def predict(
    out: Annotated[Path, typer.Option("--out", help="Folder for results.csv, results.json and overlays/.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Pictures, DICOM, videos or volumes; folders (searched through), globs, zips, s3://... addresses.",
            show_default=False,
        ),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--list",
            help="Measure what it names: a file name a line, or Parquet with a column Filename; below SOURCES, which "
            "is one folder, else below the list's own.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="Artefact, its name, run folder or checkpoint.", autocompletion=NETWORKS),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            help="aop, head or fetal_face (volumes): picks the shipped default.",
            autocompletion=offering("aop", "head", "fetal_face"),
        ),
    ] = None,
    pixel_size: Annotated[
        str | None,
        typer.Option(
            "--pixel-size", help="mm per pixel, or a CSV with Filename,pixel_size_mm; for volumes mm per voxel."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            help="Part of each frame that is ultrasound: auto (default: as the file says, else found), whole, or "
            "X,Y,W,H in pixels.",
            autocompletion=offering("auto", "whole"),
        ),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw a picture of each frame or volume.")] = True,
    outlines: Annotated[
        bool,
        typer.Option("--outlines", help="Write contours of symphysis and head, and the head's direction, as JSON."),
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, max=256, help="Frames that are taken in hand together (default 8); not for volumes."
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="cpu, cuda, cuda:1, or gpu, which is OpenVINO's.",
            autocompletion=offering("cpu", "cuda", "gpu"),
        ),
    ] = "cpu",
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="What runs the network: onnx, openvino, or auto: the faster one that gives onnx's points to 0.01 px.",
            autocompletion=offering("inference.engine:ENGINES"),
        ),
    ] = "onnx",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="f32; bf16 (openvino) or int8: faster, refused where it moves an angle of 32 of the frames by more "
            "than 1 degree.",
            autocompletion=offering("inference.engine:PRECISIONS"),
        ),
    ] = "f32",
    coverage: Annotated[
        float | None,
        typer.Option("--coverage", help="Share of intervals that hold the true value (default 0.9 if calibrated)."),
    ] = None,
    gate: Annotated[
        bool | None,
        typer.Option(
            "--gate/--no-gate",
            help="Withhold numbers where the artefact's gate doubts that a picture can be measured (default where it "
            "has a gate).",
        ),
    ] = None,
    looks: Annotated[
        int,
        typer.Option(
            "--looks",
            min=1,
            max=12,
            help="Look so many times at each frame, turned and scaled a little, and measure the mean.",
        ),
    ] = 1,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Refine the network for each volume by poses it was trained on (fetusmap runs)."),
    ] = False,
    refine_on: Annotated[
        str | None,
        typer.Option(
            "--refine-on",
            help="Points --refine trusts: surest (the highest peaks; default) or paper (2, 3, 5, 7, 9).",
            autocompletion=offering("surest", "paper"),
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option("--every", metavar="N", help="Of the frames of a cine every N-th, from the first.")
    ] = None,
    start: Annotated[float | None, typer.Option("--from", metavar="S", help="Of a cine, from this second on.")] = None,
    end: Annotated[float | None, typer.Option("--to", metavar="S", help="Of a cine, up to this second.")] = None,
    smooth: Annotated[
        int | None,
        typer.Option("--smooth", metavar="N", help="Of a cine, a running median of N frames beside its trace."),
    ] = None,
    keep_identifiers: Annotated[
        bool,
        typer.Option(
            "--keep-identifiers",
            help="Rows of DICOM files keep path and SOP instance UID, overlays what is burned in.",
        ),
    ] = False,
    private_map: Annotated[
        Path | None,
        typer.Option("--private-map", metavar="CSV", help="Write which DICOM file has which name, for you alone."),
    ] = None,
    runner: Annotated[
        str,
        typer.Option(
            "--runner",
            help="local, or ray: workers of Ray, on this machine or the cluster of RAY_ADDRESS.",
            autocompletion=offering("cli.predict:RUNNERS"),
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="Groups of frames at work at a time (default: cores)."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="csv, or parquet: results.parquet in the place of results.csv.",
            autocompletion=offering("measuring.folder:FORMATS"),
        ),
    ] = "csv",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what stands in --out.")] = False,
) -> None:
    """Measure every frame or volume of files, folders and globs; one row each, whatever happens.

    Weights that find points in volumes (train --method fetusmap) take volumes: NIfTI, MetaImage, NRRD, NumPy.
    A 4-D file has a row a time point. A cine has a row a frame, and its trace in cine/.
    Running the same command again after an interruption goes on where it stopped.
    Exit code 0: all measured or abstained; 3: some file was unreadable.

    Example: aop-pose predict frames/ --out results/
    """

    if refine_on is not None and not refine:
        raise UsageError("--refine-on goes with --refine")
    raise typer.Exit(
        measure_to(
            sources or [],
            out,
            listed=listed,
            runner=runner,
            workers=workers,
            format=format,
            weights=weights,
            schema=schema,
            pixel_size=pixel_size,
            region=region,
            overlay=overlay,
            outlines=outlines,
            batch=batch,
            device=device,
            engine=engine,
            precision=precision,
            coverage=coverage,
            gate=gate,
            looks=looks,
            refine=(refine_on or "surest") if refine else None,
            every=every,
            start=start,
            end=end,
            smooth=smooth,
            keep_identifiers=keep_identifiers,
            private_map=private_map,
            as_json=as_json,
            overwrite=overwrite,
        )
    )


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an earlier demo in it is replaced.")] = Path(
        "aop-demo"
    ),
) -> None:
    """Measure the packaged phantom frames with the shipped artefact: a table, overlays and a contact sheet.

    The gate, which would withhold some of these made-up frames, is off.

    Example: aop-pose demo
    """
    from rich.table import Column, Table

    from aop_pose.errors import UsageError
    from aop_pose.formats.registry import read_labels
    from aop_pose.geometry import angle_of_progression
    from aop_pose.inference.weights import shipped_phantoms
    from aop_pose.io.folders import sources_of_run
    from aop_pose.io.table import read_results

    phantoms = shipped_phantoms()
    # An earlier demo may be of another installation: the last names of its folder tell it.
    own = [Path(source).parts[-2:] for source in sources_of_run(out)] == [(phantoms / "images").parts[-2:]]
    if out.is_dir() and any(out.iterdir()) and not own:
        raise UsageError(
            f"--out: expected a new or empty folder, or one of an earlier demo, found other files in {out}"
        )
    # The gate knows how real frames look, and phantoms do not quite.
    code = measure_to([phantoms / "images"], out, overwrite=True, gate=False)
    truth = {
        frame.name: float(angle_of_progression(*frame.points))
        for frame in read_labels(phantoms / "labels.csv", phantoms)
    }
    names = ("frame", "status", "AoP measured", "AoP true", "score")
    # On a narrow terminal a number goes on in the next line; it never loses a digit.
    table = Table(*(Column(name, overflow="fold") for name in names), title="Made-up frames (phantoms)")
    for row in read_results(out / "results.csv"):
        angle = f"{float(row['aop_deg']):.1f}°" if row["aop_deg"] else row["reason"]
        table.add_row(row["source"], row["status"], angle, f"{truth[row['source']]:.1f}°", row["score"])
    speech.show(table)
    raise typer.Exit(code)


def measure_to(
    sources: Sequence[str | Path],
    out: Path,
    *,
    weights: str | None = None,
    schema: str | None = None,
    pixel_size: str | None = None,
    region: str | None = None,
    overlay: bool = True,
    outlines: bool = False,
    batch: int | None = None,
    device: str = "cpu",
    engine: str = "onnx",
    precision: str = "f32",
    coverage: float | None = None,
    gate: bool | None = None,
    looks: int = 1,
    refine: str | None = None,
    every: int | None = None,
    start: float | None = None,
    end: float | None = None,
    smooth: int | None = None,
    keep_identifiers: bool = False,
    private_map: Path | None = None,
    listed: Path | None = None,
    runner: str = "local",
    workers: int | None = None,
    format: str = "csv",
    as_json: bool = False,
    overwrite: bool = False,
) -> int:
    """Measure into ``out``; returns the exit code: 3 where some file was unreadable, else 0.

    ``refine``: the points that a refinement trusts, None = no refinement.
    """
    from aop_pose.cli.terminal.progress import FrameProgress
    from aop_pose.core.schema import SCHEMAS
    from aop_pose.inference.engine import check_engine
    from aop_pose.inference.weights import is_trained, load_as
    from aop_pose.io.clinic.video import Selection
    from aop_pose.measuring.folder import predict as measure_sources
    from aop_pose.measuring.images import sampled
    from aop_pose.measuring.summary import as_document, in_words, run_facts
    from aop_pose.provenance import ONE_HEAP, set_malloc

    # Before the first thread of an engine.
    set_malloc(*ONE_HEAP)
    check_engine(engine, precision, device)
    if schema is not None and schema not in SCHEMAS:
        raise UsageError(f"--schema: expected one of {', '.join(SCHEMAS)}, found {schema!r}")
    if smooth is not None:
        from aop_pose.clinic.cine import check_width

        check_width(smooth)
    # Groups of frames are measured side by side, each by one thread: faster than one group by all of them.
    if runner not in RUNNERS:
        raise UsageError(f"--runner: expected one of {', '.join(RUNNERS)}, found {runner!r}")
    if runner == "ray" and (refine is not None or is_trained(weights)):
        raise UsageError("--runner ray: it measures with artefacts; run aop-pose export first")
    images = None if precision == "f32" else sampled(sources, listed)
    if refine is None and not is_trained(weights):
        # The pipelines are not imported: the first row comes sooner.
        predictor = load_as(schema, weights, device, 1, engine=engine, precision=precision, images=images)
    else:
        from aop_pose.pipelines import open_weights

        predictor = open_weights(weights, schema, device, 1, refine, engine, precision, images)
    spread = None
    if runner == "ray":
        from aop_pose.measuring.runners import Ray

        opened = predictor.engine.identity
        if weights is not None and Path(weights).is_file():
            weights = str(Path(weights).resolve())
        # What ``auto`` chose here is what every worker takes.
        spread = Ray(partial(load_as, schema, weights, device, 1, images=images, **opened))
    facts = run_facts(predictor, device)
    speech.detail(f"measuring with {facts}")
    with FrameProgress() as progress:
        summary = measure_sources(
            predictor, sources, out, pixel_size=pixel_size, overlay=overlay, batch=batch, coverage=coverage, gate=gate,
            region=region, looks=looks, outlines=outlines,
            selection=Selection(1 if every is None else every, start, end),
            keep_identifiers=keep_identifiers, private_map=private_map, overwrite=overwrite, facts=facts,
            listed=listed, runner=spread, workers=workers, format=format,
            on_start=progress.start, on_row=progress.row, finish=partial(_write_cines, smooth=smooth),
        )  # fmt: skip
    for note in (*summary.notes, *predictor.engine.notes):
        speech.note(note)
    if as_json:
        speech.answer(as_document(summary, out))
    else:
        for line in in_words(summary, out):
            speech.say(line)
    return 3 if summary.counts.get("unreadable") else 0


def _write_cines(out: Path, smooth: int | None) -> None:
    """Imported when all rows stand: the first one comes sooner."""
    from aop_pose.clinic.cine import write_cines

    write_cines(out, smooth=smooth)
