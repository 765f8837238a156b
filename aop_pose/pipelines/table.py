"""metrics.csv: one row an epoch, cut back when a run is taken up, and asked which epoch was kept."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aop_pose.io.atomic import replacing


def append_row(table: Path, row: Mapping[str, float]) -> None:
    """Add a row of numbers, below a header of their names where the table is new."""
    fresh = not table.exists()
    with table.open("a", encoding="utf-8") as file:
        if fresh:
            file.write(",".join(row) + "\n")
        file.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")


def best_row(table: Path, columns: Sequence[str]) -> dict[str, float | None]:
    """The row of metrics.csv whose weights were kept; what was not checked is None.

    The first of ``columns`` decides: the least, except that a name that ends in ``iou`` is best when greatest. Of equal
    epochs the last is kept; where nothing was checked (NaN), the last of all.
    """
    with table.open(encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    sign = -1 if columns[0].endswith("iou") else 1
    checked = [row for row in rows if np.isfinite(row[columns[0]])]
    kept = min(reversed(checked), key=lambda row: sign * row[columns[0]]) if checked else rows[-1]
    return {key: kept[key] if np.isfinite(kept[key]) else None for key in ("epoch", *columns)}


def keep_rows(table: Path, rows: int) -> None:
    """Cut a table back to its header and the first ``rows`` rows."""
    if table.is_file():
        lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
        with replacing(table) as part:
            part.write_text("".join(lines[: rows + 1]), encoding="utf-8")
