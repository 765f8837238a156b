"""``report.html``: one page that needs nothing but itself."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date

import numpy as np

from aop_pose import __version__
from aop_pose.core.schema import Quantity
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.errors import PCK_LIMIT_MM
from aop_pose.evaluation.figures import told
from aop_pose.evaluation.grouping import QUALITY_WORDS, reference_words
from aop_pose.evaluation.report import pictures, plots, tables
from aop_pose.evaluation.report.cautions import cautions, inside
from aop_pose.evaluation.report.html import document, escape
from aop_pose.evaluation.report.tables import in_unit
from aop_pose.stats.bootstrap import LEAST_GROUPS

_MOST_NAMES = 6
_UNITS = ("deg", "mm", "px")


def page(comparison: Comparison, notice: str, decision_curve: bool = False) -> str:
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
        f'<div class="even">{tables.noise(comparison)}{tables.examinations(comparison)}</div>',
        '<section class="second">',
        f'<div class="screen">{"".join(rest)}</div>' if any(rest) else "",
        _decisions(comparison) if decision_curve else "",
        _error_plots(comparison),
        tables.subsets(comparison),
        _worst(comparison),
        _withheld(comparison),
        _how(comparison),
        footer,
        "</section>",
    ]
    return document(f"Agreement report: {comparison.sides.results}", body)


def _volumes(comparison: Comparison) -> list[str]:
    return [
        f'<div class="pair"><div>{_pck(comparison)}{_first_plots(comparison)}</div>{tables.summary(comparison)}</div>',
        *_agreement(comparison),
        tables.points(comparison),
        tables.examinations(comparison),
        tables.motions(comparison),
        _worst_volumes(comparison),
        _withheld(comparison),
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
    sides, flat = comparison.sides, comparison.errors.schema.dimensions == 2
    against = "another results table" if sides.second_is_a_result else "the reference"
    said = [f'<p class="warn">{escape(words)}</p>' for words in cautions(comparison)]
    said += [f'<p class="warn">{escape(words)}</p>' for words in _left_out(comparison)]
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    facts = "".join(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(comparison))
    return (
        f"<header><h1>{'Agreement report' if flat else 'Points in volumes'}</h1><p><b>{escape(sides.results)}</b> "
        f'against {against} <b>{escape(sides.reference)}</b></p><p class="notice">{escape(notice)}</p>'
        f'<dl class="facts">{facts}</dl>'
        f"{''.join(said)}{f'<ul class={chr(34)}notes{chr(34)}>{notes}</ul>' if notes else ''}</header>"
    )


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Date, model, gate, how many images of how many patients, and the range of what is measured."""
    matched, errors, main = comparison.matched, comparison.errors, comparison.errors.main
    run = comparison.manifest.get("results_run") or {}
    flat = errors.schema.dimensions == 2
    measured, count = int(errors.measured.sum()), len(errors.measured)
    facts = [("Date", str(date.today()))]
    if started := str(run.get("started", "")).partition("T")[0]:
        facts.append(("Predicted", started))
    facts.append(("Model", ", ".join(matched.models) or "not named by the results"))
    facts.append(("Gate", _gate(run)))
    facts.append(("Frames" if flat else "Volumes", f"{measured} of {count} measured, {count - measured} missing"))
    if not flat:
        facts.append(
            (
                "Points",
                f"{int(errors.missing_points.sum())} of {int(errors.labelled.sum())} missing, {errors.schema.name}",
            )
        )
    grouping = comparison.grouping
    if grouping.examinations is not None:
        facts.append(("Patients", f"{len(np.unique(grouping.examinations))}"))
    groups = len(np.unique(grouping.ids))
    facts.append(("Groups", f"{groups}, {comparison.n_groups} with a measured image: {grouping.words}"))
    if main is not None and (true := errors.true_values[main.key][np.isfinite(errors.true_values[main.key])]).size:
        sign, values = main.sign, main.folded(true)
        spread = f", SD {values.std(ddof=1):.1f}{sign}" if len(true) > 1 else ""
        words = "; ".join(
            filter(None, [f"{values.min():.1f} to {values.max():.1f}{sign}{spread}", tables.turns_words(main, true)])
        )
        facts.append((f"{main.reference_title}, true", words))
    return facts


def _gate(run: dict[str, object]) -> str:
    if "gate" not in run:
        return "unknown"
    return "on: doubtful frames are withheld" if run["gate"] else "off, or the model has none"


def _left_out(comparison: Comparison) -> list[str]:
    """The frames that no figure is of, and the reason for intervals that are withheld."""
    measured, count = comparison.errors.measured, len(comparison.errors.measured)
    missing = [name for name, ok in zip(comparison.matched.names, measured, strict=True) if not ok]
    words = [f"Intervals are withheld: {comparison.withheld}."] if comparison.withheld else []
    if missing:
        shown = ", ".join(missing[:_MOST_NAMES]) + (", …" if len(missing) > _MOST_NAMES else "")
        words.append(f"{len(missing)} of {count} {_images(comparison)} were not measured and are in no figure: {shown}")
    return words


def _images(comparison: Comparison) -> str:
    return "frames" if comparison.errors.schema.dimensions == 2 else "volumes"


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
            ("a perfect reader would show", main.figure("perfect_mae"), main.unit),
            (f"{main.title} bias", main.figure("bias"), main.unit),
            *(
                (f"{main.title} {'' if main.within else 'error '}{words}", name, "%")
                for words, name in tables.shares(main)
            ),
            ("Mean radial error", "mre_px", "px"),
            ("ICC(2,1)", f"{main.key}_icc_2_1", ""),
        ]
    cells = [
        f'<div class="tile"><span>{label}</span><strong>{tables.value(comparison, key, in_unit(unit))}</strong></div>'
        for label, key, unit in tiles
        if key in comparison.estimates
    ]
    for quantity in told(comparison.errors.quantities):
        if counted := inside(comparison, quantity.key):
            show = f"true {escape(quantity.reference_title)} inside the stated interval"
            key = f"{quantity.key}_interval_coverage"
            coverage = comparison.estimates[key]
            words = tables.marked(counted, tables.below_target(comparison, coverage, key, comparison.n_groups))
            share = f"{tables.whole_percent(coverage)}; aim {100 * comparison.sides.coverage:.0f} %"
            cells.append(f'<div class="tile"><span>{show}</span><strong>{words}<small>{share}</small></strong></div>')
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
        return f'<p class="warn">No {_images(comparison)[:-1]} was measured: there is nothing to plot.</p>'
    # Several formulas of one reference are each plotted.
    alike = [
        one
        for one in comparison.errors.quantities
        if (one.reference_title, one.unit) == (main.reference_title, main.unit)
    ]
    drawn = "".join(
        _plot(plots.bland_altman(comparison, one), _altman(comparison, one, len(alike) > 1)) for one in alike
    )
    if limits := plots.limits_beside_readers(comparison, main):
        words = "Bars from limit to limit of agreement, thin lines their intervals."
        if any(one.limits for one in main.readers):
            words += " Published readers saw other frames: an orientation, not a test."
        drawn += _plot(limits, words)
    return f'<section class="plots">{drawn}</section>'


def _altman(comparison: Comparison, quantity: Quantity, named: bool) -> str:
    of = f" of {escape(quantity.title)}" if named else ""
    low, high = (comparison.estimates[quantity.figure(name)].value for name in ("loa_low", "loa_high"))
    plain = (
        f"In 95 of 100 {_images(comparison)} the result lies between {plots.signed(low)} and {plots.signed(high)}"
        f"{quantity.sign} of the reference, if differences are normal."
        if np.isfinite(low + high)
        else ""
    )
    slope = escape(plots.slope_words(comparison, quantity))
    return (
        f"Bland-Altman{of}. Line: bias; dashed: limits of agreement; bands: their intervals; dotted: slope; green: "
        f"smooth line (LOESS), where {_images(comparison)} are enough. {plain} {slope}"
    )


def _decisions(comparison: Comparison) -> str:
    """A decision curve for each threshold of each quantity."""
    drawn = "".join(
        _plot(plots.decision_curve(comparison, one, limit), f"{escape(one.title)} at or above {limit:g}{one.sign}")
        for one in comparison.errors.quantities
        for limit in comparison.tables.get(one.key, {})
        if np.isfinite(comparison.errors.differences[one.key]).any()
    )
    words = (
        "Net benefit of calling a frame at or above the threshold, for one who acts from some chance on: blue = by the "
        "stated interval, dotted = by the measured value alone, dashed = every frame is called, 0 = none is. The truth "
        "is the reference value, not an outcome of labour (Vickers and Elkin 2006)."
    )
    drawn = f'<div class="plots four">{drawn}</div>'
    return f'<section class="decisions"><h2>Decision curves</h2><p class="under">{words}</p>{drawn}</section>'


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
    shots = pictures.drawn_worst(comparison, main, comparison.pixels)
    if not shots:
        return ""
    key = (
        '<i class="result"></i> results, shaded: their stated interval <i class="reference"></i> reference. To blame: '
        "the point without whose own error least of the error is left. A picture grows when it is chosen."
    )
    return _shots(f"The {len(shots)} frames with the largest errors", "worst", key, shots)


def _worst_volumes(comparison: Comparison) -> str:
    shots = [] if comparison.sheets is None else pictures.drawn_worst_volumes(comparison, comparison.sheets)
    if not shots:
        return ""
    key = (
        "Slices through the points, and the skeleton from several sides: results orange, reference blue. A picture "
        "grows when it is chosen."
    )
    return _shots(f"The {len(shots)} volumes with the largest errors", "worst", key, shots)


def _withheld(comparison: Comparison) -> str:
    """Images that were not measured: the reasons, and pictures of some."""
    missing = np.flatnonzero(~comparison.errors.measured).tolist()
    if not missing:
        return ""
    # What stands in brackets is of one frame: the same reason has other numbers in the next.
    reasons = Counter(re.sub(r" *\([^()]*\)", "", pictures.reason_of(comparison, position)) for position in missing)
    listed = "; ".join(f"{escape(reason)}: {count}" for reason, count in reasons.most_common())
    title = f"Not measured: {len(missing)} of {len(comparison.errors.measured)}"
    if comparison.sheets is not None:
        shots = pictures.drawn_withheld_volumes(comparison, comparison.sheets)
    elif comparison.pixels is not None:
        shots = pictures.drawn_withheld(comparison, comparison.pixels)
    else:
        return f'<section><h2>{title}</h2><p class="under">{listed}</p></section>'
    more = "" if len(shots) == len(missing) else f" The first {len(shots)} are shown."
    return _shots(title, "withheld", f"{listed}.{more}", shots)


def _shots(title: str, anchor: str, key: str, shots: list[pictures.Shot]) -> str:
    """Pictures that fill the window when they are the target of a link, without a script."""
    cells = "".join(
        f'<figure id="{anchor}-{number}"><a class="grow" href="#{anchor}-{number}" aria-label="enlarge">{shot.svg}</a>'
        f'<figcaption><a class="back" href="#{anchor}">back</a> {"<br>".join(escape(line) for line in shot.lines)}<br>'
        f"<small>{escape(shot.name)}</small></figcaption></figure>"
        for number, shot in enumerate(shots, start=1)
    )
    grid = f'<div class="shots {anchor}">{cells}</div>'
    return f'<section id="{anchor}"><h2>{title}</h2><p class="key">{key}</p>{grid}</section>'


def _how(comparison: Comparison) -> str:
    flat = comparison.errors.schema.dimensions == 2
    words = _how_in_pictures(comparison) if flat else _how_in_volumes(comparison)
    if tables.some_over_fewer(comparison):
        words.append("n: so many images have a value, where they are not all measured ones (with missing: not all).")
    return f"<aside><p>{' '.join(map(escape, words))}</p></aside>"


_NEITHER = "The reference is another method or reader: neither side is the truth."


def _how_in_pictures(comparison: Comparison) -> list[str]:
    stated = [one for one in comparison.errors.quantities if f"{one.key}_interval_coverage" in comparison.estimates]
    words = [
        "Differences are results minus reference.",
        *([_NEITHER] if comparison.sides.second_is_a_result else []),
        *_how_of_intervals(comparison),
        "ICC: Shrout and Fleiss 1979, single ratings; limits of agreement: bias ± 1.96 SD, Bland and Altman 1986; "
        "kappa: Cohen 1960. MRE mean radial error; SDR share of points within so many pixels.",
        *_how_of_quantities(comparison),
    ]
    main = comparison.errors.main
    if main is not None and tables.turns_words(main, comparison.errors.true_values[main.key]):
        words.append(
            f"A turn above 180{main.sign} is an {main.title} of 360{main.sign} minus it; errors, plots, thirds and "
            "thresholds are of the turn."
        )
    if stated:
        ends = ", ".join(f"{one.interval}_{end}" for one in stated for end in ("low", "high"))
        words.append(
            f"Stated intervals ({ends}) hold where the reference lies inside; calibration aims at "
            f"{comparison.sides.coverage:.0%} here."
        )
    return words


def _how_of_intervals(comparison: Comparison) -> list[str]:
    return [
        f"Intervals: {comparison.coverage:.0%}, over whole groups: bootstrap-t with {comparison.draws} draws, of "
        "shares Wilson's at the effective number of frames (mid-P with few of a kind), of quantiles order statistics. "
        "'At least' and 'at most' are bounds on one side, which shares near 0 and 100 % have instead.",
        f"Fewer than {LEAST_GROUPS} groups have none; shares, spreads, limits of agreement, correlations and "
        "percentiles need more, and metrics.json says why one is missing.",
    ]


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
        *_how_of_intervals(comparison),
    ]
    if errors.schema.symmetric:
        words.append(
            "Up to a swap: all left points exchanged with the right ones where that is nearer; each side: arms and "
            "legs by themselves; left and right exchanged: share of the volumes where the exchanged order is nearer."
        )
    if errors.planes is not None:
        words.append("Plane distance: from the middle of the true points of head and trunk to the predicted plane.")
    if errors.schema.interchangeable:
        words.append("Points that are not told apart are compared in the order that is nearer.")
    if errors.axes:
        words.append(
            f"Axes ({', '.join(errors.axes)}): degrees between the predicted and the true one; the first is a "
            "direction, the others are lines."
        )
    if comparison.motions:
        words.append("Motion is that of the points in the volume: errors of prediction and a moving probe add to it.")
    return [*words, _NEITHER] if comparison.sides.second_is_a_result else words
