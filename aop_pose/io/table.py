"""``results.csv``: one row per frame, written row by row, continued after a kill."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.text import printable
from aop_pose.results import Result, as_row, columns
from aop_pose.schemas import Schema

_NEEDED = ("source", "index", "status", "reason")


class ResultsWriter:
    """Append rows to ``results.csv``; a context manager.

    Each row reaches the file as a whole line in one write. ``done`` holds (source, index) of every row in the
    file, as they stand there (see ``printable``); ``last_source`` is that of the last row, "" where there is none.

    With ``resume`` an existing table is continued: a last line without its end, as kill -9 leaves it, is cut
    off. A table of another schema or a file of another kind raises UsageError and stays as it is. Without
    ``resume`` an existing file is replaced.
    """

    def __init__(self, path: str | Path, schema: Schema, resume: bool) -> None:
        self.path = Path(path)
        self.schema = schema
        self.done: set[tuple[str, int]] = set()
        self.last_source = ""
        self._resume = resume
        self._columns = columns(schema)
        self._stream: BinaryIO | None = None

    def __enter__(self) -> ResultsWriter:
        header = _line(self._columns)
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

    def write(self, result: Result) -> None:
        """Append one row; raises AopPoseError where the disk does not take it, and the table stays whole."""
        row = as_row(result, self.schema)
        self._append(_line([row[column] for column in self._columns]))
        self._note(printable(row["source"]), result.index)

    def _note(self, source: str, index: int) -> None:
        self.done.add((source, index))
        self.last_source = source

    def _append(self, line: bytes) -> None:
        if self._stream is None:
            raise ValueError("ResultsWriter is used outside its with block")
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
        """Fill ``done`` and return how many bytes are whole lines; raises UsageError for a file that is not
        ours."""
        with open(self.path, "rb") as stream:
            first = stream.readline(len(header) + 1)
            if first != header:
                if header.startswith(first):
                    return 0
                raise UsageError(
                    f"{self.path}: expected the header of a results table of schema {self.schema.name}, "
                    f"found {printable(first.decode('utf-8', 'backslashreplace'))[:60]!r}; "
                    f"give another --out, or --overwrite"
                )
            keep = len(header)
            for number, line in enumerate(stream, start=2):
                if not line.endswith(b"\n"):
                    break
                fields = next(csv.reader([line.decode("utf-8", "backslashreplace")]))
                if len(fields) != len(self._columns) or not fields[1].isdecimal():
                    raise UsageError(
                        f"{self.path}:{number}: expected {len(self._columns)} fields, the second a whole number, "
                        f"found {len(fields)} fields; repair the line, or --overwrite"
                    )
                self._note(fields[0], int(fields[1]))
                keep += len(line)
        return keep


def iter_results(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a results table as column -> text, in order, one at a time; raises UsageError."""
    path = Path(path)
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
                yield dict(zip(header, row, strict=True))
    except FileNotFoundError:
        raise UsageError(f"expected a results table, found no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a UTF-8 CSV: {error}") from None


def read_results(path: str | Path) -> list[dict[str, str]]:
    """All rows of a results table as column -> text; raises UsageError with file and line."""
    return list(iter_results(path))


def _line(fields: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([printable(field) for field in fields])
    return text.getvalue().encode("utf-8")
