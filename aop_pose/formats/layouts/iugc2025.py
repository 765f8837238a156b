"""IUGC 2025: stills with landmarks.

``Training/Labeled cases/label.csv`` (``Filename,PS1,PS2,FH1``) and
``{Validation,Testing}/landmarks_data.csv``, where the head point is called ``AOP Tangency``. A picture is
looked for anywhere below the folder of its file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.csv_rows import Row, RowError, filename, header_of, point, read_rows
from aop_pose.formats.format import FolderFormat, left_out
from aop_pose.formats.label import Label, LabelError, Skipped
from aop_pose.formats.masks import pictures_in
from aop_pose.formats.pictures import picture_size
from aop_pose.io.discover import files_below

_LOOKS_FOR = "label.csv below Training/ or landmarks_data.csv below Validation/ or Testing/"
_FILES = ("label.csv", "landmarks_data.csv")
_ALIASES = {
    "Filename": ("Filename", "Image filename"),
    "PS1": ("PS1",),
    "PS2": ("PS2",),
    "FH1": ("FH1", "AOP Tangency"),
}


def _label_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in files_below(folder) if path.name in _FILES)


def _read(folder: Path) -> Iterator[Label | Skipped]:
    files = _label_files(folder)
    if not files:
        raise UsageError(f"{folder}: expected {_LOOKS_FOR}, found neither")
    for file in files:
        yield from _read_file(file, folder)


def _read_file(file: Path, folder: Path) -> Iterator[Label | Skipped]:
    columns = _columns(file)
    pictures = {path.name: path for path in pictures_in(file.parent)}
    part = file.parent.relative_to(folder).as_posix().replace(" ", "_")
    for row in read_rows(file, tuple(columns.values())):
        try:
            yield _frame(row, columns, pictures, part)
        except LabelError as error:
            yield left_out(error)
        except (RowError, UnreadableError) as error:
            yield Skipped(f"{file.relative_to(folder).as_posix()}:{row.line}", str(error))


def _columns(file: Path) -> dict[str, str]:
    header = {column.casefold(): column for column in header_of(file)}
    found = {
        ours: next((header[name.casefold()] for name in names if name.casefold() in header), "")
        for ours, names in _ALIASES.items()
    }
    missing = [" or ".join(_ALIASES[ours]) for ours, column in found.items() if not column]
    if missing:
        raise UsageError(f"{file}:1: expected the columns {', '.join(missing)}, found {','.join(header.values())}")
    return found


def _frame(row: Row, columns: dict[str, str], pictures: dict[str, Path], part: str) -> Label:
    if row.problem:
        raise RowError(row.problem)
    name = Path(filename(row.cells[columns["Filename"]])).name
    cells = {ours: row.cells[column] for ours, column in columns.items()}
    coords = np.array([point(cells[ours], ours) for ours in AOP.points])
    path = pictures.get(name)
    if path is None:
        raise RowError(f"no picture {name} below the folder of the file")
    return Label(f"{part}/{name}", path, picture_size(path), Keypoints.from_points(AOP, coords))


IUGC2025 = FolderFormat("iugc2025", "points", _LOOKS_FOR, lambda folder: bool(_label_files(folder)), _read, AOP)
