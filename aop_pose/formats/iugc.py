"""The ``iugc`` label file: ``Filename,PS1,PS2,FH1[,AoP]``, points as ``"(x, y)"`` in pixels, AoP in degrees.

The layout of the IUGC 2025 challenge's landmark file. Further columns are allowed and left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aop_pose.formats.labels import LabelledFrame, find_picture
from aop_pose.formats.pictures import picture_size
from aop_pose.formats.rows import Row, Seen, filename, parse_rows, point
from aop_pose.geometry import angle_of_progression
from aop_pose.keypoints import Keypoints
from aop_pose.schemas import AOP

COLUMNS = ("Filename", *AOP.points)
ANGLE = "AoP"


def read_iugc(file: Path, data: Path) -> list[LabelledFrame]:
    """Every row with its picture (``data/Filename``, else ``data/images/Filename``), sizes from the headers.

    UsageError names ``file:line`` of the first row that is malformed, repeats a name, or has no readable
    picture. Whether a point lies inside its frame and whether AoP agrees is the business of ``dataset
    check``.
    """
    seen = Seen()

    def parse(row: Row) -> LabelledFrame:
        name, coords = parse_row(row)
        seen.add(name, row.line)
        path = find_picture(data, name)
        width, height = picture_size(path)
        return LabelledFrame(name, path, width, height, Keypoints.from_points(AOP, coords))

    return list(parse_rows(Path(file), COLUMNS, parse))


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
            points = [f"({_decimal(x)}, {_decimal(y)})" for x, y in frame.keypoints.coords]
            writer.writerow([frame.filename, *points, f"{angle:.4f}" if np.isfinite(angle) else ""])


def _decimal(value: float) -> str:
    """Whole pixels as integers, the rest with 6 decimals, so that a label file survives a round trip."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
