"""Files: what must not be opened, complaints in one line, and a name that appears only when the file is complete."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from aop_pose.errors import AopPoseError, UnreadableError

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
    # Asked first: of thousands of files in a folder only the first finds none.
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
    # The name is cut: the final name may already be as long as the file system allows.
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: str | Path) -> None:
    """Remove what killed processes left of ``replacing`` in a folder, not in those below it."""
    for path in Path(folder).iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


# What decoders raise on purpose: their words say enough without the name of the error.
_SPOKEN = (OSError, SyntaxError, ValueError)


def check_file(path: Path, wanted: str = "picture") -> None:
    """Refuse what must not be opened: a folder, or a pipe waited on for ever; OSError where it is gone."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path):
            raise UnreadableError(f"a folder, not a {wanted}")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if status.st_size == 0:
        raise UnreadableError("empty file: 0 bytes")


@contextmanager
def refusals() -> Iterator[None]:
    """Every complaint becomes an UnreadableError of one line; what nobody foresaw keeps the name of its error.

    The last resort of a run: whatever a file does, it has a row and the next one is read.
    """
    try:
        yield
    except AopPoseError:
        raise
    except MemoryError:
        raise UnreadableError("too large for the memory of this machine") from None
    except OSError as error:
        raise UnreadableError(os_reason(error) if error.errno else _damaged(error)) from None
    # A decoder that is fed damaged bytes raises nearly anything (struct.error, KeyError, RecursionError, ...).
    except Exception as error:
        raise UnreadableError(_damaged(error)) from None


def _damaged(error: Exception) -> str:
    said = printable(" ".join(str(error).split()))[:100]
    if isinstance(error, EOFError) or "truncated" in said.lower():
        return "truncated: the file ends before its picture does"
    name = type(error).__name__
    return f"damaged: {said}" if said and isinstance(error, _SPOKEN) else f"damaged: {name} {said}".rstrip()


def os_reason(error: OSError) -> str:
    """Why the system does not give a file, in a few words."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "no such file: it was removed, or a link leads nowhere"
    return f"cannot be read: {error.strerror or error}"


def companion(header: Path, name: str) -> Path:
    """The file that a header names for its pixels: a regular one in the header's folder, or in one below it.

    UnreadableError for an absolute path, ``..``, a link that leads out of the folder, a pipe or a device, and where
    there is no such file.
    """
    shown = printable(name)[:60]
    below = PurePosixPath(name.replace("\\", "/"))
    if "\0" in name or not below.parts:
        raise UnreadableError(f"damaged: its header names '{shown}' as the file of its pixels")
    if below.is_absolute() or ".." in below.parts or ":" in below.parts[0]:
        raise UnreadableError(f"its header names '{shown}': its pixels must lie in the folder of the header")
    path = header.parent / below
    # A header that is a link itself may lie beside its pixels in another folder.
    homes = (header.parent.resolve(), header.resolve().parent)
    try:
        if not any(path.resolve().is_relative_to(home) for home in homes):
            raise UnreadableError(f"its header names '{shown}', a link out of the folder of the header: refused")
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableError(f"its header names '{shown}', which is not a regular file")
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableError(f"its pixels are missing: no file '{shown}' beside the header") from None
    except (OSError, RuntimeError):
        raise UnreadableError(f"its pixels cannot be read: '{shown}'") from None
    return path
