"""HC18: ``training_set/NNN_HC.png``, ``NNN_HC_Annotation.png``, one CSV of pixel sizes and circumferences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import HEAD
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.csv_rows import Row, RowError, filename, number, read_rows
from aop_pose.formats.format import FolderFormat, left_out, nested
from aop_pose.formats.head import OPTIONAL
from aop_pose.formats.label import Label, LabelError, Skipped, check_below, within
from aop_pose.formats.pictures import picture_size, read_mask
from aop_pose.geometry import ellipse_axes, largest_contour

_FILE = "training_set_pixel_size_and_HC.csv"
_LOOKS_FOR = f"{_FILE} with training_set/"
_COLUMNS = ("filename", "pixel size(mm)", "head circumference (mm)")


def _table(folder: Path) -> Path:
    return next((place for place in (folder / _FILE, folder / "training_set" / _FILE) if place.is_file()), folder)


def _holds(folder: Path) -> bool:
    return _table(folder).is_file() and (folder / "training_set").is_dir()


def _read(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds)
    if base is None:
        raise UsageError(f"{folder}: expected {_LOOKS_FOR}, found none")
    for row in read_rows(_table(base), _COLUMNS):
        try:
            yield _frame(row, base)
        except LabelError as error:
            yield left_out(error)
        except (RowError, AopPoseError) as error:
            yield Skipped(row.cells.get("filename") or f"{_FILE}:{row.line}", str(error))


def _frame(row: Row, base: Path) -> Label:
    if row.problem:
        raise RowError(row.problem)
    name = filename(row.cells["filename"])
    known = [row.cells[column] for column in _COLUMNS[1:]]
    for column, text in zip(_COLUMNS[1:], known, strict=True):
        number(text, column)
    check_below(name)
    pictures = base / "training_set"
    path, outline = pictures / name, pictures / f"{Path(name).stem}_Annotation.png"
    for place in (path, outline):
        if not place.is_file():
            raise RowError(f"no picture {place.name} in {pictures.name}/")
        within(place, base, place.name)
    keypoints = Keypoints.from_points(HEAD, _axis_ends(outline))
    return Label(name, path, picture_size(path), keypoints, extras=dict(zip(OPTIONAL, known, strict=True)))


def _axis_ends(outline: Path) -> np.ndarray:
    """OFD1, OFD2, BPD1, BPD2 of the ellipse through the drawn line, (4, 2)."""
    drawn = read_mask(outline) > 0
    contour = largest_contour(drawn.astype(np.uint8))
    if not len(contour):
        raise RowError(f"{outline.name}: expected an outline, found an empty picture")
    # A line of some pixels' width: all its pixels lie around the middle of the line, its outer contour does not.
    ys, xs = np.nonzero(drawn)
    inside = drawn[round(float(contour[:, 1].mean())), round(float(contour[:, 0].mean()))]
    points = contour if inside else np.column_stack([xs, ys])
    ends = np.array(ellipse_axes(points))
    if not np.isfinite(ends).all():
        raise RowError(f"{outline.name}: expected an outline that an ellipse fits, found none")
    return ends


HC18 = FolderFormat("hc18", "head", _LOOKS_FOR, lambda folder: nested(folder, _holds) is not None, _read, HEAD)
