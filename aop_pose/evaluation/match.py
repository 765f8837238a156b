"""Which row of ``results.csv`` answers which frame of a truth file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import PurePosixPath

import attrs
import numpy as np

from aop_pose import geometry
from aop_pose.core.results import Row, index_of, number, points_of, status_of
from aop_pose.core.schema import Schema
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import volume_diagonals
from aop_pose.evaluation.rows import Millimetres, millimetres_of, pixel_size_of
from aop_pose.geometry import angle_of_progression

ANGLE_TOLERANCE_DEG = 0.1
"""A larger gap between a stated angle and that of the points is said."""


def _strings(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _floats(value: object) -> np.ndarray:
    return np.array(value, dtype=np.float64)


@attrs.frozen(eq=False)
class Truth:
    """The true points of named frames. UsageError where a name stands twice."""

    names: tuple[str, ...] = attrs.field(converter=_strings)
    coords: np.ndarray = attrs.field(converter=_floats)
    """Shape (frames, points, 2), pixels of the original frames, columns x, y."""
    stated_angles: np.ndarray | None = attrs.field(default=None, converter=attrs.converters.optional(_floats))
    """The column AoP, shape (frames,), degrees, NaN where empty: checked, not scored."""
    sizes: np.ndarray | None = attrs.field(default=None, converter=attrs.converters.optional(_floats))
    """Shape (frames, 2): width, height of each picture, NaN where unknown."""
    columns: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Further columns of the file (device, centre, patient), one text a frame."""
    notes: tuple[str, ...] = ()

    @names.validator
    def _check_names(self, attribute: attrs.Attribute, value: tuple[str, ...]) -> None:
        twice = [name for name, count in Counter(map(tidy, value)).items() if count > 1]
        if twice:
            raise UsageError(
                f"expected each frame once in the truth file, found {len(twice)} twice or more "
                f"({some(twice)}); remove the duplicates"
            )
        if not value:
            raise UsageError("expected at least one frame in the truth file, found none")


@attrs.frozen(eq=False)
class Matched:
    """One entry per true frame, in the order of the truth file."""

    schema: Schema
    names: tuple[str, ...]
    statuses: tuple[str, ...]
    """``status`` of the row that answers; ``no row`` where none does."""
    predicted: np.ndarray
    """Shape (frames, points, 2); NaN for every frame that was not measured."""
    truth: np.ndarray
    sizes: np.ndarray
    """Shape (frames, 2): width, height as the rows say; NaN where no row says them."""
    notes: tuple[str, ...]
    """One line each: what a reader should know before believing the figures."""
    intervals: np.ndarray | None = None
    """Shape (frames, 2): aop_low, aop_high as the rows state them, NaN where they do not."""
    columns: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    models: tuple[str, ...] = ()
    """Every model that the matched rows name."""
    millimetres: Millimetres | None = None
    """What is known of a head in millimetres; None where nothing is, and for other schemas."""


def truth_of_results(rows: Sequence[Row], schema: Schema) -> Truth:
    """A second results table in the place of the truth: two methods, or two readers, compared.

    Frames that it did not measure are left out and noted; UsageError where none is left.
    """
    kept, points, notes = [], [], []
    for line, row in enumerate(rows, start=2):
        where = f"truth line {line}"
        coords = points_of(row, schema, where)
        complete = bool(np.isfinite(coords).all())
        if index_of(row, where) == 0 and status_of(row, where, complete) == "ok" and complete:
            kept.append((where, row))
            points.append(coords)
    if not kept:
        raise UsageError(f"truth: expected at least one measured frame in this results table, found 0 of {len(rows)}")
    if len(kept) < len(rows):
        notes.append(
            "rows of the second table that are not measured, or later frames of a cine, left out: "
            f"{len(rows) - len(kept)}"
        )
    return Truth(
        names=[row["source"] for _, row in kept],
        coords=points,
        stated_angles=[number(row, "aop_deg", where) for where, row in kept],
        sizes=[_size(row, where) for where, row in kept],
        columns={name: tuple(row[name] for _, row in kept) for name in kept[0][1]},
        notes=tuple(notes),
    )


def match(rows: Sequence[Row], truth: Truth, schema: Schema, pictures: np.ndarray | None = None) -> Matched:
    """Answer each true frame with the row of its ``source``, else of its file name where that is unique.

    A row counts as measured where its ``status`` is ``ok``, or, in a table without that column, where it has
    all its points. ``pictures`` (frames, 2) are width and height of the files. UsageError for a value that is no
    number, a frame twice, where no name is shared, and where a picture has two sizes.
    """
    notes: list[str] = list(truth.notes)
    lines = [(f"results line {line}", row) for line, row in enumerate(rows, start=2)]
    stills = [(where, row) for where, row in lines if index_of(row, where) == 0]
    answers = pair_names([tidy(row["source"]) for _, row in stills], [tidy(name) for name in truth.names], notes)
    if len(stills) < len(rows):
        notes.append(f"later frames of a cine (index above 0), not scored: {len(rows) - len(stills)}")
    predicted = np.full(truth.coords.shape, np.nan)
    sizes = np.full((len(truth.names), 2), np.nan)
    stated = np.full(len(truth.names), np.nan)
    pixel_sizes = np.full(len(truth.names), np.nan)
    intervals = np.full((len(truth.names), 2), np.nan)
    statuses, holes = ["no row"] * len(truth.names), []
    models: dict[str, None] = {}
    for position, answer in enumerate(answers):
        if answer is None:
            continue
        where, row = stills[answer]
        points = points_of(row, schema, where)
        complete = bool(np.isfinite(points).all())
        status = status_of(row, where, complete)
        statuses[position] = status
        sizes[position] = _size(row, where)
        stated[position] = number(row, "aop_deg", where)
        pixel_sizes[position] = pixel_size_of(row, where)
        intervals[position] = number(row, "aop_low", where), number(row, "aop_high", where)
        models[row.get("model") or ""] = None
        if status == "ok" and complete:
            predicted[position] = points
        elif status == "ok":
            holes.append(row["source"])
    if holes:
        notes.append(f"rows that are ok but lack a point, counted as missing: {len(holes)} ({some(holes)})")
    if schema is AOP:
        _check_angles("truth: AoP", truth.stated_angles, truth.coords, truth.names, notes)
        _check_angles("results: aop_deg", stated, predicted, truth.names, notes)
    millimetres = millimetres_of(truth.columns, pixel_sizes, truth.names, notes) if schema is HEAD else None
    sides = {"results": sizes, "truth": truth.sizes, "picture": pictures}
    known = {side: stated for side, stated in sides.items() if stated is not None}
    for (one, its), (other, theirs) in combinations(known.items(), 2):
        _check_sizes(one, its, other, theirs, truth.names)
    for stated in known.values():
        sizes = np.where(np.isfinite(sizes), sizes, stated)
    _check_inside(truth.coords, sizes, truth.names, notes)
    return Matched(
        schema=schema,
        names=truth.names,
        statuses=tuple(statuses),
        predicted=predicted,
        truth=truth.coords,
        sizes=_fill_sizes(sizes, np.isfinite(predicted).all(axis=(1, 2)), notes),
        notes=tuple(notes),
        intervals=intervals,
        columns=truth.columns,
        models=tuple(filter(None, models)),
        millimetres=millimetres,
    )


def pair_names(sources: list[str], names: list[str], notes: list[str]) -> list[int | None]:
    """Position in ``sources`` for each of ``names``, None where nothing answers."""
    exact = {source: position for position, source in enumerate(sources)}
    if len(exact) < len(sources):
        twice = [source for source, count in Counter(sources).items() if count > 1]
        raise UsageError(f"results: expected one row per frame, found several for {some(twice)}; remove all but one")
    by_file: dict[str, list[int]] = {}
    for position, source in enumerate(sources):
        by_file.setdefault(PurePosixPath(source).name, []).append(position)
    same_file = Counter(PurePosixPath(name).name for name in names)
    answers: list[int | None] = []
    ambiguous = []
    for name in names:
        file = PurePosixPath(name).name
        candidates = by_file.get(file, [])
        if name in exact:
            answers.append(exact[name])
        elif len(candidates) == 1 and same_file[file] == 1:
            answers.append(candidates[0])
        else:
            answers.append(None)
            if candidates:
                ambiguous.append(name)
    used = {answer for answer in answers if answer is not None}
    if not used:
        raise UsageError(
            f"results and truth share no frame: results have {some(sources)}; truth has {some(names)}; "
            "give the truth file of these frames"
        )
    if ambiguous:
        notes.append(
            "true frames with several rows of their file name, counted as missing: "
            f"{len(ambiguous)} ({some(ambiguous)})"
        )
    unanswered = len(answers) - len(used) - len(ambiguous)
    if unanswered:
        notes.append(f"true frames without a row, counted as missing: {unanswered}")
    if len(used) < len(sources):
        extra = [source for position, source in enumerate(sources) if position not in used]
        notes.append(f"rows that are not in the truth file, not scored: {len(extra)} ({some(extra)})")
    return answers


def _check_angles(
    what: str, stated: np.ndarray | None, coords: np.ndarray, names: Sequence[str], notes: list[str]
) -> None:
    """Note where a stated angle is not that of the points (stretched pixels, another definition)."""
    if stated is None:
        return
    gaps = np.abs(stated - angle_of_progression(coords[:, 0], coords[:, 1], coords[:, 2]))
    apart = [name for name, gap in zip(names, gaps, strict=True) if gap > ANGLE_TOLERANCE_DEG]
    if apart:
        notes.append(
            f"{what} is more than {ANGLE_TOLERANCE_DEG}° from the angle of the points, "
            f"which is the one scored: {len(apart)} ({some(apart)})"
        )


def _check_sizes(one: str, its: np.ndarray, other: str, theirs: np.ndarray, names: Sequence[str]) -> None:
    """Points on pictures of two sizes are in two kinds of pixels: no distance between them means anything."""
    apart = (its != theirs).any(axis=1) & np.isfinite(its).all(axis=1) & np.isfinite(theirs).all(axis=1)
    if apart.any():
        first = int(np.argmax(apart))
        raise UsageError(
            f"expected every picture to have one size, found {int(apart.sum())} with two: {names[first]} is "
            f"{_by(its[first])} by the {one}, {_by(theirs[first])} by the {other}; measure and label the same files"
        )


def _check_inside(coords: np.ndarray, sizes: np.ndarray, names: Sequence[str], notes: list[str]) -> None:
    """Note true points beyond the picture, with a pixel to spare for those who count from its corner."""
    beyond = ((coords < -1) | (coords > sizes[:, None])).any(axis=(1, 2))
    outside = [names[position] for position in np.flatnonzero(beyond).tolist()]
    if outside:
        notes.append(
            f"frames with true points outside their picture: {len(outside)} ({some(outside)}); "
            "labels drawn at another picture size give errors that mean nothing"
        )


def _fill_sizes(sizes: np.ndarray, measured: np.ndarray, notes: list[str]) -> np.ndarray:
    """Missing frames without a size take the largest known one, so that no error counts as too small."""
    unknown = ~np.isfinite(sizes).all(axis=1)
    if not (unknown & ~measured).any() or unknown.all():
        return sizes
    known = sizes[~unknown]
    largest = known[np.argmax(np.linalg.norm(known, axis=1))]
    notes.append(
        f"missing frames of unknown size, taken as {_by(largest)}, "
        f"the largest of the others: {int((unknown & ~measured).sum())}"
    )
    return np.where((unknown & ~measured)[:, None], largest, sizes)


def _size(row: Row, where: str) -> tuple[float, float]:
    return number(row, "width", where), number(row, "height", where)


def _by(size: np.ndarray) -> str:
    return f"{size[0]:.0f}x{size[1]:.0f}"


def tidy(name: str) -> str:
    """One spelling of a relative path: forward slashes, no leading ``./``."""
    return str(PurePosixPath(name.strip().replace("\\", "/")))


def some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, …"


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
    _check_inside_volume(truth, grids.shapes, notes)
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


def _check_inside_volume(truth: Truth, shapes: np.ndarray, notes: list[str]) -> None:
    """Note true points beyond their volume, with a voxel to spare for those who count from its corner."""
    beyond = ((truth.coords < -1) | (truth.coords > shapes[:, None])).any(axis=(1, 2))
    outside = [truth.names[position] for position in np.flatnonzero(beyond).tolist()]
    if outside:
        notes.append(
            f"volumes with true points outside them: {len(outside)} ({some(outside)}); "
            "labels of volumes of another size give errors that mean nothing"
        )
