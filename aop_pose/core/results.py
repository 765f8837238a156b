"""The result of one frame or volume: a row that exists whatever happens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.region import Region
from aop_pose.core.schema import REGION, SCHEMAS, Schema, Unit, of_volumes
from aop_pose.errors import UsageError

Status = Literal["ok", "abstained", "unreadable"]
STATUSES: tuple[str, ...] = ("ok", "abstained", "unreadable")


@attrs.frozen
class Measurement:
    """A number with its unit, its interval where one is calibrated, and what produced it."""

    name: str
    value: float
    unit: Unit
    interval: tuple[float, float] | None = None
    produced_by: str = ""


@attrs.frozen(eq=False)
class Result:
    """One row: status ``ok`` = measured, ``abstained`` = read but nothing measured, ``unreadable`` = not decoded."""

    source: str
    index: int
    status: Status = attrs.field(validator=attrs.validators.in_(STATUSES))
    reason: str = ""
    width: int | None = None
    height: int | None = None
    keypoints: Keypoints | None = None
    score: float | None = None
    measurements: Mapping[str, Measurement] = attrs.field(factory=dict)
    model: str = ""
    region: Region | None = None
    """The part of the frame that was looked at; None where there was nothing to look at."""
    mirrored: bool | None = None
    """The frame is one turned left to right; None = not asked."""
    spacing: tuple[float, float] | None = None
    """(row, column) millimetres per pixel of the frame."""
    time_s: float | None = None
    sop: str = ""
    outlines: Mapping[str, np.ndarray] | None = attrs.field(default=None, repr=False)
    """Structure -> closed contour (m, 2) in pixels of the frame, of a measured one whose network gives them."""

    def __attrs_post_init__(self) -> None:
        if self.status == "ok" and not self.measurements:
            raise ValueError(f"{self.source}: status ok needs a measurement")
        if self.status != "ok" and (self.measurements or not self.reason):
            raise ValueError(f"{self.source}: status {self.status} needs a reason and no measurement")


def columns(schema: Schema) -> list[str]:
    """Column names of ``results.csv`` for a schema, in order."""
    size = ["width", "height"] if schema.dimensions == 2 else []
    head = ["source", "index", *size, "status", "reason"]
    numbers = ["score", *schema.measurement_columns, "model", *schema.interval_columns]
    return [*head, *schema.coordinate_columns, *numbers, *schema.further]


def as_row(result: Result, schema: Schema) -> dict[str, str]:
    """One value per column, as text; what does not exist is empty, never 0. Line breaks become spaces."""
    values: dict[str, object] = {
        "source": result.source,
        "index": result.index,
        "width": result.width,
        "height": result.height,
        "status": result.status,
        "reason": result.reason,
        "score": result.score,
        "model": result.model,
        "time_s": result.time_s,
        "sop": result.sop,
    }
    if result.region is not None:
        values |= dict(zip(REGION, result.region.box, strict=True))
    if result.mirrored is not None:
        values["mirrored"] = int(result.mirrored)
    if result.spacing is not None:
        row, column = result.spacing
        values |= {"spacing_x_mm": column, "spacing_y_mm": row}
    if result.keypoints is not None:
        values |= dict(zip(schema.coordinate_columns, result.keypoints.coords.ravel().tolist(), strict=True))
    for name, measurement in result.measurements.items():
        values[name] = measurement.value
        if measurement.interval is not None:
            stem = schema.quantity(name).interval
            values[f"{stem}_low"], values[f"{stem}_high"] = measurement.interval
    return {column: as_cell(column, values.get(column)) for column in columns(schema)}


def as_cell(column: str, value: object) -> str:
    """A value of a column of ``results.csv`` as text."""
    # Of a spacing 4 decimals would be a tenth of a percent off.
    return f"{value:.6g}" if column.startswith("spacing_") and isinstance(value, float) else as_text(value)


def as_text(value: object) -> str:
    """One cell of a table: 4 decimals, nothing for what does not exist, no line breaks."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return " ".join(str(value).splitlines())


Row = Mapping[str, str]


def schema_of(rows: Sequence[Row]) -> Schema:
    """The schema whose point columns the rows have; UsageError where none fits."""
    found = list(rows[0]) if rows else []
    for schema in SCHEMAS.values():
        if {"source", *point_columns(schema)} <= set(found):
            return schema
    raise UsageError(
        "results: expected rows with the columns source and PS1_x … FH1_y (or OFD1_x … BPD2_y, or <point>_i, _j, _k "
        f"of {' or '.join(of_volumes())}), "
        f"found {', '.join(found) if found else 'no row'}; give a results.csv of aop-pose predict, or a label file"
    )


def point_columns(schema: Schema) -> list[str]:
    return list(schema.coordinate_columns)


def points_of(row: Row, schema: Schema, where: str) -> np.ndarray:
    """Shape (points, 2), columns x, y, or (points, 3), columns i, j, k; NaN where a cell is empty.

    ``where`` begins an error: ``results line 7``.
    """
    return np.array([number(row, column, where) for column in point_columns(schema)]).reshape(-1, schema.dimensions)


def status_of(row: Row, where: str, complete: bool) -> str:
    """The status a row states; in a table without that column, whether it has all its points."""
    if "status" not in row:
        return "ok" if complete else "abstained"
    if row["status"] not in STATUSES:
        raise UsageError(f"{where}: expected status {', '.join(STATUSES)}, found {row['status']!r}")
    return row["status"]


def index_of(row: Row, where: str) -> int:
    value = number(row, "index", where)
    return int(value) if math.isfinite(value) else 0


def number(row: Row, column: str, where: str) -> float:
    """A number, NaN for an empty cell; UsageError names line and column of anything else."""
    text = (row.get(column) or "").strip()
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise UsageError(f"{where}, {column}: expected a number or nothing, found {text!r}") from None
