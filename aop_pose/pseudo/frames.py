"""Which frames are to be labelled: never one that a label file already names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from aop_pose.errors import UsageError
from aop_pose.formats.labels import resolve
from aop_pose.formats.name_list import read_list
from aop_pose.formats.rows import filename, parse_rows
from aop_pose.io.discover import Entry, discover

IMAGES = "images"


@attrs.frozen
class Unlabelled:
    """Frames without labels."""

    entries: list[Entry]
    ignored: int = 0
    """Files in the folder that are no frames by their suffix."""
    labelled: int = 0
    """Frames of the folder left out because a label file names them."""


def unlabelled_frames(images: Path, listed: str | Path | None, labels: Sequence[str | Path]) -> Unlabelled:
    """The frames of a list, else all frames below ``images/images`` where that is a folder, else below ``images``.

    A listed name is ``images/name``, else ``images/images/name``; one that is not there keeps its place, since
    reading it says so. The list and the label files are taken as given, else below ``images``. Frames that a label
    file names are left out of a folder.

    Raises:
        UsageError: a listed frame is named by a label file, or is listed under two names; nothing is left; a file is
            missing or malformed.
    """
    images = Path(images)
    if not images.is_dir():
        raise UsageError(f"--images: expected a folder, found none at {images}")
    named = _named_by(labels, images)
    if listed is not None:
        file = resolve(listed, images)
        return Unlabelled(_entries(file, read_list(file), images, named))
    found = discover([images / IMAGES if (images / IMAGES).is_dir() else images])
    left = [entry for entry in found.entries if entry.path.resolve() not in named]
    if not left:
        raise UsageError(
            f"no frames to label in {images} ({found.ignored} other files, {len(found.entries)} frames with labels)"
        )
    return Unlabelled(left, found.ignored, len(found.entries) - len(left))


def tabled_frames(images: Path, table: str | Path, labels: Sequence[str | Path]) -> Unlabelled:
    """The frames of every row of a ``pseudo.csv``, dropped ones too, so that they can be labelled again.

    The table and the label files are taken as given, else below ``images``. UsageError where a label file names one of
    the frames.
    """
    file = resolve(table, images)
    return Unlabelled(_entries(file, _names(file), Path(images), _named_by(labels, Path(images))))


def _entries(file: Path, names: Sequence[str], images: Path, named: dict[Path, Path]) -> list[Entry]:
    entries = [Entry(_place(images, name), name) for name in names]
    both = [(entry.source, named[place]) for entry in entries if (place := entry.path.resolve()) in named]
    if both:
        name, labels = both[0]
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise UsageError(f"{file}: expected frames without labels, found {name}{more} also in {labels}; take it out")
    places: dict[str, str] = {}
    for entry in entries:
        first = places.setdefault(os.path.normpath(entry.path), entry.source)
        if first != entry.source:
            raise UsageError(f"{file}: expected each picture once, found {entry.source}, which is {first}")
    return entries


def _named_by(labels: Sequence[str | Path], images: Path) -> dict[Path, Path]:
    """Picture -> the label file that names it."""
    named: dict[Path, Path] = {}
    for given in labels:
        file = resolve(given, images)
        for name in _names(file):
            named.setdefault(_place(images, name).resolve(), file)
    return named


def _names(file: Path) -> list[str]:
    return list(parse_rows(file, ("Filename",), lambda row: filename(row.cells["Filename"])))


def _place(images: Path, name: str) -> Path:
    """Where ``formats.labels.find_picture`` would find it; the first place where it is at neither."""
    below = images / IMAGES / name
    return below if below.is_file() and not (images / name).is_file() else images / name
