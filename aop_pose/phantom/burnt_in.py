"""Things that scanners and people leave on a frame: calipers, lines, text, traces, boxes; on real and made-up frames.

Every kind takes gray pixels (H, W) uint8 and the points PS1, PS2, FH1 (3, 2) on them, or of anything else (n, 2), and
gives a new picture; the points say where people draw, and one that is unknown or outside is no error. Lengths follow
the picture's shorter side. What is drawn lies beside the true points: nobody may learn to read the answer from a line.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WORDS = (
    "GE", "Voluson E8", "MI 1.2", "TIs 0.4", "12:07:44", "Gn -4", "FR 31Hz", "AoP 118.2", "1 D 3.41cm", "HSD 21mm",
    "R", "L", "C1-5-D", "OB", "15.2cm", "SRI II 3", "CRI", "P 100%", "ID", "Harm-mid",
)  # fmt: skip
_WIDE_OFF = 0.04
"""Scatter of what people draw about the true place, as a share of the shorter side."""


def _side(pixels: np.ndarray) -> int:
    return min(pixels.shape)


def _ink(rng: Rng) -> int:
    """The gray value of a mark: mostly bright, as yellow, green and white come out."""
    return int(rng.integers(150, 256)) if rng.random() < 0.9 else int(rng.integers(0, 80))


def _width(pixels: np.ndarray, rng: Rng) -> int:
    return max(1, round(_side(pixels) * rng.uniform(0.002, 0.009)))


def _near(point: np.ndarray, pixels: np.ndarray, rng: Rng) -> np.ndarray:
    """A place about a point, or anywhere where that is unknown or outside."""
    height, width = pixels.shape
    known = np.isfinite(point).all() and (point >= 0).all() and (point < (width, height)).all()
    if not known or rng.random() < 0.25:
        return rng.uniform(0.1, 0.9, 2) * (width, height)
    return np.asarray(point + rng.normal(0, _WIDE_OFF * _side(pixels), 2))


def _whole(place: np.ndarray) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


def _cross(picture: np.ndarray, place: np.ndarray, ink: int, rng: Rng) -> None:
    shape = int(rng.choice([cv2.MARKER_CROSS, cv2.MARKER_TILTED_CROSS]))
    size = max(4, round(_side(picture) * rng.uniform(0.02, 0.05)))
    cv2.drawMarker(picture, _whole(place), ink, shape, size, _width(picture, rng))


def _dotted(picture: np.ndarray, start: np.ndarray, end: np.ndarray, ink: int, step: float) -> None:
    count = max(2, int(np.linalg.norm(end - start) / step))
    for share in np.linspace(0, 1, count):
        cv2.circle(picture, _whole(start + share * (end - start)), max(1, _side(picture) // 250), ink, -1)


def calipers(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """One or two pairs of crosses with a dotted line between, some about the points."""
    picture, ink = pixels.copy(), _ink(rng)
    for _ in range(int(rng.integers(1, 3))):
        start, end = (_near(points[int(rng.integers(len(points)))], pixels, rng) for _ in range(2))
        _cross(picture, start, ink, rng)
        _cross(picture, end, ink, rng)
        if rng.random() < 0.7:
            _dotted(picture, start, end, ink, _side(pixels) / 40)
    return picture


def angle(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """Two rays from a corner, as an angle of progression is drawn, with an arc and perhaps its value."""
    picture, ink, width = pixels.copy(), _ink(rng), _width(pixels, rng)
    corner, one, other = (_near(points[min(i, len(points) - 1)], pixels, rng) for i in range(3))
    reach = rng.uniform(1.0, 1.6)
    for end in (one, other):
        cv2.line(picture, _whole(corner), _whole(corner + reach * (end - corner)), ink, width, cv2.LINE_AA)
    begin, stop = (np.degrees(np.arctan2(*(end - corner)[::-1])) for end in (one, other))
    turn = (stop - begin + 180) % 360 - 180
    radius = max(2, round(0.3 * min(np.linalg.norm(one - corner), np.linalg.norm(other - corner))))
    cv2.ellipse(picture, _whole(corner), (radius, radius), 0, begin, begin + turn, ink, width, cv2.LINE_AA)
    if rng.random() < 0.5:
        _write(picture, f"{rng.uniform(60, 170):.1f}", corner + radius, ink, rng)
    return picture


def ellipse(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """An ellipse as one is put on a head, whole or dotted, with crosses at the ends of its axes."""
    picture, ink, side = pixels.copy(), _ink(rng), _side(pixels)
    half = np.array([rng.uniform(0.18, 0.4), rng.uniform(0.12, 0.3)]) * side
    turn = rng.uniform(0, np.pi)
    height, width = pixels.shape
    centre = np.array([rng.uniform(0.4, 0.75) * width, rng.uniform(0.4, 0.75) * height])
    steps = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    ring = centre + half[0] * np.cos(steps)[:, None] * along + half[1] * np.sin(steps)[:, None] * across
    if rng.random() < 0.5:
        cv2.polylines(picture, [np.round(ring).astype(np.int32)], True, ink, _width(pixels, rng), cv2.LINE_AA)
    else:
        for place in ring[::2]:
            cv2.circle(picture, _whole(place), max(1, side // 250), ink, -1)
    for place in ring[::30]:
        _cross(picture, place, ink, rng)
    return picture


def ruler(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """A depth scale: ticks along an edge, long and short, with numbers, and a focus mark."""
    picture, ink = pixels.copy(), _ink(rng)
    height, width = pixels.shape
    upright, far = rng.random() < 0.7, rng.random() < 0.5
    across = width if upright else height
    place = round(across * rng.uniform(0.0, 0.04))
    place = across - 1 - place if far else place
    inward = -1 if far else 1
    step, tick = max(3.0, _side(pixels) * rng.uniform(0.02, 0.06)), max(2, round(_side(pixels) * 0.012))
    for number in range(int((height if upright else width) / step)):
        along, reach = round(number * step), tick * (2 if number % 5 == 0 else 1) * inward
        start, end = (place, along), (place + reach, along)
        cv2.line(picture, start if upright else start[::-1], end if upright else end[::-1], ink, 1)
        if number and number % 5 == 0 and rng.random() < 0.7:
            spot = np.array([place + 2 * reach, along]) if upright else np.array([along, place + 2 * reach])
            _write(picture, str(number), spot, ink, rng)
    return picture


def text(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """A few words of a scanner in a corner or anywhere, some on a dark box."""
    picture, ink = pixels.copy(), _ink(rng)
    height, width = pixels.shape
    for _ in range(int(rng.integers(1, 4))):
        place = rng.uniform(0.02, 0.85, 2) * (width, height)
        for line in range(int(rng.integers(1, 4))):
            _write(picture, str(rng.choice(_WORDS)), place + np.array([0, line * _side(pixels) * 0.06]), ink, rng)
    return picture


def _write(picture: np.ndarray, words: str, place: np.ndarray, ink: int, rng: Rng) -> None:
    size = _side(picture) * rng.uniform(0.0010, 0.0022)
    thick = max(1, round(size))
    if rng.random() < 0.3:
        (across, up), below = cv2.getTextSize(words, _FONT, size, thick)
        x, y = _whole(place)
        cv2.rectangle(picture, (x - 1, y - up - 1), (x + across + 1, y + below), 0, -1)
    cv2.putText(picture, words, _whole(place), _FONT, size, ink, thick, cv2.LINE_AA)


def trace(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """An ECG or breathing trace across the lower or upper part."""
    picture, ink = pixels.copy(), _ink(rng)
    height, width = pixels.shape
    base = height * (rng.uniform(0.82, 0.97) if rng.random() < 0.8 else rng.uniform(0.03, 0.12))
    beat, x = width * rng.uniform(0.12, 0.35), np.arange(width, dtype=np.float64)
    phase = (x / beat + rng.random()) % 1
    shape = np.exp(-(((phase - 0.5) / 0.02) ** 2)) - 0.25 * np.exp(-(((phase - 0.56) / 0.02) ** 2))
    shape += 0.2 * np.exp(-(((phase - 0.8) / 0.06) ** 2)) + 0.12 * np.exp(-(((phase - 0.35) / 0.04) ** 2))
    line = np.stack([x, base - height * rng.uniform(0.04, 0.12) * shape], axis=1)
    cv2.polylines(picture, [np.round(line).astype(np.int32)], False, ink, _width(pixels, rng), cv2.LINE_AA)
    return picture


def colour_box(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """The box of colour Doppler, upright or slanted, with patches of flow as they come out in gray."""
    picture, ink = pixels.copy(), _ink(rng)
    height, width = pixels.shape
    centre, half = rng.uniform(0.25, 0.75, 2) * (width, height), rng.uniform(0.08, 0.25, 2) * (width, height)
    slant = rng.uniform(-0.3, 0.3) * half[0]
    corners = centre + np.array([[-half[0] + slant, -half[1]], [half[0] + slant, -half[1]],
                                 [half[0] - slant, half[1]], [-half[0] - slant, half[1]]])  # fmt: skip
    if rng.random() < 0.6:
        flow = np.zeros_like(picture)
        for _ in range(int(rng.integers(1, 6))):
            spot, size = centre + rng.uniform(-0.7, 0.7, 2) * half, rng.uniform(0.05, 0.3, 2) * half.min()
            cv2.ellipse(flow, _whole(spot), _whole(size + 1), float(rng.uniform(0, 180)), 0, 360, 255, -1)
        cv2.GaussianBlur(flow, (0, 0), max(0.5, _side(pixels) / 200), dst=flow)
        share = flow.astype(np.float32) / 255 * rng.uniform(0.5, 1.0)
        picture = (picture * (1 - share) + rng.uniform(60, 200) * share).astype(np.uint8)
    cv2.polylines(picture, [np.round(corners).astype(np.int32)], True, ink, _width(pixels, rng), cv2.LINE_AA)
    return picture


def arrows(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """Arrows that point at something, and a body mark in a corner."""
    picture, ink, side = pixels.copy(), _ink(rng), _side(pixels)
    for _ in range(int(rng.integers(1, 4))):
        tip = _near(points[int(rng.integers(len(points)))], pixels, rng)
        tail = tip + rng.normal(0, 1, 2) * side * 0.12
        cv2.arrowedLine(picture, _whole(tail), _whole(tip), ink, _width(pixels, rng), cv2.LINE_AA, 0, 0.3)
    corner = np.array([rng.choice([0.1, 0.9]), rng.choice([0.1, 0.9])]) * pixels.shape[::-1]
    cv2.ellipse(picture, _whole(corner), (round(side * 0.04), round(side * 0.06)), 0, 0, 360, ink, 1, cv2.LINE_AA)
    cv2.line(picture, _whole(corner), _whole(corner + rng.normal(0, 0.04, 2) * side), ink, 2)
    return picture


def guide(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> np.ndarray:
    """The two dotted lines of a needle guide across the picture, with marks at steps of depth."""
    picture, ink, side = pixels.copy(), _ink(rng), _side(pixels)
    height, width = pixels.shape
    start = np.array([rng.choice([0.0, width - 1.0]), rng.uniform(0.1, 0.4) * height])
    end = np.array([width - 1 - start[0], rng.uniform(0.6, 1.0) * height])
    for shift in (0.0, rng.uniform(0.03, 0.06) * side):
        down = np.array([0, shift])
        _dotted(picture, start + down, end + down, ink, side / 50)
    return picture


Kind = Callable[[np.ndarray, np.ndarray, Rng], np.ndarray]
BURNT_IN: dict[str, Kind] = {
    "calipers": calipers, "drawn angle": angle, "drawn ellipse": ellipse, "ruler": ruler, "text": text,
    "trace": trace, "colour box": colour_box,
}  # fmt: skip
"""Kinds that trainings and gates may see."""
UNSEEN_BURNT_IN: dict[str, Kind] = {"arrows": arrows, "needle guide": guide}
"""Kinds for tests alone: no training and no gate is shown them."""
