"""``results.csv``: one row per frame, written row by row, continued after a kill."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from aop_pose.errors import UsageError
from aop_pose.io.whole_rows import WholeRows
from aop_pose.results import Result, as_row, columns
from aop_pose.schemas import Schema

_NEEDED = ("source", "index", "status", "reason")


class ResultsWriter(WholeRows):
    """Append rows to ``results.csv``; a context manager. See ``WholeRows`` for ``resume``.

    ``done`` holds (source, index) of every row in the file, as they stand there (see ``printable``);
    ``last_source`` is that of the last row, "" where there is none.
    """

    rule = ", the second a whole number"

    def __init__(self, path: str | Path, schema: Schema, resume: bool) -> None:
        super().__init__(path, columns(schema), resume)
        self.what = f"a results table of schema {schema.name}"
        self.schema = schema
        self.done: set[tuple[str, int]] = set()
        self.last_source = ""

    def write(self, result: Result) -> None:
        """Append one row; raises AopPoseError where the disk does not take it, and the table stays whole."""
        row = as_row(result, self.schema)
        self.write_row([row[column] for column in self.columns])

    def note(self, fields: Sequence[str]) -> bool:
        source, index = fields[0], fields[1]
        if not index.isdecimal():
            return False
        self.done.add((source, int(index)))
        self.last_source = source
        return True


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
