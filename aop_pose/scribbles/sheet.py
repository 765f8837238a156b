"""A label file's strokes on disk: a picture a frame, one table of strokes, one of the frames left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np
from PIL import Image

from aop_pose.errors import UnreadableError
from aop_pose.formats.label import Label, Skipped
from aop_pose.formats.pictures import unique_stems
from aop_pose.io.csv_text import Writer
from aop_pose.io.files import replacing
from aop_pose.scribbles.boxes import find_sector
from aop_pose.scribbles.strokes import NAMES, Strokes, strokes_for

# Okabe and Ito's palette (BGR): told apart also by people who do not see all colours.
COLOURS = {
    ("PS", True): (233, 180, 86),
    ("PS", False): (0, 94, 213),
    ("FH", True): (66, 228, 240),
    ("FH", False): (167, 121, 204),
}
_KINDS = {
    ("PS", True): "PS inside",
    ("PS", False): "PS outside",
    ("FH", True): "FH inside",
    ("FH", False): "FH outside",
}
_WHITE, _GRAY, _BLACK = (255, 255, 255), (150, 150, 150), (0, 0, 0)
_LEAST_SIDE = 768
_PANEL = 300
_LINE = 24
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Fractional bits of OpenCV's coordinates.
_SHIFT = 4


def draw_strokes(pixels: np.ndarray, points: np.ndarray, strokes: Strokes) -> np.ndarray:
    """uint8 BGR (H, W, 3): the frame, enlarged where it is small, its landmarks and strokes, and a panel of names.

    ``pixels`` is uint8 (H, W), ``points`` the landmarks PS1, PS2, FH1, (3, 2) in its pixels. Each stroke carries the
    number under which the panel names it; strokes that are not drawn are listed in gray.
    """
    scale = max(1, -(-_LEAST_SIDE // max(pixels.shape)))
    picture = cv2.cvtColor(cv2.resize(pixels, None, fx=scale, fy=scale), cv2.COLOR_GRAY2BGR)
    for stroke in strokes.strokes:
        colour = COLOURS[stroke.structure, stroke.positive]
        (x1, y1), (x2, y2) = _enlarged(np.asarray(stroke.line.coords), scale)
        cv2.line(picture, _fixed(x1, y1), _fixed(x2, y2), colour, 2, cv2.LINE_AA, _SHIFT)
        # Foreground strokes of the head share their beginning, so the number stands nearer to the end.
        _write(picture, str(NAMES.index(stroke.name) + 1), (x1 + 0.8 * (x2 - x1), y1 + 0.8 * (y2 - y1)), colour)
    for name, (x, y) in zip(("PS1", "PS2", "FH1"), _enlarged(points, scale), strict=True):
        cv2.drawMarker(picture, (round(x), round(y)), _WHITE, cv2.MARKER_CROSS, 12, 2)
        _write(picture, name, (x, y - 12), _WHITE)
    return _beside(picture, _panel(strokes, picture.shape[0]))


def _panel(strokes: Strokes, height: int) -> np.ndarray:
    panel = np.zeros((max(height, (len(NAMES) + len(_KINDS) + 3) * _LINE), _PANEL, 3), np.uint8)
    drawn = {stroke.name: COLOURS[stroke.structure, stroke.positive] for stroke in strokes.strokes}
    rows = [(label, COLOURS[kind]) for kind, label in _KINDS.items()]
    rows.append(("", _GRAY))
    for number, name in enumerate(NAMES, start=1):
        rows.append((f"{number}  {name}{'' if name in drawn else ' (not drawn)'}", drawn.get(name, _GRAY)))
    for row, (text, colour) in enumerate(rows, start=1):
        cv2.putText(panel, text, (12, row * _LINE), _FONT, 0.55, colour, 1, cv2.LINE_AA)
    return panel


def _beside(picture: np.ndarray, panel: np.ndarray) -> np.ndarray:
    missing = panel.shape[0] - picture.shape[0]
    return np.hstack([np.pad(picture, ((0, missing), (0, 0), (0, 0))), panel])


def _write(picture: np.ndarray, text: str, place: tuple[float, float], colour: tuple[int, int, int]) -> None:
    """Text about a place, kept inside the picture, with a dark rim so that it reads on bright tissue."""
    (width, height), _ = cv2.getTextSize(text, _FONT, 0.5, 1)
    left = int(np.clip(place[0] - width / 2, 2, max(2, picture.shape[1] - width - 2)))
    base = int(np.clip(place[1] + height / 2, height + 2, picture.shape[0] - 2))
    cv2.putText(picture, text, (left, base), _FONT, 0.5, _BLACK, 4, cv2.LINE_AA)
    cv2.putText(picture, text, (left, base), _FONT, 0.5, colour, 1, cv2.LINE_AA)


def _enlarged(points: np.ndarray, scale: int) -> np.ndarray:
    return (points + 0.5) * scale - 0.5


def _fixed(x: float, y: float) -> tuple[int, int]:
    return round(x * 2**_SHIFT), round(y * 2**_SHIFT)


STROKES_TABLE, LEFT_OUT_TABLE = "strokes.csv", "left_out.csv"
STROKE_COLUMNS = ("Filename", "name", "structure", "positive", "x1", "y1", "x2", "y2")
LEFT_OUT_COLUMNS = ("Filename", "reason")


def stroke_rows(filename: str, strokes: Strokes) -> list[tuple[str, ...]]:
    """A row of ``STROKE_COLUMNS`` per stroke, its ends in pixels of the frame."""
    return [
        (
            filename, stroke.name, stroke.structure, str(int(stroke.positive)),
            *(f"{value:.3f}" for end in stroke.line.coords for value in end),
        )
        for stroke in strokes.strokes
    ]  # fmt: skip


def write_strokes_table(folder: Path, rows: Iterable[Sequence[str]]) -> None:
    """``strokes.csv`` in a folder; it appears only when complete."""
    _write_table(folder / STROKES_TABLE, STROKE_COLUMNS, rows)


def write_left_out(folder: Path, left_out: Iterable[Skipped]) -> None:
    """``left_out.csv`` in a folder; it appears only when complete."""
    _write_table(folder / LEFT_OUT_TABLE, LEFT_OUT_COLUMNS, [(left.name, left.reason) for left in left_out])


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = Writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


PICTURES = "pictures"
WRITTEN = frozenset({PICTURES, STROKES_TABLE, LEFT_OUT_TABLE})
"""The files that ``write_strokes`` leaves in its folder."""


@attrs.define
class Sheet:
    """The outcome for the frames of a label file."""

    drawn: int = 0
    unreadable: int = 0
    left_out: list[Skipped] = attrs.field(factory=list)
    """Landmarks that give no strokes, and pictures that cannot be read."""


def write_strokes(frames: Iterable[Label], out: Path, left_out: Sequence[Skipped] = ()) -> Sheet:
    """Write ``out/strokes.csv``, ``out/left_out.csv`` and ``out/pictures/STEM.png``.

    A frame stands in one table or the other; those that are ``left_out`` already stand in the second. ``positive`` is 1
    inside the structure and 0 outside it, the ends are in pixels of the frame. ``out`` holds nothing yet.
    """
    frames = list(frames)
    pictures = out / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    sheet, rows = Sheet(left_out=list(left_out)), []
    for frame, stem in zip(frames, unique_stems(frame.name for frame in frames), strict=True):
        try:
            pixels = frame.gray()
        except UnreadableError as error:
            sheet.left_out.append(Skipped(frame.name, str(error)))
            sheet.unreadable += 1
            continue
        points = frame.points
        strokes = strokes_for(points, frame.width, frame.height, find_sector(pixels))
        if strokes.reason:
            sheet.left_out.append(Skipped(frame.name, strokes.reason))
            continue
        _write_picture(pictures / f"{stem}.png", draw_strokes(pixels, points, strokes))
        rows += stroke_rows(frame.name, strokes)
        sheet.drawn += 1
    write_strokes_table(out, rows)
    write_left_out(out, sheet.left_out)
    return sheet


def _write_picture(path: Path, picture: np.ndarray) -> None:
    # Not cv2.imwrite: it takes the format from the suffix, which a temporary name hides, and fails silently.
    with replacing(path) as temporary:
        Image.fromarray(picture[..., ::-1]).save(temporary, format="PNG", compress_level=1)
