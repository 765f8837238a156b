"""The form of labels in files: what every format can do, and what all tables have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schema import Schema
from aop_pose.errors import AopPoseError, UnreadableError, UsageError, counted
from aop_pose.formats.csv_rows import DuplicateError, Row, RowError, Seen, filename, header_of, read_rows, unmarked
from aop_pose.formats.label import (
    LABELS,
    READER,
    Label,
    LabelError,
    Skipped,
    common_fault,
    find_picture,
    point_problems,
    reader_of,
)
from aop_pose.formats.pictures import picture_size, place_picture, read_gray
from aop_pose.io.csv_text import Writer


@attrs.frozen
class Reading:
    """The wishes of a reader of labels beside the labels themselves."""

    data: Path | None = None
    """Folder of the pictures; None = the source's own."""
    pictures: Literal["size", "keep", "none"] = "size"
    """Open each picture for its size alone, decode and keep it, or do not look for it."""
    missing: bool = False
    """Take labels of frames with points that nobody marked."""
    repeated: bool = False
    """A picture may have several rows: those of several readers."""
    strict: bool = True
    """A row that cannot be read, or whose picture cannot, is an error; else it is left out like an impossible label."""


@attrs.frozen
class Finding:
    """One thing that is wrong."""

    where: str
    """``file:line``, or a file; empty where the message begins with it."""
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@attrs.frozen
class Report:
    """Everything that is wrong with a data set."""

    checked: int
    unit: str
    findings: list[Finding]

    @property
    def summary(self) -> str:
        count = len(self.findings)
        return f"{counted(self.checked, self.unit)}, {counted(count, 'findings') if count else 'no findings'}"


class Format:
    """The form of labels in files. A subclass says its name, kind and ``looks_for`` and how it reads.

    Instances are registered with ``formats.registry.register``, after which convert, check, split, training and
    evaluation know the format.
    """

    name: str
    """As given to ``--from`` and ``--to``."""
    kind: str
    """The kind of its labels: points, head, volumes, masks, boxes, or a word of its own."""
    looks_for: str
    """The marks of a folder or file of this format, in words, for the message when nothing fits."""
    schema: Schema | None = None
    """Schema of its points; None where it has none, or its columns tell."""
    parted: ClassVar[bool] = False
    """True where what is written is parted into train and val."""
    keeps_names: ClassVar[bool] = False
    """Names of pictures are people's own and stay as they are, folders included, on the way in and out."""
    takes_missing: ClassVar[bool] = False
    """Labels with points that nobody marked are written."""

    def fits(self, source: Path) -> bool:
        """True for a folder or file of this format; never an error."""
        raise NotImplementedError

    def fault(self, source: Path) -> str:
        """The fault that keeps a source of its own from being read, and so from fitting; empty where none is known."""
        return ""

    def read(self, source: Path, how: Reading) -> Iterable[Label | Skipped]:
        """Its labels in order, and what it names but cannot give; UsageError where the source is none of its own."""
        raise NotImplementedError

    def schema_of(self, source: Path) -> Schema | None:
        """Schema of the points in a source that fits; UsageError where they are of none."""
        return self.schema

    def kind_of(self, source: Path) -> str:
        """The kind of the labels in a source that fits; UsageError where they are of none."""
        return self.kind

    def takes(self, kind: str) -> bool:
        """True for labels that it can write."""
        return kind == self.kind

    def write(self, labels: Sequence[Label], dst: Path, held: Sequence[bool]) -> list[Skipped]:
        """Write an empty folder; returns what had to be left out. ``held`` tells the labels of val."""
        raise UsageError(f"--to: {self.name} is read, not written")

    @property
    def is_written(self) -> bool:
        """True where ``write`` is of its own."""
        return type(self).write is not Format.write

    def notes(self, source: Path) -> list[str]:
        """Remarks on a source besides its labels, a line each."""
        return []

    def check(self, source: Path, data: Path | None = None) -> Report:
        """All that is wrong; without a check of its own, what ``read`` cannot give."""
        items = list(self.read(source, Reading(data)))
        findings = [Finding(item.where or item.name, item.reason) for item in items if isinstance(item, Skipped)]
        return Report(len(items), "frames", findings)


class FolderFormat(Format):
    """A layout of a public data set: two functions."""

    def __init__(
        self,
        name: str,
        kind: str,
        looks_for: str,
        fits: Callable[[Path], bool],
        read: Callable[[Path], Iterable[Label | Skipped]],
        schema: Schema | None = None,
    ) -> None:
        self.name, self.kind, self.looks_for, self.schema = name, kind, looks_for, schema
        self._fits, self._read = fits, read

    def fits(self, source: Path) -> bool:
        """True where the folder, or one a little below it, has the files of the data set."""
        return self._fits(source)

    def read(self, source: Path, how: Reading) -> Iterable[Label | Skipped]:
        """Labels of the folder; UsageError where another folder of pictures is asked for."""
        if how.data is not None:
            raise UsageError(f"--data: {self.name} holds its own pictures; leave --data out")
        return self._read(source)


class TableFormat(Format):
    """A CSV with a row a picture, in which ``Filename`` names it. A subclass says its columns and ``coords``."""

    columns: tuple[str, ...]
    """The columns that a file must have."""
    folder: ClassVar[str] = "images"
    """The folder of pictures besides the data folder itself."""

    def coords(self, row: Row, schema: Schema) -> np.ndarray:
        """Points of a row, (points, 2) or (points, 3); NaN where nobody marked one. RowError."""
        raise NotImplementedError

    def cells(self, label: Label) -> Iterable[str]:
        """A row as it is written, in the order of ``header``."""
        raise NotImplementedError

    def header(self, labels: Sequence[Label]) -> Sequence[str]:
        """Columns that are written."""
        return self.columns

    def schema_in(self, file: Path) -> Schema:
        """Schema of a file's points. UsageError where it has none."""
        if self.schema is None:
            raise NotImplementedError
        return self.schema

    def point_columns(self, schema: Schema) -> set[str]:
        """Columns that hold no extras."""
        return set(self.columns)

    def is_kept(self, row: Row) -> bool:
        """False where a row says of itself that it labels nothing; RowError."""
        return True

    def time(self, row: Row) -> int | None:
        """The picture of several in its file that a row means, None where it names none; RowError."""
        return None

    def check_extras(self, row: Row) -> None:
        """RowError where a column beside the points says something impossible."""

    def doubts(self, row: Row, coords: np.ndarray) -> Iterator[str]:
        """Doubts of ``check`` about the numbers of a row besides impossible points; RowError."""
        yield from ()

    def fits(self, source: Path) -> bool:
        """True for a CSV with the columns, or a folder with one called ``labels.csv``."""
        header = columns_in(source)
        return bool(header) and set(self.columns) <= set(header)

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """Labels row by row; UsageError names ``file:line`` of a row that cannot be read, or whose picture cannot."""
        file = label_file(source)
        schema, seen = self.schema_in(file), None if how.repeated else Seen()
        for row in read_rows(file, self.columns):
            try:
                if row.problem:
                    raise RowError(row.problem)
                label = self.label(row, schema, how, file, seen)
            except LabelError as error:
                yield left_out(error)
            except DuplicateError as error:
                raise UsageError(f"{file}:{row.line}: {error}") from error
            except (RowError, AopPoseError) as error:
                if how.strict:
                    raise UsageError(f"{file}:{row.line}: {error}") from error
                yield Skipped(row.cells.get("Filename") or f"{file.name}:{row.line}", str(error), f"{file}:{row.line}")
            else:
                if label is not None:
                    yield label

    def label(self, row: Row, schema: Schema, how: Reading, file: Path, seen: Seen | None) -> Label | None:
        """The label of a row, None where it is not kept. RowError, AopPoseError."""
        if not self.is_kept(row):
            return None
        name, coords = filename(row.cells["Filename"]), unmarked(self.coords(row, schema))
        self.check_extras(row)
        time, reader = self.time(row), reader_of(row.cells)
        if seen is not None:
            seen.add(_meaning(name, time, reader), row.line)
        path, size, kept = Path(name), None, None
        if how.pictures != "none":
            path = find_picture(how.data or file.parent, name, self.folder)
            # Two names of one file, not a link: of links each is a picture of its own.
            if seen is not None:
                seen.add(_meaning(os.path.normpath(path), time, reader), row.line, name)
            size, kept = self.opened(path, how)
        beside = self.point_columns(schema) | {"Filename"}
        return Label(
            name, path, size, Keypoints.from_points(schema, coords), kept=kept,
            index=time if schema.dimensions == 3 else time or 0,
            extras={column: text for column, text in row.cells.items() if column not in beside},
            where=f"{file}:{row.line}",
        )  # fmt: skip

    def opened(self, path: Path, how: Reading) -> tuple[tuple[int, ...], np.ndarray | None]:
        """Size of a picture, and its gray values where they are kept; UnreadableError."""
        if how.pictures == "keep":
            pixels = read_gray(path)
            return pixels.shape[::-1], pixels
        return picture_size(path), None

    def write(self, labels: Sequence[Label], dst: Path, held: Sequence[bool]) -> list[Skipped]:
        """``dst/labels.csv`` and ``dst/images``."""
        placed: list[Label] = []
        skipped: list[Skipped] = []
        names: dict[tuple[str, int | None], str] = {}
        (dst / self.folder).mkdir()
        for label, stem in zip(labels, _stems(labels), strict=True):
            key = label.name, label.index
            try:
                if key not in names:
                    names[key] = self.place(label, dst / self.folder, stem)
                placed.append(attrs.evolve(label, name=names[key]))
            except UnreadableError as error:
                skipped.append(Skipped(label.name, str(error)))
        if placed:
            self.write_table(placed, dst / LABELS)
        return skipped

    def place(self, label: Label, folder: Path, stem: str) -> str:
        """Put the picture into a folder and return its new name; UnreadableError."""
        return place_picture(label.path, folder, stem, label.index or 0).relative_to(folder).as_posix()

    def write_table(self, labels: Sequence[Label], file: Path) -> None:
        """Write the table alone."""
        with open(file, "w", newline="", encoding="utf-8") as stream:
            writer = Writer(stream)
            header = list(self.header(labels))
            # Two readings of a picture are told apart by who read it.
            read = READER not in header and any(reader_of(label.extras) for label in labels)
            writer.writerow([*header, READER] if read else header)
            for label in labels:
                writer.writerow([label.name, *self.cells(label), *([reader_of(label.extras)] if read else [])])

    def check(self, source: Path, data: Path | None = None) -> Report:
        """Every bad row by file and line, pictures decoded."""
        file = label_file(source)
        try:
            schema = self.schema_in(file)
            rows = list(read_rows(file, self.columns))
        except UsageError as error:
            return Report(0, "rows", [Finding("", str(error))])
        findings: list[Finding] = []
        first_lines: dict[tuple[Path, int | None, str], int] = {}
        labels: list[Label] = []
        for row in rows:
            messages = (
                [row.problem] if row.problem else self._messages(row, schema, data or file.parent, first_lines, labels)
            )
            findings += [Finding(f"{file}:{row.line}", message) for message in messages]
        # Each of them may look right alone.
        if len(labels) == len(rows) and (fault := common_fault(labels, ())):
            findings.append(Finding(str(file), fault))
        return Report(len(rows), "rows", findings)

    def decoded_size(self, path: Path, row: Row) -> tuple[int, ...]:
        """Pixels or voxels along x, y, … of the picture of a row, all of which could be decoded; AopPoseError."""
        return read_gray(path).shape[::-1]

    def _messages(
        self,
        row: Row,
        schema: Schema,
        data: Path,
        first_lines: dict[tuple[Path, int | None, str], int],
        labels: list[Label],
    ) -> Iterator[str]:
        try:
            name = filename(row.cells["Filename"])
        except RowError as error:
            yield str(error)
            return
        try:
            if not self.is_kept(row):
                return
        except RowError as error:
            yield str(error)
        size, path, time = None, data / name, None
        # Without its picture, the name and the numbers of a row can still be wrong: all of it is said at once.
        try:
            time = self.time(row)
            path = find_picture(data, name, self.folder)
            size = self.decoded_size(path, row)
        except (AopPoseError, RowError) as error:
            yield str(error)
        reader = reader_of(row.cells)
        first = first_lines.setdefault((path.resolve(), time, reader), row.line)
        if first != row.line:
            again = _meaning(name, time, reader, ",")
            yield f"expected each picture once, found {again} again (first in line {first})"
        try:
            coords = self.coords(row, schema)
            self.check_extras(row)
            # Of what stands for "not found" it is enough to say that it does.
            known = unmarked(coords)
            gone = np.isnan(known).all(axis=1) & np.isfinite(coords).all(axis=1)
            for name in np.array(schema.points)[gone]:
                yield f"{name}: expected a point, found one that stands for none"
            yield from point_problems(schema.points, known, size)
            yield from self.doubts(row, coords)
            labels.append(Label(name, path, size, Keypoints.from_points(schema, known)))
        except LabelError:
            return  # its problems were said one by one
        except RowError as error:
            yield str(error)


def _stems(labels: Sequence[Label]) -> list[str]:
    """Names without their endings, folders included, all different but for readings of one picture."""
    names = list(dict.fromkeys((label.name, label.index) for label in labels))
    stems: dict[tuple[str, int | None], str] = {}
    taken: set[str] = set()
    for name, index in names:
        wanted = stem = PurePosixPath(name).with_suffix("").as_posix()
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{wanted}__{number}"
        taken.add(stem.casefold())
        stems[name, index] = stem
    return [stems[label.name, label.index] for label in labels]


def left_out(error: LabelError) -> Skipped:
    """An impossible label, with what is needed to say why so many are."""
    label = error.label
    coords = None if label.keypoints is None else label.keypoints.coords
    return Skipped(label.name, str(error), label.where, coords, label.size)


def _meaning(name: str, time: int | None, reader: str = "", end: str = "") -> str:
    """The picture that a row means, and whose reading of it where the row says so."""
    parts = [name, *([f"time point {time}"] if time is not None else []), *([f"by {reader}"] if reader else [])]
    return ", ".join(parts) + (end if len(parts) > 1 else "")


def label_file(source: Path) -> Path:
    """A CSV given as such, or the ``labels.csv`` of a folder (which need not exist)."""
    return source / LABELS if source.is_dir() else source


def columns_in(source: Path) -> list[str]:
    """Header of the label file of a source; empty where there is no CSV, or none that can be read."""
    file = label_file(source)
    try:
        return header_of(file) if file.is_file() and file.suffix.lower() in (".csv", ".tsv", ".txt") else []
    except UsageError:
        return []


def nested(folder: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The folder itself or the first one that fits two levels below it (archives often add one or two)."""
    if not folder.is_dir():
        return None
    for place in (
        folder,
        *_folders(folder),
        *(deeper for child in _folders(folder) for deeper in _folders(child)),
    ):
        if holds(place):
            return place
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
