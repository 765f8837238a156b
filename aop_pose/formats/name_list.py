"""A list of frames: one file name a line, as ``--list`` takes it."""

from __future__ import annotations

from pathlib import Path

from aop_pose.errors import UsageError
from aop_pose.formats.rows import RowError, Seen, filename


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
