"""Other looks of the same frame: as another setting, another machine, another way of saving it would show it.

``paint_out`` alone takes something away: a structure, so that frames without it can be learned.

Every look takes gray pixels (H, W) uint8 and points (n, 2) on them and gives both anew; points stay where the picture
is not moved, and may leave it where it is.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator
Looked = tuple[np.ndarray, np.ndarray]
_GRAYS = np.arange(256, dtype=np.float32)


def _mapped(pixels: np.ndarray, grays: np.ndarray) -> np.ndarray:
    """Pixels through a table of 256 gray values."""
    return np.asarray(cv2.LUT(pixels, np.clip(np.rint(grays), 0, 255).astype(np.uint8)))


def gain(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """Overall gain and the dynamic range: darker or brighter by up to half; black stays black."""
    factor, knee = rng.uniform(0.55, 1.5), rng.uniform(0, 30)
    return _mapped(pixels, np.where(_GRAYS > 0, factor * np.maximum(_GRAYS - knee * (factor < 1), 0), 0)), points


def gamma(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """Another gray map: a power from 0.5 to 2."""
    return _mapped(pixels, 255 * (_GRAYS / 255) ** np.exp(rng.uniform(np.log(0.5), np.log(2.0)))), points


def depth(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """Uneven gain down the picture: attenuation and its compensation, in three steps."""
    height = pixels.shape[0]
    curve = np.interp(np.arange(height), np.linspace(0, height - 1, 4), rng.uniform(0.5, 1.4, 4)).astype(np.float32)
    return np.clip(pixels * curve[:, None], 0, 255).astype(np.uint8), points


def frequency(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """A lower frequency: coarser along the beams or across them, with coarser speckle."""
    side = min(pixels.shape)
    across, along = rng.uniform(0.001, 0.008, 2) * side
    soft = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigmaX=max(0.3, across), sigmaY=max(0.3, along))
    small = rng.standard_normal((max(2, pixels.shape[0] // 2), max(2, pixels.shape[1] // 2)), dtype=np.float32)
    grain = cv2.resize(small, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(soft * (1 + np.float32(rng.uniform(0, 0.25)) * grain), 0, 255).astype(np.uint8), points


def zoom(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """The picture larger or smaller about its middle, by up to a fifth; black comes in from outside."""
    height, width = pixels.shape
    factor = np.exp(rng.uniform(-0.2, 0.2))
    shift = np.array([(width - 1) / 2, (height - 1) / 2]) * (1 - factor)
    moved = np.array([[factor, 0, shift[0]], [0, factor, shift[1]]])
    return np.asarray(cv2.warpAffine(pixels, moved, (width, height))), points * factor + shift


def compression(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """JPEG of quality 12 to 70, or a small copy made large again."""
    if rng.random() < 0.6:
        coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 71))])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)), points
    factor = rng.uniform(0.35, 0.8)
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)), points


def photograph(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """A photograph of a screen or a print: seen from the side, unevenly lit, with moire, grain and strokes of a pen."""
    height, width = pixels.shape
    side = min(height, width)
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    seen = (corners + rng.uniform(-0.03, 0.03, (4, 2)) * side).astype(np.float32)
    moved = cv2.getPerspectiveTransform(corners, seen)
    ground = int(rng.integers(0, 60))
    drawn = cv2.warpPerspective(pixels, moved, (width, height), borderValue=ground).astype(np.float32)
    x, y = np.arange(width, dtype=np.float32) / side, np.arange(height, dtype=np.float32)[:, None] / side
    turn, pitch = rng.uniform(0, np.pi), rng.uniform(60, 400)
    strengths = rng.uniform((-0.3, -0.3, 0.7, 0, 0), (0.3, 0.3, 1.0, 6, 5)).astype(np.float32)
    slope_x, slope_y, weak, strong, loud = strengths
    waves = np.array([pitch * np.cos(turn), pitch * np.sin(turn)], np.float32)
    drawn *= weak * (1 + slope_x * (x - 0.5) + slope_y * (y - 0.5))
    drawn += strong * np.sin(waves[0] * x + waves[1] * y)
    drawn += loud * rng.standard_normal(pixels.shape, dtype=np.float32)
    picture = np.clip(drawn + np.float32(rng.uniform(0, 30)), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 3))):
        stroke = np.cumsum(rng.normal(0, 0.04, (8, 2)), axis=0) * side + rng.uniform(0.1, 0.9, 2) * (width, height)
        ink, thick = int(rng.choice([20, 90, 245])), max(1, round(side * rng.uniform(0.004, 0.012)))
        cv2.polylines(picture, [np.round(stroke).astype(np.int32)], False, ink, thick, cv2.LINE_AA)
    # OpenCV's own function takes an unknown point for 0.
    places = np.column_stack([points, np.ones(len(points))]) @ moved.T
    return picture, places[:, :2] / places[:, 2:]


_DARK = 10.0
"""Gray values; places darker than that in the mean over some pixels are no ultrasound."""


def cut(pixels: np.ndarray, points: np.ndarray, rng: Rng) -> Looked:
    """The picture cut to the box of its ultrasound, a little tighter or wider; its known points stay inside.

    Alone of all looks it changes the size of the picture.
    """
    seen = cv2.blur(pixels, (9, 9)) > _DARK
    rows, columns = np.flatnonzero(seen.mean(axis=1) > 0.02), np.flatnonzero(seen.mean(axis=0) > 0.02)
    if not (len(rows) and len(columns)):
        return pixels, points
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]])
    low = low - rng.uniform(-0.02, 0.06, 2) * (high - low)
    high = high + rng.uniform(-0.02, 0.06, 2) * (high - low)
    height, width = pixels.shape
    known = points[np.isfinite(points).all(axis=1) & ((points >= 0) & (points < (width, height))).all(axis=1)]
    if len(known):
        low, high = np.minimum(low, known.min(axis=0) - 2), np.maximum(high, known.max(axis=0) + 2)
    (left, top), (right, bottom) = np.maximum(np.floor(low), 0).astype(int), np.ceil(high).astype(int) + 1
    return np.ascontiguousarray(pixels[top:bottom, left:right]), points - (left, top)


_GROW = 5
"""Pixels by which a structure is grown before it is painted out, so that its bright rim goes too."""


def paint_out(pixels: np.ndarray, region: np.ndarray, rng: Rng) -> np.ndarray:
    """The frame (H, W) uint8 with a region (H, W) bool filled like its surroundings, or in their shadow.

    The brightness runs on from outside; its speckle is drawn anew, copied from elsewhere in the frame, or left away;
    the fill may lie in shadow, or be drawn in from the rim along lines of equal brightness (Telea 2004). One of these
    at random, so that nothing can be learned from one way of filling.
    """
    size = 2 * _GROW + 1
    hole = cv2.dilate(region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    if not hole.any() or hole.all():
        return pixels.copy()
    way = rng.integers(0, 6)
    if way == 5:
        return np.asarray(cv2.inpaint(pixels, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA))
    base = _continued(pixels, hole)
    if way == 0:
        texture = _copied_texture(pixels, hole, rng)
    else:
        grain = rng.standard_normal(pixels.shape, dtype=np.float32)
        grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(0.7, 2.2))))
        strength = 0.03 if way == 3 else _roughness(pixels, hole)
        texture = 1 + strength * grain / grain.std()
    if way == 4:
        texture = texture * np.float32(rng.uniform(0.05, 0.6))
    soft = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), float(rng.uniform(0.8, 2.5)))
    return np.clip(pixels * (1 - soft) + base * texture * soft, 0, 255).astype(np.uint8)


def _continued(pixels: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Brightness without texture: outside that of the frame, inside that of the nearest known places."""
    keep = (~hole).astype(np.float32)
    small = (max(8, hole.shape[1] // 4), max(8, hole.shape[0] // 4))
    known = cv2.resize(pixels * keep, small, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(keep, small, interpolation=cv2.INTER_AREA)
    filled, reached = np.zeros_like(known), np.zeros_like(weight)
    for scale in (1, 2, 4, 8, 16, 32):
        near = np.asarray(cv2.GaussianBlur(weight, (0, 0), scale))
        mean = np.asarray(cv2.GaussianBlur(known, (0, 0), scale)) / np.maximum(near, 1e-4)
        filled = np.where(reached > 0.1, filled, mean)
        reached = np.maximum(reached, near)
    smooth = cv2.GaussianBlur(filled, (0, 0), 1)
    return np.asarray(cv2.resize(smooth, hole.shape[::-1], interpolation=cv2.INTER_LINEAR))


def _ratio(pixels: np.ndarray) -> np.ndarray:
    """Each pixel over the mean around it."""
    return np.asarray((pixels + 1.0) / (cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 4) + 1.0))


def _roughness(pixels: np.ndarray, hole: np.ndarray) -> float:
    ring = (cv2.dilate(hole.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0) & ~hole
    return float(np.clip(_ratio(pixels)[ring].std(), 0.05, 0.6)) if ring.any() else 0.2


def _copied_texture(pixels: np.ndarray, hole: np.ndarray, rng: Rng) -> np.ndarray:
    """The texture of the frame moved sideways or downwards by about the size of the hole."""
    rows, columns = np.nonzero(hole)
    down, right = np.ptp(rows) + 4, np.ptp(columns) + 4
    turn = (int(rng.choice([-1, 0, 1])) * down, int(rng.choice([-1, 1])) * right)
    return np.clip(np.roll(_ratio(pixels), turn, axis=(0, 1)), 0.2, 2.5)


Look = Callable[[np.ndarray, np.ndarray, Rng], Looked]
LOOKS: dict[str, Look] = {
    "gain": gain, "gamma": gamma, "depth": depth, "frequency": frequency, "zoom": zoom, "compression": compression,
    "photograph": photograph,
}  # fmt: skip
"""By name, in the order of tables."""
