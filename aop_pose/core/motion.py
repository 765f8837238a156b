"""Movement of each landmark over a sequence of volumes (4-D): steps, speed and path in millimetres."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.core.results import index_of, points_of, status_of
from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError


@attrs.frozen(eq=False)
class Motion:
    """Movement of the points of one sequence, in the space of its volumes: a moving probe or mother counts too."""

    points: tuple[str, ...]
    indices: np.ndarray
    """Shape (frames,), rising: the column ``index`` of the results."""
    speeds: np.ndarray
    """Shape (frames, points): mm per frame since the volume before, straight; NaN in the first, and where the point is
    missing in either. Where indices are left out, the step is divided by how many frames it takes."""

    @property
    def paths(self) -> np.ndarray:
        """Millimetres along the known steps, shape (points,); NaN where no step is known.

        Noise of a prediction adds to it: a still point with an error has a path.
        """
        steps = self.speeds[1:] * np.diff(self.indices)[:, None]
        return np.where(self.known_steps > 0, np.nansum(steps, axis=0), np.nan)

    @property
    def known_steps(self) -> np.ndarray:
        """Shape (points,): steps whose two ends are known, of ``len(indices) - 1``."""
        return np.isfinite(self.speeds[1:]).sum(axis=0)

    @property
    def mean_speeds(self) -> np.ndarray:
        """Millimetres per frame over the known steps, shape (points,); NaN where none is known."""
        frames = (np.isfinite(self.speeds[1:]) * np.diff(self.indices)[:, None]).sum(axis=0)
        return self.paths / np.where(frames > 0, frames, 1)

    def rows(self, source: str) -> list[dict[str, object]]:
        """One row per volume: source, index, and for each point ``<point>_mm_per_frame``."""
        return [
            {
                "source": source,
                "index": int(index),
                **{f"{point}_mm_per_frame": float(speed) for point, speed in zip(self.points, speeds, strict=True)},
            }
            for index, speeds in zip(self.indices, self.speeds, strict=True)
        ]


def motion(tracks: np.ndarray, indices: Sequence[int], points: Sequence[str]) -> Motion:
    """Movement of points over time.

    Args:
        tracks: (frames, points, 3), x, y, z in mm of one space; NaN for a missing point.
        indices: (frames,) time points, in any order.
        points: names.

    Raises:
        UsageError: an index stands twice.
        ValueError: other shapes.
    """
    tracks, numbers = np.asarray(tracks, np.float64), np.asarray(indices)
    if tracks.shape != (len(numbers), len(points), 3):
        raise ValueError(f"tracks: expected shape {(len(numbers), len(points), 3)}, found {tracks.shape}")
    order = np.argsort(numbers, kind="stable")
    tracks, numbers = tracks[order], numbers[order]
    gaps = np.diff(numbers)
    if (gaps == 0).any():
        raise UsageError(f"sequence: expected each index once, found {numbers[1:][gaps == 0][0]} twice or more")
    speeds = np.full(tracks.shape[:2], np.nan)
    speeds[1:] = np.linalg.norm(np.diff(tracks, axis=0), axis=-1) / gaps[:, None]
    return Motion(tuple(points), numbers, speeds)


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
    frames = sorted(frames, key=lambda frame: frame[0])
    tracks = geometry.to_mm(affine, np.array([coords for _, coords in frames]))
    return motion(_in_step(tracks, schema), [index for index, _ in frames], schema.points).rows(source)


def _in_step(tracks: np.ndarray, schema: Schema) -> np.ndarray:
    """Tracks (frames, points, 3) with each interchangeable pair in the order in which it moves least."""
    tracks = tracks.copy()
    for pair in schema.interchangeable:
        ends, before = list(schema.indices(pair)), None
        for frame in tracks:
            if before is not None:
                straight, crossed = (
                    np.linalg.norm(frame[order] - before, axis=1).sum() for order in (ends, ends[::-1])
                )
                if crossed < straight:
                    frame[ends] = frame[ends[::-1]]
            if np.isfinite(frame[ends]).all():
                before = frame[ends].copy()
    return tracks
