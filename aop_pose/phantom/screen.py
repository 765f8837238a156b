"""Made-up screens around a frame, with the place of its ultrasound known: what a screenshot or an export shows.

A *look* is a machine: its ground, its writing, its bars and where its picture stands. A *layout* is what is shown: one
picture, one with bars beside it or on paper, several, or one with a strip of M-mode or Doppler. Those of ``KEPT_LOOKS``
and ``KEPT_LAYOUTS`` are for testing alone: no network and no gate is fitted on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import cv2
import numpy as np

from aop_pose.core.keypoints import to_centres, to_edges
from aop_pose.core.region import Region
from aop_pose.errors import UsageError

Box = tuple[int, int, int, int]
"""x, y, width, height."""

_WORDS = (
    "TIs 0.2", "MI 1.1", "2D", "Gn 41", "FPS 28", "D 14.2 cm", "OB", "C5-1", "Freq 3.5", "DR 62", "Map 4", "Persist 3",
    "Power 90 %", "Dist", "AoP", "Freeze", "Depth", "Focus", "Report", "Patient", "Print", "Menu", "Exit", "Probe A",
    "Vol 20", "WF 120", "PRF 1.3", "Harm", "XRes", "Zoom", "Body mark", "Annotate", "2D Opt: Gen", "Tap to measure",
)  # fmt: skip
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_COMPLEX_SMALL)
SIZES = ((640, 480), (800, 600), (1024, 768), (1280, 720), (1280, 1024), (1920, 1080))
"""Width and height in pixels of usual screens."""


@attrs.frozen(eq=False)
class Screen:
    """A picture of a screen and the truth of it."""

    pixels: np.ndarray
    """uint8 (H, W)."""
    regions: tuple[Region, ...]
    """The box of each ultrasound picture on it, that of the given frame first."""
    matrix: np.ndarray
    """(3, 3): places of the given frame -> places of the screen, up to a factor; both counted from the edge."""

    def to_screen(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the given frame, in pixels of the screen."""
        edges = to_edges(points)
        moved = np.concatenate([edges, np.ones((*edges.shape[:-1], 1))], axis=-1) @ self.matrix.T
        return to_centres(moved[..., :2] / moved[..., 2:])


@attrs.define(eq=False)
class _Paper:
    """A canvas and how one machine writes on it."""

    pixels: np.ndarray
    rng: np.random.Generator
    ink: int
    font: int
    size: float
    """Height of a line as a share of the shorter side."""

    @property
    def line(self) -> int:
        return max(9, round(self.size * min(self.pixels.shape)))

    def fill(self, box: Box, level: int) -> None:
        x, y, width, height = box
        self.pixels[max(y, 0) : y + height, max(x, 0) : x + width] = level

    def frame(self, box: Box, level: int, width: int = 1) -> None:
        x, y, w, h = box
        cv2.rectangle(self.pixels, (x, y), (x + w - 1, y + h - 1), level, width)

    def word(self, x: int, y: int, text: str | None = None, ink: int | None = None) -> None:
        """A word with its foot at y; any one where none is given."""
        text = str(self.rng.choice(_WORDS)) if text is None else text
        scale = self.line / 32
        level = self.ink if ink is None else ink
        cv2.putText(self.pixels, text, (x, y), self.font, scale, level, 1 + (self.line > 26), cv2.LINE_AA)

    def column(self, box: Box, share: float = 1.0) -> None:
        """Lines of words down a box, each there with a chance."""
        x, y, _, height = box
        for foot in range(y + self.line, y + height, round(1.5 * self.line)):
            if self.rng.random() < share:
                self.word(x, foot)

    def ramp(self, box: Box) -> None:
        """A gray bar, white at the top."""
        x, y, width, height = box
        if min(width, height) > 0:
            self.pixels[y : y + height, x : x + width] = np.linspace(255, 0, height).astype(np.uint8)[:, None]

    def ruler(self, x: int, y: int, length: int, along_x: bool = False) -> None:
        step = max(5, length // int(self.rng.integers(8, 24)))
        for number, place in enumerate(range(0, length, step)):
            tick = self.line // 2 if number % 5 == 0 else self.line // 4
            end = (x + place, y + tick) if along_x else (x + tick, y + place)
            cv2.line(self.pixels, (x + place, y) if along_x else (x, y + place), end, self.ink, 1)

    def buttons(self, box: Box, level: int, columns: int) -> None:
        x, y, width, height = box
        wide, high = width // columns, round(2.4 * self.line)
        for top in range(y, y + height - high + 1, high + 4):
            for column in range(columns):
                place = (x + column * wide + 2, top, wide - 4, high)
                self.fill(place, level)
                self.frame(place, min(level + 40, 255))
                self.word(place[0] + 5, top + round(1.5 * self.line), ink=230 if level < 128 else 20)


Look = Callable[[_Paper], Box]
"""Paints a machine's screen and leaves the box where its picture stands."""


def _share(paper: _Paper, x: float, y: float, width: float, height: float) -> Box:
    high, wide = paper.pixels.shape
    return round(x * wide), round(y * high), round(width * wide), round(height * high)


def _cart(paper: _Paper) -> Box:
    """Black, with words around the picture, a gray bar, a ruler and a line of ECG."""
    paper.fill(_share(paper, 0, 0, 1, 1), 0)
    rng = paper.rng
    view = _share(paper, *rng.uniform([0.12, 0.09, 0.7, 0.74], [0.2, 0.13, 0.76, 0.8]))
    paper.column(_share(paper, 0.01, 0.1, 0.1, 0.6), 0.7)
    paper.column(_share(paper, 0.91, 0.1, 0.09, 0.5), 0.7)
    for x in (0.02, 0.3, 0.55, 0.8):
        paper.word(*_share(paper, x, 0.05, 0, 0)[:2])
    paper.ramp(_share(paper, 0.09, 0.12, 0.012, 0.3))
    paper.ruler(view[0] + view[2] + 3, view[1], view[3])
    if rng.random() < 0.5:
        time = np.arange(view[2])
        beat = np.abs(time % max(view[2] // 5, 2) - view[2] // 10) < 3
        y = view[1] + view[3] + 2 * paper.line - beat * paper.line + rng.integers(-1, 2, view[2])
        cv2.polylines(paper.pixels, [np.stack([view[0] + time, y], 1).astype(np.int32)], False, paper.ink, 1)
    return view


def _panels(paper: _Paper) -> Box:
    """Gray panels with buttons at the left and at the top."""
    level = int(paper.rng.integers(45, 190))
    paper.fill(_share(paper, 0, 0, 1, 1), level)
    wide = float(paper.rng.uniform(0.14, 0.24))
    view = _share(paper, wide + 0.01, 0.1, 0.98 - wide, 0.87)
    paper.buttons(_share(paper, 0.005, 0.12, wide - 0.01, 0.7), min(level + 25, 255), 2)
    paper.word(*_share(paper, 0.02, 0.06, 0, 0)[:2], "Hospital, obstetrics")
    paper.fill(view, 0)
    paper.frame(view, max(level - 40, 0))
    paper.column((view[0] + 8, view[1] + 4, 10, view[3] // 4))
    paper.ramp((view[0] + view[2] - 3 * paper.line, view[1] + 10, paper.line // 2, view[3] // 3))
    return view[0] + view[2] // 20, view[1] + view[3] // 40, view[2] * 17 // 20, view[3] * 38 // 40


def _night(paper: _Paper) -> Box:
    """A dark gray ground, brighter to one side, a thin frame around the picture, pictures in small below it."""
    left, right = paper.rng.uniform(16, 60, 2)
    paper.pixels[:] = np.linspace(left, right, paper.pixels.shape[1]).astype(np.uint8)[None]
    view = _share(paper, 0.08, 0.08, 0.7, 0.74)
    paper.fill(view, 0)
    paper.frame(view, 120)
    paper.column(_share(paper, 0.8, 0.1, 0.18, 0.8), 0.8)
    for number in range(int(paper.rng.integers(2, 6))):
        small = _share(paper, 0.08 + 0.12 * number, 0.85, 0.1, 0.12)
        paper.fill(small, 0)
        fan = np.array([[0.4, 0.1], [0.6, 0.1], [0.9, 0.8], [0.5, 0.95], [0.1, 0.8]]) * small[2:] + small[:2]
        cv2.fillConvexPoly(paper.pixels, fan.astype(np.int32), int(paper.rng.integers(40, 110)))
    return view


def _light(paper: _Paper) -> Box:
    """A window on a light ground: a bar of menus, a tool bar, a list; the picture on black."""
    level = int(paper.rng.integers(215, 251))
    paper.fill(_share(paper, 0, 0, 1, 1), level)
    paper.fill(_share(paper, 0, 0, 1, 0.04), level - 30)
    for x in np.arange(0.01, 0.6, 0.08):
        paper.word(*_share(paper, float(x), 0.03, 0, 0)[:2], ink=20)
    paper.buttons(_share(paper, 0, 0.05, 0.5, 0.07), level - 15, 8)
    view = _share(paper, 0.01, 0.13, 0.78, 0.85)
    paper.ink = 25
    paper.column(_share(paper, 0.81, 0.15, 0.18, 0.6))
    paper.fill(view, 0)
    paper.ink = 220
    paper.column((view[0] + 6, view[1] + view[3] - 4 * paper.line, 10, 4 * paper.line))
    return view


def _phone(paper: _Paper) -> Box:
    """Rounded buttons below a picture that takes the whole width; large letters."""
    paper.fill(_share(paper, 0, 0, 1, 1), int(paper.rng.integers(0, 30)))
    height, width = paper.pixels.shape
    bar = round(0.07 * height)
    side = min(width, height - 3 * bar)
    view = ((width - side) // 2, bar, side, side)
    paper.fill((0, bar, width, side), 0)
    paper.word(width // 20, bar * 2 // 3, "12:41")
    for number in range(4):
        centre = (width * (2 * number + 1) // 8, min(bar + side + bar, height - bar // 2))
        cv2.circle(paper.pixels, centre, bar // 2, 70, -1, cv2.LINE_AA)
        cv2.circle(paper.pixels, centre, bar // 3, 210, 2, cv2.LINE_AA)
    return view


def _desktop(paper: _Paper) -> Box:
    """A window of a viewer on a wallpaper with clouds."""
    height, width = paper.pixels.shape
    clouds = np.full((height, width), 120.0)
    for cells in (3, 6, 12, 48):
        grain = paper.rng.standard_normal((cells, cells)).astype(np.float32)
        clouds = clouds + 24 / cells**0.5 * cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    paper.pixels[:] = np.clip(clouds, 0, 255)
    view = _share(paper, *paper.rng.uniform([0.08, 0.1, 0.66, 0.7], [0.16, 0.14, 0.76, 0.78]))
    paper.fill((view[0] - 2, view[1] - 2 * paper.line, view[2] + 4, view[3] + 2 * paper.line + 2), 236)
    paper.word(view[0] + 6, view[1] - paper.line // 2, "viewer - image 3 of 17", 30)
    paper.fill(view, 0)
    paper.column((view[0] + 5, view[1] + 5, 10, 4 * paper.line))
    return view


def _theatre(paper: _Paper) -> Box:
    """Blue-gray bars above and below with a clock, a column of numbers in boxes, a table of results on the picture."""
    paper.fill(_share(paper, 0, 0, 1, 1), 8)
    paper.fill(_share(paper, 0, 0, 1, 0.08), 70)
    paper.fill(_share(paper, 0, 0.93, 1, 0.07), 95)
    paper.word(*_share(paper, 0.02, 0.055, 0, 0)[:2], "ID 0000")
    paper.word(*_share(paper, 0.85, 0.055, 0, 0)[:2], "09:15")
    for y in np.arange(0.12, 0.85, 0.14):
        box = _share(paper, 0.86, float(y), 0.13, 0.11)
        paper.fill(box, 40)
        paper.word(box[0] + 5, box[1] + 2 * paper.line)
    view = _share(paper, 0.1, 0.09, 0.74, 0.83)
    table = (view[0], view[1] + view[3] - 5 * paper.line, view[2] // 6, 5 * paper.line)
    paper.column(table)
    paper.frame(table, 130)
    return view


def _archive(paper: _Paper) -> Box:
    """A viewer of an archive: small pictures in a column at the left, words in all four corners, a framed picture."""
    paper.fill(_share(paper, 0, 0, 1, 1), 24)
    paper.fill(_share(paper, 0, 0, 1, 0.05), 52)
    for number in range(8):
        paper.frame(_share(paper, 0.01 + 0.035 * number, 0.008, 0.028, 0.034), 150)
    for y in np.arange(0.08, 0.9, 0.155):
        box = _share(paper, 0.01, float(y), 0.11, 0.13)
        grain = paper.rng.gamma(1.5, 40, box[:1:-1])
        fan = np.array([[0.4, 0.1], [0.6, 0.1], [0.9, 0.8], [0.5, 0.95], [0.1, 0.8]]) * box[2:]
        seen = cv2.fillConvexPoly(np.zeros(box[:1:-1], np.uint8), fan.astype(np.int32), 1)
        paper.pixels[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = np.clip(grain, 0, 255) * seen
        paper.frame(box, 95)
    view = _share(paper, 0.14, 0.07, 0.85, 0.91)
    paper.fill(view, 0)
    paper.frame(view, 170, 2)
    for x, y in ((0.15, 0.08), (0.88, 0.08), (0.15, 0.84), (0.88, 0.84)):
        paper.column(_share(paper, x, y, 0.1, 0.13))
    paper.ruler(view[0] + view[2] - paper.line, view[1] + view[3] // 4, view[3] // 2)
    return view[0] + view[2] // 8, view[1] + view[3] // 30, view[2] * 3 // 4, view[3] * 14 // 15


def _lesson(paper: _Paper) -> Box:
    """A slide of a lesson: a ground that grows darker downwards, a heading, lines of words, a picture."""
    top, foot = paper.rng.uniform([150, 40], [230, 110])
    paper.pixels[:] = np.linspace(top, foot, paper.pixels.shape[0]).astype(np.uint8)[:, None]
    paper.ink = 20
    paper.word(*_share(paper, 0.05, 0.1, 0, 0)[:2], "The angle of progression: how it is measured")
    cv2.line(paper.pixels, _share(paper, 0.05, 0.13, 0, 0)[:2], _share(paper, 0.95, 0.13, 0, 0)[:2], 240, 3)
    paper.column(_share(paper, 0.05, 0.2, 0.3, 0.5), 0.8)
    view = _share(paper, 0.36, 0.18, 0.6, 0.72)
    paper.fill((view[0] + 6, view[1] + 6, view[2], view[3]), 30)
    paper.fill(view, 0)
    paper.word(*_share(paper, 0.36, 0.96, 0, 0)[:2], "Figure 2")
    return view


LOOKS: dict[str, Look] = {
    "cart": _cart, "panels": _panels, "night": _night, "light": _light, "phone": _phone, "desktop": _desktop,
    "theatre": _theatre, "archive": _archive, "lesson": _lesson,
}  # fmt: skip
"""By name; each is made up."""
KEPT_LOOKS = ("desktop", "theatre", "archive", "lesson")

LAYOUTS = ("one", "side bars", "white", "gray", "two", "four", "strip", "inset", "photo")
"""One picture on a screen; a bare one with black bars at its sides, or on white or gray paper; two side by side; four;
one with a strip of M-mode below; one with a small one in a corner; the photograph of a screen."""
KEPT_LAYOUTS = ("inset", "photo")
SEVERAL = ("two", "four")
"""Layouts with pictures of one size: none of them is the one."""


def make_screen(
    frame: np.ndarray,
    fan: Region,
    rng: np.random.Generator,
    layout: str = "one",
    look: str | None = None,
    size: tuple[int, int] | None = None,
    others: Sequence[np.ndarray] = (),
) -> Screen:
    """A screen around a frame.

    Args:
        frame: uint8 (H, W), a bare frame: a fan on black.
        fan: the smallest box around all of its fan, dark parts included, in its pixels.
        layout: one of ``LAYOUTS``; look: one of ``LOOKS``, None = drawn from those that are not kept for testing.
        size: (width, height) of the screen, None = drawn from ``SIZES``; bars and paper lie around the frame instead.
        others: frames of the same form for the other places; the given one is repeated where there are none.

    Raises:
        UsageError: a look or layout of another name.
    """
    known = [name for name in LOOKS if name not in KEPT_LOOKS]
    look = str(rng.choice(known)) if look is None else look
    if look not in LOOKS or layout not in LAYOUTS:
        raise UsageError(f"screen: expected a look of {', '.join(LOOKS)} and a layout of {', '.join(LAYOUTS)}, "
                         f"found {look} and {layout}")  # fmt: skip
    size = SIZES[int(rng.integers(len(SIZES)))] if size is None else size
    if layout in ("side bars", "white", "gray"):
        return _surrounded(frame, fan, rng, layout, size)
    paper = _Paper(np.zeros(size[::-1], np.uint8), rng, int(rng.integers(150, 256)), int(rng.choice(_FONTS)),
                   float(rng.uniform(0.018, 0.034)))  # fmt: skip
    view = LOOKS[look](paper)
    places = _places(view, layout)
    pictures = [frame, *others, *([frame] * len(places))][: len(places)]
    fitted = [_put(paper.pixels, picture, place) for picture, place in zip(pictures, places, strict=True)]
    if layout == "strip":
        _strip(paper, view)
    screen = Screen(paper.pixels, tuple(_moved(fan, matrix) for matrix in fitted), fitted[0])
    return _photographed(screen, rng) if layout == "photo" else screen


def _places(view: Box, layout: str) -> list[Box]:
    x, y, width, height = view
    if layout == "two":
        half = width // 2
        return [(x, y, half, height), (x + half, y, half, height)]
    if layout == "four":
        wide, high = width // 2, height // 2
        return [(x + i * wide, y + j * high, wide, high) for j in range(2) for i in range(2)]
    if layout == "strip":
        return [(x, y, width, height * 3 // 5)]
    if layout == "inset":
        return [view, (x, y, width // 6, height // 6)]
    return [view]


def _put(pixels: np.ndarray, picture: np.ndarray, place: Box) -> np.ndarray:
    """Paint a picture as large as it fits into the middle of a place; its matrix."""
    x, y, width, height = place
    high, wide = picture.shape
    scale = min(width / wide, height / high)
    new = (max(1, round(wide * scale)), max(1, round(high * scale)))
    left, top = x + (width - new[0]) // 2, y + (height - new[1]) // 2
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    pixels[top : top + new[1], left : left + new[0]] = cv2.resize(picture, new, interpolation=method)
    return np.array([[new[0] / wide, 0, left], [0, new[1] / high, top], [0, 0, 1]])


def _moved(region: Region, matrix: np.ndarray) -> Region:
    """The box around a region whose corners are moved."""
    left, top, right, bottom = region.x, region.y, region.x + region.width, region.y + region.height
    corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]]) @ matrix.T
    at = corners[:, :2] / corners[:, 2:]
    (x, y), (end_x, end_y) = (
        np.round(at.min(axis=0)).astype(int).tolist(),
        np.round(at.max(axis=0)).astype(int).tolist(),
    )
    return Region(x, y, end_x - x, end_y - y)


def _strip(paper: _Paper, view: Box) -> None:
    """M-mode or Doppler below the picture: streaks along time, or a spectrum on a base line."""
    x, y, width, height = view
    top, high = y + height * 5 // 8, height * 3 // 8
    rng = paper.rng
    if rng.random() < 0.5:
        column = cv2.GaussianBlur(rng.uniform(0, 220, (high, 1)).astype(np.float32), (1, 9), 0, sigmaY=2.0)
        shift = (4 * np.sin(np.arange(width) / width * rng.uniform(20, 60))).astype(int)
        strip = np.stack([np.roll(column[:, 0], s) for s in shift], 1) * rng.uniform(0.5, 1.2, (high, width))
    else:
        speed = high / 2 * (0.3 + 0.5 * np.abs(np.sin(np.arange(width) / width * rng.uniform(10, 30))))
        above = high * 0.7 - np.arange(high)[:, None]
        strip = np.where(
            (above > 0) & (above < speed), rng.gamma(2, 40, (high, width)), rng.uniform(0, 6, (high, width))
        )
    paper.pixels[top : top + high, x : x + width] = np.clip(strip, 0, 255)
    paper.ruler(x, top + high, width, along_x=True)


def _surrounded(frame: np.ndarray, fan: Region, rng: np.random.Generator, layout: str, size: tuple[int, int]) -> Screen:
    """The frame as high as the screen between black bars, or on paper."""
    width, height = size
    if layout == "side bars":
        side = round(height * frame.shape[1] / frame.shape[0])
        canvas = np.zeros((height, max(width, round(1.25 * side))), np.uint8)
        place = ((canvas.shape[1] - side) // 2, 0, side, height)
    else:
        level = int(rng.integers(245, 256)) if layout == "white" else int(rng.integers(60, 200))
        canvas = np.full((height, width), level, np.uint8)
        edge = round(rng.uniform(0.03, 0.15) * min(size))
        place = (edge, edge, width - 2 * edge, height - 2 * edge)
    matrix = _put(canvas, frame, place)
    if layout != "side bars":
        # On paper the frame's own edges show, so all of it is the picture.
        fan = Region.whole(frame.shape[1], frame.shape[0])
    return Screen(canvas, (_moved(fan, matrix),), matrix)


def _photographed(screen: Screen, rng: np.random.Generator) -> Screen:
    """The screen slightly from the side, with a rim, uneven light, stripes and noise."""
    height, width = screen.pixels.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inner = corners * 0.86 + np.array([0.07 * width, 0.07 * height])
    turn = cv2.getPerspectiveTransform(corners, (inner + rng.uniform(-0.015, 0.015, (4, 2)) * width).astype(np.float32))
    pixels = screen.pixels.copy()
    pixels[[0, -1]] = pixels[:, [0, -1]] = 30
    seen = cv2.warpPerspective(pixels, turn, (width, height), flags=cv2.INTER_AREA, borderValue=90).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = 0.75 + 0.25 * np.cos((x / width - rng.uniform()) * 2) * np.cos((y / height - rng.uniform()) * 2)
    stripes = 3 * np.sin(x * rng.uniform(0.3, 0.9) + y * rng.uniform(0.1, 0.5))
    seen = np.clip(seen * light + stripes + 10 + rng.normal(0, 4, seen.shape), 0, 255)
    regions = tuple(_moved(region, turn) for region in screen.regions)
    return Screen(seen.astype(np.uint8), regions, turn @ screen.matrix)
