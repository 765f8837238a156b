"""From finished runs to one table: figures of each method with intervals, and paired tests between methods.

A difference between two methods is paired by seed and by frame. Other patients would change it, and so would other
seeds: its variance is that of the mean over groups plus that of the mean over seeds, with the degrees of freedom of
Satterthwaite, Biometrics Bulletin 2 (1946) 110-114. The spread over seeds holds some of that over groups already, so
that the sum is no smaller than it should be. With one seed nothing is known of others, and the table says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import attrs
import numpy as np

from aop_pose.benchmark.plan import SCHEMA, Plan
from aop_pose.core.schema import Quantity, main_quantity
from aop_pose.evaluation.figures import MEAN, MEAN_SIZE
from aop_pose.stats.agreement import holm
from aop_pose.stats.bootstrap import Estimate, Resampling, sign_flip_test
from aop_pose.stats.distributions import t_quantile, t_tails
from aop_pose.stats.intervals import estimates

_ROUNDING = 1e-9


def _main() -> Quantity:
    main = main_quantity(SCHEMA.quantities)
    assert main is not None  # a schema without quantities measures nothing
    return main


MAIN = _main()
"""The quantity that methods are compared by, beside their points."""
NOTHING = Estimate(math.nan, None, 0, "nothing measured")
METRICS = ("mre_px", MAIN.figure("mae"))
"""The compared figures, in the order of the two errors that a run keeps of each frame."""


@attrs.frozen
class MethodRow:
    """The outcome of a method over its finished seeds."""

    method: str
    seeds: tuple[int, ...]
    epochs: int
    start: str
    """Origin of its first weights."""
    errors: dict[str, Estimate]
    """Mean over frames and seeds of each of ``METRICS``."""
    by_seed: dict[str, list[float]]
    missing: float
    """Frames that were not measured, mean over the seeds."""
    training_minutes: float
    training_memory_mb: float | None
    """Largest over the seeds, as that of measuring; None where the system does not say."""
    measuring_memory_mb: float | None
    ms_per_frame: float
    artefact_mb: float
    nothing: bool = False
    """No frame was measured with any seed: it has no errors, and is compared with nothing."""

    def seed_spread(self, metric: str) -> float | None:
        """Standard deviation over the seeds; None for one."""
        values = self.by_seed[metric]
        return stdev(values) if len(values) > 1 else None


@attrs.frozen
class Pair:
    """First method minus second, over the seeds that both have finished."""

    first: str
    second: str
    metric: str
    seeds: int
    difference: Estimate
    p: float | None
    """The larger of a sign-flip test over groups and, with several seeds, a t test over groups and seeds.

    None where there are too few groups.
    """
    p_holm: float | None
    """Corrected for all pairs and metrics of the table."""


@attrs.frozen(eq=False)
class Benchmark:
    """Finished runs as their table shows them."""

    plan: Plan
    runs: Sequence[dict[str, Any]]
    methods: tuple[MethodRow, ...]
    pairs: tuple[Pair, ...]
    n_frames: int
    n_groups: int
    withheld: str
    """Why there are no intervals and tests, "" where they are."""
    notes: tuple[str, ...]


def compare(
    plan: Plan, runs: Sequence[dict[str, Any]], names: Sequence[str], groups: np.ndarray, notes: tuple[str, ...] = ()
) -> Benchmark:
    """Compare finished runs on the frames ``names`` (n,), which ``groups`` (n,) keep together."""
    resampling = Resampling(groups)
    by_method = {method: [run for run in runs if run["method"] == method] for method in plan.methods}
    finished = {method: found for method, found in by_method.items() if found}
    rows = tuple(_row(method, found, names, resampling) for method, found in finished.items())
    return Benchmark(
        plan=plan,
        runs=runs,
        methods=rows,
        pairs=_pairs(finished, names, groups, resampling),
        n_frames=len(names),
        n_groups=resampling.n_groups,
        withheld=resampling.withheld,
        notes=(*notes, *_notes(plan, rows)),
    )


def _errors(run: dict[str, Any], names: Sequence[str]) -> np.ndarray:
    """(frames, metrics)"""
    return np.array([run["errors"][name] for name in names], dtype=np.float64)


def _row(method: str, runs: list[dict[str, Any]], names: Sequence[str], resampling: Resampling) -> MethodRow:
    errors = np.stack([_errors(run, names) for run in runs])
    nothing = all(_measured_nothing(run, names) for run in runs)
    over_seeds = errors.mean(axis=0)
    found = estimates([(over_seeds[:, [place]], MEAN_SIZE) for place in range(len(METRICS))], resampling)
    return MethodRow(
        method=method,
        seeds=tuple(run["seed"] for run in runs),
        epochs=runs[0]["epochs"],
        start=", ".join(dict.fromkeys(str(run["training"].get("start", "not stated")) for run in runs)),
        errors=dict.fromkeys(METRICS, NOTHING) if nothing else dict(zip(METRICS, found, strict=True)),
        by_seed={
            metric: [] if nothing else errors.mean(axis=1)[:, place].tolist() for place, metric in enumerate(METRICS)
        },
        missing=fmean(run["figures"]["n_missing"] for run in runs),
        training_minutes=fmean(run["training"]["wall_seconds"] for run in runs) / 60,
        training_memory_mb=_most(run["training"].get("peak_memory_mb") for run in runs),
        measuring_memory_mb=_most(run["measuring"]["peak_memory_mb"] for run in runs),
        ms_per_frame=fmean(run["measuring"]["ms_per_frame"] for run in runs),
        artefact_mb=fmean(run["artefact"]["bytes"] for run in runs) / 1e6,
        nothing=nothing,
    )


def _measured_nothing(run: dict[str, Any], names: Sequence[str]) -> bool:
    return run["figures"]["n_missing"] == len(names)


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _pairs(
    finished: dict[str, list[dict[str, Any]]], names: Sequence[str], groups: np.ndarray, resampling: Resampling
) -> tuple[Pair, ...]:
    pairs = []
    compared = [one for one, runs in finished.items() if not all(_measured_nothing(run, names) for run in runs)]
    for first, second in combinations(compared, 2):
        ours, theirs = ({run["seed"]: run for run in finished[method]} for method in (first, second))
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            continue
        gaps = np.stack([_errors(ours[seed], names) - _errors(theirs[seed], names) for seed in shared])
        for place, metric in enumerate(METRICS):
            difference, p = difference_of(gaps[..., place], groups, resampling)
            pairs.append(Pair(first, second, metric, len(shared), difference, p, None))
    tested = [pair.p for pair in pairs if pair.p is not None]
    if len(tested) < len(pairs):
        return tuple(pairs)
    return tuple(attrs.evolve(pair, p_holm=p) for pair, p in zip(pairs, holm(tested), strict=True))


def difference_of(gaps: np.ndarray, groups: np.ndarray, resampling: Resampling) -> tuple[Estimate, float | None]:
    """The mean of paired differences (seeds, frames), with an interval and a p-value over groups and seeds."""
    seeds, frames = gaps.shape
    mean = gaps.mean(axis=0)
    (over_groups,) = estimates([(mean[:, None], MEAN)], resampling)
    if resampling.withheld:
        return over_groups, None
    p = sign_flip_test(mean, groups)
    if seeds == 1:
        return over_groups, p
    value, n = over_groups.value, resampling.n_groups
    by_group = resampling.by_group(np.column_stack([mean - value, np.ones(frames)]))
    of_groups = n / (n - 1) * float((by_group[:, 0] ** 2).sum()) / frames**2
    of_seeds = float(gaps.mean(axis=1).var(ddof=1)) / seeds
    error = math.sqrt(of_groups + of_seeds)
    if error <= _ROUNDING * max(1.0, abs(value)):
        return over_groups, p
    freedom = (of_groups + of_seeds) ** 2 / (of_groups**2 / (n - 1) + of_seeds**2 / (seeds - 1))
    half = error * t_quantile((1 + resampling.coverage) / 2, freedom)
    return Estimate(value, (value - half, value + half), frames), max(p, t_tails(value / error, freedom))


def _notes(plan: Plan, rows: Sequence[MethodRow]) -> list[str]:
    notes = []
    if len({row.start for row in rows}) > 1:
        notes.append(
            "methods started from different weights: " + "; ".join(f"{row.method}: {row.start}" for row in rows)
        )
    unfinished = [f"{row.method} {len(row.seeds)} of {plan.seeds}" for row in rows if len(row.seeds) < plan.seeds]
    unfinished += [f"{method} 0 of {plan.seeds}" for method in plan.methods if method not in {r.method for r in rows}]
    if unfinished:
        notes.append(f"runs that are not finished: {', '.join(unfinished)}")
    notes += [
        f"{row.method} measured nothing with any seed, and is compared with nothing" for row in rows if row.nothing
    ]
    if plan.budget.seconds is not None:
        notes += [
            f"{row.method} took {row.training_minutes:.1f} min of training, "
            f"{60 * row.training_minutes / plan.budget.seconds - 1:+.0%} against the budget"
            for row in rows
            if abs(60 * row.training_minutes / plan.budget.seconds - 1) > 0.1
        ]
    return notes
