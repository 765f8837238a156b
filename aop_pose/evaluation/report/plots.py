"""The plots of the agreement report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from aop_pose.core.schema import Quantity
from aop_pose.evaluation.comparison import NO_IMAGE, Comparison
from aop_pose.evaluation.errors import PCK_LIMIT_MM, pck_curve
from aop_pose.evaluation.figures import stated_intervals, swapped
from aop_pose.evaluation.grouping import Subset
from aop_pose.evaluation.report.html import Axis, Chart
from aop_pose.stats.agreement import smooth_band
from aop_pose.stats.bootstrap import Estimate

_PLACES = 40
"""Of a smooth line."""


def bland_altman(comparison: Comparison, quantity: Quantity) -> str:
    """Difference against mean of the two raters: bias and limits in their intervals, the slope, a smooth line."""
    difference = comparison.errors.differences[quantity.key]
    known = np.isfinite(difference)
    middle, difference = comparison.errors.middles(quantity)[known], difference[known]
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
    places = np.linspace(middle.min(), middle.max(), _PLACES)
    smooth = smooth_band(middle, difference, places, comparison.grouping.ids[known])
    if smooth is not None:
        chart.area(places, smooth[1], smooth[2], "loess-band")
    chart.dots(middle, difference, "dots")
    if smooth is not None:
        chart.curve(places, smooth[0], "loess")
    slope = comparison.estimates[f"{quantity.key}_slope"].value
    if np.isfinite(slope):
        at = np.array([middle.min(), middle.max()])
        chart.curve(at, difference.mean() + slope * (at - middle.mean()), "slope")
    for words, estimate in lines.items():
        chart.line(low, estimate.value, high, estimate.value, "solid" if words == "bias" else "dashed")
        text = f"{words} {signed(estimate.value)}{'°' if unit == '°' else ''}"
        chart.words(high, estimate.value, text, "note end", (-4, -5))
    return chart.svg()


def slope_words(comparison: Comparison, quantity: Quantity) -> str:
    """The slope of the differences with its interval and its test, in plain words; "" where there is none."""
    slope = comparison.estimates.get(f"{quantity.key}_slope", NO_IMAGE)
    if not np.isfinite(slope.value):
        return ""
    ten = 10 * slope.value
    ends = "" if slope.interval is None else " [{}, {}]".format(*(signed(10 * end, 2) for end in slope.interval))
    p = comparison.slope_tests.get(quantity.key, np.nan)
    test = f" (p {'< 0.001' if p < 0.001 else f'= {p:.3f}'} against no slope)" if np.isfinite(p) else ""
    return f"Slope: {signed(ten, 2)}{ends}{quantity.sign} for 10{quantity.sign} more{test}."


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


def limits_beside_readers(comparison: Comparison, quantity: Quantity) -> str:
    """Limits of agreement with their intervals, those of readers of these labels, and published ones; "" without any.

    A row is a bar from limit to limit.
    """
    rows: list[tuple[str, tuple[float, float], str, tuple[Estimate, ...]]] = []
    ours = tuple(comparison.estimates[quantity.figure(name)] for name in ("loa_low", "loa_high"))
    for name, words in _OF_NOISE.items():
        estimate = comparison.estimates.get(quantity.figure(name))
        if estimate is not None:
            rows.append((words, (-estimate.value, estimate.value), "noise", ()))
    rows += [(f"{one.what} ({one.source})", one.limits, "human", ()) for one in quantity.readers if one.limits]
    if not rows or not all(np.isfinite(one.value) for one in ours):
        return ""
    rows.insert(0, ("these results", (ours[0].value, ours[1].value), "here", ours))
    ends = [end for _, limits, _, sides in rows for end in (*limits, *(e for s in sides for e in s.interval or ()))]
    x = Axis.over(f"difference, {quantity.sign.strip()}", [0, *ends])
    height = 60 + 38 * len(rows)
    chart = Chart("Limits of agreement beside human readers", x, Axis("", -0.6, len(rows) - 0.4, 1), height, left=16)
    chart.line(0, -0.6, 0, len(rows) - 0.4, "zero")
    for place, (what, limits, style, sides) in enumerate(reversed(rows)):
        chart.line(limits[0], place, limits[1], place, f"span {style}")
        for side in sides:
            if side.interval is not None:
                chart.line(side.interval[0], place, side.interval[1], place, f"whisker {style}")
        chart.words(x.low, place, what, "note", (4, -11))
        text = f"{signed(limits[0])} to {signed(limits[1])}{quantity.sign}"
        chart.words(sum(limits) / 2, place, text, "note mid small", (0, 4))
    return chart.svg(y_ticks=False)


_OF_NOISE = {
    "perfect_loa": "a perfect reader against these labels",
    "reader_loa": "one more reader against these labels",
}


def decision_curve(comparison: Comparison, quantity: Quantity, limit: float) -> str:
    """Net benefit of calling frames at or above a threshold, against the probability from which one would act.

    The chance that the true value is at or above is that of a normal value about the middle of the frame's interval
    that the interval holds with the coverage asked for; without intervals, of the standard deviation of all
    differences. Source: Vickers and Elkin, Medical Decision Making 26 (2006) 565-574.
    """
    errors, normal = comparison.errors, NormalDist()
    true, difference = errors.true_values[quantity.key], errors.differences[quantity.key]
    known = np.isfinite(difference)
    found, above = (true + difference)[known], true[known] >= limit
    middle, spread = found, np.full(len(found), np.std(difference[known], ddof=1) if known.sum() > 1 else np.nan)
    stated = stated_intervals(errors, comparison.matched.intervals).get(quantity.key)
    if stated is not None:
        low, high = (end[known] for end in stated.ends)
        wide = np.isfinite(low) & (high > low)
        half = normal.inv_cdf((1 + comparison.sides.coverage) / 2)
        middle = np.where(wide, (low + high) / 2, middle)
        spread = np.where(wide, (high - low) / 2 / half, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        chances = np.array([normal.cdf(z) if np.isfinite(z) else float(z > 0) for z in (middle - limit) / spread])
    from_where = np.linspace(0.01, 0.9, 90)
    odds = from_where / (1 - from_where)

    def benefit(called: np.ndarray) -> np.ndarray:
        return (called & above).mean(axis=-1) - (called & ~above).mean(axis=-1) * odds

    lines = {
        "dashed": benefit(np.broadcast_to(True, (len(odds), len(above)))),
        "slope": benefit(np.broadcast_to(found >= limit, (len(odds), len(above)))),
        "curve": benefit(chances >= from_where[:, None]),
    }
    top = max(0.05, *(float(line.max()) for line in lines.values()))
    chart = Chart(
        f"Decision curve at {limit:g}{quantity.sign}",
        Axis.over("chance from which one acts, %", [0, 90]),
        Axis.over("net benefit", [-0.25 * top, top], ticks=5),
    )
    chart.line(0, 0, 90, 0, "zero")
    for style, line in lines.items():
        chart.curve(100 * from_where, np.where(line >= chart.y.low, line, np.nan), style)
    chart.words(90, chart.y.high, f"{limit:g}{quantity.sign}", "note end", (-4, 12))
    return chart.svg()


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, the minus as typographers write it."""
    # + 0.0 makes a zero of the negative zero that rounding may leave.
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


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
