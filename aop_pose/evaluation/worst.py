"""The frames with the largest errors, small enough to stand in the page."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape

import attrs
import cv2
import numpy as np

from aop_pose.errors import AopPoseError
from aop_pose.evaluation.study import Study, main_quantity

WORST = 12
_LONGER_SIDE = 300
_JPEG_QUALITY = 80

PictureOf = Callable[[int], np.ndarray]
"""Position of a true frame -> its pixels, uint8 (H, W)."""


@attrs.frozen
class Picture:
    """One frame with both sets of points, and what to say under it."""

    svg: str
    name: str
    error: str


def worst_frames(study: Study) -> np.ndarray:
    """Positions of the measured frames with the largest errors of the main quantity, largest first."""
    difference = np.abs(study.errors.differences[main_quantity(study.errors).key])
    order = np.argsort(-difference, kind="stable")
    return order[np.isfinite(difference[order])][:WORST]


def worst_pictures(study: Study, picture_of: PictureOf) -> list[Picture]:
    """The worst frames drawn: the reference dashed, the results solid."""
    main = main_quantity(study.errors)
    pictures = []
    for position in worst_frames(study):
        error = study.errors.differences[main.key][position]
        reference = study.errors.true_values[main.key][position]
        pictures.append(
            Picture(
                svg=_drawn(study, int(position), picture_of(int(position))),
                name=study.matched.names[position],
                error=f"{error:+.1f}{main.sign} at {reference:.1f}{main.sign}".replace("-", "\N{MINUS SIGN}"),
            )
        )
    return pictures


def _drawn(study: Study, position: int, pixels: np.ndarray) -> str:
    height, width = pixels.shape
    matched = study.matched
    # The centre of the first pixel is (0, 0), so the picture begins half a pixel before it.
    parts = [
        f'<svg viewBox="-0.5 -0.5 {width} {height}" role="img" aria-label="{escape(matched.names[position])}">',
        f'<image x="-0.5" y="-0.5" width="{width}" height="{height}" href="{_data_uri(pixels)}"/>',
    ]
    thickness = max(width, height) / 150
    for style, points in (("reference", matched.truth[position]), ("result", matched.predicted[position])):
        parts.append(f'<g class="{style}" stroke-width="{thickness:.2f}">')
        for first, second in matched.schema.lines:
            (x1, y1), (x2, y2) = points[matched.schema.index(first)], points[matched.schema.index(second)]
            parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{1.6 * thickness:.2f}"/>' for x, y in points]
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _data_uri(pixels: np.ndarray) -> str:
    shrink = _LONGER_SIDE / max(pixels.shape)
    if shrink < 1:
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise AopPoseError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
