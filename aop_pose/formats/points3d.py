"""The 3-D label file: ``Filename[,…],<point>_i,<point>_j,<point>_k,…`` in zero-based voxel indices.

``i, j, k`` count along the first, second and third axis of the file (x, y, z of NIfTI), the centre of the
first voxel being 0. A point that lies outside the volume, or was not marked, has three empty cells. ``index`` is the
time point of a 4-D file, from 0; ``spacing_i_mm,spacing_j_mm,spacing_k_mm`` the millimetres from voxel to voxel of a
file that states none, as .npy never does. Columns that belong to no point are kept as text.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schema import Schema, of_volumes
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import Row, RowError, Seen, filename, header_of, number, parse_rows
from aop_pose.formats.label import find_picture
from aop_pose.formats.pictures import volume_shape
from aop_pose.io.volumes import read_volume

AXES = ("i", "j", "k")
TIME = "index"
SPACING = tuple(f"spacing_{axis}_mm" for axis in AXES)


@attrs.frozen(eq=False)
class LabelledVolume:
    """A volume on disk with its points."""

    filename: str
    path: Path
    shape: tuple[int, int, int]
    """Voxels along i, j, k."""
    points: dict[str, np.ndarray]
    """Point name -> (3,) voxel indices i, j, k; NaN where it is missing."""
    notes: dict[str, str] = attrs.field(factory=dict)
    """Further columns, as text; ``TIME`` and ``SPACING`` among them."""

    @property
    def index(self) -> int | None:
        """Time point of a 4-D file; None where the row names none."""
        return time_of(self.notes)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Millimetres along i, j, k for a file that states none."""
        return spacing_of(self.notes)

    def read(self) -> Volume:
        """The volume of the row. Errors as ``io.volumes.read_volume``."""
        return read_volume(self.path, self.filename, self.index, self.spacing)

    def keypoints(self, schema: Schema) -> Keypoints:
        """The points of a schema, in its order; it has to be one whose points are all here."""
        return Keypoints.from_points(schema, [self.points[name] for name in schema.points])


def schema_of(names: Collection[str]) -> Schema:
    """The schema of volumes whose points all have their columns; UsageError where there is none."""
    for schema in of_volumes().values():
        if set(schema.points) <= set(names):
            return schema
    known = "; ".join(f"{schema.name}: {', '.join(schema.points)}" for schema in of_volumes().values())
    raise UsageError(f"expected the points of one of the schemas ({known}), found {', '.join(names) or 'none'}")


def point_names(header: Sequence[str]) -> list[str]:
    """Points whose three columns stand in a header, in its order."""
    return [column[:-2] for column in header if column.endswith("_i") and _columns(column[:-2]) <= set(header)]


def time_of(cells: Mapping[str, str]) -> int | None:
    """What a row says of its time point; RowError where that is no whole number from 0 on."""
    text = cells.get(TIME, "")
    if not text:
        return None
    index = number(text, TIME)
    if index < 0 or index != int(index):
        raise RowError(f"{TIME}: expected a whole number from 0 on, found {text!r}")
    return int(index)


def spacing_of(cells: Mapping[str, str]) -> tuple[float, float, float] | None:
    """What a row says of its spacing; RowError unless it is three positive numbers, or nothing at all."""
    texts = [cells.get(column, "") for column in SPACING]
    if not any(texts):
        return None
    i, j, k = (number(text, column) for text, column in zip(texts, SPACING, strict=True))
    if min(i, j, k) <= 0:
        raise RowError(f"{','.join(SPACING)}: expected positive millimetres, found {','.join(texts)}")
    return i, j, k


def _columns(point: str) -> set[str]:
    return {f"{point}_{axis}" for axis in AXES}


def read_points3d(file: Path, data: Path) -> list[LabelledVolume]:
    """Every row with its volume (``data/Filename``, else ``data/volumes/Filename``), shapes from the headers.

    UsageError names ``file:line`` of the first bad row, or says that no point has its three columns.
    """
    file = Path(file)
    header = header_of(file)
    names = point_names(header)
    if not names:
        raise UsageError(f"{file}:1: expected columns <point>_i,<point>_j,<point>_k, found {','.join(header)}")
    seen = Seen()

    def parse(row: Row) -> LabelledVolume:
        name, points = parse_row(row, names)
        spacing_of(row.cells)
        time = time_of(row.cells)
        seen.add(name if time is None else f"{name}, time point {time}", row.line)
        path = find_picture(data, name, "volumes")
        notes = {
            column: text
            for column, text in row.cells.items()
            if column != "Filename" and not any(column in _columns(point) for point in names)
        }
        return LabelledVolume(name, path, volume_shape(path), points, notes)

    return list(parse_rows(file, ("Filename",), parse))


def parse_row(row: Row, names: Sequence[str]) -> tuple[str, dict[str, np.ndarray]]:
    """Name and points of a row; RowError says what is wrong."""
    name = filename(row.cells["Filename"])
    return name, {point: _point(row, point) for point in names}


def _point(row: Row, point: str) -> np.ndarray:
    columns = [f"{point}_{axis}" for axis in AXES]
    if not any(row.cells[column].strip() for column in columns):
        return np.full(3, np.nan)
    return np.array([number(row.cells[column], column) for column in columns])


def write_points3d(volumes: Iterable[LabelledVolume], file: Path) -> None:
    """Write the file; columns are those of the first volume."""
    volumes = list(volumes)
    notes, points = list(volumes[0].notes), list(volumes[0].points)
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["Filename", *notes, *(f"{point}_{axis}" for point in points for axis in AXES)])
        for volume in volumes:
            indices = [_text(value) for point in points for value in volume.points[point]]
            writer.writerow([volume.filename, *(volume.notes.get(note, "") for note in notes), *indices])


def _text(value: float) -> str:
    """Four decimals as in ``results.csv``, whole numbers without any; nothing for a missing one."""
    return f"{value:.4f}".rstrip("0").rstrip(".") if np.isfinite(value) else ""
