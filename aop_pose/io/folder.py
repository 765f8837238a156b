"""A data set's folder that appears under its final name only when it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aop_pose.errors import UsageError

DATA_SET = frozenset({"images", "labels", "masks", "volumes", "data.yaml", "labels.csv", "train.csv", "val.csv"})
"""What a data set of ours holds: a folder with anything else is never replaced by one."""


@contextmanager
def appearing(
    dst: Path, overwrite: bool, source: Path | None = None, ours: frozenset[str] = DATA_SET
) -> Iterator[Path]:
    """Yield an empty folder beside ``dst`` that takes its name on success and is removed on any error.

    UsageError where ``dst`` cannot be written, has something in it and ``overwrite`` is not set, would take
    ``source`` with it, or holds anything but what ``ours`` names.
    """
    dst = dst.resolve()
    _check(dst, overwrite, source, ours)
    part = dst.with_name(f".{dst.name[:40]}.{os.getpid()}.part")
    old = dst.with_name(f".{dst.name[:40]}.{os.getpid()}.old")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{dst} cannot be written: {error.strerror}; choose another folder") from None
    try:
        yield part
        if dst.exists():
            dst.rename(old)
        part.rename(dst)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not dst.exists():
            old.rename(dst)
        shutil.rmtree(old, ignore_errors=True)


def _check(dst: Path, overwrite: bool, source: Path | None, ours: frozenset[str]) -> None:
    if dst.exists() and not dst.is_dir():
        raise UsageError(f"{dst}: expected a folder to write to, found a file")
    inside = [path.name for path in dst.iterdir()] if dst.exists() else []
    if not inside:
        return
    if not overwrite:
        raise UsageError(f"{dst}: expected a new or empty folder, found {len(inside)} entries; add --overwrite")
    if source is not None and source.resolve().is_relative_to(dst):
        raise UsageError(f"{dst}: --overwrite would remove the source {source}; choose another folder")
    foreign = sorted(set(inside) - ours)
    if foreign:
        what = "a data set" if ours is DATA_SET else "an earlier result"
        raise UsageError(f"{dst}: expected {what} to replace, found {foreign[0]!r}; choose another folder")
