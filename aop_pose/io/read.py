"""One entry becomes frames, or one short reason why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from pathlib import Path

from aop_pose.errors import UnreadableError
from aop_pose.frame import Frame
from aop_pose.io.discover import METAIMAGE_SUFFIXES, Entry
from aop_pose.io.metaimage import read_metaimage
from aop_pose.io.pictures import read_pictures
from aop_pose.io.text import printable


def read_frames(entry: Entry) -> Generator[Frame, None, None]:
    """Yield the frames of a file in order: one for a still, one per page, animation frame or plane of a cine.

    Width, height and every coordinate are those of the picture as it is seen, after EXIF orientation.
    ``spacing`` comes from a MetaImage only (its default of 1, 1 counts as unknown); resolution tags of other
    formats give ``aspect``.

    Raises UnreadableError, also after frames have been yielded where a later one is damaged.
    """
    try:
        check_file(entry.path)
        if entry.path.suffix.lower() in METAIMAGE_SUFFIXES:
            for index, (pixels, spacing) in enumerate(read_metaimage(entry.path)):
                yield Frame(pixels, spacing=spacing, source=entry.source, index=index)
        else:
            for index, (pixels, aspect) in enumerate(read_pictures(entry.path)):
                yield Frame(pixels, aspect=aspect, source=entry.source, index=index)
    except OSError as error:
        raise UnreadableError(os_reason(error)) from None


def read_frame(path: str | Path) -> Frame:
    """The first frame of a file, whose ``source`` is the file name; raises UnreadableError."""
    path = Path(path)
    frames = read_frames(Entry(path, printable(path.name)))
    try:
        return next(frames)
    finally:
        frames.close()


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


def os_reason(error: OSError) -> str:
    """Why the system does not give a file, in a few words."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "no such file: it was removed, or a link leads nowhere"
    return f"cannot be read: {error.strerror or error}"
