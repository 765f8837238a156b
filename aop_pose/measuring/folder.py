"""Images -> rows: one row per image whatever happens, in order, resumable at any point."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame, Volume
from aop_pose.core.region import Region
from aop_pose.core.results import Result
from aop_pose.draw.frame import TILE, fitted_into, overlay_name, write_overlay
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.clinic.study import write_map
from aop_pose.io.clinic.video import ALL, Selection
from aop_pose.io.discover import Entry
from aop_pose.io.folders import (
    DOCUMENT,
    OUTLINES,
    OVERLAYS,
    PARQUET,
    STAMPS,
    STARTED,
    TABLE,
    Stamps,
    claim,
    locked,
)
from aop_pose.io.table import ResultsWriter, check_parquet, write_document, write_parquet
from aop_pose.measuring.ahead import at_hand, in_order, read_ahead
from aop_pose.measuring.images import Frames, Kind, Volumes
from aop_pose.measuring.measurer import Measurer
from aop_pose.measuring.summary import ContactSheets, Summary, run_facts, summarise

GROUP_PIXELS = 4_000_000
"""Pixels after which a group is full, however few frames it holds."""
BATCH = 8
"""Frames that pass the network together, where nothing else is asked for."""
FORMATS = ("csv", "parquet")
"""Of the table that a finished run leaves."""


@attrs.frozen
class Pictures:
    """The pictures and contours that a run writes beside its rows."""

    out: Path
    overlay: bool = True
    outlines: bool = False


class Runner(Protocol):
    """Something that makes rows of many files: ``here`` where nothing else is asked for, or ``measuring.runners``."""

    def __call__(
        self,
        measurer: Measurer,
        kind: Kind,
        entries: Sequence[Entry],
        pictures: Pictures,
        writer: ResultsWriter,
        *,
        batch: int | None,
        workers: int | None,
        sheets: ContactSheets | None,
        part: str,
    ) -> Iterator[tuple[str, object, int]]:
        """Write the rows of files that the table lacks, in order.

        Args:
            entries: every file of the run, done or not.
            sheets: contact sheets of the run, where overlays are drawn.
            part: the format of rows on their way, one of ``FORMATS``, where a runner keeps any.

        Yields:
            For each row its source, the result or its cells, and how many files were opened up to it; a row is in the
            table when it is given out, and its pictures stand.
        """


def predict(
    model: AnyPredictor,
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    pixel_size: str | None = None,
    overlay: bool = True,
    batch: int | None = None,
    coverage: float | None = None,
    gate: bool | None = None,
    region: str | Sequence[int] | None = None,
    looks: int = 1,
    selection: Selection = ALL,
    keep_identifiers: bool = False,
    private_map: str | Path | None = None,
    outlines: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    listed: str | Path | None = None,
    format: str = "csv",
    runner: Runner | None = None,
    facts: dict[str, Any] | None = None,
    on_start: Callable[[int], None] = lambda files: None,
    on_row: Callable[[Any, int], None] = lambda row, files_done: None,
    finish: Callable[[Path], object] = lambda out: None,
) -> Summary:
    """Measure files, folders and globs into ``out``.

    It writes results.csv, results.json, overlays/, contact sheets, and motion.csv for 4-D files.

    An interrupted run goes on where its table ends.

    Args:
        model: of ``aop_pose.load``. One that finds points in volumes measures volumes, any other frames.
        sources: of images; folders are searched through.
        pixel_size: for frames as in ``io.spacing.parse_pixel_size``, for volumes millimetres per voxel, both for files
            that state none.
        batch: frames that pass the network together (default 8); volumes go one by one.
        coverage, gate, looks: as ``Measurer`` takes them.
        region: the part of every frame that is looked at, ``auto`` (default), ``whole`` or ``X,Y,W,H``; volumes have
            none.
        selection: of the frames of cines, by number and time.
        keep_identifiers: name DICOM files as they are named and state their SOP instance UID. Otherwise ``source`` is
            a hash of that UID with the salt in ``out``, and no path of the input is recorded.
        private_map: a CSV to write that says which file has which hash, readable by its owner alone.
        outlines: write the contours of symphysis and head of each measured frame to outlines/NAME.json.
        workers: groups of frames that are measured at a time (default: one a core; the predictor is fastest with one
            thread of its own then).
        listed: a list of the files that are measured, ``measuring.images.of_list``; ``sources`` is the folder that its
            names are below, or empty.
        format: ``csv``, or ``parquet``: results.parquet stands in the place of results.csv once the run has finished.
        runner: makes the rows; default: this process (``here``). The rows are the same, so that another one may go on.
        facts: go into results.json beside those of this run (default: ``run_facts`` of the model).
        on_row: is called with the result of each row, or with its cells where another runner made it.
        finish: is called with ``out`` when all rows stand, before the run counts as finished.

    Raises:
        UsageError: no images, or ``out`` cannot be written, or it holds a finished run, or one started otherwise,
            and not ``overwrite``; or the artefact or the kind of image cannot honour what was asked for; or a region
            lies inside no frame.

    Example:
        >>> import aop_pose
        >>> summary = aop_pose.predict(aop_pose.load("aop-fast"), "frames/", "results/")  # doctest: +SKIP
    """
    out, sources = Path(out), [sources] if isinstance(sources, (str, Path)) else list(sources)
    measurer = Measurer(model, coverage, gate, region, looks)
    of_volumes = isinstance(model, VolumePredictor)
    kind: Kind = Volumes.of(pixel_size) if of_volumes else Frames.of(pixel_size, selection, keep_identifiers)
    if of_volumes and not selection.everything:
        raise UsageError("--every, --from, --to: they choose frames of cines; volumes are measured all")
    if outlines and not getattr(model.contract, "outlines", ()):
        raise UsageError(f"--outlines: {model.model_id} finds no outlines; leave it out, or take other weights")
    if batch is not None and not kind.several:
        raise UsageError("--batch: volumes pass the network one by one; leave it out")
    if format not in FORMATS:
        raise UsageError(f"--format: expected one of {', '.join(FORMATS)}, found {format!r}")
    if format == "parquet":
        check_parquet("--format parquet")
    if not sources and listed is None:
        raise UsageError("expected files, folders or patterns to measure, or --list, found neither")
    discovery = kind.discover(sources, out, None if listed is None else Path(listed))
    if private_map is not None and discovery.salt is None:
        raise UsageError("--private-map: no file has a hash for a name; leave it out")
    if isinstance(measurer.region, Region):
        _check_region(measurer.region, discovery.entries, kind)
    identity = {
        "model": model.model_id,
        **model.engine.identity,
        "sources": [discovery.said(source) for source in sources],
        "pixel_size": discovery.said(pixel_size) if pixel_size and Path(pixel_size).exists() else pixel_size,
        "overlay": overlay,
        **selection.facts,
        **({} if listed is None else {"list": discovery.said(listed)}),
        "outlines": outlines or None,
        **measurer.facts,
    }
    with locked(out):
        resume = claim(out, identity, overwrite)
        if discovery.salt is not None:
            discovery.salt.keep(out)
        if private_map is not None:
            write_map(Path(private_map), discovery.entries)
        on_start(len(discovery.entries))
        stamps = Stamps(out)
        with ResultsWriter(out / TABLE, model.schema, resume=resume) as writer:
            changed = stamps.changed(
                ((entry.source, entry.path) for entry in discovery.entries), {source for source, _ in writer.done}
            )
            sheets = ContactSheets(out) if overlay else None
            rows = (runner or here)(
                measurer, kind, discovery.entries, Pictures(out, overlay, outlines), writer, batch=batch,
                workers=workers, sheets=sheets, part=format,
            )  # fmt: skip
            entries = iter(discovery.entries)
            entry = next(entries)
            for source, row, opened in rows:
                # Both are in one order: no table of all files is needed.
                while entry.source != source:
                    entry = next(entries)
                stamps.write(source, entry.path)
                on_row(row, opened)
        kind.finish(out, discovery.entries, model.schema)
        finish(out)
        notes = tuple(filter(None, (writer.damaged, _told(changed))))
        summary = summarise(
            out, model.schema, discovery.ignored, kind.word, notes, sheets.finish() if sheets is not None else ()
        )
        about = {
            **(run_facts(model) if facts is None else facts),
            **identity,
            "counts": summary.counts,
            "files_ignored": summary.ignored,
            **({"changed": changed} if changed else {}),
        }
        if format == "parquet":
            write_parquet(out / PARQUET, out / TABLE)
        write_document(out / DOCUMENT, out / TABLE, about)
        for name in (STARTED, STAMPS, *((TABLE,) if format == "parquet" else ())):
            (out / name).unlink(missing_ok=True)
    return summary


class Presence:
    """Some of the files of a run, by which it is seen that what holds them went away: a share, a disk, a folder."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        some = [entries[place].path for place in (0, len(entries) // 2, len(entries) - 1)]
        self._there = [path for path in dict.fromkeys(some) if os.path.exists(path)]

    def check(self, status: str) -> None:
        """AopPoseError before a row that would call a file unreadable, where all that stood at the start are gone."""
        if status == "unreadable" and len(self._there) > 1 and not any(map(os.path.exists, self._there)):
            where = self._there[0].parent
            raise AopPoseError(f"{where} is gone with its files; bring it back and run again to continue")


def here(
    measurer: Measurer,
    kind: Kind,
    entries: Sequence[Entry],
    pictures: Pictures,
    writer: ResultsWriter,
    *,
    batch: int | None,
    workers: int | None,
    sheets: ContactSheets | None,
    part: str = "csv",
) -> Iterator[tuple[str, Result, int]]:
    """The runner of one machine: groups of frames side by side in threads of this process."""
    left, skipped = remaining(entries, writer)
    if sheets is not None and writer.done:
        sheets.read()
    rows = measured_rows(measurer, kind, left, pictures, writer.done, batch=batch, workers=workers, sheets=sheets)
    presence = Presence(entries)
    for result, opened in rows:
        presence.check(result.status)
        writer.write(result)
        yield result.source, result, skipped + opened


def measured_rows(
    measurer: Measurer,
    kind: Kind,
    entries: Sequence[Entry],
    pictures: Pictures,
    done: Set[tuple[str, int]] = frozenset(),
    *,
    batch: int | None = None,
    workers: int | None = None,
    sheets: ContactSheets | None = None,
) -> Iterator[tuple[Result, int]]:
    """Rows of files in order, each with how many files were opened up to it; images in ``done`` are passed over.

    A row is given out when its pictures stand. Arguments as ``predict`` takes them; overlays come onto ``sheets`` as
    well.
    """
    out = pictures.out
    work = partial(
        _measure_group, measurer, kind, overlays=out / OVERLAYS if pictures.overlay else None,
        contours=out / OUTLINES if pictures.outlines else None, sheets=sheets,
    )  # fmt: skip
    several = (batch or BATCH, workers or usable_cores()) if kind.several else None
    for rows in _worked(work, _items(entries, done, kind), several, len(entries)):
        for result, opened, tile in rows:
            if sheets is not None and tile is not None:
                sheets.add(tile)
            yield result, opened


def _check_region(region: Region, entries: Sequence[Entry], kind: Kind) -> None:
    """UsageError where frames can be read and the region lies inside none of them."""
    readable = False
    for entry in at_hand(entries):
        for item in _of_entry(entry, kind):
            if isinstance(item, Frame):
                if region.lies_in(*item.shape):
                    return
                readable = True
    if readable:
        raise UsageError(
            f"--region: {region} (x, y, width, height) lies inside no frame; give it in pixels of the frames"
        )


def _told(changed: Sequence[str]) -> str:
    if not changed:
        return ""
    first = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
    words = "changed or removed since their rows were written"
    return f"{words}: {first} ({len(changed)}); the rows stand, --overwrite measures all anew"


def remaining(entries: Sequence[Entry], writer: ResultsWriter) -> tuple[list[Entry], int]:
    """Files still to be read, and how many are done: only the file of the last row can be half done."""
    finished = {source for source, _ in writer.done} - {writer.last_source}
    left = [entry for entry in entries if entry.source not in finished]
    return left, len(entries) - len(left)


Item = tuple[Frame | Volume | Result, int]
"""An image, or the row of one that could not be read, and how many files were opened up to it."""
Rows = list[tuple[Result, int, np.ndarray | None]]
"""Each with its picture for a contact sheet, where there is one."""


def _items(entries: Sequence[Entry], done: Set[tuple[str, int]], kind: Kind) -> Iterator[Item]:
    """Images without a row yet, in order."""
    for opened, entry in enumerate(at_hand(entries), start=1):
        for item in _of_entry(entry, kind):
            if (item.source, item.index) not in done:
                yield item, opened


def _of_entry(entry: Entry, kind: Kind) -> Iterator[Frame | Volume | Result]:
    index = 0
    try:
        for item in kind.read(entry):
            index = item.index + 1
            yield item
    except UnreadableError as error:
        yield Result(source=entry.source, index=index, status="unreadable", reason=str(error))
    except Exception as error:
        # The last resort: whatever a file does, the others are measured.
        reason = f"an unforeseen error while it was read ({type(error).__name__}: {error}); please report it"
        yield Result(source=entry.source, index=index, status="unreadable", reason=reason)


def _worked(
    work: Callable[[list[Item]], Rows], items: Iterator[Item], several: tuple[int, int] | None, files: int
) -> Iterator[Rows]:
    """Rows in the order of the images. ``several``: (images a group, groups at work at a time); None = one by one."""
    if several is None:
        # Nothing is read ahead: one volume may take gigabytes.
        yield from (work([item]) for item in items)
    else:
        size, workers = several
        # Workers keep all cores busy: threads of OpenCV's own would only get into their way.
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield from in_order(work, read_ahead(_groups(items, size, workers, files)), workers)
        finally:
            cv2.setNumThreads(before)


def _groups(items: Iterable[Item], size: int, workers: int, files: int) -> Iterator[list[Item]]:
    """The images that pass the network together: ``size`` frames, fewer where they are large.

    Groups are small at the beginning, so that the first row comes soon, and at the end, so that no worker is left alone
    with many frames.
    """
    group: list[Item] = []
    begun = pixels = 0
    for item in items:
        group.append(item)
        pixels += item[0].pixels.size if isinstance(item[0], Frame) else 0
        most = min(size, begun // workers, (files - item[1]) // (2 * workers))
        if len(group) >= most or pixels >= GROUP_PIXELS:
            yield group
            begun += len(group)
            group, pixels = [], 0
    if group:
        yield group


def _measure_group(
    measurer: Measurer, kind: Kind, group: list[Item], *, overlays: Path | None, contours: Path | None,
    sheets: ContactSheets | None,
) -> Rows:  # fmt: skip
    """Rows of a group; a row is given out only when its overlay and its outlines stand."""
    results = iter(measurer.results([item for item, _ in group if not isinstance(item, Result)]))
    rows: Rows = []
    for item, opened in group:
        result = item if isinstance(item, Result) else next(results)
        tile = None
        if overlays is not None and not isinstance(item, Result):
            picture = kind.draw(item, result)
            write_overlay(overlays / overlay_name(item.source, item.index), picture)
            tile = None if sheets is None or sheets.full else fitted_into(picture, TILE)
        if contours is not None and result.outlines:
            # Imported here: it brings the formats of labels, which no other run needs.
            from aop_pose.formats.layouts.outlines import write_outlines

            write_outlines(contours / overlay_name(item.source, item.index).with_suffix(".json"), result)
        rows.append((result, opened, tile))
    return rows
