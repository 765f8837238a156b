"""The tables of a report: which figures stand in which row, and how a number is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from aop_pose.core.schema import SIGNS, Quantity
from aop_pose.evaluation.comparison import NO_IMAGE, Comparison
from aop_pose.evaluation.errors import CLOSE_PERCENT, PCK_LIMIT_MM
from aop_pose.evaluation.figures import PCK_THRESHOLDS_MM, SDR_THRESHOLDS, UNDER_2_5, Table, at_limit, told
from aop_pose.evaluation.noise import from_to
from aop_pose.evaluation.report.html import escape, table
from aop_pose.stats.bootstrap import LEAST_GROUPS, Estimate
from aop_pose.stats.intervals import side_of

NOTHING = "\N{EN DASH}"
_MOST_ROWS = 18
"""More rows than this are set closer in print, so that the page stays two sheets."""

Show = Callable[[float], str]


def percent(value: float) -> str:
    return f"{_rounded(100 * value, 1):.1f} %"


def plain(value: float) -> str:
    return f"{_rounded(value, 2):.2f}"


def thousandths(value: float) -> str:
    return f"{_rounded(value, 3):.3f}"


def _rounded(value: float, digits: int) -> float:
    # + 0.0 makes a zero of the negative zero that rounding may leave.
    return round(value, digits) + 0.0


def in_unit(unit: str) -> Show:
    """The writing of a value: of a unit, of a share in percent ("%"), or of a correlation ("")."""
    if unit == "%":
        return percent
    return (lambda value: f"{plain(value)}{SIGNS[unit]}") if unit in SIGNS else thousandths


def shown(value: float | int | str | None, unit: str) -> str:
    """A figure as the terminal has it: ``-`` for what does not exist."""
    return in_unit(unit)(value) if isinstance(value, float) and math.isfinite(value) else "-"


def over(estimate: Estimate, usual: int) -> str:
    """``n = 12`` where a figure is over another number of images than usual, else nothing."""
    return "" if estimate.n is None or estimate.n == usual else f"n = {estimate.n}"


def cell(estimate: Estimate, show: Show, usual: int | None = None) -> str:
    """Value and interval as HTML, with the n where it is not the usual one; the unit stands once."""
    n = "" if usual is None else over(estimate, usual)
    beside = f" <small>{n}</small>" if n else ""
    if not np.isfinite(estimate.value):
        return f"{NOTHING}{beside}"
    if estimate.interval is None:
        bound = "" if estimate.bound is None else f" <small>{estimate.bounded} {show(estimate.bound)}</small>"
        return f"{minus(show(estimate.value))}{bound}{beside}"
    low, high = (minus(show(end)).rstrip("°% pxm") for end in estimate.interval)
    return f"{minus(show(estimate.value))} <small>[{low}, {high}]</small>{beside}"


def whole_percent(share: Estimate) -> str:
    """``91 [86, 95] %`` or ``100 %, at least 93 %``."""
    number = f"{100 * share.value:.0f}"
    if share.interval is not None:
        return "{} [{:.0f}, {:.0f}] %".format(number, *(100 * end for end in share.interval))
    return f"{number} %" + ("" if share.bound is None else f", {share.bounded} {100 * share.bound:.0f} %")


def value(comparison: Comparison, name: str, show: Show) -> str:
    """A figure of a comparison as a cell; coverage of intervals below its target stands out."""
    if name not in comparison.estimates:
        return NOTHING
    estimate = comparison.estimates[name]
    style = below_target(comparison, estimate, name, comparison.n_groups)
    return marked(cell(estimate, show, comparison.n_measured), style)


def marked(text: str, style: str) -> str:
    """A cell that stands out in a style, or as it is."""
    return f'<span class="{style}">{text}</span>' if style else text


def minus(text: str) -> str:
    """The minus as typographers write it."""
    return text.replace("-", "\N{MINUS SIGN}")


def some_over_fewer(comparison: Comparison) -> bool:
    """A figure of the summary is over another number of images than usual."""
    names, count = [name for _, name, _ in lines(comparison)], len(comparison.errors.measured)
    plain = [over(comparison.estimates[name], comparison.n_measured) for name in names if name in comparison.estimates]
    return any(plain) or any(over(comparison.twins[name], count) for name in names if name in comparison.twins)


def missing_words(comparison: Comparison) -> str:
    """The heading of a column that counts what is missing: as how much an image without a prediction counts."""
    main = comparison.errors.main
    worst = "" if main is None or main.missing is None else f" or {main.missing:g}{main.sign}"
    return f"a missing one counted as its diagonal{worst}"


def turns_words(quantity: Quantity, values: np.ndarray) -> str:
    """Turns above 180 degrees among ``values`` (n,) on the scale of the errors; "" where there are none."""
    turns = values[values > 180] if quantity.unfolded is not None else values[:0]
    if not len(turns):
        return ""
    return f"{len(turns)} with a turn above 180{quantity.sign}, at most {turns.max():.1f}{quantity.sign}"


def words_of(name: str) -> str:
    """A point or a group as a reader has it."""
    return name.replace("_", " ")


def lines(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Label, key in ``metrics.json`` and unit of each figure of a summary; what this comparison has not is left out."""
    schema = comparison.errors.schema
    if schema.dimensions == 2:
        found = [("MRE", "mre_px", "px")]
        found += [(f"  {point}", f"mre_px_{point.lower()}", "px") for point in schema.points]
        found += [("MRE of a perfect reader", "perfect_mre_px", "px"), ("MAE per coordinate", "mae_px", "px")]
        found += [(f"SDR within {threshold} px", f"sdr_{threshold}", "%") for threshold in SDR_THRESHOLDS]
    else:
        found = [
            ("MRE", "mre_mm", "mm"),
            *((f"  {words_of(name)}", f"mre_mm_{name}", "mm") for name, _ in schema.groups),
        ]
        found += [
            ("MRE of a perfect reader", "perfect_mre_mm", "mm"),
            ("MRE up to a swap of the sides", "mre_mm_swap", "mm"),
            ("MRE, each side by itself", "mre_mm_swap_sides", "mm"),
            ("MRE, each pair by itself", "mre_mm_swap_pairs", "mm"),
            ("left and right exchanged", "lr_confusion", "%"),
        ]
        found += [(f"PCK within {threshold} mm", f"pck_{threshold}_mm", "%") for threshold in PCK_THRESHOLDS_MM]
        found.append((f"PCK AUC, 0 to {PCK_LIMIT_MM:g} mm", "pck_auc", "%"))
    for quantity in told(comparison.errors.quantities):
        # A volume has many lengths: of all but one a summary has the errors alone, the page has the rest.
        every = schema.dimensions == 2 or quantity is comparison.errors.main
        found += _lines_of(quantity) if every else _errors_of(quantity)
    found += [
        ("midsagittal plane, distance", "plane_distance_mm", "mm"),
        ("midsagittal plane, angle", "plane_angle_deg", "deg"),
    ]
    for name in schema.axis_names:
        found += [
            (f"axis {name}", f"axis_{name}_deg", "deg"),
            (f"axis {name}, median", f"axis_{name}_median_deg", "deg"),
        ]
    names = {one.name for one in comparison.computed} | set(comparison.estimates)
    return [line for line in found if line[1] in names]


def _errors_of(quantity: Quantity) -> list[tuple[str, str, str]]:
    return [
        (f"{quantity.title} mean abs. error", quantity.figure("mae"), quantity.unit),
        (f"{quantity.title} bias", quantity.figure("bias"), quantity.unit),
        (f"{quantity.title} inside the stated interval", f"{quantity.key}_interval_coverage", "%"),
    ]


def _lines_of(quantity: Quantity) -> list[tuple[str, str, str]]:
    title, key, unit = quantity.title, quantity.key, quantity.unit
    return [
        (f"{title} mean abs. error", quantity.figure("mae"), unit),
        (f"{title} median", quantity.figure("median"), unit),
        (f"{title} 95th percentile", quantity.figure("p95"), unit),
        (f"{title} bias", quantity.figure("bias"), unit),
        (f"{title} lower limit", quantity.figure("loa_low"), unit),
        (f"{title} upper limit", quantity.figure("loa_high"), unit),
        (f"{title} ICC(2,1)", f"{key}_icc_2_1", ""),
        (f"{title} ICC(3,1)", f"{key}_icc_3_1", ""),
        (f"{title} Pearson r", f"{key}_pearson_r", ""),
        *((f"{title} {words}", name, "%") for words, name in shares(quantity)),
        (f"{title} inside the stated interval", f"{key}_interval_coverage", "%"),
        (f"{title} of a perfect reader: mean abs. error", quantity.figure("perfect_mae"), unit),
        (f"{title} of a perfect reader: limits \N{PLUS-MINUS SIGN}", quantity.figure("perfect_loa"), unit),
        (f"{title} of one more reader: limits \N{PLUS-MINUS SIGN}", quantity.figure("reader_loa"), unit),
        (f"{title} root mean square error", quantity.figure("rms"), unit),
        (f"{title} left without the labels' noise", quantity.figure("own_rms"), unit),
        (f"{title} share of the squared error left", f"{key}_own_share", "%"),
    ]


def shares(quantity: Quantity, error: str = "") -> list[tuple[str, str]]:
    """Words and key of each share of images whose error is small; ``error`` are words before a share of the truth."""
    if not quantity.within:
        return [(f"{error}under {CLOSE_PERCENT} %", f"{quantity.key}_{UNDER_2_5}")]
    return [(f"within {share}{quantity.sign}", quantity.figure(f"within_{share}")) for share in quantity.within]


def landmarks(comparison: Comparison) -> str:
    """MRE and SDR of each point in pictures."""
    scale = comparison.errors.scale
    words = "of the original frames" if scale is None else f"where the longer side has {scale:g}"
    rows = []
    for point in ("", *comparison.errors.schema.points):
        end = f"_{point.lower()}" if point else ""
        keys = [(f"mre_px{end}", plain), *((f"sdr_{threshold}{end}", percent) for threshold in SDR_THRESHOLDS)]
        cells = [value(comparison, key, show) for key, show in keys]
        rows.append([point or "all points", *cells])
    heads = ["", "MRE, px", *(f"SDR {threshold} px" for threshold in SDR_THRESHOLDS)]
    perfect = comparison.estimates.get("perfect_mre_px")
    note = (
        "" if perfect is None else f"A perfect reader would show an MRE of {plain(perfect.value)} px: labels scatter."
    )
    return table(f"Landmarks, in pixels {words}", heads, rows, note=note)


def points(comparison: Comparison) -> str:
    """MRE and area under the PCK curve of each point in volumes, and how often it was found."""
    errors, rows = comparison.errors, []
    found = (np.isfinite(errors.distances) & errors.labelled).sum(axis=0)
    for index, point in enumerate(errors.schema.points):
        # How often a point was found stands beside; n would say it again.
        radial, area = (comparison.estimates.get(f"{name}_{point.lower()}", NO_IMAGE) for name in ("mre_mm", "pck_auc"))
        count = f"{found[index]} of {int(errors.labelled[:, index].sum())}"
        cells = [cell(radial, in_unit("mm")), cell(area, percent), count]
        rows.append([f"{index + 1} {escape(words_of(point))}", *cells])
    return table("Points", ["", "MRE", "PCK AUC", "found"], rows, _style(rows, LEAST_GROUPS))


def summary(comparison: Comparison) -> str:
    """Every line of the terminal's table, over what was found and with what is missing."""
    rows = [
        [
            escape(label),
            value(comparison, name, in_unit(unit)),
            cell(comparison.twins.get(name, Estimate(np.nan)), in_unit(unit), len(comparison.errors.measured)),
        ]
        for label, name, unit in lines(comparison)
    ]
    return table("Figures", ["", "found", missing_words(comparison)], rows)


def agreement(comparison: Comparison, unit: str) -> str:
    """Errors and agreement of the quantities of a unit; nothing where there are none."""
    quantities = [one for one in comparison.errors.quantities if one.unit == unit]
    if not quantities:
        return ""
    scale = "" if comparison.errors.scale is None else f", longer side = {comparison.errors.scale:g}"
    title = {"deg": "Agreement", "mm": "Agreement in millimetres", "px": f"Agreement in pixels{scale}"}[unit]
    show = in_unit(unit)
    lines: list[tuple[str, Callable[[Quantity], str], Show]] = [
        ("Mean absolute error", lambda one: one.figure("mae"), show),
        ("Median absolute error", lambda one: one.figure("median"), show),
        ("95th percentile", lambda one: one.figure("p95"), show),
        ("Bias", lambda one: one.figure("bias"), show),
        ("Standard deviation", lambda one: one.figure("sd"), show),
        ("Limit of agreement, lower", lambda one: one.figure("loa_low"), show),
        ("Limit of agreement, upper", lambda one: one.figure("loa_high"), show),
        *_share_lines(quantities),
        ("ICC(2,1), absolute agreement", lambda one: f"{one.key}_icc_2_1", thousandths),
        ("ICC(3,1), consistency", lambda one: f"{one.key}_icc_3_1", thousandths),
        ("Pearson r", lambda one: f"{one.key}_pearson_r", thousandths),
        ("True value inside the stated interval", lambda one: f"{one.key}_interval_coverage", percent),
        ("Stated intervals, mean width", lambda one: one.figure("interval_width"), show),
    ]
    rows = []
    for label, key, how in lines:
        names = [key(one) for one in quantities]
        if any(name in comparison.estimates for name in names):
            rows.append([label, *(value(comparison, name, how) for name in names)])
    style = "table wide" if len(quantities) > 3 else "table"
    return table(title, ["", *(one.title for one in quantities)], rows, style, note=_icc_words(quantities))


def below_target(comparison: Comparison, estimate: Estimate, name: str, groups: int) -> str:
    """Of a coverage of stated intervals: ``below`` what calibration aims at, ``below sure`` by more than chance, ""."""
    is_coverage = name.endswith("_interval_coverage") and not comparison.sides.second_is_a_result
    if not is_coverage or not estimate.value < comparison.sides.coverage:
        return ""
    return "below sure" if side_of(estimate, comparison.sides.coverage, groups) < 0 else "below"


def _icc_words(quantities: Sequence[Quantity]) -> str:
    """Correlations of human readers, and what they are worth."""
    known = [one for quantity in quantities for one in quantity.readers if one.icc is not None]
    if not known:
        return ""
    human = "; ".join(f"{one.icc:.2f}, {one.what} ({one.source})" for one in known)
    return (
        f"ICC of human readers: {escape(human)}. An ICC grows with the range of the values, so figures of other frames "
        "do not compare; limits of agreement do."
    )


def _share_lines(quantities: Iterable[Quantity]) -> list[tuple[str, Callable[[Quantity], str], Show]]:
    within = {share: quantity.sign for quantity in quantities for share in quantity.within}
    found: list[tuple[str, Callable[[Quantity], str], Show]] = [
        (f"Within {share}{sign}", partial(Quantity.figure, what=f"within_{share}"), percent)
        for share, sign in within.items()
    ]
    return [*found, (f"Error under {CLOSE_PERCENT} %", lambda one: f"{one.key}_{UNDER_2_5}", percent)]


def thresholds(comparison: Comparison) -> str:
    """Agreement at the values at which the literature decides; nothing for quantities that have none."""
    return "".join(_thresholds(comparison, one) for one in comparison.errors.quantities if one.key in comparison.tables)


def _thresholds(comparison: Comparison, quantity: Quantity) -> str:
    limits = tuple(comparison.tables[quantity.key])
    if at_limit(quantity, limits[0], "accuracy") not in comparison.estimates:
        return ""
    statistics: dict[str, tuple[str, Show]] = {
        "accuracy": ("Accuracy", percent),
        "sensitivity": ("Sensitivity", percent),
        "specificity": ("Specificity", percent),
        "ppv": ("Positive predictive value", percent),
        "npv": ("Negative predictive value", percent),
        "lr_positive": ("Likelihood ratio +", plain),
        "lr_negative": ("Likelihood ratio \N{MINUS SIGN}", plain),
        "kappa": ("Kappa", plain),
    }
    known = comparison.tables[quantity.key]
    counts: dict[str, Callable[[Table], int | None]] = {
        "Results and reference at or above": lambda one: one.both,
        "Results only": lambda one: one.only_results,
        "Reference only": lambda one: one.only_reference,
        "Both below": lambda one: one.neither,
        "Stated interval on both sides of it": lambda one: one.straddled,
    }
    rows = [
        [words, *(NOTHING if (count := of(known[limit])) is None else str(count) for limit in limits)]
        for words, of in counts.items()
        if any(of(one) is not None for one in known.values())
    ]
    rows += [
        # The first rows say over how many.
        [words, *(cell(comparison.estimates[at_limit(quantity, limit, name)], show) for limit in limits)]
        for name, (words, show) in statistics.items()
    ]
    sources = "; ".join(
        f"{limit:g}{quantity.sign} {escape(quantity.thresholds.get(limit, 'asked for with --at'))}" for limit in limits
    )
    heads = ["", *(f"{limit:g}{quantity.sign}" for limit in limits)]
    style = "table wide" if len(limits) > 3 else "table"
    return table(f"{quantity.title} at or above", heads, rows, style, note=f"{sources}.")


def noise(comparison: Comparison) -> str:
    """The errors beside those of a perfect reader; "" where the noise of the labels is unknown."""
    known = comparison.noise
    if known is None:
        return ""
    quantity, show = known.quantity, in_unit(known.quantity.unit)
    lines = [
        ("Mean absolute error", "mae", show),
        ("Mean absolute error of a perfect reader", "perfect_mae", show),
        ("Root mean square error", "rms", show),
        ("\N{EM DASH} without the labels' noise", "own_rms", show),
    ]
    rows = [[words, value(comparison, quantity.figure(name), how)] for words, name, how in lines]
    rows.append(["Share of the squared error that is left", value(comparison, f"{quantity.key}_own_share", percent)])
    for words, name in (
        ("Limits of agreement of a perfect reader", "perfect_loa"),
        ("\N{EM DASH} of one more reader", "reader_loa"),
        ("\N{EM DASH} of two readers with each other", "two_readers_loa"),
    ):
        rows.append([words, f"\N{PLUS-MINUS SIGN}{value(comparison, quantity.figure(name), show)}"])
    note = (
        f"Labels scatter with a standard deviation of {known.single:.2f}{quantity.sign} a reading "
        f"({escape(known.words)}). A perfect reader always gives the true value, and still differs from noisy labels "
        "by this."
    )
    return table("Against the noise of the labels", ["", quantity.title], rows, note=note)


def examinations(comparison: Comparison) -> str:
    """Means of repeated frames, and how far frames of one examination lie apart; "" without examinations."""
    exams, main = comparison.examinations, comparison.errors.main
    if exams is None or main is None:
        return ""
    show = in_unit(main.unit)
    rows = []
    for words, name, frames in (
        ("Mean absolute error", "mae", "mae"),
        ("Bias", "bias", "bias"),
        ("Limit of agreement, lower", "loa_low", "loa_low"),
        ("Limit of agreement, upper", "loa_high", "loa_high"),
        ("Within-patient SD, results", "within_sd", ""),
        ("Within-patient SD, reference", "reference_within_sd", ""),
        ("Repeatability coefficient, results", "repeatability", ""),
        ("Repeatability coefficient, reference", "reference_repeatability", ""),
    ):
        mean = cell(exams.estimates.get(main.figure(name), NO_IMAGE), show)
        rows.append([words, mean, value(comparison, main.figure(frames), show) if frames else ""])
    note = (
        f"{exams.n} examinations with a measured frame, {exams.n_repeated} of them with {from_to(2, exams.most)}. "
        "Two frames of one patient differ by less than the repeatability coefficient (2.77 SD) in 95 % of pairs; "
        "movement of the head between them counts too, so compare with the reference."
    )
    return table(f"{main.title} per examination", ["", "means", "frames"], rows, "table wide", note)


def subsets(comparison: Comparison) -> str:
    """A row per device or centre, and per third of the main quantity, the contrast and the stated width."""
    if not comparison.subsets:
        return ""
    columns: dict[str, tuple[str, Show]] = {}
    if (main := comparison.errors.main) is not None:
        show = in_unit(main.unit)
        columns |= {f"{main.title} error": (main.figure("mae"), show), "bias": (main.figure("bias"), show)}
    columns["MRE"] = "mre_px", in_unit("px")
    if main is not None and f"{main.key}_interval_coverage" in comparison.estimates:
        columns["inside interval"] = f"{main.key}_interval_coverage", percent
    rows, before, low = [], "", False
    for subset in comparison.subsets:
        usual = subset.n - subset.n_missing
        cells = []
        for key, how in columns.values():
            estimate = subset.estimates.get(key, NO_IMAGE)
            style = below_target(comparison, estimate, key, subset.n_groups)
            cells.append(marked(cell(estimate, how, usual), style))
            low = low or bool(style)
        by = f"<b>{escape(subset.by)}</b> " if subset.by != before else ""
        before = subset.by
        rows.append([f"{by}{escape(subset.label)}", str(subset.n), str(subset.n_missing), str(subset.n_groups), *cells])
    heads = ["", "frames", "missing", "groups", *columns]
    target = f"{comparison.sides.coverage:.0%}".replace("%", " %")
    note = (
        f"\N{BLACK DOWN-POINTING TRIANGLE} fewer intervals hold than the {target} aimed at; bold: by more than chance."
        if low
        else ""
    )
    return table("Where the errors sit", heads, rows, _style(rows, _MOST_ROWS), note)


def motions(comparison: Comparison) -> str:
    """Path and speed of each point over each sequence, predicted and true."""
    parts = []
    for file, (found, true) in comparison.motions.items():
        rows = [
            [escape(words_of(point)), *(cell(Estimate(float(value)), in_unit("mm")) for value in values)]
            for point, *values in zip(
                found.points, found.paths, true.paths, found.mean_speeds, true.mean_speeds, strict=True
            )
        ]
        heads = ["", "path", "true path", "speed, a frame", "true speed, a frame"]
        parts.append(table(f"Motion in {file}, {len(found.indices)} volumes", heads, rows))
    return "".join(parts)


def _style(rows: Sequence[object], most: int) -> str:
    return "table dense" if len(rows) > most else "table"
