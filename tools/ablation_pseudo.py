"""Do weighted pseudo-labels help? Stage two of Li et al. (Table 1, model C) against B and its controls, paired.

Every arm but F goes on from the pose network of B of the same seed and start (ablation_boxes.py: boxes from strokes,
then pose training), for the same number of further steps; each step takes as many frames:

C   pseudo-labels of B's network on unlabelled.txt, weighted by the default confidence; half of each batch labelled
D   as C, every weight 1
S   as D, without the quarter of least weight: the confidence chooses, and does not weigh
T   as C, the true answers in place of the pseudo-labels, every weight 1 (upper bound)
K   the labelled frames alone (what further steps do by themselves)
P   as C with the paper's confidence (equation 14) on the keypoint term alone
Q   as P with squared distances in place of OKS (equation 12)
Y   as C with the weights computed anew each epoch
MT  Mean Teacher on the same labelled and unlabelled frames (mean_teacher.py)
F   supervised on labelled frames and answers together, from B's pre-training on boxes; as many steps as B's pose
    training and C have together

The last epoch is kept, and nothing is chosen on the frames that are measured. A and B are the committed JSONs of
--first-results. The network of B is that of --first-runs where it is there; else it is trained again, which gives
the same network on the same machine, and stays there. Each finished arm is one JSON in --results, so that an
interrupted table goes on where it stopped; --table prints it from what is there. --dry runs every arm for one epoch
on a few phantoms (B for ten), into --runs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ablation_boxes
import attrs
from ablation import (
    MISSING_DEG,
    STARTS,
    Arm,
    Measured,
    Results,
    add_common_options,
    guarded,
    measure,
    read_results,
    result_of,
    train_missing,
    write_result,
)
from ablation_data import (
    ANSWERS,
    LABELLED,
    UNLABELLED,
    VAL,
    Budget,
    quality,
    write_answers,
    write_rehearsal,
)

from aop_pose.errors import UsageError
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.registry import read_labels
from aop_pose.pipelines import load_weights, pipeline
from aop_pose.pipelines.isolation import isolate
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import read_record
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, pseudo_label, unlabelled_frames

FIRST = ("A", "B")
ARMS = {
    "C": "weighted pseudo-labels",
    "K": "B with as many further steps on labels alone",
    "D": "C with every weight 1",
    "S": "D without the quarter of least weight",
    "T": "C with true answers (upper bound)",
    "F": "supervised on labels and answers together",
    "P": "C with the paper's confidence",
    "Q": "P with squared distances (equation 12)",
    "Y": "C with weights anew each epoch",
    "MT": "Mean Teacher",
}
DRY = ["image_size=64", "batch=4", "precision=fp32", "threshold=0.0", "lr0=0.005"]


def arms(chosen: Sequence[str], starts: Sequence[str], seeds: int) -> Iterator[Arm]:
    """The question first (C and K, seed by seed), then the arms beside it: what is not finished is still paired."""
    for names in (("C", "K"), tuple(name for name in ARMS if name not in "CK")):
        for seed in range(seeds):
            for start in starts:
                yield from (Arm(name, start, seed) for name in names if name in chosen)


def run_arm(arm: Arm, options: Namespace) -> dict[str, Any]:
    """Train one arm and measure it on val.csv."""
    folder = options.runs / arm.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first, budget = network_of_b(arm, options), budget_of(options)
    steps = 0

    def count(step: object) -> None:
        nonlocal steps
        steps += 1

    epochs = budget.epochs_of(arm.name)
    settings = [
        "holdout=0",
        f"batch={options.batch}",
        f"epochs={epochs}",
        f"warmup_epochs={budget.warmup(arm.name, options.warmup):g}",
    ]
    job = Job(
        options.data, folder / "pose", labels=LABELLED, init=str(first / "pose"), preset="fast", seed=arm.seed,
        changes=[*settings, *options.set], say=print, on_batch=count,
    )  # fmt: skip
    record = TRAIN[arm.name](job, folder, first, options)
    result = result_of(arm, {"train": record}, measure(folder / "pose", options.data))
    unlabelled = {"pseudo": quality(folder / "pseudo.csv", options.data)} if (folder / "pseudo.csv").exists() else {}
    return {**result, "steps": steps, **unlabelled}


Train = Callable[[Job, Path, Path, Namespace], dict[str, Any]]
"""(job, folder of the arm, folder of B's runs, options) -> what run.json says."""


def with_pseudo(*changes: str, rule: Rule | None = None, cut: Cut | None = None, dynamic: bool = False) -> Train:
    """Training on pseudo-labels of B's network."""

    def train(job: Job, folder: Path, first: Path, options: Namespace) -> dict[str, Any]:
        frames = unlabelled_frames(options.data, UNLABELLED, [LABELLED, VAL])
        pseudo_label(load_weights(str(first / "pose"), threads=1), frames, folder / "pseudo.csv", rule=rule, cut=cut)
        job = attrs.evolve(job, changes=[*changes, *job.changes])
        return pipeline("yolo").train(job, pseudo=folder / "pseudo.csv", dynamic=dynamic)

    return train


def with_answers(job: Job, folder: Path, first: Path, options: Namespace) -> dict[str, Any]:
    """The answers as pseudo-labels of weight 1."""
    write_answers(read_labels(options.data / ANSWERS, options.data), folder / "answers.csv")
    return pipeline("yolo").train(job, pseudo=folder / "answers.csv")


def labels_alone(job: Job, folder: Path, first: Path, options: Namespace) -> dict[str, Any]:
    return pipeline("yolo").train(job)


def supervised(job: Job, folder: Path, first: Path, options: Namespace) -> dict[str, Any]:
    """Labels and answers as labels, from B's boxes."""
    frames = [frame for file in (LABELLED, ANSWERS) for frame in read_labels(options.data / file, options.data)]
    IUGC.write_table(frames, folder / "all.csv")
    return pipeline("yolo").train(attrs.evolve(job, labels=str(folder / "all.csv"), init=str(first / "boxes")))


def mean_teacher(job: Job, folder: Path, first: Path, options: Namespace) -> dict[str, Any]:
    isolate()
    import mean_teacher

    return mean_teacher.train(job, UNLABELLED)


TRAIN: dict[str, Train] = {
    "C": with_pseudo(),
    "K": labels_alone,
    "D": with_pseudo(cut=Cut(uniform=True)),
    "S": with_pseudo(cut=Cut(quantile=0.25, uniform=True)),
    "T": with_answers,
    "F": supervised,
    "P": with_pseudo("weighted_terms=points", rule=Rule(confidence="paper")),
    "Q": with_pseudo("weighted_terms=points", "keypoint_loss=mse", rule=Rule(confidence="paper")),
    "Y": with_pseudo(dynamic=True),
    "MT": mean_teacher,
}


def budget_of(options: Namespace) -> Budget:
    labelled, answers = (len(read_labels(options.data / file, options.data)) for file in (LABELLED, ANSWERS))
    return Budget(labelled, answers, options.batch, options.pose_epochs, options.epochs)


def network_of_b(arm: Arm, options: Namespace) -> Path:
    """The folder of B's runs (``boxes/``, ``pose/``) of the arm's seed and start, trained again where it is absent."""
    wanted = Arm("B", arm.start, arm.seed)
    folder = options.first_runs / wanted.folder
    if (folder / "pose" / "run.json").is_file() and read_record(folder / "pose").get("finished"):
        return folder
    print(f"== B's network: training {folder}", flush=True)
    result = ablation_boxes.run_arm(wanted, Namespace(**{**vars(options), "runs": options.first_runs}))
    committed = read_results(options.first_results).get(("B", arm.start), {}).get(arm.seed)
    if committed is None:
        write_result(options.first_results / wanted.file, result)
    else:
        same = result["errors"] == committed["errors"]
        print(f"B's errors {'equal' if same else 'DIFFER from'} those of {options.first_results / wanted.file}")
    return folder


def table(options: Namespace) -> str:
    """Markdown: each arm, mean over seeds with an interval by near-duplicate group; then paired with --against."""
    first = {key: runs for key, runs in read_results(options.first_results).items() if key[0] in FIRST}
    done, measured = {**first, **read_results(options.results)}, Measured.of(options.data)
    return "\n".join([*means_table(done, measured), "", *paired_table(done, measured, options.against)])


def rows_of(done: Results) -> Iterator[tuple[str, str, str, dict[int, dict[str, Any]]]]:
    """Start, name and words of each arm that has runs, and the runs by seed."""
    words = {**{name: ablation_boxes.ARMS[name] for name in FIRST}, **ARMS}
    for start in STARTS:
        for name, text in words.items():
            if runs := done.get((name, start)):
                yield start, name, f"{name}: {text}", runs


def means_table(done: Results, measured: Measured) -> list[str]:
    lines = [
        "| start | arm | further steps | MRE (512 px) | each seed | AoP MAE (deg) | each seed | missing |",
        "| --- | --- | ---: | --- | --- | --- | --- | ---: |",
    ]
    for start, _, words, runs in rows_of(done):
        ordered = [runs[seed] for seed in sorted(runs)]
        mre, aop = measured.means(runs)
        mre_each, aop_each = measured.each(runs)
        missing = sum(error[1] == MISSING_DEG for run in ordered for error in run["errors"].values())
        cells = [
            start, words, str(ordered[0].get("steps", "")), mre, mre_each, aop, aop_each,
            f"{missing / len(ordered):.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def paired_table(done: Results, measured: Measured, against: Sequence[str]) -> list[str]:
    head = [cell for base in against for cell in (f"MRE - {base}", "p", f"AoP - {base}", "p")]
    lines = [f"| start | arm | {' | '.join(head)} |", "| --- " * (2 + len(head)) + "|"]
    for start, name, words, runs in rows_of(done):
        if name not in FIRST:
            cells = [cell for base in against for cell in measured.paired(runs, done.get((base, start), {}))]
            lines.append(f"| {start} | {words} | {' | '.join(cells)} |")
    return lines


def rehearse(options: Namespace) -> None:
    """Turn the options into those of a rehearsal: phantoms for data, one epoch, one seed, nothing committed."""
    place = options.runs / "dry"
    options.data = place / "data"
    if not options.data.is_dir():
        write_rehearsal(options.data)
    options.runs, options.first_runs = place / "runs", place / "first-runs"
    options.results, options.first_results = place / "results", place / "first-results"
    options.seeds, options.starts, options.segmenter = 1, ["scratch"], "geometry"
    # B learns for longer than an epoch: a network whose points leave the picture gives no pseudo-label.
    options.box_epochs, options.pose_epochs, options.epochs, options.warmup = 1, 10, 1, 0
    options.batch, options.set = 4, [*DRY, *options.set]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_pseudo.py --data psfhs --coco yolo11n-pose.pt --segmenter scribble-unet",
    )
    parser.add_argument("--data", type=Path, help="psfhs folder: label files, unlabelled.txt, images/")
    add_common_options(parser)
    results = Path(__file__).parent / "results"
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="arms to train (default: all)")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--epochs", type=int, default=15, help="of C: passes over the labelled frames")
    parser.add_argument("--warmup", type=float, default=3.0, help="epochs of C (other arms: as many steps)")
    parser.add_argument("--batch", type=int, default=16, help="frames of a step")
    parser.add_argument("--results", type=Path, default=results / "ablation_pseudo")
    parser.add_argument("--first-results", type=Path, default=results / "ablation_boxes", help="JSONs of A and B")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation_pseudo"), help="scratch folder")
    parser.add_argument("--first-runs", type=Path, default=Path("runs/ablation_boxes"), help="where B's networks are")
    parser.add_argument(
        "--against", nargs="+", choices=[*FIRST, *ARMS], default=["B", "K"], help="arms to pair the others with"
    )
    parser.add_argument("--dry", action="store_true", help="rehearse every arm on a few phantoms, one epoch each")
    options = parser.parse_args()

    def work() -> None:
        if options.dry:
            rehearse(options)
        elif options.data is None:
            raise UsageError("--data: expected the psfhs folder, found none")
        if "coco" in options.starts and options.coco is None and not options.table:
            raise UsageError("--coco: expected the checkpoint of the coco start, found none; or --starts scratch")
        wanted = [] if options.table else arms(options.arms, options.starts, options.seeds)
        train_missing(wanted, options.results, partial(run_arm, options=options))
        print(table(options))

    return guarded("ablation_pseudo", work)


if __name__ == "__main__":
    sys.exit(main())
