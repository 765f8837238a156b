"""The reporting checklists of a study of agreement (GRRAS) and of accuracy (STARD), filled in as far as files can tell.

Sources: Kottner et al., Journal of Clinical Epidemiology 64 (2011) 96-106 (15 items); Bossuyt et al., BMJ 351 (2015)
h5527 (30 items). The words of the items are ours and short; the papers have them in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.report.html import document, escape, table
from aop_pose.evaluation.report.tables import in_unit, turns_words, value
from aop_pose.stats.agreement import LIMIT_SDS

CHECKLIST_FILE = "checklist.html"
OPEN = "for the authors"
"""No file tells it."""

Item = tuple[str, str, str]
"""Number, what to report, and what is known of it."""


def checklist(comparison: Comparison, notice: str) -> str:
    """The page: both lists, an item a row, what the files cannot tell left to the authors."""
    parts = [
        f"<header><h1>Checklists</h1><p>{escape(comparison.sides.results)} against "
        f'{escape(comparison.sides.reference)}</p><p class="notice">{escape(notice)}</p></header>',
        _list("GRRAS: a study of reliability and agreement", _grras(comparison)),
    ]
    if any(comparison.tables.values()):
        parts.append(_list("STARD: a study of accuracy at thresholds", _stard(comparison)))
    parts.append(
        "<aside><p>GRRAS: Kottner et al. 2011; STARD: Bossuyt et al. 2015. An item marked "
        f"&ldquo;{OPEN}&rdquo; stands in no file that was compared.</p></aside>"
    )
    return document("Checklists", parts)


def _list(title: str, items: Iterator[Item]) -> str:
    rows = [[number, escape(what), f"<em>{OPEN}</em>" if known == OPEN else known] for number, what, known in items]
    return table(title, ["item", "to report", "known from the files"], rows, "table sentences")


def _grras(comparison: Comparison) -> Iterator[Item]:
    yield "1", "Title or abstract says that agreement was studied", OPEN
    yield "2", "The measurement and its device", _models(comparison)
    yield "3", "The subjects", _values(comparison)
    yield "4", "The raters", _raters(comparison)
    yield "5", "What is known of its agreement already", _readers(comparison) or OPEN
    yield "6", "Why so many subjects, raters and repeats", "aop-pose evaluate --plan says how many a precision needs"
    yield "7", "How subjects and raters were chosen", OPEN
    yield "8", "How it was measured: times, blinding, clinical information", OPEN
    yield "9", "Whether ratings were independent", _independence(comparison)
    yield "10", "Statistical analysis", _analysis(comparison)
    yield "11", "Numbers of subjects, raters and repeats", _numbers(comparison)
    yield "12", "Characteristics of subjects and raters", _values(comparison)
    yield "13", "Estimates of reliability and agreement, with their uncertainty", _estimates(comparison)
    yield "14", "What the results mean in practice", OPEN
    yield "15", "Detailed results", "per_frame.csv, metrics.json, report.html beside this page"


def _stard(comparison: Comparison) -> Iterator[Item]:
    for number, what in (
        ("1", "Title names a measure of accuracy"), ("2", "Structured abstract"), ("3", "Intended use"),
        ("4", "Objectives and hypotheses"), ("5", "Data collected before or after the tests were planned"),
        ("6", "Eligibility"), ("7", "How participants were found"), ("8", "Where and when"),
        ("9", "Consecutive, random or convenience series"),
    ):  # fmt: skip
        yield number, what, OPEN
    yield "10a", "The index test, so that it can be repeated", _models(comparison)
    yield "10b", "The reference standard", escape(comparison.sides.reference)
    yield "11", "Why this reference standard", OPEN
    cuts = [
        f"{limit:g}{quantity.sign}{f' ({escape(source)})' if (source := quantity.thresholds.get(limit)) else ''}"
        for quantity in comparison.errors.quantities
        for limit in comparison.tables.get(quantity.key, {})
    ]
    yield "12a", "Cut-offs of the index test, stated before or found", f"stated before: {', '.join(cuts)}"
    yield "12b", "Cut-offs of the reference standard", "the same"
    yield "13a", "What readers of the index test knew", _independence(comparison)
    yield "13b", "What those of the reference standard knew", OPEN
    yield "14", "Methods of estimating accuracy", _analysis(comparison)
    yield "15", "Indeterminate results", _straddled(comparison)
    yield "16", "Missing results", _missing(comparison)
    yield "17", "Variability of accuracy", _cuts(comparison) or OPEN
    yield "18", "Intended number of participants", OPEN
    yield "19", "Flow of participants", f"{_numbers(comparison)}; {_missing(comparison)}"
    yield "20", "Baseline characteristics", OPEN
    yield "21a", "Distribution of severity", _values(comparison)
    yield "21b", "Other diagnoses", OPEN
    yield "22", "Time and treatment between the tests", "both read the same images"
    yield "23", "Cross tabulation", _crossed(comparison)
    yield "24", "Estimates of accuracy with their precision", _accuracy(comparison)
    yield "25", "Adverse events", "none can come from reading stored images"
    for number, what in (
        ("26", "Limitations"), ("27", "Implications"), ("28", "Registration"), ("29", "Where the protocol is"),
        ("30", "Funding"),
    ):  # fmt: skip
        yield number, what, OPEN


def _models(comparison: Comparison) -> str:
    run = comparison.manifest.get("results_run") or {}
    named = ", ".join(map(escape, comparison.matched.models)) or "not stated by the results"
    facts = [f"{word} {escape(str(run[key]))}" for key, word in _FACTS if run.get(key)]
    gate = [f"gate {'on' if run['gate'] else 'off, or there is none'}"] if "gate" in run else []
    return "; ".join([named, *facts, *gate])


_FACTS = (("aop_pose", "aop-pose"), ("training_run", "training run"), ("started", "measured"))


def _raters(comparison: Comparison) -> str:
    second = "another method or reader" if comparison.sides.second_is_a_result else "the reference"
    return f"{_models(comparison)}; {second}: {escape(comparison.sides.reference)}, whose readers the authors describe"


def _readers(comparison: Comparison) -> str:
    found = [f"{one.source}" for quantity in comparison.errors.quantities for one in quantity.readers]
    return escape("; ".join(dict.fromkeys(found)))


def _independence(comparison: Comparison) -> str:
    if comparison.sides.second_is_a_result:
        return OPEN
    return "a network sees no reference when it measures; that it did not train on it is for its training run to show"


def _analysis(comparison: Comparison) -> str:
    return (
        f"bias and limits of agreement (bias ± {LIMIT_SDS:g} SD), ICC(2,1) and ICC(3,1); {comparison.coverage:.0%} "
        f"intervals over {escape(comparison.grouping.words)}: bootstrap-t, Wilson, order statistics"
    )


def _numbers(comparison: Comparison) -> str:
    measured, every = comparison.n_measured, len(comparison.errors.measured)
    words = (
        f"{every} images, {measured} measured, in {comparison.n_groups} groups ({escape(comparison.grouping.words)})"
    )
    exams = comparison.examinations
    return words if exams is None else f"{words}; {exams.n_repeated} of {exams.n} examinations with several images"


def _missing(comparison: Comparison) -> str:
    lost = int((~comparison.errors.measured).sum())
    return f"{lost} images without a measurement: in no plain figure, and the largest error in *_with_missing"


def _values(comparison: Comparison) -> str:
    main = comparison.errors.main
    true = np.array([]) if main is None else comparison.errors.true_values[main.key]
    true = true[np.isfinite(true)]
    if main is None or not len(true):
        return OPEN
    low, middle, high = (in_unit(main.unit)(float(one)) for one in np.quantile(main.folded(true), [0, 0.5, 1]))
    known = f"{main.title} by the reference {low} to {high}, median {middle}"
    return "; ".join(filter(None, [known, turns_words(main, true), "who they were is for the authors"]))


def _estimates(comparison: Comparison) -> str:
    main = comparison.errors.main
    if main is None:
        return "metrics.json"
    asked = [
        ("bias", main.figure("bias"), main.unit), ("lower limit", main.figure("loa_low"), main.unit),
        ("upper limit", main.figure("loa_high"), main.unit), ("ICC(2,1)", f"{main.key}_icc_2_1", ""),
    ]  # fmt: skip
    known = [one for one in asked if one[1] in comparison.estimates]
    return "; ".join(f"{label} {value(comparison, name, in_unit(unit))}" for label, name, unit in known)


def _straddled(comparison: Comparison) -> str:
    found = [
        f"{table.straddled} at {limit:g}{quantity.sign}"
        for quantity in comparison.errors.quantities
        for limit, table in comparison.tables.get(quantity.key, {}).items()
        if table.straddled is not None
    ]
    return f"images whose stated interval holds the cut-off: {', '.join(found)}" if found else "no intervals are stated"


def _crossed(comparison: Comparison) -> str:
    return "; ".join(
        f"{limit:g}{quantity.sign}: {table.both} both at or above, {table.only_results} results alone, "
        f"{table.only_reference} reference alone, {table.neither} neither"
        for quantity in comparison.errors.quantities
        for limit, table in comparison.tables.get(quantity.key, {}).items()
    )


def _accuracy(comparison: Comparison) -> str:
    found: list[str] = []
    for quantity in comparison.errors.quantities:
        for limit in comparison.tables.get(quantity.key, {}):
            shares = [
                f"{name} {value(comparison, f'{quantity.key}_at_{limit:g}_{name}', in_unit('%'))}"
                for name in ("sensitivity", "specificity")
            ]
            found.append(f"{limit:g}{quantity.sign}: {', '.join(shares)}")
    return "; ".join(found)


def _cuts(comparison: Comparison) -> str:
    by: Sequence[str] = list(dict.fromkeys(subset.by for subset in comparison.subsets))
    return f"figures by {escape(', '.join(by))} in report.html" if by else ""
