"""Does it help to read the four points of a head as the axes of one ellipse? Errors with and without.

Takes results of `aop-pose predict` with a head artefact and a head-csv with pixel sizes and circumferences. "as found"
are the points as they stand, "one ellipse" those of `geometry.regularise_axes`. Circumferences are by Ramanujan unless
said, against the expert's; intervals by bootstrap over patients (first number of the file name) for the difference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.comparison import Comparison, evaluate
from aop_pose.evaluation.errors import Errors
from aop_pose.geometry import regularise_axes
from lib.means import group_bootstrap


def axes_table(results: Path, truth: Path, pattern: str) -> str:
    """Markdown: mean absolute error and bias in mm both ways, and the paired change of the former."""
    found = evaluate(results, truth, group_regex=pattern)
    quantities = [one for one in found.errors.quantities if one.unit == "mm"]
    if not quantities:
        raise UsageError(f"{truth}: expected pixel sizes (pixel_size_mm), found none there or in {results}")
    fitted = attrs.evolve(found.matched, predicted=regularise_axes(found.matched.predicted))
    ways = {"as found": found, "one ellipse": Comparison.of(fitted, found.grouping)}
    lines = [
        f"| points | {' | '.join(f'{one.title} MAE (bias), mm' for one in quantities)} |",
        f"| --- |{' --- |' * len(quantities)}",
        *(f"| {name} | {' | '.join(_cell(one.errors, q.key) for q in quantities)} |" for name, one in ways.items()),
    ]
    both = [one.errors for one in ways.values()]
    changes = [_change(*both, one.key, found.grouping.ids) for one in quantities]
    return "\n".join([*lines, f"| change of MAE | {' | '.join(changes)} |"])


def _cell(errors: Errors, key: str) -> str:
    difference = errors.differences[key][np.isfinite(errors.differences[key])]
    return f"{np.abs(difference).mean():.3f} ({difference.mean():+.3f})" if len(difference) else "none"


def _change(before: Errors, after: Errors, key: str, patients: np.ndarray) -> str:
    change = np.abs(after.differences[key]) - np.abs(before.differences[key])
    known = np.isfinite(change)
    if not known.any():
        return "none"
    interval = group_bootstrap(change[known], patients[known])
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/axes_table.py results/ runs/hc18-split/val.csv",
    )
    parser.add_argument("results", type=Path, help="results.csv, or the folder it is in")
    parser.add_argument("truth", type=Path, help="head-csv with pixel_size_mm and head_circumference_mm")
    parser.add_argument("--group-regex", default=r"^(\d+)_", help="finds the patient in a file name")
    arguments = parser.parse_args()
    try:
        print(axes_table(arguments.results, arguments.truth, arguments.group_regex))
    except AopPoseError as error:
        print(f"axes_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
