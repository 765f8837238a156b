"""What an evaluation of volumes leaves behind: ``metrics.json``, tables, the page, and a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aop_pose.evaluation.bootstrap import Estimate
from aop_pose.evaluation.figures3d import confusions
from aop_pose.evaluation.match3d import file_and_index
from aop_pose.evaluation.metrics import rounded
from aop_pose.evaluation.pck import PCK_LIMIT_MM, PCK_THRESHOLDS_MM
from aop_pose.evaluation.report import METRICS_FILE, PER_FRAME_FILE, REPORT_FILE, as_csv, shown, write_texts
from aop_pose.evaluation.study3d import VolumeStudy
from aop_pose.io.outputs import MOTION

if TYPE_CHECKING:
    from rich.table import Table


def write_volume_report(out: Path, study: VolumeStudy, html: str, manifest: Mapping[str, object]) -> list[Path]:
    """Write the files into ``out``, each only when complete, in the place of an earlier one; returns what was written.

    ``motion.csv`` (``Motion.rows`` of what was predicted) is written where there is a sequence.
    """
    metrics = {**study.figures.entries(), "groups": study.grouping.words, **_motion_entry(study), "manifest": manifest}
    texts = {
        PER_FRAME_FILE: as_csv(per_volume(study)),
        REPORT_FILE: html,
        METRICS_FILE: json.dumps(metrics, indent=2) + "\n",
    }
    if study.motions:
        texts[MOTION] = as_csv([row for file, (found, _) in study.motions.items() for row in found.rows(file)])
    write_texts(out, texts)
    return [out / name for name in texts]


def per_volume(study: VolumeStudy) -> list[dict[str, object]]:
    """One row per true volume, in the order of the truth file; errors of what was not predicted are empty.

    Columns: source (as the truth names it), index, status, error_mm (mean of the points), error_mm_POINT, for each
    length its true value and predicted minus true, the plane's errors, exchanged (1 where left and right lie nearer the
    truth exchanged) and group.
    """
    errors, lengths = study.errors, study.lengths
    known = np.where(errors.labelled, errors.distances, np.nan)
    groups = np.unique(study.grouping.ids, return_inverse=True)[1]
    exchanged = confusions(errors).get("lr_confusion")
    rows = []
    for position, (name, status) in enumerate(zip(study.matched.names, study.matched.statuses, strict=True)):
        file, index = file_and_index(name)
        row: dict[str, object] = {"source": file, "index": index, "status": status}
        here = known[position]
        row["error_mm"] = float(here[np.isfinite(here)].mean()) if np.isfinite(here).any() else None
        row |= {f"error_mm_{point}": float(error) for point, error in zip(errors.schema.points, here, strict=True)}
        for stem, difference in lengths.differences.items():
            row[f"{stem}_true_mm"] = float(lengths.true_values[stem][position])
            row[f"{stem}_error_mm"] = float(difference[position])
        if lengths.plane_distances is not None and lengths.plane_angles is not None:
            row["plane_distance_mm"] = float(lengths.plane_distances[position])
            row["plane_angle_deg"] = float(lengths.plane_angles[position])
        if exchanged is not None:
            row["exchanged"] = None if np.isnan(exchanged[position]) else int(exchanged[position])
        row["group"] = int(groups[position])
        rows.append(row)
    return rows


def _motion_entry(study: VolumeStudy) -> dict[str, object]:
    """Path of each point over each sequence, predicted and true, in mm."""
    entry = {
        file: {
            point: {"path_mm": rounded(one), "true_path_mm": rounded(other)}
            for point, one, other in zip(found.points, found.paths, true.paths, strict=True)
        }
        for file, (found, true) in study.motions.items()
    }
    return {"motion": entry} if entry else {}


def volume_table(study: VolumeStudy, title: str) -> Table:
    """The figures side by side: over what was found with their intervals, and with what is missing counted."""
    from rich.table import Table

    figures = study.figures
    intervals = f"intervals withheld: {figures.withheld}" if figures.withheld else f"intervals: {study.grouping.words}"
    counts = (
        f"{figures.n} volumes, {figures.n_missing} missing, {figures.n_points_missing} of {figures.n_points} points"
    )
    table = Table(title=title, caption=f"{counts} missing, {figures.n_groups} groups; {intervals}")
    for heading in ("", "found", f"{figures.coverage:.0%} interval", "with missing"):
        table.add_column(heading, justify="left" if not heading else "right")
    for label, name, unit in lines(study):
        estimate = figures.estimates.get(name, Estimate(np.nan))
        ends = " to ".join(shown(end, unit).split()[0].rstrip("°") for end in estimate.interval or ())
        table.add_row(label, shown(estimate.value, unit), ends or "-", shown(figures.twins.get(name), unit))
    return table


def lines(study: VolumeStudy) -> list[tuple[str, str, str]]:
    """Label, key in ``metrics.json`` and unit of each line of the table; what has no figure is left out."""
    schema = study.errors.schema
    groups = [name for name, _ in schema.groups]
    found = [("MRE", "mre_mm", "mm"), *((f"  {name.replace('_', ' ')}", f"mre_mm_{name}", "mm") for name in groups)]
    found += [
        ("MRE up to a swap of the sides", "mre_mm_swap", "mm"),
        ("MRE, each side by itself", "mre_mm_swap_sides", "mm"),
        ("MRE, each pair by itself", "mre_mm_swap_pairs", "mm"),
        ("left and right exchanged", "lr_confusion", "%"),
    ]
    found += [(f"PCK within {threshold} mm", f"pck_{threshold}_mm", "%") for threshold in PCK_THRESHOLDS_MM]
    found.append((f"PCK AUC, 0 to {PCK_LIMIT_MM:g} mm", "pck_auc", "%"))
    for stem in study.lengths.differences:
        words = "CRL" if stem == "crl" else stem.replace("_", " ")
        found += [(f"{words} mean abs. error", f"{stem}_mae_mm", "mm"), (f"{words} bias", f"{stem}_bias_mm", "mm")]
    found += [
        ("midsagittal plane, distance", "plane_distance_mm", "mm"),
        ("midsagittal plane, angle", "plane_angle_deg", "deg"),
    ]
    known = study.figures.estimates.keys() | study.figures.twins.keys()
    return [line for line in found if line[1] in known]
