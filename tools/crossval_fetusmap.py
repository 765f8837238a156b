"""Cross-validation of --method fetusmap on labelled volumes: errors in mm on volumes that were left out.

Volumes are divided into folds by whole groups (--group, a column of the label file: fetal_mri names no patients, and
volumes of one fetus have one gestational age). Arms: plain = K of equation 5; pair = the Pair loss of equations 3-8,
which does not learn which side is which and is scored up to a swap of the sides. Each arm and fold trains on the
other folds, keeps its last epoch, and is measured on its own volumes. The floor is the predictor that gives the mean
of the training landmarks, in mm from the middle of the volume, along its own axes or the patient's, whichever is
better on the volumes that are measured, and scored as its arm is. Each finished arm and fold is one JSON in
--results, so that an interrupted table goes on where it stopped; --table prints it from what is there. --again
measures trained networks another time, read with other settings: what --set names of decode, threshold, turns, looks
and place_prior, which training does not look at.
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
from aop_pose.evaluation.errors import volume_diagonals, volume_errors
from aop_pose.formats.label import Label
from aop_pose.formats.points3d import POINTS_3D, schema_of
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import groups_of
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.pipelines import open_weights, pipeline
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig
from aop_pose.pipelines.job import Job

ARMS = {"plain": ["pair=false"], "pair": ["pair=true"]}
READING = {"decode", "threshold", "turns", "looks", "place_prior"}
"""Settings that training does not look at."""


@attrs.frozen
class Arm:
    """One training to do."""

    name: str
    fold: int

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.fold}"


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


def floor_errors(
    training: Sequence[Label], left_out: Sequence[Label], schema: Schema, free: bool = False
) -> dict[str, list[float]]:
    """File name -> mm off by each point, of the mean training landmark in the axes in which it is nearer.

    ``free``: up to an exchange of the sides of each volume.
    """
    before, after = ([middle_mm(volume, schema) for volume in some] for some in (training, left_out))
    found = {}
    for axes in ("own", "patient"):
        means = np.nanmean([points[axes] for points in before], axis=0)
        truth = np.array([points[axes] for points in after])
        errors = volume_errors(np.broadcast_to(means, truth.shape), truth, np.full(len(truth), np.nan), schema)
        found[axes] = errors.up_to_swap(schema.sides) if free else errors.distances
    best = min(found.values(), key=lambda errors: float(np.nanmean(errors)))
    return {volume.name: np.round(errors, 3).tolist() for volume, errors in zip(left_out, best, strict=True)}


def measure(predictor: VolumePredictor, volumes: Sequence[Label], schema: Schema) -> dict[str, Any]:
    """File name -> mm off by each point, as named and up to an exchange of the sides; which sides are exchanged."""
    result = {}
    for one in volumes:
        volume = one.volume()
        truth = volume.to_mm(one.points_of(schema))
        found = predictor.find(volume)
        points = volume.to_mm(found.keypoints.coords) if found.keypoints is not None else np.full(truth.shape, np.nan)
        diagonals = volume_diagonals(volume.affine[None], np.array([volume.shape]))
        errors = volume_errors(points[None], truth[None], diagonals, schema)
        # What is not found is off by the diagonal of the volume.
        named, free = (
            np.where(errors.labelled & np.isnan(some), diagonals, some)[0].round(3).tolist()
            for some in (errors.distances, errors.up_to_swap(schema.sides))
        )
        result[one.name] = {
            "named_mm": named, "up_to_a_swap_mm": free, "score": round(found.score, 4),
            "exchanged": [float(errors.confused(unit)[0]) for unit in schema.sides],
            "points": None if found.keypoints is None else np.round(found.keypoints.coords, 2).tolist(),
        }  # fmt: skip
    return result


def run_arm(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm on all folds but its own, and measure it there."""
    labelled, schema, folds = read(options)
    folder = options.runs / arm.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    training = [volume for volume, fold in zip(labelled, folds, strict=True) if fold != arm.fold]
    left_out = [volume for volume, fold in zip(labelled, folds, strict=True) if fold == arm.fold]
    POINTS_3D.write_table(training, folder / "labels.csv")
    changes = ["holdout=0", *ARMS[arm.name], *options.set]
    labels = str((folder / "labels.csv").resolve())
    job = Job(
        options.data, folder / "run", labels=labels, preset=options.preset, changes=changes, seed=options.seed,
        say=print, on_epoch=lambda row: print(f"epoch {row['epoch']:.0f} loss {row['train/loss']:.3f}", flush=True),
    )  # fmt: skip
    before = time.process_time()
    record = pipeline("fetusmap").train(job)
    seconds = time.process_time() - before
    predictor = opened(folder / "run")
    kept = ("config", "wall_seconds", "peak_memory_mb", "versions", "git_commit", "machine", "precision", "parameters")
    return {
        "arm": arm.name, "fold": arm.fold, "folds": options.folds, "seed": options.seed, "schema": schema.name,
        "trained_on": len(training), "cpu_seconds": round(seconds, 1), **{key: record[key] for key in kept},
        "floor_mm": floor_errors(training, left_out, schema, arm.name == "pair"),
        "volumes": measure(predictor, left_out, schema),
    }  # fmt: skip


def read_otherwise(predictor: VolumePredictor, changes: Sequence[str]) -> tuple[VolumePredictor, dict[str, Any]]:
    """The network with other settings of its reading, and these by name.

    UsageError where one of the changes is of the training, or a network has no places to be weighed by.
    """
    names = {change.partition("=")[0] for change in changes}
    if not names or names - READING:
        raise UsageError(
            f"--again: expected --set of {', '.join(sorted(READING))}, found {', '.join(sorted(names)) or 'none'}"
        )
    config = load_config(FetusmapConfig, PRESETS, "fetal_face", changes)
    chosen = {name: getattr(config, name) for name in sorted(names)}
    contract = predictor.contract.model_copy(update={key: chosen[key] for key in chosen if key != "place_prior"})
    if strength := chosen.get("place_prior"):
        if contract.places is None:
            raise UsageError("--again: the network was trained without a place_prior")
        contract = contract.model_copy(update={"places": contract.places.model_copy(update={"strength": strength})})
    elif "place_prior" in chosen:
        contract = contract.model_copy(update={"places": None})
    return attrs.evolve(predictor, contract=contract), chosen


def measured_again(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """What an arm's JSON says, with the volumes that its fold left out read otherwise."""
    labelled, schema, folds = read(options)
    file, run = options.results / f"{arm.folder}.json", options.runs / arm.folder / "run"
    before = json.loads(file.read_text(encoding="utf-8"))
    predictor, chosen = read_otherwise(opened(run), options.set)
    left_out = [volume for volume, fold in zip(labelled, folds, strict=True) if fold == arm.fold]
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
    if options.group not in labelled[0].extras:
        raise UsageError(f"--group: expected a column of {options.labels}, found {options.group!r}")
    folds = folds_of([volume.extras[options.group] for volume in labelled], options.folds)
    return labelled, schema_of(labelled[0].schema.points), folds


def table(options: argparse.Namespace) -> Iterator[str]:
    """A line an arm: mean mm over the volumes of all finished folds, against the floor of the same volumes."""
    heads = (
        "arm", "folds", "volumes", "mean mm, as scored", "as named", "up to a swap", "median", "worst volume", "floor",
        "of the floor", "sides exchanged", "CPU s a fold",
    )  # fmt: skip
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for name in ARMS:
        done = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.results.glob(f"{name}-*.json"))]
        if not done:
            continue
        volumes = {file: one for fold in done for file, one in fold["volumes"].items()}
        named, free = (
            np.array([np.mean(one[key]) for one in volumes.values()]) for key in ("named_mm", "up_to_a_swap_mm")
        )
        scored = free if name == "pair" else named
        floor = float(np.mean([np.nanmean(errors) for fold in done for errors in fold["floor_mm"].values()]))
        exchanged = [side for one in volumes.values() for side in one["exchanged"]]
        seconds = np.mean([fold["cpu_seconds"] for fold in done])
        cells = (
            name, f"{len(done)} of {done[0]['folds']}", len(volumes), f"**{scored.mean():.1f}**", f"{named.mean():.1f}",
            f"{free.mean():.1f}", f"{np.median(scored):.1f}", f"{scored.max():.1f}", f"{floor:.1f}",
            f"{scored.mean() / floor:.2f}", f"{np.nansum(exchanged):.0f} of {len(exchanged)}", f"{seconds:.0f}",
        )  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"


def details(options: argparse.Namespace) -> Iterator[str]:
    """A line a fold, and a line a point: what stands behind the means of ``table``, scored alike."""
    yield "| arm | fold | volumes | mean mm, as scored | floor | of the floor |"
    yield "|---" * 6 + "|"
    points = []
    for name in ARMS:
        errors = []
        for path in sorted(options.results.glob(f"{name}-*.json")):
            fold = json.loads(path.read_text(encoding="utf-8"))
            key = "up_to_a_swap_mm" if name == "pair" else "named_mm"
            found, floor = (
                np.array(some, float)
                for some in ([one[key] for one in fold["volumes"].values()], list(fold["floor_mm"].values()))
            )
            mean, least = np.nanmean(found), np.nanmean(floor)
            yield f"| {name} | {fold['fold']} | {len(found)} | {mean:.1f} | {least:.1f} | {mean / least:.2f} |"
            errors += [(fold["schema"], found)]
        if errors:
            every = np.concatenate([found for _, found in errors])
            for point, off in zip(SCHEMAS[errors[0][0]].points, every.T, strict=True):
                near, far = (off < 15).sum(), (off > 40).sum()
                points.append(f"| {name} | {point} | {np.nanmedian(off):.1f} | {near} | {far} | {len(off)} |")
    yield from ("", "| arm | point | median mm | below 15 mm | above 40 mm | volumes |", "|---" * 6 + "|", *points)


def run_all(options: argparse.Namespace) -> None:
    """Every arm and fold without a JSON, or with one again; then the table."""
    chosen = range(options.folds) if options.fold is None else [options.fold]
    for arm in (Arm(name, fold) for fold in chosen for name in options.arms):
        file = options.results / f"{arm.folder}.json"
        if options.table or file.exists() != options.again:
            continue
        print(f"== {arm.folder}", flush=True)
        write_result(file, measured_again(arm, options) if options.again else run_arm(arm, options))
    print("\n".join([*table(options), "", *details(options)]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the label file and volumes/")
    parser.add_argument("--labels", default="labelled.csv")
    parser.add_argument("--group", default="ga_weeks", help="column whose equal values stay in one fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, help="only this one, from 0")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["plain", "pair"])
    parser.add_argument("--preset", default="fetal_face")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/crossval_fetusmap"))
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "crossval_fetusmap")
    parser.add_argument("--again", action="store_true", help="measure the networks in --runs that have a JSON again")
    parser.add_argument("--table", action="store_true", help="only print the table of finished folds")
    return guarded("crossval_fetusmap", partial(run_all, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
