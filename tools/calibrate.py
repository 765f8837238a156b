"""Calibrate conformal intervals on frames that trained nothing, and write them into a copy of an artefact.

Prints a report as Markdown. Coverage is measured on frames that are not in the calibration it is measured with: by
cross-conformal over folds of whole groups, and on the frames of --check. Fit the gate first: frames that it withholds
have no interval.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.measure import measure
from aop_pose.core.results import Result
from aop_pose.core.schema import Schema
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.grouping import subset_columns
from aop_pose.evaluation.sources import read_truth
from aop_pose.formats.label import find_picture, resolve
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.split import groups_by_name, near_duplicate_groups_of, thumbnail
from aop_pose.inference.predictor import Predictor, load, usable_cores
from aop_pose.inference.weights import rewrite
from aop_pose.measuring.folder import in_order
from aop_pose.measuring.measurer import Measurer, two_passes
from aop_pose.stats.bootstrap import Estimate, Resampling
from aop_pose.stats.conformal import check_coverage
from aop_pose.trust.intervals import DEFAULT_COVERAGE, DIFFICULTIES, PLAIN, Calibration, Scores
from aop_pose.trust.passes import Passes
from lib.conformal import (
    FOLDS,
    check_groups,
    conformal_quantile,
    cross_conformal_radii,
    folds_of,
    frame_weights,
    names_for,
    narrowest,
)
from lib.ranking import spearman

BATCH = 8


@attrs.frozen(eq=False)
class Measured:
    """Every measured frame of a label file."""

    groups: np.ndarray
    predicted: dict[str, np.ndarray]
    """Measurement -> (n,)."""
    true: dict[str, np.ndarray]
    difficulties: dict[str, np.ndarray]
    columns: dict[str, list[str]]
    """What the label file says beside the points (device, centre)."""
    withheld: int

    def residuals(self, name: str, relative: bool) -> np.ndarray:
        gap = np.abs(self.predicted[name] - self.true[name])
        return gap / self.predicted[name] if relative else gap


def calibrated(schema: Schema) -> dict[str, str]:
    """Quantity of the calibration -> the measurement it is taken from, on pixels where that is a length."""
    return {one.calibration: one.column for one in schema.quantities if one.interval and one.unit != "mm"}


def measure_all(predictor: Predictor, file: Path, data: Path, pattern: str | None) -> Measured:
    """Measure every frame of a label file as ``aop-pose predict`` does, its gate included."""
    truth = read_truth(file, predictor.schema)
    measurer = Measurer(attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"calibration": None})))

    def several(names: Sequence[str]) -> list[tuple[Result, Passes, np.ndarray]]:
        pixels = [read_gray(find_picture(data, name)) for name in names]
        results = measurer.results([Frame(one, source=name) for one, name in zip(pixels, names, strict=True)])
        seen = two_passes(predictor, pixels)
        return list(zip(results, seen, [thumbnail(one) for one in pixels], strict=True))

    batches = [truth.names[start : start + BATCH] for start in range(0, len(truth.names), BATCH)]
    done = list(itertools.chain.from_iterable(in_order(several, batches, usable_cores())))
    if pattern is None:
        groups = near_duplicate_groups_of([small for _, _, small in done])
    else:
        groups = groups_by_name(truth.names, pattern)
    kept = [i for i, (result, _, _) in enumerate(done) if result.status == "ok"]
    if not kept:
        raise UsageError(f"{file}: expected frames that the artefact measures, found none of {len(done)}")
    cases = [done[i][1] for i in kept]
    answers = [measure(Keypoints.from_points(predictor.schema, truth.coords[i])).measurements for i in kept]
    names = calibrated(predictor.schema).values()
    return Measured(
        groups[kept],
        {name: np.array([done[i][0].measurements[name].value for i in kept]) for name in names},
        {name: np.array([answer[name].value for answer in answers]) for name in names},
        {
            name: np.array([DIFFICULTIES[name](case) for case in cases])
            for name in names_for(len(predictor.schema.points), predictor.contract.head == "heatmap")
        },
        {name: [texts[i] for i in kept] for name, texts in truth.columns.items()},
        len(done) - len(kept),
    )


def scores_of(found: Measured, name: str, relative: bool, coverage: float) -> Scores:
    """What an artefact stores of one quantity: the narrowest of all difficulties, plain among them."""
    residuals = found.residuals(name, relative)
    difficulty = narrowest(residuals, found.difficulties, found.groups, coverage)
    scores = residuals / found.difficulties[difficulty]
    order = np.argsort(scores, kind="stable")
    return Scores(
        difficulty=difficulty,
        relative=relative,
        scores=[float(f"{score:.6g}") for score in scores[order]],
        weights=frame_weights(found.groups)[order].round(8).tolist(),
    )


@attrs.frozen(eq=False)
class Coverage:
    """How often intervals held the truth, in which frames."""

    covered: np.ndarray
    widths: np.ndarray
    groups: np.ndarray

    def of(self, mask: np.ndarray) -> tuple[Estimate, float]:
        (share,) = Resampling(self.groups[mask]).means(self.covered[mask, None].astype(float))
        return share, float(self.widths[mask].mean())


def coverage_of(found: Measured, name: str, relative: bool, radii: np.ndarray) -> Coverage:
    residuals, factor = found.residuals(name, relative), found.predicted[name] if relative else 1.0
    return Coverage(residuals <= radii, 2 * radii * factor, found.groups)


def rows_of(found: Measured, name: str, covered: Coverage, words: str) -> Iterator[str]:
    """Coverage of all frames, by third of the true value, by device or centre."""
    true = found.true[name]
    first, second = np.quantile(true, [1 / 3, 2 / 3])
    cuts = {
        words: true == true,
        f"{words}, true value below {first:.1f}": true < first,
        f"{words}, {first:.1f} to {second:.1f}": (first <= true) & (true < second),
        f"{words}, {second:.1f} and above": true >= second,
    }
    for column, texts in subset_columns(found.columns).items():
        cuts |= {f"{words}, {column} {text}": np.array(texts) == text for text in sorted(set(texts))}
    for label, mask in cuts.items():
        share, width = covered.of(mask)
        yield f"| {label} | {mask.sum()} | {len(np.unique(found.groups[mask]))} | {shown(share)} | {width:.1f} |"


def shown(share: Estimate) -> str:
    if share.interval is None:
        return f"{share.value:.3f} (too few groups for an interval)"
    return f"{share.value:.3f} [{share.interval[0]:.3f}, {share.interval[1]:.3f}]"


def candidates_table(found: Measured, name: str, relative: bool, coverage: float) -> list[str]:
    """Each difficulty: rank correlation with the error, and the width it gives."""
    residuals = found.residuals(name, relative)
    factor = found.predicted[name] if relative else 1.0
    lines = ["| difficulty | Spearman with the error | mean width |", "| --- | ---: | ---: |"]
    for label, difficulty in found.difficulties.items():
        radius = conformal_quantile(residuals / difficulty, found.groups, coverage)
        rank = "" if label == PLAIN else f"{spearman(difficulty, residuals):+.3f}"
        lines.append(f"| `{label}` | {rank} | {float(np.mean(2 * radius * difficulty * factor)):.1f} |")
    return lines


def report(
    found: Measured, others: Measured | None, scores: Scores, name: str, coverage: float
) -> tuple[list[str], dict[str, object]]:
    """Lines of Markdown, and what is stored of them."""
    relative = scores.relative
    residuals = found.residuals(name, relative)
    radii = cross_conformal_radii(residuals, found.difficulties, found.groups, coverage)
    crossed = coverage_of(found, name, relative, radii)
    share, width = crossed.of(np.full(len(radii), True))
    lines = [
        f"### {name}", "",
        f"Ships `{scores.difficulty}`, the narrowest. Target {coverage:.0%}, achieved {shown(share)}"
        f"{'' if contains(share, coverage) else ': the interval does NOT contain the target'}.", "",
        *candidates_table(found, name, relative, coverage), "",
        "| frames | n | groups | coverage [95 % over groups] | mean width |", "| --- | ---: | ---: | --- | ---: |",
        *rows_of(found, name, crossed, f"cross-conformal, {FOLDS} folds"),
    ]  # fmt: skip
    facts: dict[str, object] = {
        "target": coverage, "achieved": round(share.value, 4), "achieved_ci": share.interval, "mean_width": width,
    }  # fmt: skip
    if others is not None:
        applied = coverage_of(others, name, relative, scores.radius(coverage) * others.difficulties[scores.difficulty])
        on_others = applied.of(np.full(len(others.groups), True))[0]
        lines += rows_of(others, name, applied, "other frames (--check)")
        if not contains(on_others, coverage):
            lines += ["", f"On the other frames the interval of the coverage does NOT contain {coverage:.0%}."]
        facts |= {"other_frames": round(on_others.value, 4), "other_frames_ci": on_others.interval}
    return lines, facts


def contains(share: Estimate, coverage: float) -> bool:
    return share.interval is not None and share.interval[0] <= coverage <= share.interval[1]


def run(given: argparse.Namespace) -> None:
    check_coverage(given.coverage)
    predictor = load(given.artefact, threads=1)
    found = measure_all(predictor, resolve(given.labels, given.data), given.data, given.group_regex)
    check_groups(found.groups)
    fold = folds_of(found.groups)
    check_coverage(given.coverage, min(len(np.unique(found.groups[fold != out])) for out in range(FOLDS)))
    others = None
    if given.check is not None:
        others = measure_all(predictor, resolve(given.check, given.data), given.data, given.group_regex)
    labels = Path(given.labels).name
    print(
        f"{len(found.groups)} frames of {labels} in {len(np.unique(found.groups))} groups ({found.withheld} not\n"
        "measured). Assumed: the groups are exchangeable with that of a new frame; frames of another machine or\n"
        "population are not, and for them nothing is promised.\n"
    )
    quantities = {}
    for quantity, name in calibrated(predictor.schema).items():
        scores = scores_of(found, name, quantity != name, given.coverage)
        lines, facts = report(found, others, scores, name, given.coverage)
        quantities[quantity] = scores.model_copy(update={"measured": facts})
        print("\n".join(lines) + "\n")
    calibration = Calibration(
        data=f"{given.data.resolve().name}/{labels}",
        frames=len(found.groups),
        groups=len(np.unique(found.groups)),
        quantities=quantities,
    )
    contract = predictor.contract.model_copy(update={"calibration": calibration})
    print(f"{rewrite(given.artefact, contract, given.out).model_id}: {given.out}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/calibrate.py gated.onnx --data psfhs --labels val.csv --out new.onnx",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the label file and its pictures")
    parser.add_argument("--labels", required=True, metavar="FILE", help="frames that trained nothing; or below DIR")
    parser.add_argument("--check", metavar="FILE", help="further such frames, to check the coverage on")
    parser.add_argument("--group-regex", metavar="REGEX", help="patient in a file name; default: near-duplicates")
    parser.add_argument("--coverage", type=float, default=DEFAULT_COVERAGE, help="at which difficulties are compared")
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
