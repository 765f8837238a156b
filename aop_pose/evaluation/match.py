"""Rows of ``results.csv`` and the images of a truth file that they answer."""

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
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import volume_diagonals
from aop_pose.evaluation.noise import Spread
from aop_pose.evaluation.rows import Millimetres, millimetres_of, pixel_size_of


def _strings(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _floats(value: object) -> np.ndarray:
    return np.array(value, dtype=np.float64)


def _arrays(values: Mapping[str, object]) -> dict[str, np.ndarray]:
    return {name: _floats(value) for name, value in values.items()}


@attrs.frozen(eq=False)
class Truth:
    """The true points of named images. UsageError where a name stands twice."""

    names: tuple[str, ...] = attrs.field(converter=_strings)
    coords: np.ndarray = attrs.field(converter=_floats)
    """Shape (images, points, 2), x and y in pixels of the original frames, or (images, points, 3), voxels i, j, k."""
    stated: Mapping[str, np.ndarray] = attrs.field(factory=dict, converter=_arrays)
    """By ``Quantity.column``, what the file says of it beside the points, shape (images,), NaN where nothing."""
    sizes: np.ndarray | None = attrs.field(default=None, converter=attrs.converters.optional(_floats))
    """Shape (images, 2): width, height of each picture, NaN where unknown."""
    columns: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Further columns of the file (device, centre, patient), one text an image."""
    notes: tuple[str, ...] = ()
    spread: Spread | None = None
    """Of the readings that the true points are means of, where it is known."""

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
class Grids:
    """The place of the voxels of each true volume."""

    affines: np.ndarray
    """Shape (volumes, 4, 4): voxel indices -> mm."""
    shapes: np.ndarray
    """Shape (volumes, 3): voxels along i, j, k."""


@attrs.frozen(eq=False)
class Matched:
    """Two sides, one entry per true image, in the order of the truth file."""

    schema: Schema
    names: tuple[str, ...]
    statuses: tuple[str, ...]
    """``status`` of the row that answers; ``no row`` where none does."""
    predicted: np.ndarray
    """Shape (images, points, 2) in pixels of the frames, or (images, points, 3) in mm; NaN for every picture that was
    not measured whole, and for every point of a volume that was not found."""
    truth: np.ndarray
    """The same shape and space; NaN for a point of a volume that is not labelled."""
    sizes: np.ndarray
    """Width and height of each picture, (images, 2); voxels of each volume, (images, 3); NaN where unknown."""
    diagonals: np.ndarray
    """From corner to corner of each image, shape (images,), in the unit of the points."""
    notes: tuple[str, ...] = ()
    """One line each: what a reader should know before believing the figures."""
    intervals: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Quantity.column``, both ends of the interval that a row states, shape (images, 2), NaN where it does not."""
    columns: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """Those of ``Truth``."""
    models: tuple[str, ...] = ()
    """Every model that the matched rows name."""
    millimetres: Millimetres | None = None
    """Pixel sizes and stated lengths of pictures; None where no pixel size is known."""
    reasons: tuple[str, ...] = ()
    """``reason`` of the row that answers, one an image, "" where it states none."""
    read: Mapping[str, np.ndarray] = attrs.field(factory=dict)
    """By ``Quantity.column``, predicted and true value of what no points give, (images, 2), where both sides have it.
    """


def is_measured(row: Row, coords: np.ndarray, schema: Schema, where: str) -> tuple[str, bool]:
    """The status of a row, and whether its points count: all those of a picture, or any of a volume."""
    whole = has_points(coords, schema)
    status = status_of(row, where, whole)
    return status, whole and status == "ok"


def has_points(coords: np.ndarray, schema: Schema) -> bool:
    """True where points (points, axes) are enough to compare: all of a picture, any of a volume."""
    found = np.isfinite(coords).all(axis=1)
    return bool(found.all() if schema.dimensions == 2 else found.any())


def truth_of_results(rows: Sequence[Row], schema: Schema) -> Truth:
    """A second results table in the place of the truth: two methods, or two readers, compared.

    Images that it did not measure are left out and noted; UsageError where none is left.
    """
    flat = schema.dimensions == 2
    kept, points = [], []
    for line, row in enumerate(rows, start=2):
        where = f"truth line {line}"
        coords = points_of(row, schema, where)
        if is_measured(row, coords, schema, where)[1] and not (flat and index_of(row, where)):
            kept.append((where, row))
            points.append(coords)
    if not kept:
        thing = "frame" if flat else "volume"
        raise UsageError(f"truth: expected at least one measured {thing} in this results table, found 0 of {len(rows)}")
    left_out, later = len(rows) - len(kept), ", or later frames of a cine" if flat else ""
    checked = [quantity for quantity in schema.quantities if quantity.tolerance is not None]
    return Truth(
        names=[image_name(row["source"], index_of(row, where)) for where, row in kept],
        coords=points,
        stated={one.column: [number(row, one.column, where) for where, row in kept] for one in checked},
        sizes=[_size(row, where) for where, row in kept] if flat else None,
        columns={name: tuple(row[name] for _, row in kept) for name in kept[0][1]},
        notes=(f"rows of the second table that are not measured{later}, left out: {left_out}",) if left_out else (),
    )


def match(
    rows: Sequence[Row],
    truth: Truth,
    schema: Schema,
    pictures: np.ndarray | None = None,
    grids: Grids | None = None,
) -> Matched:
    """Answer each true image with the row of its name, else of its file name where that is unique.

    A row counts as measured where its ``status`` is ``ok``, or, in a table without that column, where its points are
    enough (``has_points``).

    Args:
        rows: of the results, as text.
        truth: the other side.
        schema: of both.
        pictures: (frames, 2), width and height of the files, where they were read.
        grids: where the voxels of volumes lie; they are not compared without.

    Raises:
        UsageError: a value that is no number, an image twice, no name that both share, a picture of two sizes.
    """
    notes: list[str] = list(truth.notes)
    lines = [(f"results line {line}", row) for line, row in enumerate(rows, start=2)]
    # A label file of pictures names files: the later frames of a cine answer nothing.
    scored = [(where, row) for where, row in lines if schema.dimensions == 3 or index_of(row, where) == 0]
    sources = [image_name(tidy(row["source"]), index_of(row, where)) for where, row in scored]
    answers = pair_names(sources, [tidy(name) for name in truth.names], notes)
    if len(scored) < len(lines):
        notes.append(f"later frames of a cine (index above 0), not scored: {len(lines) - len(scored)}")
    count = len(truth.names)
    predicted = np.full(truth.coords.shape, np.nan)
    sizes, pixel_sizes = np.full((count, 2), np.nan), np.full(count, np.nan)
    stated = {one.column: np.full(count, np.nan) for one in schema.quantities if one.tolerance is not None}
    ends = {one.column: (f"{one.stem}_low", f"{one.stem}_high") for one in schema.quantities}
    columns = set(rows[0])
    intervals = {name: np.full((count, 2), np.nan) for name, both in ends.items() if columns.issuperset(both)}
    read = _read_by_both(schema, columns, truth)
    statuses, reasons, holes = ["no row"] * count, [""] * count, []
    models: dict[str, None] = {}
    for position, answer in enumerate(answers):
        if answer is None:
            continue
        where, row = scored[answer]
        points = points_of(row, schema, where)
        statuses[position], measured = is_measured(row, points, schema, where)
        sizes[position] = _size(row, where)
        pixel_sizes[position] = pixel_size_of(row, schema, where)
        for column, values in stated.items():
            values[position] = number(row, column, where)
        reasons[position] = row.get("reason") or ""
        for column, both in intervals.items():
            both[position] = [number(row, end, where) for end in ends[column]]
        for column, both in read.items():
            both[position, 0] = number(row, column, where)
        models[row.get("model") or ""] = None
        if measured:
            predicted[position] = points
        elif statuses[position] == "ok" and schema.dimensions == 2:
            holes.append(row["source"])
    if holes:
        notes.append(f"rows that are ok but lack a point, counted as missing: {len(holes)} ({some(holes)})")
    for column, both in intervals.items():
        _check_order(ends[column], both, truth.names, notes)
    _check_stated("truth", truth.stated, truth.coords, schema, truth.names, notes)
    _check_stated("results", stated, predicted, schema, truth.names, notes)
    matched = Matched(
        schema=schema,
        names=truth.names,
        statuses=tuple(statuses),
        predicted=predicted,
        truth=truth.coords,
        sizes=sizes,
        diagonals=np.full(count, np.nan),
        intervals=intervals,
        columns=truth.columns,
        models=tuple(filter(None, models)),
        millimetres=millimetres_of(truth.columns, pixel_sizes, truth.names, notes, schema),
        reasons=tuple(reasons),
        read=read,
    )
    if schema.dimensions == 3:
        if grids is None:
            raise ValueError("grids: expected where the voxels lie, found None")
        return _in_millimetres(matched, grids, notes)
    return _of_one_size(matched, {"results": sizes, "truth": truth.sizes, "picture": pictures}, notes)


def _read_by_both(schema: Schema, columns: set[str], truth: Truth) -> dict[str, np.ndarray]:
    """By column, (images, 2): the true value of what no points give, where the results have that column too."""
    known = {name.casefold(): texts for name, texts in truth.columns.items()}
    found = {}
    for quantity in schema.quantities:
        column = quantity.column
        if quantity.needs_outline and column in columns and column.casefold() in known:
            cells = zip(known[column.casefold()], truth.names, strict=True)
            true = [number({column: text}, column, f"truth, {name}") for text, name in cells]
            if np.isfinite(true).any():
                found[column] = np.column_stack([np.full(len(true), np.nan), true])
    return found


def _check_order(ends: tuple[str, str], both: np.ndarray, names: Sequence[str], notes: list[str]) -> None:
    """An interval without an end, or whose low end lies above its high one, is taken for none, and said."""
    endless = np.isinf(both).any(axis=1) | (np.isnan(both).sum(axis=1) == 1)
    if endless.any():
        which = [name for name, is_endless in zip(names, endless, strict=True) if is_endless]
        notes.append(
            f"rows whose interval lacks an end ({ends[0]}, {ends[1]}), taken as without one: "
            f"{len(which)} ({some(which)})"
        )
        both[endless] = np.nan
    turned = both[:, 0] > both[:, 1]
    if turned.any():
        which = [name for name, is_turned in zip(names, turned, strict=True) if is_turned]
        notes.append(
            f"rows whose interval is upside down ({ends[0]} above {ends[1]}), taken as without one: "
            f"{len(which)} ({some(which)})"
        )
        both[turned] = np.nan


def _of_one_size(matched: Matched, sides: Mapping[str, np.ndarray | None], notes: list[str]) -> Matched:
    """Pictures with the sizes that rows, truth and files say; the one that is known first is taken."""
    known = {side: stated for side, stated in sides.items() if stated is not None}
    for (one, its), (other, theirs) in combinations(known.items(), 2):
        _check_sizes(one, its, other, theirs, matched.names)
    sizes = matched.sizes
    for stated in known.values():
        sizes = np.where(np.isfinite(sizes), sizes, stated)
    words = "frames", "their picture", "labels drawn at another picture size"
    _check_inside(matched.truth, sizes, matched.names, notes, words)
    sizes = _fill_sizes(sizes, np.isfinite(matched.predicted).all(axis=(1, 2)), notes)
    return attrs.evolve(matched, sizes=sizes, diagonals=np.linalg.norm(sizes, axis=-1), notes=tuple(notes))


def _in_millimetres(matched: Matched, grids: Grids, notes: list[str]) -> Matched:
    """Volumes with both sides in mm."""
    words = "volumes", "them", "labels of volumes of another size"
    _check_inside(matched.truth, grids.shapes, matched.names, notes, words)
    predicted, truth = (
        np.array([geometry.to_mm(affine, points) for affine, points in zip(grids.affines, side, strict=True)])
        for side in (matched.predicted, matched.truth)
    )
    return attrs.evolve(
        matched,
        predicted=predicted,
        truth=truth,
        sizes=grids.shapes,
        diagonals=volume_diagonals(grids.affines, grids.shapes),
        notes=tuple(notes),
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


def _check_stated(
    side: str,
    stated: Mapping[str, np.ndarray],
    coords: np.ndarray,
    schema: Schema,
    names: Sequence[str],
    notes: list[str],
) -> None:
    """Note where a stated number is not that of the points (stretched pixels, another definition)."""
    for quantity in schema.quantities:
        if quantity.tolerance is None or quantity.column not in stated:
            continue
        # A label file has its own name for it.
        what = quantity.label_column or quantity.column if side == "truth" else quantity.column
        gaps = np.abs(stated[quantity.column] - schema.values(quantity, coords))
        apart = [name for name, gap in zip(names, gaps, strict=True) if gap > quantity.tolerance]
        if apart:
            words = "angle" if quantity.unit == "deg" else quantity.title
            notes.append(
                f"{side}: {what} is more than {quantity.tolerance}{quantity.sign} from the {words} of the points, "
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


def _check_inside(
    coords: np.ndarray, sizes: np.ndarray, names: Sequence[str], notes: list[str], words: tuple[str, str, str]
) -> None:
    """Note true points beyond their image, with a pixel or voxel to spare for those who count from its corner."""
    beyond = ((coords < -1) | (coords > sizes[:, None])).any(axis=(1, 2))
    outside = [names[position] for position in np.flatnonzero(beyond).tolist()]
    if outside:
        images, place, why = words
        notes.append(
            f"{images} with true points outside {place}: {len(outside)} ({some(outside)}); "
            f"{why} give errors that mean nothing"
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
    """The first of several names, as a note shows them."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, …"


_TIME = "#"


def image_name(file: str, index: int) -> str:
    """The name of an image: its file, and from the second frame or time point on ``#`` and its index."""
    return f"{file}{_TIME}{index}" if index else file


def file_and_index(name: str) -> tuple[str, int]:
    """The inverse of :func:`image_name`."""
    file, mark, index = name.rpartition(_TIME)
    return (file, int(index)) if mark and index.isdecimal() else (name, 0)
