"""What a benchmark says, as tables of texts and lines, for Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from aop_pose import __version__
from aop_pose.benchmark.compare import METRICS, Comparison, MethodRow, Pair
from aop_pose.benchmark.one_run import SCALE
from aop_pose.evaluation.bootstrap import Estimate

METRIC_WORDS = {"mre_px": f"MRE, px of {SCALE:g}", "aop_mae_deg": "AoP MAE, °"}
"""Each of ``compare.METRICS`` as a heading says it."""


@attrs.frozen
class Grid:
    """A table of texts."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def how(comparison: Comparison) -> list[str]:
    """When, where, and with which command."""
    machines = dict.fromkeys(str(run["training"].get("machine", "not stated")) for run in comparison.runs)
    days = sorted(run["finished"][:10] for run in comparison.runs)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    return [
        f"{comparison.n_frames} held-out frames in {comparison.n_groups} groups of near-duplicates; every run had a "
        f"budget of {comparison.plan.budget.words}. {when}, {', '.join(machines)}, aop-pose {__version__}.",
        f"`{comparison.plan.command()}`",
    ]


def grids(comparison: Comparison) -> list[Grid]:
    """The table of the methods and, for two or more, that of the tests."""
    methods = Grid(
        "Methods",
        (
            "method", "seeds", *METRIC_WORDS.values(), "SD over seeds", "missing", "epochs", "training, min",
            "peak memory, MB", "ms a frame", "measuring, MB", "artefact, MB",
        ),
        tuple(map(_method_cells, comparison.methods)),
    )  # fmt: skip
    tests = Grid(
        "Differences",
        ("first minus second", "error", "seeds", "difference", "p", "p, Holm"),
        tuple(map(_pair_cells, comparison.pairs)),
    )
    return [methods, tests] if comparison.pairs else [methods]


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
        f"{row.training_memory_mb:.0f}",
        f"{row.ms_per_frame:.1f}",
        f"{row.measuring_memory_mb:.0f}",
        f"{row.artefact_mb:.1f}",
    )


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    test = [_probability(p) for p in (pair.p, pair.p_holm)]
    return (
        f"{pair.first} - {pair.second}", METRIC_WORDS[pair.metric], str(pair.seeds), estimate_text(pair.difference),
        *test,
    )  # fmt: skip


def estimate_text(estimate: Estimate, show: Callable[[float], str] = "{:.2f}".format) -> str:
    """``12.34 [11.00, 13.70]``."""
    if estimate.interval is None:
        return show(estimate.value)
    return f"{show(estimate.value)} [{', '.join(map(show, estimate.interval))}]"


def _probability(p: float | None) -> str:
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def words(comparison: Comparison) -> list[str]:
    """What has to be known to read the tables."""
    plan = comparison.plan
    budget = (
        "Epochs: those that fit the budget at the pace of a short training, the same for all seeds of a method."
        if plan.budget.seconds is not None
        else "Epochs: the budget itself; the time they took stands beside."
    )
    lines = [
        "Every method saw the same frames: each seed holds out a tenth of the labels, in whole groups, to choose the "
        "epoch; the measured frames trained and chose nothing.",
        budget,
        f"Means over frames and seeds; a missing frame counts as the diagonal of its picture and as 180°. MRE: mean "
        f"radial error as if the longer side had {SCALE:g} pixels.",
        "Time and memory of measuring are those of `aop-pose predict --no-overlay` with the exported artefact: reading "
        "included, all cores, median of 3 passes. Peak memory is that of the process (of the host, not of a GPU).",
    ]
    if comparison.withheld:
        lines.append(f"Intervals and tests are withheld: {comparison.withheld}.")
    else:
        lines.append("Intervals: 95 % bootstrap over groups; they do not hold what another seed would change.")
    if comparison.pairs and not comparison.withheld:
        lines.append(
            "p: paired sign-flip test over groups on errors averaged over shared seeds; Holm: corrected for the "
            f"{len(comparison.pairs)} tests of this table."
        )
    return [*lines, *(f"{note[0].upper()}{note[1:]}." for note in comparison.notes)]
