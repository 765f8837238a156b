"""``aop-pose evaluate``: results against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aop_pose.errors import RESEARCH_USE

if TYPE_CHECKING:
    from aop_pose.core.results import Row
    from aop_pose.core.schema import Schema
    from aop_pose.evaluation.match import Truth


def evaluate(
    results: Annotated[Path, typer.Argument(help="results.csv, or the folder it is in; or a label file.")],
    truth: Annotated[
        Path,
        typer.Argument(
            help="Label file (iugc, head-csv for the head, 3-D points for volumes), or another results.csv: two "
            "methods or two readers."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for metrics.json, per_frame.csv and report.html; replaces earlier ones."),
    ],
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            min=1,
            help="Give pixel errors as if the longer side of each picture had this many pixels; "
            "the challenges use 512. Default: pixels of the original frames.",
        ),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            "--group",
            metavar="COLUMN|auto",
            help="Frames that intervals draw together: a column of TRUTH (a patient), or auto: pictures that are "
            "nearly the same where --images is given, else each frame alone.",
        ),
    ] = "auto",
    group_regex: Annotated[
        str,
        typer.Option("--group-regex", help="Finds the patient in the name of a frame, as its first bracket."),
    ] = "",
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder of the pictures: worst frames, error against contrast, groups; or of the volumes, whose "
            "spacing errors in mm need (default: where TRUTH is).",
        ),
    ] = None,
) -> None:
    """Compare results with the true points, or two readers with each other, and print the errors.

    Prints errors and agreement with their intervals, and writes metrics.json, per_frame.csv and report.html (one
    page, opens without a network). A true frame that was not measured is missing: it is left out of the plain
    figures, and counts as an error of the picture's diagonal (and of 180 degrees) in those that end in
    _with_missing. A column of TRUTH called device, scanner, machine, vendor, centre, center, hospital or site
    gives a row for each of its values. With --images the page holds pictures of frames. For the head, lengths are
    compared in millimetres too where TRUTH (pixel_size_mm) or RESULTS know the size of a pixel, and HC with the
    expert's where TRUTH has head_circumference_mm. Points in volumes are compared in millimetres, as named and up to
    a swap of left and right.

    Example: aop-pose evaluate results/ labels.csv --out evaluation/ --scale 512 --images frames/
    """
    from rich.console import Console

    from aop_pose.core.results import schema_of
    from aop_pose.evaluation.comparison import TARGET_COVERAGE, manifest, study
    from aop_pose.evaluation.errors import frame_errors, summarise
    from aop_pose.evaluation.match import match
    from aop_pose.evaluation.report.files import METRICS_FILE, PER_FRAME_FILE, REPORT_FILE, summary_table, write_report
    from aop_pose.evaluation.report.page import Heading, page
    from aop_pose.evaluation.report.plots import worst_pictures
    from aop_pose.evaluation.sources import Pictures, grouping_of, is_results, read_results_rows, read_truth, table_in

    first, second = table_in(results), table_in(truth)
    rows = read_results_rows(first)
    schema = schema_of(rows)
    reference = read_truth(second, schema)
    if schema.dimensions == 3:
        _evaluate_volumes(results, truth, out, rows, reference, schema, scale, group, group_regex, images)
        return
    pictures = None if images is None else Pictures.of(reference.names, images)
    matched = match(rows, reference, schema, None if pictures is None else pictures.sizes)
    errors = frame_errors(matched.predicted, matched.truth, matched.sizes, scale, schema, matched.millimetres)
    figures = summarise(errors)
    grouping = grouping_of(group, group_regex, reference, pictures)
    compared = study(matched, errors, grouping, None if pictures is None else pictures.contrasts)
    made_by = manifest(matched.models, first, second)
    asked = (made_by["results_run"] or {}).get("coverage") or TARGET_COVERAGE
    heading = Heading(str(results), str(truth), RESEARCH_USE, is_results(second, schema), asked)
    worst = worst_pictures(compared, pictures.pixels) if pictures is not None else []
    write_report(out, compared, figures, page(compared, figures, heading, worst), made_by)
    for note in (*matched.notes, *compared.notes):
        typer.echo(f"aop-pose: note: {note}", err=True)
    Console().print(summary_table(figures, compared, title=f"{results} against {truth}"))
    written = [str(out / name) for name in (METRICS_FILE, PER_FRAME_FILE, REPORT_FILE)]
    typer.echo(f"wrote {', '.join(written[:-1])} and {written[-1]}. {RESEARCH_USE}")


def _evaluate_volumes(
    results: Path,
    truth: Path,
    out: Path,
    rows: list[Row],
    reference: Truth,
    schema: Schema,
    scale: float | None,
    group: str,
    group_regex: str,
    images: Path | None,
) -> None:
    from rich.console import Console

    from aop_pose.errors import UsageError
    from aop_pose.evaluation.comparison import manifest, volume_study
    from aop_pose.evaluation.match import match_volumes
    from aop_pose.evaluation.report.files import volume_table, write_volume_report
    from aop_pose.evaluation.report.page import Heading
    from aop_pose.evaluation.report.page3d import volume_page
    from aop_pose.evaluation.sources import grids_of, grouping_of, is_results, table_in

    if scale is not None:
        raise UsageError("--scale: expected results on pictures; errors in volumes are in millimetres, leave it out")
    second = table_in(truth)
    grids = grids_of(reference, images or second.parent)
    matched = match_volumes(rows, reference, schema, grids)
    study = volume_study(matched, grouping_of(group, group_regex, reference, None))
    heading = Heading(str(results), str(truth), RESEARCH_USE, is_results(second, schema))
    made_by = manifest(matched.models, table_in(results), second)
    written = write_volume_report(out, study, volume_page(study, heading), made_by)
    for note in study.notes:
        typer.echo(f"aop-pose: note: {note}", err=True)
    Console().print(volume_table(study, title=f"{results} against {truth}"))
    typer.echo(f"wrote {', '.join(map(str, written[:-1]))} and {written[-1]}. {RESEARCH_USE}")
