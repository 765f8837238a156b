"""Of a run of ``predict``: contours of ``predict --outlines`` as masks, and points as proposals.

``outlines/NAME.json`` holds ``source``, ``index``, ``width``, ``height``, the closed contours ``PS`` and ``FH`` as
``[x, y]`` in pixels of the frame, the ``ellipse`` of the head (ends of its axes) and ``head_direction_deg``.

Points that a model proposes are no labels, so that nothing is trained on them by accident: an annotation tool takes
them, each frame with its score, and what comes back is labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import Result, index_of, points_of, schema_of
from aop_pose.core.schema import Schema
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats.exchange import IMAGES, MODEL, PROPOSALS, SCORE
from aop_pose.formats.format import Format, Reading, columns_in, left_out
from aop_pose.formats.label import CLASSES, Label, LabelError, Mask, Skipped, find_picture
from aop_pose.formats.pictures import picture_size, read_gray
from aop_pose.geometry import ellipse_axes, head_direction
from aop_pose.io import folders
from aop_pose.io.files import replacing
from aop_pose.io.folders import TABLE, sources_of_run
from aop_pose.io.table import iter_results, read_results, standing

_AXES = ("OFD1", "OFD2", "BPD1", "BPD2")


def write_outlines(path: Path, result: Result) -> None:
    """Write the outlines of a measured frame; the file appears when it is complete. What does not exist is left out."""
    assert result.outlines is not None
    assert result.keypoints is not None
    said: dict[str, Any] = {
        "source": result.source, "index": result.index, "width": result.width, "height": result.height,
        **{name: np.round(contour, 3).tolist() for name, contour in result.outlines.items()},
    }  # fmt: skip
    head = result.outlines.get("FH")
    if head is not None:
        axes = np.stack(ellipse_axes(head))
        if np.isfinite(axes).all():
            said["ellipse"] = {name: np.round(end, 3).tolist() for name, end in zip(_AXES, axes, strict=True)}
        direction = head_direction(result.keypoints["PS1"], result.keypoints["PS2"], head)
        if np.isfinite(direction):
            said["head_direction_deg"] = round(direction, 3)
    with replacing(path) as part:
        part.write_text(json.dumps(said) + "\n", encoding="utf-8")


@attrs.frozen(eq=False)
class DrawnMask(Mask):
    """A mask that is drawn from the contours in a JSON file."""

    def read(self) -> np.ndarray:
        """uint8 (H, W) of 0, 1, 2, the symphysis over the head; UnreadableError where the file is none of ours."""
        said = read_outlines(self.path)
        drawn = np.zeros((said["height"], said["width"]), np.uint8)
        for number in reversed(range(len(CLASSES))):
            if CLASSES[number] in said:
                ring = np.rint(np.array(said[CLASSES[number]])).astype(np.int32)
                cv2.fillPoly(drawn, [ring], number + 1)
        return drawn


def read_outlines(path: Path) -> dict[str, Any]:
    """All that a file says; UnreadableError where it is none of ours."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        sizes = [said["width"], said["height"]]
        shapes = [np.array(said[name], np.float64).shape for name in CLASSES if name in said]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableError(
            f"{path}: expected outlines of aop-pose predict, found none ({type(error).__name__})"
        ) from None
    whole = all(isinstance(size, int) and 0 < size < 2**15 for size in sizes)
    if not whole or not all(len(shape) == 2 and shape[1] == 2 and shape[0] for shape in shapes):
        raise UnreadableError(f"{path}: expected width, height and contours of [x, y], found something else")
    return dict(said)


class Outlines(Format):
    """The outlines of a results folder, as masks of its frames."""

    name = "outlines"
    kind = "masks"
    looks_for = "results.csv and outlines/"

    def fits(self, source: Path) -> bool:
        """True for the folder of a run that wrote outlines."""
        return standing(source / folders.TABLE).is_file() and (source / folders.OUTLINES).is_dir()

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """A mask for each file of ``outlines/``; its frame lies below ``--data`` or where the run found it."""
        places = [how.data] if how.data is not None else [Path(one) for one in folders.sources_of_run(source)]
        if not (source / folders.OUTLINES).is_dir():
            raise UsageError(f"{source}: expected {self.looks_for}, found none")
        for path in sorted((source / folders.OUTLINES).rglob("*.json")):
            try:
                said = read_outlines(path)
            except UnreadableError as error:
                yield Skipped(path.name, str(error))
                continue
            name, index = str(said.get("source", "")), int(said.get("index", 0))
            frame = _frame(places, name)
            if frame is None:
                yield Skipped(name, "its frame is not where the run found it; say where with --data")
            else:
                yield Label(name, frame, mask=DrawnMask(path), index=index)


def _frame(places: Sequence[Path], name: str) -> Path | None:
    for place in places:
        found = place if place.is_file() and place.name == name else place / name
        if found.is_file():
            return found
    return None


OUTLINES = Outlines()


class Results(Format):
    """Frames of a run with what a model proposes."""

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
        """A proposal a frame; one that was withheld has the points that stand in its row, or none.

        UsageError where the pictures are unknown.
        """
        table = _table(source)
        rows = read_results(table)
        schema = schema_of(rows)
        data = how.data or _frames_of(table.parent)
        for line, row in enumerate(rows, start=2):
            name, where = row["source"], f"{table}:{line}"
            if row["status"] == "unreadable":
                yield Skipped(name, row["reason"], where)
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
    return standing(source / TABLE) if source.is_dir() else source


def _frames_of(out: Path) -> Path:
    """The folder that a run measured; UsageError where it is not there any more, or was none."""
    known = [Path(source) for source in sources_of_run(out)]
    for source in known:
        if source.is_dir():
            return source
    found = ", ".join(map(str, known)) or "nothing that says it"
    raise UsageError(f"{out}: expected the folder of the frames that were measured, found {found}; give --data DIR")
