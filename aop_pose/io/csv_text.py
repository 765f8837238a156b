"""Cells of a CSV that no spreadsheet runs and no text reverses: the only place that makes them so, and undoes it.

A cell that a spreadsheet would take for a formula (it begins with ``=``, ``+``, ``@``, ``-``, a tab or a carriage
return and is no number) gets a leading ``'``. Marks that turn the direction of writing are written as ``\\uNNNN``.
Reading takes both away again, so that names still match the files they name. Numbers are never changed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
"""A number in digits that every program reads alike."""
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
