"""What an evaluation leaves behind: ``metrics.json``, ``per_frame.csv`` and a table for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.match import Matched
from aop_pose.evaluation.metrics import QUANTITIES, SDR_THRESHOLDS, Figures, FrameErrors
from aop_pose.io.atomic import replacing
from aop_pose.results import as_text

if TYPE_CHECKING:
    from rich.table import Table

METRICS_FILE = "metrics.json"
PER_FRAME_FILE = "per_frame.csv"


def write_report(out: Path, matched: Matched, errors: FrameErrors, figures: Figures) -> None:
    """Write both files into ``out``; each appears only when complete and replaces an earlier one."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder, found the file {out}")
    try:
        with replacing(out / PER_FRAME_FILE) as part:
            part.write_text(_as_csv(per_frame(matched, errors)), encoding="utf-8")
        with replacing(out / METRICS_FILE) as part:
            part.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise AopPoseError(f"{out}: could not write the report: {error.strerror}") from error


def per_frame(matched: Matched, errors: FrameErrors) -> list[dict[str, object]]:
    """One row per true frame, in the order of the truth file.

    Columns: source (as the truth names it), status, error_px (mean of the points), error_px_POINT, and for
    each quantity its true value and predicted minus true. Errors of a frame that was not measured are empty.
    """
    rows = []
    for position, name in enumerate(matched.names):
        row: dict[str, object] = {"source": name, "status": matched.statuses[position]}
        row["error_px"] = float(np.mean(errors.distances[position]))
        for index, point in enumerate(errors.schema.points):
            row[f"error_px_{point.lower()}"] = float(errors.distances[position, index])
        for quantity in QUANTITIES[errors.schema.name]:
            row[f"{quantity.name}_true_{quantity.unit}"] = float(errors.true_values[quantity.name][position])
            row[f"{quantity.name}_error_{quantity.unit}"] = float(errors.differences[quantity.name][position])
        rows.append(row)
    return rows


def summary_table(figures: Figures, errors: FrameErrors, title: str) -> Table:
    """The figures side by side: over measured frames, and with missing frames counted."""
    from rich.table import Table

    scale = "pixels of the original frames" if errors.scale is None else f"pixels, longer side = {errors.scale:g}"
    table = Table(title=title, caption=f"{scale}; {figures['n']} frames, {figures['n_missing']} missing")
    for heading in ("", f"measured frames ({int(errors.measured.sum())})", f"all frames ({figures['n']})"):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, name, unit in _lines(errors):
        table.add_row(label, _shown(figures[name], unit), _shown(figures.get(f"{name}_with_missing"), unit))
    return table


def _lines(errors: FrameErrors) -> list[tuple[str, str, str]]:
    """Label, key and unit of each line of the table."""
    lines = [("MRE", "mre_px", "px")]
    lines += [(f"  {point}", f"mre_px_{point.lower()}", "px") for point in errors.schema.points]
    lines += [("MAE of a coordinate", "mae_px", "px")]
    lines += [(f"SDR within {threshold} px", f"sdr_{threshold}", "%") for threshold in SDR_THRESHOLDS]
    for quantity in QUANTITIES[errors.schema.name]:
        name, unit = {"aop": "AoP"}.get(quantity.name, quantity.name.upper()), quantity.unit
        lines += [
            (f"{name} mean absolute error", f"{quantity.name}_mae_{unit}", unit),
            (f"{name} median", f"{quantity.name}_median_{unit}", unit),
            (f"{name} 95th percentile", f"{quantity.name}_p95_{unit}", unit),
            (f"{name} bias (predicted - true)", f"{quantity.name}_bias_{unit}", unit),
        ]
    return lines


def _shown(value: float | int | str | None, unit: str) -> str:
    if not isinstance(value, float):
        return "-"
    return {"px": f"{value:.2f} px", "deg": f"{value:.2f}°", "%": f"{100 * value:.1f} %"}[unit]


def _as_csv(rows: Sequence[dict[str, object]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: as_text(value) for column, value in row.items()} for row in rows)
    return stream.getvalue()
