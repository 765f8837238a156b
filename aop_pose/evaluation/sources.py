"""The two sides of ``evaluate``: results tables or label files, told apart by their headers, and their pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.results import Row as ResultRow
from aop_pose.core.results import point_columns
from aop_pose.core.schema import SCHEMAS, Quantity, Schema, of_volumes
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.evaluation.grouping import AUTO, Grouping, contrast, every_frame_alone, grouped_by, grouped_by_file
from aop_pose.evaluation.match import (
    Grids,
    Truth,
    file_and_index,
    image_name,
    some,
    tidy,
    truth_of_results,
)
from aop_pose.evaluation.noise import readings_of, stated_spread
from aop_pose.formats.csv_rows import RowError, called, header_of, number, parse_rows
from aop_pose.formats.exchange import PROPOSALS
from aop_pose.formats.format import Format, Reading, columns_in
from aop_pose.formats.label import Label, Skipped, find_picture, spacing_of
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import FORMATS, format_of, labels_of
from aop_pose.formats.split import groups_by_name, merge_groups, near_duplicate_groups_of, thumbnail
from aop_pose.io.folders import TABLE
from aop_pose.io.table import PARQUET_SUFFIX, parquet_columns, read_results, standing
from aop_pose.io.volume_files import StoredVolume
from aop_pose.io.volumes import open_volume, read_volume


@attrs.frozen(eq=False)
class Pictures:
    """The pictures of the true frames, of which only small things are kept."""

    paths: tuple[Path, ...]
    sizes: np.ndarray
    """Shape (frames, 2): width, height."""
    contrasts: np.ndarray
    groups: np.ndarray
    """Near-duplicates share one."""

    @classmethod
    def of(cls, names: Sequence[str], folder: Path) -> Pictures:
        """Read each picture once; UsageError where one is not there, UnreadableError where it is damaged."""
        paths = tuple(find_picture(folder, name) for name in names)
        sizes, contrasts, thumbnails = [], [], []
        for path in paths:
            pixels = read_gray(path)
            sizes.append(pixels.shape[::-1])
            contrasts.append(contrast(pixels))
            thumbnails.append(thumbnail(pixels))
        groups = near_duplicate_groups_of(thumbnails)
        return cls(paths, np.array(sizes, dtype=np.float64), np.array(contrasts), groups)

    def pixels(self, position: int) -> np.ndarray:
        """Gray values of a picture, uint8 (H, W)."""
        return read_gray(self.paths[position])


def grouping_of(group: str, regex: str, truth: Truth, pictures: Pictures | None) -> Grouping:
    """The groups that ``--group`` or ``--group-regex`` ask for; UsageError where both do."""
    if group != AUTO:
        if regex:
            raise UsageError(f"expected one of --group and --group-regex, found --group {group} beside it")
        return grouped_by(truth.columns, group)
    if regex:
        patients = groups_by_name(truth.names, regex)
        words = f"frames of one patient, by name ({regex})"
        if pictures is None:
            return Grouping(patients, words, examinations=patients)
        words = f"{words}, and pictures that are nearly the same"
        return Grouping(merge_groups(patients, pictures.groups), words, examinations=patients)
    if pictures is None:
        return every_frame_alone(len(truth.names)) if truth.coords.shape[-1] == 2 else _by_file(truth)
    return Grouping(pictures.groups, "pictures that are nearly the same")


def _by_file(truth: Truth) -> Grouping:
    """Volumes: the time points of a file together. Nothing is known of which files belong together."""
    files = [file_and_index(name)[0] for name in truth.names]
    if len(set(files)) < len(files):
        return grouped_by_file(files)
    return every_frame_alone(len(files), "neither --group nor --group-regex says")


def table_in(path: Path) -> Path:
    """``results.csv`` of a folder, or the ``results.parquet`` in its place; or the file itself."""
    return standing(path / TABLE) if path.is_dir() else path


def read_results_rows(file: Path) -> list[ResultRow]:
    """Rows of a results table, or of a label file written as such; UsageError names ``file:line``."""
    if file.suffix == PARQUET_SUFFIX:
        return list[ResultRow](read_results(file))
    for format in FORMATS.values():
        if format.kind != PROPOSALS and format.fits(file) and (schema := format.schema_of(file)) is not None:
            return [_as_result(item, schema) for item in _labels(format, file)]
    header = set(header_of(file))
    for schema in of_volumes().values():
        if {"Filename", *schema.coordinate_columns} <= header and "source" not in header:
            return [_as_result(item, schema) for item in _labels(format_of(file, schema), file)]
    return _foreign_rows(file)


def _foreign_rows(file: Path) -> list[ResultRow]:
    """Rows of anybody's table; a point that stands for "not found" (all 0, all -1) is none.

    Not ``io.table``: the table may have fewer columns than our own.
    """
    rows = (
        read_results(file)
        if file.suffix == PARQUET_SUFFIX
        else list(parse_rows(file, ("source",), lambda row: dict(row.cells)))
    )
    columns = set(rows[0]) if rows else set()
    for schema in SCHEMAS.values():
        if not set(schema.coordinate_columns) <= columns:
            continue
        at = np.array(schema.coordinate_columns).reshape(len(schema.points), schema.dimensions)
        for row in rows:
            for point in at:
                if any(all(_is(row[column], value) for column in point) for value in (0, -1)):
                    row.update(dict.fromkeys(point, ""))
    return list[ResultRow](rows)


def _is(text: str, value: float) -> bool:
    try:
        return float(text) == value
    except ValueError:
        return False


def _labels(format: Format, file: Path, repeated: bool = False) -> list[Label | Skipped]:
    """Labels of a file without their pictures; points that nobody marked are NaN."""
    return list(labels_of(format, file, Reading(pictures="none", missing=True, repeated=repeated)))


def _as_result(item: Label | Skipped, schema: Schema) -> ResultRow:
    """A label as a row of results; one that is none is a frame without points."""
    if isinstance(item, Skipped):
        checked = [one.column for one in _checked(schema)]
        return {"source": item.name, **dict.fromkeys([*point_columns(schema), *checked], "")}
    points = ("" if math.isnan(value) else repr(float(value)) for value in item.points_of(schema).ravel())
    row = {"source": item.name, **dict(zip(point_columns(schema), points, strict=True))}
    if schema.dimensions == 3:
        return {**row, "index": str(item.index or 0)}
    stated = {one.column: _stated(item, one) for one in _checked(schema)}
    return {**row, **{column: "" if math.isnan(value) else repr(value) for column, value in stated.items()}}


def _checked(schema: Schema) -> list[Quantity]:
    """Quantities that a label file states beside the points, and that are compared with theirs."""
    return [one for one in schema.quantities if one.label_column and one.tolerance is not None]


def _stated(label: Label, quantity: Quantity) -> float:
    """The number beside the points, NaN where there is none; UsageError where it is no number."""
    text = called(label.extras, quantity.label_column)
    try:
        return number(text, quantity.label_column) if text else math.nan
    except RowError as error:
        raise UsageError(f"{label.where or label.name}: {error}") from None


def is_results(file: Path, schema: Schema) -> bool:
    """True for a results table, False for what has to be a label file."""
    found = parquet_columns(file) if file.suffix == PARQUET_SUFFIX else columns_in(file)
    return {"source", *point_columns(schema)} <= set(found)


def read_truth(file: Path, schema: Schema) -> Truth:
    """The second side, with the columns beside its points."""
    if is_results(file, schema):
        rows = _foreign_rows(file)
        return truth_of_results(rows, schema)
    if schema.dimensions == 3:
        _check_columns(file, schema)
    items = _labels(format_of(file, schema), file, repeated=True)
    labels = [item for item in items if isinstance(item, Label)]
    gone = [f"{item.name}: {item.reason}" for item in items if isinstance(item, Skipped)]
    notes = [f"labels left out, since they are impossible: {len(gone)} ({some(gone)})"] if gone else []
    if schema.dimensions == 2:
        unmarked = [label.name for label in labels if not np.isfinite(label.points).all()]
        labels = [label for label in labels if np.isfinite(label.points).all()]
        if unmarked:
            notes.append(
                f"labels left out, since a point is missing (-1 or 0 in each column stands for none): {len(unmarked)} "
                f"({some(unmarked)})"
            )
    if not labels and notes:
        raise UsageError(f"{file}: expected at least one frame with all its points, found none; {notes[0]}")
    checked = _checked(schema)
    stated = {one.label_column.casefold() for one in checked}
    beside = [column for column in (labels[0].extras if labels else ()) if column.casefold() not in stated]
    columns = {column: tuple(label.extras[column] for label in labels) for column in beside}
    names = [image_name(label.name, label.index or 0) for label in labels]
    try:
        readings = readings_of([tidy(name) for name in names], _coords_of(labels, schema), columns, schema)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    several = readings.spread is not None
    kept = {column: tuple(texts[row] for row in readings.rows) for column, texts in columns.items()}
    return Truth(
        names=[names[row] for row in readings.rows],
        coords=readings.coords,
        # What each reading states is that of its own points, not of their mean.
        stated={} if several else {one.column: [_stated(label, one) for label in labels] for one in checked},
        columns=kept,
        notes=(*notes, *filter(None, [readings.note])),
        spread=readings.spread if several else stated_spread(kept, schema),
    )


def _coords_of(labels: Sequence[Label], schema: Schema) -> np.ndarray:
    return np.array([label.points_of(schema) for label in labels]).reshape(-1, len(schema.points), schema.dimensions)


def _check_columns(file: Path, schema: Schema) -> None:
    found, needed = header_of(file), ("Filename", *schema.coordinate_columns)
    if missing := [column for column in needed if column not in found]:
        # Sixty-seven names would be no line that anybody reads.
        raise UsageError(
            f"{file}:1: expected a label file of schema {schema.name} ({some(needed)}: {len(needed)} columns), found "
            f"{some(found)}; missing {some(missing)}"
        )


def grids_of(truth: Truth, folder: Path) -> Grids:
    """Places of the voxels of true volumes, from the headers of ``folder/Filename`` or ``folder/volumes/Filename``.

    UsageError where a volume is not there, or neither it nor its row (``label.SPACING``) states a spacing.
    """
    affines, shapes, known = [], [], {}
    for position, name in enumerate(truth.names):
        file, index = file_and_index(name)
        if file not in known:
            cells = {column: values[position] for column, values in truth.columns.items()}
            known[file] = _stored(file, folder, spacing_of(cells))
        stored, affine = known[file]
        if index >= stored.times:
            raise UsageError(f"{file}: expected an index below its {stored.times} time points, found {index}")
        affines.append(affine)
        shapes.append(stored.shape)
    return Grids(np.array(affines), np.array(shapes))


def volume_of(truth: Truth, folder: Path, position: int) -> Volume:
    """A true volume with its voxels; UsageError where it cannot be read."""
    file, index = file_and_index(truth.names[position])
    spacing = spacing_of({column: values[position] for column, values in truth.columns.items()})
    path = find_picture(folder, file, "volumes")
    try:
        return read_volume(path, file, index, spacing)
    except UnreadableError as error:
        raise UsageError(f"{path}: {error}") from None


def _stored(file: str, folder: Path, spacing: Sequence[float] | None) -> tuple[StoredVolume, np.ndarray]:
    try:
        path = find_picture(folder, file, "volumes")
    except UsageError as error:
        raise UsageError(f"{error}; errors in mm need the volumes: give their folder with --images") from None
    try:
        stored = open_volume(path)
        return stored, stored.affine(spacing)
    except UnreadableError as error:
        raise UsageError(f"{path}: {error}") from None
