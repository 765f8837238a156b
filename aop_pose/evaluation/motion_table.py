"""``motion.csv`` of a results table: how fast each landmark of a 4-D file moves from volume to volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from aop_pose import geometry
from aop_pose.evaluation.motion import motion
from aop_pose.evaluation.rows import index_of, points_of, status_of
from aop_pose.schemas import Schema


def motion_rows(
    rows: Iterable[Mapping[str, str]], schema: Schema, affine_of: Callable[[str], np.ndarray]
) -> list[dict[str, object]]:
    """``Motion.rows`` of every source that has several rows, in the order of the table; nothing where none has.

    Args:
        rows: of ``results.csv``; the points of one that is not ``ok`` count as missing.
        affine_of: source -> (4, 4), voxel indices -> mm. It is asked for sequences alone.
    """
    places: dict[str, list[tuple[int, np.ndarray]]] = {}
    for line, row in enumerate(rows, start=2):
        where = f"results line {line}"
        coords = points_of(row, schema, where)
        if status_of(row, where, True) != "ok":
            coords = np.full(coords.shape, np.nan)
        places.setdefault(row["source"], []).append((index_of(row, where), coords))
    found: list[dict[str, object]] = []
    for source, frames in places.items():
        if len(frames) > 1:
            found += _rows_of(source, frames, schema, affine_of(source))
    return found


def _rows_of(
    source: str, frames: Sequence[tuple[int, np.ndarray]], schema: Schema, affine: np.ndarray
) -> list[dict[str, object]]:
    tracks = geometry.to_mm(affine, np.array([coords for _, coords in frames]))
    return motion(tracks, [index for index, _ in frames], schema.points).rows(source)
