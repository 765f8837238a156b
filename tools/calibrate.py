"""Calibrate conformal intervals on frames that trained nothing, and write them into a copy of an artefact.

Prints a report as Markdown. Coverage is measured on frames that are not in the calibration it is measured with: by
cross-conformal over folds of whole groups, on the second half of the groups by calibration on the first, and on the
frames of --check. Fit the gate first: frames that it withholds have no interval. The difficulty is fixed beforehand
(tools/difficulty_table.py chooses it on training frames).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.schema import Quantity, Unit
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.figures import SHARE
from aop_pose.evaluation.grouping import subset_columns
from aop_pose.formats.label import find_picture, resolve
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.inference.predictor import Predictor
from aop_pose.inference.weights import load, rewrite
from aop_pose.measuring.images import SAMPLED
from aop_pose.stats.bootstrap import Estimate, Resampling
from aop_pose.stats.intervals import estimates
from aop_pose.trust.intervals import DEFAULT_COVERAGE, DIFFICULTIES, PLAIN, Calibration, Scores, check_coverage
from lib.conformal import (
    FOLDS,
    Errors,
    check_groups,
    cross_conformal_radii,
    effective_groups,
    folds_of,
    joined,
    later_half,
    radii_on,
    scatter_of,
    scores_of,
)
from lib.measured import Measured, calibrated, measure_all

FIXED: dict[Unit, tuple[str, ...]] = {"deg": ("propagated-spread", "geometry-looks"), "mm": ("field",), "px": (PLAIN,)}
"""The difficulty of each unit; the second where a head has no maps."""


@attrs.frozen(eq=False)
class Frames:
    """The frames of one number of looks."""

    own: Measured
    """Seen by the artefact."""
    others: tuple[Measured, ...]
    """Seen by networks of the same training that have not seen them."""
    check: Measured | None


@attrs.frozen(eq=False)
class Stated:
    """Intervals of known radii on frames, in the unit of the quantity."""

    frames: Measured
    errors: Errors
    radii: np.ndarray
    unit: np.ndarray
    """(n,) of the quantity, in that of the errors."""

    def of(self, mask: np.ndarray) -> tuple[Estimate, float]:
        """The share of the frames that are covered, and the mean width."""
        covered = (self.errors.residuals <= self.radii)[mask]
        (share,) = estimates([(covered[:, None].astype(float), SHARE)], Resampling(self.errors.groups[mask]))
        return share, float((2 * self.radii * self.unit)[mask].mean())


def errors_of(frames: Measured, quantity: Quantity, difficulty: str) -> tuple[Measured, Errors]:
    """Those frames on which the quantity and its difficulty are known, and their errors."""
    known = np.isfinite(frames.residuals(quantity)) & np.isfinite(frames.difficulties[difficulty])
    kept = frames.of(known)
    return kept, Errors(kept.residuals(quantity), kept.difficulties[difficulty], kept.groups)


def stated(frames: Measured, errors: Errors, quantity: Quantity, radii: np.ndarray) -> Stated:
    unit = frames.sides if quantity.unit == "px" else np.ones(len(radii))
    return Stated(frames, errors, radii, unit)


def thirds(found: Stated, quantity: Quantity) -> Iterator[tuple[str, np.ndarray]]:
    """Frames by third of the true value."""
    true = found.frames.true[quantity.column]
    first, second = np.quantile(true, [1 / 3, 2 / 3])
    yield f"true value below {first:.1f}", true < first
    yield f"{first:.1f} to {second:.1f}", (first <= true) & (true < second)
    yield f"{second:.1f} and above", true >= second


def rows_of(found: Stated, quantity: Quantity, words: str) -> Iterator[str]:
    """Coverage of all frames, by third of the true value, by device or centre."""
    cuts = {words: np.full(len(found.radii), True)}
    cuts |= {f"{words}, {third}": mask for third, mask in thirds(found, quantity)}
    for column, texts in subset_columns(found.frames.columns).items():
        cuts |= {f"{words}, {column} {text}": np.array(texts) == text for text in sorted(set(texts))}
    for label, mask in cuts.items():
        yield row(label, found, mask)


def row(label: str, found: Stated, mask: np.ndarray) -> str:
    share, width = found.of(mask)
    return f"| {label} | {mask.sum()} | {len(np.unique(found.errors.groups[mask]))} | {shown(share)} | {width:.1f} |"


def shown(share: Estimate) -> str:
    if share.interval is None:
        return f"{share.value:.3f} (too few groups for an interval)"
    return f"{share.value:.3f} [{share.interval[0]:.3f}, {share.interval[1]:.3f}]"


def report(frames: Frames, quantity: Quantity, difficulty: str, coverage: float) -> tuple[list[str], Scores]:
    """Lines of Markdown, and what is stored with the most important of them."""
    own, errors = errors_of(frames.own, quantity, difficulty)
    # A network without outlines says nothing of what needs them.
    told = [one for one in frames.others if quantity.column in one.predicted]
    others = [errors_of(one, quantity, difficulty)[1] for one in told]
    pool = joined([errors, *others])
    scores = scores_of(pool, difficulty, "side" if quantity.unit == "px" else "")
    crossed = stated(own, errors, quantity, cross_conformal_radii(errors, coverage, others))
    share, width = crossed.of(np.full(len(own.names), True))
    scatter = scatter_of(errors, coverage)
    late = later_half(errors.groups, own.names)
    later = radii_on(joined([errors.of(~late), *others]), errors.difficulty[late], coverage)
    halved = stated(own.of(late), errors.of(late), quantity, later)
    share_later, _ = halved.of(np.full(len(later), True))
    worth = effective_groups(errors.groups)
    alone = len(np.unique(errors.groups))
    lines = [
        f"### {quantity.column}", "",
        f"Scaled with `{difficulty}`. Target {coverage:.0%}, achieved {shown(share)}"
        f"{'' if contains(share, coverage) else ': the interval does NOT contain the target'}. {alone} groups, worth "
        f"{worth:.0f} of one size: a calibration on them alone covers between {scatter[0]:.3f} and {scatter[1]:.3f} "
        "(95 % of such calibrations).", "",
        "| frames | n | groups | coverage [95 % over groups] | mean width |", "| --- | ---: | ---: | --- | ---: |",
        *rows_of(crossed, quantity, f"cross-conformal, {FOLDS} folds"),
        row("second half of the groups, calibrated on the first", halved, np.full(len(later), True)),
    ]  # fmt: skip
    facts: dict[str, Any] = {
        "target": coverage, "achieved": round(share.value, 4), "achieved_ci": share.interval,
        "mean_width": round(width, 4),
        "by_thirds": [round(crossed.of(mask)[0].value, 4) for _, mask in thirds(crossed, quantity)],
        "later_half": round(share_later.value, 4), "groups_worth": round(scores.groups, 1),
    }  # fmt: skip
    if others:
        apart = stated(own, errors, quantity, radii_on(joined(others), errors.difficulty, coverage))
        lines += list(rows_of(apart, quantity, "calibrated on the frames of --also alone"))
        facts["by_others_alone"] = round(apart.of(np.full(len(own.names), True))[0].value, 4)
        pooled = scatter_of(pool, coverage)
        lines += [
            "",
            f"A calibration on all {len(np.unique(pool.groups))} groups covers {pooled[0]:.3f} to {pooled[1]:.3f}.",
        ]
        facts["scatter"], facts["scatter_alone"] = rounded(pooled), {"groups": alone, "coverage": rounded(scatter)}
    else:
        facts["scatter"] = rounded(scatter)
    if frames.check is not None:
        new, others_errors = errors_of(frames.check, quantity, difficulty)
        applied = stated(new, others_errors, quantity, radii_on(pool, others_errors.difficulty, coverage))
        on_new = applied.of(np.full(len(new.names), True))[0]
        lines += rows_of(applied, quantity, "other frames (--check)")
        if not contains(on_new, coverage):
            lines += ["", f"On the other frames the interval of the coverage does NOT contain {coverage:.0%}."]
        facts |= {"other_frames": round(on_new.value, 4), "other_frames_ci": on_new.interval}
    return lines, scores.model_copy(update={"measured": facts})


def rounded(ends: tuple[float, float]) -> list[float]:
    return [round(end, 3) for end in ends]


def contains(share: Estimate, coverage: float) -> bool:
    return share.interval is not None and share.interval[0] <= coverage <= share.interval[1]


def measured_with(predictor: Predictor, given: argparse.Namespace, looks: int) -> Frames:
    """All frames of the command line, seen ``looks`` times."""

    def by(network: Predictor, labels: str) -> Measured:
        return measure_all(network, Path(labels), given.data, given.group_regex, looks)

    others = tuple(by(loaded(Path(network), given), labels) for network, labels in given.also)
    return Frames(by(predictor, given.labels), others, by(predictor, given.check) if given.check else None)


def loaded(file: Path, given: argparse.Namespace) -> Predictor:
    """The artefact as it will run; the frames that calibrate it are those on which a precision is compared."""
    images = None
    if given.precision != "f32":
        labels = read_labels(resolve(given.labels, given.data), given.data)[: 4 * SAMPLED]
        images = [read_gray(find_picture(given.data, one.name)) for one in labels]
    found = load(file, threads=1, engine=given.engine, precision=given.precision, images=images)
    if not isinstance(found, Predictor):
        raise UsageError(f"{file}: expected an artefact of frames, found one of volumes")
    return found


def run(given: argparse.Namespace) -> None:
    check_coverage(given.coverage)
    predictor = loaded(given.artefact, given)
    quantities: dict[int, dict[str, Scores]] = {}
    labels = Path(given.labels).name
    for looks in sorted({1, *given.looks}):
        frames = measured_with(predictor, given, looks)
        own = frames.own
        check_groups(own.groups)
        fold = folds_of(own.groups)
        check_coverage(given.coverage, min(effective_groups(own.groups[fold != out]) for out in range(FOLDS)))
        words = f"seen {looks} times: " if looks > 1 else ""
        print(
            f"{words}{len(own.groups)} frames of {labels} in {len(np.unique(own.groups))} groups ({own.withheld} not\n"
            "measured). Assumed: the groups are exchangeable with that of a new frame; frames of another machine or\n"
            "population are not, and for them nothing is promised.\n"
        )
        quantities[looks] = {}
        for quantity in calibrated(predictor):
            if np.isfinite(own.residuals(quantity)).any():
                difficulty = next(name for name in FIXED[quantity.unit] if name in own.difficulties)
                if given.difficulty and quantity.unit == "deg":
                    difficulty = given.difficulty
                lines, scores = report(frames, quantity, difficulty, given.coverage)
                quantities[looks][quantity.column] = scores
                print("\n".join(lines) + "\n")
        if looks == 1:
            everything = [own, *frames.others]
    calibration = Calibration(
        data=" + ".join([f"{given.data.resolve().name}/{labels}", *(Path(labels).name for _, labels in given.also)]),
        frames=sum(len(one.names) for one in everything),
        groups=sum(len(np.unique(one.groups)) for one in everything),
        quantities=quantities.pop(1),
        of_looks=quantities,
    )
    contract = predictor.contract.model_copy(
        update={"calibration": calibration, "calibrated_in": given.precision}
    )  # fmt: skip
    print(f"{rewrite(given.artefact, contract, given.out).model_id}: {given.out}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/calibrate.py gated.onnx --data psfhs --labels val.csv --out new.onnx",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the label files and their pictures")
    parser.add_argument("--labels", required=True, metavar="FILE", help="frames that trained nothing; or below DIR")
    parser.add_argument(
        "--also", nargs=2, action="append", default=[], metavar=("FILE.onnx", "FILE"),
        help="a network that was trained likewise on part of the training frames, and the other part; repeat",
    )  # fmt: skip
    parser.add_argument("--check", metavar="FILE", help="further such frames, to check the coverage on")
    parser.add_argument("--group-regex", metavar="REGEX", help="patient in a file name; default: near-duplicates")
    parser.add_argument("--coverage", type=float, default=DEFAULT_COVERAGE, help="at which the report is made")
    parser.add_argument("--looks", type=int, nargs="*", default=[], metavar="N", help="calibrate for N looks as well")
    parser.add_argument("--engine", default="onnx", help="that runs the network (aop-pose predict --engine)")
    parser.add_argument("--precision", default="f32", help="for which the intervals will hold, and for no other")
    parser.add_argument("--difficulty", choices=sorted(DIFFICULTIES), help="of angles (default propagated-spread)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx", help="the calibrated artefact")
    given = parser.parse_args()
    started = time.monotonic()
    try:
        run(given)
    except AopPoseError as error:
        print(f"calibrate: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"calibrate: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
