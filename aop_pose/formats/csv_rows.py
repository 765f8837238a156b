"""Rows of a CSV label file with their line numbers; strict: a bad row is named and never guessed at."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from aop_pose.errors import AopPoseError, UsageError

Parsed = TypeVar("Parsed")

_POINT = re.compile(r"^\(\s*([^\s,()]+)\s*,\s*([^\s,()]+)\s*\)$")


class RowError(ValueError):
    """What is wrong with one row, without the file name and the line."""


@attrs.frozen
class Row:
    """One line of a table."""

    line: int
    """Line of the file on which the row ends, counted from 1."""
    cells: dict[str, str]
    problem: str = ""
    """Non-empty where the row does not fit the header; then ``cells`` is empty."""


def read_rows(file: Path, required: Sequence[str]) -> Iterator[Row]:
    """Rows of a UTF-8 CSV whose header has at least the required columns; blank lines are left out.

    UsageError (``file:1``) where the file cannot be read as text or the header lacks or repeats a column.
    """
    with _open(file) as stream:
        reader = csv.reader(stream, strict=True)
        header: list[str] | None = None
        while True:
            try:
                values = next(reader, None)
            except (csv.Error, UnicodeDecodeError) as error:
                raise UsageError(f"{file}:{reader.line_num or 1}: expected UTF-8 CSV, found {error}") from error
            if values is None:
                break
            if not any(value.strip() for value in values):
                continue
            if header is None:
                header = _header(file, values, required)
            elif len(values) != len(header):
                yield Row(reader.line_num, {}, f"expected {len(header)} cells, found {len(values)}")
            else:
                yield Row(reader.line_num, dict(zip(header, (value.strip() for value in values), strict=True)))
    if header is None:
        raise UsageError(f"{file}:1: expected the header {','.join(required)}, found an empty file")


def _open(file: Path):
    try:
        return open(file, newline="", encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{file}: expected a CSV file, found nothing there") from None
    except OSError as error:
        raise UsageError(f"{file}: expected a CSV file that can be read: {error.strerror}") from error


def _header(file: Path, values: Sequence[str], required: Sequence[str]) -> list[str]:
    header = [value.strip() for value in values]
    missing = [column for column in required if column not in header]
    if missing:
        raise UsageError(
            f"{file}:1: expected the columns {','.join(required)}, found {','.join(header)}; "
            f"missing {','.join(missing)}"
        )
    repeated = sorted({column for column in header if column and header.count(column) > 1})
    if repeated:
        raise UsageError(f"{file}:1: expected each column once, found {','.join(repeated)} repeated")
    return header


def parse_rows(file: Path, required: Sequence[str], parse: Callable[[Row], Parsed]) -> Iterator[Parsed]:
    """The strict reader: the first bad row is a UsageError that names file and line."""
    for row in read_rows(file, required):
        try:
            if row.problem:
                raise RowError(row.problem)
            yield parse(row)
        except (RowError, AopPoseError) as error:
            raise UsageError(f"{file}:{row.line}: {error}") from error


class Seen:
    """Names met so far; a second meeting is a RowError that names the first line."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}

    def add(self, name: str, line: int) -> None:
        first = self._lines.setdefault(name, line)
        if first != line:
            raise RowError(f"expected each picture once, found {name} again (first in line {first})")


def header_of(file: Path) -> list[str]:
    """The columns of a CSV; UsageError where there is no header."""
    with _open(file) as stream:
        try:
            for values in csv.reader(stream, strict=True):
                if any(value.strip() for value in values):
                    return [value.strip() for value in values]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{file}:1: expected UTF-8 CSV, found {error}") from error
    raise UsageError(f"{file}:1: expected a header with Filename, found an empty file")


def number(text: str, column: str) -> float:
    """A finite number; RowError names the column."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RowError(f"{column}: expected a number, found {text!r}")
    return value


def point(text: str, column: str) -> tuple[float, float]:
    """A point written ``(x, y)``; RowError names the column."""
    match = _POINT.match(text)
    if match is None:
        raise RowError(f"{column}: expected a point (x, y), found {text!r}")
    return number(match[1], column), number(match[2], column)


def filename(text: str) -> str:
    """A picture's name with forward slashes; RowError where it is empty."""
    if not text:
        raise RowError("Filename: expected a file name, found an empty cell")
    return text.replace("\\", "/")


def read_list(file: Path) -> list[str]:
    """Names in order, with forward slashes; blank lines are left out.

    UsageError (``file:line``) where a name stands twice, the file is no UTF-8 text, or it names nothing.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{file}: expected a list of file names, found {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: expected UTF-8 text, one file name a line, found {error}") from None
    names, seen = [], Seen()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name = filename(line.strip())
        try:
            seen.add(name, number)
        except RowError as error:
            raise UsageError(f"{file}:{number}: {error}") from None
        names.append(name)
    if not names:
        raise UsageError(f"{file}: expected one file name a line, found an empty list")
    return names
