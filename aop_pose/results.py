"""What is said of one frame or volume: a row that exists whatever happens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import attrs

from aop_pose.keypoints import Keypoints
from aop_pose.schemas import Schema

Status = Literal["ok", "abstained", "unreadable"]
STATUSES: tuple[str, ...] = ("ok", "abstained", "unreadable")


@attrs.frozen
class Measurement:
    """A number with its unit, its interval where one is calibrated, and what produced it."""

    name: str
    value: float
    unit: str
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

    def __attrs_post_init__(self) -> None:
        if self.status == "ok" and not self.measurements:
            raise ValueError(f"{self.source}: status ok needs a measurement")
        if self.status != "ok" and (self.measurements or not self.reason):
            raise ValueError(f"{self.source}: status {self.status} needs a reason and no measurement")


def columns(schema: Schema) -> list[str]:
    """Column names of ``results.csv`` for a schema, in order."""
    size = ["width", "height"] if schema.dimensions == 2 else []
    ends = [f"{name}_{end}" for name in schema.intervals for end in ("low", "high")]
    head = ["source", "index", *size, "status", "reason"]
    return [*head, *schema.coordinate_columns, "score", *schema.measurements, "model", *ends]


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
    }
    if result.keypoints is not None:
        values |= dict(zip(schema.coordinate_columns, result.keypoints.coords.ravel().tolist(), strict=True))
    for name, measurement in result.measurements.items():
        values[name] = measurement.value
        if measurement.interval is not None:
            stem = "aop" if name == "aop_deg" else name
            values[f"{stem}_low"], values[f"{stem}_high"] = measurement.interval
    return {column: as_text(values.get(column)) for column in columns(schema)}


def as_text(value: object) -> str:
    """One cell of a table: 4 decimals, nothing for what does not exist, no line breaks."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return " ".join(str(value).splitlines())
