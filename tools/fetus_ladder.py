"""The ladder of FetusMapV2 on phantoms: U-Net, + Pair loss, + a larger planned input, + refinement; three seeds.

Arms: U = K of equation 5 at --size; P = U with the Pair loss of equations 3-8 and sides named by equation 7; L = P with
the memory planner (section 3.1) and the largest input of about the same proportions whose training step takes no more
bytes than P's; R = L's network, refined for each volume (section 3.3); S = the same, registered on the points with the
highest peaks in place of the paper's 2, 3, 5, 7 and 9. Volumes, epochs, widths and seeds are the same
in all arms, and so is the memory that a step may take (estimated, everything counted); what a larger input costs in
time is in the table. Nothing is chosen on the volumes that are measured: each training keeps its last epoch.

Volumes are made from two seeds of the phantom, once, in --runs. Errors are in mm; a point that was not found is off by
the diagonal of its volume. "Up to a swap": left and right points of the whole body exchanged where that is nearer.
Each finished arm and seed is one JSON in --results, so that an interrupted table goes on where it stopped; --table
prints it from what is there; --dry rehearses every arm on two tiny phantoms.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from ablation import Arm, Measured, Results, guarded, read_results, train_missing

from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import Errors, volume_diagonals, volume_errors, whole_body
from aop_pose.evaluation.figures import estimates_of, figures_of, twins_of
from aop_pose.formats.registry import read_labels
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.phantom.fetus import write_fetus_phantoms
from aop_pose.pipelines import open_weights, pipeline
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.fetusmap.config import PRESETS, FetusmapConfig
from aop_pose.pipelines.fetusmap.training import step_of
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import read_record

ARMS = {
    "U": "U-Net",
    "P": "+ Pair loss",
    "L": "+ planned larger input",
    "R": "+ refinement",
    "S": "or on the surest points",
}
REFINED = {"R": "paper", "S": "surest"}
"""Arms that have L's network and train nothing, and what they are refined on."""
PLANNED = {"L", *REFINED}
PRESET, SCHEMA = "fast", "fetus"
LABELS = "labels.csv"
_DRY = ["--volumes=2", "--left-out=2", "--voxels=32", "--size", "16", "8", "8", "--widths", "4", "8", "--epochs=1"]


@attrs.frozen
class Sizes:
    """Input of the plain and of the planned network, and what a training step takes."""

    plain: tuple[int, int, int]
    planned: tuple[int, int, int]
    plain_bytes: int
    planned_bytes: int


def settings(arm: str, size: Sequence[int], options: argparse.Namespace) -> list[str]:
    """``key=value`` pairs of an arm; L's size and plan are those of R and S too."""
    listed = "[{}]".format
    return [
        "holdout=0", f"epochs={options.epochs}", f"widths={listed(','.join(map(str, options.widths)))}",
        f"size={listed(','.join(map(str, size)))}", f"pair={'false' if arm == 'U' else 'true'}",
        f"plan={'auto' if arm in PLANNED else 'none'}", *options.set,
    ]  # fmt: skip


def bytes_of(arm: str, size: Sequence[int], options: argparse.Namespace) -> int:
    """Estimated bytes of a training step."""
    config = load_config(FetusmapConfig, PRESETS, PRESET, settings(arm, size, options))
    return step_of(config, FETUS)[1]


def sizes_of(options: argparse.Namespace) -> Sizes:
    """The largest planned input that takes no more than the plain one; sides grow by whole strides, the proportions
    stay within a stride. UsageError where no larger one fits."""
    plain, stride = tuple(options.size), 2 ** (len(options.widths) - 1)
    allowed = bytes_of("P", plain, options)
    best, taken, refused = plain, allowed, 0
    for longest in itertools.count(plain[0] + stride, stride):
        size = tuple(stride * round(side * longest / plain[0] / stride) for side in plain)
        needed = bytes_of("L", size, options)
        if needed <= allowed:
            best, taken, refused = size, needed, 0
        else:
            refused += 1
        # Sides are rounded to strides: the next may round to less.
        if refused == 2:
            break
    if best == plain:
        raise UsageError(
            f"--size: expected one whose memory holds a larger planned input, found {plain}; take a larger one"
        )
    return Sizes(plain, best, allowed, taken)


def phantoms(options: argparse.Namespace) -> tuple[Path, Path]:
    """Volumes that train and volumes that are measured, made where they are not there yet."""
    made = []
    for name, count, seed in (("training", options.volumes, 1), ("left_out", options.left_out, 2)):
        folder = options.runs / f"{name}-{count}-{options.voxels}"
        if not folder.exists():
            print(f"== {count} phantoms, {folder.name}", flush=True)
            write_fetus_phantoms(folder, count, seed, options.voxels)
        made.append(folder)
    return made[0], made[1]


def run_arm(arm: Arm, options: argparse.Namespace, sizes: Sizes, training: Path, left_out: Path) -> dict[str, Any]:
    """Train one arm, or take L's network for R and S, and measure it."""
    size = sizes.planned if arm.name in PLANNED else sizes.plain
    trained = attrs.evolve(arm, name="L") if arm.name in REFINED else arm
    folder = options.runs / trained.folder
    seconds = None
    if arm.name not in REFINED or not _finished(folder):
        shutil.rmtree(folder, ignore_errors=True)
        job = Job(
            training, folder, labels=LABELS, preset=PRESET, changes=settings(arm.name, size, options), seed=arm.seed,
            say=print, on_epoch=lambda row: print(f"epoch {row['epoch']:.0f} loss {row['train/loss']:.3f}", flush=True),
        )  # fmt: skip
        before = time.process_time()
        pipeline("fetusmap").train(job)
        seconds = round(time.process_time() - before, 1)
    refined = REFINED.get(arm.name)
    predictor = open_weights(str(folder), refine=refined or None)
    if not isinstance(predictor, VolumePredictor):
        raise UsageError(f"{folder}: expected a run on volumes")
    before = time.process_time()
    volumes = measure(predictor, left_out)
    record = read_record(folder)
    kept = ("config", "wall_seconds", "peak_memory_mb", "versions", "git_commit", "machine", "parameters", "data")
    return {
        "arm": arm.name, "start": SCHEMA, "seed": arm.seed, "size": list(size),
        "bytes_of_a_step": bytes_of(arm.name, size, options), "train_cpu_seconds": seconds,
        "measure_cpu_seconds": round(time.process_time() - before, 1), "facts": predictor.further_facts,
        **{key: record[key] for key in kept if key in record},
        "volumes": volumes, "errors": {name: one["mean_mm"] for name, one in volumes.items()},
    }  # fmt: skip


def _finished(folder: Path) -> bool:
    return (folder / "run.json").is_file() and bool(read_record(folder).get("finished"))


def measure(predictor: VolumePredictor, data: Path) -> dict[str, dict[str, Any]]:
    """By file: error of each point in mm, as named and exchanged (null: none), the volume's diagonal, and the mean as
    named and up to a swap of the whole body, with what was not found off by the diagonal."""
    result = {}
    for one in read_labels(data / LABELS, data, None):
        volume = one.volume()
        truth = volume.to_mm(one.points_of(FETUS))
        found = predictor.find(volume)
        points = volume.to_mm(found.keypoints.coords) if found.keypoints is not None else np.full(truth.shape, np.nan)
        diagonal = volume_diagonals(volume.affine[None], np.array([volume.shape]))
        errors = volume_errors(points[None], truth[None], diagonal, FETUS)
        means = [
            float(np.where(np.isfinite(some), some, diagonal).mean())
            for some in (errors.distances, errors.up_to_swap(whole_body(FETUS)))
        ]
        result[one.name] = {
            "named_mm": _listed(errors.distances[0]), "exchanged_mm": _listed(errors.exchanged[0]),
            "diagonal_mm": round(float(diagonal[0]), 3), "mean_mm": [round(mean, 4) for mean in means],
        }  # fmt: skip
    return result


def _listed(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]


def errors_of(runs: Sequence[dict[str, Any]]) -> Errors:
    """The errors of several seeds below each other, as ``evaluate`` takes them."""
    volumes = [one for run in runs for one in run["volumes"].values()]
    named, exchanged = (np.array([one[key] for one in volumes], float) for key in ("named_mm", "exchanged_mm"))
    return Errors(
        FETUS, np.isfinite(named).any(axis=1), np.full(named.shape, True), named,
        np.array([one["diagonal_mm"] for one in volumes]), exchanged=exchanged,
    )  # fmt: skip


@attrs.frozen
class Named:
    """What ``Measured`` asks of a frame."""

    name: str


def table(done: Results) -> Iterator[str]:
    """Markdown: per arm the mean over seeds with an interval over volumes, paired with the arm before; S with L too.

    Then the error of each point of head and trunk.
    """
    arms = {name: done[name, SCHEMA] for name in ARMS if (name, SCHEMA) in done}
    if not arms:
        yield "no finished arm"
        return
    files = sorted(set.intersection(*({*run["volumes"]} for runs in arms.values() for run in runs.values())))
    measured = Measured([Named(file) for file in files], np.arange(len(files)))
    yield (
        "| arm | seeds | input | GiB a step | mean mm | up to a swap | PCK AUC | sides exchanged | missing "
        "| mm - arm before | p | up to a swap - arm before | p | CPU s |"
    )
    yield "|" + " --- |" * 14
    before: dict[int, dict[str, Any]] = {}
    for name, runs in arms.items():
        errors = errors_of(list(runs.values()))
        groups = np.tile(np.arange(len(errors.measured) // len(runs)), len(runs))
        figures = figures_of(errors)
        confused = estimates_of(figures, groups).get("lr_confusion")
        one = next(iter(runs.values()))
        seconds = [run["train_cpu_seconds"] for run in runs.values() if run["train_cpu_seconds"] is not None]
        cells = [
            f"{name}: {ARMS[name]}", str(len(runs)), "x".join(map(str, one["size"])),
            f"{one['bytes_of_a_step'] / 2**30:.3f}", *measured.means(runs),
            f"{100 * twins_of(figures)['pck_auc'].value:.1f} %",
            "-" if confused is None else f"{100 * confused.value:.0f} %",
            f"{errors.missing_points.sum()} of {errors.labelled.sum()}", *measured.paired(runs, before),
            f"{np.mean(seconds):.0f}" if seconds else "-",
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
        if name not in REFINED:
            before = runs
    yield ""
    yield f"| mm, as named | {' | '.join(FETUS.points[:10])} |"
    yield "|" + " --- |" * 11
    for name, runs in arms.items():
        means = np.nanmean(errors_of(list(runs.values())).distances[:, :10], axis=0)
        yield f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} |"


def run_all(options: argparse.Namespace) -> None:
    """Every arm and seed without a JSON, seed by seed so that what is not finished is still paired; then the table."""
    options.runs.mkdir(parents=True, exist_ok=True)
    options.results.mkdir(parents=True, exist_ok=True)
    wanted = [Arm(name, SCHEMA, seed) for seed in range(options.seeds) for name in options.arms]
    if not options.table and any(not (options.results / arm.file).exists() for arm in wanted):
        training, left_out = phantoms(options)
        sizes = sizes_of(options)
        print(f"== plain {sizes.plain}, planned {sizes.planned}: {sizes.plain_bytes} and {sizes.planned_bytes} bytes")
        train_missing(
            wanted,
            options.results,
            partial(run_arm, options=options, sizes=sizes, training=training, left_out=left_out),
        )
    print("\n".join(table(read_results(options.results))))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/fetus_ladder.py --seeds 3",
    )
    made.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--volumes", type=int, default=60, help="phantoms that train")
    made.add_argument("--left-out", type=int, default=24, help="phantoms that are measured")
    made.add_argument("--voxels", type=int, default=64, help="along the longest side of a phantom")
    made.add_argument("--size", type=int, nargs=3, default=[40, 24, 24], help="input of the plain network")
    made.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    made.add_argument("--epochs", type=int, default=20, help="of every training")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    made.add_argument("--runs", type=Path, default=Path("runs/fetus_ladder"), help="scratch folder")
    made.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "fetus_ladder")
    made.add_argument("--table", action="store_true", help="only print the table of finished arms")
    made.add_argument("--dry", action="store_true", help="rehearse every arm on two tiny phantoms, in --runs alone")
    return made


def main() -> int:
    options = parser().parse_args()
    if options.dry:
        place = options.runs / "dry"
        shutil.rmtree(place, ignore_errors=True)
        options = parser().parse_args([*_DRY, "--seeds=1", f"--runs={place}", f"--results={place / 'results'}"])
    return guarded("fetus_ladder", partial(run_all, options))


if __name__ == "__main__":
    sys.exit(main())
