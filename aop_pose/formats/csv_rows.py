"""Rows of a CSV label file with their line numbers, as people save it; a bad row is named and never guessed at.

Cells are parted by commas, semicolons or tabs (the header tells), blanks after them are no part of a cell, and a comma
in a number is a decimal point where commas part nothing and no number of the file has a point.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.csv_text import NUMBER, restored

Parsed = TypeVar("Parsed")

_POINT = re.compile(r"^([(\[])\s*([^\s,()\[\]]+)\s*,\s*([^\s,()\[\]]+)\s*([)\]])$")
_POINT_OF_COMMAS = re.compile(r"^([(\[])\s*([+-]?\d+(?:,\d+)?)\s*;\s*([+-]?\d+(?:,\d+)?)\s*([)\]])$", re.ASCII)
_CLOSED = {"(": ")", "[": "]"}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
    lines = list(_lines(file))
    separator = _separator(file)
    # With points and commas for decimals in one file nobody can tell 1,234 from a thousand.
    commas = separator != "," and not any(_DECIMAL_POINT.fullmatch(cell) for _, cells in lines for cell in cells)
    for line, values in lines:
        if header is None:
            header = _header(file, values, required, separator)
        elif len(values) != len(header):
            yield Row(line, {}, f"expected {len(header)} cells, found {len(values)}")
        else:
            cells = (_with_point(value) if commas else value for value in values)
            yield Row(line, dict(zip(header, map(restored, cells), strict=True)))
    if header is None:
        raise UsageError(f"{file}:1: expected the header {','.join(required)}, found an empty file")


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    text = _text(file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(file), strict=True, skipinitialspace=True)
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{file}:{reader.line_num or 1}: expected UTF-8 CSV, found {error}") from error
        if values is None:
            return
        if any(value.strip() for value in values) and not (reader.line_num == 1 and _is_hint(values)):
            yield reader.line_num, [value.strip() for value in values]


def _is_hint(values: Sequence[str]) -> bool:
    """True for the line ``sep=;`` that spreadsheets write first."""
    return values[0].strip().lower().startswith("sep=") and not any(values[1:])


def _separator(file: Path) -> str:
    """The separator of the header's cells: that of comma, semicolon and tab which gives most; of equals the first."""
    for line in _text(file).splitlines():
        if line.strip().lower().startswith("sep=") and line.strip()[4:5] in _SEPARATORS:
            return line.strip()[4:5]
        if line.strip():
            # Not csv.Sniffer, which takes any character that stands often enough.
            return max(_SEPARATORS, key=lambda separator: _outside_quotes(line).count(separator))
    return ","


def _outside_quotes(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _text(file: Path) -> str:
    try:
        raw = Path(file).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{file}: expected a CSV file, found nothing there") from None
    except OSError as error:
        raise UsageError(f"{file}: expected a CSV file that can be read: {error.strerror}") from error
    if raw.startswith(_UTF16) or (len(raw) > 1 and b"\0" in raw[:2]):
        raise UsageError(f"{file}:1: expected UTF-8 CSV, found UTF-16; save it as CSV UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}:{line}: expected UTF-8 CSV, found {error}; save it as CSV UTF-8") from error


def _header(file: Path, values: Sequence[str], required: Sequence[str], separator: str) -> list[str]:
    header = list(map(restored, values))
    missing = [column for column in required if column not in header]
    if missing:
        parted = "" if separator == "," else f", parted by a {_SEPARATORS[separator]}"
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
    for _, values in _lines(file):
        return list(map(restored, values))
    raise UsageError(f"{file}:1: expected a header with Filename, found an empty file")


def number(text: str, column: str) -> float:
    """A finite number in plain digits; RowError names the column."""
    # float() would take 6_0, and the digits of other scripts.
    value = float(text) if NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(value):
        raise RowError(f"{column}: expected a number, found {text!r}")
    return value


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
        try:
            name = filename(line.strip())
            seen.add(name, number)
        except RowError as error:
            raise UsageError(f"{file}:{number}: {error}") from None
        names.append(name)
    if not names:
        raise UsageError(f"{file}: expected one file name a line, found an empty list")
    return names
