"""What helps the heatmap U-Net on a CPU? Heatmap or coordinates, the region map, augmentations, a masked start: paired.

Arms on schema aop: H = heatmaps, the preset fast without the triangle of the points; C = direct regression of
coordinates (head: coordinates); T = H with that triangle as a further map, the preset as it is; P = T without varied
contrast; M = H from masked autoencoding on the frames without labels; L = H for as many further epochs as show as many
frames as M's pre-training; no-KIND = H without that kind of augmentation; with-KIND = H with a kind that H does
without. On schema head: H = the preset head_fast; C as above; T = here H without the ellipse of the axes, which
head_fast has. Data, seeds, epochs and image size are the same in all arms of a schema (but for L; M's pre-training
comes on top); the last epoch is kept, and nothing is chosen on the frames that are measured. Figures of aop: MRE on
the 512 scale and AoP error in degrees; of head: MRE of the four ends up to a swap and the absolute difference of HC
(Ramanujan) to the expert's, both in mm. Each finished arm is one JSON in --results, so that an interrupted table goes
on where it stopped; --table prints it from what is there.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablation import Arm, Measured, guarded, measure, read_results, result_of, train_all

from aop_pose.core.measure import measure as measurements_of
from aop_pose.core.schemas import HEAD
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import align_interchangeable
from aop_pose.formats.csv_rows import read_list
from aop_pose.formats.head import OPTIONAL, millimetres
from aop_pose.formats.label import Label
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import groups_by_name, merge_groups, near_duplicate_groups
from aop_pose.io.images import read_frame
from aop_pose.pipelines import load_weights, pipeline
from aop_pose.pipelines.job import Job

OFF = ("degrees", "translate", "scale", "brightness", "contrast", "gamma", "speckle")
ON = {"shear": "shear=10", "flip": "flip=0.5", "flip_vertical": "flip_vertical=0.5", "blur": "blur=1"}
KINDS = {**{f"no-{kind}": [f"{kind}=0"] for kind in OFF}, **{f"with-{kind}": [value] for kind, value in ON.items()}}
BASE = {"aop": ["region=none"], "head": []}
ARMS: dict[str, dict[str, list[str]]] = {
    "aop": {
        "H": [],
        "C": ["head=coordinates"],
        "T": ["region=triangle"],
        "M": [],
        "L": [],
        **KINDS,
        "P": ["region=triangle", "contrast=0"],
    },
    "head": {"H": [], "C": ["head=coordinates", "region=none"], "T": ["region=none"]},
}
WORDS = {
    "H": "heatmaps", "C": "coordinates", "T": "region map switched (aop: on, head: off)", "P": "T without contrast",
    "M": "masked autoencoding first",
    "L": "heatmaps, as many frames longer as M's start saw",
}  # fmt: skip
PRESETS = {"aop": "fast", "head": "head_fast"}
UNITS = {"aop": ("MRE (512 px)", "AoP MAE (deg)"), "head": ("MRE (mm)", "HC MAD (mm)")}
PATIENT = r"^([0-9]+)_"


def arms(chosen: list[str], schemas: list[str], seeds: int) -> Iterator[Arm]:
    """Seed by seed, so that what is not finished is still paired."""
    for seed in range(seeds):
        for schema in schemas:
            yield from (Arm(name, schema, seed) for name in ARMS[schema] if name in chosen)


def run_arm(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and measure it; its ``start`` is the schema."""
    unet, folder = pipeline("unet"), options.runs / arm.folder
    shutil.rmtree(folder, ignore_errors=True)
    common = {"preset": PRESETS[arm.start], "seed": arm.seed, "say": print}
    changes = ["holdout=0", *BASE[arm.start], *ARMS[arm.start][arm.name], *options.set]
    record: dict[str, Any] = {}
    data, labels, init, epochs = options.head_data, str(options.head_labels), "scratch", options.epochs
    if arm.start == "aop":
        data, labels = options.data, "labelled.csv"
    if arm.name == "M":
        first = unet.useful("pretrain", [*changes, f"epochs={options.mask_epochs}"])
        job = Job(data, folder / "masked", init=init, changes=first, **common)
        record["pretrain"] = unet.pretrain(job, frames="unlabelled.txt")
        init = str(folder / "masked")
    if arm.name == "L":
        unlabelled, labelled = read_list(data / "unlabelled.txt"), read_labels(data / labels, data)
        epochs += round(options.mask_epochs * len(unlabelled) / len(labelled))
    changes = unet.useful("train", [*changes, f"epochs={epochs}"])
    record["train"] = unet.train(Job(data, folder / "points", labels=labels, init=init, changes=changes, **common))
    if arm.start == "aop":
        return result_of(arm, record, measure(folder / "points", data))
    errors = measure_heads(folder / "points", read_labels(options.head_val, data, HEAD))
    return {**result_of(arm, record, errors), "scale": "mm"}


def measure_heads(run: Path, frames: list[Label]) -> dict[str, list[float]]:
    """File name -> mean radial error up to a swap and absolute difference of HC to the expert's, both in mm.

    A missing frame counts as the picture's diagonal and as the whole HC.
    """
    predictor, errors = load_weights(str(run)), {}
    for frame in frames:
        size, expert = (millimetres(frame.extras, column) for column in OPTIONAL)
        if size is None or expert is None:
            raise UsageError(f"--head-val: expected pixel_size_mm and head_circumference_mm for {frame.name}")
        found = predictor.find([read_frame(frame.path).pixels])[0]
        measured = measurements_of(found.keypoints, (size, size)).measurements if found.keypoints is not None else {}
        if found.keypoints is None or "hc_ramanujan_mm" not in measured:
            errors[frame.name] = [float(np.hypot(frame.width, frame.height)) * size, expert]
            continue
        truth = frame.keypoints
        points = align_interchangeable(found.keypoints.coords[None], truth.coords[None], truth.schema)[0]
        radial = float(np.linalg.norm(points - truth.coords, axis=1).mean()) * size
        errors[frame.name] = [round(radial, 4), round(abs(measured["hc_ramanujan_mm"].value - expert), 4)]
    return errors


def measured_frames(schema: str, options: argparse.Namespace) -> Measured:
    """The frames that the arms of a schema are compared on, and their groups."""
    if schema == "aop":
        return Measured.of(options.data)
    frames = read_labels(options.head_val, options.head_data, HEAD)
    patients = groups_by_name([frame.name for frame in frames], PATIENT)
    return Measured(frames, merge_groups(near_duplicate_groups([frame.path for frame in frames]), patients))


def table(schemas: list[str], options: argparse.Namespace) -> str:
    """Markdown: per schema and arm, the mean over seeds with an interval by group, paired with H."""
    finished, lines = read_results(options.results), []
    done = {
        key: kept
        for key, runs in finished.items()
        if (kept := {seed: run for seed, run in runs.items() if seed != options.leave_out})
    }
    for schema in schemas:
        if not any(key[1] == schema for key in done):
            continue
        measured, (first, second) = measured_frames(schema, options), UNITS[schema]
        lines += ["", f"| {schema} | seeds | {first} | {second} | {first} - H | p | {second} - H | p |"]
        lines.append("| --- " * 8 + "|")
        for name in ARMS[schema]:
            if runs := done.get((name, schema)):
                cells = measured.means(runs) + measured.paired(runs, done.get(("H", schema), {}))
                words = f"{name}: {WORDS[name]}" if name in WORDS else name
                lines.append(f"| {words} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_unet.py --data psfhs --head-data hc18 --head-labels train.csv "
        "--head-val val.csv --arms H,C",
    )
    parser.add_argument("--data", type=Path, help="psfhs folder: labelled.csv, val.csv, unlabelled.txt, images/")
    parser.add_argument("--head-data", type=Path, help="hc18 folder: images/")
    parser.add_argument("--head-labels", type=Path, help="head-csv of the frames that train")
    parser.add_argument("--head-val", type=Path, help="head-csv of the frames that are measured: other patients")
    parser.add_argument("--arms", default=",".join(ARMS["aop"]), help="names of the arms to train (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of every training")
    parser.add_argument("--mask-epochs", type=int, default=20, help="of arm M's pre-training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    parser.add_argument("--table", action="store_true", help="only print the table of finished arms")
    parser.add_argument("--leave-out", type=int, metavar="SEED", help="of the table: the seed that rows were picked by")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "ablation_unet")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation_unet"), help="scratch folder")
    options = parser.parse_args()
    schemas = [name for name, data in (("aop", options.data), ("head", options.head_data)) if data is not None]
    chosen = options.arms.split(",")
    if unknown := [name for name in chosen if name not in ARMS["aop"]]:
        parser.error(f"--arms: expected some of {', '.join(ARMS['aop'])}, found {', '.join(unknown)}")
    if not schemas or (options.head_data and not (options.head_labels and options.head_val)):
        parser.error("expected --data, or --head-data with --head-labels and --head-val, or both")

    def work() -> None:
        options.runs.mkdir(parents=True, exist_ok=True)
        options.results.mkdir(parents=True, exist_ok=True)
        if not options.table:
            train_all(arms(chosen, schemas, options.seeds), options.results, partial(run_arm, options=options))
        print(table(schemas, options))

    return guarded("ablation_unet", work)


if __name__ == "__main__":
    sys.exit(main())
