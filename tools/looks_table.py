"""The errors of an artefact by how often it looks at a frame (aop-pose predict --looks N), as a Markdown table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from aop_pose.errors import AopPoseError
from aop_pose.evaluation.figures import MEAN_SIZE
from aop_pose.inference.predictor import load
from aop_pose.stats.bootstrap import Resampling
from aop_pose.stats.intervals import Quantile, estimates
from lib.measured import asked_for, measure_all


def run(given: argparse.Namespace) -> None:
    predictor = load(given.artefact, threads=1)
    quantity = asked_for(predictor)
    print(f"| looks | n | {quantity.title} mean absolute error | median | 90th percentile | 95th | seconds |")
    print("| ---: | ---: | --- | ---: | --- | ---: | ---: |")
    for looks in given.looks:
        started = time.monotonic()
        found = measure_all(predictor, Path(given.labels), given.data, given.group_regex, looks)
        seconds = time.monotonic() - started
        errors = np.abs(found.predicted[quantity.column] - found.true[quantity.column])
        found, errors = found.of(np.isfinite(errors)), errors[np.isfinite(errors)]
        cells = []
        parts = [(errors[:, None], how) for how in (MEAN_SIZE, Quantile(0.9))]
        for estimate in estimates(parts, Resampling(found.groups)):
            ends = "" if estimate.interval is None else f" [{estimate.interval[0]:.2f}, {estimate.interval[1]:.2f}]"
            cells.append(f"{estimate.value:.2f}{quantity.sign}{ends}")
        median, high = np.quantile(errors, [0.5, 0.95])
        print(
            f"| {looks} | {len(errors)} | {cells[0]} | {median:.2f}{quantity.sign} | {cells[1]} | "
            f"{high:.2f}{quantity.sign} | {seconds:.0f} |",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Example: python tools/looks_table.py aop-fast.onnx --data psfhs --labels val.csv"
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the label file and its pictures")
    parser.add_argument("--labels", required=True, metavar="FILE", help="frames that trained nothing; or below DIR")
    parser.add_argument("--group-regex", metavar="REGEX", help="patient in a file name; default: near-duplicates")
    parser.add_argument("--looks", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N")
    given = parser.parse_args()
    try:
        run(given)
    except AopPoseError as error:
        print(f"looks_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
