"""Studies: a DICOMDIR and a zip become the files in them, and files of patients get names that say nothing."""

from __future__ import annotations

import hashlib
import hmac
import lzma
import os
import re
import secrets
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

import attrs

from aop_pose.errors import UnreadableError
from aop_pose.io.clinic.dicom import DICOM_SUFFIXES, MARK_END, begins_as_dicom, is_dicom, open_dicom, quiet
from aop_pose.io.files import companion, replacing
from aop_pose.io.pixels import check_unpacked
from aop_pose.io.table import as_csv

if TYPE_CHECKING:
    from aop_pose.io.discover import Entry

DICOMDIR, ZIP_SUFFIX = "DICOMDIR", ".zip"
SALT = ".salt"
"""In the folder of a run: the secret that turns identifiers into names, for its owner alone (mode 600)."""
_SALT_BYTES, _DIGITS = 32, 20
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, OverflowError, ValueError,
)  # fmt: skip
"""Errors of reading a zip whose bytes are damaged."""


def begins_as_study(path: str) -> bool:
    """True for a file that is DICOM by its first bytes, and for a zip with such files; a DICOMDIR is none."""
    if os.path.basename(path).upper() == DICOMDIR:
        return False
    if path.lower().endswith(ZIP_SUFFIX):
        with suppress(UnreadableError, OSError):
            return bool(zip_members(Path(path)))
        return False
    return is_dicom(path)


def holds_dicom(entry: Entry) -> bool:
    """True for a file that is read as DICOM: by its first bytes, by its suffix, or as a part of a zipped study."""
    return bool(entry.member) or entry.suffix in DICOM_SUFFIXES or is_dicom(entry)


def zip_members(path: Path) -> list[str]:
    """The DICOM files in a zip, by name; UnreadableError where a name leads out of it, or it is locked or a trap."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = check_members(archive, path)
            return sorted(info.filename for info in infos if _is_dicom_in(archive, info))
    except _DAMAGED:
        raise UnreadableError("damaged: a zip that cannot be opened") from None


def check_members(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip; UnreadableError where a name leads out of it, or it is locked or a trap."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    check_unpacked(sum(info.file_size for info in infos), os.stat(path).st_size)
    for info in infos:
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
            raise UnreadableError("a zip with a name in it that leads out of it ('..'): refused")
        if info.flag_bits & 1:
            raise UnreadableError("a zip that is locked by a password; unpack it first")
    return infos


def _is_dicom_in(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    if PurePosixPath(info.filename).name.upper() == DICOMDIR or info.file_size < MARK_END:
        return False
    try:
        with archive.open(info) as stream:
            return begins_as_dicom(stream.read(MARK_END))
    except _DAMAGED:
        # Nobody knows what it was: it has a row that says so.
        return True


def files_of_directory(path: Path) -> list[Path]:
    """The pictures that a DICOMDIR lists, in its order; UnreadableError where one would lie outside its folder."""
    with quiet() as pydicom:
        records = pydicom.dcmread(path, specific_tags=["DirectoryRecordSequence"]).get("DirectoryRecordSequence") or ()
        names = [record.get("ReferencedFileID") for record in records if record.get("DirectoryRecordType") == "IMAGE"]
    files = []
    for name in names:
        parts = [name] if isinstance(name, str) else list(name or ())
        try:
            files.append(companion(path, "/".join(parts)))
        except UnreadableError:
            if not (path.parent / "/".join(parts)).resolve().is_relative_to(path.parent.resolve()):
                raise UnreadableError("a DICOMDIR that names a file outside of its folder: refused") from None
            files.append(path.parent / "/".join(parts))
    return files


def expand(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries, a DICOMDIR and a zip replaced by the files in them; one that cannot be read stays as it is."""
    expanded: list[Entry] = []
    for entry in entries:
        inside: list[Entry] = []
        with suppress(UnreadableError, OSError):
            if entry.name.upper() == DICOMDIR and is_dicom(entry.path):
                base = entry.path.parent
                inside = [
                    attrs.evolve(entry, path=file, source=file.relative_to(base).as_posix())
                    for file in files_of_directory(entry.path)
                ]
            elif entry.suffix == ZIP_SUFFIX and not entry.member:
                inside = [
                    attrs.evolve(entry, member=name, source=f"{entry.source}/{name}")
                    for name in zip_members(entry.path)
                ]
        expanded += inside or [entry]
    return expanded


@contextmanager
def opened(entry: Entry) -> Iterator[BinaryIO]:
    """An entry's file for reading: the file itself, or a copy of the part of a zip that goes when it is closed."""
    if not entry.member:
        if entry.name.upper() == DICOMDIR and not files_of_directory(entry.path):
            raise UnreadableError("a DICOMDIR that lists no picture")
        if entry.suffix == ZIP_SUFFIX and not zip_members(entry.path):
            raise UnreadableError("a zip without DICOM files; unpack it first")
        with open(entry.path, "rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as copy:
        try:
            with zipfile.ZipFile(entry.path) as archive, archive.open(entry.member) as packed:
                shutil.copyfileobj(packed, copy, 1 << 20)
        except (*_DAMAGED, KeyError):
            raise UnreadableError("damaged: a part of the zip cannot be unpacked") from None
        copy.seek(0)
        yield cast(BinaryIO, copy)


@attrs.frozen
class About:
    """Facts of a DICOM file that are needed before its frames are read."""

    sop: str = ""
    """SOP instance UID; "" where the header cannot be read or has none."""
    has_spacing: bool = False
    """A region of it states millimetres."""


def about(entry: Entry) -> About:
    """Read the header of a DICOM file; nothing is known of one that cannot be read."""
    with suppress(UnreadableError, OSError), opened(entry) as stream, open_dicom(stream) as file:
        return About(file.sop, any(spacing is not None for _, spacing in file.parts))
    return About()


@attrs.frozen(repr=False)
class Salt:
    """The secret of a run folder. With it, and only with it, a name is found again from its identifier."""

    value: bytes

    @classmethod
    def of(cls, folder: Path) -> Salt:
        """The one that stands in a folder; a new one where there is none, which ``keep`` writes."""
        with suppress(FileNotFoundError, NotADirectoryError):
            value = (folder / SALT).read_bytes()
            if len(value) == _SALT_BYTES:
                return cls(value)
        return cls.new()

    @classmethod
    def new(cls) -> Salt:
        """One that nobody knows."""
        return cls(secrets.token_bytes(_SALT_BYTES))

    def keep(self, folder: Path) -> None:
        """Write it into a folder, for its owner alone."""
        _write_private(folder / SALT, self.value)

    def name(self, identifier: str) -> str:
        """The name of an identifier: 20 hexadecimal digits that say nothing of it without the salt."""
        return hmac.new(self.value, identifier.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_DIGITS]


def _write_private(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(content)


def write_map(path: Path, entries: Sequence[Entry]) -> None:
    """Write which file has which name in the rows, for its owner alone: ``source,path,member,sop``."""
    rows = [
        {"source": entry.source, "path": os.path.abspath(entry.path), "member": entry.member, "sop": about(entry).sop}
        for entry in entries
        if holds_dicom(entry)
    ]
    _write_private(path, as_csv(rows).encode("utf-8"))


def find_again(entries: Sequence[Entry], folder: Path) -> dict[str, Entry]:
    """DICOM files by the source that they have in the rows of a run: by its salt, else by what its rows state of them.

    A run that kept identifiers has no salt: there a source is a path, and the SOP instance UID stands beside it.
    """
    files = [entry for entry in entries if holds_dicom(entry)]
    facts = [about(entry) for entry in files]
    if not (folder / SALT).is_file():
        return {fact.sop: entry for entry, fact in zip(files, facts, strict=True) if fact.sop}
    names = renamed(files, facts, Salt.of(folder))
    return {name.source: entry for name, entry in zip(names, files, strict=True)}


def is_copy(entry: Entry) -> bool:
    """True for a file with the SOP instance UID of another one, as ``renamed`` names it."""
    return re.fullmatch(rf"[0-9a-f]{{{_DIGITS}}}~\d+", entry.source) is not None


def renamed(entries: Sequence[Entry], facts: Sequence[About], salt: Salt) -> list[Entry]:
    """Entries whose sources say nothing of a patient: DICOM files are named by their SOP instance UID and the salt.

    One without a readable UID is named by its path in the same way; copies of one file by ``~2``, ``~3`` behind.
    """
    given: list[Entry] = []
    taken = {entry.source for entry in entries if not holds_dicom(entry)}
    for entry, fact in zip(entries, facts, strict=True):
        source = entry.source
        if holds_dicom(entry):
            stem = salt.name(fact.sop or f"{os.path.abspath(entry.path)}\0{entry.member}")
            number, source = 1, stem
            while source in taken:
                number += 1
                source = f"{stem}~{number}"
            taken.add(source)
        given.append(attrs.evolve(entry, source=source, sop=""))
    return given
