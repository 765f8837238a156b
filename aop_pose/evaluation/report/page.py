"""``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

import attrs
import numpy as np

from aop_pose import __version__
from aop_pose.core.schema import Quantity
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.evaluation.comparison import (
    SHARES_WITHIN_DEG,
    TARGET_COVERAGE,
    THRESHOLDS_DEG,
    Study,
    main_quantity,
    reference_words,
)
from aop_pose.evaluation.errors import CLOSE_PERCENT, SDR_THRESHOLDS, UNDER_2_5, Figures
from aop_pose.evaluation.grouping import QUALITY_WORDS
from aop_pose.evaluation.report import plots
from aop_pose.evaluation.report.html import document, table
from aop_pose.evaluation.report.plots import Picture
from aop_pose.stats.bootstrap import LEAST_GROUPS, Estimate

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


_MOST_NAMES = 6


@attrs.frozen
class Heading:
    """What a person calls the two sides, and the words that must stand on the page."""

    results: str
    reference: str
    notice: str
    second_is_a_result: bool = False
    """The reference is another method or reader, not the truth."""
    coverage: float = TARGET_COVERAGE
    """The share of stated intervals that was asked to hold the truth."""


def page(study: Study, figures: Figures, heading: Heading, pictures: Sequence[Picture]) -> str:
    """The whole page as HTML."""
    body = [
        _head(study, figures, heading),
        _tiles(study),
        _first_plots(study),
        landmarks(study),
        f'<div class="pair">{figures_table(study)}{thresholds(study)}</div>'
        if study.errors.schema is AOP
        else length_table(study),
        _how(study, heading),
        '<section class="second">',
        _error_plots(study),
        pixel_table(study),
        subsets(study),
        _worst(study, pictures),
        f"<footer><b>{escape(heading.notice)}</b> Made by aop-pose {__version__} evaluate.</footer>",
        "</section>",
    ]
    return document(f"Agreement report: {heading.results}", body)


def _head(study: Study, figures: Figures, heading: Heading) -> str:
    models = f" (model {escape(', '.join(study.matched.models))})" if study.matched.models else ""
    against = "another results table" if heading.second_is_a_result else "reference"
    warnings = []
    if study.withheld:
        warnings.append(f"Intervals are withheld: {study.withheld}.")
    # Intervals are calibrated to hold the truth, so against another method they say nothing either way.
    warnings += [] if heading.second_is_a_result else _interval_warning(study, heading.coverage)
    missing = [name for name, ok in zip(study.matched.names, study.errors.measured, strict=True) if not ok]
    if missing:
        shown = ", ".join(missing[:_MOST_NAMES]) + (", …" if len(missing) > _MOST_NAMES else "")
        warnings.append(f"{len(missing)} of {figures['n']} frames were not measured and are in no figure: {shown}")
    return (
        f"<header><h1>Agreement report</h1><p><b>{escape(heading.results)}</b>{models} against {against} "
        f"<b>{escape(heading.reference)}</b></p><p>{figures['n']} frames, {figures['n_missing']} missing, "
        f"{study.n_groups} groups: {escape(study.grouping.words)}.</p>"
        f'<p class="notice">{escape(heading.notice)}</p>'
        + "".join(f'<p class="warn">{escape(warning)}</p>' for warning in warnings)
        + "</header>"
    )


def _interval_warning(study: Study, target: float) -> list[str]:
    """Intervals that hold too rarely or too often by more than chance are said at the top, not in a table."""
    coverage = study.estimates.get("aop_interval_coverage")
    if coverage is None or coverage.interval is None or coverage.interval[0] <= target <= coverage.interval[1]:
        return []
    low, high = coverage.interval
    hold = f"The stated intervals hold for {coverage.value:.0%} of the frames [{low:.0%}, {high:.0%}]"
    if high < target:
        return [f"{hold}, fewer than the {target:.0%} that calibration aims at: do not rely on them here."]
    return [f"{hold}, more than the {target:.0%} that calibration aims at: they are wider than these frames need."]


def _tiles(study: Study) -> str:
    main = main_quantity(study.errors)
    title, show = main.title, SHOWN[main.unit]
    tiles = [
        (f"{title} mean absolute error", main.figure("mae"), show),
        (f"{title} bias", main.figure("bias"), show),
        ("ICC(2,1)", f"{main.key}_icc_2_1", thousandths),
        *((f"{title} within {share}°", main.figure(f"within_{share}"), percent) for share in SHARES_WITHIN_DEG),
        (f"{title} error under {CLOSE_PERCENT} %", f"{main.key}_{UNDER_2_5}", percent),
        ("Mean radial error", "mre_px", pixels),
    ]
    if "aop_interval_coverage" in study.estimates:
        tiles.append(("Stated intervals hold", "aop_interval_coverage", percent))
    cells = [
        f'<div class="tile"><span>{label}</span><strong>{cell(study.estimates[key], show)}</strong></div>'
        for label, key, show in tiles
        if key in study.estimates
    ]
    return f'<section class="tiles">{"".join(cells)}</section>'


def _first_plots(study: Study) -> str:
    if f"{main_quantity(study.errors).key}_icc_2_1" not in study.estimates:
        return '<p class="warn">No frame was measured: there is nothing to plot.</p>'
    altman = "Bland-Altman{of}: line = bias, dashed = limits of agreement, bands = their intervals."
    if study.errors.schema is HEAD:
        # Both formulas of the circumference; heads differ so much in size that their ICC is always near 1.
        drawn = "".join(
            _plot(plots.bland_altman(study, quantity), altman.format(of=f" of {quantity.title}"))
            for quantity in study.errors.quantities
            if quantity.reference_title == "HC" and quantity.unit == main_quantity(study.errors).unit
        )
    else:
        readers = "Intraclass correlation with its interval."
        readers += " Readers' figures are of other frames and other readers: an orientation, not a test."
        drawn = _plot(plots.bland_altman(study, main_quantity(study.errors)), altman.format(of=""))
        drawn += _plot(plots.icc_beside_readers(study), readers)
    return f'<section class="plots">{drawn}</section>'


def _error_plots(study: Study) -> str:
    main = main_quantity(study.errors)
    if not np.isfinite(study.errors.differences[main.key]).any():
        return ""
    bars = "line = mean of a third of the frames, band = its interval."
    thirds = {by: [subset for subset in study.subsets if subset.by == by] for by in {s.by for s in study.subsets}}
    true = study.errors.true_values[main.key]
    drawn = [
        _plot(
            plots.error_against(
                study,
                true,
                f"{main.reference_title} of the reference, {main.sign.strip()}",
                thirds.get(reference_words(main), []),
            ),
            f"Error of {main.title} against {main.reference_title}; {bars}",
        )
    ]
    if study.quality is not None:
        drawn.append(
            _plot(
                plots.error_against(study, study.quality, "contrast of the picture", thirds.get("contrast", [])),
                f"Error against picture quality; {bars} {QUALITY_WORDS.capitalize()}.",
            )
        )
    return f'<section class="plots">{"".join(drawn)}</section>'


def _plot(svg: str, words: str) -> str:
    return f"<figure>{svg}<figcaption>{words}</figcaption></figure>"


def _worst(study: Study, pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    cells = [
        f"<figure>{picture.svg}<figcaption>{escape(picture.error)}<br><small>{escape(picture.name)}</small>"
        "</figcaption></figure>"
        for picture in pictures
    ]
    return (
        f'<section><h2>The {len(pictures)} frames with the largest errors</h2><p class="key">'
        '<i class="result"></i> results <i class="reference"></i> reference; under each its error and the '
        f'value of the reference</p><div class="worst">{"".join(cells)}</div></section>'
    )


def _head_words(study: Study) -> str:
    millimetres = study.matched.millimetres
    words = "The two ends of an axis are interchangeable: each axis is scored in the better order. "
    words += "HC: π (BPD + OFD) / 2; HC (Ramanujan): perimeter of the ellipse with these axes (Ramanujan 1914)."
    if millimetres is None:
        return f"{words} No pixel size is known, so nothing is given in millimetres."
    if millimetres.circumference is None:
        return f"{words} The reference of each is the same formula on the true points."
    return f"{words} The reference of both in millimetres is the expert's circumference."


def _how(study: Study, heading: Heading) -> str:
    notes = [*study.matched.notes, *study.notes]
    words = [
        "Differences are results minus reference.",
        f"Intervals: {study.coverage:.0%} percentile intervals over {study.draws} draws of whole groups with "
        f"replacement; a row of fewer than {LEAST_GROUPS} groups has none.",
        "ICC: Shrout and Fleiss 1979, single ratings; limits of agreement: bias ± 1.96 SD, Bland and Altman 1986; "
        "kappa: Cohen 1960. MRE mean radial error; SDR share of points within so many pixels.",
    ]
    if study.errors.schema is HEAD:
        words.append(_head_words(study))
    if heading.second_is_a_result:
        words.insert(1, "The reference is another method or reader: neither side is the truth.")
    if "aop_interval_coverage" in study.estimates:
        words.append(
            f"Stated intervals (aop_low, aop_high) hold where the reference lies inside; calibration aims at "
            f"{heading.coverage:.0%} here."
        )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<aside><p>{' '.join(map(escape, words))}</p>{f'<ul>{listed}</ul>' if listed else ''}</aside>"
