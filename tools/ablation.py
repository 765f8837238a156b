"""What the ablation tools share: arms, errors on the measured frames, committed JSONs, paired tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.label import Label
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import near_duplicate_groups
from aop_pose.geometry import angle_of_progression
from aop_pose.io.files import replacing
from aop_pose.io.images import read_frame
from aop_pose.pipelines import load_weights
from aop_pose.stats.bootstrap import sign_flip_test
from lib.means import group_bootstrap

SCALE = 512
STARTS = ("coco", "scratch")
MISSING_DEG = 180.0
"""Angle error of a frame without a prediction; no measured one reaches it."""

Results = dict[tuple[str, str], dict[int, dict[str, Any]]]
"""(arm, start) -> seed -> what its JSON says."""


@attrs.frozen
class Arm:
    """One training to do."""

    name: str
    start: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.start}-{self.seed}"

    @property
    def file(self) -> str:
        return f"{self.folder}.json"


def train_missing(arms: Iterable[Arm], results: Path, run_arm: Callable[[Arm], dict[str, Any]]) -> None:
    """Run every arm that has no JSON in ``results`` yet and write it there when it is finished."""
    for arm in arms:
        if not (results / arm.file).exists():
            print(f"== {arm.file}", flush=True)
            write_result(results / arm.file, run_arm(arm))


def train_all(wanted: Iterable[Arm], results: Path, run_arm: Callable[[Arm], dict[str, Any]]) -> None:
    """As ``train_missing``, but an arm whose training breaks off is said and left out: the others go on."""
    for arm in wanted:
        try:
            train_missing([arm], results, run_arm)
        except UsageError:
            raise
        except AopPoseError as error:
            print(f"{arm.folder}: {error}", file=sys.stderr)


def write_result(file: Path, result: Mapping[str, Any]) -> None:
    """The JSON of an arm; it appears when it is complete."""
    with replacing(file) as part:
        part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def read_results(*folders: Path) -> Results:
    """The finished arms of the folders; of two of the same name the later folder's."""
    found: Results = {}
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            one = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault((one["arm"], one["start"]), {})[one["seed"]] = one
    return found


def result_of(
    arm: Arm, stages: Mapping[str, Mapping[str, Any]], errors: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """What the JSON of an arm says: of each stage's run.json what tells how it was made, and the errors."""
    always = ("start", "config", "wall_seconds", "versions", "git_commit", "machine", "best")
    sometimes = ("segmenter", "left_out", "tensors_transferred", "precision", "collapse")
    kept = {
        stage: {key: value[key] for key in always} | {key: value[key] for key in sometimes if key in value}
        for stage, value in stages.items()
    }
    return {"arm": arm.name, "start": arm.start, "seed": arm.seed, "scale": SCALE, **kept, "errors": errors}


def measure(run: Path, data: Path) -> dict[str, list[float]]:
    """File name -> mean radial error (512 scale) and absolute AoP error; the diagonal and 180 for a missing frame."""
    predictor = load_weights(str(run))
    errors = {}
    for frame in read_labels(data / "val.csv", data):
        found = predictor.find([read_frame(frame.path).pixels])[0]
        factor = SCALE / max(frame.width, frame.height)
        if found.keypoints is None:
            errors[frame.name] = [float(np.hypot(frame.width, frame.height)) * factor, MISSING_DEG]
            continue
        truth, points = frame.keypoints.coords, found.keypoints.coords
        radial = float(np.linalg.norm(points - truth, axis=1).mean()) * factor
        angle = abs(float(angle_of_progression(*points) - angle_of_progression(*truth)))
        errors[frame.name] = [round(radial, 4), round(angle, 4)]
    return errors


@attrs.frozen(eq=False)
class Measured:
    """The frames that arms are compared on, and their near-duplicate groups."""

    frames: Sequence[Label]
    groups: np.ndarray

    @classmethod
    def of(cls, data: Path) -> Measured:
        frames = read_labels(data / "val.csv", data)
        return cls(frames, near_duplicate_groups([frame.path for frame in frames]))

    def errors(self, runs: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """(frames, 2): MRE and AoP error of each frame, mean over the runs."""
        return np.mean([[run["errors"][frame.name] for frame in self.frames] for run in runs], axis=0)

    def means(self, runs: Mapping[int, Mapping[str, Any]]) -> list[str]:
        """Two cells: mean MRE and AoP error with their intervals."""
        errors = self.errors(runs.values())
        return [str(group_bootstrap(errors[:, i], self.groups)) for i in range(2)]

    def each(self, runs: Mapping[int, Mapping[str, Any]]) -> list[str]:
        """Two cells: mean MRE and AoP error of each seed."""
        means = np.array([self.errors([runs[seed]]).mean(axis=0) for seed in sorted(runs)])
        return [", ".join(f"{value:.1f}" for value in column) for column in means.T]

    def paired(self, runs: Mapping[int, Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]) -> list[str]:
        """Four cells: difference in MRE and p, difference in AoP error and p, over the seeds that both have."""
        shared = sorted(runs.keys() & base.keys())
        if not shared or runs is base:
            return ["", "", "", ""]
        gap = self.errors(runs[seed] for seed in shared) - self.errors(base[seed] for seed in shared)
        cells = []
        for i in range(2):
            p = sign_flip_test(gap[:, i], self.groups)
            cells += [str(group_bootstrap(gap[:, i], self.groups)), "< 0.001" if p < 0.001 else f"{p:.3f}"]
        return cells


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that every ablation tool has, beside ``--data``."""
    parser.add_argument("--coco", type=Path, help="COCO-pretrained yolo11n-pose checkpoint")
    parser.add_argument("--segmenter", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pose-epochs", type=int, default=30)
    parser.add_argument("--box-epochs", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    parser.add_argument("--table", action="store_true", help="only print the table of finished arms")


def add_arm_options(parser: argparse.ArgumentParser, name: str, arms: Iterable[str]) -> None:
    """Options of a tool with one start, whose arms are named by letters."""
    parser.add_argument("--data", type=Path, help="psfhs folder: label files, unlabelled.txt, images/, masks/")
    parser.add_argument("--coco", type=Path, help="COCO-pretrained yolo11n-pose checkpoint")
    parser.add_argument("--arms", nargs="+", choices=arms, default=list(arms), help="arms to train (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / name)
    parser.add_argument("--runs", type=Path, default=Path(f"runs/ablation_{name}"), help="scratch folder")
    parser.add_argument("--table", action="store_true", help="only print the table of finished arms")
    parser.add_argument("--dry", action="store_true", help="rehearse every arm on a few phantoms, one epoch each")


def carry_out(
    options: argparse.Namespace,
    arms: Callable[[Sequence[str], int], Iterable[Arm]],
    run_arm: Callable[..., dict[str, Any]],
    table: Callable[[argparse.Namespace], str],
    rehearse: Callable[[argparse.Namespace], None],
) -> None:
    """The work of a tool with ``add_arm_options``: train what is missing and print the table; rehearsed if asked."""
    if options.dry:
        rehearse(options)
    elif options.data is None:
        raise UsageError("--data: expected the psfhs folder, found none")
    if not options.table:
        options.results.mkdir(parents=True, exist_ok=True)
        train_missing(arms(options.arms, options.seeds), options.results, partial(run_arm, options=options))
    print(table(options))


def guarded(tool: str, work: Callable[[], None]) -> int:
    """Run ``work``; an expected error becomes one line and its exit code."""
    try:
        work()
    except AopPoseError as error:
        print(f"{tool}: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
