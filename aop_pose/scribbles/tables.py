"""``strokes.csv`` and ``left_out.csv``: what the segmenters were told, and which frames were left out and why."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from aop_pose.formats.labels import Skipped
from aop_pose.io.atomic import replacing
from aop_pose.scribbles.strokes import Strokes

STROKES_TABLE, LEFT_OUT_TABLE = "strokes.csv", "left_out.csv"
STROKE_COLUMNS = ("Filename", "name", "structure", "positive", "x1", "y1", "x2", "y2")
LEFT_OUT_COLUMNS = ("Filename", "reason")


def stroke_rows(filename: str, strokes: Strokes) -> list[tuple[str, ...]]:
    """A row of ``STROKE_COLUMNS`` per stroke, its ends in pixels of the frame."""
    return [
        (
            filename, stroke.name, stroke.structure, str(int(stroke.positive)),
            *(f"{value:.3f}" for end in stroke.line.coords for value in end),
        )
        for stroke in strokes.strokes
    ]  # fmt: skip


def write_strokes_table(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """``strokes.csv`` in a folder; it appears only when complete."""
    _write_table(folder / STROKES_TABLE, STROKE_COLUMNS, rows)


def write_left_out(folder: Path, left_out: Iterable[Skipped]) -> None:
    """``left_out.csv`` in a folder; it appears only when complete."""
    _write_table(folder / LEFT_OUT_TABLE, LEFT_OUT_COLUMNS, [(left.filename, left.reason) for left in left_out])


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
