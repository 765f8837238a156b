"""Cells of a CSV: read as people save them, and written so that no spreadsheet runs them and no text reverses.

A cell that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``@``, ``-``, a tab or a carriage
return and is no number) gets a leading ``'``. Marks that turn the direction of writing are written as ``\\uNNNN``.
Reading takes both away again, so that names still match the files they name. Numbers are never changed.

When read, cells are parted by commas, semicolons or tabs (the header tells), blanks after them are no part of a cell,
and a comma in a number is a decimal point where commas part nothing and no number of the file has a point.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from aop_pose.errors import UsageError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
"""A number in digits that every program reads alike."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+", re.ASCII)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_RUN = tuple("=+@-\t\r")
_MARKS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_WRITTEN_MARK = re.compile(r"\\u(061c|200[ef]|202[a-e]|206[6-9])")


def straight(text: str) -> str:
    """The same text with the marks that turn the direction of writing as ``\\uNNNN``, for tables and pages."""
    return text if text.isascii() else _MARKS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", text)


def harmless(text: str) -> str:
    """A cell as it is written."""
    marked = straight(text)
    return f"'{marked}" if _is_run(marked.lstrip("'")) else marked


def restored(text: str) -> str:
    """A cell as it was before it was written; the inverse of :func:`harmless`."""
    if text.startswith("'") and _is_run(text.lstrip("'")):
        text = text[1:]
    return _WRITTEN_MARK.sub(lambda mark: chr(int(mark[1], 16)), text) if "\\u" in text else text


def _is_run(text: str) -> bool:
    return text.startswith(_RUN) and NUMBER.fullmatch(text) is None


class Writer:
    """Rows of harmless cells, as ``csv.writer`` with line ends of one character."""

    def __init__(self, stream: TextIO) -> None:
        self._rows = csv.writer(stream, lineterminator="\n")

    def writerow(self, row: Iterable[str]) -> None:
        """One row."""
        self._rows.writerow([harmless(cell) for cell in row])

    def writerows(self, rows: Iterable[Iterable[str]]) -> None:
        """Several rows."""
        for row in rows:
            self.writerow(row)


class DictWriter(Writer):
    """Rows by column, as ``csv.DictWriter``."""

    def __init__(self, stream: TextIO, columns: Sequence[str]) -> None:
        super().__init__(stream)
        self._columns = columns

    def writeheader(self) -> None:
        """The columns."""
        self.writerow(self._columns)

    def writedict(self, row: Mapping[str, str]) -> None:
        """One row."""
        self.writerow([row[column] for column in self._columns])


def number_in(text: str) -> float:
    """The finite number of a cell; ValueError where it is none in plain digits.

    ``float`` would take ``6_0``, and the digits of other scripts.
    """
    value = float(text) if NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number, found {text!r}")
    return value


def cells_of(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and restored cells of every line that is not blank; UsageError where it is no UTF-8 CSV."""
    lines = list(_lines(file))
    # With points and commas for decimals in one file nobody can tell 1,234 from a thousand.
    commas = separator_of(file) != "," and not any(
        _DECIMAL_POINT.fullmatch(cell) for _, cells in lines for cell in cells
    )
    for line, cells in lines:
        yield line, [restored(_with_point(cell) if commas else cell) for cell in cells]


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    text = _read(file)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator_of(file), strict=True, skipinitialspace=True)
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


def separator_of(file: Path) -> str:
    """The separator of the header's cells: that of comma, semicolon and tab which gives most; of equals the first."""
    for line in _read(file).splitlines():
        if line.strip().lower().startswith("sep=") and line.strip()[4:5] in SEPARATORS:
            return line.strip()[4:5]
        if line.strip():
            # Not csv.Sniffer, which takes any character that stands often enough.
            return max(SEPARATORS, key=lambda separator: _outside_quotes(line).count(separator))
    return ","


def _outside_quotes(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _read(file: Path) -> str:
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
