"""The files that are frames: files, folders, patterns and addresses of a storage become a sorted list of entries.

Only files without a suffix that tells are opened, for their first bytes.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from aop_pose.errors import StorageError, UsageError
from aop_pose.io.clinic.dicom import DICOM_SUFFIXES
from aop_pose.io.clinic.study import Salt, begins_as_study
from aop_pose.io.clinic.video import VIDEO_SUFFIXES
from aop_pose.io.files import printable
from aop_pose.io.folders import is_drawn

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"})
METAIMAGE_SUFFIXES = frozenset({".mha", ".mhd"})
KNOWN_SUFFIXES = PICTURE_SUFFIXES | METAIMAGE_SUFFIXES
FRAME_SUFFIXES = KNOWN_SUFFIXES | DICOM_SUFFIXES | VIDEO_SUFFIXES
# What systems leave in folders beside the files of people, in lower case.
_LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir"})
# The pixels of a .mhd header lie beside it: part of a frame, not a file left aside.
_COMPANION_SUFFIXES = frozenset({".raw", ".zraw"})


def is_passed_over(name: str) -> bool:
    """True for the name of a file or a folder that nobody put there: hidden, or left by a system (``__MACOSX``)."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder in order of its path, without what is passed over."""
    for path in sorted(folder.rglob("*")):
        if not any(is_passed_over(part) for part in path.relative_to(folder).parts) and path.is_file():
            yield path


def _as_text(path: str | os.PathLike[str]) -> str:
    return os.fspath(path)


@attrs.frozen(weakref_slot=False)
class Entry:
    """One file to be read."""

    # A str: of an archive a Path each would take half of the memory that grows with the number of files.
    _path: str = attrs.field(converter=_as_text, alias="path")
    source: str
    """Path below what was given, with ``/`` and printable characters only: the ``source`` of its rows."""
    member: str = ""
    """Name of the file inside the zip at ``path``; "" for a file of its own."""
    sop: str = ""
    """SOP instance UID that its rows may state; "" for none."""

    @property
    def path(self) -> Path:
        """The file; the zip, of a part of one. Of one in a storage (``is_stored``) nothing but its name is of use."""
        return Path(self._path)

    def __fspath__(self) -> str:
        """The same as text, for what opens files."""
        return self._path

    @property
    def suffix(self) -> str:
        """Of its name, in lower case; "" where it has none."""
        return _suffix(self._path)

    @property
    def name(self) -> str:
        """Of its file, without the folders above."""
        return os.path.basename(self._path)

    @property
    def is_stored(self) -> bool:
        """True for a file behind an address (``s3://bucket/x.png``), which has to be fetched before it is read."""
        return is_address(self._path)

    def absolute(self) -> Entry:
        """The same file, wherever it is asked for."""
        return self if self.is_stored else attrs.evolve(self, path=os.path.abspath(self._path))

    def fetch(self, folder: Path) -> Entry:
        """The entry of a copy in ``folder``, whose name is short; one that the storage lacks has no copy there.

        Raises StorageError where the storage does not answer.
        """
        copy = folder / f"file{_suffix(self._path)}"
        storage, place = _storage(self._path)
        try:
            storage.get_file(place, str(copy))
        except FileNotFoundError:
            copy.unlink(missing_ok=True)
        # Every storage has errors of its own.
        except Exception as error:
            raise StorageError(f"{self.source} cannot be fetched ({error}); run again to continue") from None
        return attrs.evolve(self, path=copy)


@attrs.frozen
class Discovery:
    """The files that were found."""

    entries: list[Entry]
    ignored: int
    """Files in folders that are no frames by their suffix; what is passed over is not counted."""
    salt: Salt | None = None
    """The secret behind the sources, where files of patients have names that say nothing; None = names are as given."""

    def said(self, source: str | Path) -> str:
        """A given source as it may be written down: itself, or its hash where it could name a patient."""
        address = str(source) if is_address(str(source)) else None
        if self.salt is not None:
            return self.salt.name(address or os.path.abspath(source))
        return str(source) if address is None else _without_secrets(address)


@attrs.frozen
class _Found:
    """Files of one given source."""

    base: str
    files: list[tuple[str, str]]
    """Pairs (path, path below ``base``)."""
    ignored: int = 0


def discover(sources: Sequence[str | Path], suffixes: Collection[str] | None = None) -> Discovery:
    """List the frames of files, folders (recursive) and patterns that the shell left alone, each sorted by source.

    An address (``s3://bucket/folder``) is a file or a folder of a storage that fsspec knows; there only suffixes tell.

    ``source`` is the path below the given folder; for a file its name; for a pattern the path below the
    folders in front of the first wildcard. A file that is named has an entry whatever its suffix; in folders
    and patterns only ``suffixes`` (in lower case, with their dots) count; None = those of frames, and whatever
    is DICOM by its first bytes, or a zip of such files. What an earlier run drew is left out (``io.folders``).
    Hidden files and folders are left out; a folder reached twice, through links or loops, is listed once; a
    folder that cannot be listed has an entry, so that it becomes an ``unreadable`` row.

    A file that is named twice counts once. Where two different files would have the same source, the first
    keeps it and the later one gets the name of its given folder in front (``B/1.png``), with more parents,
    then ``~2``, ``~3`` until it is unique.

    Raises UsageError for a source that does not exist, StorageError for a storage that does not answer. Empty folders
    give no entries: the caller decides.
    """
    entries: list[Entry] = []
    ignored = 0
    # Dictionaries, which take a quarter of what sets may take. One source alone names no file twice.
    paths: dict[str, None] | None = {} if len(sources) > 1 else None
    taken: dict[str, None] = {}
    for given in sources:
        place = os.fspath(given)
        if is_address(place):
            found = _stored(place, tuple(FRAME_SUFFIXES if suffixes is None else suffixes))
        else:
            found = _find(place, _frames if suffixes is None else partial(_ends, suffixes=tuple(suffixes)))
        ignored += found.ignored
        found.files.sort(key=itemgetter(1))
        found.files.reverse()
        while found.files:
            path, below = found.files.pop()
            if paths is not None:
                absolute = path if is_address(path) else os.path.abspath(path)
                absolute = path if absolute == path else absolute  # One text in memory, not two.
                if absolute in paths:
                    continue
                paths[absolute] = None
            source = next(name for name in _names(below, found.base) if name not in taken)
            taken[source] = None
            entries.append(Entry(path, source))
    return Discovery(entries, ignored)


Counts = Callable[[str], bool]
"""Path of a file -> whether it is one of those that are looked for."""


def _find(given: str, counts: Counts) -> _Found:
    if os.path.isdir(given):
        files, ignored = _walk(given, counts)
        return _Found(given, files, ignored)
    if os.path.lexists(given):
        return _Found(os.path.dirname(given), [(given, os.path.basename(given))])
    if glob.has_magic(given):
        return _match(given, counts)
    raise UsageError(
        f"expected an existing file, folder or pattern, found nothing at {printable(given)!r}; check the path"
    )


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_address(place: str) -> bool:
    """True for what begins as ``s3://``; a drive of Windows has one letter, and no such name."""
    return bool(_ADDRESS.match(place))


def _without_secrets(address: str) -> str:
    """An address without the name and password before its host, and without what is asked behind ``?``."""
    begin, rest = address.split("://", 1)
    host, slash, below = rest.split("?", 1)[0].partition("/")
    return f"{begin}://{host.rpartition('@')[2]}{slash}{below}"


def _storage(address: str) -> tuple[Any, str]:
    """The file system of fsspec that knows an address, and the place in it; UsageError where none does."""
    said = _without_secrets(address)
    try:
        import fsspec
    except ModuleNotFoundError:
        raise UsageError(
            f"{_without_secrets(address)}: fsspec is not installed; pip install 'aop-pose[storage]'"
        ) from None
    try:
        storage, place = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{said}: {error}") from None
    return storage, place


def _stored(address: str, suffixes: tuple[str, ...]) -> _Found:
    """Files below an address, or the one file that it is of."""
    storage, place = _storage(address)
    try:
        if storage.isfile(place):
            return _Found(place, [(address, PurePosixPath(place).name)])
        there = storage.find(place) if storage.isdir(place) else None
    except Exception as error:
        raise StorageError(f"{_without_secrets(address)} cannot be listed: {error}") from None
    if there is None:
        raise UsageError(f"expected a file or a folder of the storage at {_without_secrets(address)}, found nothing")
    below = [file.removeprefix(place.rstrip("/")).lstrip("/") for file in there]
    below = [name for name in below if not any(map(is_passed_over, name.split("/")))]
    wanted = [name for name in below if _ends(name, suffixes)]
    address = address.rstrip("/")
    return _Found(place, [(f"{address}/{name}", name) for name in wanted], len(below) - len(wanted))


def _match(pattern: str, counts: Counts) -> _Found:
    """Files of a pattern, and of the folders that it matches."""
    base = pattern
    while glob.has_magic(base):
        base = os.path.dirname(base)
    matches = set(glob.glob(pattern, recursive=True))
    if not matches:
        raise UsageError(f"expected files that match {printable(pattern)!r}, found none; check the pattern")
    paths: list[str] = []
    ignored = 0
    for match in matches:
        if _lies_in_drawn(match, base) or any(
            is_passed_over(part) for part in Path(os.path.relpath(match, base or ".")).parts
        ):
            continue
        if os.path.isdir(match):
            # "**" names every folder beside its files: walking them too would list each file many times.
            if "**" not in pattern:
                inner, inner_ignored = _walk(match, counts)
                paths += [path for path, _ in inner]
                ignored += inner_ignored
        elif counts(match):
            paths.append(match)
        elif _suffix(match) not in _COMPANION_SUFFIXES:
            ignored += 1
    files = [(path, os.path.relpath(path, base or ".").replace(os.sep, "/")) for path in paths]
    return _Found(base, files, ignored)


def _lies_in_drawn(path: str, base: str) -> bool:
    """True where a path, or a folder between it and ``base``, is what an earlier run drew."""
    below = Path(os.path.relpath(path, base or "."))
    return any(is_drawn(os.path.join(base, part)) for part in (below, *below.parents))


def _walk(folder: str, counts: Counts) -> tuple[list[tuple[str, str]], int]:
    """Frames below a folder as (path, path below the folder), and how many other files there are."""
    files: list[tuple[str, str]] = []
    ignored = 0
    seen: set[tuple[int, int]] = set()
    # Linked folders wait until the real ones are done, so that a file is listed under its own name where it
    # has one.
    own, linked = [(folder, "")], list[tuple[str, str]]()
    while own or linked:
        here, below = own.pop() if own else linked.pop()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            # Files are sorted at the end; a list of what the system says of each would be most of the memory.
            folders: list[tuple[str, str, bool]] = []
            companions = 0
            has_header = False
            with os.scandir(here) as listing:
                for item in listing:
                    if is_passed_over(item.name) or is_drawn(item.path):
                        continue
                    suffix = _suffix(item.name)
                    if _is_folder(item):
                        folders.append((item.path, f"{below}{item.name}/", item.is_symlink()))
                    elif counts(item.path):
                        files.append((item.path, below + item.name))
                        has_header = has_header or suffix == ".mhd"
                    elif suffix in _COMPANION_SUFFIXES:
                        companions += 1
                    else:
                        ignored += 1
        except OSError:
            files.append((here, below.rstrip("/") or os.path.basename(os.path.abspath(here))))
            continue
        for path, inside, is_link in sorted(folders, reverse=True):
            (linked if is_link else own).append((path, inside))
        ignored += 0 if has_header else companions
    return files, ignored


def _names(below: str, base: str) -> Iterator[str]:
    """The wanted source, then longer and longer ones."""
    below = printable(below)
    yield below
    parts = [printable(part) for part in Path(os.path.abspath(base)).parts[1:]]
    for count in range(1, len(parts) + 1):
        yield "/".join([*parts[-count:], below])
    number = 2
    while True:
        yield f"{below}~{number}"
        number += 1


def _frames(path: str) -> bool:
    """True for what holds frames: by its suffix, or by its first bytes."""
    return _ends(path, tuple(FRAME_SUFFIXES)) or (_suffix(path) not in _COMPANION_SUFFIXES and begins_as_study(path))


def _ends(path: str, suffixes: tuple[str, ...]) -> bool:
    """True for a name that has something in front of one of these suffixes, of which one may be a double one."""
    name = os.path.basename(path).lower()
    return name.endswith(suffixes) and name not in suffixes


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        # A link that leads to itself: it is listed as a file, and reading it says so.
        return False
