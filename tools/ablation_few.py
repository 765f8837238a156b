"""What brings the heatmap head from 300 labels nearer to 926? Pseudo-labels of several networks, part by part.

Every arm but L and R goes on from the network of L of the same seed, for the same number of further steps of as many
frames:

L   the labels alone, with phantoms: the teachers, a network a seed
K   L with as many further steps on labels and phantoms
P   pseudo-labels by L's own network in one view, each point of weight 1; half of each batch has labels
W   the whole: the robust mean of L's networks of all --seeds, each in seven views, every point by its spread
U   W with every weight 1
V   W in one view of each network
E   W by L's own network alone, in seven views
T   W with the true answers in place of the pseudo-labels, every weight 1 (upper bound)
M   L with the recipe semi: two views of each unlabelled frame shall agree (a mean teacher), no pseudo-labels
R   a second round: on from W of the same seed, with labels by W's networks of all seeds; twice the further steps of W

The last epoch is kept, and nothing is chosen on val.csv. A finished training in --runs is passed over and measured, one
that was interrupted goes on; each finished arm is one JSON in --results; --table prints them. --dry rehearses every arm
on a few phantoms.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from ablation import Arm, Measured, add_arm_options, carry_out, guarded, measure, read_results, result_of
from ablation_data import ANSWERS, LABELLED, UNLABELLED, VAL, quality, rehearsal_of, write_answers

from aop_pose.errors import UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.pipelines import load_weights, pipeline
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import Pipeline
from aop_pose.pipelines.run import RECORD, read_record
from aop_pose.pipelines.unet.config import SEMI
from aop_pose.pseudo.ensemble import VIEWS, Ensemble
from aop_pose.pseudo.run import Cut, document_of, pseudo_label, unlabelled_frames

START = "coco"
ARMS = {
    "L": "labels alone (teachers)",
    "K": "L with as many further steps on labels alone",
    "P": "L with its own pseudo-labels, one view",
    "W": "L with pseudo-labels of all networks and views, by spread",
    "U": "W with every weight 1",
    "V": "W in one view of each network",
    "E": "W by L's own network alone",
    "T": "W with true answers (upper bound)",
    "M": "L with two views of each frame that shall agree (semi)",
    "R": "on from W, labelled again by W's networks",
}
DRY = ["image_size=64", "batch=4", "precision=fp32", "threshold=0.0", "widths=[8]"]


@attrs.frozen
class Teaching:
    """The labels of an arm's unlabelled frames."""

    networks: str = "all"
    """``all`` seeds' networks of L, or the ``own`` one."""
    views: int = len(VIEWS)
    uniform: bool = False
    arm: str = "L"
    """Whose networks they are, and where the arm's own training begins."""


TEACHING = {
    "P": Teaching("own", 1, uniform=True),
    "W": Teaching(),
    "U": Teaching(uniform=True),
    "V": Teaching(views=1),
    "E": Teaching("own"),
    "R": Teaching(arm="W"),
}


def arms(chosen: Sequence[str], seeds: int) -> Iterator[Arm]:
    """L of every seed first, which the others need; then the question (W, R), control and bound; then the parts."""
    for names in (("L",), ("W",), ("R",), ("K", "T"), ("P", "U", "V", "E", "M")):
        for seed in range(seeds):
            # Parts are left out in one seed.
            if seed == 0 or "P" not in names:
                yield from (Arm(name, START, seed) for name in names if name in chosen)


def run_arm(arm: Arm, options: Namespace) -> dict[str, Any]:
    """Train one arm and measure it on val.csv."""
    folder = options.runs / arm.folder
    folder.mkdir(parents=True, exist_ok=True)
    epochs = options.teacher_epochs if arm.name == "L" else options.epochs
    changes = ["holdout=0", f"epochs={epochs}", f"phantoms={options.phantoms if arm.name in 'LK' else 0}"]
    changes += [] if arm.name == "L" else ["warmup_epochs=2"]
    before = TEACHING.get(arm.name, Teaching()).arm
    init = str(options.coco or "scratch") if arm.name == "L" else str(network_of(before, arm.seed, options))
    job = Job(
        options.data, folder / "run", labels=LABELLED, init=init, preset="best", seed=arm.seed,
        changes=[*changes, *options.set], say=print,
    )  # fmt: skip
    given: dict[str, Any] = {}
    if arm.name == "T":
        write_answers(read_labels(options.data / ANSWERS, options.data), folder / "answers.csv")
        given = {"pseudo": folder / "answers.csv"}
    elif arm.name == "M":
        given = {"recipe": SEMI, "frames": UNLABELLED}
    elif arm.name in TEACHING:
        given = {"pseudo": table_of(arm, folder, options)}
    record = trained(job, given)
    result = result_of(arm, {"train": record}, measure(job.out, options.data))
    judged = {"pseudo": quality(given["pseudo"], options.data)} if arm.name in TEACHING else {}
    return {**result, **judged}


def network_of(name: str, seed: int, options: Namespace) -> Path:
    """An arm's run folder of a seed; UsageError where it is not there yet."""
    folder = options.runs / Arm(name, START, seed).folder / "run"
    if not (folder / RECORD).is_file():
        raise UsageError(f"{folder}: expected the network of {name} of seed {seed}, found none; train that arm first")
    return folder


def table_of(arm: Arm, folder: Path, options: Namespace) -> Path:
    """The arm's pseudo-labels; of all networks one table serves every seed."""
    teaching = TEACHING[arm.name]
    shared = teaching.networks == "all"
    out = (options.runs if shared else folder) / f"pseudo-{arm.name}.csv"
    if not document_of(out):
        seeds = range(options.seeds) if shared else [arm.seed]
        networks = [load_weights(str(network_of(teaching.arm, seed, options)), "aop", threads=1) for seed in seeds]
        frames = unlabelled_frames(options.data, UNLABELLED, [LABELLED, VAL])
        ensemble = Ensemble(tuple(networks), teaching.views)
        pseudo_label(ensemble, frames, out, cut=Cut(uniform=teaching.uniform), overwrite=True)
    return out


def trained(job: Job, given: dict[str, Any], by: Pipeline | None = None) -> dict[str, Any]:
    """run.json of a training: of the one in its folder where that is finished, else of one that goes on or begins.

    ``by``: the pipeline that trains, where it is not the U-Net's.
    """
    begun = (job.out / RECORD).is_file()
    if begun and read_record(job.out).get("finished"):
        return read_record(job.out)
    if not begun:
        shutil.rmtree(job.out, ignore_errors=True)
    return (by or pipeline("unet")).train(attrs.evolve(job, resume=begun), **given)


def table(options: Namespace) -> str:
    """Markdown: each arm, its means with intervals by near-duplicate group, and the paired difference to L and K."""
    done, measured = read_results(options.results), Measured.of(options.data)
    lines = [
        "| arm | epochs | labels of the 626 | MRE (512 px) | each seed | AoP MAE (deg) | each seed "
        "| MRE - K | p | AoP - K | p |",
        f"|{' --- |' * 11}",
    ]
    control = done.get(("K", START), {})
    for name, words in ARMS.items():
        runs = done.get((name, START), {})
        if not runs:
            lines.append(f"| {name}: {words} | not run | | | | | | | | | |")
            continue
        ordered = [runs[seed] for seed in sorted(runs)]
        mre, aop = measured.means(runs)
        mre_each, aop_each = measured.each(runs)
        epochs = ", ".join(str(run["train"]["config"]["epochs"]) for run in ordered)
        taught = ", ".join(sorted({_quality(run) for run in ordered}))
        gaps = " | ".join(measured.paired(runs, control))
        lines.append(f"| {name}: {words} | {epochs} | {taught} | {mre} | {mre_each} | {aop} | {aop_each} | {gaps} |")
    return "\n".join(lines)


def _quality(run: dict[str, Any]) -> str:
    found = run.get("pseudo")
    return f"{found['mre_px']:.1f} px, {found['aop_mae_deg']:.1f}°" if found else ""


def rehearse(options: Namespace) -> None:
    """Turn the options into those of a rehearsal: phantoms for data, one epoch, nothing committed."""
    rehearsal_of(options)
    options.seeds, options.teacher_epochs, options.epochs, options.phantoms = min(options.seeds, 2), 1, 1, 2
    options.set = [*DRY, *options.set]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_few.py --data psfhs --coco yolo11n-pose.pt",
    )
    add_arm_options(parser, "few", ARMS)
    parser.add_argument("--teacher-epochs", type=int, default=40, help="of L, on labels and phantoms")
    parser.add_argument("--epochs", type=int, default=32, help="of every other arm, on as many frames")
    parser.add_argument("--phantoms", type=int, default=300, help="of L and K")
    options = parser.parse_args(arguments)
    return guarded("ablation_few", partial(carry_out, options, arms, run_arm, table, rehearse))


if __name__ == "__main__":
    sys.exit(main())
