"""``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

import numpy as np

from aop_pose import __version__
from aop_pose.core.schema import Quantity
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.errors import PCK_LIMIT_MM
from aop_pose.evaluation.grouping import QUALITY_WORDS
from aop_pose.evaluation.report import plots, tables
from aop_pose.evaluation.report.cautions import cautions
from aop_pose.evaluation.report.html import document, escape
from aop_pose.evaluation.report.tables import in_unit
from aop_pose.evaluation.subsets import reference_words
from aop_pose.stats.bootstrap import LEAST_GROUPS

_MOST_NAMES = 6
_UNITS = ("deg", "mm", "px")


def page(comparison: Comparison, notice: str) -> str:
    """The whole page as HTML; ``notice`` are the words that must stand on it."""
    footer = f"<footer><b>{escape(notice)}</b> Made by aop-pose {__version__} evaluate.</footer>"
    head = [_head(comparison, notice), _tiles(comparison)]
    if comparison.errors.schema.dimensions == 3:
        return document(f"Report on volumes: {comparison.sides.results}", [*head, *_volumes(comparison), footer])
    first, *rest = _agreement(comparison)
    body = [
        *head,
        _first_plots(comparison),
        tables.landmarks(comparison),
        first,
        _how(comparison),
        '<section class="second">',
        _error_plots(comparison),
        *rest,
        tables.subsets(comparison),
        _worst(comparison),
        footer,
        "</section>",
    ]
    return document(f"Agreement report: {comparison.sides.results}", body)


def _volumes(comparison: Comparison) -> list[str]:
    return [
        f'<div class="pair">{_pck(comparison)}{tables.summary(comparison)}</div>',
        tables.points(comparison),
        tables.motions(comparison),
        _how(comparison),
    ]


def _agreement(comparison: Comparison) -> list[str]:
    """A table for each unit, that of the main quantity first; its thresholds stand beside it."""
    main = comparison.errors.main
    if main is None:
        return [""]
    limits = tables.thresholds(comparison)
    found = []
    for unit in sorted(_UNITS, key=lambda unit: (unit != main.unit, _UNITS.index(unit))):
        table = tables.agreement(comparison, unit)
        beside = unit == main.unit and bool(comparison.tables)
        found.append(f'<div class="pair">{table}{limits}</div>' if beside else table)
    return found


def _head(comparison: Comparison, notice: str) -> str:
    matched, errors, sides = comparison.matched, comparison.errors, comparison.sides
    models = f" (model {escape(', '.join(matched.models))})" if matched.models else ""
    against = "another results table" if sides.second_is_a_result else "reference"
    count, missing = len(errors.measured), int((~errors.measured).sum())
    if errors.schema.dimensions == 2:
        title, counts = "Agreement report", f"{count} frames, {missing} missing"
    else:
        points = f"{int(errors.missing_points.sum())} of {int(errors.labelled.sum())} points missing"
        title = "Points in volumes"
        counts = f"Schema {errors.schema.name}: {count} volumes, {missing} missing, {points}"
    warnings = [*cautions(comparison), *_left_out(comparison)]
    return (
        f"<header><h1>{title}</h1><p><b>{escape(sides.results)}</b>{models} against {against} "
        f"<b>{escape(sides.reference)}</b></p><p>{counts}, "
        f"{comparison.n_groups} groups: {escape(comparison.grouping.words)}.</p>"
        f'<p class="notice">{escape(notice)}</p>'
        + "".join(f'<p class="warn">{escape(warning)}</p>' for warning in warnings)
        + "</header>"
    )


def _left_out(comparison: Comparison) -> list[str]:
    """The frames that no figure is of, and the reason for intervals that are withheld."""
    measured, count = comparison.errors.measured, len(comparison.errors.measured)
    missing = [name for name, ok in zip(comparison.matched.names, measured, strict=True) if not ok]
    words = [f"Intervals are withheld: {comparison.withheld}."] if comparison.withheld else []
    if missing:
        images = "frames" if comparison.errors.schema.dimensions == 2 else "volumes"
        shown = ", ".join(missing[:_MOST_NAMES]) + (", …" if len(missing) > _MOST_NAMES else "")
        words.append(f"{len(missing)} of {count} {images} were not measured and are in no figure: {shown}")
    return words


def _tiles(comparison: Comparison) -> str:
    main = comparison.errors.main
    tiles: list[tuple[str, str, str]] = []
    if comparison.errors.schema.dimensions == 3:
        asked = ["mre_mm", "pck_auc", "lr_confusion", "mre_mm_swap", "plane_angle_deg"]
        if main is not None:
            asked.insert(4, main.figure("mae"))
        named = {name: (label, unit) for label, name, unit in tables.lines(comparison)}
        tiles = [(named[name][0], name, named[name][1]) for name in asked if name in named]
    elif main is not None:
        tiles = [
            (f"{main.title} mean absolute error", main.figure("mae"), main.unit),
            (f"{main.title} bias", main.figure("bias"), main.unit),
            ("ICC(2,1)", f"{main.key}_icc_2_1", ""),
            *(
                (f"{main.title} {'' if main.within else 'error '}{words}", name, "%")
                for words, name in tables.shares(main)
            ),
            ("Mean radial error", "mre_px", "px"),
            ("Stated intervals hold", f"{main.key}_interval_coverage", "%"),
        ]
    cells = [
        f'<div class="tile"><span>{label}</span><strong>{tables.value(comparison, key, in_unit(unit))}</strong></div>'
        for label, key, unit in tiles
        if key in comparison.estimates
    ]
    return f'<section class="tiles">{"".join(cells)}</section>'


def _pck(comparison: Comparison) -> str:
    svg = plots.pck_curves(comparison)
    if not svg:
        return '<p class="warn">No point was found: there is nothing to plot.</p>'
    words = f"PCK: share of the points that were found whose error is at most a threshold, 0 to {PCK_LIMIT_MM:g} mm"
    if comparison.errors.schema.symmetric:
        words += "; dashed: left and right exchanged where that is nearer"
    return _plot(svg, f"{words}.")


def _first_plots(comparison: Comparison) -> str:
    main = comparison.errors.main
    if main is None or f"{main.key}_icc_2_1" not in comparison.estimates:
        return '<p class="warn">No frame was measured: there is nothing to plot.</p>'
    altman = "Bland-Altman{of}: line = bias, dashed = limits of agreement, bands = their intervals."
    # Several formulas of one reference are each plotted.
    alike = [
        one
        for one in comparison.errors.quantities
        if (one.reference_title, one.unit) == (main.reference_title, main.unit)
    ]
    drawn = "".join(
        _plot(plots.bland_altman(comparison, one), altman.format(of="" if one.readers else f" of {one.title}"))
        for one in alike
    )
    if main.readers:
        readers = "Intraclass correlation with its interval."
        readers += " Readers' figures are of other frames and other readers: an orientation, not a test."
        drawn += _plot(plots.icc_beside_readers(comparison, main), readers)
    return f'<section class="plots">{drawn}</section>'


def _error_plots(comparison: Comparison) -> str:
    errors, main = comparison.errors, comparison.errors.main
    if main is None or not np.isfinite(errors.differences[main.key]).any():
        return ""
    bars = "line = mean of a third of the frames, band = its interval."
    thirds = {by: [one for one in comparison.subsets if one.by == by] for by in {one.by for one in comparison.subsets}}
    true, words = errors.true_values[main.key], f"{main.reference_title} of the reference, {main.sign.strip()}"
    drawn = [
        _plot(
            plots.error_against(comparison, main, true, words, thirds.get(reference_words(main), [])),
            f"Error of {main.title} against {main.reference_title}; {bars}",
        )
    ]
    if (quality := comparison.quality) is not None:
        drawn.append(
            _plot(
                plots.error_against(comparison, main, quality, "contrast of the picture", thirds.get("contrast", [])),
                f"Error against picture quality; {bars} {QUALITY_WORDS.capitalize()}.",
            )
        )
    return f'<section class="plots">{"".join(drawn)}</section>'


def _plot(svg: str, words: str) -> str:
    return f"<figure>{svg}<figcaption>{words}</figcaption></figure>"


def _worst(comparison: Comparison) -> str:
    main = comparison.errors.main
    if comparison.pixels is None or main is None:
        return ""
    pictures = plots.drawn_worst(comparison, main, comparison.pixels)
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


def _how(comparison: Comparison) -> str:
    flat = comparison.errors.schema.dimensions == 2
    words = _how_in_pictures(comparison) if flat else _how_in_volumes(comparison)
    if tables.some_over_fewer(comparison):
        words.append("n: so many images have a value, where they are not all measured ones (with missing: not all).")
    listed = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    return f"<aside><p>{' '.join(map(escape, words))}</p>{f'<ul>{listed}</ul>' if listed else ''}</aside>"


_NEITHER = "The reference is another method or reader: neither side is the truth."


def _how_in_pictures(comparison: Comparison) -> list[str]:
    stated = [one for one in comparison.errors.quantities if f"{one.key}_interval_coverage" in comparison.estimates]
    words = [
        "Differences are results minus reference.",
        *([_NEITHER] if comparison.sides.second_is_a_result else []),
        f"Intervals: {comparison.coverage:.0%} percentile intervals over {comparison.draws} draws of whole groups with "
        f"replacement; a row of fewer than {LEAST_GROUPS} groups has none.",
        "ICC: Shrout and Fleiss 1979, single ratings; limits of agreement: bias ± 1.96 SD, Bland and Altman 1986; "
        "kappa: Cohen 1960. MRE mean radial error; SDR share of points within so many pixels.",
        *_how_of_quantities(comparison),
    ]
    if stated:
        ends = ", ".join(f"{one.interval}_{end}" for one in stated for end in ("low", "high"))
        words.append(
            f"Stated intervals ({ends}) hold where the reference lies inside; calibration aims at "
            f"{comparison.sides.coverage:.0%} here."
        )
    return words


def _how_of_quantities(comparison: Comparison) -> list[str]:
    """Sentences on the comparison of points and quantities, where a schema has something to say of it."""
    schema, millimetres = comparison.errors.schema, comparison.matched.millimetres
    words = []
    if schema.interchangeable:
        words.append("The two ends of an axis are interchangeable: each axis is scored in the better order.")
    if formulas := dict.fromkeys(one.how for one in schema.quantities if one.how):
        words.append(f"{'; '.join(formulas)}.")
    expert = [one for one in schema.quantities if one.stated]
    if not expert:
        return words
    if millimetres is None:
        return [*words, "No pixel size is known, so nothing is given in millimetres."]
    if not millimetres.stated:
        return [*words, "The reference of each is the same formula on the true points."]
    return [*words, f"The reference of {_listed(expert)} in millimetres is {expert[0].stated}."]


def _listed(quantities: list[Quantity]) -> str:
    return "both" if len(quantities) == 2 else ", ".join(one.title for one in quantities)


def _how_in_volumes(comparison: Comparison) -> list[str]:
    errors = comparison.errors
    words = [
        "Errors in mm of the volume's own spacing; MRE mean radial error over the points that were found. With "
        "missing: a labelled point without a prediction is off by the diagonal of its volume.",
        f"PCK AUC: area under the curve from 0 to {PCK_LIMIT_MM:g} mm, in percent.",
        f"Intervals: {comparison.coverage:.0%} percentile intervals over {comparison.draws} draws of whole groups with "
        f"replacement; fewer than {LEAST_GROUPS} groups have none.",
    ]
    if errors.schema.symmetric:
        words.append(
            "Up to a swap: all left points exchanged with the right ones where that is nearer; each side: arms and "
            "legs by themselves; left and right exchanged: share of the volumes where the exchanged order is nearer."
        )
    if errors.planes is not None:
        words.append("Plane distance: from the middle of the true points of head and trunk to the predicted plane.")
    if comparison.motions:
        words.append("Motion is that of the points in the volume: errors of prediction and a moving probe add to it.")
    return [*words, _NEITHER] if comparison.sides.second_is_a_result else words
