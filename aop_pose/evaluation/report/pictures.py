"""Frames as pictures in the page: the largest errors with what is behind them, and what was not measured."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import attrs
import cv2
import numpy as np

from aop_pose.core.schema import Quantity
from aop_pose.errors import AopPoseError
from aop_pose.evaluation.comparison import Comparison, PixelsOf, SheetOf
from aop_pose.evaluation.errors import align_interchangeable, to_blame
from aop_pose.evaluation.figures import stated_intervals
from aop_pose.evaluation.report.html import escape
from aop_pose.evaluation.report.plots import signed

WORST = 12
WITHHELD = 12
"""Frames of each kind that are shown as pictures."""
WORST_VOLUMES = 6
"""Volumes of each kind that are shown as pictures."""
_LONGER_SIDE = 640
_SHEET_SIDE = 1400
_JPEG_QUALITY = 80
_ARC_STEPS = 24


@attrs.frozen
class Shot:
    """One frame as a picture, and what stands under it."""

    svg: str
    name: str
    lines: tuple[str, ...]


def worst_frames(comparison: Comparison, quantity: Quantity) -> np.ndarray:
    """Positions of the measured frames with the largest errors of a quantity, largest first."""
    difference = np.abs(comparison.errors.differences[quantity.key])
    order = np.argsort(-difference, kind="stable")
    return order[np.isfinite(difference[order])][:WORST]


def drawn_worst(comparison: Comparison, main: Quantity, pixels: PixelsOf) -> list[Shot]:
    """The worst frames: the reference dashed, the results solid with their interval, and the point to blame."""
    errors, matched = comparison.errors, comparison.matched
    positions = worst_frames(comparison, main)
    points, left = to_blame(matched.predicted[positions], matched.truth[positions], matched.schema, main)
    intervals = stated_intervals(errors, matched.intervals).get(main.key)
    found = []
    for position, point, rest in zip(positions.tolist(), points.tolist(), left.tolist(), strict=True):
        true, difference = errors.true_values[main.key][position], errors.differences[main.key][position]
        predicted, sign = main.folded(true + difference), main.sign
        words = [f"{predicted:.1f}{sign}, true {main.folded(true):.1f}{sign}: {signed(difference)}{sign}"]
        if max(true, true + difference) > main.fold:
            # Neither error nor interval is to be understood from the angles alone.
            words.append(f"as a turn {true + difference:.1f}{sign}, true {true:.1f}{sign}")
        ends = None if intervals is None else tuple(float(end[position]) for end in intervals.ends)
        if ends is not None and np.isfinite(ends).all() and intervals is not None:
            inside = "inside" if intervals.covered[position] == 1 else "outside"
            words.append(f"interval {ends[0]:.0f} to {ends[1]:.0f}{sign}: true value {inside}")
        if point >= 0:
            name = matched.schema.points[point]
            words.append(
                f"{name} to blame" + (f": with the true {name} {signed(rest)}{sign}" if main.unit == "deg" else "")
            )
        drawn = _svg(comparison, position, pixels(position), main, true + difference, ends)
        said = tuple(word.replace("-", "\N{MINUS SIGN}") for word in words)
        found.append(Shot(drawn, matched.names[position], said))
    return found


def drawn_withheld(comparison: Comparison, pixels: PixelsOf) -> list[Shot]:
    """Frames that were not measured, with the reason and the true points."""
    matched = comparison.matched
    missing = np.flatnonzero(~comparison.errors.measured)[:WITHHELD].tolist()
    return [
        Shot(_svg(comparison, position, pixels(position)), matched.names[position], (reason_of(comparison, position),))
        for position in missing
    ]


def drawn_worst_volumes(comparison: Comparison, sheets: SheetOf) -> list[Shot]:
    """Slices and skeleton of the volumes with the largest mean error of their points, largest first."""
    errors, schema = comparison.errors, comparison.errors.schema
    means = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else -1.0 for row in errors.distances])
    found = []
    for position in [at for at in np.argsort(-means, kind="stable")[:WORST_VOLUMES].tolist() if means[at] >= 0]:
        row = errors.distances[position]
        lost = [schema.points[point] for point in np.flatnonzero(errors.missing_points[position])]
        worst = int(np.nanargmax(row))
        lines = [f"mean {means[position]:.1f} mm, {schema.points[worst]} {row[worst]:.1f} mm"]
        lines += [f"not found: {', '.join(lost)}"] if lost else []
        lines = [line.replace("_", " ") for line in lines]
        found.append(_sheet(comparison, position, sheets, lines))
    return found


def drawn_withheld_volumes(comparison: Comparison, sheets: SheetOf) -> list[Shot]:
    """Volumes that were not measured, with the reason and the true points."""
    missing = np.flatnonzero(~comparison.errors.measured)[:WORST_VOLUMES].tolist()
    return [_sheet(comparison, position, sheets, [reason_of(comparison, position)]) for position in missing]


def _sheet(comparison: Comparison, position: int, sheets: SheetOf, lines: list[str]) -> Shot:
    pixels, name = sheets(position), comparison.matched.names[position]
    height, width = pixels.shape[:2]
    svg = (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">'
        f'<image width="{width}" height="{height}" href="{_data_uri(pixels, _SHEET_SIDE)}"/></svg>'
    )
    return Shot(svg, name, tuple(lines))


def reason_of(comparison: Comparison, position: int) -> str:
    """The words of a row that was not measured, else its status."""
    matched = comparison.matched
    reason = matched.reasons[position] if matched.reasons else ""
    return reason or {"ok": "a point is missing", "no row": "no row in the results"}.get(
        matched.statuses[position], matched.statuses[position]
    )


def _svg(
    comparison: Comparison,
    position: int,
    pixels: np.ndarray,
    main: Quantity | None = None,
    value: float = np.nan,
    ends: tuple[float, ...] | None = None,
) -> str:
    height, width = pixels.shape
    matched = comparison.matched
    truth = matched.truth[position]
    predicted = align_interchangeable(matched.predicted[[position]], truth[None], matched.schema)[0]
    # The centre of the first pixel is (0, 0), so the picture begins half a pixel before it.
    parts = [
        f'<svg viewBox="-0.5 -0.5 {width} {height}" role="img" aria-label="{escape(matched.names[position])}">',
        f'<image x="-0.5" y="-0.5" width="{width}" height="{height}" href="{_data_uri(pixels)}"/>',
    ]
    unit = max(width, height) / 150
    if main is not None and ends is not None and np.isfinite(ends).all() and np.isfinite(predicted).all():
        parts += _interval(predicted, main, value, ends, unit)
    for style, points in (("reference", truth), ("result", predicted)):
        if not np.isfinite(points).all():
            continue
        parts.append(f'<g class="{style}" stroke-width="{unit:.2f}">')
        for first, second in matched.schema.lines:
            (x1, y1), (x2, y2) = points[matched.schema.index(first)], points[matched.schema.index(second)]
            parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{1.5 * unit:.2f}"/>' for x, y in points]
        parts.append("</g>")
    named = predicted if np.isfinite(predicted).all() else truth
    parts += _names(named, matched.schema.points, (width, height), unit)
    return "".join([*parts, "</svg>"])


def _names(points: np.ndarray, names: tuple[str, ...], size: tuple[int, int], unit: float) -> Iterator[str]:
    """The name of each point beside it, on the side away from the others where it does not leave the picture."""
    middle, (width, height) = points.mean(axis=0), size
    # The style of the page lets a name inherit its size.
    yield f'<g font-size="{6 * unit:.1f}" stroke-width="{1.2 * unit:.2f}">'
    for name, (x, y) in zip(names, points, strict=True):
        room = (3 + 4.5 * len(name)) * unit
        right = x > middle[0] if room < x < width - room else x < width / 2
        anchor, shift = ("start", 3 * unit) if right else ("end", -3 * unit)
        base = min(max(y + (6.5 * unit if y > middle[1] else -2 * unit), 6 * unit), height - 2 * unit)
        yield f'<text class="name" x="{x + shift:.1f}" y="{base:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
    yield "</g>"


def _interval(points: np.ndarray, main: Quantity, value: float, ends: tuple[float, ...], unit: float) -> list[str]:
    """A wedge between the ends of an angle's interval; of an ellipse, that of each end."""
    if main.mark == "arc":
        vertex, along, across = points
        first, second = along - vertex, across - vertex
        length, reach = np.hypot(*first), np.hypot(*second)
        if not (length and reach):
            return []
        ray = first / length
        sides = [_turned(ray, value, sense) for sense in (-1, 1)]
        sense = (-1, 1)[int(np.argmax([side @ second for side in sides]))]
        turns = np.linspace(min(ends), max(ends), _ARC_STEPS)
        edge = [vertex + reach * _turned(ray, turn, sense) for turn in turns]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (vertex, *edge))
        return [f'<polygon class="interval" points="{path}" stroke-width="{0.5 * unit:.2f}"/>']
    if main.mark == "ellipse" and value > 0:
        (a, b), (c, d) = points[:2], points[2:]
        centre, half, other = (a + b) / 2, (b - a) / 2, (d - c) / 2
        return [
            f'<circle class="interval open" r="1" vector-effect="non-scaling-stroke" transform="matrix('
            f"{times * half[0]:.2f} {times * half[1]:.2f} {times * other[0]:.2f} {times * other[1]:.2f} "
            f'{centre[0]:.1f} {centre[1]:.1f})"/>'
            for times in (end / value for end in ends)
        ]
    return []


def _turned(ray: np.ndarray, degrees: float, sense: int) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), sense * np.sin(np.radians(degrees))
    return np.array([cosine * ray[0] - sine * ray[1], sine * ray[0] + cosine * ray[1]])


def _data_uri(pixels: np.ndarray, longer_side: int = _LONGER_SIDE) -> str:
    shrink = longer_side / max(pixels.shape)
    if shrink < 1:
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise AopPoseError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
