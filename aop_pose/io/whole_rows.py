"""A CSV that grows by whole lines, whatever happens to the process that writes it, and is continued after a kill."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from typing_extensions import Self

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.text import printable


class WholeRows:
    """Append rows to a table; a context manager. A subclass says what a row is (``note``).

    Each row reaches the file as a whole line in one write. With ``resume`` an existing table is continued: a last
    line without its end, as kill -9 leaves it, is cut off; a file with another header raises UsageError and stays
    as it is. Without ``resume`` an existing file is replaced.
    """

    what: str
    """The table in words, for messages."""
    rule = ""
    """What ``note`` asks of a row, for messages: begins with a comma where it asks for something."""

    def __init__(self, path: str | Path, columns: Sequence[str], resume: bool) -> None:
        self.path = Path(path)
        self.columns = columns
        self._resume = resume
        self._stream: BinaryIO | None = None

    def note(self, fields: Sequence[str]) -> bool:
        """Remember a row that stands in the file, printable; False where it is no row of this table."""
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
        self.note([printable(field) for field in row])

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
        """Note the rows and return how many bytes are whole lines; raises UsageError for a file that is not ours."""
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
                fields = next(csv.reader([line.decode("utf-8", "backslashreplace")]))
                if len(fields) != len(self.columns) or not self.note(fields):
                    raise UsageError(
                        f"{self.path}:{number}: expected {len(self.columns)} fields{self.rule}, "
                        f"found {len(fields)} fields; repair the line, or --overwrite"
                    )
                keep += len(line)
        return keep


def _line(fields: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([printable(field) for field in fields])
    return text.getvalue().encode("utf-8")
