"""Which confidence knows where pseudo-labels are wrong: each one against the true errors, as Markdown.

The answers are used for measuring only. The best confidence (Spearman with the MRE) is chosen on one half of the frames
and told on the other; near-duplicate groups stand whole in one half and are drawn whole for the intervals (95 %).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.errors import frame_errors
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import hold_out, near_duplicate_groups_of, thumbnail
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor
from aop_pose.io.images import read_frame
from aop_pose.measuring.ahead import in_order
from aop_pose.pipelines import load_weights
from aop_pose.pseudo.signals import CONFIDENCES, DEFAULT, DRAWS, Signals, judge, rng_for
from aop_pose.stats.bootstrap import Estimate
from lib.means import group_bootstrap
from lib.ranking import risk_coverage, spearman, spearman_over_groups

COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
SCALE = 512


@attrs.frozen(eq=False)
class Judged:
    """Every frame with a prediction: weights by confidence, and true errors."""

    weights: dict[str, np.ndarray]
    mre: np.ndarray
    """(n,) pixels on the 512 scale."""
    aop: np.ndarray
    """(n,) degrees."""
    groups: np.ndarray
    missing: int
    """Frames without a prediction."""

    def part(self, mask: np.ndarray) -> Judged:
        weights = {name: values[mask] for name, values in self.weights.items()}
        return Judged(weights, self.mre[mask], self.aop[mask], self.groups[mask], 0)


def judge_all(predictor: Predictor, frames: Sequence[Label], draws: int, seed: int) -> Judged:
    """Predict every frame, clean and after noise as ``aop-pose pseudo-label`` does."""

    def one(frame: Label) -> tuple[np.ndarray, Signals, np.ndarray]:
        pixels = read_frame(frame.path).pixels
        judged = judge(predictor, pixels, rng=rng_for(seed, frame.name), draws=draws)
        return judged.points, judged.signals, thumbnail(pixels)

    points, signals, thumbnails = zip(*in_order(one, frames, usable_cores()), strict=True)
    truth = np.stack([frame.keypoints.coords for frame in frames])
    errors = frame_errors(np.stack(points), truth, np.array([(f.width, f.height) for f in frames]), scale=SCALE)
    found = errors.measured & np.array([one.score >= predictor.contract.threshold for one in signals])
    found &= np.isfinite(errors.differences["aop"])
    kept = [one for one, is_found in zip(signals, found, strict=True) if is_found]
    weights = {name: np.array([rule.weight(one) for one in kept]) for name, rule in CONFIDENCES.items()}
    groups = near_duplicate_groups_of(list(thumbnails))
    return Judged(
        weights,
        errors.distances[found].mean(axis=1),
        np.abs(errors.differences["aop"][found]),
        groups[found],
        int((~found).sum()),
    )


def correlation_table(all_frames: Judged, chosen_on: Judged, told_on: Judged) -> list[str]:
    """Spearman correlation of each confidence with the errors, on the half that chooses, the other and both."""
    lines = [
        "| confidence | MRE, half A (chooses) | MRE, half B (reports) | MRE, all | AoP error, half B | AoP error, all "
        "| AURC, all, px |",
        "| --- | --- | --- | --- | --- | --- | ---: |",
    ]
    for name in CONFIDENCES:
        cells = [_shown(_correlation(part, name, "mre")) for part in (chosen_on, told_on, all_frames)]
        cells += [_shown(_correlation(part, name, "aop")) for part in (told_on, all_frames)]
        area = risk_coverage(all_frames.weights[name], all_frames.mre).area
        lines.append(f"| `{name}`{' (default)' if name == DEFAULT else ''} | {' | '.join(cells)} | {area:.2f} |")
    return [
        *lines,
        f"| the errors themselves | -1 | -1 | -1 | | | {risk_coverage(-all_frames.mre, all_frames.mre).area:.2f} |",
    ]


def _correlation(judged: Judged, name: str, error: str) -> Estimate:
    return spearman_over_groups(judged.weights[name], getattr(judged, error), judged.groups)


def _shown(estimate: Estimate) -> str:
    interval = "" if estimate.interval is None else f" [{estimate.interval[0]:+.2f}, {estimate.interval[1]:+.2f}]"
    return f"{estimate.value:+.3f}{interval}"


def kept_and_dropped_table(judged: Judged, name: str, quantile: float) -> list[str]:
    """Errors of what ``--keep-quantile`` keeps and drops, means with intervals."""
    kept = judged.weights[name] >= np.quantile(judged.weights[name], quantile)
    lines = ["| frames | n | MRE, px | AoP error, deg |", "| --- | ---: | --- | --- |"]
    for words, mask in (("kept", kept), ("dropped", ~kept)):
        part = judged.part(mask)
        means = [str(group_bootstrap(values, part.groups, draws=2000)) for values in (part.mre, part.aop)]
        lines.append(f"| {words} | {mask.sum()} | {means[0]} | {means[1]} |")
    return lines


def risk_table(judged: Judged, names: Sequence[str]) -> list[str]:
    """Mean error of the most trusted share of the frames."""
    heads = " | ".join(f"{coverage:.0%}" for coverage in COVERAGES)
    lines = [f"| most trusted share | {heads} | area |", f"| --- |{' ---: |' * (len(COVERAGES) + 1)}"]
    for name in names:
        for unit, errors in (("MRE, px", judged.mre), ("AoP error, deg", judged.aop)):
            curve = risk_coverage(judged.weights[name], errors)
            risks = " | ".join(f"{curve.at(coverage):.2f}" for coverage in COVERAGES)
            lines.append(f"| `{name}`: {unit} | {risks} | {curve.area:.2f} |")
    return lines


def page(judged: Judged, quantile: float, seed: int) -> str:
    """The whole report."""
    told = hold_out(judged.groups, 0.5, seed)
    half_a, half_b = judged.part(~told), judged.part(told)
    best = min(CONFIDENCES, key=lambda name: spearman(half_a.weights[name], half_a.mre))
    default = _correlation(half_b, DEFAULT, "mre")
    reached = default.interval is not None and default.value <= -0.3 and default.interval[1] < 0
    return "\n".join([
        f"{len(judged.mre)} frames with a prediction ({judged.missing} without), {len(np.unique(judged.groups))} "
        f"near-duplicate groups; half A {len(half_a.mre)} frames, half B {len(half_b.mre)}.",
        f"Best on half A: `{best}`. Default: `{DEFAULT}`: {_shown(default)} on half B; -0.3 with an interval below 0 "
        f"{'is reached' if reached else 'is NOT reached'}.",
        "", "Spearman correlation with the true error (the lower, the better; 95 % intervals over groups):",
        "", *correlation_table(judged, half_a, half_b),
        "", f"`{DEFAULT}`, the {quantile:.0%} of lowest weight dropped (half B):",
        "", *kept_and_dropped_table(half_b, DEFAULT, quantile),
        "", "Risk over coverage (half B):",
        "", *risk_table(half_b, [DEFAULT, "paper", "detection"]),
    ])  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/confidence_table.py --data psfhs --weights aop-fast",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--answers", default="unlabelled_answers.csv", metavar="FILE", help="true points, iugc")
    parser.add_argument("--weights", metavar="W", help="artefact, its name, run folder or checkpoint")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--drop", type=float, default=0.25, metavar="Q", help="share dropped in the kept/dropped table")
    parser.add_argument("--seed", type=int, default=0, help="of the noise and of the halves")
    given = parser.parse_args()
    try:
        frames = read_labels(resolve(given.answers, given.data), given.data)
        if not frames:
            raise UsageError(f"{given.answers}: expected frames with true points, found none")
        judged = judge_all(load_weights(given.weights, "aop", threads=1), frames, given.draws, given.seed)
        print(page(judged, given.drop, given.seed))
    except AopPoseError as error:
        print(f"confidence_table: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
