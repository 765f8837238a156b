"""``aop-pose evaluate``: results against the truth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aop_pose.cli.common import RESEARCH_USE

if TYPE_CHECKING:
    import numpy as np

    from aop_pose.evaluation.match import Truth
    from aop_pose.schemas import Schema


def evaluate(
    results: Path = typer.Argument(help="results.csv, or the folder it is in."),
    truth: Path = typer.Argument(help="Label file: Filename,PS1,PS2,FH1[,AoP]. Its pictures are not needed."),
    out: Path = typer.Option(
        ..., "--out", help="Folder for metrics.json and per_frame.csv; replaces earlier ones."
    ),
    scale: float | None = typer.Option(
        None,
        "--scale",
        min=1,
        help="Give pixel errors as if the longer side of each picture had this many pixels (the challenges use 512). "
        "Default: pixels of the original frames.",
    ),
) -> None:
    """Compare results with the true points and print the errors.

    Prints MRE, SDR and the error of the angle, and writes metrics.json and per_frame.csv. A true frame that was not
    measured is missing: it is left out of the plain figures, and counts as an error of the picture's diagonal (and
    of 180 degrees) in those that end in _with_missing.

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
    from aop_pose.errors import UsageError
    from aop_pose.evaluation.match import Truth
    from aop_pose.formats.iugc import ANGLE, COLUMNS, parse_row
    from aop_pose.formats.rows import Row, number, parse_rows
    from aop_pose.schemas import AOP

    if schema is not AOP:
        raise UsageError(
            f"evaluate: expected results of schema aop, found {schema.name}; its truth files are not read yet"
        )

    def parse(row: Row) -> tuple[str, np.ndarray, float]:
        angle = row.cells.get(ANGLE, "")
        return *parse_row(row), number(angle, ANGLE) if angle else math.nan

    frames = list(parse_rows(file, COLUMNS, parse))
    return Truth(
        [name for name, _, _ in frames], [points for _, points, _ in frames], [angle for *_, angle in frames]
    )
