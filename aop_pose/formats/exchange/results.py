"""A table of ``aop-pose predict`` on its way to annotators: points that a model proposes, each with its score.

They are no labels, so that nothing is trained on them by accident: a tool takes them, and what comes back is labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import index_of, points_of, schema_of
from aop_pose.core.schema import Schema
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.exchange import IMAGES, MODEL, PROPOSALS, SCORE
from aop_pose.formats.format import Format, Reading, columns_in, left_out
from aop_pose.formats.label import Label, LabelError, Skipped, find_picture
from aop_pose.formats.pictures import picture_size, read_gray
from aop_pose.io.folders import TABLE, sources_of_run
from aop_pose.io.table import iter_results, read_results


class Results(Format):
    """Measured frames of a run as proposals."""

    name = "results"
    kind = PROPOSALS
    looks_for = "results.csv of aop-pose predict"
    keeps_names = True

    def fits(self, source: Path) -> bool:
        """True for the table of a run on frames, or its folder."""
        return {"source", "status", "width", "model"} <= set(columns_in(_table(source)))

    def schema_of(self, source: Path) -> Schema | None:
        """Whose points its columns are; UsageError where they are of none."""
        return schema_of([next(iter_results(_table(source)), {})])

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """A proposal a measured frame; what was not measured is said. UsageError where its pictures are unknown."""
        table = _table(source)
        rows = read_results(table)
        schema = schema_of(rows)
        data = how.data or _frames_of(table.parent)
        for line, row in enumerate(rows, start=2):
            name, where = row["source"], f"{table}:{line}"
            if row["status"] != "ok":
                yield Skipped(name, row["reason"] or row["status"], where)
                continue
            try:
                coords, index = points_of(row, schema, where), index_of(row, where)
                path, size, kept = Path(name), None, None
                if how.pictures != "none":
                    path = find_picture(data, name, IMAGES)
                    size = picture_size(path)
                    kept = read_gray(path, index) if how.pictures == "keep" else None
                keypoints = Keypoints(schema, coords, np.full(len(coords), np.nan))
                extras = {SCORE: row["score"], MODEL: row["model"]}
                yield Label(name, path, size, keypoints, index=index, extras=extras, where=where, kept=kept)
            except LabelError as error:
                yield left_out(error)
            except AopPoseError as error:
                yield Skipped(name, str(error), where)


RESULTS = Results()


def _table(source: Path) -> Path:
    return source / TABLE if source.is_dir() else source


def _frames_of(out: Path) -> Path:
    """The folder that a run measured; UsageError where it is not there any more, or was none."""
    known = [Path(source) for source in sources_of_run(out)]
    for source in known:
        if source.is_dir():
            return source
    found = ", ".join(map(str, known)) or "nothing that says it"
    raise UsageError(f"{out}: expected the folder of the frames that were measured, found {found}; give --data DIR")
