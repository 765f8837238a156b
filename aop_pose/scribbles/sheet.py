"""A label file's strokes on disk: a picture a frame, one table of strokes, one of what was left out."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import attrs
import cv2

from aop_pose.errors import UnreadableError
from aop_pose.formats.labels import LabelledFrame
from aop_pose.formats.pictures import read_gray, unique_stems
from aop_pose.io.atomic import replacing
from aop_pose.scribbles.draw import draw_strokes
from aop_pose.scribbles.sector import find_sector
from aop_pose.scribbles.strokes import strokes_for

STROKE_COLUMNS = ("Filename", "name", "structure", "positive", "x1", "y1", "x2", "y2")
LEFT_OUT_COLUMNS = ("Filename", "reason")


@attrs.frozen
class Written:
    """How many frames became strokes."""

    drawn: int
    left_out: int
    """Frames whose landmarks give no strokes, and unreadable ones."""
    unreadable: int


def write_strokes(frames: Iterable[LabelledFrame], out: Path) -> Written:
    """Write ``out/strokes.csv``, ``out/left_out.csv`` and ``out/pictures/STEM.png``; a frame is in one table or the other.

    ``positive`` is 1 inside the structure and 0 outside; the ends are in pixels of the frame.
    """
    frames = list(frames)
    drawn = unreadable = 0
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    with replacing(out / "strokes.csv") as strokes_file, replacing(out / "left_out.csv") as left_out_file:
        with (
            open(strokes_file, "w", newline="", encoding="utf-8") as strokes_stream,
            open(left_out_file, "w", newline="", encoding="utf-8") as left_out_stream,
        ):
            table = csv.writer(strokes_stream, lineterminator="\n")
            table.writerow(STROKE_COLUMNS)
            left_out = csv.writer(left_out_stream, lineterminator="\n")
            left_out.writerow(LEFT_OUT_COLUMNS)
            for frame, stem in zip(frames, unique_stems(frame.filename for frame in frames), strict=True):
                try:
                    rows, reason = _one(frame, out / "pictures" / f"{stem}.png"), ""
                except UnreadableError as error:
                    rows, reason = [], str(error)
                    unreadable += 1
                except _NoStrokes as error:
                    rows, reason = [], str(error)
                table.writerows(rows)
                drawn += bool(rows)
                if reason:
                    left_out.writerow([frame.filename, reason])
    return Written(drawn, len(frames) - drawn, unreadable)
