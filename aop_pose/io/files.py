"""A file that appears under its final name only when it is complete."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEFTOVER = re.compile(r"\..*\.\d+\.tmp")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces ``path``, on any error it is removed.

    The folder is made where it does not exist. A killed process leaves at most a hidden ``.NAME.PID.tmp``;
    ``remove_leftovers`` knows it.
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


def printable(text: str) -> str:
    """The same text with control characters, line breaks and undecodable bytes written as ``\\xNN`` or ``\\uNNNN``.

    Idempotent, so a file name that went through it equals what is read back from a table.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _breaks_a_line(character) else character for character in text)


def _breaks_a_line(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
