"""Volumes -> rows: one row per volume or time point whatever happens, in order, resumable at any point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.evaluation.motion_table import motion_rows
from aop_pose.evaluation.report import as_csv
from aop_pose.io.atomic import replacing
from aop_pose.io.discover import Entry
from aop_pose.io.document import write_document
from aop_pose.io.outputs import DOCUMENT, MOTION, OVERLAYS, STARTED, TABLE, claim
from aop_pose.io.overlay_names import overlay_name
from aop_pose.io.table import ResultsWriter, iter_results
from aop_pose.io.volume_picture import draw_volume
from aop_pose.io.volumes import Refused, discover_volumes, open_volume, read_times
from aop_pose.measure import measure_volume
from aop_pose.predict import Summary, remaining
from aop_pose.results import Result
from aop_pose.runtime_volume import VolumePredictor
from aop_pose.schemas import Schema
from aop_pose.volume import Volume


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
        raise UsageError(f"no volumes found in {', '.join(map(str, sources))} ({discovery.ignored} other files)")
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
