"""``report.html`` of an evaluation of volumes: one page that needs nothing but itself."""

from __future__ import annotations

from html import escape

import numpy as np

from aop_pose import __version__
from aop_pose.evaluation.comparison import VolumeStudy
from aop_pose.evaluation.errors import PCK_LIMIT_MM, pck_curve
from aop_pose.evaluation.figures import swapped
from aop_pose.evaluation.report import page as tables
from aop_pose.evaluation.report.files import lines
from aop_pose.evaluation.report.html import Axis, Chart, document, table
from aop_pose.evaluation.report.page import Heading
from aop_pose.stats.bootstrap import LEAST_GROUPS, Estimate

_SHOW = {**tables.SHOWN, "%": tables.percent}
_TILES = ("mre_mm", "pck_auc", "lr_confusion", "mre_mm_swap", "crl_mae_mm", "eye_distance_mae_mm", "plane_angle_deg")


def volume_page(study: VolumeStudy, heading: Heading) -> str:
    """The whole page as HTML."""
    body = [
        _head(study, heading),
        _tiles(study),
        f'<div class="pair">{_plot(study)}{_figures(study)}</div>',
        _points(study),
        _motion(study),
        _how(study, heading),
        f"<footer><b>{escape(heading.notice)}</b> Made by aop-pose {__version__} evaluate.</footer>",
    ]
    return document(f"Report on volumes: {heading.results}", body)


def _head(study: VolumeStudy, heading: Heading) -> str:
    figures = study.figures
    models = f" (model {escape(', '.join(study.matched.models))})" if study.matched.models else ""
    against = "another results table" if heading.second_is_a_result else "reference"
    warnings = [f"Intervals are withheld: {figures.withheld}."] if figures.withheld else []
    if figures.n_missing:
        warnings.append(
            f"{figures.n_missing} of {figures.n} volumes were not measured: only “with missing” counts them."
        )
    return (
        f"<header><h1>Points in volumes</h1><p><b>{escape(heading.results)}</b>{models} against {against} "
        f"<b>{escape(heading.reference)}</b></p><p>Schema {study.errors.schema.name}: {figures.n} volumes, "
        f"{figures.n_missing} missing, {figures.n_points_missing} of {figures.n_points} points missing, "
        f"{figures.n_groups} groups: {escape(study.grouping.words)}.</p>"
        f'<p class="notice">{escape(heading.notice)}</p>'
        + "".join(f'<p class="warn">{escape(warning)}</p>' for warning in warnings)
        + "</header>"
    )


def _tiles(study: VolumeStudy) -> str:
    named = {name: (label, unit) for label, name, unit in lines(study)}
    cells = [
        f'<div class="tile"><span>{escape(named[name][0])}</span><strong>'
        f"{tables.cell(study.figures.estimates[name], _SHOW[named[name][1]])}</strong></div>"
        for name in _TILES
        if name in named and name in study.figures.estimates
    ]
    return f'<section class="tiles">{"".join(cells)}</section>'


def _plot(study: VolumeStudy) -> str:
    errors = study.errors
    curves = {"as named": (errors.distances, "curve"), "up to a swap": (swapped(errors).get("swap"), "dashed")}
    chart = Chart(
        "PCK curve", Axis.over("threshold, mm", [0, PCK_LIMIT_MM]), Axis.over("points within, %", [0, 100], ticks=5)
    )
    drawn = False
    for distances, style in curves.values():
        if distances is None:
            continue
        thresholds, shares = pck_curve(np.where(errors.labelled, distances, np.nan))
        drawn = drawn or bool(np.isfinite(shares).any())
        chart.curve(thresholds, 100 * shares, style)
    if not drawn:
        return '<p class="warn">No point was found: there is nothing to plot.</p>'
    words = f"PCK: share of the points that were found whose error is at most a threshold, 0 to {PCK_LIMIT_MM:g} mm"
    if errors.schema.symmetric:
        words += "; dashed: left and right exchanged where that is nearer"
    return f"<figure>{chart.svg()}<figcaption>{words}.</figcaption></figure>"


def _figures(study: VolumeStudy) -> str:
    rows = []
    for label, name, unit in lines(study):
        found = study.figures.estimates.get(name, Estimate(np.nan))
        missing = Estimate(study.figures.twins.get(name, np.nan))
        rows.append([escape(label), tables.cell(found, _SHOW[unit]), tables.cell(missing, _SHOW[unit])])
    return table("Figures", ["", "found", "with missing"], rows)


def _points(study: VolumeStudy) -> str:
    estimates, rows = study.figures.estimates, []
    errors = study.errors
    found = (np.isfinite(errors.distances) & errors.labelled).sum(axis=0)
    for index, point in enumerate(errors.schema.points):
        radial, area = (estimates.get(f"{name}_{point}", Estimate(np.nan)) for name in ("mre_mm", "pck_auc"))
        count = f"{found[index]} of {int(errors.labelled[:, index].sum())}"
        cells = [tables.cell(radial, tables.millimetres), tables.cell(area, tables.percent), count]
        rows.append([f"{index + 1} {escape(point.replace('_', ' '))}", *cells])
    return table(
        "Points", ["", "MRE", "PCK AUC", "found"], rows, "table dense" if len(rows) > LEAST_GROUPS else "table"
    )


def _motion(study: VolumeStudy) -> str:
    parts = []
    for file, (found, true) in study.motions.items():
        rows = [
            [
                escape(point.replace("_", " ")),
                *(tables.cell(Estimate(float(value)), tables.millimetres) for value in pair),
            ]
            for point, *pair in zip(
                found.points, found.paths, true.paths, found.mean_speeds, true.mean_speeds, strict=True
            )
        ]
        heads = ["", "path", "true path", "speed, a frame", "true speed, a frame"]
        parts.append(table(f"Motion in {file}, {len(found.indices)} volumes", heads, rows))
    return "".join(parts)


def _how(study: VolumeStudy, heading: Heading) -> str:
    figures = study.figures
    words = [
        "Errors in mm of the volume's own spacing; MRE mean radial error over the points that were found. With "
        "missing: a labelled point without a prediction is off by the diagonal of its volume.",
        f"PCK AUC: area under the curve from 0 to {PCK_LIMIT_MM:g} mm, in percent.",
        f"Intervals: {figures.coverage:.0%} percentile intervals over {figures.draws} draws of whole groups with "
        f"replacement; fewer than {LEAST_GROUPS} groups have none.",
    ]
    if study.errors.schema.symmetric:
        words.append(
            "Up to a swap: all left points exchanged with the right ones where that is nearer; each side: arms and "
            "legs by themselves; left and right exchanged: share of the volumes where the exchanged order is nearer."
        )
    if study.lengths.plane_distances is not None:
        words.append("Plane distance: from the middle of the true points of head and trunk to the predicted plane.")
    if study.motions:
        words.append("Motion is that of the points in the volume: errors of prediction and a moving probe add to it.")
    if heading.second_is_a_result:
        words.append("The reference is another method or reader: neither side is the truth.")
    listed = "".join(f"<li>{escape(note)}</li>" for note in study.notes)
    return f"<aside><p>{' '.join(map(escape, words))}</p>{f'<ul>{listed}</ul>' if listed else ''}</aside>"
