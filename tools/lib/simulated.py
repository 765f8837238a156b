"""Training samples of the scribble U-Net: phantoms and hc18 outlines, transformed, grayed and scribbled at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np
import shapely
from shapely import LineString, Polygon, affinity

from aop_pose.core.schemas import HEAD
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.geometry import landmarks_from_masks
from aop_pose.phantom import make_phantom
from aop_pose.scribbles import strokes as raster
from aop_pose.scribbles.boxes import find_sector
from aop_pose.scribbles.segmenters.base import SIDE, network_inputs
from aop_pose.scribbles.strokes import NAMES, strokes_for

FRAME = 256
STRUCTURES = {"PS": 1, "FH": 2}
# Shares of the samples.
FROM_HC18 = 0.2
LANDMARK_STROKES = 0.75  # the others get strokes at random places, as an annotator might draw them
LEFT_OUT = 0.08  # each of the landmarks' strokes, so that no single one is relied on
SYMPHYSIS = 0.5  # of the phantoms' samples
# Phantoms are bent by BUMPS x BUMPS random shifts of up to about BEND pixels: a symphysis is no exact ellipse, a head
# nearly is.
BUMPS, BEND = 6, {"PS": 4.0, "FH": 1.0}


@attrs.frozen(eq=False)
class Source:
    """A picture with its regions, before it is transformed."""

    pixels: np.ndarray
    """uint8 (256, 256)."""
    mask: np.ndarray
    """uint8 (256, 256): 0 background, 1 PS, 2 FH."""
    points: np.ndarray | None
    """(3, 2) PS1, PS2, FH1, or None for a head alone."""
    ellipse: np.ndarray | None = None
    """(3, 2) centre, half of the long axis, half of the short axis, as vectors, of a head alone."""
    sector: Polygon | None = None


def phantom_sources(seed: int, count: int) -> list[Source]:
    """Made-up frames of one seed, from 0 on."""
    phantoms = (make_phantom(seed, index, size=FRAME) for index in range(count))
    return [Source(p.frame.pixels, p.mask, p.keypoints.coords, None, find_sector(p.frame.pixels)) for p in phantoms]


def hc18_sources(folder: Path) -> list[Source]:
    """Frames of HC18 in the top left of 256 x 256 pixels; the outline is the ellipse on the ends of its axes."""
    sources = []
    for head in read_labels(folder / "labelled.csv", folder, HEAD):
        pixels = read_gray(head.path)
        scale = FRAME / max(pixels.shape)
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:FRAME, :FRAME]
        square = np.zeros((FRAME, FRAME), np.uint8)
        square[: pixels.shape[0], : pixels.shape[1]] = pixels
        ofd1, ofd2, bpd1, bpd2 = (head.keypoints.coords + 0.5) * scale - 0.5
        ellipse = np.stack([(ofd1 + ofd2 + bpd1 + bpd2) / 4, (ofd2 - ofd1) / 2, (bpd2 - bpd1) / 2])
        turns = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        mask = cv2.fillPoly(np.zeros_like(square), [np.rint(_on(ellipse, turns)).astype(np.int32)], 2)
        sources.append(Source(square, mask, None, ellipse))
    return sources


def _on(ellipse: np.ndarray, turns: np.ndarray) -> np.ndarray:
    return ellipse[0] + np.cos(turns)[..., None] * ellipse[1] + np.sin(turns)[..., None] * ellipse[2]


class Sampler:
    """Draws batches: inputs (B, 5, 128, 128) and targets (B, 1, 128, 128), both float32."""

    def __init__(self, phantoms: Sequence[Source], outlines: Sequence[Source]) -> None:
        self.phantoms, self.outlines = phantoms, outlines

    def batch(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        samples = [self.sample(rng) for _ in range(size)]
        return np.concatenate([inputs for inputs, _ in samples]), np.stack([target for _, target in samples])

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (1, 5, 128, 128) and target (1, 128, 128) of one frame; drawn anew where the structure got lost."""
        while True:
            of_head = bool(self.outlines) and rng.random() < FROM_HC18
            pool = self.outlines if of_head else self.phantoms
            source = pool[int(rng.integers(len(pool)))]
            structure = "FH" if of_head or rng.random() > SYMPHYSIS else "PS"
            placed = _placed(rng, source, BEND[structure])
            region = (placed.mask == STRUCTURES[structure]).astype(np.uint8)
            if region.sum() < 100:
                continue
            strokes = None
            if rng.random() < LANDMARK_STROKES and placed.points is not None:
                strokes = _landmark_strokes(rng, placed, structure)
            positive, negative = strokes or _free_strokes(rng, region)
            inputs = network_inputs(_grayed(rng, placed.pixels), positive, negative)
            target = cv2.resize(region.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            return inputs, target[None]


def _placed(rng: np.random.Generator, source: Source, most_bent: float) -> Source:
    """The source turned, scaled, stretched, shifted, perhaps mirrored and bent; a head alone is given landmarks."""
    points = source.points
    turn, stretch = rng.uniform(-15, 15), np.exp(rng.uniform(-0.15, 0.15, 2))
    if source.ellipse is not None:
        points = _made_up_landmarks(rng, source.ellipse)
        # A head alone lies anyhow: turned until PS1 -> PS2 runs as on a transperineal frame.
        axis = points[1] - points[0]
        turn += np.degrees(np.angle(complex(*axis)) - np.radians(rng.uniform(140, 190)))
    matrix = cv2.getRotationMatrix2D((FRAME / 2, FRAME / 2), turn, np.exp(rng.uniform(-0.25, 0.3)))
    matrix = np.diag(stretch) @ matrix
    middle = np.argwhere(source.mask > 0).mean(axis=0)[::-1]
    goal = FRAME * np.array([rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.6)])
    matrix[:, 2] += goal - matrix @ [*middle, 1]
    field = None if source.ellipse is not None else rng.normal(0, 1, (2, BUMPS, BUMPS)) * rng.uniform(0, most_bent)
    x, y = _places(matrix, field)
    mask = cv2.remap(source.mask, x, y, cv2.INTER_NEAREST)
    if field is None and points is not None:
        points = points @ matrix[:, :2].T + matrix[:, 2]
    else:
        # What was bent has its landmarks elsewhere; those of the mask are what an annotator would set.
        points, reason = landmarks_from_masks(mask)
        points = None if reason else points
    placed = Source(cv2.remap(source.pixels, x, y, cv2.INTER_LINEAR), mask, points, None, _moved(source.sector, matrix))
    return _mirrored(placed) if rng.random() < 0.3 else placed


def _moved(sector: Polygon | None, matrix: np.ndarray) -> Polygon | None:
    if sector is None:
        return None
    (a, b, c), (d, e, f) = matrix
    moved = affinity.affine_transform(sector, [a, b, d, e, c, f])
    inside = moved.intersection(shapely.box(0, 0, FRAME - 1, FRAME - 1)).convex_hull
    return inside if inside.geom_type == "Polygon" else None


def _mirrored(source: Source) -> Source:
    flip = np.array([[-1.0, 0, FRAME - 1], [0, 1, 0]])
    points = None if source.points is None else source.points * [-1, 1] + [FRAME - 1, 0]
    return Source(
        np.ascontiguousarray(source.pixels[:, ::-1]),
        np.ascontiguousarray(source.mask[:, ::-1]),
        points,
        None,
        _moved(source.sector, flip),
    )


def _places(matrix: np.ndarray, field: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the new picture is taken from, two float32 (256, 256); ``field`` bends it, in pixels."""
    x, y = np.meshgrid(np.arange(FRAME, dtype=np.float32), np.arange(FRAME, dtype=np.float32))
    if field is not None:
        x, y = (
            place + cv2.resize(bend.astype(np.float32), (FRAME, FRAME), interpolation=cv2.INTER_CUBIC)
            for place, bend in zip((x, y), field, strict=True)
        )
    (a, b, c), (d, e, f) = cv2.invertAffineTransform(matrix)
    return (a * x + b * y + c).astype(np.float32), (d * x + e * y + f).astype(np.float32)


def _made_up_landmarks(rng: np.random.Generator, ellipse: np.ndarray) -> np.ndarray:
    """PS1, PS2, FH1, shape (3, 2), as if a symphysis stood beside this head: PS1-FH1 touches the outline in FH1."""
    turn = rng.uniform(0, 2 * np.pi)
    fh1 = _on(ellipse, np.array(turn))
    tangent = -np.sin(turn) * ellipse[1] + np.cos(turn) * ellipse[2]
    tangent *= rng.choice([-1, 1]) / np.hypot(*tangent)
    size = float(np.hypot(*ellipse[1]) + np.hypot(*ellipse[2]))
    ps1 = fh1 + rng.uniform(0.25, 0.75) * size * tangent
    inward, towards = ellipse[0] - ps1, fh1 - ps1
    side = np.sign(towards[0] * inward[1] - towards[1] * inward[0])
    angle = side * np.radians(rng.uniform(80, 160))
    cos, sin = np.cos(angle), np.sin(angle)
    axis = np.array([[cos, -sin], [sin, cos]]) @ towards
    return np.stack([ps1, ps1 + rng.uniform(0.35, 0.65) * size * axis / np.hypot(*axis), fh1])


def _landmark_strokes(rng: np.random.Generator, source: Source, structure: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The project's own strokes on points that an annotator might have set; None where there are none."""
    assert source.points is not None
    points = np.clip(source.points + rng.normal(0, 1.0, (3, 2)), 0, FRAME - 1)
    without = [name for name in NAMES if rng.random() < LEFT_OUT]
    sector = source.sector if rng.random() < 0.8 else None
    share = rng.uniform(0.6, 1.1)
    found = [
        attrs.evolve(stroke, line=_from_start(stroke.line, share)) if stroke.structure == "FH" else stroke
        for stroke in strokes_for(points, FRAME, FRAME, sector, without=without).strokes
    ]
    positive, negative = raster.masks(found, structure, FRAME, FRAME, foreign=rng.random() < 0.5)
    return (positive, negative) if positive.any() else None


def _from_start(line: LineString, share: float) -> LineString:
    start, end = np.asarray(line.coords)
    return LineString([start, start + share * (end - start)])


def _free_strokes(rng: np.random.Generator, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One to four lines between random places of the region, up to four between places near it and outside it."""
    reach = 2 * int(rng.integers(8, 25)) + 1
    near = cv2.dilate(region, np.ones((reach, reach), np.uint8)) * (1 - region)
    masks = []
    for allowed, lines in ((region, rng.integers(1, 5)), (near, rng.integers(0, 5))):
        drawn = np.zeros_like(region)
        places = np.argwhere(allowed)[:, ::-1]
        for _ in range(lines if len(places) else 0):
            start, end = places[rng.integers(len(places), size=2)]
            cv2.line(drawn, start.tolist(), end.tolist(), 1, int(rng.integers(1, 4)))
        masks.append(drawn * allowed)
    return masks[0], masks[1]


def _grayed(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """Another machine's gray values, uint8 (256, 256): gamma, gain by place, speckle, blur, seldom inverted."""
    gray = (pixels / 255.0).astype(np.float32) ** float(np.exp(rng.uniform(-0.7, 0.7)))
    gain = cv2.resize(rng.uniform(0.4, 1.5, (4, 4)).astype(np.float32), pixels.shape, interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.7:
        gray *= np.clip(gain, 0.2, 2)
    if rng.random() < 0.6:
        grain = rng.normal(0, 1, pixels.shape).astype(np.float32)
        grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.7, 2.0)), np.float32)
        gray *= np.clip(1 + rng.uniform(0, 0.4) * grain / max(float(grain.std()), 1e-6), 0, 3)
    if rng.random() < 0.5:
        gray = np.asarray(cv2.GaussianBlur(gray, (0, 0), rng.uniform(0.4, 1.8)), np.float32)
    gray = gray * rng.uniform(0.6, 1.4) + rng.uniform(-0.05, 0.1)
    if rng.random() < 0.04:
        gray = 1 - gray
    return (np.clip(gray, 0, 1) * 255).astype(np.uint8)
