"""napari: a points layer a picture, ``points/NAME.csv`` beside ``images/``, as napari saves and opens it.

``index,axis-0,axis-1,label``: axis 0 is y, axis 1 is x, in pixels, the centre of the first one being 0. The label is a
feature of the layer; without it nobody can tell which point is which.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import Row, RowError, header_of, number, read_rows
from aop_pose.formats.exchange import FileEach, Marked, Place, named, picture_name
from aop_pose.formats.label import Label, Skipped

POINTS = "points"
_COLUMNS = ("index", "axis-0", "axis-1")
_LABEL = "label"


class Napari(FileEach):
    """A table of points for each picture."""

    name = "napari"
    looks_for = "points/NAME.csv with index,axis-0,axis-1,label"
    suffix = ".csv"

    def is_own(self, file: Path) -> bool:
        """True for a table of a points layer."""
        return set(_COLUMNS) <= set(header_of(file))

    def fault(self, source: Path) -> str:
        """Nothing: a table that cannot be read is that of another format."""
        return ""

    def own_files(self, source: Path) -> list[Path]:
        """Those of ``points/`` where there is such a folder."""
        return super().own_files(source / POINTS if (source / POINTS).is_dir() else source)

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """A reading a table, which has the name of its picture and ``.csv`` behind."""
        base = source / POINTS if (source / POINTS).is_dir() else source if source.is_dir() else source.parent
        for file in self.own_files(source):
            name = file.relative_to(base).as_posix()[: -len(self.suffix)]
            try:
                header = header_of(file)
                if _LABEL not in header:
                    raise UsageError(
                        f"expected a column {_LABEL} with the names of points, found {','.join(header)}; in napari: "
                        f"layer.features = {{'{_LABEL}': [...]}}"
                    )
                rows = list(read_rows(file, (*_COLUMNS, _LABEL)))
            except UsageError as error:
                yield Skipped(name, str(error), str(file))
                continue
            yield named((name, str(file)), self._marked, name, rows, file)

    def _marked(self, name: str, rows: Sequence[Row], file: Path) -> Marked:
        points: list[tuple[str, Place | None]] = []
        for row in rows:
            if row.problem:
                raise RowError(f"line {row.line}: {row.problem}")
            y, x = (number(row.cells[column], column) for column in _COLUMNS[1:])
            points.append((row.cells[_LABEL], self.ours((x, y))))
        return Marked(picture_name(name), points, str(file))

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """``dst/points/NAME.csv``."""
        for label in labels:
            file = dst / POINTS / f"{label.name}{self.suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            known = [
                (name, point)
                for name, point in zip(schema.points, label.points, strict=True)
                if np.isfinite(point).all()
            ]
            with open(file, "w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow([*_COLUMNS, _LABEL])
                writer.writerows([i, f"{y:.6f}", f"{x:.6f}", name] for i, (name, (x, y)) in enumerate(known))


NAPARI = Napari()
