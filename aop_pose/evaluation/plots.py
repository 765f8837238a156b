"""The plots of the agreement report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aop_pose.evaluation.bootstrap import Estimate
from aop_pose.evaluation.quantities import Quantity
from aop_pose.evaluation.study import Study, Subset, main_quantity
from aop_pose.evaluation.svg import Axis, Chart

HUMAN_READERS = (
    ("Human readers, inter-observer", "Dückelmann 2010", 0.72),
    ("Human readers, sagittal", "Frick 2020", 0.74),
)
"""What, source, and intraclass correlation of the angle of progression."""


def bland_altman(study: Study, quantity: Quantity) -> str:
    """Difference against mean of the two raters, with bias and limits of agreement in their intervals."""
    difference = study.errors.differences[quantity.key]
    known = np.isfinite(difference)
    second, difference = study.errors.true_values[quantity.key][known], difference[known]
    middle = second + difference / 2
    lines = {
        "+1.96 SD": study.estimates[quantity.figure("loa_high")],
        "bias": study.estimates[quantity.figure("bias")],
        "\N{MINUS SIGN}1.96 SD": study.estimates[quantity.figure("loa_low")],
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


def error_against(study: Study, values: np.ndarray, label: str, thirds: Sequence[Subset]) -> str:
    """Absolute error against some value of each frame, with the mean error of each third in its interval."""
    main = main_quantity(study.errors)
    error = np.abs(study.errors.differences[main.key])
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


def icc_beside_readers(study: Study) -> str:
    """Both intraclass correlations with their intervals, and those of human readers from the literature."""
    name = main_quantity(study.errors).key
    rows: list[tuple[str, str, Estimate, str]] = [
        ("These results, ICC(2,1)", "absolute agreement", study.estimates[f"{name}_icc_2_1"], "here"),
        ("These results, ICC(3,1)", "consistency", study.estimates[f"{name}_icc_3_1"], "here"),
    ]
    if name == "aop":
        rows += [(what, source, Estimate(value), "human") for what, source, value in HUMAN_READERS]
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
