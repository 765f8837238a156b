"""The tables of ``report.html``, and how a figure is written there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np

from aop_pose.evaluation.bootstrap import Estimate
from aop_pose.evaluation.metrics import SDR_THRESHOLDS
from aop_pose.evaluation.plots import title_of
from aop_pose.evaluation.study import SHARES_WITHIN_DEG, THRESHOLDS_DEG, Study, main_quantity, quantities

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
    return _table(f"Landmarks, in pixels {scale}", heads, rows)


def figures_table(study: Study) -> str:
    """Errors and agreement of each quantity."""
    units = {"deg": ("°", degrees), "px": ("px", pixels)}
    lines: list[tuple[str, str, Callable[[float], str] | None]] = [
        ("Mean absolute error", "mae_{unit}", None),
        ("Median absolute error", "median_{unit}", None),
        ("95th percentile", "p95_{unit}", None),
        ("Bias", "bias_{unit}", None),
        ("Standard deviation", "sd_{unit}", None),
        ("Limit of agreement, lower", "loa_low_{unit}", None),
        ("Limit of agreement, upper", "loa_high_{unit}", None),
        *((f"Within {share}°", f"within_{share}_deg", percent) for share in SHARES_WITHIN_DEG),
        ("ICC(2,1), absolute agreement", "icc_2_1", thousandths),
        ("ICC(3,1), consistency", "icc_3_1", thousandths),
        ("Pearson r", "pearson_r", thousandths),
        ("Stated intervals hold", "interval_coverage", percent),
        ("Stated intervals, mean width", "interval_width_deg", degrees),
    ]
    rows = []
    for label, key, show in lines:
        names = [(f"{q.name}_{key.format(unit=q.unit)}", show or units[q.unit][1]) for q in quantities(study.errors)]
        if any(name in study.estimates for name, _ in names):
            rows.append([label, *(cell(study.estimates.get(name, _UNKNOWN), how) for name, how in names)])
    titles = [title_of(q.name) for q in quantities(study.errors)]
    return _table("Agreement", ["", *titles], rows)


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
    return _table("AoP at or above", ["", *(f"{t}°" for t in THRESHOLDS_DEG)], rows)


def subsets(study: Study) -> str:
    """A row per device or centre, and per third of the angle, the contrast and the stated width."""
    if not study.subsets:
        return ""
    main = main_quantity(study.errors)
    show = degrees if main.unit == "deg" else pixels
    title = title_of(main.name)
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        f"{title} error": (f"{main.name}_mae_{main.unit}", show),
        "bias": (f"{main.name}_bias_{main.unit}", show),
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
    return _table("Where the errors sit", heads, rows, "table dense" if len(rows) > _MOST_ROWS else "table")


def _table(title: str, heads: Iterable[str], rows: Sequence[Sequence[str]], style: str = "table") -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{text}</td>' for text in row[1:])}</tr>" for row in rows)
    return (
        f'<section class="{style}"><h2>{escape(title)}</h2><div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></section>"
    )


def cell(estimate: Estimate, show: Callable[[float], str]) -> str:
    """Value and interval as HTML; the unit stands once."""
    if not np.isfinite(estimate.value):
        return NOTHING
    if estimate.interval is None:
        return _minus(show(estimate.value))
    low, high = (_minus(show(end)).rstrip("°% px") for end in estimate.interval)
    return f"{_minus(show(estimate.value))} <small>[{low}, {high}]</small>"


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def degrees(value: float) -> str:
    return f"{value:.2f}°"


def pixels(value: float) -> str:
    return f"{value:.2f} px"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def plain(value: float) -> str:
    return f"{value:.2f}"


def thousandths(value: float) -> str:
    return f"{value:.3f}"
