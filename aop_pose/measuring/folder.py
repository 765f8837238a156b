"""Frames -> rows: one row per frame whatever happens, in order, resumable at any point."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

import attrs

from aop_pose.core.frame import Frame, Volume
from aop_pose.core.measure import measure_volume
from aop_pose.core.motion import motion_rows
from aop_pose.core.results import Result
from aop_pose.core.schema import Schema
from aop_pose.draw.frame import draw_overlay, overlay_name, write_overlay
from aop_pose.draw.volume import draw_volume
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.inference.predictor import Predictor, usable_cores
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.io.discover import Entry, discover
from aop_pose.io.files import replacing
from aop_pose.io.folders import DOCUMENT, MOTION, OVERLAYS, STARTED, TABLE, claim
from aop_pose.io.images import read_frames
from aop_pose.io.kinds import what_is_there
from aop_pose.io.spacing import PixelSizes, parse_pixel_size, with_pixel_size
from aop_pose.io.table import ResultsWriter, as_csv, iter_results, write_document
from aop_pose.io.volumes import Refused, discover_volumes, open_volume, read_times
from aop_pose.measuring.measurer import Measurer
from aop_pose.trust.intervals import DEFAULT_COVERAGE

Work = TypeVar("Work")
Done = TypeVar("Done")

AHEAD = 2
"""Items that wait between reading and working, and between working and writing: memory is bounded by it, not by the
number of items."""


def in_order(work: Callable[[Work], Done], items: Iterable[Work], workers: int) -> Iterator[Done]:
    """``work`` of every item, ``workers`` of them at a time in threads; items are taken as they are needed."""
    waiting: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                while waiting and (len(waiting) >= workers + AHEAD or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


GROUP_PIXELS = 4_000_000
"""Pixels after which a group is full, however few frames it holds."""


@attrs.frozen
class Summary:
    """What a run did: rows by status over the whole table, and files passed over because they are no frames."""

    counts: dict[str, int]
    ignored: int

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def predict_folder(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out: Path,
    *,
    pixel_size: str | None = None,
    overlay: bool = True,
    batch: int = 8,
    coverage: float = DEFAULT_COVERAGE,
    gate: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    facts: dict[str, Any] | None = None,
    on_start: Callable[[int], None] = lambda files: None,
    on_row: Callable[[Result, int], None] = lambda result, files_done: None,
) -> Summary:
    """Measure files, folders and globs into ``out``: results.csv, results.json, overlays/.

    An interrupted run goes on where its table ends. ``coverage`` and ``gate`` as ``Measurer`` takes them,
    ``pixel_size`` as in ``io.pixel_size.parse_pixel_size``; ``workers`` groups of frames are measured at a time
    (default: one a core; the predictor is fastest with one thread of its own then); ``facts`` go into results.json
    beside what this function knows.

    Raises:
        UsageError: no frames, or ``out`` cannot be written, or it holds a finished run, or one started otherwise,
            and not ``overwrite``.
    """
    measurer = Measurer(predictor, coverage, gate)
    pixel_sizes = parse_pixel_size(pixel_size) if pixel_size is not None else None
    discovery = discover(sources)
    if not discovery.entries:
        others = what_is_there(sources) or f"{discovery.ignored} other files"
        raise UsageError(f"no frames found in {', '.join(map(str, sources))}: {others}")
    identity = {
        "model": predictor.model_id,
        "sources": [str(source) for source in sources],
        "pixel_size": pixel_size,
        "overlay": overlay,
        **measurer.facts,
    }
    resume = claim(out, identity, overwrite)
    on_start(len(discovery.entries))
    with ResultsWriter(out / TABLE, predictor.schema, resume=resume) as writer:
        entries, skipped = remaining(discovery.entries, writer)
        groups = _ahead(_groups(_items(entries, frozenset(writer.done), pixel_sizes), batch))
        for result, opened in _measured(
            measurer, groups, out / OVERLAYS if overlay else None, workers or usable_cores()
        ):
            writer.write(result)
            on_row(result, skipped + opened)
    counts = Counter(row["status"] for row in iter_results(out / TABLE))
    summary = Summary(dict(counts), discovery.ignored)
    about = {**(facts or {}), **identity, "counts": summary.counts, "files_ignored": summary.ignored}
    write_document(out / DOCUMENT, out / TABLE, about)
    (out / STARTED).unlink()
    return summary


def remaining(entries: Sequence[Entry], writer: ResultsWriter) -> tuple[list[Entry], int]:
    """Files still to be read, and how many are done: only the file of the last row can be half done."""
    finished = {source for source, _ in writer.done} - {writer.last_source}
    left = [entry for entry in entries if entry.source not in finished]
    return left, len(entries) - len(left)


Item = tuple[Frame | Result, int]
"""A frame, or the row of one that could not be read, and how many files were opened up to it."""


def _items(
    entries: Sequence[Entry], done: frozenset[tuple[str, int]], pixel_sizes: PixelSizes | None
) -> Iterator[Item]:
    """Frames without a row yet, in order."""
    for opened, entry in enumerate(entries, start=1):
        for item in _of_entry(entry, pixel_sizes):
            if (item.source, item.index) not in done:
                yield item, opened


def _of_entry(entry: Entry, pixel_sizes: PixelSizes | None) -> Iterator[Frame | Result]:
    index = 0
    try:
        for frame in read_frames(entry):
            index = frame.index + 1
            yield with_pixel_size(frame, pixel_sizes) if pixel_sizes is not None else frame
    except UnreadableError as error:
        yield Result(source=entry.source, index=index, status="unreadable", reason=str(error))


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """What passes the network together: ``size`` frames, fewer where they are large."""
    group: list[Item] = []
    pixels = 0
    for item in items:
        group.append(item)
        pixels += item[0].pixels.size if isinstance(item[0], Frame) else 0
        if len(group) == size or pixels >= GROUP_PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _ahead(groups: Iterable[list[Item]]) -> Iterator[list[Item]]:
    """The same groups, read ahead by one thread that stops when nobody listens any more."""
    queue: Queue[list[Item] | BaseException | None] = Queue(maxsize=AHEAD)
    stop = Event()

    def put(group: list[Item] | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return queue.put(group, timeout=0.2)
            except Full:
                continue

    def read() -> None:
        try:
            for group in groups:
                put(group)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    Thread(target=read, daemon=True).start()
    try:
        while (group := queue.get()) is not None:
            if isinstance(group, BaseException):
                raise group
            yield group
    finally:
        stop.set()


def _measured(
    measurer: Measurer, groups: Iterable[list[Item]], overlays: Path | None, workers: int
) -> Iterator[tuple[Result, int]]:
    """Results in the order of the frames, several groups at work at a time.

    A row is given out only when its overlay stands.
    """
    for rows in in_order(lambda group: _measure_group(measurer, group, overlays), groups, workers):
        yield from rows


def _measure_group(measurer: Measurer, group: list[Item], overlays: Path | None) -> list[tuple[Result, int]]:
    results = iter(measurer.results([item for item, _ in group if isinstance(item, Frame)]))
    rows = []
    for item, opened in group:
        result = item if isinstance(item, Result) else next(results)
        if overlays is not None and isinstance(item, Frame):
            write_overlay(overlays / overlay_name(item.source, item.index), draw_overlay(item, result))
        rows.append((result, opened))
    return rows


def predict_volumes(
    predictor: VolumePredictor,
    sources: Sequence[str | Path],
    out: Path,
    *,
    spacing: float | None = None,
    overlay: bool = True,
    overwrite: bool = False,
    facts: dict[str, Any] | None = None,
    on_start: Callable[[int], None] = lambda files: None,
    on_row: Callable[[Result, int], None] = lambda result, files_done: None,
) -> Summary:
    """Measure files, folders and globs of volumes into ``out``: results.csv, results.json, overlays/, motion.csv.

    A 4-D file has a row a time point, and its landmarks' speeds stand in motion.csv. An interrupted run goes on where
    its table ends. ``spacing``: mm from voxel to voxel along each axis, for files that state none; ``facts`` go into
    results.json beside what this function knows.

    Raises:
        UsageError: no volumes, or ``out`` cannot be written, or it holds a finished run, or one started otherwise,
            and not ``overwrite``.
    """
    discovery = discover_volumes(sources)
    if not discovery.entries:
        others = what_is_there(sources, frames=True) or f"{discovery.ignored} other files"
        raise UsageError(f"no volumes found in {', '.join(map(str, sources))}: {others}")
    identity = {
        "model": predictor.model_id,
        "sources": [str(source) for source in sources],
        "spacing": spacing,
        "overlay": overlay,
    }
    resume = claim(out, identity, overwrite)
    on_start(len(discovery.entries))
    with ResultsWriter(out / TABLE, predictor.schema, resume=resume) as writer:
        entries, skipped = remaining(discovery.entries, writer)
        for opened, entry in enumerate(entries, start=1):
            for item in _volumes(entry, spacing):
                if (item.source, item.index) not in writer.done:
                    result = item if isinstance(item, Result) else measured(predictor, item)
                    if overlay and isinstance(item, Volume):
                        picture = out / OVERLAYS / overlay_name(item.source, item.index)
                        draw_volume(item, result.keypoints, picture, reason=result.reason)
                    writer.write(result)
                    on_row(result, skipped + opened)
    _write_motion(out, discovery.entries, predictor.schema, spacing)
    counts = Counter(row["status"] for row in iter_results(out / TABLE))
    summary = Summary(dict(counts), discovery.ignored)
    about = {
        **(facts or {}),
        **predictor.further_facts,
        **identity,
        "counts": summary.counts,
        "files_ignored": summary.ignored,
    }
    write_document(out / DOCUMENT, out / TABLE, about)
    (out / STARTED).unlink()
    return summary


def _write_motion(out: Path, entries: Sequence[Entry], schema: Schema, spacing: float | None) -> None:
    """``motion.csv`` where a file holds several volumes."""
    paths = {entry.source: entry.path for entry in entries}
    rows = motion_rows(
        iter_results(out / TABLE),
        schema,
        lambda source: open_volume(paths[source]).affine(None if spacing is None else (spacing,) * 3),
    )
    if rows:
        with replacing(out / MOTION) as part:
            part.write_text(as_csv(rows), encoding="utf-8")


def measured(predictor: VolumePredictor, volume: Volume) -> Result:
    """The row of one volume, ``ok`` or ``abstained`` with its reason."""
    found = predictor.find(volume)
    about: dict[str, Any] = {
        "source": volume.source,
        "index": volume.index,
        "score": found.score,
        "model": predictor.model_id,
    }
    if found.keypoints is None:
        return Result(**about, status="abstained", reason=found.reason)
    measures = measure_volume(found.keypoints, volume.affine, produced_by=predictor.model_id)
    if not measures.measurements:
        return Result(**about, status="abstained", reason=measures.reason, keypoints=found.keypoints)
    return Result(
        **about, status="ok", reason=found.reason, keypoints=found.keypoints, measurements=measures.measurements
    )


def _volumes(entry: Entry, spacing: float | None) -> Iterator[Volume | Result]:
    """The volumes of a file, and a row for what could not be read of it."""
    index = 0
    try:
        for found in read_times(entry.path, entry.source, None if spacing is None else (spacing,) * 3):
            index = found.index + 1
            if isinstance(found, Refused):
                yield Result(source=entry.source, index=found.index, status="unreadable", reason=found.reason)
            else:
                yield found
    except UnreadableError as error:
        yield Result(source=entry.source, index=index, status="unreadable", reason=str(error))
