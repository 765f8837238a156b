"""Cross-validate FetusMapV2: errors in mm on volumes that were left out.

Volumes are divided into folds by whole groups (--group, a column of the label file: fetal_mri names no patients, and
volumes of one fetus have one gestational age). Each fold trains on the others, keeps its last epoch, and is measured
on its own volumes, interchangeable points in the nearer order. The floor is the predictor that gives the mean of the
training landmarks, in mm from the middle of the volume, along its own axes or the patient's, whichever is better on
the volumes that are measured. Each finished fold is one JSON in --results, so that an interrupted table goes on where
it stopped; --table prints it from what is there. --again measures trained networks another time, read with other
settings: what --set names of decode, threshold, turns, candidates and search_mm, which training does not look at.

The two folds of the paper, on phantoms of 22 points, in one command:
    python tools/crossval_fetusmap.py --data fetuses --labels labels.csv --group Filename --folds 2 --preset fast
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from ablation import guarded, write_result

from aop_pose.core.schema import SCHEMAS, Schema
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import Errors, volume_diagonals, volume_errors
from aop_pose.formats.label import Label
from aop_pose.formats.points3d import POINTS_3D, schema_of
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import groups_of
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.pipelines import open_weights, pipeline
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig
from aop_pose.pipelines.job import Job

FILE = "Filename"
"""The column by which each file is a group of its own."""
READING = {"decode", "threshold", "turns", "candidates", "search_mm"}
"""Settings that training does not look at."""
NEAR_MM = (10, 15)
"""Distances within which points are counted."""


def folds_of(groups: Sequence[object], count: int) -> np.ndarray:
    """The fold of each volume: whole groups, the largest first, each into the fold that holds the fewest so far."""
    numbers = groups_of(groups)
    sizes = np.bincount(numbers)
    if len(sizes) < count:
        raise UsageError(f"--folds: expected at most {len(sizes)}, one a group, found {count}")
    filled, fold = [0] * count, np.zeros(len(sizes), int)
    for group in sorted(range(len(sizes)), key=lambda group: -sizes[group]):
        fold[group] = filled.index(min(filled))
        filled[fold[group]] += sizes[group]
    return fold[numbers]


def middle_mm(volume: Label, schema: Schema) -> dict[str, np.ndarray]:
    """Points (n, 3) in mm from the middle of their volume, along the axes that the network sees and the patient's."""
    stored = volume.volume()
    points, middle = volume.points_of(schema), (np.array(stored.shape) - 1) / 2
    own = (points - middle) * stored.spacing
    own[:, 2] *= stored.handedness
    return {"own": own, "patient": stored.to_mm(points) - stored.to_mm(middle)}


def floor_errors(training: Sequence[Label], left_out: Sequence[Label], schema: Schema) -> dict[str, list[float]]:
    """File name -> mm off by each point, of the mean training landmark in the axes in which it is nearer."""
    before, after = ([middle_mm(volume, schema) for volume in some] for some in (training, left_out))
    found = {}
    for axes in ("own", "patient"):
        means = np.nanmean([points[axes] for points in before], axis=0)
        truth = np.array([points[axes] for points in after])
        errors = volume_errors(np.broadcast_to(means, truth.shape), truth, np.full(len(truth), np.nan), schema)
        found[axes] = errors.distances
    best = min(found.values(), key=lambda errors: float(np.nanmean(errors)))
    return {volume.name: np.round(errors, 3).tolist() for volume, errors in zip(left_out, best, strict=True)}


def compared(one: Label, points_mm: np.ndarray | None, schema: Schema) -> Errors:
    """Points (n, 3) in mm that were found in a labelled volume, against its labels; None = nothing was found."""
    volume = one.volume()
    truth = volume.to_mm(one.points_of(schema))
    points = np.full(truth.shape, np.nan) if points_mm is None else points_mm
    return volume_errors(
        points[None], truth[None], volume_diagonals(volume.affine[None], np.array([volume.shape])), schema
    )


def measure(predictor: VolumePredictor, volumes: Sequence[Label], schema: Schema) -> dict[str, Any]:
    """File name -> mm off by each point, degrees off by each axis, and what else is known of the prediction."""
    result = {}
    for one in volumes:
        volume, before = one.volume(), time.process_time()
        found = predictor.find(volume)
        seconds = time.process_time() - before
        keypoints = found.keypoints
        errors = compared(one, None if keypoints is None else volume.to_mm(keypoints.coords), schema)
        # What is not found is off by the diagonal of the volume.
        lost = errors.labelled & np.isnan(errors.distances)
        result[one.name] = {
            "mm": np.where(lost, errors.diagonals, errors.distances)[0].round(3).tolist(),
            "axes_deg": {name: round(float(angles[0]), 2) for name, angles in errors.axes.items()},
            "quantities": {key: round(float(gap[0]), 3) for key, gap in errors.differences.items()},
            "scores": None if keypoints is None else np.round(keypoints.scores, 4).tolist(),
            "rival": round(found.rival, 4), "reason": found.reason, "cpu_seconds": round(seconds, 1),
            "points": None if keypoints is None else np.round(keypoints.coords, 2).tolist(),
        }  # fmt: skip
    return result


def run_fold(fold: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train on all folds but one, and measure it there."""
    labelled, schema, folds = read(options)
    folder = folder_of(options.runs, fold)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    training = [volume for volume, number in zip(labelled, folds, strict=True) if number != fold]
    left_out = [volume for volume, number in zip(labelled, folds, strict=True) if number == fold]
    POINTS_3D.write_table(training, folder / "labels.csv")
    job = Job(
        options.data, folder / "run", labels=str((folder / "labels.csv").resolve()), preset=options.preset,
        init=str(folder_of(options.init, fold) / "run") if options.init else "auto",
        changes=["holdout=0", *options.set], seed=options.seed, say=print,
        on_epoch=lambda row: print(f"epoch {row['epoch']:.0f} loss {row['train/loss']:.3f}", flush=True),
    )  # fmt: skip
    before = time.process_time()
    record = pipeline("fetusmap").train(job)
    seconds = time.process_time() - before
    kept = ("config", "start", "wall_seconds", "peak_memory_mb", "versions", "git_commit", "machine", "precision")
    return {
        "fold": fold, "folds": options.folds, "seed": options.seed, "schema": schema.name,
        "trained_on": len(training), "cpu_seconds": round(seconds, 1), **{key: record[key] for key in kept},
        "floor_mm": floor_errors(training, left_out, schema),
        "volumes": measure(opened(folder / "run"), left_out, schema),
    }  # fmt: skip


def folder_of(runs: Path, fold: int) -> Path:
    """The folder of a fold's run and labels."""
    return runs / f"fold-{fold}"


def read_otherwise(predictor: VolumePredictor, changes: Sequence[str]) -> tuple[VolumePredictor, dict[str, Any]]:
    """The network with other settings of its reading, and these by name; UsageError for one of the training."""
    names = {change.partition("=")[0] for change in changes}
    if names - READING:
        raise UsageError(f"--again: expected --set of {', '.join(sorted(READING))}, found {', '.join(sorted(names))}")
    config = load_config(FetusmapConfig, PRESETS, "fetal_face", changes)
    chosen = {name: getattr(config, name) for name in sorted(names)}
    return attrs.evolve(predictor, contract=predictor.contract.model_copy(update=chosen)), chosen


def measured_again(fold: int, options: argparse.Namespace) -> dict[str, Any]:
    """What a fold's JSON says, with the volumes that it left out read otherwise."""
    labelled, schema, folds = read(options)
    before = json.loads((options.results / f"fold-{fold}.json").read_text(encoding="utf-8"))
    predictor, chosen = read_otherwise(opened(folder_of(options.runs, fold) / "run"), options.set)
    left_out = [volume for volume, number in zip(labelled, folds, strict=True) if number == fold]
    return {**before, "config": {**before["config"], **chosen}, "volumes": measure(predictor, left_out, schema)}


def opened(run: Path) -> VolumePredictor:
    """The network of a run folder."""
    predictor = open_weights(str(run))
    if not isinstance(predictor, VolumePredictor):
        raise UsageError(f"{run}: expected a run on volumes")
    return predictor


def read(options: argparse.Namespace) -> tuple[list[Label], Schema, np.ndarray]:
    """The labelled volumes, their schema and the fold of each."""
    labelled = read_labels(options.data / options.labels, options.data, None)
    if options.group != FILE and options.group not in labelled[0].extras:
        raise UsageError(f"--group: expected a column of {options.labels}, found {options.group!r}")
    # The time points of a file are one group.
    groups = [volume.name if options.group == FILE else volume.extras[options.group] for volume in labelled]
    folds = folds_of(groups, options.folds)
    return labelled, schema_of(labelled[0].schema.points), folds


def finished(results: Path) -> list[dict[str, Any]]:
    """What the JSON of each finished fold says."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("fold-*.json"))]


def table(done: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line a fold and one for all, a line a point, and a line an axis."""
    yield "| fold | volumes | mean mm | median | worst volume | floor | CPU s of training |"
    yield "|---" * 7 + "|"
    if not done:
        return
    schema = SCHEMAS[done[0]["schema"]]
    for some, name in [*(([one], f"{one['fold']}") for one in done), (done, f"{len(done)} of {done[0]['folds']}")]:
        errors = np.array([volume["mm"] for fold in some for volume in fold["volumes"].values()])
        floor = np.nanmean([row for fold in some for row in fold["floor_mm"].values()])
        seconds = np.mean([fold["cpu_seconds"] for fold in some])
        yield (
            f"| {name} | {len(errors)} | {np.nanmean(errors):.1f} | {np.nanmedian(errors):.1f} | "
            f"{np.nanmean(errors, axis=1).max():.1f} | {floor:.1f} | {seconds:.0f} |"
        )
    volumes = [volume for fold in done for volume in fold["volumes"].values()]
    errors = np.array([volume["mm"] for volume in volumes])
    yield from ("", f"| group | mean mm | median | {' | '.join(f'within {mm} mm' for mm in NEAR_MM)} | worst |")
    yield "|---" * (4 + len(NEAR_MM)) + "|"
    for name, points in schema.groups:
        off = errors[:, schema.indices(points)].ravel()
        near = " | ".join(f"{(off <= mm).sum()} of {len(off)}" for mm in NEAR_MM)
        yield f"| {name} | {np.nanmean(off):.1f} | {np.nanmedian(off):.1f} | {near} | {np.nanmax(off):.1f} |"
    yield from ("", "| axis or quantity | median | mean | 90 % within |", "|---" * 4 + "|")
    rows = {f"axis {name}, deg": [one["axes_deg"][name] for one in volumes] for name in schema.axis_names}
    rows |= {f"{one.column}": [abs(volume["quantities"][one.key]) for volume in volumes] for one in schema.quantities}
    for name, values in rows.items():
        if np.isfinite(values).any():
            middle, mean, most = np.nanmedian(values), np.nanmean(values), np.nanquantile(values, 0.9)
            yield f"| {name} | {middle:.1f} | {mean:.1f} | {most:.1f} |"


def run_all(options: argparse.Namespace) -> None:
    """Every fold without a JSON, or with one again; then the table."""
    for fold in range(options.folds) if options.fold is None else [options.fold]:
        file = options.results / f"fold-{fold}.json"
        if options.table or file.exists() != options.again:
            continue
        print(f"== fold {fold}", flush=True)
        write_result(file, measured_again(fold, options) if options.again else run_fold(fold, options))
    print("\n".join(table(finished(options.results))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the label file and volumes/")
    parser.add_argument("--labels", default="labelled.csv")
    parser.add_argument(
        "--group", default="ga_weeks", help="column whose equal values stay in one fold; Filename: each alone"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, help="only this one, from 0")
    parser.add_argument("--preset", default="fetal_face")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/crossval_fetusmap"))
    parser.add_argument("--init", type=Path, metavar="DIR", help="start from the networks of another --runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "crossval_fetusmap")
    parser.add_argument("--again", action="store_true", help="measure the networks in --runs that have a JSON again")
    parser.add_argument("--table", action="store_true", help="only print the table of finished folds")
    return guarded("crossval_fetusmap", partial(run_all, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
