"""Landmarks of a frame -> strokes -> regions -> boxes of symphysis and head, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import cv2
import numpy as np
import shapely
from shapely import Polygon
from shapely.affinity import affine_transform

from aop_pose.inference.region import find_region
from aop_pose.scribbles import strokes as raster
from aop_pose.scribbles.segmenters.base import Segmenter
from aop_pose.scribbles.segmenters.rules import side_of_strokes
from aop_pose.scribbles.strokes import Stroke, Strokes, strokes_for


def find_sector(pixels: np.ndarray) -> Polygon | None:
    """Convex outline of the ultrasound of uint8 (H, W), in pixels; None where there is none to be told, or several."""
    found = find_region(pixels)
    return shapely.Polygon(found.outline) if found.outline is not None and len(found.regions) == 1 else None


STRUCTURES = ("PS", "FH")
WORKING_SIDE = 256
"""Longer side, in pixels, at which a frame is segmented: that of ScribblePrompt's published demo."""


Sides = tuple[float, float, float, float]


@attrs.frozen
class BoxSettings:
    """Chosen on the 300 labelled PSFHS frames and their masks; figures come from frames of ``val.csv``."""

    threshold: Mapping[str, float] = attrs.field(factory=lambda: {"PS": 0.5, "FH": 0.6})
    """Least probability of a pixel of the structure."""
    margin: Mapping[str, Sides] = attrs.field(
        factory=lambda: {"PS": (0.0, -0.035, 0.0, 0.08), "FH": (-0.06, 0.0, -0.01, 0.0)}
    )
    """The margin on the side of PS2, above, on the side of PS1 and below, as shares of the region's box.

    Annotators draw the symphysis deeper than half above and half below the line PS1-PS2.
    """
    slack: float = 0.15
    """The farthest a landmark may lie off the region it was set on, in lengths of the symphysis."""
    symphysis: tuple[float, float] = (0.2, 1.0)
    """Short side over long side of the region's upright-turned box, least and most."""
    head: tuple[float, float] = (0.8, 4.0)
    """Longer side of the head's box in lengths of the symphysis, least and most."""
    most_of_frame: float = 0.6
    """Share of the frame above which a region is no head."""


DEFAULT = BoxSettings()


@attrs.frozen(eq=False)
class FrameBoxes:
    """The regions and boxes of one frame; every structure stands in exactly one of ``boxes`` and ``reasons``."""

    boxes: dict[str, np.ndarray]
    """Structure -> left, top, right, bottom in pixels of the frame; outer edges, half a pixel beyond the centres."""
    reasons: dict[str, str]
    """Structure -> why it has no box."""
    regions: dict[str, np.ndarray]
    """Structure -> uint8 (H, W) of 0 and 1, in the frame's size; only where there is a box."""
    strokes: Strokes
    """The strokes that the segmenter was given, in pixels of the frame."""


def boxes_for(
    pixels: np.ndarray, points: np.ndarray, segmenter: Segmenter, settings: BoxSettings = DEFAULT
) -> FrameBoxes:
    """Boxes of both structures.

    Args:
        pixels: uint8 (H, W), any size.
        points: (3, 2) PS1, PS2, FH1 in pixels.
        segmenter: what turns strokes into regions.
        settings: thresholds, margins and what counts as plausible.
    """
    height, width = pixels.shape
    scale = min(1.0, WORKING_SIDE / max(height, width))
    small = _shrunk(pixels, scale)
    # Centres move by half a pixel where edges stay edges.
    placed = (np.asarray(points, np.float64) + 0.5) * scale - 0.5
    strokes = strokes_for(placed, small.shape[1], small.shape[0], find_sector(small))
    shown = attrs.evolve(strokes, strokes=[_enlarged(stroke, scale) for stroke in strokes.strokes])
    if strokes.reason:
        return FrameBoxes({}, dict.fromkeys(STRUCTURES, strokes.reason), {}, shown)
    boxes, reasons, regions = {}, {}, {}
    square = _squared(small)
    for structure in STRUCTURES:
        positive, negative = raster.masks(strokes.strokes, structure, *square.shape)
        if not positive.any():
            reasons[structure] = "no stroke inside the structure could be drawn"
            continue
        probability = segmenter(square, positive, negative, structure=structure, points=placed)
        inside = (slice(small.shape[0]), slice(small.shape[1]))
        region, reason = region_of(probability[inside], positive[inside], placed, structure, settings)
        if reason:
            reasons[structure] = reason
            continue
        box = _box_of(region, placed, structure, settings.margin[structure])
        limit = np.array([width, height, width, height]) - 0.5
        boxes[structure] = np.clip((box + 0.5) / scale - 0.5, -0.5, limit)
        regions[structure] = cv2.resize(region, (width, height), interpolation=cv2.INTER_NEAREST)
    return FrameBoxes(boxes, reasons, regions, shown)


def region_of(
    probability: np.ndarray,
    positive: np.ndarray,
    points: np.ndarray,
    structure: str,
    settings: BoxSettings = DEFAULT,
) -> tuple[np.ndarray, str]:
    """The plausible region of a structure, uint8 (H, W) of 0 and 1, and why it is not one (empty where it is).

    Threshold, what the landmarks rule out, the component that the strokes touch most, holes filled, plausibility.
    """
    likely = ((probability >= settings.threshold[structure]) & _allowed(points, structure, positive)).astype(np.uint8)
    _, labels = cv2.connectedComponents(likely, connectivity=4)
    touched = np.bincount(labels[positive > 0].ravel(), minlength=1)
    touched[0] = 0
    if not touched.any():
        return likely, "the segmenter finds nothing under the strokes"
    contours, _ = cv2.findContours(
        (labels == touched.argmax()).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    contour = max(contours, key=len)
    region = cv2.drawContours(np.zeros_like(likely), [contour], -1, 1, cv2.FILLED)
    return region, _implausible(region, contour, points, structure, settings)


def _allowed(points: np.ndarray, structure: str, positive: np.ndarray) -> np.ndarray:
    """bool (H, W): where the landmarks' definitions leave room for the structure, a pixel of slack included.

    No two points of the symphysis are farther apart than PS1 and PS2; the head does not cross its tangent PS1-FH1.
    """
    ps1, ps2, fh1 = points
    y, x = np.mgrid[: positive.shape[0], : positive.shape[1]]
    if structure == "PS":
        reach = float(np.hypot(*(ps2 - ps1))) + 1
        return (np.hypot(x - ps1[0], y - ps1[1]) <= reach) & (np.hypot(x - ps2[0], y - ps2[1]) <= reach)
    tangent = (fh1 - ps1) / np.hypot(*(fh1 - ps1))
    depth = tangent[0] * (y - ps1[1]) - tangent[1] * (x - ps1[0])
    return side_of_strokes(points, positive) * depth >= -1


def _implausible(
    region: np.ndarray, contour: np.ndarray, points: np.ndarray, structure: str, settings: BoxSettings
) -> str:
    ps1, ps2, fh1 = points
    length = float(np.hypot(*(ps2 - ps1)))
    on_outline = {"PS1": ps1, "PS2": ps2} if structure == "PS" else {"FH1": fh1}
    for name, point in on_outline.items():
        off = abs(cv2.pointPolygonTest(contour, tuple(float(v) for v in point), True)) / length
        if off > settings.slack:
            return f"its outline passes {name} at {off:.2f} lengths of the symphysis, more than {settings.slack:g}"
    if structure == "PS":
        sides = sorted(cv2.minAreaRect(contour)[1])
        shape, (least, most) = sides[0] / max(sides[1], 1e-9), settings.symphysis
        if not least <= shape <= most:
            return f"it is {shape:.2f} times as wide as long, expected {least:g} to {most:g}"
        return ""
    share = float(region.mean())
    if share > settings.most_of_frame:
        return f"it fills {share:.0%} of the frame, more than {settings.most_of_frame:.0%}"
    (least, most), size = settings.head, max(cv2.boundingRect(contour)[2:]) / length
    if not least <= size <= most:
        return f"it is {size:.1f} times as long as the symphysis, expected {least:g} to {most:g}"
    return ""


def _box_of(region: np.ndarray, points: np.ndarray, structure: str, margin: Sides) -> np.ndarray:
    """Outer edges of the grown region and of the landmarks on its outline: left, top, right, bottom."""
    left, top, width, height = cv2.boundingRect(region)
    before, above, after, below = margin
    if points[0, 0] < points[1, 0]:  # mirrored: PS1 left of PS2
        before, after = after, before
    landmarks = points[:2] if structure == "PS" else points[2:]
    low = np.array([left - before * width, top - above * height]) - 0.5
    high = np.array([left + (1 + after) * width, top + (1 + below) * height]) - 0.5
    return np.concatenate([np.minimum(low, landmarks.min(axis=0) - 0.5), np.maximum(high, landmarks.max(axis=0) + 0.5)])


def _enlarged(stroke: Stroke, scale: float) -> Stroke:
    shift = 0.5 / scale - 0.5
    return attrs.evolve(stroke, line=affine_transform(stroke.line, [1 / scale, 0, 0, 1 / scale, shift, shift]))


def _shrunk(pixels: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return pixels
    size = tuple(max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _squared(pixels: np.ndarray) -> np.ndarray:
    """Black added right or below, so that a network sees no stretched anatomy."""
    side = max(pixels.shape)
    square = np.zeros((side, side), np.uint8)
    square[: pixels.shape[0], : pixels.shape[1]] = pixels
    return square
