"""The plots of the agreement report."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import attrs
import cv2
import numpy as np

from aop_pose.core.schema import Quantity
from aop_pose.errors import AopPoseError
from aop_pose.evaluation.comparison import Comparison, PixelsOf
from aop_pose.evaluation.errors import PCK_LIMIT_MM, pck_curve
from aop_pose.evaluation.figures import swapped
from aop_pose.evaluation.report.html import Axis, Chart, escape
from aop_pose.evaluation.subsets import Subset
from aop_pose.stats.bootstrap import Estimate


def bland_altman(comparison: Comparison, quantity: Quantity) -> str:
    """Difference against mean of the two raters, with bias and limits of agreement in their intervals."""
    difference = comparison.errors.differences[quantity.key]
    known = np.isfinite(difference)
    second, difference = comparison.errors.true_values[quantity.key][known], difference[known]
    middle = second + difference / 2
    lines = {
        "+1.96 SD": comparison.estimates[quantity.figure("loa_high")],
        "bias": comparison.estimates[quantity.figure("bias")],
        "\N{MINUS SIGN}1.96 SD": comparison.estimates[quantity.figure("loa_low")],
    }
    unit = quantity.sign.strip()
    ends = [end for estimate in lines.values() for end in (estimate.value, *(estimate.interval or ()))]
    chart = Chart(
        f"Bland-Altman plot of {quantity.title}",
        Axis.over(f"mean of the two, {unit}", middle),
        Axis.over(f"results \N{MINUS SIGN} reference, {unit}", [*difference, *ends]),
    )
    low, high = chart.x.low, chart.x.high
    for estimate in lines.values():
        if estimate.interval is not None:
            chart.band(low, estimate.interval[0], high, estimate.interval[1], "band")
    chart.line(low, 0, high, 0, "zero")
    chart.dots(middle, difference, "dots")
    for words, estimate in lines.items():
        chart.line(low, estimate.value, high, estimate.value, "solid" if words == "bias" else "dashed")
        text = f"{words} {signed(estimate.value)}{'°' if unit == '°' else ''}"
        chart.words(high, estimate.value, text, "note end", (-4, -5))
    return chart.svg()


def error_against(
    comparison: Comparison, main: Quantity, values: np.ndarray, label: str, thirds: Sequence[Subset]
) -> str:
    """Absolute error against some value of each frame, with the mean error of each third in its interval."""
    error = np.abs(comparison.errors.differences[main.key])
    known = np.isfinite(error) & np.isfinite(values)
    chart = Chart(
        f"Absolute error against {label}",
        Axis.over(label, values[known]),
        Axis.over(f"absolute error, {main.sign.strip()}", [0, *error[known]]),
    )
    everywhere = values[np.isfinite(values)]
    edges = [everywhere.min(), *np.quantile(everywhere, [1 / 3, 2 / 3]), everywhere.max()] if len(everywhere) else []
    estimates = [subset.estimates.get(main.figure("mae"), Estimate(np.nan)) for subset in thirds]
    # No thirds of a few frames; pairs of edges then outnumber them.
    spans = list(zip(edges[:-1], edges[1:], estimates, strict=False))
    for low, high, estimate in spans:
        if estimate.interval is not None:
            chart.band(low, estimate.interval[0], high, estimate.interval[1], "band")
    chart.dots(values[known], error[known], "dots")
    for low, high, estimate in spans:
        if np.isfinite(estimate.value):
            chart.line(low, estimate.value, high, estimate.value, "solid")
    return chart.svg()


def icc_beside_readers(comparison: Comparison, quantity: Quantity) -> str:
    """Both intraclass correlations with their intervals, and those of human readers from the literature."""
    name = quantity.key
    rows: list[tuple[str, str, Estimate, str]] = [
        ("These results, ICC(2,1)", "absolute agreement", comparison.estimates[f"{name}_icc_2_1"], "here"),
        ("These results, ICC(3,1)", "consistency", comparison.estimates[f"{name}_icc_3_1"], "here"),
    ]
    rows += [(what, source, Estimate(value), "human") for what, source, value in quantity.readers]
    ends = [end for *_, estimate, _ in rows for end in (estimate.value, *(estimate.interval or ()))]
    x = Axis.over("intraclass correlation (1 = perfect agreement)", [0.5, 1.0, *ends], ticks=5)
    chart = Chart("Intraclass correlation beside human readers", x, Axis("", -0.6, len(rows) - 0.4, 1), left=16)
    for place, (what, source, estimate, style) in enumerate(reversed(rows)):
        if not np.isfinite(estimate.value):
            continue
        if estimate.interval is not None:
            chart.line(estimate.interval[0], place, estimate.interval[1], place, f"whisker {style}")
        chart.dots([estimate.value], [place], f"mark {style}")
        text = f"{what} ({source}): {estimate.value:.{3 if style == 'here' else 2}f}"
        chart.words(x.low, place, text, "note", (4, -12))
    return chart.svg(y_ticks=False)


def signed(value: float) -> str:
    """One decimal with its sign, the minus as typographers write it."""
    # + 0.0 makes a zero of the negative zero that rounding may leave.
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")


def pck_curves(comparison: Comparison) -> str:
    """The share of points within each threshold, as named and, dashed, up to a swap of the sides; "" where none is."""
    errors = comparison.errors
    chart = Chart(
        "PCK curve", Axis.over("threshold, mm", [0, PCK_LIMIT_MM]), Axis.over("points within, %", [0, 100], ticks=5)
    )
    drawn = False
    for distances, style in ((errors.distances, "curve"), (swapped(errors).get("swap"), "dashed")):
        if distances is None:
            continue
        thresholds, shares = pck_curve(np.where(errors.labelled, distances, np.nan))
        drawn = drawn or bool(np.isfinite(shares).any())
        chart.curve(thresholds, 100 * shares, style)
    return chart.svg() if drawn else ""


WORST = 12
_LONGER_SIDE = 300
_JPEG_QUALITY = 80


@attrs.frozen
class WorstFrame:
    """One frame with both sets of points, and what to say under it."""

    svg: str
    name: str
    error: str


def worst_frames(comparison: Comparison, quantity: Quantity) -> np.ndarray:
    """Positions of the measured frames with the largest errors of a quantity, largest first."""
    difference = np.abs(comparison.errors.differences[quantity.key])
    order = np.argsort(-difference, kind="stable")
    return order[np.isfinite(difference[order])][:WORST]


def drawn_worst(comparison: Comparison, main: Quantity, pixels: PixelsOf) -> list[WorstFrame]:
    """The worst frames drawn: the reference dashed, the results solid."""
    found = []
    for position in worst_frames(comparison, main):
        error = comparison.errors.differences[main.key][position]
        reference = comparison.errors.true_values[main.key][position]
        found.append(
            WorstFrame(
                svg=_drawn(comparison, int(position), pixels(int(position))),
                name=comparison.matched.names[position],
                error=f"{error:+.1f}{main.sign} at {reference:.1f}{main.sign}".replace("-", "\N{MINUS SIGN}"),
            )
        )
    return found


def _drawn(comparison: Comparison, position: int, pixels: np.ndarray) -> str:
    height, width = pixels.shape
    matched = comparison.matched
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
