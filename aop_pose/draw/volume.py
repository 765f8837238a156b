"""Points in a volume, drawn to be checked by eye: slices, the skeleton, the midsagittal plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import cv2
import numpy as np

from aop_pose import geometry
from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schema import Schema
from aop_pose.draw.frame import NOTE
from aop_pose.draw.marks import ORANGE, SKY, Colour, around, dot, name_point, pale, polyline, put_text, text_size, wrap
from aop_pose.draw.skeleton import Skeleton, directions, draw_view, from_the_side, half_extent, midsagittal
from aop_pose.inference.grid import normalised, sample

AXES = "ijk"


def gray_values(volume: Volume) -> np.ndarray:
    """uint8 (I, J, K) as the network sees them (``grid.normalised``); 0 everywhere in an empty volume."""
    values = normalised(volume.voxels)
    if values is None:
        return np.zeros(volume.shape, np.uint8)
    return np.rint(values * 255).astype(np.uint8)


@attrs.frozen(eq=False)
class Window:
    """A box of whole voxels in a volume, and how large it is drawn."""

    first: np.ndarray
    """(3,) index of the first voxel along i, j, k."""
    last: np.ndarray
    """(3,) index of the last voxel."""
    spacing: np.ndarray
    """(3,) mm."""
    pixels_per_mm: float

    @classmethod
    def about(cls, volume: Volume, points: np.ndarray, margin_mm: float, across: int, down: int) -> Window:
        """The voxels within ``margin_mm`` of the finite ``points`` (n, 3); all of them where no point is finite.

        The scale is such that the three slices fit side by side into ``across`` pixels, none of them higher than
        ``down``.
        """
        shape, spacing = np.array(volume.shape), volume.spacing
        known = points[np.isfinite(points).all(axis=1)]
        first, last = np.zeros(3, int), shape - 1
        if len(known):
            room = margin_mm / spacing
            # A point beyond the volume must not leave a window without voxels.
            first = np.clip(np.floor(known.min(axis=0) - room), 0, shape - 1).astype(int)
            last = np.clip(np.ceil(known.max(axis=0) + room), 0, shape - 1).astype(int)
        i, j, k = (last - first + 1) * spacing
        return cls(first, last, spacing, float(min(across / (j + i + i), down / max(j, k))))

    def size(self, axis: int) -> tuple[int, int]:
        """Width and height in pixels of a slice across ``axis``."""
        horizontal, vertical = _shown(axis)
        lengths = (self.last - self.first + 1) * self.spacing * self.pixels_per_mm
        return max(1, round(lengths[horizontal])), max(1, round(lengths[vertical]))

    def places(self, points: np.ndarray, axis: int) -> np.ndarray:
        """Pixels (..., 2), x right and y down, of voxel indices (..., 3) on a slice across ``axis``."""
        shown = list(_shown(axis))
        voxels = (self.last - self.first + 1)[shown]
        size = np.array(self.size(axis))
        across, up = np.moveaxis((points[..., shown] - self.first[shown] + 0.5) * size / voxels - 0.5, -1, 0)
        return np.stack([across, size[1] - 1 - up], axis=-1)

    def slice(self, gray: np.ndarray, axis: int, number: int) -> np.ndarray:
        """The slice ``number`` of ``gray`` (I, J, K) across ``axis``, uint8 BGR in the size of the picture."""
        box = [slice(first, last + 1) for first, last in zip(self.first, self.last, strict=True)]
        flat = np.take(gray, number, axis=axis)[tuple(box[other] for other in _shown(axis))]
        upright = np.ascontiguousarray(flat.T[::-1])
        return cv2.cvtColor(cv2.resize(upright, self.size(axis), interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2BGR)


def _shown(axis: int) -> tuple[int, int]:
    """The axes that a slice across ``axis`` shows: to the right, and up."""
    first, second = (other for other in range(3) if other != axis)
    return first, second


def plane_picture(
    volume: Volume, gray: np.ndarray, corner: np.ndarray, steps: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Gray values on a plane, uint8 (rows, columns), linear between voxels; 0 beyond the outer voxels' centres.

    Args:
        gray: (I, J, K) of the volume.
        corner: (3,) mm, where the first pixel lies.
        steps: (2, 3) mm from a pixel to the next in its row, and to that of the next row.
        shape: rows, columns.
    """
    rows, columns = np.indices(shape)
    places = geometry.from_mm(volume.affine, corner + rows[..., None] * steps[1] + columns[..., None] * steps[0])
    return np.rint(sample(gray, places)).astype(np.uint8)


_VIEW_MARGIN_MM = 12.0
_VIEW_SCALE = 0.45
_DOT = 3


def draw_midsagittal(
    volume: Volume, gray: np.ndarray, points: np.ndarray, schema: Schema, size: int, colour: Colour
) -> np.ndarray | None:
    """The plane through the points without a side, uint8 BGR (size, size, 3); None where they have no plane.

    The crown is up and the fetus is seen from its left. Points without a side are marked where they stand
    perpendicularly above the plane; the crown-rump length is that between the points themselves.

    Args:
        gray: (I, J, K) gray values of the volume.
        points: (points, 3) mm, NaN where missing.
    """
    plane, view = midsagittal(points, schema), from_the_side(points, schema)
    chosen = points[list(schema.unpaired)]
    chosen = chosen[np.isfinite(chosen).all(axis=1)]
    if not np.isfinite(plane.normal).all() or view is None or not len(chosen):
        return None
    flat = view.flat(chosen)
    middle = (flat.min(axis=0) + flat.max(axis=0)) / 2
    few = len(schema.points) <= _FEW
    step = (float(np.ptp(flat, axis=0).max()) + 2 * (_HEAD_MM if few else _VIEW_MARGIN_MM)) / size
    # The plane's own point carries the third coordinate; the two of the view are those of the picture's middle.
    centre = plane.point + (middle - view.flat(plane.point)) @ np.stack([view.right, view.up])
    half = (size - 1) / 2
    corner = centre + step * half * (view.up - view.right)
    pixels = plane_picture(volume, gray, corner, np.stack([view.right, -view.up]) * step, (size, size))
    picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)

    def places(given: np.ndarray) -> np.ndarray:
        return np.array([half, half]) + (view.flat(given) - middle) / step * (1, -1)

    occupied = []
    for place in places(chosen):
        dot(picture, place, _DOT, colour)
        occupied.append(around(place, _DOT))
    for words, names in schema.groups if few else ():
        if np.isfinite(of_group := points[list(schema.indices(names))]).all():
            name_point(picture, words, places(of_group.mean(axis=0)), pale(colour), occupied, _SCALE)
    if {"cranial_crest", "rump"} <= set(schema.points):
        ends = points[list(schema.indices(("cranial_crest", "rump")))]
        if np.isfinite(ends).all():
            line = places(ends)
            polyline(picture, line, colour, 2)
            text = f"CRL {float(geometry.point_distance(*ends)):.1f} mm"
            name_point(picture, text, line.mean(axis=0), (255, 255, 255), occupied, _VIEW_SCALE)
    return picture


_GROUND = (24, 24, 24)
_PANEL = (0, 0, 0)
_WHITE, _GRAY, _AMBER, _YELLOW = (255, 255, 255), (190, 190, 190), (60, 170, 255), (90, 225, 255)
_FOUND, _TRUE = ORANGE, SKY
"""Colours of prediction and truth."""
_SCALE, _TITLE_SCALE = 0.42, 0.5
_GAP = 8
_LINE = 20
"""Pixels from a line of text to the next."""
_SLICES = (780, 270)
"""Pixels across that the three slices of a row share, and the most that one may be high."""
_VIEW = 380
_MARGIN_MM, _HEAD_MM = 25.0, 42.0
"""Of tissue that is shown around the points, many or few: around the middle of a brain all of its head."""
_SLAB_MM = 3.0
"""Half the thickness of what a slice shows of the points; at least a voxel's."""
_FEW = 6
"""Schemas of at most so many points have names on the slices and a row for each point, others numbers and groups."""


def volume_sheet(
    volume: Volume,
    keypoints: Keypoints | None,
    truth: Keypoints | None = None,
    through: Sequence[str] | None = None,
    reason: str = "",
    numbers: str = "",
) -> np.ndarray:
    """Draw a volume and its points; returns uint8 BGR (H, W, 3).

    Left: slices across i, j and k through the middle of each group, or of each point of a small schema, with the points
    within 3 mm (at least a voxel) of the slice. Right: the skeleton from several sides, the midsagittal plane with the
    crown-rump length where the schema has one, and what is said of the points. Predicted points are
    orange, true ones blue rings on the slices; all proportions are physical.

    Args:
        keypoints: predicted points, in voxel indices; None where nothing was found.
        truth: true points of the same schema.
        through: names of the points to put slices through, instead of the groups.
        reason: why nothing was found, or what a reader of the points should know.
        numbers: what was measured, in words.

    Raises:
        ValueError: ``truth`` is of another schema, or ``through`` names a point that the schema does not have.
    """
    if keypoints is not None and truth is not None and keypoints.schema is not truth.schema:
        raise ValueError(f"truth: expected schema {keypoints.schema.name}, found {truth.schema.name}")
    shown = [given for given in (truth, keypoints) if given is not None and np.isfinite(given.coords).all(axis=1).any()]
    gray = gray_values(volume)
    if not shown:
        columns = [_slice_rows(volume, gray, None, None, {"middle of the volume": (np.array(volume.shape) - 1) / 2})]
    else:
        schema = shown[-1].schema
        centres = _centres(shown[-1], through)
        columns = [
            _slice_rows(volume, gray, keypoints, truth, centres),
            _right_column(volume, gray, keypoints, truth, schema),
        ]
    height = max(column.shape[0] for column in columns)
    body = np.hstack([_padded(column, height) for column in columns])
    return np.vstack([body, _band(body.shape[1], volume, keypoints, truth, reason, numbers)])


@attrs.frozen(eq=False)
class _Kind:
    """Predicted or true points."""

    coords: np.ndarray
    colour: Colour


def _kinds(keypoints: Keypoints | None, truth: Keypoints | None) -> list[_Kind]:
    """Truth first, so that the prediction is drawn on top of it."""
    both = ((truth, _TRUE), (keypoints, _FOUND))
    return [_Kind(given.coords, colour) for given, colour in both if given is not None]


def _centres(keypoints: Keypoints, through: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Words and voxel indices of what slices are put through; what is missing is left out."""
    schema = keypoints.schema
    chosen: dict[str, tuple[str, ...]]
    if through is not None:
        chosen = {name: (name,) for name in through}
    elif len(schema.points) <= _FEW:
        chosen = {name: (name,) for name in schema.points}
    else:
        chosen = dict(schema.groups)
    centres = {}
    for words, points in chosen.items():
        coords = keypoints.coords[list(schema.indices(points))]
        known = coords[np.isfinite(coords).all(axis=1)]
        if len(known):
            centres[words.replace("_", " ")] = known.mean(axis=0)
    return centres


def _labels(schema: Schema) -> list[str]:
    """The name of a point on the pictures: its name, or its number from 1 where there are many."""
    if len(schema.points) <= _FEW:
        return [name.replace("_", " ") for name in schema.points]
    return [str(number) for number in range(1, len(schema.points) + 1)]


def _slice_rows(
    volume: Volume,
    gray: np.ndarray,
    keypoints: Keypoints | None,
    truth: Keypoints | None,
    centres: dict[str, np.ndarray],
) -> np.ndarray:
    kinds = _kinds(keypoints, truth)
    every = np.concatenate([kind.coords for kind in kinds]) if kinds else np.empty((0, 3))
    given = keypoints or truth
    few = given is not None and len(given.schema.points) <= _FEW
    window = Window.about(volume, every, _HEAD_MM if few else _MARGIN_MM, *_SLICES)
    names = _labels(given.schema) if given is not None else []
    rows = []
    for words, centre in centres.items():
        numbers = np.clip(np.rint(centre), 0, np.array(volume.shape) - 1).astype(int)
        tiles = [_slice_tile(volume, gray, window, kinds, names, axis, int(numbers[axis])) for axis in range(3)]
        height = max(tile.shape[0] for tile in tiles)
        row = np.hstack([_padded(_framed(tile), height + _GAP) for tile in tiles])
        rows.append(np.vstack([_title(row.shape[1], words), row]))
    return np.vstack(rows)


def _slice_tile(
    volume: Volume, gray: np.ndarray, window: Window, kinds: list[_Kind], names: list[str], axis: int, number: int
) -> np.ndarray:
    picture = window.slice(gray, axis, number)
    spacing = float(volume.spacing[axis])
    slab = max(_SLAB_MM, spacing)
    found: list[tuple[str, np.ndarray, Colour]] = []
    for kind in kinds:
        near = np.abs(kind.coords[:, axis] - number) * spacing <= slab
        places = window.places(kind.coords, axis)
        inside = ((places >= 0) & (places <= np.array(picture.shape[1::-1]) - 1)).all(axis=1)
        for index in np.flatnonzero(near & inside):
            dot(picture, places[index], 4, kind.colour, 2 if kind.colour == _TRUE else -1)
            found.append((names[index], places[index], kind.colour))
    across, up = (AXES[other] for other in range(3) if other != axis)
    words = f"{AXES[axis]} = {number}: {across} right, {up} up"
    occupied = [around(place, 5) for _, place, _ in found]
    for name, place, colour in found:
        name_point(picture, name, place, pale(colour), occupied, _SCALE, always=False)
    head = np.full((_LINE, picture.shape[1], 3), _GROUND, np.uint8)
    fitting = next(iter(wrap(words, picture.shape[1], _SCALE, 1)), "")
    put_text(head, fitting, 0, _LINE - 6, _SCALE, _GRAY)
    return np.vstack([head, picture])


def _right_column(
    volume: Volume, gray: np.ndarray, keypoints: Keypoints | None, truth: Keypoints | None, schema: Schema
) -> np.ndarray:
    kinds = _kinds(keypoints, truth)
    skeletons = [Skeleton(volume.to_mm(kind.coords), kind.colour) for kind in kinds]
    views = directions(skeletons[0].points, schema)
    half = half_extent(skeletons, views, schema)
    panels = []
    for view in views:
        panel = np.full((_VIEW, _VIEW, 3), _PANEL, np.uint8)
        draw_view(panel, skeletons, schema, view, _labels(schema), half)
        panels.append((f"skeleton {view.words}", panel))
    for skeleton in reversed(skeletons):
        cut = draw_midsagittal(volume, gray, skeleton.points, schema, _VIEW, skeleton.colour)
        if cut is not None:
            whose = "predicted" if skeleton.colour == _FOUND else "true"
            panels.append((f"midsagittal plane of the {whose} points", cut))
    tiles = [np.vstack([_title(_VIEW, words), panel]) for words, panel in panels]
    # Two rows at most, as high as the slices to their left.
    across = max(2, -(-len(tiles) // 2))
    tiles += [np.full_like(tiles[0], _GROUND)] * (-len(tiles) % across)
    rows = [np.hstack([_framed(tile) for tile in row]) for row in (tiles[:across], tiles[across:]) if row]
    width = rows[0].shape[1]
    return np.vstack([*rows, _legend(width, volume, keypoints, truth, schema)])


def _legend(
    width: int, volume: Volume, keypoints: Keypoints | None, truth: Keypoints | None, schema: Schema
) -> np.ndarray:
    """Lines about the points, in two columns; nothing where nothing is to be said."""
    lines = list(_lines(volume, keypoints, truth, schema))
    deep = -(-len(lines) // 2)
    block = np.full(((deep + 1) * _LINE * bool(lines), width, 3), _GROUND, np.uint8)
    for number, (text, colour) in enumerate(lines):
        put_text(block, text, 4 + (number // deep) * (width // 2), (number % deep + 1) * _LINE, _SCALE, colour)
    return block


def _lines(
    volume: Volume, keypoints: Keypoints | None, truth: Keypoints | None, schema: Schema
) -> Iterator[tuple[str, Colour]]:
    """Errors where the truth is known, points that were not found, and what the numbers of many points mean."""
    errors = np.full(len(schema.points), np.nan)
    if keypoints is not None and truth is not None:
        errors = geometry.point_distance(volume.to_mm(keypoints.coords), volume.to_mm(truth.coords))
    for number, point in enumerate(schema.points):
        text = point.replace("_", " ") if len(schema.points) <= _FEW else f"{number + 1:2d} {point.replace('_', ' ')}"
        if keypoints is None or not np.isfinite(keypoints.coords[number]).all():
            yield f"{text}: not found", _AMBER
        elif np.isfinite(errors[number]):
            yield f"{text}: {errors[number]:.1f} mm off", _WHITE
        elif len(schema.points) > _FEW:
            yield text, _WHITE


def _band(
    width: int, volume: Volume, keypoints: Keypoints | None, truth: Keypoints | None, reason: str, numbers: str
) -> np.ndarray:
    """The strip below: what was measured, why nothing was or what to know, the colours, the source and the note."""
    said = reason if keypoints is not None else f"no points: {reason}" if reason else "no points"
    lines = [(line, _YELLOW) for line in wrap(numbers, width - 16, _TITLE_SCALE, 3)] if numbers else []
    lines += [(line, _AMBER) for line in wrap(said, width - 16, _TITLE_SCALE, 2)]
    words = [name for name, given in (("orange: prediction", keypoints), ("blue: truth", truth)) if given is not None]
    size, spacing = (" x ".join(f"{n:g}" for n in numbers) for numbers in (volume.shape, np.round(volume.spacing, 2)))
    words.append(f"{size} voxels of {spacing} mm")
    lines.append((", ".join(words), _WHITE))
    name = volume.source if volume.index == 0 else f"{volume.source} #{volume.index}"
    note = text_size(NOTE, _TITLE_SCALE)[0]
    band = np.full(((len(lines) + 1) * _LINE + 12, width, 3), _GROUND, np.uint8)
    base = 0
    for text, colour in lines:
        base += _LINE
        put_text(band, text, 8, base, _TITLE_SCALE, colour)
    base += _LINE
    # The end of a long path says more than its beginning.
    while name and text_size(name, _TITLE_SCALE)[0] > width - note - 28:
        name = name[4:] if len(name) < 8 else "..." + name[7:]
    put_text(band, name, 8, base, _TITLE_SCALE, _GRAY)
    put_text(band, NOTE, width - 8 - note, base, _TITLE_SCALE, _WHITE)
    return band


def _title(width: int, words: str) -> np.ndarray:
    strip = np.full((_LINE + 4, width, 3), _GROUND, np.uint8)
    put_text(strip, next(iter(wrap(words, width - 8, _TITLE_SCALE, 1)), ""), 4, _LINE - 2, _TITLE_SCALE, _WHITE)
    return strip


def _framed(tile: np.ndarray) -> np.ndarray:
    """A tile with ground to its left and right."""
    side = np.full((tile.shape[0], _GAP // 2, 3), _GROUND, np.uint8)
    return np.hstack([side, tile, side])


def _padded(tile: np.ndarray, height: int) -> np.ndarray:
    """A tile with ground below it, down to ``height``."""
    missing = height - tile.shape[0]
    return np.vstack([tile, np.full((missing, tile.shape[1], 3), _GROUND, np.uint8)]) if missing > 0 else tile
