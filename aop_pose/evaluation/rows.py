"""Cells of a results table: which columns hold points, and what a cell says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from aop_pose.errors import UsageError
from aop_pose.results import STATUSES
from aop_pose.schemas import SCHEMAS, VOLUME_SCHEMAS, Schema

Row = Mapping[str, str]


def schema_of(rows: Sequence[Row]) -> Schema:
    """The schema whose point columns the rows have; UsageError where none fits."""
    found = list(rows[0]) if rows else []
    for schema in SCHEMAS.values():
        if {"source", *point_columns(schema)} <= set(found):
            return schema
    raise UsageError(
        "results: expected rows with the columns source and PS1_x … FH1_y (or OFD1_x … BPD2_y, or <point>_i, _j, _k "
        f"of {' or '.join(VOLUME_SCHEMAS)}), "
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
