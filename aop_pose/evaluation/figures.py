"""The figures of ``metrics.json`` for points in volumes, each with its interval over drawn groups.

A figure is a mean over the points (of all frames together) that were predicted and are labelled. Its twin
``NAME_with_missing`` counts a labelled point without a prediction as well: its error is the diagonal of its volume, so
it is within no threshold; a length without a prediction is off by the diagonal, a plane by the diagonal and 90 degrees.
A bias has no twin, because what is missing has no sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.evaluation.errors import (
    PCK_LIMIT_MM,
    PCK_THRESHOLDS_MM,
    MeasurementErrors,
    PointErrors,
    area_shares,
    each_pair,
    each_side,
    rounded,
    whole_body,
)
from aop_pose.stats.bootstrap import Estimate, Resampling

WITH_MISSING = "_with_missing"


@attrs.frozen(eq=False)
class VolumeFigures:
    """Every figure of a comparison of volumes."""

    estimates: Mapping[str, Estimate]
    """Over what was predicted, named as in ``metrics.json``."""
    twins: Mapping[str, float]
    """With what is missing, by the name of the figure."""
    n: int
    n_missing: int
    """Volumes without any predicted point."""
    n_points: int
    """Labelled points."""
    n_points_missing: int
    """Labelled points without a prediction."""
    n_groups: int
    withheld: str
    """Why no interval is given, "" where they are."""
    coverage: float
    draws: int

    def entries(self) -> dict[str, object]:
        """As they stand in ``metrics.json``: ``NAME``, ``NAME_ci`` = [low, high] or null, and the twins."""
        entries: dict[str, object] = {}
        for name, estimate in self.estimates.items():
            entries[name] = rounded(estimate.value)
            entries[f"{name}_ci"] = None if estimate.interval is None else [rounded(end) for end in estimate.interval]
        entries |= {f"{name}{WITH_MISSING}": rounded(value) for name, value in self.twins.items()}
        return {
            **entries,
            "n": self.n,
            "n_missing": self.n_missing,
            "n_points": self.n_points,
            "n_points_missing": self.n_points_missing,
            "pck_thresholds_mm": list(PCK_THRESHOLDS_MM),
            "pck_limit_mm": PCK_LIMIT_MM,
            "n_groups": self.n_groups,
            "ci_coverage": self.coverage,
            "ci_draws": self.draws,
            "ci_withheld": self.withheld or None,
        }


def volume_figures(errors: PointErrors, lengths: MeasurementErrors, groups: np.ndarray) -> VolumeFigures:
    """All figures; ``groups`` (frames,) are drawn together for the intervals."""
    resampling = Resampling(groups[errors.measured])
    estimates = {name: _ratio(values[errors.measured], resampling) for name, values in _values(errors, lengths).items()}
    for stem, difference in lengths.differences.items():
        estimates[f"{stem}_bias_mm"] = _ratio(difference[errors.measured, None], resampling)
    for name, confused in confusions(errors).items():
        estimates[name] = _ratio(confused[errors.measured, None], resampling)
    missing = errors.labelled & ~np.isfinite(errors.distances)
    return VolumeFigures(
        estimates={name: estimate for name, estimate in estimates.items() if np.isfinite(estimate.value)},
        twins={name: _mean(values) for name, values in _values(errors, lengths, with_missing=True).items()},
        n=len(errors.measured),
        n_missing=int((~errors.measured).sum()),
        n_points=int(errors.labelled.sum()),
        n_points_missing=int(missing.sum()),
        n_groups=resampling.n_groups,
        withheld=resampling.withheld,
        coverage=resampling.coverage,
        draws=resampling.draws,
    )


def confusions(errors: PointErrors) -> dict[str, np.ndarray]:
    """By name, (frames,): 1 where left and right lie nearer the truth exchanged, of the body and of each side."""
    if not errors.schema.symmetric:
        return {}
    (body,), sides = whole_body(errors.schema), each_side(errors.schema)
    found = {"lr_confusion": errors.confused(body)}
    if len(sides) > 1:
        found |= {f"lr_confusion_{name}": errors.confused(unit) for name, unit in sides.items()}
    return found


def _values(errors: PointErrors, lengths: MeasurementErrors, with_missing: bool = False) -> dict[str, np.ndarray]:
    """By name of the figure, its values (frames, k): their mean over all that are finite is the figure."""
    lost = errors.diagonals[:, None] if with_missing else np.nan

    def labelled(distances: np.ndarray) -> np.ndarray:
        return np.where(errors.labelled, np.where(np.isfinite(distances), distances, lost), np.nan)

    schema, named = errors.schema, labelled(errors.distances)
    values = dict(_by_group(schema, named, ""))
    for index, point in enumerate(schema.points):
        values[f"mre_mm_{point}"] = named[:, [index]]
        values[f"pck_auc_{point}"] = area_shares(named[:, [index]])
    for threshold in PCK_THRESHOLDS_MM:
        values[f"pck_{threshold}_mm"] = np.where(np.isfinite(named), named <= threshold, np.nan)
    for end, distances in swapped(errors).items():
        values |= _by_group(schema, labelled(distances), f"_{end}")
    of_lengths = lengths.with_missing(errors.diagonals) if with_missing else lengths
    for stem, difference in of_lengths.differences.items():
        values[f"{stem}_mae_mm"] = np.abs(difference)[:, None]
    if of_lengths.plane_distances is not None and of_lengths.plane_angles is not None:
        values["plane_distance_mm"] = of_lengths.plane_distances[:, None]
        values["plane_angle_deg"] = of_lengths.plane_angles[:, None]
    return values


def _by_group(schema: Schema, distances: np.ndarray, end: str) -> Iterator[tuple[str, np.ndarray]]:
    columns = {"": list(range(len(schema.points)))}
    columns |= {f"_{name}": list(schema.indices(points)) for name, points in schema.groups}
    for name, chosen in columns.items():
        yield f"mre_mm{end}{name}", distances[:, chosen]
        yield f"pck_auc{end}{name}", area_shares(distances[:, chosen])


def swapped(errors: PointErrors) -> dict[str, np.ndarray]:
    """Distances up to a swap, by the end of a figure's name: all pairs at once, side by side, pair by pair."""
    schema = errors.schema
    if not schema.symmetric:
        return {}
    kinds = {"swap": whole_body(schema)}
    if len(schema.symmetric) > 1:
        kinds |= {"swap_sides": tuple(each_side(schema).values()), "swap_pairs": each_pair(schema)}
    return {end: errors.up_to_swap(units) for end, units in kinds.items()}


def _ratio(values: np.ndarray, resampling: Resampling) -> Estimate:
    """Mean of the finite ``values`` (frames, k); a draw weighs each frame by how many it has."""
    known = np.isfinite(values)
    if not known.any():
        return Estimate(np.nan)
    columns = np.column_stack([np.where(known, values, 0).sum(axis=1), known.sum(axis=1)])
    return resampling.estimate(resampling.sums(columns), lambda sums: sums[..., 0] / sums[..., 1])


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan
