"""The folder a run writes: what is called how in it, whose it is, and how to tell its pictures from frames."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aop_pose.errors import UsageError
from aop_pose.io.files import remove_leftovers, replacing
from aop_pose.io.table import read_facts

TABLE, DOCUMENT, OVERLAYS, STARTED = "results.csv", "results.json", "overlays", ".started.json"
OUTLINES = "outlines"
"""Contours as JSON, a file a measured frame, where they are asked for."""
LOCK, STAMPS = ".lock", ".files.jsonl"
PARQUET = "results.parquet"
"""In the place of the table, once a run that asked for it has finished."""
PARTS = ".parts"
"""Rows that workers made, a file a part, until they stand in the table."""
CONTACT_SHEET = "contact_sheet.png"
MOTION = "motion.csv"
"""Beside the table where a 4-D file was measured."""
CINE = "cine"
"""Folder beside the table where cines were measured."""
_DRAWN = re.compile(r"overlays|contact_sheet(-\d+)?\.png")


def is_drawn(path: str) -> bool:
    """True for the pictures that a run drew (a folder or a file): they have their names and lie beside its table."""
    folder, name = os.path.split(path)
    return bool(_DRAWN.fullmatch(name)) and any(os.path.isfile(os.path.join(folder, one)) for one in (TABLE, PARQUET))


def contact_sheets_of(out: Path) -> list[Path]:
    """The contact sheets that stand in a run's folder."""
    return [path for path in out.glob("contact_sheet*.png") if _DRAWN.fullmatch(path.name)]


def claim(out: Path, identity: Mapping[str, Any], overwrite: bool) -> bool:
    """Make the folder ready for a run; True where it holds the beginning of this same run.

    ``identity`` is what must be the same for a run to be continued; it is JSON. ``overwrite`` removes an earlier
    run, and nothing where there is none.

    Raises:
        UsageError: ``out`` is a file or cannot be written, or it holds a finished run, or one that began otherwise.
    """
    _check_is_folder(out)
    try:
        if overwrite:
            _remove_run(out)
        resume = _is_begun(out, identity)
        out.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out)
        if not resume:
            (out / STAMPS).unlink(missing_ok=True)
            if (out / PARTS).exists():
                shutil.rmtree(out / PARTS)
            with replacing(out / STARTED) as part:
                part.write_text(json.dumps(identity), encoding="utf-8")
    except OSError as error:
        raise _unwritable(out, error) from None
    return resume


def _check_is_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder, found the file {out}")


def _unwritable(out: Path, error: OSError) -> UsageError:
    return UsageError(f"--out: {out} cannot be written: {error.strerror}; choose another folder")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and hold it for this process; UsageError where another process holds it, or it cannot be written.

    The lock ends with the process, however that ends. Where the file system knows no locks, nothing is held.
    """
    path = folder / LOCK
    _check_is_folder(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(path, "ab")  # noqa: SIM115  # closed by the with statement below
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        with stream:
            _hold(stream.fileno(), path)
            try:
                yield
            finally:
                # Held while it goes, so that nobody locks a file that is on its way out.
                with suppress(OSError):
                    path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):
            if sys.platform == "win32":
                # It removes no open file; one that the next run has opened stays.
                path.unlink(missing_ok=True)
            if made:
                # A folder in which nothing was written: it is removed only where it is empty.
                folder.rmdir()


def _hold(descriptor: int, path: Path) -> None:
    try:
        lock(descriptor)
    except (BlockingIOError, PermissionError):
        raise UsageError(
            f"--out: another run is writing to {path.parent}; wait until it is done, or choose another folder"
        ) from None
    except OSError:
        pass
    if not _is_the_file(descriptor, path):
        # The run before removed it between our opening and our locking it: another one may hold the next.
        raise UsageError(f"--out: another run has just written to {path.parent}; start this one again")


def _is_the_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def lock(descriptor: int) -> None:
    """Hold an open file for this process until it is closed; BlockingIOError or PermissionError where another does.

    Any other OSError: the file system knows no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Stamps:
    """Size and time of each file when its first row was written, so that a resumed run knows which have changed."""

    def __init__(self, out: Path) -> None:
        self._path = out / STAMPS
        self._last = ""

    def write(self, source: str, path: Path) -> None:
        """Remember a file, once however many rows it has."""
        if source != self._last:
            self._last = source
            with suppress(OSError), open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps([source, *_stamp(path)]) + "\n")

    def changed(self, files: Iterable[tuple[str, Path]], done: Set[str]) -> list[str]:
        """The sources among ``done`` whose file is another one now than when it was measured, or is gone.

        Args:
            files: source and path of every file that is there now.
        """
        if not done:
            return []
        known: dict[str, list[int]] = {}
        with suppress(OSError), open(self._path, encoding="utf-8") as stream:
            for line in stream:
                with suppress(ValueError, TypeError):
                    source, *stamp = json.loads(line)
                    known[source] = stamp
        there = {source: path for source, path in files if source in done}
        return sorted(source for source in done if _has_changed(there.get(source), known.get(source)))


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _has_changed(path: Path | None, before: list[int] | None) -> bool:
    """False where nothing is known of before."""
    if path is None:
        return True
    try:
        return before is not None and list(_stamp(path)) != before
    except OSError:
        return True


def sources_of_run(out: Path) -> list[str]:
    """Sources of the run in a folder, finished or not; nothing where there is no run."""
    known = read_facts(out / DOCUMENT) or _identity_before(out / STARTED)
    sources = known.get("sources")
    return [str(source) for source in sources] if isinstance(sources, list) else []


def _remove_run(out: Path) -> None:
    if not any((out / name).exists() for name in (TABLE, PARQUET, DOCUMENT, STARTED)):
        return
    (out / DOCUMENT).unlink(missing_ok=True)
    (out / STARTED).unlink(missing_ok=True)
    (out / MOTION).unlink(missing_ok=True)
    (out / STAMPS).unlink(missing_ok=True)
    for sheet in contact_sheets_of(out):
        sheet.unlink()
    for name in (OVERLAYS, OUTLINES, CINE, PARTS):
        if (out / name).exists():
            shutil.rmtree(out / name)
    # Last, since overlays without a table beside them would be taken for frames after a kill.
    (out / TABLE).unlink(missing_ok=True)
    (out / PARQUET).unlink(missing_ok=True)


def _is_begun(out: Path, identity: Mapping[str, Any]) -> bool:
    if (out / DOCUMENT).exists():
        raise UsageError(f"--out: {out} holds a finished run; choose another folder or add --overwrite")
    if not (out / TABLE).exists():
        return False
    before = _identity_before(out / STARTED)
    differing = [key for key in identity if before.get(key) != identity[key]]
    if differing:
        was = ", ".join(f"{key} was {before.get(key, 'unknown')}" for key in differing)
        raise UsageError(f"--out: {out} holds the beginning of another run ({was}); add --overwrite to replace it")
    return True


def _identity_before(started: Path) -> dict[str, Any]:
    """The identity that an earlier process wrote down when it began; nothing where that is gone or damaged."""
    try:
        known = json.loads(started.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remove_leftovers(out: Path) -> None:
    remove_leftovers(out)
    for name in (OVERLAYS, OUTLINES, PARTS):
        for folder, _, _ in os.walk(out / name):
            remove_leftovers(folder)


DATA_SET = frozenset({
    "images", "labels", "masks", "volumes", "markups", "points", "data.yaml", "labels.csv", "train.csv", "val.csv",
    "annotations.json", "annotations.xml", "labels.json", "tasks.json", "labeling.xml",
})  # fmt: skip
"""Entries of a data set of ours: a folder with anything else is never replaced by one."""


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
    part, old = (dst.with_name(f".{dst.name[:40]}.{os.getpid()}.{end}") for end in _ENDS)
    try:
        _remove_stale(dst)
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


_ENDS = ("part", "old")


def _remove_stale(dst: Path) -> None:
    """Remove what killed processes left beside ``dst``; one that is still at work keeps its own."""
    for path in dst.parent.glob(f".{glob.escape(dst.name[:40])}.*"):
        found = re.fullmatch(rf"\.{re.escape(dst.name[:40])}\.(\d+)\.({'|'.join(_ENDS)})", path.name)
        if found and not _is_running(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    """True where it cannot be known, too."""
    if sys.platform == "win32":
        # There a signal 0 ends a process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
