"""What a benchmark leaves behind: ``benchmark.json``, ``table.md`` and ``benchmark.html``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose import __version__
from aop_pose.benchmark.compare import Comparison, MethodRow, Pair
from aop_pose.benchmark.one_run import SCALE
from aop_pose.benchmark.page import page
from aop_pose.benchmark.tables import grids, how, words
from aop_pose.evaluation.bootstrap import Estimate
from aop_pose.evaluation.metrics import rounded
from aop_pose.io.atomic import replacing

JSON_FILE, TABLE_FILE, PAGE_FILE = "benchmark.json", "table.md", "benchmark.html"


def write_report(out: Path, comparison: Comparison, notice: str) -> None:
    """Write the three files; each replaces an earlier one only when complete."""
    texts = {
        TABLE_FILE: markdown(comparison, notice),
        PAGE_FILE: page(comparison, notice),
        JSON_FILE: json.dumps(as_json(comparison), indent=1) + "\n",
    }
    for name, text in texts.items():
        with replacing(out / name) as part:
            part.write_text(text, encoding="utf-8")


def markdown(comparison: Comparison, notice: str) -> str:
    """``table.md``: how it was made, the table, the tests, what to know."""
    parts = ["# Benchmark\n", *(f"{line}\n" for line in how(comparison)), f"**{notice}**\n"]
    for grid in grids(comparison):
        lines = [grid.heads, ("---",) * len(grid.heads), *grid.rows]
        parts.append(f"## {grid.title}\n")
        parts.append("\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n")
    parts.append("\n".join(f"- {line}" for line in words(comparison)))
    return "\n".join(parts) + "\n"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """``benchmark.json``; the errors frame by frame stand in the files of the runs."""
    plan = comparison.plan
    return {
        "command": plan.command(),
        "aop_pose": __version__,
        "budget": str(plan.budget),
        "scale": SCALE,
        "n": comparison.n_frames,
        "n_groups": comparison.n_groups,
        "ci_withheld": comparison.withheld or None,
        "notes": list(comparison.notes),
        "methods": [_method_entry(row) for row in comparison.methods],
        "pairs": [_pair_entry(pair) for pair in comparison.pairs],
        "runs": [{key: value for key, value in run.items() if key != "errors"} for run in comparison.runs],
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
