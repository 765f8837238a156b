"""The tables of ``report.html``, and how a figure is written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from aop_pose.evaluation.bootstrap import Estimate
from aop_pose.evaluation.html import table
from aop_pose.evaluation.metrics import CLOSE_PERCENT, SDR_THRESHOLDS, UNDER_2_5
from aop_pose.evaluation.quantities import Quantity
from aop_pose.evaluation.study import SHARES_WITHIN_DEG, THRESHOLDS_DEG, Study, main_quantity

NOTHING = "\N{EN DASH}"
_UNKNOWN = Estimate(np.nan)
_MOST_ROWS = 18
"""More rows than this are set closer in print, so that the page stays two sheets."""


def landmarks(study: Study) -> str:
    """MRE and SDR of each point."""
    scale = (
        "of the original frames" if study.errors.scale is None else f"where the longer side has {study.errors.scale:g}"
    )
    rows = []
    for point in ("", *study.errors.schema.points):
        end = f"_{point.lower()}" if point else ""
        keys = [(f"mre_px{end}", plain), *((f"sdr_{threshold}{end}", percent) for threshold in SDR_THRESHOLDS)]
        cells = [cell(study.estimates.get(key, _UNKNOWN), show) for key, show in keys]
        rows.append([point or "all points", *cells])
    heads = ["", "MRE, px", *(f"SDR {threshold} px" for threshold in SDR_THRESHOLDS)]
    return table(f"Landmarks, in pixels {scale}", heads, rows)


def length_table(study: Study) -> str:
    """Errors and agreement of lengths in millimetres; in pixels where none are known."""
    millimetres = [quantity for quantity in study.errors.quantities if quantity.unit == "mm"]
    return figures_table(study, "Agreement in millimetres", millimetres) if millimetres else _in_pixels(study)


def pixel_table(study: Study) -> str:
    """The same in pixels, where ``length_table`` is in millimetres."""
    return _in_pixels(study) if main_quantity(study.errors).unit == "mm" else ""


def _in_pixels(study: Study) -> str:
    scale = "" if study.errors.scale is None else f", longer side = {study.errors.scale:g}"
    pixels = [quantity for quantity in study.errors.quantities if quantity.unit == "px"]
    return figures_table(study, f"Agreement in pixels{scale}", pixels)


def figures_table(study: Study, title: str = "Agreement", quantities: Sequence[Quantity] | None = None) -> str:
    """Errors and agreement of each quantity, all of them where none are named."""
    quantities = study.errors.quantities if quantities is None else quantities
    lines: list[tuple[str, str, Callable[[float], str] | None]] = [
        ("Mean absolute error", "{name}_mae_{unit}", None),
        ("Median absolute error", "{name}_median_{unit}", None),
        ("95th percentile", "{name}_p95_{unit}", None),
        ("Bias", "{name}_bias_{unit}", None),
        ("Standard deviation", "{name}_sd_{unit}", None),
        ("Limit of agreement, lower", "{name}_loa_low_{unit}", None),
        ("Limit of agreement, upper", "{name}_loa_high_{unit}", None),
        *((f"Within {share}°", f"{{name}}_within_{share}_deg", percent) for share in SHARES_WITHIN_DEG),
        (f"Error under {CLOSE_PERCENT} %", f"{{key}}_{UNDER_2_5}", percent),
        ("ICC(2,1), absolute agreement", "{key}_icc_2_1", thousandths),
        ("ICC(3,1), consistency", "{key}_icc_3_1", thousandths),
        ("Pearson r", "{key}_pearson_r", thousandths),
        ("Stated intervals hold", "{key}_interval_coverage", percent),
        ("Stated intervals, mean width", "{key}_interval_width_deg", degrees),
    ]
    rows = []
    for label, key, show in lines:
        names = [(key.format(name=q.name, key=q.key, unit=q.unit), show or SHOWN[q.unit]) for q in quantities]
        if any(name in study.estimates for name, _ in names):
            rows.append([label, *(cell(study.estimates.get(name, _UNKNOWN), how) for name, how in names)])
    return table(title, ["", *(quantity.title for quantity in quantities)], rows)


def thresholds(study: Study) -> str:
    """Agreement at the angles at which the literature decides; nothing for the head."""
    if "aop_at_110_accuracy" not in study.estimates:
        return ""
    statistics = {"accuracy": percent, "sensitivity": percent, "specificity": percent, "kappa": plain}
    rows = [
        [label.capitalize(), *(cell(study.estimates[f"aop_at_{t}_{label}"], show) for t in THRESHOLDS_DEG)]
        for label, show in statistics.items()
    ]
    true = study.errors.true_values["aop"][np.isfinite(study.errors.differences["aop"])]
    rows.insert(0, ["Frames at or above", *(f"{int((true >= t).sum())} of {len(true)}" for t in THRESHOLDS_DEG)])
    return table("AoP at or above", ["", *(f"{t}°" for t in THRESHOLDS_DEG)], rows)


def subsets(study: Study) -> str:
    """A row per device or centre, and per third of the angle, the contrast and the stated width."""
    if not study.subsets:
        return ""
    main = main_quantity(study.errors)
    show = SHOWN[main.unit]
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        f"{main.title} error": (main.figure("mae"), show),
        "bias": (main.figure("bias"), show),
        "MRE": ("mre_px", pixels),
    }
    if "aop_interval_coverage" in study.estimates:
        columns |= {"intervals hold": ("aop_interval_coverage", percent)}
    rows, before = [], ""
    for subset in study.subsets:
        cells = [cell(subset.estimates.get(key, _UNKNOWN), how) for key, how in columns.values()]
        by = f"<b>{escape(subset.by)}</b> " if subset.by != before else ""
        before = subset.by
        rows.append([f"{by}{escape(subset.label)}", str(subset.n), str(subset.n_missing), str(subset.n_groups), *cells])
    heads = ["", "frames", "missing", "groups", *columns]
    return table("Where the errors sit", heads, rows, "table dense" if len(rows) > _MOST_ROWS else "table")


def cell(estimate: Estimate, show: Callable[[float], str]) -> str:
    """Value and interval as HTML; the unit stands once."""
    if not np.isfinite(estimate.value):
        return NOTHING
    if estimate.interval is None:
        return _minus(show(estimate.value))
    low, high = (_minus(show(end)).rstrip("°% pxm") for end in estimate.interval)
    return f"{_minus(show(estimate.value))} <small>[{low}, {high}]</small>"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def degrees(value: float) -> str:
    return f"{value:.2f}°"


def pixels(value: float) -> str:
    return f"{value:.2f} px"


def millimetres(value: float) -> str:
    return f"{value:.2f} mm"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def plain(value: float) -> str:
    return f"{value:.2f}"


def thousandths(value: float) -> str:
    return f"{value:.3f}"


SHOWN: dict[str, Callable[[float], str]] = {"deg": degrees, "px": pixels, "mm": millimetres}
"""How a value of a unit is written."""
