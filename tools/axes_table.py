"""Does it help to read the four points of a head as the axes of one ellipse? Errors with and without.

Takes results of `aop-pose predict` with a head artefact and a head-csv with pixel sizes and circumferences. "as found"
are the points as they stand, "one ellipse" those of `geometry.regularise_axes`. Circumferences are by Ramanujan unless
said, against the expert's; intervals by bootstrap over patients (first number of the file name) for the difference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from aop_pose.core.schemas import HEAD
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.errors import FrameErrors, frame_errors
from aop_pose.evaluation.match import match
from aop_pose.evaluation.sources import read_results_rows, read_truth, table_in
from aop_pose.formats.split import groups_by_name
from aop_pose.geometry import regularise_axes
from aop_pose.stats.bootstrap import group_bootstrap

COLUMNS = {"ofd_mm": "OFD", "bpd_mm": "BPD", "hc_mm": "HC", "hc_ramanujan_mm": "HC (Ramanujan)"}


def axes_table(results: Path, truth: Path, pattern: str) -> str:
    """Markdown: mean absolute error and bias in mm both ways, and the paired change of the former."""
    reference = read_truth(truth, HEAD)
    matched = match(read_results_rows(table_in(results)), reference, HEAD)
    if matched.millimetres is None:
        raise UsageError(f"{truth}: expected pixel sizes (pixel_size_mm), found none there or in {results}")
    ways = {"as found": matched.predicted, "one ellipse": regularise_axes(matched.predicted)}
    errors = {
        name: frame_errors(points, matched.truth, matched.sizes, None, HEAD, matched.millimetres)
        for name, points in ways.items()
    }
    lines = [
        f"| points | {' | '.join(f'{title} MAE (bias), mm' for title in COLUMNS.values())} |",
        f"| --- |{' --- |' * len(COLUMNS)}",
        *(f"| {name} | {' | '.join(_cell(one, key) for key in COLUMNS)} |" for name, one in errors.items()),
    ]
    patients = groups_by_name(matched.names, pattern)
    changes = [_change(errors["as found"], errors["one ellipse"], key, patients) for key in COLUMNS]
    return "\n".join([*lines, f"| change of MAE | {' | '.join(changes)} |"])


def _cell(errors: FrameErrors, key: str) -> str:
    difference = errors.differences[key][np.isfinite(errors.differences[key])]
    return f"{np.abs(difference).mean():.3f} ({difference.mean():+.3f})" if len(difference) else "none"


def _change(before: FrameErrors, after: FrameErrors, key: str, patients: np.ndarray) -> str:
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
