"""A file that appears under its final name only when it is complete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Where most of its users look for it.
from aop_pose.errors import printable as printable

_LEFTOVER = re.compile(r"\..*\.\d+\.tmp")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces ``path``, on any error it is removed.

    The folder is made where it does not exist. A killed process leaves at most a hidden ``.NAME.PID.tmp``;
    ``remove_leftovers`` knows it. Nothing is flushed to the disk: a power failure may lose what a kill does not.
    On Windows a file that another program holds open is not replaced: PermissionError.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name is cut: the final name may already be as long as the file system allows.
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path) -> None:
    """Remove what killed processes left of ``replacing`` in a folder, not in those below it."""
    for path in Path(folder).iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)
