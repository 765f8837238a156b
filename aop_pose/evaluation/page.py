"""``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import attrs
import numpy as np

from aop_pose import __version__
from aop_pose.evaluation import page_tables as tables
from aop_pose.evaluation import plots
from aop_pose.evaluation.bootstrap import LEAST_GROUPS
from aop_pose.evaluation.html import document
from aop_pose.evaluation.metrics import CLOSE_PERCENT, UNDER_2_5, Figures
from aop_pose.evaluation.quality import QUALITY_WORDS
from aop_pose.evaluation.study import SHARES_WITHIN_DEG, TARGET_COVERAGE, Study, main_quantity, reference_words
from aop_pose.evaluation.worst import Picture
from aop_pose.schemas import AOP, HEAD

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
        tables.landmarks(study),
        f'<div class="pair">{tables.figures_table(study)}{tables.thresholds(study)}</div>'
        if study.errors.schema is AOP
        else tables.length_table(study),
        _how(study, heading),
        '<section class="second">',
        _error_plots(study),
        tables.pixel_table(study),
        tables.subsets(study),
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
    title, show = main.title, tables.SHOWN[main.unit]
    tiles = [
        (f"{title} mean absolute error", main.figure("mae"), show),
        (f"{title} bias", main.figure("bias"), show),
        ("ICC(2,1)", f"{main.key}_icc_2_1", tables.thousandths),
        *((f"{title} within {share}°", main.figure(f"within_{share}"), tables.percent) for share in SHARES_WITHIN_DEG),
        (f"{title} error under {CLOSE_PERCENT} %", f"{main.key}_{UNDER_2_5}", tables.percent),
        ("Mean radial error", "mre_px", tables.pixels),
    ]
    if "aop_interval_coverage" in study.estimates:
        tiles.append(("Stated intervals hold", "aop_interval_coverage", tables.percent))
    cells = [
        f'<div class="tile"><span>{label}</span><strong>{tables.cell(study.estimates[key], show)}</strong></div>'
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
