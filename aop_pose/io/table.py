"""``results.csv``: one row per frame, written row by row, continued after a kill; and the same as Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from typing_extensions import Self

from aop_pose.core.results import STATUSES, Result, as_cell, as_row, as_text, columns
from aop_pose.core.schema import REGION, Schema
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.csv_text import DictWriter, Writer, number_in, restored
from aop_pose.io.files import printable, replacing


class WholeRows:
    """Append rows to a table; a context manager. A subclass says what a row is (``note``).

    Each row reaches the file as a whole line in one write. With ``resume`` an existing table is continued: a last
    line without its end, as kill -9 leaves it, is cut off; so is all from the first damaged line on, which
    ``damaged`` says then; a file with another header raises UsageError and stays as it is. Without ``resume`` an
    existing file is replaced.
    """

    what: str
    """The table in words, for messages."""

    def __init__(self, path: str | Path, columns: Sequence[str], resume: bool) -> None:
        self.path = Path(path)
        self.columns = columns
        self._resume = resume
        self._stream: BinaryIO | None = None
        self.damaged = ""
        """In one line, what was cut off of an existing table because it is no row."""

    def note(self, fields: Sequence[str]) -> bool:
        """Remember a row that stood in the file, printable; False where it is no row of this table."""
        raise AssertionError("a subclass gives it")

    def __enter__(self) -> Self:
        header = _line(self.columns)
        try:
            keep = self._check_existing(header) if self._resume and self.path.exists() else 0
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what write() returns from is in the file, whatever happens to this process.
            self._stream = open(self.path, "ab", buffering=0)
            self._stream.truncate(keep)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}; give another --out") from None
        if keep == 0:
            self._append(header)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def write_row(self, row: Sequence[str]) -> None:
        """Append one row; raises AopPoseError where the disk does not take it, and the table stays whole."""
        self._append(_line(row))

    def _append(self, line: bytes) -> None:
        if self._stream is None:
            raise ValueError(f"{type(self).__name__} is used outside its with block")
        size = os.fstat(self._stream.fileno()).st_size
        try:
            written = self._stream.write(line)
        except OSError as error:
            self._stream.truncate(size)
            raise AopPoseError(f"{self.path} cannot be written: {error.strerror}; run again to continue") from None
        if written != len(line):
            self._stream.truncate(size)
            raise AopPoseError(f"{self.path} cannot be written: the disk is full; make room and run again to continue")

    def _check_existing(self, header: bytes) -> int:
        """Note the rows and return how many bytes are whole rows; raises UsageError for a file that is not ours."""
        with open(self.path, "rb") as stream:
            first = stream.readline(len(header) + 1)
            if first != header:
                if header.startswith(first):
                    return 0
                raise UsageError(
                    f"{self.path}: expected the header of {self.what}, "
                    f"found {printable(first.decode('utf-8', 'backslashreplace'))[:60]!r}; "
                    f"give another --out, or --overwrite"
                )
            keep = len(header)
            for number, line in enumerate(stream, start=2):
                if not line.endswith(b"\n"):
                    break
                if not self._is_row(line):
                    self.damaged = f"{self.path}:{number} is damaged: the rows from there on are made again"
                    break
                keep += len(line)
        return keep

    def _is_row(self, line: bytes) -> bool:
        try:
            fields = list(map(restored, next(csv.reader([line.decode("utf-8")], strict=True))))
        except (csv.Error, UnicodeDecodeError):
            return False
        return len(fields) == len(self.columns) and self.note(fields)


def _line(fields: Sequence[str]) -> bytes:
    text = io.StringIO()
    Writer(text).writerow(printable(field) for field in fields)
    return text.getvalue().encode("utf-8")


_NEEDED = ("source", "index", "status", "reason")


class Done(Set[tuple[str, int]]):
    """(source, index) of rows, without a tuple for each: nearly all sources of an archive have one row, of index 0."""

    def __init__(self) -> None:
        # A dictionary takes a quarter of what a set may take.
        self._first: dict[str, None] = {}
        self._further: set[tuple[str, int]] = set()

    def add(self, source: str, index: int) -> None:
        if index == 0:
            self._first[source] = None
        else:
            self._further.add((source, index))

    def __contains__(self, row: object) -> bool:
        return row in self._further or (isinstance(row, tuple) and row[1:] == (0,) and row[0] in self._first)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        yield from ((source, 0) for source in self._first)
        yield from self._further

    def __len__(self) -> int:
        return len(self._first) + len(self._further)


class ResultsWriter(WholeRows):
    """Append rows to ``results.csv``; a context manager. See ``WholeRows`` for ``resume``.

    ``done`` holds (source, index) of every row that stood in the file when it was opened, as they stand there (see
    ``printable``), and not of those that are written: a run of an archive would keep them all. ``last_source`` is that
    of the last of them, "" where there is none.
    """

    def __init__(self, path: str | Path, schema: Schema, resume: bool) -> None:
        super().__init__(path, columns(schema), resume)
        self.what = f"a results table of schema {schema.name}"
        self.schema = schema
        self.done = Done()
        self.last_source = ""

    def write(self, result: Result) -> None:
        """Append one row; raises AopPoseError where the disk does not take it, and the table stays whole."""
        row = as_row(result, self.schema)
        self.write_row([row[column] for column in self.columns])

    def note(self, fields: Sequence[str]) -> bool:
        source, index = fields[0], fields[1]
        numbers = (text for column, text in zip(self.columns, fields, strict=True) if column not in _TEXT)
        status = fields[self.columns.index("status")]
        if not index.isdecimal() or status not in STATUSES or not all(map(_is_number, numbers)):
            return False
        self.done.add(source, int(index))
        self.last_source = source
        return True


def _is_number(text: str) -> bool:
    """True for nothing, too."""
    try:
        return not text or math.isfinite(number_in(text))
    except ValueError:
        return False


def iter_results(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a results table as column -> text, in order, one at a time; raises UsageError.

    ``results.parquet`` is read where it stands in the place of ``results.csv``.
    """
    path = standing(path)
    if path.suffix == PARQUET_SUFFIX:
        yield from _iter_parquet(path)
        return
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            missing = [column for column in _NEEDED if column not in header]
            if missing:
                raise UsageError(f"{path}:1: expected the columns of a results table, {', '.join(missing)} missing")
            for row in reader:
                if len(row) != len(header):
                    raise UsageError(f"{path}:{reader.line_num}: expected {len(header)} fields, found {len(row)}")
                yield dict(zip(header, map(restored, row), strict=True))
    except FileNotFoundError:
        raise UsageError(f"expected a results table, found no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a UTF-8 CSV: {error}") from None


PARQUET_SUFFIX = ".parquet"
_GROUP = 10_000
"""Rows of a Parquet file that are in memory at a time."""


def standing(table: str | Path) -> Path:
    """The table, or where it does not stand the Parquet file that stands in its place."""
    table = Path(table)
    instead = table.with_suffix(PARQUET_SUFFIX)
    return instead if not table.is_file() and instead.is_file() else table


def _pyarrow(why: str) -> Any:
    """``pyarrow.parquet``; UsageError where it is not installed."""
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UsageError(f"{why}: pyarrow is not installed; pip install 'aop-pose[parquet]'") from None
    return parquet


def check_parquet(why: str) -> None:
    """UsageError, which begins with ``why``, where Parquet can be neither read nor written."""
    _pyarrow(why)


def write_parquet(path: str | Path, table: str | Path) -> None:
    """Write a results table as Parquet: text, whole numbers (int64), numbers (float64), null for an empty field.

    Rows stand in the order of the table and are read and written some at a time; the file appears when it is complete.
    """
    parquet = _pyarrow(str(path))
    import pyarrow as pa

    rows = iter_results(table)
    first = next(rows, None)
    names = _header_of(Path(table)) if first is None else list(first)
    schema = pa.schema([(name, _kind(pa, name)) for name in names])
    try:
        with replacing(path) as part, parquet.ParquetWriter(part, schema) as writer:
            group = [] if first is None else [first, *islice(rows, _GROUP - 1)]
            while group:
                typed = [{name: _typed(name, text) for name, text in row.items()} for row in group]
                writer.write_table(pa.Table.from_pylist(typed, schema))
                group = list(islice(rows, _GROUP))
    except OSError as error:
        raise AopPoseError(f"{path} cannot be written: {error.strerror}; run again to continue") from None


def _header_of(table: Path) -> list[str]:
    with open(table, newline="", encoding="utf-8") as stream:
        return next(csv.reader(stream))


def _kind(pa: Any, column: str) -> Any:
    return pa.string() if column in _TEXT else pa.int64() if column in _WHOLE else pa.float64()


def _iter_parquet(path: Path) -> Iterator[dict[str, str]]:
    missing = [column for column in _NEEDED if column not in parquet_columns(path)]
    if missing:
        raise UsageError(f"{path}: expected the columns of a results table, {', '.join(missing)} missing")
    for row in _parquet_rows(path, None):
        yield {column: as_cell(column, value) for column, value in row.items()}


def parquet_columns(path: str | Path) -> list[str]:
    """Columns of a Parquet file; UsageError where it is none, or pyarrow is not installed."""
    parquet = _pyarrow(str(path))
    try:
        return list(parquet.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:120]}") from None


def parquet_values(path: str | Path, column: str) -> Iterator[Any]:
    """The values of a column of a Parquet file in order, some in memory at a time; UsageError as above."""
    return (row[column] for row in _parquet_rows(Path(path), [column]))


def _parquet_rows(path: Path, wanted: Iterable[str] | None) -> Iterator[dict[str, Any]]:
    parquet = _pyarrow(str(path))
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_GROUP, columns=None if wanted is None else list(wanted)):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:120]}") from None


def read_results(path: str | Path) -> list[dict[str, str]]:
    """All rows of a results table as column -> text; raises UsageError with file and line."""
    return list(iter_results(path))


_TEXT = frozenset({"source", "status", "reason", "model", "sop"})
_WHOLE = frozenset({"index", "width", "height", *REGION, "mirrored"})


def write_document(path: str | Path, table: str | Path, facts: Mapping[str, object]) -> None:
    """Write ``{"run": facts, "results": [row, ...]}`` from a finished table; it appears only when complete.

    One row per line, read and written one at a time. Numbers are numbers, an empty field is null.

    Raises UsageError for a table that cannot be read, AopPoseError where the disk does not take the file.
    """
    try:
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            # ASCII, since a path among the facts may hold bytes that are no UTF-8.
            run = json.dumps(facts, allow_nan=False)
            stream.write(f'{{"run": {run},\n"results": [')
            separator = "\n"
            for row in iter_results(table):
                typed = {column: _typed(column, text) for column, text in row.items()}
                stream.write(separator + json.dumps(typed, ensure_ascii=False, allow_nan=False))
                separator = ",\n"
            stream.write("\n]}\n")
    except OSError as error:
        raise AopPoseError(f"{path} cannot be written: {error.strerror}; run again to continue") from None


def read_facts(path: str | Path) -> dict[str, Any] | None:
    """The facts of a document that ``write_document`` wrote, without reading its rows; None where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            # They stand on the first line, before the rows.
            first = json.loads(stream.readline().rstrip().rstrip(",") + "}")
    except (OSError, ValueError):
        return None
    facts = first.get("run") if isinstance(first, dict) else None
    return facts if isinstance(facts, dict) else None


def _typed(column: str, text: str) -> str | int | float | None:
    if text == "":
        return None
    if column in _TEXT:
        return text
    try:
        number = int(text) if column in _WHOLE and text.isascii() and text.isdigit() else number_in(text)
    except ValueError:
        # A column that was added at the end may hold words.
        return text
    return number if math.isfinite(number) else None


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """A table whose columns are those of the first row."""
    stream = io.StringIO()
    writer = DictWriter(stream, list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writedict({column: as_text(value) for column, value in row.items()})
    return stream.getvalue()
