"""``benchmark.html``: one page that needs nothing but itself, in the dress of the agreement report."""

from __future__ import annotations

import re
from html import escape

from aop_pose import __version__
from aop_pose.benchmark.compare import Comparison
from aop_pose.benchmark.one_run import SCALE
from aop_pose.benchmark.tables import grids, how, words
from aop_pose.evaluation.html import document, table
from aop_pose.evaluation.svg import Axis, Chart

_ROW = 44.0


def page(comparison: Comparison, notice: str) -> str:
    """The whole page as HTML."""
    warn = f'<p class="warn">{_marked(comparison.withheld)}</p>' if comparison.withheld else ""
    plots = "".join(
        f"<figure>{_chart(comparison, metric, label)}<figcaption>{escape(label)}: dot = mean, line = 95 % interval "
        "over groups, small dots = single seeds.</figcaption></figure>"
        for metric, label in (("mre_px", f"Mean radial error, px of {SCALE:g}"), ("aop_mae_deg", "AoP error, °"))
    )
    made, command = how(comparison)
    lines = "".join(f"<li>{_marked(line)}</li>" for line in (*words(comparison), command))
    body = [
        f'<header><h1>Benchmark</h1><p>{_marked(made)}</p><p class="notice">{escape(notice)}</p>{warn}</header>',
        f'<section class="plots">{plots}</section>',
        *(
            table(grid.title, grid.heads, [[_interval_small(cell) for cell in row] for row in grid.rows], "table wide")
            for grid in grids(comparison)
        ),
        f"<aside><ul>{lines}</ul></aside>",
        f"<footer><b>{escape(notice)}</b> Made by aop-pose {__version__} benchmark.</footer>",
    ]
    return document("Benchmark", body)


def _marked(line: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(line))


def _interval_small(cell: str) -> str:
    value, bracket, ends = escape(cell).partition(" [")
    return f"{value} <small>[{ends}</small>" if bracket else value


def _chart(comparison: Comparison, metric: str, label: str) -> str:
    rows = list(reversed(comparison.methods))
    ends = [
        end
        for row in rows
        for end in (row.errors[metric].value, *(row.errors[metric].interval or ()), *row.by_seed[metric])
    ]
    y = Axis("", -0.6, len(rows) - 0.4, 1)
    chart = Chart(label, Axis.over(label, ends, ticks=5), y, height=70 + _ROW * len(rows), left=16)
    for place, row in enumerate(rows):
        estimate = row.errors[metric]
        if estimate.interval is not None:
            chart.line(estimate.interval[0], place, estimate.interval[1], place, "whisker here")
        chart.dots(row.by_seed[metric], [place] * len(row.seeds), "dots")
        chart.dots([estimate.value], [place], "mark here")
        chart.words(chart.x.low, place, f"{row.method}: {estimate.value:.2f}", "note", (4, -12))
    return chart.svg(y_ticks=False)
