"""A label file's strokes on disk: a picture a frame, one table of strokes, one of the frames left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from aop_pose.errors import UnreadableError
from aop_pose.formats.labels import LabelledFrame, Skipped
from aop_pose.formats.pictures import read_gray, unique_stems
from aop_pose.io.atomic import replacing
from aop_pose.scribbles.draw import draw_strokes
from aop_pose.scribbles.sector import find_sector
from aop_pose.scribbles.strokes import strokes_for
from aop_pose.scribbles.tables import (
    LEFT_OUT_TABLE,
    STROKES_TABLE,
    stroke_rows,
    write_left_out,
    write_strokes_table,
)

PICTURES = "pictures"
WRITTEN = frozenset({PICTURES, STROKES_TABLE, LEFT_OUT_TABLE})
"""What ``write_strokes`` leaves in its folder."""


@attrs.define
class Sheet:
    """What became of the frames of a label file."""

    drawn: int = 0
    unreadable: int = 0
    left_out: list[Skipped] = attrs.field(factory=list)
    """Landmarks that give no strokes, and pictures that cannot be read."""


def write_strokes(frames: Iterable[LabelledFrame], out: Path) -> Sheet:
    """Write ``out/strokes.csv``, ``out/left_out.csv`` and ``out/pictures/STEM.png``.

    A frame stands in one table or the other. ``positive`` is 1 inside the structure and 0 outside it, the ends are in
    pixels of the frame. ``out`` holds nothing yet.
    """
    frames = list(frames)
    pictures = out / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    sheet, rows = Sheet(), []
    for frame, stem in zip(frames, unique_stems(frame.filename for frame in frames), strict=True):
        try:
            pixels = read_gray(frame.path, frame.index)
        except UnreadableError as error:
            sheet.left_out.append(Skipped(frame.filename, str(error)))
            sheet.unreadable += 1
            continue
        points = frame.keypoints.coords
        strokes = strokes_for(points, frame.width, frame.height, find_sector(pixels))
        if strokes.reason:
            sheet.left_out.append(Skipped(frame.filename, strokes.reason))
            continue
        _write_picture(pictures / f"{stem}.png", draw_strokes(pixels, points, strokes))
        rows += stroke_rows(frame.filename, strokes)
        sheet.drawn += 1
    write_strokes_table(out, rows)
    write_left_out(out, sheet.left_out)
    return sheet


def _write_picture(path: Path, picture: np.ndarray) -> None:
    # Not cv2.imwrite: it takes the format from the suffix, which a temporary name hides, and fails silently.
    with replacing(path) as temporary:
        Image.fromarray(picture[..., ::-1]).save(temporary, format="PNG", compress_level=1)
