"""Does detection pre-training help? Pose training with and without it (Li et al., Table 1, models A and B), paired.

Arms: A = pose training alone; B = the same after pre-training on boxes from a segmenter; U = the same after
pre-training on boxes from the masks (upper bound); X = A with the segmenter's boxes as further classes beside the
points (equation 11), without pre-training; M = B with the paper's squared box term (equation 10) in pre-training; P =
A with the epochs of B's pre-training added. Data, pose box, seeds, pose epochs (but for P) and image size are the same
in all arms; the last epoch is kept, and nothing is chosen on the frames that are measured. Each finished arm is one
JSON in --results, so that an interrupted table goes on where it stopped; --table prints it from what is there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from ablation import STARTS, Arm, Measured, add_common_options, guarded, measure, read_results, result_of, train_missing

from aop_pose.formats.label import Label, Mask
from aop_pose.formats.masks import boxes_from_mask
from aop_pose.formats.registry import read_labels
from aop_pose.formats.yolo import write_yolo_detect
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.isolation import isolate
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.yolo.stages import choose_segmenter

ARMS = {
    "A": "pose alone",
    "B": "boxes from strokes first",
    "U": "boxes from masks first",
    "X": "boxes from strokes beside the points",
    "M": "as B with squared box differences (equation 10)",
    "P": "pose alone for as many epochs as B has in all",
}


def arms(chosen: str, seeds: int) -> Iterator[Arm]:
    """The question first (A and B, seed by seed), then the arms beside it: what is not finished is still paired."""
    for names in (("A", "B"), tuple(name for name in ARMS if name not in "AB")):
        for seed in range(seeds):
            for start in ("scratch", "coco"):
                yield from (Arm(name, start, seed) for name in names if name in chosen)


def run_arm(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and measure it on val.csv; ``options.set`` changes the settings of every stage."""
    yolo, folder = pipeline("yolo"), options.runs / arm.folder
    shutil.rmtree(folder, ignore_errors=True)
    init = str(options.coco) if arm.start == "coco" else "scratch"
    common = {"preset": "fast", "seed": arm.seed, "say": print}
    labels = "labelled.csv"
    record: dict[str, Any] = {}
    if arm.name in ("B", "U", "M"):
        changes = ["holdout=0.1", f"epochs={options.box_epochs}", *options.set]
        changes += ["box_loss=mse"] if arm.name == "M" else []
        changes = yolo.useful("pretrain", changes)
        job = Job(options.data, folder / "boxes", init=init, changes=changes, **common)
        if arm.name == "U":
            record["pretrain"] = yolo.pretrain(job, boxes=mask_boxes(options))
        else:
            record["pretrain"] = yolo.pretrain(attrs.evolve(job, labels=labels), segmenter=options.segmenter)
        init = str(folder / "boxes")
    epochs = options.pose_epochs + (options.box_epochs if arm.name == "P" else 0)
    changes = yolo.useful("train", ["holdout=0", f"epochs={epochs}", *options.set])
    job = Job(options.data, folder / "pose", labels=labels, init=init, changes=changes, **common)
    record["train"] = yolo.train(job, boxes=stroke_boxes(options) if arm.name == "X" else None)
    if arm.name == "X":
        record["train"]["segmenter"] = options.segmenter
    return result_of(arm, record, measure(folder / "pose", options.data))


def stroke_boxes(options: argparse.Namespace) -> Path:
    """A YOLO detection folder with the segmenter's boxes of the labelled frames."""
    isolate()
    from aop_pose.pipelines.yolo.boxes import write_boxes

    folder = options.runs / f"stroke-boxes-{options.segmenter}"
    if not folder.is_dir():
        chosen = choose_segmenter(options.segmenter)
        print(chosen.why)
        frames = read_labels(options.data / "labelled.csv", options.data)
        write_boxes(frames, chosen.segmenter, folder, holdout=0, seed=0)
    return folder


def mask_boxes(options: argparse.Namespace) -> Path:
    """A YOLO detection folder with the boxes of the labelled frames' masks."""
    folder = options.runs / "mask-boxes"
    if not folder.is_dir():
        frames = [
            boxes_from_mask(Label(frame.name, frame.path, mask=Mask(options.data / "masks" / frame.name)))
            for frame in read_labels(options.data / "labelled.csv", options.data)
        ]
        whole = [frame for frame in frames if isinstance(frame, Label) and len(frame.boxes.classes) == 2]
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        write_yolo_detect(whole, [], part)
        part.rename(folder)
    return folder


def table(options: argparse.Namespace) -> str:
    """Markdown: per start and arm, the mean over seeds with an interval by near-duplicate group, paired with A."""
    done, measured = read_results(options.results), Measured.of(options.data)
    lines = [
        "| start | arm | seeds | MRE (512 px) | AoP MAE (deg) | MRE - A | p | AoP - A | p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for start in STARTS:
        for name, words in ARMS.items():
            if runs := done.get((name, start)):
                cells = measured.means(runs) + measured.paired(runs, done.get(("A", start), {}))
                lines.append(f"| {start} | {name}: {words} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_boxes.py --data psfhs --coco yolo11n-pose.pt --seeds 3",
    )
    parser.add_argument("--data", type=Path, required=True, help="psfhs folder: labelled.csv, val.csv, images/, masks/")
    add_common_options(parser)
    parser.add_argument("--arms", default="".join(ARMS), help="letters of the arms to train (default: all)")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "ablation_boxes")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation_boxes"), help="scratch folder")
    options = parser.parse_args()

    def work() -> None:
        options.runs.mkdir(parents=True, exist_ok=True)
        wanted = [] if options.table else arms(options.arms, options.seeds)
        train_missing(wanted, options.results, partial(run_arm, options=options))
        print(table(options))

    return guarded("ablation_boxes", work)


if __name__ == "__main__":
    sys.exit(main())
