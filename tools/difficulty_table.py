"""The difficulty that intervals are scaled with, chosen on training frames by networks that have not seen them.

Each network was trained on part of the frames and is asked on the others. Every difficulty is compared by the width and
the coverage of its intervals across folds of whole groups; a nested cross-validation chooses the narrowest within the
other folds, so that choosing is judged too. Prints Markdown, and how much calibrations on few groups scatter.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.figures import SHARE
from aop_pose.inference.predictor import load
from aop_pose.stats.bootstrap import Resampling
from aop_pose.stats.intervals import estimates
from aop_pose.trust.intervals import DEFAULT_COVERAGE, PLAIN, check_coverage
from lib.conformal import FOLDS, Errors, cross_conformal_radii, folds_of, joined, narrowest, radii_on, scatter_of
from lib.measured import asked_for, calibrated, measure_all
from lib.ranking import spearman

THIRDS = 3
"""Parts of the true values, each with a coverage of its own."""


def table(by_name: dict[str, Errors], true: np.ndarray, coverage: float, sign: str) -> list[str]:
    """A row a difficulty, and one of the choice among them."""
    first, second = np.quantile(true, [1 / THIRDS, 2 / THIRDS])
    cuts = (true < first, (first <= true) & (true < second), true >= second)
    some = next(iter(by_name.values()))
    fold = folds_of(some.groups)
    nested, chosen = np.empty(len(true)), Counter[str]()
    for number in range(FOLDS):
        out = fold == number
        kept = {name: one.of(~out) for name, one in by_name.items()}
        name = narrowest(some.residuals[~out], {name: one.difficulty for name, one in kept.items()},
                         some.groups[~out], coverage)  # fmt: skip
        chosen[name] += 1
        nested[out] = radii_on(kept[name], by_name[name].difficulty[out], coverage)
    radii = {name: cross_conformal_radii(one, coverage) for name, one in by_name.items()}
    lines = [
        "| difficulty | Spearman with the error | coverage | by thirds of the true value | mean width | chosen |",
        "| --- | ---: | --- | --- | ---: | ---: |",
    ]
    for name, each in {**radii, "the narrowest of the other folds": nested}.items():
        covered = some.residuals <= each
        (share,) = estimates([(covered[:, None].astype(float), SHARE)], Resampling(some.groups))
        ends = "" if share.interval is None else f" [{share.interval[0]:.3f}, {share.interval[1]:.3f}]"
        rank = f"{spearman(by_name[name].difficulty, some.residuals):+.3f}" if name in by_name and name != PLAIN else ""
        cut = ", ".join(f"{covered[mask].mean():.3f}" for mask in cuts)
        told = f"{chosen[name]} of {FOLDS}" if name in by_name else ""
        lines.append(f"| `{name}` | {rank} | {share.value:.3f}{ends} | {cut} | {2 * each.mean():.1f}{sign} | {told} |")
    return lines


def run(given: argparse.Namespace) -> None:
    check_coverage(given.coverage)
    parts = []
    for network, labels in given.on:
        predictor = load(network, threads=1)
        parts.append(measure_all(predictor, Path(labels), given.data, given.group_regex))
    stated = {one.column: one for one in calibrated(predictor)}
    if given.quantity and given.quantity not in stated:
        raise UsageError(f"--quantity: expected one of {', '.join(stated)}, found {given.quantity!r}")
    quantity = stated[given.quantity] if given.quantity else asked_for(predictor)
    names = [name for name in parts[0].difficulties if all(np.isfinite(one.difficulties[name]).any() for one in parts)]
    parts = [
        one.of(np.isfinite([one.residuals(quantity), *(one.difficulties[name] for name in names)]).all(axis=0))
        for one in parts
    ]
    by_name = {
        name: joined([Errors(one.residuals(quantity), one.difficulties[name], one.groups) for one in parts])
        for name in names
    }
    for power in given.powers if "field" in by_name else ():
        # The difficulty is the square root of the field of view.
        by_name[f"field to the power {power:g}"] = attrs.evolve(
            by_name["field"], difficulty=by_name["field"].difficulty ** (2 * power)
        )
    true = np.concatenate([one.true[quantity.column] for one in parts])
    groups = len(np.unique(by_name[PLAIN].groups))
    if groups < THIRDS:
        raise UsageError(f"--on: expected {quantity.column} in {THIRDS} groups of frames or more, found {groups}")
    print(f"{len(true)} frames in {groups} groups; mean error {by_name[PLAIN].residuals.mean():.2f}{quantity.sign}.\n")
    print("\n".join(table(by_name, true, given.coverage, quantity.sign)))
    for name in names:
        for few in given.few:
            low, high = scatter_of(by_name[name], given.coverage, groups=few)
            print(f"\n`{name}`, calibrations on {few} groups: coverage {low:.3f} to {high:.3f} (95 % of draws)", end="")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/difficulty_table.py --data psfhs --on half-a.onnx b.csv --on half-b.onnx a.csv",
    )
    parser.add_argument(
        "--on", nargs=2, action="append", required=True, metavar=("FILE.onnx", "FILE"),
        help="a network, and frames that it has not seen; repeat",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the label files and their pictures")
    parser.add_argument("--group-regex", metavar="REGEX", help="patient in a file name; default: near-duplicates")
    parser.add_argument("--coverage", type=float, default=DEFAULT_COVERAGE)
    parser.add_argument("--quantity", metavar="COLUMN", help="default: the main one that has intervals")
    parser.add_argument(
        "--powers", type=float, nargs="*", default=[], metavar="P", help="of the field of view, further"
    )
    parser.add_argument("--few", type=int, nargs="*", default=[77], metavar="N", help="groups of a calibration")
    given = parser.parse_args()
    try:
        run(given)
    except AopPoseError as error:
        print(f"difficulty_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
