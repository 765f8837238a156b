"""Strokes over their frame, with a legend, for a person to look at."""

from __future__ import annotations

import cv2
import numpy as np

from aop_pose.scribbles.lines import NAMES
from aop_pose.scribbles.strokes import Strokes

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
