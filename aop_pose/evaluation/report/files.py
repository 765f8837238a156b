"""What an evaluation leaves behind: ``metrics.json``, ``per_frame.csv``, the page, and a table for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aop_pose.core.schema import SIGNS
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.comparison import SHARES_WITHIN_DEG, Study, Subset
from aop_pose.evaluation.errors import CLOSE_PERCENT, SDR_THRESHOLDS, UNDER_2_5, Figures, FrameErrors, rounded
from aop_pose.evaluation.grouping import QUALITY_WORDS
from aop_pose.io.files import replacing
from aop_pose.io.table import as_csv
from aop_pose.stats.bootstrap import Estimate

if TYPE_CHECKING:
    from rich.table import Table
from aop_pose.evaluation.comparison import VolumeStudy
from aop_pose.evaluation.errors import PCK_LIMIT_MM, PCK_THRESHOLDS_MM
from aop_pose.evaluation.figures import confusions
from aop_pose.evaluation.match import file_and_index
from aop_pose.io.folders import MOTION

METRICS_FILE = "metrics.json"
PER_FRAME_FILE = "per_frame.csv"
REPORT_FILE = "report.html"


def write_report(out: Path, study: Study, figures: Figures, html: str, manifest: Mapping[str, object]) -> None:
    """Write the three files into ``out``; each appears only when complete and replaces an earlier one.

    ``manifest`` (see there) says in ``metrics.json`` what made the numbers.
    """
    texts = {
        PER_FRAME_FILE: as_csv(per_frame(study)),
        REPORT_FILE: html,
        METRICS_FILE: json.dumps({**with_intervals(figures, study), "manifest": manifest}, indent=2) + "\n",
    }
    write_texts(out, texts)


def write_texts(out: Path, texts: Mapping[str, str]) -> None:
    """Write files by name into a folder; each appears only when complete. UsageError where ``out`` is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out: expected a folder, found the file {out}")
    try:
        for name, text in texts.items():
            with replacing(out / name) as part:
                part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AopPoseError(f"{out}: could not write the report: {error.strerror}") from error


def with_intervals(figures: Figures, study: Study) -> dict[str, object]:
    """The figures as they were, then those of the study, each ``NAME`` with ``NAME_ci`` = [low, high] or null."""
    entries: dict[str, object] = dict(figures)
    for name, estimate in study.estimates.items():
        entries.setdefault(name, rounded(estimate.value))
        entries[f"{name}_ci"] = _pair(estimate)
    return {
        **entries,
        "n_groups": study.n_groups,
        "groups": study.grouping.words,
        "ci_coverage": study.coverage,
        "ci_draws": study.draws,
        "ci_withheld": study.withheld or None,
        "quality": None if study.quality is None else QUALITY_WORDS,
        "subsets": [_subset_entry(subset) for subset in study.subsets],
    }


def _subset_entry(subset: Subset) -> dict[str, object]:
    entry: dict[str, object] = {"by": subset.by, "label": subset.label, "n": subset.n}
    entry |= {"n_missing": subset.n_missing, "n_groups": subset.n_groups}
    for name, estimate in subset.estimates.items():
        entry |= {name: rounded(estimate.value), f"{name}_ci": _pair(estimate)}
    return entry


def _pair(estimate: Estimate) -> list[float | None] | None:
    return None if estimate.interval is None else [rounded(end) for end in estimate.interval]


def per_frame(study: Study) -> list[dict[str, object]]:
    """One row per true frame, in the order of the truth file.

    Columns: source (as the truth names it), status, error_px (mean of the points), error_px_POINT, for each
    quantity its true value and predicted minus true, group (equal number = one group), and contrast where pictures
    were given. Errors of a frame that was not measured are empty.
    """
    matched, errors = study.matched, study.errors
    groups = np.unique(study.grouping.ids, return_inverse=True)[1]
    rows = []
    for position, name in enumerate(matched.names):
        row: dict[str, object] = {"source": name, "status": matched.statuses[position]}
        row["error_px"] = float(np.mean(errors.distances[position]))
        for index, point in enumerate(errors.schema.points):
            row[f"error_px_{point.lower()}"] = float(errors.distances[position, index])
        for quantity in errors.quantities:
            row[quantity.figure("true")] = float(errors.true_values[quantity.key][position])
            row[quantity.figure("error")] = float(errors.differences[quantity.key][position])
        row["group"] = int(groups[position])
        if study.quality is not None:
            row["contrast"] = float(study.quality[position])
        rows.append(row)
    return rows


def summary_table(figures: Figures, study: Study, title: str) -> Table:
    """The figures side by side: over measured frames with their intervals, and with missing frames counted."""
    from rich.table import Table

    errors = study.errors
    scale = "pixels of the original frames" if errors.scale is None else f"pixels, longer side = {errors.scale:g}"
    intervals = f"intervals withheld: {study.withheld}" if study.withheld else f"intervals: {study.grouping.words}"
    counts = f"{figures['n']} frames, {figures['n_missing']} missing, {study.n_groups} groups"
    table = Table(title=title, caption=f"{scale}; {counts}; {intervals}")
    headings = (
        "",
        f"measured ({int(errors.measured.sum())})",
        f"{study.coverage:.0%} interval",
        f"all ({figures['n']})",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right")
    for label, name, unit in _lines(errors):
        estimate = study.estimates.get(name, Estimate(np.nan))
        ends = " to ".join(shown(end, unit).split()[0].rstrip("°") for end in estimate.interval or ())
        value = figures.get(name, estimate.value)
        table.add_row(label, shown(value, unit), ends or "-", shown(figures.get(f"{name}_with_missing"), unit))
    return table


def _lines(errors: FrameErrors) -> list[tuple[str, str, str]]:
    """Label, key and unit of each line of the table."""
    lines = [("MRE", "mre_px", "px")]
    lines += [(f"  {point}", f"mre_px_{point.lower()}", "px") for point in errors.schema.points]
    lines += [("MAE per coordinate", "mae_px", "px")]
    lines += [(f"SDR within {threshold} px", f"sdr_{threshold}", "%") for threshold in SDR_THRESHOLDS]
    # Lengths in the unit that says most; metrics.json and the page have both.
    unit = errors.quantities[-1].unit
    for quantity in (quantity for quantity in errors.quantities if quantity.unit == unit):
        title, key = quantity.title, quantity.key
        lines += [
            (f"{title} mean abs. error", quantity.figure("mae"), unit),
            (f"{title} median", quantity.figure("median"), unit),
            (f"{title} 95th percentile", quantity.figure("p95"), unit),
            (f"{title} bias", quantity.figure("bias"), unit),
            (f"{title} lower limit", quantity.figure("loa_low"), unit),
            (f"{title} upper limit", quantity.figure("loa_high"), unit),
            (f"{title} ICC(2,1)", f"{key}_icc_2_1", ""),
            (f"{title} ICC(3,1)", f"{key}_icc_3_1", ""),
            (f"{title} Pearson r", f"{key}_pearson_r", ""),
        ]
        if unit == "deg":
            lines += [
                (f"{title} within {share}°", quantity.figure(f"within_{share}"), "%") for share in SHARES_WITHIN_DEG
            ]
        else:
            lines.append((f"{title} under {CLOSE_PERCENT} %", f"{key}_{UNDER_2_5}", "%"))
    return lines


def shown(value: float | int | str | None, unit: str) -> str:
    """A figure as the terminal has it: ``-`` for what does not exist."""
    if not isinstance(value, float) or not math.isfinite(value):
        return "-"
    if unit in SIGNS:
        return f"{value:.2f}{SIGNS[unit]}"
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.3f}"


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
