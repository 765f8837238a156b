"""The ``iugc`` label file: ``Filename,PS1,PS2,FH1[,AoP]``, points as ``"(x, y)"`` in pixels, AoP in degrees.

The layout of the IUGC 2025 challenge's landmark file. Further columns are allowed and left alone, except ``keep``,
as ``aop-pose pseudo-label`` writes it: a row whose ``keep`` is 0 labels nothing, and its points may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.core.schemas import AOP
from aop_pose.formats.csv_rows import Row, RowError, called, number, point
from aop_pose.formats.format import TableFormat
from aop_pose.formats.label import LABELS, Label
from aop_pose.geometry import angle_of_progression

COLUMNS = ("Filename", *AOP.points)
ANGLE = "AoP"
KEEP = "keep"

MAX_ANGLE_DIFFERENCE = 0.1
"""Degrees by which the AoP column may differ from the angle of its points."""


class Iugc(TableFormat):
    """Points of the pubic symphysis and the fetal head."""

    name = "iugc"
    kind = "points"
    looks_for = f"{LABELS} or a CSV with Filename,PS1,PS2,FH1"
    schema = AOP
    columns = COLUMNS

    def coords(self, row: Row, schema: Schema) -> np.ndarray:
        """PS1, PS2, FH1, (3, 2). RowError."""
        return np.array([point(row.cells[column], column) for column in AOP.points])

    def is_kept(self, row: Row) -> bool:
        """False for a row whose ``keep`` says that it is no label; RowError where it says neither."""
        text = row.cells.get(KEEP, "1")
        if text not in ("0", "1"):
            raise RowError(f"{KEEP}: expected 0 or 1, found {text!r}")
        return text == "1"

    def header(self, labels: Sequence[Label]) -> Sequence[str]:
        """The columns with the angle."""
        return [*COLUMNS, ANGLE]

    def cells(self, label: Label) -> Iterable[str]:
        """Points and angle (empty where the points define none)."""
        angle = float(angle_of_progression(*label.points))
        return [*point_cells(label.points), f"{angle:.4f}" if np.isfinite(angle) else ""]

    def doubts(self, row: Row, coords: np.ndarray) -> Iterator[str]:
        """An angle that is not that of the points."""
        text = called(row.cells, ANGLE)
        if text:
            said, found = number(text, ANGLE), float(angle_of_progression(*coords))
            if not abs(said - found) <= MAX_ANGLE_DIFFERENCE:
                yield f"AoP: expected {found:.4f} from the points, found {text}"


IUGC = Iugc()


def point_cells(coords: np.ndarray) -> list[str]:
    """Points (n, 2) in pixels as they stand in their columns."""
    return [f"({_decimal(x)}, {_decimal(y)})" for x, y in coords]


def _decimal(value: float) -> str:
    """Whole pixels as integers, the rest with 6 decimals, so that a label file survives a round trip."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
