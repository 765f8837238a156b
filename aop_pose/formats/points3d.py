"""The 3-D label file: ``Filename[,…],<point>_i,<point>_j,<point>_k,…`` in zero-based voxel indices.

``i, j, k`` count along the first, second and third axis of the file (x, y, z of NIfTI), the centre of the
first voxel being 0. A point that lies outside the volume, or was not marked, has three empty cells. ``index`` is the
time point of a 4-D file, from 0; ``spacing_i_mm,spacing_j_mm,spacing_k_mm`` the millimetres from voxel to voxel of a
file that states none, as .npy never does. Columns that belong to no point are kept as text.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from aop_pose.core.schema import Schema, of_volumes
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.csv_rows import Row, RowError, header_of, number
from aop_pose.formats.format import Reading, TableFormat, columns_in
from aop_pose.formats.label import LABELS, Label, spacing_of
from aop_pose.formats.pictures import volume_shape
from aop_pose.io.volumes import read_volume, write_volume

AXES = ("i", "j", "k")
TIME = "index"


class Points3d(TableFormat):
    """Points in volumes."""

    name = "points-3d"
    kind = "volumes"
    looks_for = f"{LABELS} or a CSV with Filename,<point>_i,…"
    columns = ("Filename",)
    folder: ClassVar[str] = "volumes"

    def fits(self, source: Path) -> bool:
        """True for a CSV in which a point has its three columns."""
        return bool(point_names(columns_in(source)))

    def schema_in(self, file: Path) -> Schema:
        """The points of the header in its order; UsageError where none has its three columns."""
        header = header_of(file)
        names = tuple(point_names(header))
        if not names:
            raise UsageError(f"{file}:1: expected columns <point>_i,<point>_j,<point>_k, found {','.join(header)}")
        return points_schema(names)

    def point_columns(self, schema: Schema) -> set[str]:
        """Three columns a point."""
        return set(schema.coordinate_columns)

    def coords(self, row: Row, schema: Schema) -> np.ndarray:
        """Voxel indices (points, 3), NaN where all three cells of a point are empty. RowError."""
        return np.array([_point(row, name) for name in schema.points])

    def time(self, row: Row) -> int | None:
        """The time point of a 4-D file. RowError."""
        return time_of(row.cells)

    def check_extras(self, row: Row) -> None:
        """RowError where the spacing is not one."""
        spacing_of(row.cells)

    def opened(self, path: Path, how: Reading) -> tuple[tuple[int, ...], None]:
        """Voxels along i, j, k from the header: volumes are too large to be kept."""
        return volume_shape(path), None

    def decoded_size(self, path: Path, row: Row) -> tuple[int, ...]:
        """Voxels of a volume that could be read and placed in space; AopPoseError."""
        try:
            return read_volume(path, index=time_of(row.cells), spacing=spacing_of(row.cells)).shape
        except UnreadableError as error:
            raise UnreadableError(f"{path}: {error}") from error

    def place(self, label: Label, folder: Path, stem: str) -> str:
        """Copy a volume under its own name; a header whose voxels lie beside it becomes one file."""
        name = Path(label.name).name
        if name.lower().endswith(".mhd"):
            if label.index is not None:
                raise UnreadableError(
                    "expected a 4-D file in one piece, found a .mhd header; store it as .nii.gz or .mha"
                )
            name = f"{name[:-4]}.mha"
            write_volume(label.volume(), folder / name)
        else:
            shutil.copyfile(label.path, folder / name)
        return name

    def header(self, labels: Sequence[Label]) -> Sequence[str]:
        """Columns of the first volume."""
        return ["Filename", *labels[0].extras, *labels[0].schema.coordinate_columns]

    def cells(self, label: Label) -> Iterable[str]:
        """Extras, then the points."""
        return [*label.extras.values(), *(_text(value) for value in label.points.ravel())]


POINTS_3D = Points3d()


def points_schema(names: Sequence[str]) -> Schema:
    """A schema of volumes with these points in this order: a known one, else one without measurements."""
    for schema in of_volumes().values():
        if schema.points == tuple(names):
            return schema
    return Schema("points-3d", tuple(names), lines=(), dimensions=3)


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
    """The time point that a row names; RowError where that is no whole number from 0 on."""
    text = cells.get(TIME, "")
    if not text:
        return None
    index = number(text, TIME)
    if index < 0 or index != int(index):
        raise RowError(f"{TIME}: expected a whole number from 0 on, found {text!r}")
    return int(index)


def _columns(point: str) -> set[str]:
    return {f"{point}_{axis}" for axis in AXES}


def _point(row: Row, point: str) -> np.ndarray:
    columns = [f"{point}_{axis}" for axis in AXES]
    if not any(row.cells[column] for column in columns):
        return np.full(3, np.nan)
    return np.array([number(row.cells[column], column) for column in columns])


def _text(value: float) -> str:
    """Four decimals as in ``results.csv``, whole numbers without any; nothing for a missing one."""
    return f"{value:.4f}".rstrip("0").rstrip(".") if np.isfinite(value) else ""
