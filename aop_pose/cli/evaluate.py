"""``aop-pose evaluate``: results against the truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aop_pose.cli.common import RESEARCH_USE

if TYPE_CHECKING:
    import numpy as np

    from aop_pose.evaluation.match import Truth
    from aop_pose.schemas import Schema


def evaluate(
    results: Annotated[Path, typer.Argument(help="results.csv, or the folder it is in.")],
    truth: Annotated[
        Path, typer.Argument(help="Label file (iugc, or head-csv for the head). Its pictures are not needed.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for metrics.json and per_frame.csv; replaces earlier ones.")
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
) -> None:
    """Compare results with the true points and print the errors.

    Prints MRE, SDR and the error of the angle, and writes metrics.json and per_frame.csv. A true frame that
    was not measured is missing: it is left out of the plain figures, and counts as an error of the picture's
    diagonal (and of 180 degrees) in those that end in _with_missing.

    Example: aop-pose evaluate results/ labels.csv --out evaluation/ --scale 512
    """
    from rich.console import Console

    from aop_pose.evaluation.match import match, schema_of
    from aop_pose.evaluation.metrics import frame_errors, summarise
    from aop_pose.evaluation.report import summary_table, write_report
    from aop_pose.formats.rows import parse_rows

    # Not io.table: this table may be anybody's, with fewer columns than our own.
    table = results / "results.csv" if results.is_dir() else results
    rows = list(parse_rows(table, ("source",), lambda row: row.cells))
    schema = schema_of(rows)
    matched = match(rows, _read_truth(truth, schema), schema)
    errors = frame_errors(matched.predicted, matched.truth, matched.sizes, scale, schema)
    figures = summarise(errors)
    write_report(out, matched, errors, figures)
    for note in matched.notes:
        typer.echo(f"aop-pose: note: {note}", err=True)
    Console().print(summary_table(figures, errors, title=f"{results} against {truth}"))
    typer.echo(f"wrote {out / 'metrics.json'} and {out / 'per_frame.csv'}. {RESEARCH_USE}")


def _read_truth(file: Path, schema: Schema) -> Truth:
    from aop_pose.evaluation.match import Truth
    from aop_pose.formats import head, iugc
    from aop_pose.formats.rows import Row, number, parse_rows
    from aop_pose.schemas import HEAD

    def parse_aop(row: Row) -> tuple[str, np.ndarray, float]:
        angle = row.cells.get(iugc.ANGLE, "")
        return *iugc.parse_row(row), number(angle, iugc.ANGLE) if angle else math.nan

    def parse_head(row: Row) -> tuple[str, np.ndarray, float]:
        return *head.parse_row(row)[:2], math.nan

    columns, parse = (head.COLUMNS, parse_head) if schema is HEAD else (iugc.COLUMNS, parse_aop)
    frames = list(parse_rows(file, columns, parse))
    return Truth(
        names=[name for name, _, _ in frames],
        coords=[points for _, points, _ in frames],
        stated_angles=[angle for _, _, angle in frames],
    )
