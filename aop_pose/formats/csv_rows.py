"""Rows of a CSV label file with their line numbers; a bad row is named and never guessed at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.csv_text import SEPARATORS, cells_of, number_in, separator_of
from aop_pose.io.table import PARQUET_SUFFIX, parquet_columns, parquet_values

Parsed = TypeVar("Parsed")

_POINT = re.compile(r"^([(\[])\s*([^\s,()\[\]]+)\s*,\s*([^\s,()\[\]]+)\s*([)\]])$")
_POINT_OF_COMMAS = re.compile(r"^([(\[])\s*([+-]?\d+(?:,\d+)?)\s*;\s*([+-]?\d+(?:,\d+)?)\s*([)\]])$", re.ASCII)
_CLOSED = {"(": ")", "[": "]"}


class RowError(ValueError):
    """The fault of one row, without the file name and the line."""


class DuplicateError(RowError):
    """A picture that stands in two rows: nobody can tell which is right."""


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
    header: list[str] | None = None
    for line, values in cells_of(file):
        if header is None:
            header = _header(file, values, required)
        elif len(values) != len(header):
            yield Row(line, {}, f"expected {len(header)} cells, found {len(values)}")
        else:
            yield Row(line, dict(zip(header, values, strict=True)))
    if header is None:
        raise UsageError(f"{file}:1: expected the header {','.join(required)}, found an empty file")


def _header(file: Path, values: Sequence[str], required: Sequence[str]) -> list[str]:
    header = list(values)
    missing = [column for column in required if column not in header]
    if missing:
        separator = separator_of(file)
        parted = "" if separator == "," else f", parted by a {SEPARATORS[separator]}"
        raise UsageError(
            f"{file}:1: expected the columns {','.join(required)}, found {','.join(header)}{parted}; "
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

    def add(self, name: str, line: int, called: str = "") -> None:
        """Note a name, or what is ``called`` so; DuplicateError where it was met in another line."""
        first = self._lines.setdefault(name, line)
        if first != line:
            raise DuplicateError(f"expected each picture once, found {called or name} again (first in line {first})")


def called(cells: Mapping[str, str], column: str) -> str:
    """The cell of a column, in whatever letters its name is written; empty where there is none."""
    return next((text for name, text in cells.items() if name.casefold() == column.casefold()), "")


def header_of(file: Path) -> list[str]:
    """The columns of a CSV; UsageError where there is no header."""
    for _, values in cells_of(file):
        return values
    raise UsageError(f"{file}:1: expected a header with Filename, found an empty file")


def number(text: str, column: str) -> float:
    """A finite number in plain digits; RowError names the column."""
    try:
        return number_in(text)
    except ValueError as error:
        raise RowError(f"{column}: {error}") from None


def point(text: str, column: str) -> tuple[float, float]:
    """A point written ``(x, y)`` or ``[x, y]``, with decimal commas ``(x; y)``; RowError names the column."""
    match, of_commas = _POINT.match(text), _POINT_OF_COMMAS.match(text)
    if match is None and of_commas is not None and "," in text:
        match = of_commas
    if match is None or _CLOSED[match[1]] != match[4]:
        raise RowError(f"{column}: expected a point (x, y), found {text!r}")
    x, y = (value.replace(",", ".") for value in match.group(2, 3))
    return number(x, column), number(y, column)


def unmarked(coords: np.ndarray) -> np.ndarray:
    """Points (n, axes) with NaN for those that stand for "not found" in other programs: all 0, or all -1."""
    gone = (coords == 0).all(axis=-1) | (coords == -1).all(axis=-1)
    return np.where(gone[..., None], np.nan, coords)


def filename(text: str) -> str:
    """A picture's name with forward slashes; RowError where it is empty, or no system has such a name."""
    if not text:
        raise RowError("Filename: expected a file name, found an empty cell")
    name = text.replace("\\", "/")
    if not can_be_a_name(name):
        raise RowError(f"Filename: expected a file name, found {name[:40]!r}… of {len(name)} characters")
    return name


_LONGEST_NAME, _LONGEST_PATH = 255, 2000


def can_be_a_name(text: str) -> bool:
    """False where a system would raise an error merely for being asked: a NUL character, or too many bytes."""
    encoded = text.encode("utf-8", "surrogateescape").replace(b"\\", b"/")
    return (
        b"\0" not in encoded
        and len(encoded) <= _LONGEST_PATH
        and all(len(part) <= _LONGEST_NAME for part in encoded.split(b"/"))
    )


def read_list(file: Path) -> list[str]:
    """Names in order, with forward slashes; blank lines are left out. Of Parquet, the column ``Filename``.

    UsageError (``file:line``) where a name stands twice, the file is no UTF-8 text, or it names nothing.
    """
    try:
        lines = _of_parquet(file) if Path(file).suffix == PARQUET_SUFFIX else _of_text(file)
    except OSError as error:
        raise UsageError(f"{file}: expected a list of file names, found {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: expected UTF-8 text, one file name a line, found {error}") from None
    names, seen = [], Seen()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name = filename(line.strip())
            seen.add(name, number)
        except RowError as error:
            raise UsageError(f"{file}:{number}: {error}") from None
        names.append(name)
    if not names:
        raise UsageError(f"{file}: expected one file name a line, found an empty list")
    return names


def _of_text(file: Path) -> list[str]:
    return Path(file).read_text(encoding="utf-8-sig").splitlines()


def _of_parquet(file: Path) -> list[str]:
    found = parquet_columns(file)
    if "Filename" not in found:
        raise UsageError(f"{file}: expected the column Filename, found {', '.join(found)}")
    return [str(name or "") for name in parquet_values(file, "Filename")]
