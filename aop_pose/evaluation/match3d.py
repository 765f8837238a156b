"""Which row of ``results.csv`` answers which volume of a truth file, and where the points of both lie in mm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.errors import UsageError
from aop_pose.evaluation.match import Truth, pair_names, some, tidy
from aop_pose.evaluation.points3d import volume_diagonals
from aop_pose.evaluation.rows import Row, index_of, points_of, status_of
from aop_pose.schemas import Schema

_TIME = "#"


def volume_name(file: str, index: int) -> str:
    """What a volume is called: its file, and from the second time point on ``#`` and its index."""
    return f"{file}{_TIME}{index}" if index else file


def file_and_index(name: str) -> tuple[str, int]:
    """The inverse of :func:`volume_name`."""
    file, mark, index = name.rpartition(_TIME)
    return (file, int(index)) if mark and index.isdecimal() else (name, 0)


@attrs.frozen(eq=False)
class Grids:
    """Where the voxels of each true volume lie."""

    affines: np.ndarray
    """Shape (frames, 4, 4): voxel indices -> mm."""
    shapes: np.ndarray
    """Shape (frames, 3): voxels along i, j, k."""


@attrs.frozen(eq=False)
class MatchedVolumes:
    """One entry per true volume, in the order of the truth file."""

    schema: Schema
    names: tuple[str, ...]
    statuses: tuple[str, ...]
    """``status`` of the row that answers; ``no row`` where none does."""
    predicted: np.ndarray
    """Shape (frames, points, 3), mm; NaN for every point that was not found, and all points of what is not ``ok``."""
    truth: np.ndarray
    """Shape (frames, points, 3), mm; NaN for a point that is not labelled."""
    diagonals: np.ndarray
    """Shape (frames,), mm."""
    notes: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    models: tuple[str, ...]
    """Every model that the matched rows name."""


def truth_of_volumes(rows: Sequence[Row], schema: Schema) -> Truth:
    """A second results table in the place of the truth; UsageError where it has no measured volume."""
    kept, points = [], []
    for line, row in enumerate(rows, start=2):
        where = f"truth line {line}"
        coords = points_of(row, schema, where)
        if _measured(row, coords, where):
            kept.append(volume_name(row["source"], index_of(row, where)))
            points.append(coords)
    if not kept:
        raise UsageError(f"truth: expected at least one measured volume in this results table, found 0 of {len(rows)}")
    left_out = len(rows) - len(kept)
    notes = [f"rows of the second table that are not measured, left out: {left_out}"] if left_out else []
    return Truth(names=kept, coords=points, notes=tuple(notes))


def match_volumes(rows: Sequence[Row], truth: Truth, schema: Schema, grids: Grids) -> MatchedVolumes:
    """Answer each true volume with the row of its ``source`` and ``index``, else of its file name where that is unique.

    UsageError for a value that is no number, a volume twice, and where no name is shared.
    """
    notes: list[str] = list(truth.notes)
    lines = [(f"results line {line}", row) for line, row in enumerate(rows, start=2)]
    sources = [volume_name(tidy(row["source"]), index_of(row, where)) for where, row in lines]
    answers = pair_names(sources, [tidy(name) for name in truth.names], notes)
    predicted = np.full(truth.coords.shape, np.nan)
    statuses = ["no row"] * len(truth.names)
    models: dict[str, None] = {}
    for position, answer in enumerate(answers):
        if answer is None:
            continue
        where, row = lines[answer]
        coords = points_of(row, schema, where)
        statuses[position] = status_of(row, where, bool(np.isfinite(coords).all(axis=1).any()))
        models[row.get("model") or ""] = None
        if _measured(row, coords, where):
            predicted[position] = coords
    _check_inside(truth, grids.shapes, notes)
    pairs = zip(grids.affines, predicted, truth.coords, strict=True)
    in_mm = [(geometry.to_mm(affine, one), geometry.to_mm(affine, other)) for affine, one, other in pairs]
    return MatchedVolumes(
        schema=schema,
        names=truth.names,
        statuses=tuple(statuses),
        predicted=np.array([one for one, _ in in_mm]),
        truth=np.array([other for _, other in in_mm]),
        diagonals=volume_diagonals(grids.affines, grids.shapes),
        notes=tuple(notes),
        columns=truth.columns,
        models=tuple(filter(None, models)),
    )


def _measured(row: Row, coords: np.ndarray, where: str) -> bool:
    found = bool(np.isfinite(coords).all(axis=1).any())
    return found and status_of(row, where, found) == "ok"


def _check_inside(truth: Truth, shapes: np.ndarray, notes: list[str]) -> None:
    """Note true points beyond their volume, with a voxel to spare for those who count from its corner."""
    beyond = ((truth.coords < -1) | (truth.coords > shapes[:, None])).any(axis=(1, 2))
    outside = [truth.names[position] for position in np.flatnonzero(beyond).tolist()]
    if outside:
        notes.append(
            f"volumes with true points outside them: {len(outside)} ({some(outside)}); "
            "labels of volumes of another size give errors that mean nothing"
        )
