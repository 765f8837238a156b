"""The ultrasound of a frame, found in its pixels: the fan, trapezoid or box among bars, writing, panels and paper.

Ultrasound is grain: neighbouring pixels differ a little nearly everywhere. Grounds, panels and bars are flat; writing
and lines are thin. So the grain that is left when flat and thin things are taken away is the picture, in one or a few
parts. A fan is the same on both sides of its middle beam, so a dark side is completed by the other one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import attrs
import cv2
import numpy as np

from aop_pose.core.region import Region

_SIDE = 384
"""Pixels of the longer side at which a frame is looked at; lengths below are pixels of that size."""
_BLACK = 40
"""Gray values; a ground that is brighter is a panel or paper, no black around a fan."""
_FLAT, _EVERYWHERE = 0.02, 0.4
"""A picture with less than this share of flat pixels is nothing but grain, where its weakest places have as much as
this of the grain in its strongest."""
_PAPER = 10
"""Gray values that a line of paper differs in."""
_PANELS = ((12, 0.002), (60, 0.0005))
"""Gray values above black, and the share of the frame from which on a flat area as bright is a panel or a button."""
_GAP, _THIN, _WORD = 5, 11, 13
"""Grain this near is joined, parts as thin as this are none, and writing on a panel is as high as this at most."""
_FIRM, _LEAST_FIRM = 7, 0.25
"""Grain of this width and more is none of writing, and this share of a part is."""
_VALLEY = 0.2
"""Share of the height that the upper edge of two fans falls between them."""
_FACE = 0.6
"""Share of the width of a fan, at most, that the summit of its upper edge takes; a spectrum has summits all along."""
_WAIST, _SAME_SIDES = 0.75, 0.1
"""At the seam of a fan and what it touches below, both are no wider than this share of the narrower one; the sides of
two fans are no farther apart than this share of the width, and both recede by as much where they touch."""
_WIDEST = 2.2
"""Width over height of a fan, at most."""
_RECTANGLE = 0.93
"""Share of its box that a rectangle fills; a fan takes about three quarters."""
_SCRAP = 0.003
"""Share of the frame below which a part is nothing."""
_LEAST = 0.03
"""Share of the frame that a picture takes at least."""
_NEAR, _AROUND = 0.04, 0.3
"""Shares of the height of a picture: so far may a part of it lie from the rest, and reach."""
_FILLS = 0.82
"""Of the longer side of a frame: a picture that is as long fills it, and all of the frame is looked at."""
_RAGGED = 0.75
"""Of the solidity of the largest picture: another one has as much."""
_APART = 0.2
"""Of the smaller box: two pictures share no more than this."""
_CUT = 0.25
"""Of the height of a fan: where it lies so long along a side or the foot of the frame, the frame ends within it."""
_EVEN = 0.04
"""Share of the width: a middle this near to that of the face of the probe is the middle beam, and both sides show."""
_STRONG, _FAINT = 10, 0.5
"""Gray values that grain of ultrasound ranges over, more tells nothing; and the share of the largest picture's grain
below which another one is a ground with clouds, no ultrasound."""
_SPARSE = 0.2
"""Share of strong grain from which on a part is none of clouds, weak as the rest of it is: a spectrum on its noise."""
_ALIKE = 0.3
"""Share of the area of the largest picture from which on another one is a picture too."""


@attrs.frozen(eq=False)
class Sight:
    """The place of the ultrasound in a picture, and what a reader of its row should know."""

    regions: tuple[Region, ...]
    """One for each picture, the largest first; none = ``reason`` says why."""
    reason: str = ""
    outline: np.ndarray | None = None
    """(n, 2) convex outline of the largest in pixels, its dark parts included; None where none can be told."""


@attrs.frozen(eq=False)
class _Part:
    """Grain that hangs together."""

    hull: np.ndarray
    """(n, 2) float, convex, clockwise as it is seen."""
    area: float
    """Pixels of grain."""
    solid: float
    """Share of its hull that is grain, before anything was completed."""
    strength: float
    """Gray values: the median range of its grain in 3 x 3 pixels, at most ``_STRONG``."""
    strong: float
    """Share of its grain that ranges over ``_STRONG`` or more."""

    @property
    def box(self) -> np.ndarray:
        """left, top, right, bottom."""
        return np.concatenate([self.hull.min(axis=0), self.hull.max(axis=0)])

    @property
    def size(self) -> float:
        """Area of the hull."""
        return float(cv2.contourArea(self.hull.astype(np.float32)))

    @property
    def weight(self) -> float:
        """Its area; less where it is ragged or faint, as what lies around a picture is."""
        return self.area * self.solid * self.strength

    @property
    def is_box(self) -> bool:
        """True for a rectangle or a strip, as M-mode and Doppler are, or the picture of a linear probe."""
        width, height = self.box[2:] - self.box[:2]
        return bool(self.size >= _RECTANGLE * width * height or width > _WIDEST * height)

    def is_cut(self, height: int, width: int) -> bool:
        """True for a fan that a frame of that size ends within."""
        if self.is_box:
            return False
        edges = ((self.hull[:, 0] <= 1, 1), (self.hull[:, 0] >= width - 2, 1), (self.hull[:, 1] >= height - 2, 0))
        along = [np.ptp(self.hull[near, axis]) if near.any() else 0.0 for near, axis in edges]
        return bool(max(along) >= _CUT * (self.box[3] - self.box[1]))

    def outside(self, points: np.ndarray) -> np.ndarray:
        """Distance of points (m, 2) from the hull, negative inside."""
        ends = np.roll(self.hull, -1, axis=0) - self.hull
        normals = np.stack([ends[:, 1], -ends[:, 0]], axis=1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        return np.asarray(((points[:, None] - self.hull) * normals).sum(axis=2).max(axis=1))

    def is_like(self, main: _Part) -> bool:
        """True where it is a picture as the main one is: large enough, not more ragged, not fainter."""
        clear = self.strength >= _FAINT * main.strength or self.strong >= _SPARSE
        return self.size >= _ALIKE * main.size and self.solid >= _RAGGED * main.solid and clear

    def overlaps(self, other: _Part) -> bool:
        """True where much of the smaller one's box lies in that of the other."""
        sizes = np.minimum(self.box[2:], other.box[2:]) - np.maximum(self.box[:2], other.box[:2])
        smaller = min(np.prod(one.box[2:] - one.box[:2]) for one in (self, other))
        return bool((sizes > 0).all() and np.prod(sizes) > _APART * smaller)

    def joined(self, other: _Part) -> _Part:
        return attrs.evolve(self, hull=_hull(np.concatenate([self.hull, other.hull])), area=self.area + other.area)

    def completed(self, width: int) -> _Part:
        """With each side mirrored at the middle beam, within a frame of that width."""
        left, top, right, bottom = self.box
        face = self.hull[self.hull[:, 1] <= top + 0.06 * (bottom - top), 0]
        middle = (face.min() + face.max()) / 2
        if abs((left + right) / 2 - middle) <= _EVEN * (right - left):
            return self
        mirrored = np.stack([2 * middle - self.hull[:, 0], self.hull[:, 1]], axis=1)
        both = np.concatenate([self.hull, mirrored])
        both[:, 0] = both[:, 0].clip(0, width - 1)
        return attrs.evolve(self, hull=_hull(both))


def find_region(pixels: np.ndarray) -> Sight:
    """The ultrasound region of a gray picture (H, W) uint8.

    All of it where the ultrasound fills it. Several where pictures stand side by side; a strip of M-mode or Doppler
    beside a fan is none.
    """
    height, width = pixels.shape
    small, zoom = _shrunk(pixels)
    left, top, right, bottom = _inside_paper(small)
    inner = small[top:bottom, left:right]
    differences = _differences(inner)
    if _is_grain(inner, differences):
        return Sight((Region.whole(width, height),))
    parts = _parts(*_grain(inner, differences))
    pictures = _pictures(parts, inner.shape)
    if not pictures:
        return Sight((), "no ultrasound picture is found in the frame: give --region X,Y,W,H, or --region whole")
    fans = [picture for picture in pictures if not picture.is_box]
    strips, pictures = (len(pictures) - 1, fans) if len(fans) == 1 else (0, pictures)
    places = tuple(_region(one, inner.shape, (left, top), zoom, pixels) for one in pictures)
    outline = (pictures[0].hull + (left, top) + 0.5) / zoom - 0.5
    told = ["a strip beside the picture (M-mode, Doppler) is not looked at"] if strips else []
    if len(places) == 1 and places[0].how == "found" and pictures[0].is_cut(*inner.shape):
        told.append("the picture is cut by the edge of the frame")
    return Sight(places, "; ".join(told), outline)


def _shrunk(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture at ``_SIDE`` pixels, as it is where smaller; and pixels of it in one of the picture, x and y."""
    height, width = pixels.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else np.ascontiguousarray(pixels)
    return small, np.array([size[0] / width, size[1] / height])


def _inside_paper(small: np.ndarray) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what is left when bright flat lines at the sides are taken away."""
    left, top, right, bottom = 0, 0, small.shape[1], small.shape[0]

    def paper(line: np.ndarray) -> bool:
        darkest, brightest = int(line.min()), int(line.max())
        return brightest - darkest <= _PAPER and darkest > _BLACK

    before = None
    while before != (left, top, right, bottom):
        before = (left, top, right, bottom)
        while bottom - top > 2 and paper(small[top, left:right]):
            top += 1
        while bottom - top > 2 and paper(small[bottom - 1, left:right]):
            bottom -= 1
        while right - left > 2 and paper(small[top:bottom, left]):
            left += 1
        while right - left > 2 and paper(small[top:bottom, right - 1]):
            right -= 1
    return left, top, right, bottom


@lru_cache
def _disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _differences(small: np.ndarray) -> np.ndarray:
    """Range of gray values in 3 x 3 pixels."""
    around = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.subtract(cv2.dilate(small, around), cv2.erode(small, around)))


def _is_grain(small: np.ndarray, differences: np.ndarray) -> bool:
    """True for grain everywhere: there is no ground to tell a picture from."""
    if np.count_nonzero(differences <= 1) / small.size >= _FLAT:
        return False
    # Noise of a camera goes by blurring, grain does not.
    blurred = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.5))
    least, most = np.percentile(cv2.resize(_differences(blurred), (8, 8), interpolation=cv2.INTER_AREA), (10, 90))
    return bool(least >= _EVERYWHERE * most)


def _percentile(pixels: np.ndarray, share: float) -> float:
    """``np.percentile`` of uint8, to the last bit, in a tenth of its time: gray values are counted, not sorted."""
    place = share / 100 * (pixels.size - 1)
    if pixels.size - np.count_nonzero(pixels) > place + 1:
        return 0.0
    below = np.cumsum(cv2.calcHist([pixels], [0], None, [256], [0, 256]).ravel().astype(np.int64))
    lower, upper = np.searchsorted(below, [int(place), min(int(place) + 1, pixels.size - 1)], side="right").tolist()
    part = place - int(place)
    return float(lower + (upper - lower) * part if part < 0.5 else upper - (upper - lower) * (1 - part))


def _grain(small: np.ndarray, differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 where there is grain, 0 where it is black or flat, or a panel with its writing; and the range of gray values
    that told it, after the noise of a camera. Both uint8 (H, W)."""
    darkest = _percentile(small, 3)
    black = darkest if darkest < _BLACK else 0.0
    noise = _percentile(differences, 20)
    if noise >= 2:
        # A photograph, or a picture without any ground: the dark of it says what is no ultrasound.
        small = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.5))
        differences = _differences(small)
        noise = 1.5 * float(differences[small <= np.percentile(small, 10)].mean())
    # Whole numbers: with fractions every pixel would become one first.
    grain = ((small >= math.ceil(black + 2 + noise)) & (differences >= math.ceil(2 + noise))).view(np.uint8)
    panels = np.zeros_like(small, bool)
    even = differences <= 1
    for level, least in _PANELS:
        flat = ((small >= math.ceil(black + level)) & even).view(np.uint8)
        if np.count_nonzero(flat) < least * small.size:
            continue
        _, labels, about, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
        large = about[:, cv2.CC_STAT_AREA] >= least * small.size
        large[0] = False
        panels |= large[labels]
    if panels.any():
        written = cv2.morphologyEx(panels.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((_WORD, _WORD), np.uint8))
        grain[cv2.dilate(written, np.ones((7, 7), np.uint8)) > 0] = 0
    return grain, differences


def _hull(points: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.convexHull(points.astype(np.float32), clockwise=False)[:, 0], np.float64)


def _ends_of_rows(mask: np.ndarray) -> np.ndarray:
    """(n, 2) x, y of the first and the last pixel of every row of a mask: its convex hull is that of all pixels."""
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = (ends[rows] for ends in _edges(mask))
    # In the order of all pixels: where a hull begins depends on it.
    return np.stack([first, rows, last - 1, rows], axis=1).reshape(-1, 2)


def _edges(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every row of a mask (bool) where it begins and where it has ended; 0 and its width where it is empty."""
    turned = np.asarray(cv2.flip(mask.view(np.uint8), 1)).view(bool)
    return mask.argmax(axis=1), mask.shape[1] - turned.argmax(axis=1)


def _joined(thick: np.ndarray, least: float) -> Iterator[tuple[int, int, np.ndarray, int]]:
    """Parts that hang together, of at least ``least`` pixels: left, top, its box of a mask (bool), and its pixels."""
    count, labels = cv2.connectedComponents(thick, connectivity=8)
    if count == 2:
        # One part, as in most frames: measuring all of them takes longer than finding them.
        x, y, width, height = cv2.boundingRect(thick)
        labels, about = thick, np.array([[0] * 5, [x, y, width, height, np.count_nonzero(thick)]])
    else:
        _, labels, about, _ = cv2.connectedComponentsWithStats(thick, connectivity=8)
    for label, (x, y, width, height, area) in enumerate(about.tolist()):
        if label > 0 and area >= least:
            yield x, y, labels[y : y + height, x : x + width] == label, area


def _parts(grain: np.ndarray, differences: np.ndarray) -> list[_Part]:
    """Parts that are neither thin nor writing, the heaviest first; two fans that touch are two."""
    thick = cv2.morphologyEx(grain, cv2.MORPH_CLOSE, _disc(_GAP))
    thick = cv2.morphologyEx(thick, cv2.MORPH_OPEN, _disc(_THIN))
    firm = cv2.morphologyEx(grain, cv2.MORPH_OPEN, _disc(_FIRM))
    parts: list[_Part] = []
    for x, y, mask, area in _joined(thick, _SCRAP * grain.size):
        height, width = mask.shape
        if np.count_nonzero(firm[y : y + height, x : x + width] & mask) < _LEAST_FIRM * area:
            continue
        middle = _between_fans(mask)
        for begin, end in ((0, middle), (middle, width)):
            waist = _waist(mask[:, begin:end]) if end > begin else 0
            for first, last in ((0, waist), (waist, height)):
                side = mask[first:last, begin:end]
                if side.any():
                    hull = _hull(_ends_of_rows(side) + np.array([x + begin, y + first]))
                    size = float(np.count_nonzero(side))
                    solid = size / max(size, cv2.contourArea(hull.astype(np.float32)))
                    place = np.s_[y + first : y + last, x + begin : x + end]
                    seen = differences[place][side & (grain[place] > 0)]
                    strength = min(_STRONG, _percentile(seen, 50)) if seen.size else 0.0
                    strong = np.count_nonzero(seen >= _STRONG) / max(1, seen.size)
                    parts.append(_Part(hull, size, solid, strength, strong))
    return sorted(parts, key=lambda part: -part.weight)


def _between_fans(mask: np.ndarray) -> int:
    """The column where two fans side by side touch, 0 where there is one: its upper edge has one summit, not two."""
    height, width = mask.shape
    columns = np.asarray(cv2.transpose(mask.view(np.uint8))).view(bool)
    edge = np.where(columns.any(axis=1), columns.argmax(axis=1), height).astype(np.float32)
    edge = cv2.blur(edge[None], (5, 1))[0]
    inner = slice(round(0.35 * width), round(0.65 * width))
    middle = inner.start + int(edge[inner].argmax())
    sides = edge[:middle], edge[middle:]
    if min(len(side) for side in sides) < 2 or width > 2 * _WIDEST * height:
        return 0
    summits = [float(side.min()) for side in sides]
    tops = [np.flatnonzero(side <= side.min() + 0.08 * height) for side in sides]
    if any(np.ptp(top) > _FACE * len(side) for top, side in zip(tops, sides, strict=True)):
        return 0
    centres = [float(top.mean()) for top in tops]
    deep = edge[middle] - max(summits) >= _VALLEY * height
    level = abs(summits[0] - summits[1]) <= 0.1 * height
    return middle if deep and level and middle + centres[1] - centres[0] >= 0.4 * width else 0


def _waist(mask: np.ndarray) -> int:
    """The row where a fan touches one below it, or a strip; 0 where there is one: between them both are narrow."""
    height, width = mask.shape
    first, last = _edges(mask)
    wide = cv2.blur(np.where(mask.any(axis=1), last - first, 0).astype(np.float32)[:, None], (1, 3))[:, 0]
    begin, end = round(0.3 * height), round(0.7 * height)
    if end - begin < 2:
        return 0
    waist = begin + int(wide[begin:end].argmin())
    if wide[waist] > _WAIST * min(wide[:waist].max(), wide[waist:].max()):
        return 0
    sides = (mask[:waist].max(axis=0), mask[waist:].max(axis=0))
    upper, lower = (np.array([side.argmax(), width - side[::-1].argmax()]) for side in sides)
    recedes = min(first[waist] - lower[0], lower[1] - last[waist]) >= _SAME_SIDES * width
    fans = recedes and np.abs(upper - lower).max() <= _SAME_SIDES * width
    return waist if fans or mask[waist:, lower[0] : lower[1]].mean() >= _RECTANGLE else 0


def _pictures(parts: Sequence[_Part], shape: tuple[int, ...]) -> list[_Part]:
    """The pictures that parts make up, each completed, the heaviest first."""
    rest = list(parts)
    pictures: list[_Part] = []
    while rest:
        picture = _gathered(rest.pop(0), rest, shape[1])
        if picture.size >= _LEAST * shape[0] * shape[1]:
            pictures.append(picture)
    fans = [picture for picture in pictures if not picture.is_box]
    main = max(fans or pictures, key=lambda picture: picture.weight, default=None)
    alike = [picture for picture in pictures if main is not None and picture.is_like(main)]
    return [one for number, one in enumerate(alike) if not any(one.overlaps(other) for other in alike[:number])]


def _gathered(main: _Part, rest: list[_Part], width: int) -> _Part:
    """A part with those that belong to the same picture, which leave ``rest``; completed."""
    whole = main.completed(width)
    found = True
    while found:
        found = False
        for part in list(rest):
            if part.area < 0.5 * main.area and _belongs(part, whole):
                rest.remove(part)
                main = main.joined(part)
                whole = main.completed(width)
                found = True
    return whole


def _belongs(part: _Part, whole: _Part) -> bool:
    """True for a part in the dark of a picture: most of it inside, or close below the face of the probe."""
    _, top, _, bottom = whole.box
    outside = whole.outside(part.hull)
    if part.box[1] < top + 0.15 * (bottom - top):
        return float(np.mean(outside < 3)) > 0.6
    high = bottom - top
    return bool(outside.min() < _NEAR * high and outside.max() < _AROUND * high)


def _region(
    picture: _Part, shape: tuple[int, ...], corner: tuple[int, int], zoom: np.ndarray, pixels: np.ndarray
) -> Region:
    """The box of a picture in pixels of the frame; what is inside the paper where it fills that."""
    left, top, right, bottom = picture.box
    high, wide = shape
    fills = max(right - left, bottom - top) + 1 >= _FILLS * max(high, wide)
    if fills:
        left, top, right, bottom = 0.0, 0.0, wide - 1.0, high - 1.0
    height, width = pixels.shape
    x, y = np.round(np.array([left + corner[0], top + corner[1]]) / zoom).astype(int).clip(0).tolist()
    ends = np.round(np.array([right + corner[0] + 1, bottom + corner[1] + 1]) / zoom).astype(int)
    end_x, end_y = np.minimum(ends, (width, height)).tolist()
    if (x, y, end_x, end_y) == (0, 0, width, height):
        return Region.whole(width, height)
    if fills:
        # The edge of paper is sharp: the last of its lines go at the size of the frame.
        cut = _inside_paper(pixels[y:end_y, x:end_x])
        x, y, end_x, end_y = x + cut[0], y + cut[1], x + cut[2], y + cut[3]
    return Region(x, y, end_x - x, end_y - y, "found")
