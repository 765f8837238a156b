"""What do pre-training, attention and the adversary give on a CPU? Krishna and Khan's four steps, paired.

Arms: N = encoder and decoder alone; M = N from MoCo v2 on the frames without labels; B = M with CBAM in the decoder;
G = B with the discriminator; W = M from a pre-training whose positions are matched through the warp. Data, seeds,
epochs, batch and image size of the training are the same in all arms; the pre-training of a seed comes on top, once for
all its arms. The last epoch is kept, and nothing is chosen on the frames that are measured. Figures: MRE on the 512
scale and AoP error in degrees. Each finished arm is one JSON in --results, so that an interrupted table goes on where
it stopped; --table prints it from what is there. --dry rehearses every arm on a few phantoms, in --runs alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ablation import SCALE, Arm, Measured, guarded, measure, read_results, result_of, train_all
from ablation_data import write_rehearsal

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RECORD, read_record

START = "fast"
"""What the JSONs call the start: the preset, whose weights are random."""
PLAIN = ["attention=false", "adversary=false"]
ARMS: dict[str, tuple[str | None, list[str]]] = {
    "N": (None, PLAIN),
    "M": ("paper", PLAIN),
    "B": ("paper", ["attention=true", "adversary=false"]),
    "G": ("paper", ["attention=true", "adversary=true"]),
    "W": ("matched", PLAIN),
}
"""Arm -> which pairs its pre-training makes, and its settings."""
WORDS = {
    "N": "neither", "M": "+ MoCo", "B": "+ MoCo, CBAM", "G": "+ MoCo, CBAM, adversary", "W": "+ MoCo, matched pairs",
}  # fmt: skip
BEFORE = {"M": "N", "B": "M", "G": "B", "W": "M"}
"""The arm that each adds one thing to."""
DRY = [
    "image_size=64", "decoder=[8,8,8,8,8]", "discriminator=2", "sigma=3", "precision=fp32",
    "aug_affine=2", "moco_batch=4", "moco_queue=64", "encoder=mobilenetv3_small_050", "widened=true",
]  # fmt: skip
DEFAULT = "N,M,B,G"


def arms(chosen: Sequence[str], seeds: int) -> Iterator[Arm]:
    """Seed by seed, so that what is not finished is still paired."""
    for seed in range(seeds):
        yield from (Arm(name, START, seed) for name in ARMS if name in chosen)


def pretrained(pairs: str, seed: int, options: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The pre-training of a seed, which its arms share: made where it is missing, taken up where it was interrupted."""
    run = options.runs / f"moco-{pairs}-{seed}"
    record = read_record(run) if (run / RECORD).is_file() else {}
    if not record.get("finished"):
        changes = [*options.set, *_given("moco_epochs", options.moco_epochs), f"moco_pairs={pairs}"]
        hrnet = pipeline("hrnet-gan")
        changes = hrnet.useful("pretrain", changes)
        job = Job(options.data, run, preset=START, changes=changes, seed=seed, say=print, resume=bool(record))
        record = hrnet.pretrain(job, frames="unlabelled.txt")
    if reason := record["collapse"]["why"]:
        raise AopPoseError(f"{run.name} collapsed: {reason}")
    return run, record


def run_arm(arm: Arm, options: argparse.Namespace) -> dict[str, Any]:
    """Train one arm and measure it."""
    pairs, settings = ARMS[arm.name]
    folder, init, record = options.runs / arm.folder, "scratch", {}
    if pairs is not None:
        start, record["pretrain"] = pretrained(pairs, arm.seed, options)
        init = str(start)
    shutil.rmtree(folder, ignore_errors=True)
    hrnet = pipeline("hrnet-gan")
    changes = hrnet.useful("train", ["holdout=0", *options.set, *_given("epochs", options.epochs), *settings])
    job = Job(
        options.data, folder, labels="labelled.csv", init=init, preset=START, changes=changes, seed=arm.seed, say=print
    )
    record["train"] = hrnet.train(job)
    return result_of(arm, record, measure(folder, options.data))


def table(options: argparse.Namespace) -> str:
    """Markdown: per arm the mean over seeds with an interval by group, and the difference to the arm before it."""
    done, measured = read_results(options.results), Measured.of(options.data)
    head = ["arm", "MRE (512 px)", "AoP MAE (deg)", "MRE, each seed", "AoP, each seed", "less one thing"]
    lines = [f"| {' | '.join([*head, 'MRE diff.', 'p', 'AoP diff.', 'p'])} |", "| --- " * 10 + "|"]
    for name in ARMS:
        if runs := done.get((name, START)):
            before = BEFORE.get(name, "")
            pairs = measured.paired(runs, done.get((before, START), {}))
            cells = [*measured.means(runs), *measured.each(runs), before, *pairs]
            lines.append(f"| {name}: {WORDS[name]} | " + " | ".join(cells) + " |")
    lines += ["", f"The mean training landmarks, for every frame: MRE {mean_landmarks(options.data):.1f} px."]
    return "\n".join(lines)


def mean_landmarks(data: Path) -> float:
    """MRE (512 scale) of answering every measured frame with the mean landmarks of the frames that train.

    As shares of the picture's longer side, so that frames of other sizes count too.
    """
    learned, truth = (
        np.array([frame.keypoints.coords / max(frame.width, frame.height) for frame in read_labels(data / file, data)])
        for file in ("labelled.csv", "val.csv")
    )
    return float(np.linalg.norm(truth - learned.mean(axis=0), axis=2).mean() * SCALE)


def rehearse(options: argparse.Namespace) -> None:
    """Turn the options into those of a rehearsal: phantoms for data, one epoch, one seed, nothing committed."""
    place = options.runs / "dry"
    options.data = place / "data"
    if not options.data.is_dir():
        write_rehearsal(options.data, labelled=8, unlabelled=8, val=4)
    options.runs, options.results = place / "runs", place / "results"
    options.seeds, options.epochs, options.moco_epochs = 1, 1, 1
    options.set = [*DRY, *options.set]


def _given(name: str, value: int | None) -> list[str]:
    return [] if value is None else [f"{name}={value}"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python tools/ablation_hrnet.py --data psfhs --seeds 3",
    )
    parser.add_argument("--data", type=Path, help="psfhs folder: labelled.csv, val.csv, unlabelled.txt, images/")
    parser.add_argument("--arms", default=DEFAULT, help=f"names of the arms to train (default: {DEFAULT})")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of every training (default: the preset's)")
    parser.add_argument("--moco-epochs", type=int, help="of every pre-training (default: the preset's)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every training")
    parser.add_argument("--table", action="store_true", help="only print the table of finished arms")
    parser.add_argument("--dry", action="store_true", help="rehearse every arm on a few phantoms, one epoch each")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "ablation_hrnet")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation_hrnet"), help="scratch folder")
    options = parser.parse_args()
    chosen = options.arms.split(",")
    if unknown := [name for name in chosen if name not in ARMS]:
        parser.error(f"--arms: expected some of {', '.join(ARMS)}, found {', '.join(unknown)}")

    def work() -> None:
        if options.dry:
            rehearse(options)
        elif options.data is None:
            raise UsageError("--data: expected the psfhs folder, found none")
        options.runs.mkdir(parents=True, exist_ok=True)
        options.results.mkdir(parents=True, exist_ok=True)
        if not options.table:
            train_all(arms(chosen, options.seeds), options.results, partial(run_arm, options=options))
        print(table(options))

    return guarded("ablation_hrnet", work)


if __name__ == "__main__":
    sys.exit(main())
