"""Which row of ``results.csv`` answers which frame of a truth file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import attrs
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.geometry import angle_of_progression
from aop_pose.results import STATUSES
from aop_pose.schemas import AOP, SCHEMAS, Schema

Row = Mapping[str, str]

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

    @names.validator
    def _check_names(self, attribute: attrs.Attribute, value: tuple[str, ...]) -> None:
        twice = [name for name, count in Counter(map(_tidy, value)).items() if count > 1]
        if twice:
            raise UsageError(
                f"expected each frame once in the truth file, found {len(twice)} twice or more "
                f"({_some(twice)}); remove the duplicates"
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


def schema_of(rows: Sequence[Row]) -> Schema:
    """The schema whose point columns the rows have; UsageError where none fits."""
    found = list(rows[0]) if rows else []
    for schema in SCHEMAS.values():
        if {"source", *_point_columns(schema)} <= set(found):
            return schema
    raise UsageError(
        "results: expected rows with the columns source and PS1_x … FH1_y (or OFD1_x … BPD2_y), "
        f"found {', '.join(found) if found else 'no row'}; give a results.csv of aop-pose predict"
    )


def match(rows: Sequence[Row], truth: Truth, schema: Schema) -> Matched:
    """Answer each true frame with the row of its ``source``, else of its file name where that is unique.

    A row counts as measured where its ``status`` is ``ok``, or, in a table without that column, where it has
    all its points. UsageError for a value that is no number, a frame twice, and where no name is shared.
    """
    notes: list[str] = []
    stills = [(line, row) for line, row in enumerate(rows, start=2) if _index(row, line) == 0]
    answers = _pair_names([_tidy(row["source"]) for _, row in stills], [_tidy(name) for name in truth.names], notes)
    if len(stills) < len(rows):
        notes.append(f"later frames of a cine (index above 0), not scored: {len(rows) - len(stills)}")
    predicted = np.full(truth.coords.shape, np.nan)
    sizes = np.full((len(truth.names), 2), np.nan)
    stated = np.full(len(truth.names), np.nan)
    statuses, holes = ["no row"] * len(truth.names), []
    for position, answer in enumerate(answers):
        if answer is None:
            continue
        line, row = stills[answer]
        points = [_float(row, column, line) for column in _point_columns(schema)]
        complete = all(map(math.isfinite, points))
        status = _status(row, line, complete)
        statuses[position] = status
        sizes[position] = _float(row, "width", line), _float(row, "height", line)
        stated[position] = _float(row, "aop_deg", line)
        if status == "ok" and complete:
            predicted[position] = np.reshape(points, (-1, 2))
        elif status == "ok":
            holes.append(row["source"])
    if holes:
        notes.append(f"rows that are ok but lack a point, counted as missing: {len(holes)} ({_some(holes)})")
    if schema is AOP:
        _check_angles("truth: AoP", truth.stated_angles, truth.coords, truth.names, notes)
        _check_angles("results: aop_deg", stated, predicted, truth.names, notes)
    return Matched(
        schema=schema,
        names=truth.names,
        statuses=tuple(statuses),
        predicted=predicted,
        truth=truth.coords,
        sizes=_fill_sizes(sizes, np.isfinite(predicted).all(axis=(1, 2)), notes),
        notes=tuple(notes),
    )


def _pair_names(sources: list[str], names: list[str], notes: list[str]) -> list[int | None]:
    """Position in ``sources`` for each of ``names``, None where nothing answers."""
    exact = {source: position for position, source in enumerate(sources)}
    if len(exact) < len(sources):
        twice = [source for source, count in Counter(sources).items() if count > 1]
        raise UsageError(f"results: expected one row per frame, found several for {_some(twice)}; remove all but one")
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
            f"results and truth share no frame: results have {_some(sources)}; truth has {_some(names)}; "
            "give the truth file of these frames"
        )
    if ambiguous:
        notes.append(
            "true frames with several rows of their file name, counted as missing: "
            f"{len(ambiguous)} ({_some(ambiguous)})"
        )
    unanswered = len(answers) - len(used) - len(ambiguous)
    if unanswered:
        notes.append(f"true frames without a row, counted as missing: {unanswered}")
    if len(used) < len(sources):
        extra = [source for position, source in enumerate(sources) if position not in used]
        notes.append(f"rows that are not in the truth file, not scored: {len(extra)} ({_some(extra)})")
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
            f"which is the one scored: {len(apart)} ({_some(apart)})"
        )


def _fill_sizes(sizes: np.ndarray, measured: np.ndarray, notes: list[str]) -> np.ndarray:
    """Missing frames without a size take the largest known one, so that no error counts as too small."""
    unknown = ~np.isfinite(sizes).all(axis=1)
    if not (unknown & ~measured).any() or unknown.all():
        return sizes
    known = sizes[~unknown]
    largest = known[np.argmax(np.linalg.norm(known, axis=1))]
    notes.append(
        f"missing frames of unknown size, taken as {largest[0]:.0f}x{largest[1]:.0f}, "
        f"the largest of the others: {int((unknown & ~measured).sum())}"
    )
    return np.where((unknown & ~measured)[:, None], largest, sizes)


def _point_columns(schema: Schema) -> list[str]:
    return [f"{point}_{axis}" for point in schema.points for axis in "xy"]


def _status(row: Row, line: int, complete: bool) -> str:
    if "status" not in row:
        return "ok" if complete else "abstained"
    if row["status"] not in STATUSES:
        raise UsageError(f"results line {line}: expected status {', '.join(STATUSES)}, found {row['status']!r}")
    return row["status"]


def _index(row: Row, line: int) -> int:
    value = _float(row, "index", line)
    return int(value) if math.isfinite(value) else 0


def _float(row: Row, column: str, line: int) -> float:
    text = (row.get(column) or "").strip()
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise UsageError(f"results line {line}, {column}: expected a number or nothing, found {text!r}") from None


def _tidy(name: str) -> str:
    """One spelling of a relative path: forward slashes, no leading ``./``."""
    return str(PurePosixPath(name.strip().replace("\\", "/")))


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, …"
