"""The ``head-csv`` label file: end points of the head's two axes in pixels, one row per frame.

``Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y[,pixel_size_mm][,head_circumference_mm]``.
Further columns are allowed and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.core.schemas import HEAD
from aop_pose.formats.csv_rows import Row, RowError, number
from aop_pose.formats.format import TableFormat
from aop_pose.formats.label import LABELS, Label
from aop_pose.geometry import implausible_axes, point_distance, ramanujan_perimeter

POINT_COLUMNS = tuple(f"{axis}_{end}_{along}" for axis in ("ofd", "bpd") for end in (1, 2) for along in "xy")
COLUMNS = ("Filename", *POINT_COLUMNS)
OPTIONAL = ("pixel_size_mm", "head_circumference_mm")

MAX_CIRCUMFERENCE_DIFFERENCE = 0.05
"""Share by which head_circumference_mm may differ from the ellipse on its points: an outline is not quite one
(HC18: at most 0.012), but a wrong pixel size is further off."""


class Head(TableFormat):
    """Ends of the axes of a fetal head."""

    name = "head-csv"
    kind = "head"
    looks_for = f"{LABELS} or a CSV with Filename,ofd_1_x,…"
    schema = HEAD
    columns = COLUMNS

    def coords(self, row: Row, schema: Schema) -> np.ndarray:
        """OFD1, OFD2, BPD1, BPD2, (4, 2). RowError."""
        return np.array([number(row.cells[column], column) for column in POINT_COLUMNS]).reshape(-1, 2)

    def check_extras(self, row: Row) -> None:
        """RowError where a size in millimetres is not positive."""
        for column in OPTIONAL:
            millimetres(row.cells, column)

    def header(self, labels: Sequence[Label]) -> Sequence[str]:
        """The columns with both optional ones."""
        return [*COLUMNS, *OPTIONAL]

    def cells(self, label: Label) -> Iterable[str]:
        """Points and what is known in millimetres; an unknown value is empty."""
        known = [millimetres(label.extras, column) for column in OPTIONAL]
        points = [f"{value:.4f}" for value in label.points.ravel()]
        return [*points, *("" if value is None else f"{value:.8g}" for value in known)]

    def doubts(self, row: Row, coords: np.ndarray) -> Iterator[str]:
        """Axes of no head, or a circumference that is not that of the points."""
        problem = implausible_axes(coords)
        if problem:
            yield f"expected the axes of one head, found that {problem}"
        pixel_size, circumference = (millimetres(row.cells, column) for column in OPTIONAL)
        if pixel_size is not None and circumference is not None:
            ofd, bpd = (float(point_distance(*ends)) * pixel_size for ends in (coords[:2], coords[2:]))
            found = float(ramanujan_perimeter(bpd, ofd))
            # Of axes without length the perimeter is not a number, and that is said above.
            if abs(circumference - found) > MAX_CIRCUMFERENCE_DIFFERENCE * circumference:
                yield (
                    f"head_circumference_mm: expected about {found:.1f} from the points and pixel_size_mm, "
                    f"found {circumference:g}"
                )


HEAD_CSV = Head()


def millimetres(extras: Mapping[str, str], column: str = OPTIONAL[0]) -> float | None:
    """A column of ``OPTIONAL`` in mm, None where it is empty; RowError where it is no positive number."""
    text = extras.get(column, "")
    value = number(text, column) if text else None
    if value is not None and value <= 0:
        raise RowError(f"{column}: expected a positive number, found {text!r}")
    return value
