"""The two kinds of images: how frames and how volumes are found, read and drawn. All else is one path."""

from __future__ import annotations

import math
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import ClassVar, Protocol

import attrs
import numpy as np

from aop_pose.core.frame import Frame, Volume
from aop_pose.core.motion import motion_rows
from aop_pose.core.region import Region
from aop_pose.core.results import Result
from aop_pose.core.schema import Schema
from aop_pose.draw.frame import draw_overlay, headline
from aop_pose.draw.volume import volume_sheet
from aop_pose.errors import UnreadableError, UsageError, counted
from aop_pose.io.clinic.study import About, Salt, about, expand, holds_dicom, renamed
from aop_pose.io.clinic.video import ALL, Selection
from aop_pose.io.discover import Discovery, Entry, discover, is_address
from aop_pose.io.files import printable, replacing
from aop_pose.io.folders import MOTION, TABLE
from aop_pose.io.images import read_frames
from aop_pose.io.kinds import what_is_there
from aop_pose.io.spacing import PixelSizes, parse_pixel_size, with_pixel_size
from aop_pose.io.table import as_csv, iter_results
from aop_pose.io.volumes import Refused, discover_volumes, open_volume, read_times
from aop_pose.measuring.ahead import at_hand


class Kind(Protocol):
    """The way images of one kind are found, read and drawn."""

    word: ClassVar[str]
    """Plural, for people."""
    several: ClassVar[bool]
    """Several of them pass the network together, and several groups are at work at a time."""

    def discover(self, sources: Sequence[str | Path], out: Path, listed: Path | None = None) -> Discovery:
        """The files, named as in ``out``; with ``listed`` those of a list; UsageError where there is none."""

    def read(self, entry: Entry) -> Iterator[Frame | Volume | Result]:
        """The images of a file in order, and rows of those that could not be read; UnreadableError at any point."""

    def draw(self, image: Frame | Volume, result: Result) -> np.ndarray:
        """The overlay of one image, uint8 BGR."""

    def finish(self, out: Path, entries: Sequence[Entry], schema: Schema) -> None:
        """Write what stands beside the finished table."""


@attrs.frozen
class Frames:
    """Frames of pictures and cines."""

    pixel_sizes: PixelSizes | None
    selection: Selection = ALL
    """The frames of cines that are wanted."""
    keep_identifiers: bool = False
    """DICOM files keep their names, rows their SOP instance UID, overlays what is burned in around the region."""
    word: ClassVar[str] = "frames"
    several: ClassVar[bool] = True

    @classmethod
    def of(cls, pixel_size: str | None, selection: Selection = ALL, keep_identifiers: bool = False) -> Frames:
        """``pixel_size`` as ``io.spacing.parse_pixel_size`` takes it."""
        return cls(None if pixel_size is None else parse_pixel_size(pixel_size), selection, keep_identifiers)

    def discover(self, sources: Sequence[str | Path], out: Path, listed: Path | None = None) -> Discovery:
        found = discover(sources) if listed is None else of_list(listed, sources)
        found = attrs.evolve(found, entries=expand(found.entries))
        if not found.entries:
            others = what_is_there(sources) or counted(found.ignored, "other files")
            raise UsageError(f"no frames found in {', '.join(map(str, sources))}: {others}")
        if self.pixel_sizes is not None:
            self.pixel_sizes.check_names([entry.source for entry in found.entries])
        return self.named(found, Salt.of(out))

    def named(self, found: Discovery, salt: Salt) -> Discovery:
        """The same files; those of patients under names that say nothing, unless identifiers are kept."""
        if not any(map(holds_dicom, found.entries)):
            return found
        facts = [about(entry) if holds_dicom(entry) else About() for entry in found.entries]
        if self.pixel_sizes is not None:
            _check_no_spacing(self.pixel_sizes, found.entries, facts)
        if self.keep_identifiers:
            return attrs.evolve(found, entries=[attrs.evolve(entry, sop=fact.sop)
                                                for entry, fact in zip(found.entries, facts, strict=True)])  # fmt: skip
        return attrs.evolve(found, entries=renamed(found.entries, facts, salt), salt=salt)

    def read(self, entry: Entry) -> Iterator[Frame | Volume | Result]:
        for frame in read_frames(entry, self.selection):
            yield with_pixel_size(frame, self.pixel_sizes) if self.pixel_sizes is not None else frame

    def draw(self, image: Frame | Volume, result: Result) -> np.ndarray:
        assert isinstance(image, Frame)
        return draw_overlay(image if self.keep_identifiers else uncovered(image, result.region), result)

    def finish(self, out: Path, entries: Sequence[Entry], schema: Schema) -> None:
        pass


def of_list(file: Path, sources: Sequence[str | Path]) -> Discovery:
    """The files that a list names, in its order: text with a name a line, or Parquet with a column ``Filename``.

    Names are below the one folder among ``sources``; without sources they are below the folder of the list, or
    absolute, or addresses of a storage: then their rows are named by the path below the folder that holds them all.
    Nothing is opened: a file that is not there has a row that says so.

    Raises:
        UsageError: a malformed list, a name that leads out of the folder or stands twice, or sources that are not one
            folder.
    """
    # Imported here: no other run needs it before its first row.
    from aop_pose.formats.csv_rows import read_list

    names = read_list(file)
    if len(sources) > 1 or any(not (is_address(str(source)) or Path(source).is_dir()) for source in sources):
        raise UsageError("--list: expected one folder that its names are below, or no source at all")
    base = str(sources[0]) if sources else str(file.parent)
    if not sources and all(map(is_address, names)):
        begin, places = names[0].partition("://")[0], [name.partition("://")[2] for name in names]
        base = f"{begin}://{posixpath.commonpath([posixpath.dirname(place) for place in places])}"
        names = [name.removeprefix(f"{base}/") for name in names]
    elif not sources and all(map(os.path.isabs, names)):
        base = os.path.commonpath([os.path.dirname(name) for name in names])
        names = [os.path.relpath(name, base) for name in names]
    places = [os.path.normpath(name) for name in names]
    wrong = [name for name, place in zip(names, places, strict=True) if os.path.isabs(place) or place.startswith("..")]
    if wrong:
        raise UsageError(f"--list: expected names below {base}, found {wrong[0]}, which leads out of it")
    if len(set(places)) < len(places):
        raise UsageError(f"--list: expected each file once, found {Counter(places).most_common(1)[0][0]} again")
    found = [Entry(os.path.join(base, place), printable(place.replace(os.sep, "/"))) for place in places]
    return Discovery(found, ignored=0)


SAMPLED = 32
"""Frames on which a precision is compared with float32."""


def sampled(sources: Sequence[str | Path], listed: Path | None = None) -> list[np.ndarray] | None:
    """Gray pictures of some frames, evenly over the files of sources or of a list; None where there is none."""
    entries = expand((discover(sources) if listed is None else of_list(listed, sources)).entries)
    found: list[np.ndarray] = []
    for entry in at_hand(entries[:: max(1, len(entries) // SAMPLED)][:SAMPLED]):
        with suppress(UnreadableError):
            found += [frame.pixels for frame in islice(read_frames(entry), 1) if not frame.unfit_reason()]
    return found or None


def _check_no_spacing(sizes: PixelSizes, entries: Sequence[Entry], facts: Sequence[About]) -> None:
    """UsageError where a pixel size is given for a file whose region states its own."""
    both = [fact for entry, fact in zip(entries, facts, strict=True) if fact.has_spacing and sizes.find(entry.source)]
    if both:
        raise UsageError(
            f"--pixel-size: {len(both)} of {len(entries)} files state their own in their region; leave it out, or name "
            "the other files in a table"
        )


def uncovered(frame: Frame, looked_at: Region | None) -> Frame:
    """A frame of a DICOM file with its region alone, all around black: names and dates are burned in there.

    ``looked_at`` is the region of its row. Where nobody knows its region, all of it is black. Other frames are shown as
    they are.
    """
    if not frame.private:
        return frame
    known = [one.region for one in (frame, *frame.choices) if one.region is not None]
    if looked_at is not None and looked_at.how != "whole":
        known = [looked_at]
    pixels = np.zeros_like(frame.pixels)
    for region in known:
        region.cut(pixels)[:] = region.cut(frame.pixels)
    return attrs.evolve(frame, pixels=pixels)


@attrs.frozen
class Volumes:
    """Volumes and sequences of them: one at a time, since they are large."""

    spacing: tuple[float, float, float] | None
    """Millimetres along i, j, k for files that state none."""
    word: ClassVar[str] = "volumes"
    several: ClassVar[bool] = False

    @classmethod
    def of(cls, pixel_size: str | None) -> Volumes:
        """``pixel_size``: one number, millimetres from voxel to voxel; UsageError for anything else."""
        if pixel_size is None:
            return cls(None)
        try:
            spacing = float(pixel_size)
        except ValueError:
            spacing = math.nan
        if not (math.isfinite(spacing) and spacing > 0):
            raise UsageError(f"--pixel-size: expected millimetres per voxel, a positive number, found {pixel_size!r}")
        return cls((spacing, spacing, spacing))

    def discover(self, sources: Sequence[str | Path], out: Path, listed: Path | None = None) -> Discovery:
        found = discover_volumes(sources) if listed is None else of_list(listed, sources)
        if any(entry.is_stored for entry in found.entries):
            raise UsageError("volumes are not read from a storage; copy them here first")
        if not found.entries:
            others = what_is_there(sources, frames=True) or counted(found.ignored, "other files")
            raise UsageError(f"no volumes found in {', '.join(map(str, sources))}: {others}")
        return found

    def read(self, entry: Entry) -> Iterator[Frame | Volume | Result]:
        for volume in read_times(entry.path, entry.source, self.spacing):
            if isinstance(volume, Refused):
                yield Result(source=entry.source, index=volume.index, status="unreadable", reason=volume.reason)
            else:
                yield volume

    def draw(self, image: Frame | Volume, result: Result) -> np.ndarray:
        assert isinstance(image, Volume)
        numbers = headline(result) if result.measurements else ""
        return volume_sheet(image, result.keypoints, reason=result.reason, numbers=numbers)

    def finish(self, out: Path, entries: Sequence[Entry], schema: Schema) -> None:
        """``motion.csv`` where a file holds several volumes: how fast each landmark moves."""
        paths = {entry.source: entry.path for entry in entries}
        rows = motion_rows(
            iter_results(out / TABLE), schema, lambda source: open_volume(paths[source]).affine(self.spacing)
        )
        if rows:
            with replacing(out / MOTION) as part:
                part.write_text(as_csv(rows), encoding="utf-8")
