"""The files of a benchmark: ``benchmark.json``, ``table.md`` and ``benchmark.html``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose import __version__
from aop_pose.benchmark.compare import MAIN, METRICS, Benchmark, MethodRow, Pair
from aop_pose.benchmark.plan import SCALE
from aop_pose.evaluation.errors import rounded
from aop_pose.evaluation.report.html import Axis, Chart, document, escape, table
from aop_pose.io.files import replacing
from aop_pose.stats.bootstrap import Estimate

_UNIT = MAIN.sign.strip()
METRIC_WORDS = dict(zip(METRICS, (f"MRE, px of {SCALE:g}", f"{MAIN.title} MAE, {_UNIT}"), strict=True))
"""Each of ``compare.METRICS`` as a heading says it."""


@attrs.frozen
class Grid:
    """A table of texts."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def how(benchmark: Benchmark) -> list[str]:
    """Time, machine and command."""
    machines = dict.fromkeys(str(run["training"].get("machine", "not stated")) for run in benchmark.runs)
    days = sorted(run["finished"][:10] for run in benchmark.runs)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return [
        f"{benchmark.n_frames} held-out frames in {benchmark.n_groups} groups of near-duplicates; every run had a "
        f"budget of {benchmark.plan.budget.words}. {when}, {', '.join(machines)}, aop-pose {__version__}.",
        f"`{benchmark.plan.command()}`",
    ]


def grids(benchmark: Benchmark) -> list[Grid]:
    """The table of the methods and, for two or more, that of the tests."""
    methods = Grid(
        "Methods",
        (
            "method", "seeds", *METRIC_WORDS.values(), "SD over seeds", "missing", "epochs", "training, min",
            "peak memory, MB", "ms a frame", "measuring, MB", "artefact, MB",
        ),
        tuple(map(_method_cells, benchmark.methods)),
    )  # fmt: skip
    tests = Grid(
        "Differences",
        ("first minus second", "error", "seeds", "difference", "p", "p, Holm"),
        tuple(map(_pair_cells, benchmark.pairs)),
    )
    return [methods, tests] if benchmark.pairs else [methods]


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _method_cells(row: MethodRow) -> tuple[str, ...]:
    spreads = [row.seed_spread(metric) for metric in METRICS]
    return (
        row.method,
        str(len(row.seeds)),
        *(estimate_text(row.errors[metric]) for metric in METRICS),
        " / ".join("-" if spread is None else f"{spread:.2f}" for spread in spreads),
        f"{row.missing:.3g}",
        str(row.epochs),
        f"{row.training_minutes:.1f}",
        _whole(row.training_memory_mb),
        f"{row.ms_per_frame:.1f}",
        _whole(row.measuring_memory_mb),
        f"{row.artefact_mb:.1f}",
    )


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    # Beside the number, because a reader of it reads no remarks.
    seeds = " (one seed)" if pair.seeds == 1 else ""
    test = ["-" if p is None else f"{_probability(p)}{seeds}" for p in (pair.p, pair.p_holm)]
    return (
        f"{pair.first} - {pair.second}", METRIC_WORDS[pair.metric], str(pair.seeds), estimate_text(pair.difference),
        *test,
    )  # fmt: skip


def estimate_text(estimate: Estimate, show: Callable[[float], str] = "{:.2f}".format) -> str:
    """``12.34 [11.00, 13.70]``, or why there is no value."""
    if not math.isfinite(estimate.value):
        return estimate.withheld or "-"
    if estimate.interval is None:
        return show(estimate.value)
    return f"{show(estimate.value)} [{', '.join(map(show, estimate.interval))}]"


def _probability(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _values(benchmark: Benchmark) -> list[Estimate]:
    of_methods = [one for row in benchmark.methods for one in row.errors.values()]
    return [*of_methods, *(pair.difference for pair in benchmark.pairs)]


def _why(estimate: Estimate) -> str:
    """The reason for an interval that is missing beside a number, else ""."""
    return estimate.withheld if math.isfinite(estimate.value) and estimate.interval is None else ""


def words(benchmark: Benchmark) -> list[str]:
    """Remarks that are needed to read the tables."""
    plan = benchmark.plan
    budget = (
        "Epochs: those that fit the budget at the pace of a short training, the same for all seeds of a method."
        if plan.budget.seconds is not None
        else "Epochs: the budget itself; the time they took stands beside."
    )
    lost = "that" if MAIN.missing is None else f"{MAIN.missing:g}{MAIN.sign}"
    lines = [
        "Every method saw the same frames: each seed holds out a tenth of the labels, in whole groups, to choose the "
        "epoch; the measured frames trained and chose nothing.",
        budget,
        f"Means over frames and seeds; a missing frame counts as the diagonal of its picture and as {lost}. MRE: mean "
        f"radial error as if the longer side had {SCALE:g} pixels.",
        "Time and memory of measuring are those of `aop-pose predict --no-overlay` with the exported artefact: reading "
        "included, all cores, median of 3 passes. Peak memory is that of the process (of the host, not of a GPU).",
    ]
    if benchmark.withheld:
        lines.append(f"Intervals and tests are withheld: {benchmark.withheld}.")
    else:
        lines.append(
            "Intervals of methods: 95 %, bootstrap-t over groups; what another seed would change stands beside (SD of "
            "seeds) and is not in them."
        )
        lines += [f"Where there is none: {why}." for why in dict.fromkeys(filter(None, map(_why, _values(benchmark))))]
    if benchmark.pairs and not benchmark.withheld:
        lines.append(
            "Differences are paired by seed and frame. With several seeds interval and p count the spread between "
            "seeds beside that between groups; p is the larger of that t test and a sign-flip test over groups. "
            "'(one seed)': nothing of other seeds is in it. Holm: corrected for the "
            f"{len(benchmark.pairs)} tests of this table."
        )
    return [*lines, *(f"{note[0].upper()}{note[1:]}." for note in benchmark.notes)]


_ROW = 44.0


def page(benchmark: Benchmark, notice: str) -> str:
    """The whole page as HTML."""
    warn = f'<p class="warn">{_marked(benchmark.withheld)}</p>' if benchmark.withheld else ""
    plots = "".join(
        f"<figure>{_chart(benchmark, metric, label)}<figcaption>{escape(label)}: dot = mean, line = 95 % interval "
        "over groups, small dots = single seeds.</figcaption></figure>"
        for metric, label in zip(
            METRICS, (f"Mean radial error, px of {SCALE:g}", f"{MAIN.title} error, {_UNIT}"), strict=True
        )
    )
    made, command = how(benchmark)
    lines = "".join(f"<li>{_marked(line)}</li>" for line in (*words(benchmark), command))
    body = [
        f'<header><h1>Benchmark</h1><p>{_marked(made)}</p><p class="notice">{escape(notice)}</p>{warn}</header>',
        f'<section class="plots">{plots}</section>',
        *(
            table(grid.title, grid.heads, [[_interval_small(cell) for cell in row] for row in grid.rows], "table wide")
            for grid in grids(benchmark)
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


def _chart(benchmark: Benchmark, metric: str, label: str) -> str:
    rows = [row for row in reversed(benchmark.methods) if not row.nothing]
    if not rows:
        return ""
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


JSON_FILE, TABLE_FILE, PAGE_FILE = "benchmark.json", "table.md", "benchmark.html"


def write_report(out: Path, benchmark: Benchmark, notice: str) -> None:
    """Write the three files; each replaces an earlier one only when complete."""
    texts = {
        TABLE_FILE: markdown(benchmark, notice),
        PAGE_FILE: page(benchmark, notice),
        JSON_FILE: json.dumps(as_json(benchmark), indent=1) + "\n",
    }
    for name, text in texts.items():
        with replacing(out / name) as part:
            part.write_text(text, encoding="utf-8")


def markdown(benchmark: Benchmark, notice: str) -> str:
    """``table.md``: how it was made, the table, the tests, what to know."""
    parts = ["# Benchmark\n", *(f"{line}\n" for line in how(benchmark)), f"**{notice}**\n"]
    for grid in grids(benchmark):
        lines = [grid.heads, ("---",) * len(grid.heads), *grid.rows]
        parts.append(f"## {grid.title}\n")
        parts.append("\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n")
    parts.append("\n".join(f"- {line}" for line in words(benchmark)))
    return "\n".join(parts) + "\n"


def as_json(benchmark: Benchmark) -> dict[str, Any]:
    """``benchmark.json``; the errors frame by frame stand in the files of the runs."""
    plan = benchmark.plan
    return {
        "command": plan.command(),
        "aop_pose": __version__,
        "budget": str(plan.budget),
        "scale": SCALE,
        "n": benchmark.n_frames,
        "n_groups": benchmark.n_groups,
        "ci_withheld": benchmark.withheld or None,
        "notes": list(benchmark.notes),
        "methods": [_method_entry(row) for row in benchmark.methods],
        "pairs": [_pair_entry(pair) for pair in benchmark.pairs],
        "runs": [{key: value for key, value in run.items() if key != "errors"} for run in benchmark.runs],
    }


def _method_entry(row: MethodRow) -> dict[str, Any]:
    entry = {**attrs.asdict(row, recurse=False), "seeds": list(row.seeds)}
    del entry["errors"]
    for metric, estimate in row.errors.items():
        entry |= {metric: rounded(estimate.value), f"{metric}_ci": _ends(estimate), f"{metric}_sd_over_seeds": None}
        spread = row.seed_spread(metric)
        entry[f"{metric}_sd_over_seeds"] = None if spread is None else rounded(spread)
    return entry


def _pair_entry(pair: Pair) -> dict[str, Any]:
    entry = {**attrs.asdict(pair, recurse=False), "difference": rounded(pair.difference.value)}
    return {**entry, "difference_ci": _ends(pair.difference)}


def _ends(estimate: Estimate) -> Sequence[float | None] | None:
    return None if estimate.interval is None else [rounded(end) for end in np.asarray(estimate.interval)]
