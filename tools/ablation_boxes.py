"""Does detection pre-training help? Pose training with and without it (Li et al., Table 1, models A and B), paired.

Arms: A = pose training alone; B = the same after pre-training on boxes from a segmenter; U = the same after
pre-training on boxes from the masks (upper bound); X = A with the segmenter's boxes as further classes beside the
points (equation 11), without pre-training; M = B with the paper's squared box term (equation 10) in pre-training.
Data, pose box, seeds, pose epochs and image size are the same in all arms; the last epoch is kept, and nothing is
chosen on the frames that are measured. Each finished arm is one JSON in --results, so that an interrupted table goes
on where it stopped; --table prints it from what is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import AopPoseError
from aop_pose.evaluation.bootstrap import group_bootstrap, sign_flip_test
from aop_pose.formats.iugc import read_iugc
from aop_pose.formats.labels import BoxedFrame, MaskedFrame
from aop_pose.formats.masks import boxes_from_mask
from aop_pose.formats.split import near_duplicate_groups
from aop_pose.formats.yolo import write_yolo_detect
from aop_pose.geometry import angle_of_progression
from aop_pose.io.atomic import replacing
from aop_pose.io.read import read_frame
from aop_pose.pipelines import load_weights, pipeline
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.yolo.isolation import isolate
from aop_pose.pipelines.yolo.pretrain import choose_segmenter

ARMS = {
    "A": "pose alone",
    "B": "boxes from strokes first",
    "U": "boxes from masks first",
    "X": "boxes from strokes beside the points",
    "M": "as B with squared box differences (equation 10)",
}
SCALE = 512


@attrs.frozen
class Arm:
    """One training to do."""

    name: str
    start: str
    seed: int

    @property
    def file(self) -> str:
        return f"{self.name}-{self.start}-{self.seed}.json"


def arms(seeds: int) -> Iterator[Arm]:
    """The question first (A and B, seed by seed), then the arms beside it: what is not finished is still paired."""
    for names in (("A", "B"), tuple(name for name in ARMS if name not in "AB")):
        for seed in range(seeds):
            for start in ("scratch", "coco"):
                yield from (Arm(name, start, seed) for name in names)


def run_arm(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and measure it on val.csv."""
    yolo, folder = pipeline("yolo"), options.runs / arm.file.removesuffix(".json")
    shutil.rmtree(folder, ignore_errors=True)
    init = str(options.coco) if arm.start == "coco" else "scratch"
    common = {"labels": "labelled.csv", "preset": "fast", "seed": arm.seed, "say": print}
    record: dict[str, Any] = {}
    if arm.name in ("B", "U", "M"):
        changes = ["holdout=0.1", f"epochs={options.box_epochs}"]
        changes += ["box_loss=mse"] if arm.name == "M" else []
        job = Job(options.data, folder / "boxes", init=init, changes=changes, **common)
        boxes = mask_boxes(options) if arm.name == "U" else None
        record["pretrain"] = yolo.pretrain(job, segmenter=options.segmenter, boxes=boxes)
        init = str(folder / "boxes")
    changes = ["holdout=0", f"epochs={options.pose_epochs}"]
    job = Job(options.data, folder / "pose", init=init, changes=changes, **common)
    record["train"] = yolo.train(job, boxes=stroke_boxes(options) if arm.name == "X" else None)
    if arm.name == "X":
        record["train"]["segmenter"] = options.segmenter
    errors = measure(folder / "pose", options.data)
    kept = {
        stage: {
            key: value[key] for key in ("start", "config", "wall_seconds", "versions", "git_commit", "machine", "best")
        }
        | {key: value[key] for key in ("segmenter", "left_out", "tensors_transferred", "precision") if key in value}
        for stage, value in record.items()
    }
    return {"arm": arm.name, "start": arm.start, "seed": arm.seed, "scale": SCALE, **kept, "errors": errors}


def measure(run: Path, data: Path) -> dict[str, list[float]]:
    """File name -> mean radial error (512 scale) and absolute AoP error; the diagonal and 180 for a missing frame."""
    predictor = load_weights(str(run))
    errors = {}
    for frame in read_iugc(data / "val.csv", data):
        found = predictor.find([read_frame(frame.path).pixels])[0]
        factor = SCALE / max(frame.width, frame.height)
        if found.keypoints is None:
            errors[frame.filename] = [float(np.hypot(frame.width, frame.height)) * factor, 180.0]
            continue
        truth, points = frame.keypoints.coords, found.keypoints.coords
        radial = float(np.linalg.norm(points - truth, axis=1).mean()) * factor
        angle = abs(float(angle_of_progression(*points) - angle_of_progression(*truth)))
        errors[frame.filename] = [round(radial, 4), round(angle, 4)]
    return errors


def stroke_boxes(options: argparse.Namespace) -> Path:
    """A YOLO detection folder with the segmenter's boxes of the labelled frames."""
    isolate()
    from aop_pose.pipelines.yolo.boxes import write_boxes

    folder = options.runs / f"stroke-boxes-{options.segmenter}"
    if not folder.is_dir():
        chosen = choose_segmenter(options.segmenter)
        print(chosen.why)
        frames = read_iugc(options.data / "labelled.csv", options.data)
        write_boxes(frames, chosen.segmenter, folder, holdout=0, seed=0)
    return folder


def mask_boxes(options: argparse.Namespace) -> Path:
    """A YOLO detection folder with the boxes of the labelled frames' masks."""
    folder = options.runs / "mask-boxes"
    if not folder.is_dir():
        frames = [
            boxes_from_mask(MaskedFrame(frame.filename, frame.path, options.data / "masks" / frame.filename))
            for frame in read_iugc(options.data / "labelled.csv", options.data)
        ]
        whole = [frame for frame in frames if isinstance(frame, BoxedFrame) and len(frame.classes) == 2]
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        write_yolo_detect(whole, [], part)
        part.rename(folder)
    return folder


def table(options: argparse.Namespace) -> str:
    """Markdown: per start and arm, the mean over seeds with an interval by near-duplicate group, paired with A."""
    done = {path.name: json.loads(path.read_text()) for path in sorted(options.results.glob("*.json"))}
    frames = read_iugc(options.data / "val.csv", options.data)
    groups = near_duplicate_groups([frame.path for frame in frames])
    lines = [
        "| start | arm | seeds | MRE (512 px) | AoP MAE (deg) | MRE - A | p | AoP - A | p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for start in ("coco", "scratch"):
        for name, words in ARMS.items():
            runs = {one["seed"]: one for one in done.values() if (one["arm"], one["start"]) == (name, start)}
            if not runs:
                continue
            errors = mean_errors(list(runs.values()), frames)
            cells = [str(group_bootstrap(errors[:, i], groups)) for i in range(2)]
            base = {one["seed"]: one for one in done.values() if (one["arm"], one["start"]) == ("A", start)}
            shared = sorted(runs.keys() & base.keys())
            if name == "A" or not shared:
                paired = ["", "", "", ""]
            else:
                ours = mean_errors([runs[seed] for seed in shared], frames)
                gap = ours - mean_errors([base[seed] for seed in shared], frames)
                paired = []
                for i in range(2):
                    paired += [str(group_bootstrap(gap[:, i], groups)), f"{sign_flip_test(gap[:, i], groups):.3f}"]
            lines.append(f"| {start} | {name}: {words} | {len(runs)} | " + " | ".join(cells + paired) + " |")
    return "\n".join(lines)


def mean_errors(runs: list[dict[str, Any]], frames: list[Any]) -> np.ndarray:
    """(frames, 2): errors of each frame, mean over the runs."""
    return np.mean([[run["errors"][frame.filename] for frame in frames] for run in runs], axis=0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_boxes.py --data psfhs --coco yolo11n-pose.pt --seeds 3",
    )
    parser.add_argument("--data", type=Path, required=True, help="psfhs folder: labelled.csv, val.csv, images/, masks/")
    parser.add_argument("--coco", type=Path, help="COCO-pretrained yolo11n-pose checkpoint")
    parser.add_argument("--segmenter", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pose-epochs", type=int, default=30)
    parser.add_argument("--box-epochs", type=int, default=20)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "ablation_boxes")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation_boxes"), help="scratch folder")
    parser.add_argument("--table", action="store_true", help="only print the table of finished arms")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    options.runs.mkdir(parents=True, exist_ok=True)
    try:
        for arm in [] if options.table else arms(options.seeds):
            if not (options.results / arm.file).exists():
                print(f"== {arm.file}", flush=True)
                result = run_arm(arm, options)
                with replacing(options.results / arm.file) as part:
                    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(table(options))
    except AopPoseError as error:
        print(f"ablation_boxes: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
