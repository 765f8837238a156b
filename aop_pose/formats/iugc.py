"""The ``iugc`` label file: ``Filename,PS1,PS2,FH1[,AoP]``, points as ``"(x, y)"`` in pixels, AoP in degrees.

The layout of the IUGC 2025 challenge's landmark file. Further columns are allowed and left alone, except ``keep``,
as ``aop-pose pseudo-label`` writes it: a row whose ``keep`` is 0 labels nothing, and its points may be missing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.formats.csv_rows import Row, RowError, Seen, filename, parse_rows, point
from aop_pose.formats.label import LabelledFrame, find_picture
from aop_pose.formats.pictures import picture_size
from aop_pose.geometry import angle_of_progression

COLUMNS = ("Filename", *AOP.points)
ANGLE = "AoP"
KEEP = "keep"


def read_iugc(file: Path, data: Path) -> list[LabelledFrame]:
    """Every kept row with its picture (``data/Filename``, else ``data/images/Filename``), sizes from the headers.

    UsageError names ``file:line`` of the first row that is malformed, repeats a name, or has no readable
    picture. Whether a point lies inside its frame and whether AoP agrees is the business of ``dataset
    check``.
    """
    seen = Seen()

    def parse(row: Row) -> LabelledFrame | None:
        if not is_kept(row):
            return None
        name, coords = parse_row(row)
        seen.add(name, row.line)
        path = find_picture(data, name)
        width, height = picture_size(path)
        return LabelledFrame(name, path, width, height, Keypoints.from_points(AOP, coords))

    return [frame for frame in parse_rows(Path(file), COLUMNS, parse) if frame is not None]


def is_kept(row: Row) -> bool:
    """False for a row whose ``keep`` says that it is no label; RowError where it says neither."""
    text = row.cells.get(KEEP, "1")
    if text not in ("0", "1"):
        raise RowError(f"{KEEP}: expected 0 or 1, found {text!r}")
    return text == "1"


def parse_row(row: Row) -> tuple[str, np.ndarray]:
    """Name and points (3, 2) of a row; RowError says what is wrong."""
    name = filename(row.cells["Filename"])
    return name, np.array([point(row.cells[column], column) for column in AOP.points])


def write_iugc(frames: Iterable[LabelledFrame], file: Path) -> None:
    """Write the file with its AoP column (empty where the points define no angle)."""
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, ANGLE])
        for frame in frames:
            angle = float(angle_of_progression(*frame.keypoints.coords))
            points = point_cells(frame.keypoints.coords)
            writer.writerow([frame.filename, *points, f"{angle:.4f}" if np.isfinite(angle) else ""])


def point_cells(coords: np.ndarray) -> list[str]:
    """Points (n, 2) in pixels as they stand in their columns."""
    return [f"({_decimal(x)}, {_decimal(y)})" for x, y in coords]


def _decimal(value: float) -> str:
    """Whole pixels as integers, the rest with 6 decimals, so that a label file survives a round trip."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
