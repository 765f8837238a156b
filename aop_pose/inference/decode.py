"""Gaussian heatmaps: points to maps and back, in two and in three dimensions by the same functions.

A map has the axes (h, w) or (d, h, w); a point has the coordinates in the opposite order, (x, y) or (x, y, z), in
pixels of the map, the centre of the first pixel at 0. Leading axes are free: maps (..., n, h, w), points (..., n, 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RULES = ("argmax", "soft-argmax", "subpixel")
WINDOW = 5
"""Pixels along each axis, around the highest one, that the sub-pixel rule looks at."""
APART = 1 / 8
"""The two ends of an axis are at least this share of the map's longer side apart (see ``decode_ends``)."""


def encode(points: np.ndarray, shape: Sequence[int], sigma: float) -> np.ndarray:
    """Maps (..., n, *shape) with exp(-d^2 / (2 sigma^2)), d the distance from the true, sub-pixel position.

    Equation 1 of Tang et al. (IUGC 2025 baseline), whose peak of 1 lies between pixels where the point does. ``points``
    (..., n, 2 or 3) and ``sigma`` in pixels of the map. A point that is NaN has a map of zeros.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.shape[-1] != len(shape):
        raise ValueError(f"expected {len(shape)} coordinates a point for maps {tuple(shape)}, found {points.shape}")
    maps = np.ones(1)
    for axis, size in enumerate(shape):
        along = np.exp(-((np.arange(size) - points[..., -1 - axis, None]) ** 2) / (2 * sigma**2))
        spread = (1,) * axis + (size,) + (1,) * (len(shape) - 1 - axis)
        maps = maps * along.reshape(*points.shape[:-1], *spread)
    return np.where(np.isnan(maps), 0.0, maps)


def decode(maps: np.ndarray, rule: str, dimensions: int = 2) -> np.ndarray:
    """Points (..., n, dimensions) in pixels of the map; NaN where a map has no finite, positive peak.

    Args:
        maps: (..., n, h, w), or (..., n, d, h, w) with ``dimensions=3``.
        rule: ``argmax`` takes the highest pixel, as the papers do. ``soft-argmax`` takes the mean position over the
            map, cut at 0 and divided by its sum: it is drawn inwards where a peak is cut by the border. ``subpixel``
            fits a parabola to the logarithm of the map around the highest pixel, along each axis, which is exact for a
            Gaussian anywhere, border included.
    """
    if rule not in RULES:
        raise ValueError(f"rule: expected one of {', '.join(RULES)}, found {rule!r}")
    maps = np.asarray(maps)
    lead, shape = maps.shape[:-dimensions], maps.shape[-dimensions:]
    flat = maps.reshape(-1, *shape).astype(np.float64)
    peak = flat.reshape(len(flat), -1).max(axis=1, initial=-np.inf)
    good = np.isfinite(peak) & (peak > 0)
    flat[~good] = 1.0
    if rule == "soft-argmax":
        places = _mean_position(np.clip(flat, 0, None))
    else:
        pixels = _highest(flat)
        places = _refined(np.clip(flat, 0, None), pixels) if rule == "subpixel" else pixels
    points = np.where(good[:, None], places[:, ::-1], np.nan)
    return points.reshape(*lead, dimensions)


def peaks(maps: np.ndarray, dimensions: int = 2) -> np.ndarray:
    """The highest value of each map (..., n), as a score: cut to [0, 1], and 0 where it is not finite."""
    highest = np.asarray(maps, dtype=np.float64).max(axis=tuple(range(-dimensions, 0)))
    return np.clip(np.nan_to_num(highest, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)


def spreads(maps: np.ndarray, dimensions: int = 2) -> np.ndarray:
    """The width of each map (..., n, h, w): the standard deviation of the place it shows, in shares of its first side.

    The map, cut at 0 and divided by its sum, is read as a distribution; (..., n), NaN where nothing is positive.
    """
    maps = np.asarray(maps)
    lead, shape = maps.shape[:-dimensions], maps.shape[-dimensions:]
    flat = maps.reshape(-1, *shape).astype(np.float64)
    if not np.isfinite(flat).all():
        flat = np.nan_to_num(flat, nan=0.0, posinf=0.0)
    np.maximum(flat, 0, out=flat)
    shown = flat.reshape(len(flat), -1).max(axis=1, initial=0.0) > 0
    flat[~shown] = 1.0
    variance = np.zeros(len(flat))
    for marginal in _marginals(flat):
        shares, places = marginal / marginal.sum(axis=1, keepdims=True), np.arange(marginal.shape[1])
        variance += shares @ places**2 - (shares @ places) ** 2
    found = np.sqrt(np.clip(variance, 0, None)) / shape[0]
    return np.asarray(np.where(shown, found, np.nan).reshape(lead))


def decode_ends(maps: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of an axis from its two maps (2, h, w), whichever map shows which.

    Where a network cannot tell which end is called the first, each map shows both at half height: read by itself, both
    could give the same end. The sum of the two shows each end once in either case. Its highest pixel is one end, the
    highest at least ``APART`` of the map's longer side away the other; then each end is decoded from the pixels that
    are nearer to it. Returns points (2, 2), in the order of the maps where each shows one end, and scores (2,).
    """
    total = np.clip(np.nan_to_num(maps.astype(np.float64), nan=0.0, posinf=0.0), 0, None).sum(axis=0)
    first = _highest(total[None])[0]
    from_first = _squared_distance(total.shape, first)
    second = _highest(np.where(from_first >= (APART * max(total.shape)) ** 2, total, -1.0)[None])[0]
    nearer_first = from_first <= _squared_distance(total.shape, second)
    halves = np.stack([np.where(nearer_first, total, 0.0), np.where(nearer_first, 0.0, total)])
    rows, columns = np.stack([first, second]).T
    if maps[0, rows, columns].argmax() == 1 and maps[1, rows, columns].argmax() == 0:
        halves = halves[::-1]
    return decode(halves, rule), peaks(halves)


MOST_PEAKS = 8
"""Peaks of a map that are looked at for a pair."""


def highest_peaks(values: np.ndarray, count: int, apart: float = 0.0, where: np.ndarray | None = None) -> np.ndarray:
    """Places (k, axes) of the ``count`` highest peaks of a map, the highest first, each ``apart`` pixels from others.

    A peak is a positive pixel that no neighbour, corners included, is higher than; of equal neighbours the first.
    ``where``: bool, of the map's shape; peaks elsewhere do not count.
    """
    padded = np.pad(np.nan_to_num(values, nan=0.0, posinf=0.0), 1, constant_values=-np.inf)
    around = padded
    for axis in range(values.ndim):
        before, middle, behind = (
            np.take(around, range(start, start + values.shape[axis]), axis=axis) for start in range(3)
        )
        around = np.maximum(np.maximum(before, behind), middle)
    found = (padded[(slice(1, -1),) * values.ndim] == around) & (around > 0)
    places = np.argwhere(found if where is None else found & where)
    order = np.argsort(-values[tuple(places.T)], kind="stable")
    kept: list[np.ndarray] = []
    for place in places[order]:
        if all(np.linalg.norm(place - other) >= max(apart, 2.0) for other in kept):
            kept.append(place)
            if len(kept) == count:
                break
    return np.array(kept).reshape(-1, values.ndim)


def decode_two(
    values: np.ndarray, rule: str, least: float, most: float, where: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The two points that one map shows at a distance of ``least`` to ``most`` pixels, whichever is called the first.

    Of its highest peaks the two with the greatest product of heights at such a distance; then each is decoded from the
    pixels that are nearer to it. Where no two are so, the highest peak alone. ``where``: bool; peaks elsewhere do not
    count.

    Returns:
        Points (2, axes), the last axis of the map first as everywhere here, NaN where there is none, and scores (2,).
    """
    shape = values.shape
    places = highest_peaks(values, MOST_PEAKS, where=where)
    heights = values[tuple(places.T)] if len(places) else np.zeros(0)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    fitting = np.triu((apart >= least) & (apart <= most), 1)
    if not fitting.any():
        alone, scores = np.full((2, len(shape)), np.nan), np.zeros(2)
        if len(places):
            near = np.where(_squared_distance(shape, places[0]) <= WINDOW**2, values, 0.0)
            alone[:1], scores[:1] = decode(near[None], rule, len(shape)), peaks(near[None], len(shape))
        return alone, scores
    best = np.where(fitting, heights[:, None] * heights[None], -1.0)
    first, second = places[list(np.unravel_index(int(best.argmax()), best.shape))]
    nearer = _squared_distance(shape, first) <= _squared_distance(shape, second)
    halves = np.stack([np.where(nearer, values, 0.0), np.where(nearer, 0.0, values)])
    # Of a half that is higher elsewhere the chosen peak counts.
    for half, place in zip(halves, (first, second), strict=True):
        half[_squared_distance(shape, place) > WINDOW**2] = 0.0
    return decode(halves, rule, len(shape)), peaks(halves, len(shape))


def read_maps(
    maps: np.ndarray, rule: str, pairs: Sequence[tuple[int, int]], image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points and scores of one picture.

    Args:
        maps: (n, h, w), square.
        rule: as ``decode`` takes it.
        pairs: indices of points that may be swapped; they are read by ``decode_ends``.
        image_size: side of the network's input in pixels.

    Returns:
        Points (n, 2) in pixels of the input, NaN where a map has no peak, and scores (n,): each map's peak in [0, 1].
    """
    points, scores = decode(maps, rule), peaks(maps)
    for pair in pairs:
        points[list(pair)], scores[list(pair)] = decode_ends(maps[list(pair)], rule)
    return to_input(points, image_size / maps.shape[-1]), scores


def to_input(points: np.ndarray, stride: float) -> np.ndarray:
    """Points from pixels of a map to pixels of the input that is ``stride`` times as large (half-pixel convention)."""
    return (np.asarray(points, dtype=np.float64) + 0.5) * stride - 0.5


def to_map(points: np.ndarray, stride: float) -> np.ndarray:
    """The inverse of :func:`to_input`."""
    return (np.asarray(points, dtype=np.float64) + 0.5) / stride - 0.5


def _highest(flat: np.ndarray) -> np.ndarray:
    """Index (maps, dimensions) of the highest pixel of each map (maps, ...), in the order of the axes."""
    best = flat.reshape(len(flat), -1).argmax(axis=1)
    return np.stack(np.unravel_index(best, flat.shape[1:]), axis=1)


def _squared_distance(shape: tuple[int, ...], place: np.ndarray) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, count) for count in shape)]
    return np.asarray(sum((axis - start) ** 2 for axis, start in zip(axes, place, strict=True)))


def _mean_position(flat: np.ndarray) -> np.ndarray:
    marginals = _marginals(flat)
    return np.stack([m @ np.arange(m.shape[1]) / m.sum(axis=1) for m in marginals], axis=1)


def _marginals(flat: np.ndarray) -> list[np.ndarray]:
    """For each axis the sum over the others, (maps, size)."""
    axes = range(1, flat.ndim)
    return [flat.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]


def _refined(flat: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The highest places (maps, dimensions), each moved to the vertex of the parabola along its axis.

    The parabola is fitted to the logarithm of the window's marginal, by least squares weighted with its squares (the
    error of a logarithm grows as 1 / value). At the border the window is moved inwards. Where it finds no peak the
    place stays.
    """
    sizes = np.array(flat.shape[1:])
    widths = np.minimum(WINDOW, sizes)
    begins = np.clip(places - widths // 2, 0, sizes - widths)
    index: list[np.ndarray] = [np.arange(len(flat)).reshape(-1, *(1,) * len(sizes))]
    for axis, width in enumerate(widths):
        spread = [1] * (1 + len(sizes))
        spread[0], spread[1 + axis] = len(flat), width
        index.append((begins[:, axis, None] + np.arange(width)).reshape(spread))
    moved = places.astype(np.float64)
    for axis, marginal in enumerate(_marginals(flat[tuple(index)])):
        offsets = begins[:, axis, None] + np.arange(marginal.shape[1]) - places[:, axis, None]
        moved[:, axis] += np.clip(_vertex(offsets, marginal), -1, 1)
    return np.clip(moved, -0.5, sizes - 0.5)


def _vertex(offsets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Place (maps,) of the maximum of a parabola fitted to log(values), both (maps, k); 0 where there is none."""
    shares = values / values.max(axis=1, keepdims=True)
    logs = np.log(np.maximum(shares, 1e-12))
    weights = np.where(shares > 1e-12, shares**2, 0.0)
    powers = np.stack([np.ones_like(offsets), offsets, offsets**2], axis=2)
    normal = np.einsum("mk,mki,mkj->mij", weights, powers, powers)
    right = np.einsum("mk,mki,mk->mi", weights, powers, logs)
    solvable = np.linalg.cond(normal) < 1e12
    normal[~solvable] = np.eye(3)
    slope, curvature = np.linalg.solve(normal, right[..., None])[:, 1:, 0].T
    peaked = solvable & (curvature < 0)
    return np.where(peaked, -slope / np.where(peaked, 2 * curvature, 1.0), 0.0)


# Set once, before any measurement, and not tuned: about as many candidates as Ultralytics' assigner teaches (10).
VOTERS = 12
VOTER_IOU = 0.6


def decode_pose(output: np.ndarray, rule: str) -> tuple[np.ndarray, float]:
    """Points and score of the one object a frame can show.

    Args:
        output: (5 + 2 n, anchors): box centre x, y, width, height, score, then x, y of each point, in pixels of
            the network's input.
        rule: ``best`` takes the points of the highest score. ``weighted`` takes the mean, weighted by score, over
            the ``VOTERS`` highest-scored candidates whose box overlaps the best one's by IoU >= ``VOTER_IOU``.

    Returns:
        Points (n, 2) and the highest score; the score is 0 and the points NaN where the output is not finite.
    """
    scores = output[4]
    best = int(np.argmax(scores))
    if not np.isfinite(output[:, best]).all():
        return np.full((len(output[5:]) // 2, 2), np.nan), 0.0
    if rule == "best":
        return output[5:, best].reshape(-1, 2).astype(np.float64), float(scores[best])
    chosen, weights = voters(output)
    points = output[5:, chosen].astype(np.float64) @ weights
    return points.reshape(-1, 2), float(scores[best])


def voters(output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidates that speak of the same object as the best one, and their shares.

    Args:
        output: as ``decode_pose`` takes it; finite for the candidate with the highest score.

    Returns:
        Indices (k,) of the ``VOTERS`` highest-scored candidates whose box overlaps the best one's by IoU >=
        ``VOTER_IOU``, and their scores (k,) divided by the sum; the best one is always among them, and where all
        scores are 0 the shares are equal.
    """
    scores = output[4]
    best = int(np.argmax(scores))
    top = np.argpartition(-scores, VOTERS)[:VOTERS] if scores.size > VOTERS else np.arange(scores.size)
    chosen = top[(_iou(output[:4, top], output[:4, best]) >= VOTER_IOU) | (top == best)]
    weights = scores[chosen].astype(np.float64)
    if not weights.sum() > 0:
        weights = np.ones(len(chosen))
    return chosen, weights / weights.sum()


def _iou(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Overlap of boxes (4, k) with one box (4,), all as centre x, y, width, height."""
    low = np.maximum(boxes[:2] - boxes[2:] / 2, (box[:2] - box[2:] / 2)[:, None])
    high = np.minimum(boxes[:2] + boxes[2:] / 2, (box[:2] + box[2:] / 2)[:, None])
    shared = np.clip(high - low, 0, None).prod(axis=0)
    return shared / (boxes[2:].prod(axis=0) + box[2:].prod() - shared)
