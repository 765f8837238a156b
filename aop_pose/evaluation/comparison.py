"""Everything an agreement report says, computed once: figures with intervals, and where the errors sit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.motion import Motion, motion
from aop_pose.core.schema import Quantity
from aop_pose.evaluation.errors import (
    SDR_THRESHOLDS,
    UNDER_2_5,
    FrameErrors,
    MeasurementErrors,
    PointErrors,
    is_close,
    measurement_errors,
    point_errors,
)
from aop_pose.evaluation.figures import VolumeFigures, volume_figures
from aop_pose.evaluation.grouping import Grouping, subset_columns
from aop_pose.evaluation.match import Matched, MatchedVolumes, file_and_index
from aop_pose.io.folders import DOCUMENT, TABLE
from aop_pose.io.table import read_facts
from aop_pose.provenance import measuring_versions
from aop_pose.stats import agreement
from aop_pose.stats.bootstrap import Estimate, Resampling

THRESHOLDS_DEG = (110, 120, 140)
"""Angles of progression at which the literature decides."""
SHARES_WITHIN_DEG = (5, 10)
TARGET_COVERAGE = 0.9
"""What the calibration of stated intervals aims at where nothing else was asked for."""
_LEAST_FOR_THIRDS = 9


@attrs.frozen(eq=False)
class Subset:
    """Some of the frames, and the errors on them."""

    by: str
    """What the frames were cut by: a column, or a quantity in thirds."""
    label: str
    n: int
    n_missing: int
    n_groups: int
    estimates: Mapping[str, Estimate]


@attrs.frozen(eq=False)
class Study:
    """One comparison of a first rater (the results) with a second (the truth, or another results table)."""

    matched: Matched
    errors: FrameErrors
    grouping: Grouping
    n_groups: int
    """Groups with a measured frame."""
    withheld: str
    """Why no interval is given, "" where they are."""
    coverage: float
    draws: int
    estimates: Mapping[str, Estimate]
    """Named as in ``metrics.json``."""
    subsets: tuple[Subset, ...]
    quality: np.ndarray | None
    """Contrast of each picture, shape (frames,); None where no pictures were given."""
    notes: tuple[str, ...]


def main_quantity(errors: FrameErrors) -> Quantity:
    """The one that is plotted: the angle, or the head's circumference, in millimetres where they are known."""
    return errors.quantities[-1]


def study(matched: Matched, errors: FrameErrors, grouping: Grouping, quality: np.ndarray | None = None) -> Study:
    """Figures, intervals and subsets of a comparison; ``quality`` is one number a frame."""
    measured = errors.measured
    resampling = Resampling(grouping.ids[measured])
    estimates = dict(_point_estimates(errors, resampling))
    for quantity in errors.quantities:
        estimates |= _quantity_estimates(errors, quantity, grouping)
    estimates |= _coverage_estimates(matched, errors, grouping.ids, np.full(len(measured), True))
    cuts = _cuts(matched, errors, quality)
    return Study(
        matched=matched,
        errors=errors,
        grouping=grouping,
        n_groups=resampling.n_groups,
        withheld=resampling.withheld,
        coverage=resampling.coverage,
        draws=resampling.draws,
        estimates=estimates,
        subsets=tuple(_subset(matched, errors, grouping, by, label, mask) for by, label, mask in cuts),
        quality=quality,
        notes=_notes(errors, matched, grouping),
    )


def stated_coverage(matched: Matched, errors: FrameErrors) -> tuple[np.ndarray, np.ndarray]:
    """Whether the true angle lies in the interval that a row states, and its width; both NaN where none is."""
    low, high = np.full((2, len(errors.measured)), np.nan) if matched.intervals is None else matched.intervals.T
    true = errors.true_values.get("aop", np.full(len(errors.measured), np.nan))
    stated = errors.measured & np.isfinite(low) & np.isfinite(high) & np.isfinite(true)
    return np.where(stated, (low <= true) & (true <= high), np.nan), np.where(stated, high - low, np.nan)


def _point_estimates(errors: FrameErrors, resampling: Resampling) -> Iterator[tuple[str, Estimate]]:
    distances = errors.distances[errors.measured]
    if not len(distances):
        return
    points = [point.lower() for point in errors.schema.points]
    columns = {"mre_px": distances.mean(axis=1)}
    columns |= {f"mre_px_{point}": distances[:, i] for i, point in enumerate(points)}
    columns["mae_px"] = errors.offsets[errors.measured].mean(axis=(1, 2))
    for threshold in SDR_THRESHOLDS:
        within = distances <= threshold
        columns[f"sdr_{threshold}"] = within.mean(axis=1)
        columns |= {f"sdr_{threshold}_{point}": within[:, i] for i, point in enumerate(points)}
    yield from zip(columns, resampling.means(np.column_stack(list(columns.values()))), strict=True)


def _quantity_estimates(errors: FrameErrors, quantity: Quantity, grouping: Grouping) -> dict[str, Estimate]:
    key, figure = quantity.key, quantity.figure
    difference = errors.differences[key]
    known = np.isfinite(difference)
    if not known.any():
        return {}
    second, difference = errors.true_values[key][known], difference[known]
    first, absolute = second + difference, np.abs(difference)
    resampling = Resampling(grouping.ids[known])
    if quantity.unit == "deg":
        shares = {figure(f"within_{share}"): absolute <= share for share in SHARES_WITHIN_DEG}
    else:
        shares = {f"{key}_{UNDER_2_5}": is_close(absolute, second)}
    mean, bias, *within = resampling.means(np.column_stack([absolute, difference, *shares.values()]))
    estimates = {
        figure("mae"): mean,
        figure("median"): resampling.quantile(absolute, 0.5),
        figure("p95"): resampling.quantile(absolute, 0.95),
        figure("bias"): bias,
        **dict(zip(shares, within, strict=True)),
    }
    spread = resampling.sums(agreement.difference_columns(difference))
    estimates[figure("sd")] = resampling.estimate(spread, agreement.deviation)
    estimates[figure("loa_low")] = resampling.estimate(spread, agreement.limit(-1))
    estimates[figure("loa_high")] = resampling.estimate(spread, agreement.limit(+1))
    ratings = resampling.sums(agreement.rating_columns(np.column_stack([first, second])))
    estimates[f"{key}_icc_2_1"] = resampling.estimate(ratings, agreement.icc_2_1)
    estimates[f"{key}_icc_3_1"] = resampling.estimate(ratings, agreement.icc_3_1)
    moments = resampling.sums(agreement.moment_columns(first, second))
    estimates[f"{key}_pearson_r"] = resampling.estimate(moments, agreement.pearson)
    for threshold in THRESHOLDS_DEG if quantity.unit == "deg" else ():
        table = resampling.sums(agreement.table_columns(first, second, threshold))
        for statistic, formula in agreement.TABLE_STATISTICS.items():
            estimates[f"{key}_at_{threshold}_{statistic}"] = resampling.estimate(table, formula)
    return estimates


def _coverage_estimates(
    matched: Matched, errors: FrameErrors, ids: np.ndarray, mask: np.ndarray
) -> dict[str, Estimate]:
    covered, width = stated_coverage(matched, errors)
    stated = mask & np.isfinite(covered)
    if not stated.any():
        return {}
    estimates = Resampling(ids[stated]).means(np.column_stack([covered[stated], width[stated]]))
    return dict(zip(("aop_interval_coverage", "aop_interval_width_deg"), estimates, strict=True))


def _cuts(matched: Matched, errors: FrameErrors, quality: np.ndarray | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """What, label and mask of each subset of frames."""
    for column, texts in subset_columns(matched.columns).items():
        for text in sorted(set(texts)):
            yield column, text or "(empty)", np.array([other == text for other in texts])
    main = main_quantity(errors)
    yield from _thirds(reference_words(main), errors.true_values[main.key], main.sign)
    if quality is not None:
        yield from _thirds("contrast", quality, "")
    yield from _thirds("stated interval, width", stated_coverage(matched, errors)[1], main.sign)


def reference_words(quantity: Quantity) -> str:
    """What the frames are cut by where it is the true value of a quantity."""
    return f"{quantity.reference_title} (reference)"


def _thirds(by: str, values: np.ndarray, sign: str) -> Iterator[tuple[str, str, np.ndarray]]:
    known = values[np.isfinite(values)]
    if len(known) < _LEAST_FOR_THIRDS:
        return
    first, second = np.quantile(known, [1 / 3, 2 / 3])
    # Equal values cannot be cut (intervals of one width).
    if not known.min() < first < second:
        return
    yield by, f"below {first:.1f}{sign}", values < first
    yield by, f"{first:.1f} to {second:.1f}{sign}", (first <= values) & (values < second)
    yield by, f"{second:.1f}{sign} and above", values >= second


def _subset(matched: Matched, errors: FrameErrors, grouping: Grouping, by: str, label: str, mask: np.ndarray) -> Subset:
    main = main_quantity(errors)
    difference = errors.differences[main.key]
    known = mask & np.isfinite(difference)
    measured = mask & errors.measured
    estimates: dict[str, Estimate] = {}
    if measured.any():
        (estimates["mre_px"],) = Resampling(grouping.ids[measured]).means(
            errors.distances[measured].mean(axis=1, keepdims=True)
        )
    if known.any():
        names = (main.figure("mae"), main.figure("bias"))
        columns = np.column_stack([np.abs(difference[known]), difference[known]])
        estimates |= dict(zip(names, Resampling(grouping.ids[known]).means(columns), strict=True))
    estimates |= _coverage_estimates(matched, errors, grouping.ids, mask)
    return Subset(
        by=by,
        label=label,
        n=int(mask.sum()),
        n_missing=int((mask & ~errors.measured).sum()),
        n_groups=len(np.unique(grouping.ids[measured])),
        estimates=estimates,
    )


def _notes(errors: FrameErrors, matched: Matched, grouping: Grouping) -> tuple[str, ...]:
    notes = []
    sizes = np.unique(matched.sizes[np.isfinite(matched.sizes).all(axis=1)], axis=0)
    if errors.scale is None and len(sizes) > 1:
        smallest, *_, largest = sorted(sizes.tolist(), key=max)
        span = f"{smallest[0]:.0f}x{smallest[1]:.0f} to {largest[0]:.0f}x{largest[1]:.0f}"
        notes.append(
            f"pictures of {len(sizes)} sizes ({span}): pixel errors are means over unlike pixels; "
            "--scale 512 puts them on one"
        )
    return tuple(filter(None, [*notes, grouping.note]))


KEPT = (
    "model", "artefact_sha256", "aop_pose", "python", "onnxruntime", "numpy", "opencv", "device", "started", "schema",
    "image_size", "decode", "threshold", "pixel_size", "calibration", "coverage", "gate",
    "training_run",
)  # fmt: skip
"""Of the facts in ``results.json``; not the sources, which may be anybody's folders."""


def manifest(models: Sequence[str], results: Path, reference: Path) -> dict[str, Any]:
    """The entry ``manifest`` of ``metrics.json``.

    Args:
        models: every model that the scored rows name (``name@first digits of its hash``).
        results: table of the first side; facts are read from the ``results.json`` beside it, where there is one.
        reference: the second side, likewise (a label file has none).
    """
    return {
        "versions": measuring_versions(),
        "models": list(models),
        "results_run": _facts(results),
        "reference_run": _facts(reference),
    }


def _facts(table: Path) -> dict[str, Any] | None:
    facts = read_facts(table.with_name(DOCUMENT)) if table.name == TABLE else None
    return None if facts is None else {key: facts[key] for key in KEPT if key in facts}


@attrs.frozen(eq=False)
class VolumeStudy:
    """One comparison of results with the truth, or with another results table."""

    matched: MatchedVolumes
    errors: PointErrors
    lengths: MeasurementErrors
    grouping: Grouping
    figures: VolumeFigures
    motions: Mapping[str, tuple[Motion, Motion]]
    """Predicted and true movement, by the file of a sequence; empty where there is none."""
    notes: tuple[str, ...]


def volume_study(matched: MatchedVolumes, grouping: Grouping) -> VolumeStudy:
    """Errors, figures with their intervals, and movement."""
    errors = point_errors(matched.predicted, matched.truth, matched.diagonals, matched.schema)
    lengths = measurement_errors(matched.predicted, matched.truth, matched.schema)
    return VolumeStudy(
        matched=matched,
        errors=errors,
        lengths=lengths,
        grouping=grouping,
        figures=volume_figures(errors, lengths, grouping.ids),
        motions=_motions(matched),
        notes=tuple(filter(None, (*matched.notes, grouping.note))),
    )


def _motions(matched: MatchedVolumes) -> dict[str, tuple[Motion, Motion]]:
    places: dict[str, list[tuple[int, int]]] = {}
    for position, name in enumerate(matched.names):
        file, index = file_and_index(name)
        places.setdefault(file, []).append((index, position))
    found = {}
    for file, pairs in places.items():
        if len(pairs) > 1:
            indices, rows = np.array(pairs).T
            both = (motion(side[rows], indices, matched.schema.points) for side in (matched.predicted, matched.truth))
            found[file] = next(both), next(both)
    return found
