"""The ``head-csv`` label file: end points of the head's two axes in pixels, one row per frame.

``Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y[,pixel_size_mm][,head_circumference_mm]``.
Further columns are allowed and left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import HEAD
from aop_pose.formats.csv_rows import Row, RowError, Seen, filename, number, parse_rows
from aop_pose.formats.label import LabelledFrame, find_picture
from aop_pose.formats.pictures import picture_size

POINT_COLUMNS = tuple(f"{axis}_{end}_{along}" for axis in ("ofd", "bpd") for end in (1, 2) for along in "xy")
COLUMNS = ("Filename", *POINT_COLUMNS)
OPTIONAL = ("pixel_size_mm", "head_circumference_mm")


@attrs.frozen(eq=False)
class HeadFrame:
    """A picture with the ends of its head axes and what the file knows in millimetres."""

    frame: LabelledFrame
    pixel_size_mm: float | None = None
    head_circumference_mm: float | None = None

    @property
    def filename(self) -> str:
        return self.frame.filename


def read_head(file: Path, data: Path) -> list[HeadFrame]:
    """Every row with its picture; UsageError names ``file:line`` as ``iugc.read_iugc`` does."""
    seen = Seen()

    def parse(row: Row) -> HeadFrame:
        name, coords, millimetres = parse_row(row)
        seen.add(name, row.line)
        path = find_picture(data, name)
        width, height = picture_size(path)
        return HeadFrame(LabelledFrame(name, path, width, height, Keypoints.from_points(HEAD, coords)), *millimetres)

    return list(parse_rows(Path(file), COLUMNS, parse))


def parse_row(row: Row) -> tuple[str, np.ndarray, list[float | None]]:
    """Name, points (4, 2), and [pixel size, circumference] in mm or None; RowError says what is wrong."""
    name = filename(row.cells["Filename"])
    coords = np.array([number(row.cells[column], column) for column in POINT_COLUMNS]).reshape(-1, 2)
    millimetres: list[float | None] = []
    for column in OPTIONAL:
        text = row.cells.get(column, "")
        value = number(text, column) if text else None
        if value is not None and value <= 0:
            raise RowError(f"{column}: expected a positive number, found {text!r}")
        millimetres.append(value)
    return name, coords, millimetres


def write_head(frames: Iterable[HeadFrame], file: Path) -> None:
    """Write the file with both optional columns; an unknown value is empty."""
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *OPTIONAL])
        for head in frames:
            points = [f"{value:.4f}" for value in head.frame.keypoints.coords.ravel()]
            known = [head.pixel_size_mm, head.head_circumference_mm]
            writer.writerow([head.filename, *points, *("" if value is None else f"{value:.8g}" for value in known)])
