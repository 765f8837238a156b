"""What of the network of `aop-fast` can be left out? Narrower heads, a shorter neck, pruned and distilled: paired.

Every arm is a heatmap head with outlines (preset best) on backbone and neck of a YOLO11n that start from COCO, trained
for the same number of epochs on the labels of all frames that are not in val.csv; P and D, which need the network of T
of their seed, get more. The last epoch is kept, nothing is chosen on val.csv. Errors and cost are those of the exported
file: a frame's median processor time in onnxruntime, one thread, in turns with --beside, so that a busy machine is
busy for both. A finished training in --runs is passed over and measured, one that was interrupted goes on; each
finished arm is one JSON in --results; --table prints them. --dry rehearses every arm on a few phantoms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from ablation import Arm, Measured, add_arm_options, carry_out, guarded, measure, read_results, result_of
from ablation_data import ANSWERS, LABELLED, UNLABELLED, VAL, rehearsal_of
from ablation_few import DRY, trained
from prune_checkpoint import prune

from aop_pose.core.letterbox import fit
from aop_pose.errors import UsageError
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.registry import read_labels
from aop_pose.inference.predictor import Predictor, as_inputs
from aop_pose.inference.weights import load
from aop_pose.io.images import read_frame
from aop_pose.pipelines import load_weights
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.unet.config import PRESETS, UnetConfig
from aop_pose.pipelines.unet.network import FINE
from aop_pose.pipelines.unet.pipeline import Unet
from aop_pose.pseudo.ensemble import Ensemble
from aop_pose.pseudo.run import Cut, pseudo_label, unlabelled_frames

START, HEAD, NARROW, NARROWEST = "coco", 64, 32, 16
TOP_DOWN = (16, 13, 10)
"""Ultralytics' numbers of the layers that give 8, 16 and 32 input pixels per pixel before the neck's way down."""
ARMS = {
    "T": f"today's: {HEAD} channels in the head, the whole neck",
    "N": f"{NARROW} channels",
    "B": f"{NARROW} channels, the neck without its way down",
    "S": "the neck without its way down",
    "M": f"{NARROWEST} channels",
    "P": f"T pruned to {NARROW} channels, then --further epochs",
    "D": f"{NARROW} channels, T's points on two thirds of the frames in the place of labels",
}
WIDTHS = {"N": NARROW, "B": NARROW, "M": NARROWEST, "P": NARROW, "D": NARROW}
SHORT = frozenset("SB")
COST_FRAMES = 120


class Short(Unet):
    """The heatmap network on a neck that ends where its way up does: six layers less."""

    @classmethod
    def presets(cls) -> Path:
        return PRESETS

    def network(self, stage: str, settings: UnetConfig) -> Any:
        network = super().network(stage, settings)
        body = network.body
        body.scales = list(TOP_DOWN)
        body.layers = body.layers[: max(TOP_DOWN) + 1]
        body.kept = body.kept | {FINE, *TOP_DOWN}
        return network


@attrs.frozen
class Cost:
    """What a network weighs, and a frame's processor time beside that of another network."""

    parameters: int
    bytes: int
    ms: float
    ms_beside: float


def arms(chosen: Sequence[str], seeds: int) -> Iterator[Arm]:
    """The question first: today's and the narrower ones of every seed, then the others."""
    for names in ("TN", "B", "P", "S", "M", "D"):
        for seed in range(seeds):
            yield from (Arm(name, START, seed) for name in names if name in chosen)


def run_arm(arm: Arm, options: Namespace) -> dict[str, Any]:
    """Train one arm, export it, and measure the file on val.csv."""
    folder = options.runs / arm.folder
    folder.mkdir(parents=True, exist_ok=True)
    made = Short() if arm.name in SHORT else Unet()
    init, epochs, labels = str(options.coco or "scratch"), options.epochs, folder / "all.csv"
    frames = [frame for name in (LABELLED, ANSWERS) for frame in read_labels(options.data / name, options.data)]
    IUGC.write_table(frames, labels)
    given: dict[str, Any] = {}
    if arm.name == "P":
        init, epochs = str(prune(network_of_today(arm, options), NARROW, folder / "pruned.pt")), options.further
    if arm.name == "D":
        given, labels = {"pseudo": answers_of_today(arm, folder, options)}, options.data / LABELLED
    changes = [
        "holdout=0", f"epochs={epochs}", "warmup_epochs=1", "outlines=true", "outline_weight=8",
        f"widths=[{WIDTHS.get(arm.name, HEAD)}]",
    ]  # fmt: skip
    job = Job(
        options.data, folder / "run", labels=str(labels.resolve()), init=init, preset="best", seed=arm.seed,
        changes=[*changes, *options.set], say=print,
    )  # fmt: skip
    record = trained(job, given, made)
    file = folder / f"{arm.name}.onnx"
    made.export(job.out, file)
    cost = cost_of(file, record["parameters"], options.beside, [frame.path for frame in frames])
    return {**result_of(arm, {"train": record}, measure(file, options.data)), "cost": attrs.asdict(cost)}


def network_of_today(arm: Arm, options: Namespace) -> Path:
    """T of the same seed, exported and as a checkpoint; UsageError where it is not there yet."""
    run = options.runs / Arm("T", START, arm.seed).folder / "run" / "weights" / "last.pt"
    if not (options.results / Arm("T", START, arm.seed).file).is_file() or not run.is_file():
        raise UsageError(f"{run}: expected the network of T of seed {arm.seed}, found none; train that arm first")
    return run


def answers_of_today(arm: Arm, folder: Path, options: Namespace) -> Path:
    """A pseudo.csv of the frames that are taken as without labels, by T of the same seed, every weight 1."""
    out = folder / "pseudo.csv"
    network = load_weights(str(network_of_today(arm, options)), "aop", threads=1)
    frames = unlabelled_frames(options.data, UNLABELLED, [LABELLED, VAL])
    pseudo_label(Ensemble((network,), 1), frames, out, cut=Cut(uniform=True), overwrite=True)
    return out


def cost_of(file: Path, parameters: int, beside: str, pictures: Sequence[Path]) -> Cost:
    """Median processor time of a frame in each of the two, which take turns on each frame."""
    networks = [load(str(name), threads=1) for name in (file, beside)]
    taken: tuple[list[float], list[float]] = ([], [])
    for path in pictures[:: -(-len(pictures) // COST_FRAMES)]:
        pixels = read_frame(path).pixels
        for network, times in zip(networks, taken, strict=True):
            assert isinstance(network, Predictor)
            shown = as_inputs([fit(pixels, network.contract.image_size)[0]])
            begin = time.process_time()
            network.network(shown)
            times.append(1000 * (time.process_time() - begin))
    ms, ms_beside = map(statistics.median, taken)
    return Cost(parameters, file.stat().st_size, round(ms, 3), round(ms_beside, 3))


def table(options: Namespace) -> str:
    """Markdown: each arm, its means with intervals by near-duplicate group, its cost, and paired differences to T."""
    done, measured = read_results(options.results), Measured.of(options.data)
    lines = [
        "| arm | epochs | parameters | MB | time of `--beside` | MRE (512 px) | each seed | AoP MAE (deg) | each seed "
        "| MRE - T | p | AoP - T | p |",
        "| --- " * 13 + "|",
    ]
    today = done.get(("T", START), {})
    for name, words in ARMS.items():
        runs = done.get((name, START), {})
        if not runs:
            lines.append(f"| {name}: {words} | not run |{' |' * 11}")
            continue
        (mre, aop), (mre_each, aop_each) = measured.means(runs), measured.each(runs)
        costs = [Cost(**run["cost"]) for run in runs.values()]
        share = ", ".join(f"{one.ms / one.ms_beside:.2f}" for one in costs)
        epochs = ", ".join(sorted({str(run["train"]["config"]["epochs"]) for run in runs.values()}))
        cells = [epochs, f"{costs[0].parameters / 1e6:.2f} M", f"{costs[0].bytes / 1e6:.1f}", share]
        cells += [mre, mre_each, aop, aop_each, *measured.paired(runs, today)]
        lines.append(f"| {name}: {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rehearse(options: Namespace) -> None:
    """Turn the options into those of a rehearsal: phantoms for data, one epoch, nothing committed."""
    rehearsal_of(options)
    options.seeds, options.epochs, options.further = 1, 1, 1
    options.set = [*(one for one in DRY if "widths" not in one), *options.set]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_narrow.py --data psfhs --coco yolo11n-pose.pt",
    )
    add_arm_options(parser, "narrow", ARMS)
    parser.add_argument("--epochs", type=int, default=5, help="of every training")
    parser.add_argument("--further", type=int, default=2, help="epochs of P after pruning")
    parser.add_argument("--beside", default="aop-fast", help="artefact whose time a frame is the measure")
    options = parser.parse_args(arguments)
    return guarded("ablation_narrow", partial(carry_out, options, arms, run_arm, table, rehearse))


if __name__ == "__main__":
    sys.exit(main())
