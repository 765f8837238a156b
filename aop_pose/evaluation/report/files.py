"""The files of an evaluation: ``metrics.json``, ``per_frame.csv``, the page, and a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aop_pose.errors import RESEARCH_USE, AopPoseError, UsageError, counted
from aop_pose.evaluation.comparison import NO_IMAGE, Comparison
from aop_pose.evaluation.figures import confusions, stated_intervals
from aop_pose.evaluation.match import file_and_index
from aop_pose.evaluation.report.page import page
from aop_pose.evaluation.report.tables import lines, missing_words, over, shown, some_over_fewer
from aop_pose.io.files import replacing
from aop_pose.io.folders import MOTION
from aop_pose.io.table import as_csv
from aop_pose.stats.bootstrap import Estimate

if TYPE_CHECKING:
    from rich.table import Table

METRICS_FILE = "metrics.json"
PER_FRAME_FILE = "per_frame.csv"
REPORT_FILE = "report.html"


def write_report(out: Path, comparison: Comparison, decision_curve: bool = False) -> list[Path]:
    """Write the files into ``out``, each only when complete, in the place of an earlier one; returns what was written.

    ``decision_curve`` adds one for each threshold to the page. ``motion.csv`` (``Motion.rows`` of what was predicted)
    is written where there is a sequence of volumes.
    """
    texts = {
        PER_FRAME_FILE: as_csv(per_frame(comparison)),
        REPORT_FILE: page(comparison, RESEARCH_USE, decision_curve),
        METRICS_FILE: json.dumps({**comparison.figures, "manifest": comparison.manifest}, indent=2) + "\n",
    }
    if comparison.motions:
        texts[MOTION] = as_csv([row for file, (found, _) in comparison.motions.items() for row in found.rows(file)])
    write_texts(out, texts)
    # The order in which they are named; metrics.json is written last of these three, and says that they are whole.
    return [out / name for name in dict.fromkeys((METRICS_FILE, PER_FRAME_FILE, REPORT_FILE, *texts))]


def write_texts(out: Path, texts: Mapping[str, str]) -> None:
    """Write files by name into a folder; each appears only when complete. UsageError where ``out`` is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder, found the file {out}")
    try:
        for name, text in texts.items():
            with replacing(out / name) as part:
                # Names of files that are no text in this locale, and come as surrogates, are written with "?".
                part.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise AopPoseError(f"{out}: could not write the report: {error.strerror}") from error


def per_frame(comparison: Comparison) -> list[dict[str, object]]:
    """One row per true image, in the order of the truth file; errors of what was not measured are empty.

    Columns: source (as the truth names it), of volumes index, status, reason, error_UNIT (mean of the points),
    error_UNIT_POINT, for each quantity its predicted and its true value, predicted minus true, and where intervals are
    stated their ends and 1 where they hold the truth, the plane's errors, exchanged (1 where left and right lie nearer
    the truth exchanged), group (equal number = one group), and contrast where pictures were given. UNIT is px or mm.
    """
    matched, errors = comparison.matched, comparison.errors
    flat = errors.schema.dimensions == 2
    unit = "px" if flat else "mm"
    known = np.where(errors.labelled, errors.distances, np.nan)
    groups = np.unique(comparison.grouping.ids, return_inverse=True)[1]
    exchanged = None if flat else confusions(errors).get("lr_confusion")
    intervals = stated_intervals(errors, matched.intervals)
    rows = []
    for position, (name, status) in enumerate(zip(matched.names, matched.statuses, strict=True)):
        file, index = (name, 0) if flat else file_and_index(name)
        row: dict[str, object] = {"source": file} if flat else {"source": file, "index": index}
        here = known[position]
        found = here[np.isfinite(here)]
        row |= {"status": status, "reason": matched.reasons[position] if matched.reasons else ""}
        row |= {f"error_{unit}": float(found.mean()) if len(found) else None}
        for point, error in zip(errors.schema.points, here, strict=True):
            row[f"error_{unit}_{point.lower()}"] = float(error)
        for quantity in errors.quantities:
            true, difference = (one[quantity.key][position] for one in (errors.true_values, errors.differences))
            row[quantity.figure("predicted")] = float(quantity.folded(true + difference))
            row[quantity.figure("true")] = float(quantity.folded(true))
            row[quantity.figure("error")] = float(difference)
            if quantity.key in intervals:
                one = intervals[quantity.key]
                low, high = one.ends
                row[quantity.figure("low")], row[quantity.figure("high")] = float(low[position]), float(high[position])
                inside = one.covered[position]
                row[f"{quantity.key}_covered"] = None if np.isnan(inside) else int(inside)
        if errors.planes is not None:
            row["plane_distance_mm"] = float(errors.planes.distances[position])
            row["plane_angle_deg"] = float(errors.planes.angles[position])
        row |= {f"axis_{name}_deg": float(angles[position]) for name, angles in errors.axes.items()}
        if exchanged is not None:
            row["exchanged"] = None if np.isnan(exchanged[position]) else int(exchanged[position])
        row["group"] = int(groups[position])
        if comparison.quality is not None:
            row["contrast"] = float(comparison.quality[position])
        rows.append(row)
    return rows


def summary_table(comparison: Comparison, with_missing: bool = False) -> Table:
    """The figures over what was measured with their intervals; ``with_missing`` adds what counts the missing ones."""
    from rich.table import Table

    sides = comparison.sides
    table = Table(title=f"{sides.results} against {sides.reference}", caption=_caption(comparison))
    for heading in _headings(comparison, with_missing):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, name, unit in lines(comparison):
        estimate = comparison.estimates.get(name, NO_IMAGE)
        ends = " to ".join(shown(end, unit).split()[0].rstrip("°") for end in estimate.interval or ())
        if estimate.bound is not None:
            ends = f"{estimate.bounded} {shown(estimate.bound, unit).split()[0]}"
        cells = [label, _counted(estimate, unit, comparison.n_measured), ends or "-"]
        if with_missing:
            twin = comparison.twins.get(name, Estimate(np.nan))
            cells.append(_counted(twin, unit, len(comparison.errors.measured)))
        table.add_row(*cells)
    return table


def _counted(estimate: Estimate, unit: str, usual: int) -> str:
    n = over(estimate, usual)
    return f"{shown(estimate.value, unit)} ({n})" if n else shown(estimate.value, unit)


def _headings(comparison: Comparison, with_missing: bool) -> tuple[str, ...]:
    measured, interval = comparison.errors.measured, f"{comparison.coverage:.0%} interval"
    found = f"measured ({int(measured.sum())})" if comparison.errors.schema.dimensions == 2 else "found"
    return "", found, interval, *([missing_words(comparison)] if with_missing else [])


def _caption(comparison: Comparison) -> str:
    errors, withheld = comparison.errors, comparison.withheld
    images, missing = len(errors.measured), f"{int((~errors.measured).sum())} missing"
    if errors.schema.dimensions == 2:
        scale = "pixels of the original frames" if errors.scale is None else f"pixels, longer side = {errors.scale:g}"
        counts = f"{scale}; {counted(images, 'frames')}, {missing}"
    else:
        points = f"{int(errors.missing_points.sum())} of {int(errors.labelled.sum())} points missing"
        counts = f"{counted(images, 'volumes')}, {missing}, {points}"
    intervals = f"intervals withheld: {withheld}" if withheld else f"intervals: {comparison.grouping.words}"
    fewer = "; n: images that have a value, where not all" if some_over_fewer(comparison) else ""
    return f"{counts}, {counted(comparison.n_groups, 'groups')}; {intervals}{fewer}"
